/// Whitening over a whole batch. Pure; called by the controller.
#ifndef TR_ALGO_WHITEN_H
#define TR_ALGO_WHITEN_H

#include <stdbool.h>
#include <stddef.h>

/// values: [n], replaced by (v - mean) / sqrt(variance + 1e-8), plus mean when shift_mean is false.
/// The variance is Bessel-corrected (n - 1). Sums in double, ascending. A single value has variance
/// 0 (TRL divides by zero there).
void tr_whiten(float *values, size_t n, bool shift_mean);

#endif
