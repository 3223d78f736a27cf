/// What a rollout worker offers: `generate`.
#ifndef ROLLOUT_SERVICE_H
#define ROLLOUT_SERVICE_H

#include "proto/service.h"

typedef struct rollout_service rollout_service_t;

/// options: threads, where given, go before the welcome's; the number in the name says which device of a list is this worker's.
/// Borrowed until destroy.
rollout_service_t *rollout_service_new(const tr_service_options_t *options);
void rollout_service_destroy(rollout_service_t **service);

/// The controller's welcome: {model: directory (its config.json says the shape), max_batch, frozen: whether its
/// weights are the ones to speak with, and what proto/device.h reads}.
tr_status rollout_service_welcome(void *context, const json_t *config, tr_error_t *err);

/// `generate`: body {weights: a description (proto/weights/weights.h), seed, temperature, top_k, top_p, max_new_tokens, ignore_eos,
/// stop_ids: [..]}; i32 tensors ids and starts: the prompts, one a response; prompt_numbers and samples: the random
/// address of each. Reply: body {version, checksum} of the weights used; tensors as in proto/responses.h.
tr_status rollout_service_generate(void *context, const tr_message_t *request, tr_message_t *reply,
                                   tr_error_t *err);

#endif
