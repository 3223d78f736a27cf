// Descriptive statistics of a batch. Apart from the losses because controller and judges need them
// for metrics. Sums are in double and ascending, so that a number does not depend on threads or
// chunks.
#include "common/algo/statistics.h"

#include <math.h>

/// Mean and Bessel-corrected variance of a[t] - b[t], in two passes; b NULL is 0.
static void moments(double *mean, double *variance, const float *a, const float *b, size_t n)
{
    double total = 0.0;
    for (size_t t = 0; t < n; t++) {
        total += (double)a[t] - (b ? (double)b[t] : 0.0);
    }
    *mean = n ? total / (double)n : 0.0;
    double squares = 0.0;
    for (size_t t = 0; t < n; t++) {
        // Two passes lose nothing to a large mean, as E[x^2] - E[x]^2 would.
        double centred = (double)a[t] - (b ? (double)b[t] : 0.0) - *mean;
        squares += centred * centred;
    }
    *variance = n > 1 ? squares / (double)(n - 1) : 0.0;
}

tr_statistics_t tr_statistics(const float *values, size_t n)
{
    tr_statistics_t statistics;
    moments(&statistics.mean, &statistics.variance, values, NULL, n);
    statistics.deviation = sqrt(statistics.variance);
    return statistics;
}

void tr_best_and_worst(size_t *best, size_t *worst, const float *scores, size_t n)
{
    *best = *worst = 0;
    for (size_t i = 1; i < n; i++) {
        // Strictly better and not strictly worse: among equals the first is the best, the last the
        // worst.
        *best = scores[i] > scores[*best] ? i : *best;
        *worst = scores[i] <= scores[*worst] ? i : *worst;
    }
}

double tr_explained_variance(const float *values, const float *returns, size_t n)
{
    double mean;
    double residual;
    double total;
    // A variance ignores the mean, so a critic that is off by a constant explains everything.
    moments(&mean, &residual, returns, values, n);
    moments(&mean, &total, returns, NULL, n);
    // Constant returns have no variance to explain.
    return total > 0.0 ? 1.0 - residual / total : 0.0;
}
