/// The actor's training: one method for each algorithm, a file each (ppo.c, grpo.c, sft.c, dpo.c,
/// kto.c, reward.c, steps.c).
///
/// A file of an algorithm knows models, losses and one kind of request. It declares an
/// actor_algorithm_t, by which training.c serves its method; its `actor_learn_...` is the same
/// without a message. One call is one pass over the given sequences: epochs and minibatches of
/// updates, or no update where the pass evaluates.
///
/// A body has the pass of proto/learner/learner.h and the algorithm's options, under the names of
/// their table; sequences come as tensors (proto/sequences.h). The answer is {metrics: a tally
/// (proto/learner/tally.h)}. With evaluate: true in the body the algorithm measures and does not
/// train, if it can.
#ifndef ACTOR_TRAINING_H
#define ACTOR_TRAINING_H

#include "common/algo/bradley_terry.h"
#include "common/algo/dpo.h"
#include "common/algo/kto.h"
#include "common/algo/policy_loss.h"
#include "common/algo/ppo.h"
#include "common/algo/process_reward.h"
#include "common/algo/sft.h"
#include "proto/learner/learner.h"
#include "proto/learner/tally.h"

/// The parts of a request that all algorithms read.
typedef struct actor_training {
    tr_learner_t *learner;
    const tr_message_t *request;
    tr_train_pass_t pass;
    tr_sequences_t sequences;
    size_t tokens;   ///< of all responses
    int32_t *owned;  ///< memory that sequences may point into
    json_t *metrics; ///< a tally
} actor_training_t;

typedef struct actor_algorithm {
    const char *method;         ///< "train_dpo"
    const tr_fields_t *options; ///< what the body has beside the pass; NULL: nothing
    bool scalar;                ///< it trains a model with a scalar head
    /// Reads the request's other tensors, calls actor_training_begins, trains, and puts the
    /// metrics. options: a struct of the table.
    tr_status (*train)(actor_training_t *training, const void *options, tr_error_t *err);
} actor_algorithm_t;

extern const actor_algorithm_t actor_ppo, actor_grpo, actor_sft, actor_dpo, actor_kto, actor_reward,
    actor_steps;

/// Serves the request by the algorithm that has its method.
tr_status actor_train(tr_learner_t *learner, const tr_message_t *request, tr_message_t *reply,
                      tr_error_t *err);

// The algorithms. Each struct has what a pass reads, and then what it measures, which begins as
// zeros. Sums are over all epochs.

typedef struct actor_ppo {
    const tr_ppo_options_t *options;
    const float *logprobs;   ///< [response tokens] the rollouts'
    const float *advantages; ///< [response tokens]
    tr_train_pass_result_t result;
    tr_ppo_policy_sums_t sums;
    double ratio_variance; ///< of the minibatches' mean ratios (val/ratio_var)
    double entropy_sum;    ///< over the same tokens as sums
    float mismatch; ///< largest |rollout - actor| log-prob before the first update; must be 0
} actor_ppo_t;

tr_status actor_learn_ppo(actor_ppo_t *ppo, tr_trainer_t *trainer, const tr_sequences_t *sequences,
                          const tr_train_pass_t *pass, tr_error_t *err);

typedef struct actor_grpo {
    const tr_policy_options_t *options;
    const float *logprobs;   ///< [response tokens] the rollouts'
    const float *advantages; ///< [response tokens]
    const float *reference;  ///< [response tokens] log-probs; NULL: no KL in the loss
    const float *mask;       ///< [response tokens], 0 for those that do not count; NULL: all do
    const float *weights;    ///< [response tokens] of tr_policy_response_t; NULL: 1
    double batch_tokens;     ///< that count, by the minibatches
    tr_train_pass_result_t result;
    tr_policy_sums_t sums;
    double entropy_sum; ///< over tokens that count
    float mismatch;     ///< as in actor_ppo_t
} actor_grpo_t;

tr_status actor_learn_grpo(actor_grpo_t *grpo, tr_trainer_t *trainer,
                           const tr_sequences_t *sequences, const tr_train_pass_t *pass,
                           tr_error_t *err);

