/// PPO in the critic: updates on the clipped value loss.
#ifndef CRITIC_PPO_H
#define CRITIC_PPO_H

#include "common/algo/ppo.h"
#include "proto/learner/learner.h"

/// The data of a step; arrays are over response tokens.
typedef struct critic_experience {
    tr_sequences_t sequences;
    const float *values; ///< predicted when the responses were made
    const float *returns;
} critic_experience_t;

typedef struct critic_report {
    tr_train_pass_result_t pass;
    tr_ppo_value_sums_t sums; ///< over all epochs
} critic_report_t;

/// Epochs and minibatches of updates on the clipped value loss. The trainer's model is scalar.
tr_status critic_learn_ppo(critic_report_t *report, tr_trainer_t *trainer,
                           const critic_experience_t *experience, const tr_ppo_options_t *options,
                           const tr_train_pass_t *pass, tr_error_t *err);

/// Serves `train`: tensors values, returns f32 [response tokens]; body: proto/learner/learner.h's
/// pass and PPO's options -> {metrics: a tally}.
tr_status critic_train_ppo(tr_learner_t *learner, const tr_message_t *request, tr_message_t *reply,
                           tr_error_t *err);

#endif
