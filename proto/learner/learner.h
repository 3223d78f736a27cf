/// What the services of actor and critic share: the welcome's model and optimizer, the state of a
/// learner, the body of a training request.
///
/// A role of several ranks has a learner on each, and each gets every request.
///
/// A learner counts the steps it has finished. A request names the step it belongs to; a learner
/// that is not exactly one step behind a training request answers TR_ERR_VERSION, and the
/// controller then replays what it missed.
#ifndef TR_PROTO_LEARNER_H
#define TR_PROTO_LEARNER_H

#include <stdint.h>

#include "common/model/trainer.h"
#include "proto/message.h"
#include "proto/sequences.h"
#include "proto/service.h"

#define TR_LEARNER_STALE UINT64_MAX ///< no request names this step: only a restore helps

typedef struct tr_learner {
    tr_backend_t *backend;
    tr_trainer_t *trainer;
    uint64_t step; ///< steps finished; TR_LEARNER_STALE after a step that failed half way
    char *source;  ///< directory whose tokenizer files are saved with the model
} tr_learner_t;

/// Reads a welcome {model, checkpoint: directory or null, step: of the checkpoint, seed, optimizer:
/// {beta1, beta2, epsilon, weight_decay, clip, gradient_checkpointing, offload,
/// stochastic_rounding: bool (absent: false)}, from_scratch: bool (absent: false), zero_stage: 1, 2
/// or 3 (absent: 2), gradient_sum: "tree" (absent too) or "all_reduce", and what proto/device.h
/// reads} and opens the device, of a list the rank's, the model (scalar: with a value head) and its
/// optimizer. threads and collective: of options.
tr_status tr_learner_open(tr_learner_t *learner, const json_t *config, bool scalar,
                          const tr_service_options_t *options, tr_error_t *err);
void tr_learner_close(tr_learner_t *learner);

/// TR_ERR_VERSION unless there is a model: a restore that failed leaves none.
tr_status tr_learner_holds(const tr_learner_t *learner, tr_error_t *err);

/// TR_ERR_VERSION unless the learner has finished exactly `step` steps.
tr_status tr_learner_expect(const tr_learner_t *learner, int64_t step, tr_error_t *err);

/// A training request's {step (to be finished), learning_rate, temperature, chunk, seed, epochs,
/// minibatches}; with evaluate: true nothing is learnt, and step is the one finished. Fails as
/// tr_learner_expect does.
tr_status tr_learner_read_train_pass(tr_train_pass_t *walk, const tr_learner_t *learner,
                                     const json_t *body, tr_error_t *err);

/// `save` of both roles: body {step, directory, optimizer: bool}: writes the model, and the
/// optimizer's state if asked. scores: {mean, std}, if it is there, is what config.json says of a
/// reward model's scores from now on.
tr_status tr_learner_save(const tr_learner_t *learner, const tr_message_t *request,
                          tr_error_t *err);

/// `restore` of both roles: body as the welcome; opens the learner again from the checkpoint named
/// there, on the device that it has.
tr_status tr_learner_restore(tr_learner_t *learner, const json_t *config, bool scalar,
                             const tr_service_options_t *options, tr_error_t *err);

/// The request's sequences (proto/sequences.h), checked against the model. *owned: to be freed by
/// the caller.
tr_status tr_learner_take(tr_sequences_t *sequences, int32_t **owned, const tr_model_t *model,
                          const tr_message_t *request, tr_error_t *err);

/// One pass over the request's sequences, body {temperature, chunk}; the reply gets tensor `name`
/// f32 [response tokens].
tr_status tr_learner_infer(tr_response_pass_t *pass, const tr_model_t *model, const char *name,
                           const tr_message_t *request, tr_message_t *reply, tr_error_t *err);

#endif
