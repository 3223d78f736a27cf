/// Real work on any device, as deploy/memory.h describes it, whose memory is compared with what a
/// dry run finds.
#ifndef TESTS_SUPPORT_MEASURED_H
#define TESTS_SUPPORT_MEASURED_H

#include "deploy/memory.h"
#include "tests/support/small.h"

/// A wide vocabulary, a deep model, a broad one, a critic, rows that a CPU copies before it
/// multiplies, and last a small one.
tr_model_config_t measured_shape(size_t i);
enum { MEASURED_SHAPES = 5, MEASURED_SMALL = 5 };

/// A model with random weights on that device; small_close closes it.
void measured_open(small_t *small, const tr_model_config_t *config,
                   const tr_device_options_t *device, tr_model_use_t use);

/// What is inferred, if anything, and two updates, after which the arena has grown and merged. One
/// rank.
void measured_learn(small_t *small, const memory_learner_t *learner);
/// A pass over the batch, twice.
void measured_read(small_t *small, const memory_batch_t *batch);
void measured_decode(small_t *small, size_t sequences, size_t prompt, size_t longest,
                     const tr_sampling_t *sampling);

/// Found is never less than the work took, and at most 2 % more beside `more` bytes. Closes small.
void measured_expect(small_t *small, const char *what, const memory_t *found, size_t more);

#endif
