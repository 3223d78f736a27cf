/// Statistics of one row of logits: maximum, sum of exponentials, entropy, mean, and the sum of
/// squares.
///
/// In one file of kernels because log-probabilities, their gradient and sampling (head_ops.c,
/// sample_ops.c) must see the same bits. Sums run over 16 lanes from index 0, each in chains of
/// TR_SOFTMAX_CHAIN, then the tree of v_sum; the logarithm is base/real's, in double.
#include "common/tensor/cpu/kernels.h"
#include "common/tensor/cpu/simd.h"

#include <math.h>

#include "common/base/real.h"

/// Lanes past the end are 0, whose tanh is 0.
void CPU_NAME(cpu_cap)(float *z, float cap, size_t n)
{
    const v16 c = v_set1(cap);
    for (size_t i = 0; i < n; i += LANES) {
        size_t lanes = n - i < LANES ? n - i : LANES;
        v_store_n(z + i, v_mul(c, v_tanh(v_div(v_load_n(z + i, lanes), c))), lanes);
    }
}

void CPU_NAME(cpu_divide)(float *z, float divisor, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        z[i] = z[i] / divisor;
    }
}

/// The maximum of z: [n]. Order does not matter to a maximum, so lanes need only be filled up with
/// -infinity.
static float greatest(const float *z, size_t n)
{
    const v16 lowest = v_set1(-INFINITY);
    v16 most = lowest;
    for (size_t i = 0; i < n; i += LANES) {
        size_t lanes = n - i < LANES ? n - i : LANES;
        most = v_max(most, v_keep_n(v_load_n(z + i, lanes), lanes, lowest));
    }
    return v_greatest(most);
}

/// Lanes of sums over logits, where x = e^distance and the distance is to the maximum.
typedef struct sums {
    v16 x, weighted, squares, distance;
} sums_t;

/// A chain from 0 over z: [n], n <= LANES * TR_SOFTMAX_CHAIN. e: [n], the x, or NULL.
static sums_t add_up(float *e, const float *z, size_t n, v16 max)
{
    sums_t sums = {v_zero(), v_zero(), v_zero(), v_zero()};
    for (size_t i = 0; i < n; i += LANES) {
        size_t lanes = n - i < LANES ? n - i : LANES;
        v16 distance = v_sub(v_load_n(z + i, lanes), max);
        // Lanes past the end hold e^(0 - max), which must not count.
        v16 x = v_keep_n(v_exp(distance), lanes, v_zero());
        sums.x = v_add(sums.x, x);
        sums.weighted = v_fma(x, distance, sums.weighted);
        sums.squares = v_fma(x, x, sums.squares);
        sums.distance = v_add(sums.distance, v_keep_n(distance, lanes, v_zero()));
        if (e != NULL) {
            v_store_n(e + i, x, lanes);
        }
    }
    return sums;
}

/// One pass after the maximum. With x = e^(z - max) and S = sum(x): log p = z - max - log S, and
/// the entropy is -sum(p log p) = log S - sum(x (z - max)) / S.
cpu_softmax_t CPU_NAME(cpu_softmax)(float *e, const float *z, size_t n)
{
    enum { CHAIN = LANES * TR_SOFTMAX_CHAIN };
    cpu_softmax_t result = {.max = greatest(z, n)};
    sums_t all = {v_zero(), v_zero(), v_zero(), v_zero()};
    for (size_t i = 0; i < n; i += CHAIN) {
        sums_t sums = add_up(e == NULL ? NULL : e + i, z + i, n - i < CHAIN ? n - i : CHAIN,
                             v_set1(result.max));
        all.x = v_add(all.x, sums.x);
        all.weighted = v_add(all.weighted, sums.weighted);
        all.squares = v_add(all.squares, sums.squares);
        all.distance = v_add(all.distance, sums.distance);
    }
    result.sum = v_sum(all.x);
    result.log_sum = (float)tr_real_log((double)result.sum);
    result.entropy = result.log_sum - v_sum(all.weighted) / result.sum;
    result.squares = v_sum(all.squares);
    result.mean = result.max + v_sum(all.distance) / (float)n;
    return result;
}
