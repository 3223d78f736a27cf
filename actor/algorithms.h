/// The actor's algorithms, a file each (ppo.c, sft.c, dpo.c, kto.c, reward.c, steps.c): what a
/// request brings, the loss of a chunk, and the metrics.
///
/// Such a file knows models, losses and one kind of request. It declares an actor_algorithm_t, by
/// which training.c serves its method; its `actor_learn_...` is the same without a message. One
/// call is one pass over the given sequences: epochs and minibatches of updates, or no update where
/// the pass evaluates.
#ifndef ACTOR_ALGORITHMS_H
#define ACTOR_ALGORITHMS_H

#include "actor/training.h"
#include "common/algo/bradley_terry.h"
#include "common/algo/dpo.h"
#include "common/algo/kto.h"
#include "common/algo/ppo.h"
#include "common/algo/process_reward.h"
#include "common/algo/sft.h"

// PPO

/// The data of a PPO step; arrays are over response tokens.
typedef struct actor_experience {
    tr_sequences_t sequences;
    const float *logprobs; ///< the rollouts'
    const float *advantages;
} actor_experience_t;

/// Sums and means of a step, for its metrics.
typedef struct actor_report {
    tr_train_pass_result_t pass;
    tr_ppo_policy_sums_t sums; ///< over all epochs
    double ratio_variance;     ///< of the minibatches' mean ratios (val/ratio_var)
    double entropy_sum;        ///< over the same tokens as sums
    float mismatch; ///< largest |rollout - actor| log-prob before the first update; must be 0
} actor_report_t;

tr_status actor_learn_ppo(actor_report_t *report, tr_trainer_t *trainer,
                          const actor_experience_t *experience, const tr_ppo_options_t *options,
                          const tr_train_pass_t *pass, tr_error_t *err);

// SFT

typedef struct actor_sft_report {
    tr_train_pass_result_t pass;
    tr_sft_sums_t sums;
    double entropy_sum;
    double greedy_sum; ///< tokens that were the most likely ones
} actor_sft_report_t;

/// One update on the mean loss of the response tokens (none where the pass evaluates). mask:
/// [response tokens], 0 for those that do not count; NULL: all do. A masked batch must be one
/// minibatch and have a token that counts, else TR_ERR_ARGUMENT.
tr_status actor_learn_sft(actor_sft_report_t *report, tr_trainer_t *trainer,
                          const tr_sequences_t *sequences, const float *mask,
                          const tr_sft_options_t *options, const tr_train_pass_t *pass,
                          tr_error_t *err);

// Pairs (chosen, rejected, chosen, rejected...) and single completions

/// Sums over completion tokens, of one class.
typedef struct actor_tokens {
    size_t count;
    double entropy;
    double logits; ///< mean logit of a row
    double greedy; ///< tokens that were the most likely ones
} actor_tokens_t;

typedef struct actor_dpo_report {
    tr_train_pass_result_t pass;
    tr_dpo_sums_t sums;
    double nll; ///< of the chosen completions, where a loss is sft
    actor_tokens_t chosen, rejected;
} actor_dpo_report_t;

/// sequences: pairs. reference: log-probs of the response tokens under the frozen model; NULL where
/// no loss reads them.
tr_status actor_learn_dpo(actor_dpo_report_t *report, tr_trainer_t *trainer,
                          const tr_sequences_t *sequences, const float *reference,
                          const tr_dpo_options_t *options, const tr_train_pass_t *pass,
                          tr_error_t *err);

typedef struct actor_kto_report {
    tr_train_pass_result_t pass;
    tr_kto_sums_t sums;
    double kl;
    actor_tokens_t chosen, rejected;
} actor_kto_report_t;

/// sequences: `rows` completions, then (loss kto) as many mismatched ones, from which the KL
/// divergence is estimated. reference: log-probs of the response tokens of all of them under the
/// frozen model. desirable: [rows].
tr_status actor_learn_kto(actor_kto_report_t *report, tr_trainer_t *trainer,
                          const tr_sequences_t *sequences, size_t rows, const float *reference,
                          const bool *desirable, const tr_kto_options_t *options,
                          const tr_train_pass_t *pass, tr_error_t *err);

typedef struct actor_reward_report {
    tr_train_pass_result_t pass;
    tr_bradley_terry_sums_t sums;
} actor_reward_report_t;

/// sequences: pairs, scored at their last tokens. margins: [pairs] or NULL. center:
/// center_rewards_coefficient or 0. The trainer's model is scalar.
tr_status actor_learn_reward(actor_reward_report_t *report, tr_trainer_t *trainer,
                             const tr_sequences_t *sequences, const float *margins, double center,
                             const tr_train_pass_t *pass, tr_error_t *err);

typedef struct actor_steps_report {
    tr_train_pass_result_t pass;
    tr_process_reward_sums_t sums;
} actor_steps_report_t;

/// labels: [response tokens], each of the token before it (TR_STEP_NONE, _WRONG or _RIGHT); at
/// least one token must have a label. One minibatch. The trainer's model is scalar: its output
/// before a token is the logit that the step which ended there is right.
tr_status actor_learn_steps(actor_steps_report_t *report, tr_trainer_t *trainer,
                            const tr_sequences_t *sequences, const int32_t *labels,
                            const tr_train_pass_t *pass, tr_error_t *err);

// For the pages

/// Adds the facts of n tokens to the sums.
void actor_tokens_add(actor_tokens_t *tokens, const tr_token_facts_t *facts, size_t n);

/// The number of response tokens of a sequence.
size_t actor_tokens_of(const tr_sequences_t *sequences, uint32_t sequence);

/// TR_ERR_ARGUMENT unless there are groups of `group` sequences, each with something to train on.
tr_status actor_expect_tokens(const tr_sequences_t *sequences, size_t group, tr_error_t *err);

/// One class of completions, chosen or rejected. rewards and logps: sums over count completions.
typedef struct actor_class {
    double count;
    double rewards, logps;
    const actor_tokens_t *tokens;
} actor_class_t;

/// Puts the metrics of the two classes, which DPO and KTO share.
tr_status actor_put_classes(actor_training_t *training, const actor_class_t *chosen,
                            const actor_class_t *rejected, tr_error_t *err);

#endif
