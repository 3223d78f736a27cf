// The global norm from sums of squares, in double: blocks are few, and their order is fixed. Apart
// from optimizer.c because it is pure: the ranks' exchange of sums is there.
#include "common/optim/optimizer_private.h"

#include <math.h>

tr_status tr_clip(float *scale, double *norm, const float *squares, size_t n, double max_norm,
                  tr_error_t *err)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        // Checked one by one, so that the sentence can name the part.
        if (!isfinite(squares[i])) {
            return tr_fail(err, TR_ERR_NUMERIC,
                           "part %zu of the gradient is not finite (sum of squares %g); lower the "
                           "learning rate or look for a NaN in the batch",
                           i, (double)squares[i]);
        }
        sum += (double)squares[i];
    }
    *norm = sqrt(sum);
    // 1e-6 as in PyTorch's clip_grad_norm_.
    double factor = max_norm / (*norm + 1e-6);
    *scale = max_norm > 0.0 && factor < 1.0 ? (float)factor : 1.0f;
    return TR_OK;
}
