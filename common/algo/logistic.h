/// The exponential, the logistic function and its logarithm as the losses need them: total. Private
/// to algo/.
#ifndef TR_ALGO_LOGISTIC_H
#define TR_ALGO_LOGISTIC_H

#include "common/base/real.h"

/// e^x for any x: x is held within +-700, where the result is still finite; a NaN stays a NaN.
static inline double exponential(double x)
{
    if (x != x) {
        return x;
    }
    return tr_real_exp(x > 700.0 ? 700.0 : x < -700.0 ? -700.0 : x);
}

/// log(1 + x) for x >= 0, exact to the last bits for small x too (Kahan).
static inline double log_one_plus(double x)
{
    double sum = 1.0 + x;
    return sum == 1.0 ? x : tr_real_log(sum) * (x / (sum - 1.0));
}

/// 1 / (1 + e^-x); a NaN stays a NaN.
static inline double sigmoid(double x)
{
    double e = exponential(x < 0.0 ? x : -x);
    return (x < 0.0 ? e : 1.0) / (1.0 + e);
}

/// log(sigmoid(x)); a NaN stays a NaN.
static inline double log_sigmoid(double x)
{
    return (x < 0.0 ? x : 0.0) - log_one_plus(exponential(x < 0.0 ? x : -x));
}

#endif
