/// Numbers that describe a batch, for metrics. Pure; sums in double, ascending.
#ifndef TR_ALGO_STATISTICS_H
#define TR_ALGO_STATISTICS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct tr_statistics {
    double mean;      ///< 0 of no value
    double variance;  ///< Bessel-corrected; 0 below two values
    double deviation; ///< square root of variance
} tr_statistics_t;

/// values: [n]. NaN where a value is one.
tr_statistics_t tr_statistics(const float *values, size_t n);

/// Of the scores that are no NaN: a NaN is the score of a response that no judge could score.
tr_statistics_t tr_statistics_scored(const float *scores, size_t n);
/// How many of n scores are no NaN.
size_t tr_count_scored(const float *scores, size_t n);

/// The indices of the best and the worst of the scored responses to a prompt, of n (NaN: not
/// scored). Among equal scores the first is the best and the last the worst. False: none is scored.
bool tr_best_and_worst(size_t *best, size_t *worst, const float *scores, size_t n);

/// The value below which a share q of ascending: [n >= 1] lies, between two of them in proportion
/// (torch.quantile).
double tr_quantile(const float *ascending, size_t n, double q);

/// 1 - variance(returns - values) / variance(returns): 1 a perfect critic, 0 one no better than a
/// constant. 0 when the returns do not vary.
double tr_explained_variance(const float *values, const float *returns, size_t n);

#endif
