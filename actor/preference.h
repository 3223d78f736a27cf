/// The actor's mathematics of preferences: DPO and its relatives, KTO, reward models and process reward models.
///
/// Knows models and algorithms, no messages. One call is one update (or, where the walk evaluates, none) and its
/// metrics' sums. Pairs stand chosen, rejected, chosen, rejected...
#ifndef ACTOR_PREFERENCE_H
#define ACTOR_PREFERENCE_H

#include "common/algo/bradley_terry.h"
#include "common/algo/dpo.h"
#include "common/algo/kto.h"
#include "common/algo/process_reward.h"
#include "common/model/trainer.h"

/// Sums over completion tokens, of one class.
typedef struct actor_tokens {
    size_t count;
    double entropy;
    double logits; ///< mean logit of a row
    double greedy; ///< tokens that were the likeliest
} actor_tokens_t;

typedef struct actor_dpo_report {
    tr_train_pass_result_t walk;
    tr_dpo_sums_t sums;
    double nll; ///< of the chosen completions, where a loss is sft
    actor_tokens_t chosen, rejected;
} actor_dpo_report_t;

/// sequences: pairs. reference: log-probs of the response tokens under the frozen model; NULL where no loss reads them.
tr_status actor_learn_dpo(actor_dpo_report_t *report, tr_trainer_t *trainer,
                          const tr_sequences_t *sequences, const float *reference,
                          const tr_dpo_options_t *options, const tr_train_pass_t *walk,
                          tr_error_t *err);

typedef struct actor_kto_report {
    tr_train_pass_result_t walk;
    tr_kto_sums_t sums;
    double kl;
    actor_tokens_t chosen, rejected;
} actor_kto_report_t;

/// sequences: `rows` completions, then (loss kto) as many mismatched ones, from which the KL divergence is estimated.
/// reference: as above, of all. desirable: [rows].
tr_status actor_learn_kto(actor_kto_report_t *report, tr_trainer_t *trainer,
                          const tr_sequences_t *sequences, size_t rows, const float *reference,
                          const bool *desirable, const tr_kto_options_t *options,
                          const tr_train_pass_t *walk, tr_error_t *err);

typedef struct actor_reward_report {
    tr_train_pass_result_t walk;
    tr_bradley_terry_sums_t sums;
} actor_reward_report_t;

/// sequences: pairs, scored at their last tokens. margins: [pairs] or NULL. center: center_rewards_coefficient or 0. The
/// trainer's model is scalar.
tr_status actor_learn_reward(actor_reward_report_t *report, tr_trainer_t *trainer,
                             const tr_sequences_t *sequences, const float *margins, double center,
                             const tr_train_pass_t *walk, tr_error_t *err);

typedef struct actor_steps_report {
    tr_train_pass_result_t walk;
    tr_process_reward_sums_t sums;
} actor_steps_report_t;

/// labels: [response tokens], of the token before each (TR_STEP_NONE and its kin); some step must have one. One minibatch. The
/// trainer's model is scalar: what it says before a token is the logit that the step that ended there is right.
tr_status actor_learn_steps(actor_steps_report_t *report, tr_trainer_t *trainer,
                            const tr_sequences_t *sequences, const int32_t *labels,
                            const tr_train_pass_t *walk, tr_error_t *err);

#endif
