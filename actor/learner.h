/// The actor's mathematics: PPO and next-token updates of the policy.
///
/// Knows models and algorithms, no messages. The first pass of a step is also the proof that rollouts and actor agree:
/// its log-probs, taken before any update, must be those that the rollouts reported, bit for bit.
#ifndef ACTOR_LEARNER_H
#define ACTOR_LEARNER_H

#include "common/algo/ppo.h"
#include "common/algo/sft.h"
#include "common/model/trainer.h"

/// What a PPO step learns from; arrays are over response tokens.
typedef struct actor_experience {
    tr_sequences_t sequences;
    const float *logprobs; ///< the rollouts'
    const float *advantages;
} actor_experience_t;

/// Sums and means of a step, for the metrics.
typedef struct actor_report {
    tr_train_pass_result_t walk;
    tr_ppo_policy_sums_t sums; ///< over all epochs
    double ratio_variance;     ///< of the minibatches' mean ratios (val/ratio_var)
    double entropy_sum;        ///< over the same tokens as sums
    float mismatch; ///< largest |rollout - actor| log-prob before the first update; must be 0
} actor_report_t;

tr_status actor_learn_ppo(actor_report_t *report, tr_trainer_t *trainer,
                          const actor_experience_t *experience, const tr_ppo_options_t *options,
                          const tr_train_pass_t *walk, tr_error_t *err);

typedef struct actor_sft_report {
    tr_train_pass_result_t walk;
    tr_sft_sums_t sums;
    double entropy_sum;
    double greedy_sum; ///< tokens that were the likeliest
} actor_sft_report_t;

/// One update on the mean loss of the response tokens (or, where the walk evaluates, none). mask: [response tokens], 0 for those
/// that do not count; NULL: all do. A mask goes with one minibatch, and lets some token count: else TR_ERR_ARGUMENT.
tr_status actor_learn_sft(actor_sft_report_t *report, tr_trainer_t *trainer,
                          const tr_sequences_t *sequences, const float *mask,
                          const tr_sft_options_t *options, const tr_train_pass_t *walk,
                          tr_error_t *err);

#endif
