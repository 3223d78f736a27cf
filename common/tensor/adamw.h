/// The scalars of AdamW, computed once a step in double and rounded to float once. Both backends
/// call this, so that they use the same ones.
#ifndef TR_TENSOR_ADAMW_H
#define TR_TENSOR_ADAMW_H

#include <math.h>

#include "common/tensor/backend.h"

typedef struct tr_adamw_scalars {
    float decay; ///< 1 - lr * weight_decay
    float lerp;  ///< 1 - beta1
    float beta2;
    float square; ///< 1 - beta2
    float root;   ///< sqrt(1 - beta2^step)
    float epsilon;
    float step_size; ///< lr / (1 - beta1^step)
    float scale;
} tr_adamw_scalars_t;

/// x^step for 0 <= x < 1, by squaring: pow of libm may differ between machines in the last bit.
static inline double tr_adamw_power(double x, uint64_t step)
{
    double result = 1.0;
    for (; step > 0; step >>= 1) {
        if ((step & 1) != 0) {
            result *= x;
        }
        x *= x;
    }
    return result;
}

static inline tr_adamw_scalars_t tr_adamw_scalars_of(const tr_adamw_t *options)
{
    tr_adamw_scalars_t s;
    TR_ASSERT(options->step >= 1, "the first step is 1, found 0");
    s.decay = (float)(1.0 - options->learning_rate * options->weight_decay);
    s.lerp = (float)(1.0 - options->beta1);
    s.beta2 = (float)options->beta2;
    s.square = (float)(1.0 - options->beta2);
    s.root = (float)sqrt(1.0 - tr_adamw_power(options->beta2, options->step));
    s.epsilon = (float)options->epsilon;
    s.step_size =
        (float)(options->learning_rate / (1.0 - tr_adamw_power(options->beta1, options->step)));
    s.scale = options->scale;
    return s;
}

#endif
