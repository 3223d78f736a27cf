/// Models for tests: a small Llama with lively random weights, and random sequences to run through.
///
///     small_t small;
///     if (small_open(&small, &config, "avx2", 3, false)) { // false: this CPU lacks it
///         ...
///         small_close(&small);
///     }
///
/// Every failure fails the Criterion test. Memory comes from the rig and lives as long.
#ifndef TESTS_SUPPORT_SMALL_H
#define TESTS_SUPPORT_SMALL_H

#include "common/model/response.h"
#include "tests/support/tensors.h"

typedef struct small {
    rig_t rig;
    tr_model_t *model;
    const tr_model_config_t *config; ///< the model's
    size_t total;                    ///< floats of its layout
} small_t;

/// Sizes that are multiples of nothing, three query heads to a key-value head, no EOS.
tr_model_config_t small_config(void);

#define SMALL_GPU "gpu"           ///< an isa: the first GPU, in f32
#define SMALL_GPU_BF16 "gpu bf16" ///< the same in bf16
#define SMALL_BF16 "bf16 "        ///< before an isa, or alone: a CPU with weights in bf16

/// isa and threads as rig_open, or one of the three above. The weights depend on config alone;
/// log-probs reach below -8.
bool small_open(small_t *small, const tr_model_config_t *config, const char *isa, size_t threads,
                bool learns);
/// A model from a directory.
bool small_open_directory(small_t *small, const char *directory, const char *isa, size_t threads,
                          bool learns);
/// The same with an adapter of PEFT's; NULL: none.
bool small_open_adapted(small_t *small, const char *directory, const char *adapter, const char *isa,
                        size_t threads, bool learns);
void small_close(small_t *small);

/// The parameters that small_open gives, for a layout that is like this one's: [total].
float *small_weights(rig_t *rig, const tr_layout_t *layout);

/// Random ids: [count].
int32_t *small_ids(small_t *small, size_t count, uint64_t seed);

/// Sequences of random ids; lengths and prompts: [count].
tr_sequences_t small_sequences(small_t *small, const size_t *lengths, const size_t *prompts,
                               size_t count, uint64_t seed);

/// hidden: [length, H] and logits: [length, V] of one sequence by a full forward pass.
float *small_hidden(small_t *small, const int32_t *ids, size_t length);
float *small_logits(small_t *small, const int32_t *ids, size_t length);

/// Log-probs or values of all response tokens, `chunk` sequences a pass.
float *small_response(small_t *small, const tr_sequences_t *sequences, size_t chunk,
                      float temperature);

/// Fixed factors in [-1, 1), one a response token.
float *small_factors(small_t *small, const tr_sequences_t *sequences);

/// The gradient of sum(factors * response) in one pass over all sequences: [total].
float *small_gradient(small_t *small, const tr_sequences_t *sequences, const float *factors,
                      float temperature);

#endif
