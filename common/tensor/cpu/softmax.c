/// Statistics of one row of logits: maximum, sum of exponentials, entropy, mean, and the sum of
/// squares.
///
/// In one file of kernels because log-probabilities, their gradient and sampling (head_ops.c,
/// sample_ops.c) must see the same bits. Sums run over 16 lanes from index 0, then the tree of
/// v_sum; the logarithm is base/real's, in double.
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

/// One pass after the maximum. With x = e^(z - max) and S = sum(x): log p = z - max - log S, and
/// the entropy is -sum(p log p) = log S - sum(x (z - max)) / S.
cpu_softmax_t CPU_NAME(cpu_softmax)(float *e, const float *z, size_t n)
{
    cpu_softmax_t result = {.max = greatest(z, n)};
    const v16 max = v_set1(result.max);
    v16 sum = v_zero(), weighted = v_zero(), squares = v_zero(), total = v_zero();
    for (size_t i = 0; i < n; i += LANES) {
        size_t lanes = n - i < LANES ? n - i : LANES;
        v16 distance = v_sub(v_load_n(z + i, lanes), max);
        // Lanes past the end hold e^(0 - max), which must not count.
        v16 x = v_keep_n(v_exp(distance), lanes, v_zero());
        sum = v_add(sum, x);
        weighted = v_fma(x, distance, weighted);
        squares = v_fma(x, x, squares);
        total = v_add(total, v_keep_n(distance, lanes, v_zero()));
        if (e != NULL) {
            v_store_n(e + i, x, lanes);
        }
    }
    result.sum = v_sum(sum);
    result.log_sum = (float)tr_real_log((double)result.sum);
    result.entropy = result.log_sum - v_sum(weighted) / result.sum;
    result.squares = v_sum(squares);
    result.mean = result.max + v_sum(total) / (float)n;
    return result;
}
