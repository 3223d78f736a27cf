/// What the services of actor and critic share: the welcome's model and optimizer, the state of a learner, the body of a
/// training request.
///
/// A learner counts the steps it has finished. A request names the step it belongs to; a learner that is not exactly one
/// step behind a training request answers TR_ERR_VERSION, and the controller then replays what it missed.
#ifndef TR_PROTO_LEARNER_H
#define TR_PROTO_LEARNER_H

#include "common/algo/options.h"
#include "common/model/trainer.h"
#include "proto/message.h"
#include "proto/service.h"

typedef struct tr_learner {
    tr_backend_t *backend;
    tr_trainer_t *trainer;
    uint64_t step;  ///< steps finished
    char *source;   ///< directory whose tokenizer files are saved with the model
} tr_learner_t;

/// Reads a welcome {model, checkpoint: directory or null, step: of the checkpoint, seed, threads, optimizer: {beta1, beta2,
/// epsilon, weight_decay, clip}} and opens the model (scalar: with a value head) and its optimizer.
tr_status tr_learner_open(tr_learner_t *learner, const json_t *config, bool scalar, size_t threads, tr_error_t *err);
void tr_learner_close(tr_learner_t *learner);

/// TR_ERR_VERSION unless the learner has finished exactly `step` steps.
tr_status tr_learner_expect(const tr_learner_t *learner, int64_t step, tr_error_t *err);

/// A training request's {step (to be finished), learning_rate, temperature, chunk, seed, epochs, minibatches}; fails as
/// tr_learner_expect does.
tr_status tr_learner_read_walk(tr_walk_t *walk, const tr_learner_t *learner, const json_t *body, tr_error_t *err);

/// A training request's {kl_coef, cliprange, ...}: what the losses read.
tr_status tr_learner_read_ppo(tr_ppo_options_t *options, const json_t *body, tr_error_t *err);

/// `save` of both roles: body {step, directory}: writes model and optimizer there.
tr_status tr_learner_save(const tr_learner_t *learner, const tr_message_t *request, tr_error_t *err);

#endif
