/// The critic's methods: values of response tokens, and PPO's value updates.
#ifndef CRITIC_SERVICE_H
#define CRITIC_SERVICE_H

#include "proto/service.h"

typedef struct critic_service critic_service_t;

/// options: borrowed until destroy.
critic_service_t *critic_service_new(const tr_service_options_t *options);
void critic_service_destroy(critic_service_t **service);

/// Reads the controller's config: what tr_learner_open reads.
tr_status critic_service_welcome(void *context, const json_t *config, tr_error_t *err);

/// Requests take sequences as tensors (proto/sequences.h) unless said.
/// `values`: {temperature, chunk} -> tensor values f32 [response tokens], each read before its
/// token is emitted.
tr_status critic_service_values(void *context, const tr_message_t *request, tr_message_t *reply,
                                tr_error_t *err);
/// `train`: an update (critic/ppo.h).
tr_status critic_service_train(void *context, const tr_message_t *request, tr_message_t *reply,
                               tr_error_t *err);
/// `save`, `restore`: see proto/learner/learner.h; no tensors.
tr_status critic_service_save(void *context, const tr_message_t *request, tr_message_t *reply,
                              tr_error_t *err);
tr_status critic_service_restore(void *context, const tr_message_t *request, tr_message_t *reply,
                                 tr_error_t *err);

#endif
