/// Trainers for tests: a small model whose update is plain gradient descent, so that a step shows
/// its gradient.
///
///     learning_t learning;
///     learning_open(&learning, &config, 2);
///     // learning_rate LEARNING_PLAIN: parameters -= gradient
///     tr_trainer_run_pass(learning.trainer, ...);
///     learning_close(&learning);
#ifndef TESTS_SUPPORT_LEARNING_H
#define TESTS_SUPPORT_LEARNING_H

#include <jansson.h>

#include "common/model/trainer.h"
#include "tests/support/small.h"

/// AdamW with epsilon far above any gradient divides by it; this rate multiplies by it again.
#define LEARNING_PLAIN 1e6

typedef struct learning {
    small_t small; ///< its model is the trainer's: NULL here
    tr_trainer_t *trainer;
    size_t total; ///< parameters
} learning_t;

/// Some hundred parameters, so that each can be moved.
tr_model_config_t learning_config(bool scalar);

/// Unequal lengths, one response token to fourteen.
enum { LEARNING_SEQUENCES = 5 };
tr_sequences_t learning_sequences(small_t *small);

void learning_open(learning_t *learning, const tr_model_config_t *config, size_t threads);
/// The same on a model from a directory.
void learning_open_directory(learning_t *learning, const char *directory, size_t threads);
void learning_close(learning_t *learning);

/// What a learner is told on a model's directory, with the default optimizer, on one thread; a new
/// reference.
json_t *learning_config_json(const char *directory);

/// One epoch in one minibatch.
tr_train_pass_t learning_walk(size_t chunk, double learning_rate);

/// [total], the learning's memory.
float *learning_parameters(learning_t *learning);

/// A model of its own beside the trainer's: the slope of objective(model) along parameter i at
/// `weights`: [total], from central differences at two steps, extrapolated to none (Richardson).
typedef double (*learning_objective_fn)(void *context, small_t *model);
double learning_slope(small_t *model, const float *weights, size_t i,
                      learning_objective_fn objective, void *context);

/// Slopes along `count` parameters spread over the layout, and along the one with the largest
/// gradient, against gradient: [total].
void learning_check_slopes(learning_t *learning, const tr_model_config_t *config,
                           const float *weights, const float *gradient, size_t count,
                           learning_objective_fn objective, void *context);

#endif
