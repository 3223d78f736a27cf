/// oneDNN's matrix product with weights packed once in the order that it likes best.
#ifndef BENCH_ONEDNN_H
#define BENCH_ONEDNN_H

#include <stdbool.h>
#include <stddef.h>

typedef struct onednn onednn_t;

/// y: [rows, n] = x: [rows, k] weight^T: [n, k]; all borrowed, weight for the call only. NULL when
/// this build or this version of oneDNN cannot.
onednn_t *onednn_new(float *y, float *x, const float *weight, size_t rows, size_t n, size_t k);
void onednn_run(void *product);
void onednn_destroy(onednn_t **product);

#endif
