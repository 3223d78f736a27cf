/// The actor's methods: it trains the policy, publishes its weights, and computes the log-probs of
/// the frozen reference.
///
/// With --role reference the same program is a process that computes reference log-probs and
/// nothing else.
#ifndef ACTOR_SERVICE_H
#define ACTOR_SERVICE_H

#include "proto/service.h"

typedef struct actor_service actor_service_t;

/// options: borrowed until destroy.
actor_service_t *actor_service_new(const tr_service_options_t *options);
void actor_service_destroy(actor_service_t **service);

/// Reads the controller's config. Role actor: what tr_learner_open reads; scalar: true for a reward
/// model; segment: prefix of the names of shared memory; weights_stay: true if rollouts read the
/// weights on the GPU; weights_endpoint: where to serve them to other machines, or null. Both
/// roles: reference: directory of the frozen model, or null if it is never used; what
/// proto/device.h reads.
tr_status actor_service_welcome(void *context, const json_t *config, tr_error_t *err);

/// Requests take sequences as tensors (proto/sequences.h) unless said.
/// `logprobs`: {temperature, chunk} -> tensor logprobs f32 [response tokens] of the reference.
tr_status actor_service_logprobs(void *context, const tr_message_t *request, tr_message_t *reply,
                                 tr_error_t *err);
/// `forget`: {}, no tensors: releases the reference; the next `logprobs` opens it again.
tr_status actor_service_forget(void *context, const tr_message_t *request, tr_message_t *reply,
                               tr_error_t *err);
/// `mix_reference`: {step, alpha}, no tensors: the reference becomes alpha of the policy and 1 -
/// alpha of itself (TR-DPO, Gorbatovski et al. 2024).
tr_status actor_service_mix_reference(void *context, const tr_message_t *request,
                                      tr_message_t *reply, tr_error_t *err);
/// `save_reference`: {step, directory}, no tensors: the reference as a Hugging Face directory.
tr_status actor_service_save_reference(void *context, const tr_message_t *request,
                                       tr_message_t *reply, tr_error_t *err);
/// `train`, `train_sft`, ...: updates of the policy or the reward model, one method for each
/// algorithm (actor/training.h).
tr_status actor_service_train(void *context, const tr_message_t *request, tr_message_t *reply,
                              tr_error_t *err);
/// `publish`: {step}, no tensors -> {weights: a description (proto/weights/weights.h)}; the version
/// is the step.
tr_status actor_service_publish(void *context, const tr_message_t *request, tr_message_t *reply,
                                tr_error_t *err);
/// `save`, `restore`: see proto/learner/learner.h; no tensors. The body of a restore is a config:
/// it names the reference too.
tr_status actor_service_save(void *context, const tr_message_t *request, tr_message_t *reply,
                             tr_error_t *err);
tr_status actor_service_restore(void *context, const tr_message_t *request, tr_message_t *reply,
                                tr_error_t *err);

#endif
