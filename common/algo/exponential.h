/// The exponential as the losses need it: total. Private to algo/.
#ifndef TR_ALGO_EXPONENTIAL_H
#define TR_ALGO_EXPONENTIAL_H

#include "common/base/real.h"

/// e^x for any x: x is held within +-700, where the result is still finite; a NaN stays a NaN.
static inline double exponential(double x)
{
    if (x != x) {
        return x;
    }
    return tr_real_exp(x > 700.0 ? 700.0 : x < -700.0 ? -700.0 : x);
}

#endif
