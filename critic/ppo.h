/// PPO in the critic: updates on the clipped value loss.
#ifndef CRITIC_PPO_H
#define CRITIC_PPO_H

#include "common/algo/ppo.h"
#include "proto/learner/learner.h"

/// What a pass reads, and then what it measures, which begins as zeros.
typedef struct critic_ppo {
    const tr_ppo_options_t *options;
    const float *values;  ///< [response tokens] predicted when the responses were made
    const float *returns; ///< [response tokens]
    tr_train_pass_result_t result;
    tr_ppo_value_sums_t sums; ///< over all epochs
} critic_ppo_t;

/// Epochs and minibatches of updates on the clipped value loss. The trainer's model is scalar.
tr_status critic_learn_ppo(critic_ppo_t *ppo, tr_trainer_t *trainer,
                           const tr_sequences_t *sequences, const tr_train_pass_t *pass,
                           tr_error_t *err);

/// Serves `train`: tensors values, returns f32 [response tokens]; body: proto/learner/learner.h's
/// pass and PPO's options -> {metrics: a tally}.
tr_status critic_train_ppo(tr_learner_t *learner, const tr_message_t *request, tr_message_t *reply,
                           tr_error_t *err);

#endif
