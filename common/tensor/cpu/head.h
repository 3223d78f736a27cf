/// One row of logits: the arithmetic that log-probabilities and sampling share, so that both give
/// the same bits.
#ifndef TR_TENSOR_CPU_HEAD_H
#define TR_TENSOR_CPU_HEAD_H

#include "common/tensor/cpu/kernels.h"

/// z: [vocabulary] logits. Gathers the `count` kept ids (0: all) to z's front, divides by the
/// temperature there, and returns the statistics. e: [kept or vocabulary], written with e^(z - max)
/// unless NULL; may be z.
cpu_softmax_t cpu_row_softmax(const cpu_kernels_t *kernels, float *z, float *e, size_t vocabulary,
                              const int32_t *ids, size_t count, float temperature);

/// Log-probability of z[index] after cpu_row_softmax.
float cpu_row_logprob(const float *z, size_t index, const cpu_softmax_t *softmax);

/// Rows of logits below which a thread works alone.
size_t cpu_row_grain(size_t vocabulary);

#endif
