#include "common/algo/whiten.h"

#include <math.h>

#include "common/algo/statistics.h"

void tr_whiten(float *values, size_t n, bool shift_mean)
{
    tr_statistics_t batch;
    tr_statistics(&batch, values, n);
    double scale = 1.0 / sqrt(batch.variance + 1e-8);
    double shift = shift_mean ? 0.0 : batch.mean;
    for (size_t t = 0; t < n; t++) {
        values[t] = (float)(((double)values[t] - batch.mean) * scale + shift);
    }
}
