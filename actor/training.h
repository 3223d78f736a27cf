/// Training requests of the actor: read, learnt, answered. One function an algorithm.
///
/// Bodies are learner.h's walk and the algorithm's options; sequences come as tensors (proto/sequences.h). All but PPO answer
/// {metrics: a tally (proto/learner/tally.h)}, and with evaluate: true in the body measure and learn nothing.
#ifndef ACTOR_TRAINING_H
#define ACTOR_TRAINING_H

#include "proto/learner/learner.h"

/// tensors logprobs, advantages f32 [response tokens]; options of PPO -> means of the step (see actor_report_t).
tr_status actor_train_ppo(tr_learner_t *learner, const tr_message_t *request, tr_message_t *reply,
                          tr_error_t *err);

/// The mean over response tokens of {loss_type, label_smoothing_factor}, with noise on the embeddings while learning
/// {neftune_noise_alpha: 0 for none}; over those where the tensor mask f32 [response tokens], if it is there, is not 0.
tr_status actor_train_sft(tr_learner_t *learner, const tr_message_t *request, tr_message_t *reply,
                          tr_error_t *err);

/// Pairs. {beta, losses: {name: weight}, label_smoothing, f_divergence_type, f_alpha_divergence_coef, ld_alpha, discopop_tau,
/// simpo_gamma, use_weighting, reference_free}; tensor reference f32 [response tokens] if a loss reads it.
tr_status actor_train_dpo(tr_learner_t *learner, const tr_message_t *request, tr_message_t *reply,
                          tr_error_t *err);

/// Completions, then (loss_type kto) the mismatched ones. {loss_type, beta, desirable_weight, undesirable_weight}; tensors
/// reference f32 [response tokens], desirable i32 [completions], 0 or 1.
tr_status actor_train_kto(tr_learner_t *learner, const tr_message_t *request, tr_message_t *reply,
                          tr_error_t *err);

/// Pairs, scored at their last tokens. {center_rewards_coefficient}; tensor margins f32 [pairs], or none. The model has a
/// scalar head.
tr_status actor_train_reward(tr_learner_t *learner, const tr_message_t *request,
                             tr_message_t *reply, tr_error_t *err);

/// Rows of steps; tensor labels i32 [response tokens], as actor_learn_steps takes them.
tr_status actor_train_steps(tr_learner_t *learner, const tr_message_t *request, tr_message_t *reply,
                            tr_error_t *err);

#endif
