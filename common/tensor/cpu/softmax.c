/// Statistics of one row of logits. Sums run over 16 lanes from index 0, then the fixed tree.
#include "common/tensor/cpu/kernels.h"
#include "common/tensor/cpu/simd.h"

#include <math.h>

#include "common/base/real.h"

void CPU_NAME(cpu_divide)(float *z, float divisor, size_t n);
cpu_softmax_t CPU_NAME(cpu_softmax)(float *e, const float *z, size_t n);

void CPU_NAME(cpu_divide)(float *z, float divisor, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        z[i] = z[i] / divisor;
    }
}

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

cpu_softmax_t CPU_NAME(cpu_softmax)(float *e, const float *z, size_t n)
{
    cpu_softmax_t result = {.max = greatest(z, n)};
    const v16 max = v_set1(result.max);
    v16 sum = v_zero(), weighted = v_zero(), squares = v_zero(), total = v_zero();
    for (size_t i = 0; i < n; i += LANES) {
        size_t lanes = n - i < LANES ? n - i : LANES;
        v16 distance = v_sub(v_load_n(z + i, lanes), max);
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
