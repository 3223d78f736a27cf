/// Training requests of the actor: one method an algorithm, each declared by its page
/// (actor/algorithms.h).
///
/// Bodies are proto/learner/learner.h's pass and the algorithm's options, under the names of their
/// table; sequences come as tensors (proto/sequences.h). The answer is {metrics: a tally
/// (proto/learner/tally.h)}. With evaluate: true in the body an algorithm that can measures and
/// trains nothing.
#ifndef ACTOR_TRAINING_H
#define ACTOR_TRAINING_H

#include "proto/learner/learner.h"

/// A request as far as all algorithms read it.
typedef struct actor_training {
    tr_learner_t *learner;
    const tr_message_t *request;
    tr_train_pass_t pass;
    tr_sequences_t sequences;
    size_t tokens;   ///< of all responses
    int32_t *owned;  ///< what sequences may point into
    json_t *metrics; ///< a tally
} actor_training_t;

typedef struct actor_algorithm {
    const char *method;         ///< "train_dpo"
    const tr_fields_t *options; ///< what the body says beside the pass, NULL: nothing
    bool scalar;                ///< it trains a model with a scalar head
    /// Reads the request's other tensors, says actor_training_begins, trains, and puts the metrics.
    /// options: of the table.
    tr_status (*train)(actor_training_t *training, const void *options, tr_error_t *err);
} actor_algorithm_t;

extern const actor_algorithm_t actor_ppo, actor_sft, actor_dpo, actor_kto, actor_reward,
    actor_steps;

/// Serves the request by the algorithm that its method names.
tr_status actor_train(tr_learner_t *learner, const tr_message_t *request, tr_message_t *reply,
                      tr_error_t *err);

// For the pages

/// From here on a failure leaves the learner stale: only a restore helps.
void actor_training_begins(actor_training_t *training);

/// A metric's sum, and what it is to be divided by; nothing where that is 0.
tr_status actor_training_put(actor_training_t *training, const char *name, double sum,
                             double weight, tr_error_t *err);

/// Puts `grad_norm`, or another name of it.
tr_status actor_training_put_norm(actor_training_t *training, const char *name,
                                  const tr_train_pass_result_t *pass, tr_error_t *err);

/// A tensor of the request, one number a response token.
tr_status actor_training_take(const float **values, const actor_training_t *training,
                              const char *name, tr_error_t *err);

#endif
