/// The service of a rollout worker: the method `generate`.
#ifndef ROLLOUT_SERVICE_H
#define ROLLOUT_SERVICE_H

#include "proto/service.h"

typedef struct rollout_service rollout_service_t;

/// options: threads, if given, instead of the welcome's; the number in the name selects this
/// worker's device of a list. Borrowed until destroy.
rollout_service_t *rollout_service_new(const tr_service_options_t *options);
void rollout_service_destroy(rollout_service_t **service);

/// The config of the controller's welcome: {model: directory (its config.json has the shape, and
/// its tokenizer is read for stop strings), eos: the tokenizer's end token (-1: none), max_batch,
/// frozen: generate with that directory's own weights, what proto/adapter.h reads (of an adapter
/// the weights of requests are the adapter's alone, and the others the directory's), and what
/// proto/device.h reads}.
tr_status rollout_service_welcome(void *context, const json_t *config, tr_error_t *err);

/// `generate`: body {weights: a description (proto/weights/weights.h), seed, temperature, top_k,
/// top_p, min_p, max_new_tokens, ignore_eos, stop_ids: [..], stop: [..]}; i32 tensors ids and
/// starts: the prompts, one for each response; prompt_numbers and samples: which random numbers
/// each uses.
/// Reply: body {version, checksum} of the weights used; tensors as in proto/responses.h.
tr_status rollout_service_generate(void *context, const tr_message_t *request, tr_message_t *reply,
                                   tr_error_t *err);

#endif
