/// The critic's mathematics: values of response tokens, and PPO's clipped value updates.
#ifndef CRITIC_LEARNER_H
#define CRITIC_LEARNER_H

#include "common/algo/ppo.h"
#include "common/model/trainer.h"

/// What a step learns from; arrays are over response tokens.
typedef struct critic_experience {
    tr_sequences_t sequences;
    const float *values; ///< predicted when the responses were made
    const float *returns;
} critic_experience_t;

typedef struct critic_report {
    tr_train_pass_result_t walk;
    tr_ppo_value_sums_t sums; ///< over all epochs
} critic_report_t;

tr_status critic_learn_ppo(critic_report_t *report, tr_trainer_t *trainer,
                           const critic_experience_t *experience, const tr_ppo_options_t *options,
                           const tr_train_pass_t *walk, tr_error_t *err);

#endif