typedef struct actor_sft {
    const tr_sft_options_t *options;
    const float *mask; ///< [response tokens], 0 for those that do not count; NULL: all do
    size_t counted;    ///< tokens that count, where there is a mask
    tr_train_pass_result_t result;
    tr_sft_sums_t sums;
    double entropy_sum;
    double greedy_sum; ///< tokens that were the most likely ones
} actor_sft_t;

/// The mean loss of the response tokens. A masked batch must be one minibatch and have a token that
/// counts, else TR_ERR_ARGUMENT.
tr_status actor_learn_sft(actor_sft_t *sft, tr_trainer_t *trainer, const tr_sequences_t *sequences,
                          const tr_train_pass_t *pass, tr_error_t *err);

/// Sums over completion tokens, of one class: chosen or rejected.
typedef struct actor_tokens {
    size_t count;
    double entropy;
    double logits; ///< mean logit of a row
    double greedy; ///< tokens that were the most likely ones
} actor_tokens_t;

typedef struct actor_dpo {
    const tr_dpo_options_t *options;
    const float *reference; ///< [response tokens] log-probs under the frozen model; NULL: not read
    double nll_slope;       ///< sft's part of the slope of each chosen token
    const tr_dpo_pair_t
        *coupled; ///< the batch's pairs with their slopes, where a loss couples them
    tr_train_pass_result_t result;
    tr_dpo_sums_t sums;
    double nll; ///< of the chosen completions
    actor_tokens_t chosen, rejected;
} actor_dpo_t;

/// sequences: pairs: chosen, rejected, chosen, rejected...
tr_status actor_learn_dpo(actor_dpo_t *dpo, tr_trainer_t *trainer, const tr_sequences_t *sequences,
                          const tr_train_pass_t *pass, tr_error_t *err);

typedef struct actor_kto {
    const tr_kto_options_t *options;
    const float *reference;   ///< [response tokens] log-probs under the frozen model
    const int32_t *desirable; ///< [rows], not 0 where one is
    tr_train_pass_result_t result;
    tr_kto_sums_t sums;
    double kl;
    actor_tokens_t chosen, rejected;
} actor_kto_t;

/// sequences: completions, a row each, then (loss kto) as many mismatched ones, from which the KL
/// divergence is estimated.
tr_status actor_learn_kto(actor_kto_t *kto, tr_trainer_t *trainer, const tr_sequences_t *sequences,
                          const tr_train_pass_t *pass, tr_error_t *err);

typedef struct actor_reward {
    const tr_reward_options_t *options;
    const float *margins; ///< [pairs] or NULL
    tr_train_pass_result_t result;
    tr_bradley_terry_sums_t sums;
} actor_reward_t;

/// sequences: pairs, scored at their last tokens. The trainer's model is scalar.
tr_status actor_learn_reward(actor_reward_t *reward, tr_trainer_t *trainer,
                             const tr_sequences_t *sequences, const tr_train_pass_t *pass,
                             tr_error_t *err);

// For the files of the algorithms

/// Marks the learner as stale until the training is complete: after a failure in between only a
/// restore helps.
void actor_training_begins(actor_training_t *training);

/// Reads a tensor of the request that has one number for each response token.
tr_status actor_training_take(const float **values, const actor_training_t *training,
                              const char *name, tr_error_t *err);

/// The largest difference between two vectors of log-probs; infinite when one is NaN.
float actor_largest_difference(const float *a, const float *b, size_t n);

/// Adds the facts of n tokens to the sums.
void actor_tokens_add(actor_tokens_t *tokens, const tr_token_facts_t *facts, size_t n);

/// The number of response tokens of a sequence.
size_t actor_tokens_of(const tr_sequences_t *sequences, uint32_t sequence);

/// TR_ERR_ARGUMENT unless there are groups of `group` sequences, each with something to train on.
tr_status actor_expect_tokens(const tr_sequences_t *sequences, size_t group, tr_error_t *err);

/// One class of completions. rewards and logps: sums over count completions.
typedef struct actor_class {
    double count;
    double rewards, logps;
    const actor_tokens_t *tokens;
} actor_class_t;

/// Puts the metrics of the two classes, which DPO and KTO share.
tr_status actor_put_classes(json_t *metrics, const actor_class_t *chosen,
                            const actor_class_t *rejected, tr_error_t *err);

#endif
