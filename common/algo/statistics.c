// Descriptive statistics of a batch. Apart from the losses because controller and judges need them
// for metrics. Sums are in double and ascending, so that a number does not depend on threads or
// chunks.
#include "common/algo/statistics.h"

#include <math.h>

/// Mean and Bessel-corrected variance of a[t] - b[t], in two passes; b NULL is 0. scored: without
/// the places where a is NaN.
static void moments(double *mean, double *variance, const float *a, const float *b, size_t n,
                    bool scored)
{
    double total = 0.0, count = 0.0;
    for (size_t t = 0; t < n; t++) {
        if (!scored || !isnan(a[t])) {
            total += (double)a[t] - (b ? (double)b[t] : 0.0);
            count += 1.0;
        }
    }
    *mean = count > 0.0 ? total / count : 0.0;
    double squares = 0.0;
    for (size_t t = 0; t < n; t++) {
        // Two passes lose nothing to a large mean, as E[x^2] - E[x]^2 would.
        double centred = (double)a[t] - (b ? (double)b[t] : 0.0) - *mean;
        squares += !scored || !isnan(a[t]) ? centred * centred : 0.0;
    }
    *variance = count > 1.0 ? squares / (count - 1.0) : 0.0;
}

tr_statistics_t tr_statistics(const float *values, size_t n)
{
    tr_statistics_t statistics;
    moments(&statistics.mean, &statistics.variance, values, NULL, n, false);
    statistics.deviation = sqrt(statistics.variance);
    return statistics;
}

tr_statistics_t tr_statistics_scored(const float *scores, size_t n)
{
    tr_statistics_t statistics;
    moments(&statistics.mean, &statistics.variance, scores, NULL, n, true);
    statistics.deviation = sqrt(statistics.variance);
    return statistics;
}

size_t tr_count_scored(const float *scores, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        count += isnan(scores[i]) ? 0 : 1;
    }
    return count;
}

bool tr_best_and_worst(size_t *best, size_t *worst, const float *scores, size_t n)
{
    bool found = false;
    *best = *worst = 0;
    for (size_t i = 0; i < n; i++) {
        if (isnan(scores[i])) {
            continue;
        }
        // Strictly better and not strictly worse: among equals the first is the best, the last the
        // worst.
        *best = !found || scores[i] > scores[*best] ? i : *best;
        *worst = !found || scores[i] <= scores[*worst] ? i : *worst;
        found = true;
    }
    return found;
}

double tr_quantile(const float *ascending, size_t n, double q)
{
    double place = q * (double)(n - 1);
    size_t below = (size_t)place, above = below + 1 < n ? below + 1 : below;
    double part = place - (double)below, low = (double)ascending[below];
    return low + part * ((double)ascending[above] - low);
}

double tr_explained_variance(const float *values, const float *returns, size_t n)
{
    double mean;
    double residual;
    double total;
    // A variance ignores the mean, so a critic that is off by a constant explains everything.
    moments(&mean, &residual, returns, values, n, false);
    moments(&mean, &total, returns, NULL, n, false);
    // Constant returns have no variance to explain.
    return total > 0.0 ? 1.0 - residual / total : 0.0;
}
