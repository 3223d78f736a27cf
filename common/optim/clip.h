/// Clipping by the global norm, as torch.nn.utils.clip_grad_norm_. Pure; called by optimizer.c.
#ifndef TR_OPTIM_CLIP_H
#define TR_OPTIM_CLIP_H

#include <stddef.h>

#include "common/base/status.h"

/// norm: written with sqrt(sum of squares), added in double, ascending. squares: [n], the sum of
/// squares of each part of the gradient (the operator sum_squares). scale: written with min(1,
/// max_norm / (norm + 1e-6)), by which AdamW multiplies gradients; 1 when max_norm is 0 (no
/// clipping). TR_ERR_NUMERIC, with the number of the first bad part, when the norm is not finite:
/// such gradients must not be applied.
tr_status tr_clip(float *scale, double *norm, const float *squares, size_t n, double max_norm,
                  tr_error_t *err);

#endif
