/// A learner: what the services of actor and critic share. Opened by the controller's config, it
/// holds a model with its optimizer and reads the body of a training request.
///
/// A role with several ranks has a learner on each, and each gets every request.
///
/// A learner counts the steps that it has finished, and a request has the step it belongs to. A
/// learner that is not exactly one step behind a training request answers TR_ERR_VERSION, and the
/// controller goes back to its last checkpoint.
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
    uint64_t step;    ///< steps finished; TR_LEARNER_STALE after a step that failed midway
    char *source;     ///< directory whose tokenizer files are saved with the model
    tr_dtype_t dtype; ///< of the source's weights
} tr_learner_t;

/// Opens a learner by a config: the device, the model (scalar: with a value head) and the
/// optimizer.
///
///     model         directory
///     checkpoint    directory to begin from, or null: from the model
///     step          of the checkpoint
///     seed          of the run
///     optimizer     the fields of tr_optimizer_fields
///     eos           the tokenizer's end token, which saved configurations have too; -1: none
///     adapter, lora what proto/adapter.h reads: an adapter is trained, and not the model
///     from_scratch  optional bool, default false: fresh weights of the model's shape
///     zero_stage, gradient_sum  the fields of tr_sharing_fields
///     device...     what proto/device.h reads; of a list of devices, the rank's
///
/// Threads and the collective are those of options.
tr_status tr_learner_open(tr_learner_t *learner, const json_t *config, bool scalar,
                          const tr_service_options_t *options, tr_error_t *err);
void tr_learner_close(tr_learner_t *learner);

/// TR_ERR_VERSION unless there is a model: a restore that failed leaves none.
tr_status tr_learner_holds(const tr_learner_t *learner, tr_error_t *err);

/// TR_ERR_VERSION unless the learner has finished exactly `step` steps.
tr_status tr_learner_expect(const tr_learner_t *learner, int64_t step, tr_error_t *err);

/// Reads a training request's {step (the one to finish), learning_rate, temperature, chunk, seed,
/// epochs, minibatches}. epochs 0: the step counts, without sequences or an update. With evaluate:
/// true there is no update, and step is the finished one. Fails as tr_learner_expect does.
tr_status tr_learner_read_train_pass(tr_train_pass_t *pass, const tr_learner_t *learner,
                                     const json_t *body, tr_error_t *err);

/// What a pass over a model with experts measures of its routers: aux_loss, router/entropy and
/// router/max_load; nothing of other models.
tr_status tr_learner_put_balance(json_t *tally, const tr_train_pass_result_t *result,
                                 tr_error_t *err);

/// `save` of both roles: body {step, directory, optimizer: bool, dtype: of tr_save_dtype_names,
/// chat_template: a text or null}: writes the model, and the optimizer's state if asked; a template
/// goes before the model's own. An optional scores: {mean, std} is written to config.json, as those
/// of the reward model's scores, from now on.
tr_status tr_learner_save(const tr_learner_t *learner, const tr_message_t *request,
                          tr_error_t *err);

/// `restore` of both roles: the body is a config; opens the learner again from its checkpoint, on
/// the device that is open.
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
