/// Training requests of the actor: one method for each algorithm, declared by its own file
/// (actor/algorithms.h).
///
/// A body has the pass of proto/learner/learner.h and the algorithm's options, under the names of
/// their table; sequences come as tensors (proto/sequences.h). The answer is {metrics: a tally
/// (proto/learner/tally.h)}. With evaluate: true in the body the algorithm measures and does not
/// train, if it can.
#ifndef ACTOR_TRAINING_H
#define ACTOR_TRAINING_H

#include "proto/learner/learner.h"

/// The parts of a request that all algorithms read.
typedef struct actor_training {
    tr_learner_t *learner;
    const tr_message_t *request;
    tr_train_pass_t pass;
    tr_sequences_t sequences;
    size_t tokens;   ///< of all responses
    int32_t *owned;  ///< memory that sequences may point into
    json_t *metrics; ///< a tally
} actor_training_t;

typedef struct actor_algorithm {
    const char *method;         ///< "train_dpo"
    const tr_fields_t *options; ///< what the body has beside the pass; NULL: nothing
    bool scalar;                ///< it trains a model with a scalar head
    /// Reads the request's other tensors, calls actor_training_begins, trains, and puts the
    /// metrics. options: a struct of the table.
    tr_status (*train)(actor_training_t *training, const void *options, tr_error_t *err);
} actor_algorithm_t;

extern const actor_algorithm_t actor_ppo, actor_sft, actor_dpo, actor_kto, actor_reward,
    actor_steps;

/// Serves the request by the algorithm that has its method.
tr_status actor_train(tr_learner_t *learner, const tr_message_t *request, tr_message_t *reply,
                      tr_error_t *err);

// For the pages

/// Marks the learner as stale until the training is complete: after a failure in between only a
/// restore helps.
void actor_training_begins(actor_training_t *training);

/// Puts a metric: a sum, and the weight to divide it by. Nothing when the weight is 0.
tr_status actor_training_put(actor_training_t *training, const char *name, double sum,
                             double weight, tr_error_t *err);

/// Puts the mean gradient norm, under its name.
tr_status actor_training_put_norm(actor_training_t *training, const char *name,
                                  const tr_train_pass_result_t *pass, tr_error_t *err);

/// Reads a tensor of the request that has one number for each response token.
tr_status actor_training_take(const float **values, const actor_training_t *training,
                              const char *name, tr_error_t *err);

#endif
