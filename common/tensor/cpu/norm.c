/// Kernels with sums over a row or over rows: dot products, the root-mean-square norm, weighted
/// sums of rows.
///
/// A sum over a row has one shape in all forms: 16 lanes, lane i a chain over elements i, i + 16,
/// ..., then the tree of v_sum. A sum over rows is one chain a column in ascending order, which
/// continues from the destination, 16 columns at a time.
#include "common/tensor/cpu/kernels.h"
#include "common/tensor/cpu/simd.h"

#include <math.h>

float CPU_NAME(cpu_dot)(const float *a, const float *b, size_t n)
{
    v16 sum = v_zero();
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        sum = v_fma(v_load(a + i), v_load(b + i), sum);
    }
    // The rest of the row; lanes past its end add 0 * 0.
    if (i < n) {
        sum = v_fma(v_load_n(a + i, n - i), v_load_n(b + i, n - i), sum);
    }
    return v_sum(sum);
}

/// y = x rstd (offset + weight), rstd = 1 / sqrt(mean(x^2) + epsilon) (Zhang and Sennrich 2019).
/// rstd is kept for the gradient.
void CPU_NAME(cpu_rmsnorm)(float *y, float *rstd, const float *x, const float *weight, size_t rows,
                           size_t n, float epsilon, float offset)
{
    for (size_t r = 0; r < rows; r++, x += n, y += n) {
        float factor = 1.0f / sqrtf(CPU_NAME(cpu_dot)(x, x, n) / (float)n + epsilon);
        rstd[r] = factor;
        for (size_t i = 0; i < n; i++) {
            y[i] = (x[i] * factor) * (offset + weight[i]);
        }
    }
}

/// dx += rstd (dy w - x rstd^2 mean(dy w x)), w = offset + weight. The mean is the part of the
/// gradient that flows through rstd.
void CPU_NAME(cpu_rmsnorm_dx)(float *dx, const float *dy, const float *x, const float *rstd,
                              const float *weight, size_t rows, size_t n, float offset,
                              bool replaces)
{
    const v16 shift = v_set1(offset);
    for (size_t r = 0; r < rows; r++, x += n, dx += n, dy += n) {
        v16 sum = v_zero();
        size_t i = 0;
        for (; i + LANES <= n; i += LANES) {
            v16 w = v_add(shift, v_load(weight + i));
            sum = v_fma(v_mul(v_load(dy + i), w), v_load(x + i), sum);
        }
        if (i < n) {
            v16 w = v_add(shift, v_load_n(weight + i, n - i));
            sum = v_fma(v_mul(v_load_n(dy + i, n - i), w), v_load_n(x + i, n - i), sum);
        }
        float mean = v_sum(sum) / (float)n;
        float pull = mean * rstd[r] * rstd[r];
        for (i = 0; i < n; i++) {
            float d = rstd[r] * (dy[i] * (offset + weight[i]) - x[i] * pull);
            dx[i] = replaces ? d : dx[i] + d;
        }
    }
}

/// dweight += sum over rows of dy x rstd: a chain down each column, all rows by one thread, so that
/// columns and not rows are split over the team.
void CPU_NAME(cpu_rmsnorm_dweight)(float *dweight, const float *dy, const float *x,
                                   const float *rstd, size_t rows, size_t n, size_t first,
                                   size_t count)
{
    for (size_t i = 0; i < count; i += LANES) {
        size_t lanes = count - i < LANES ? count - i : LANES;
        v16 sum = v_load_n(dweight + first + i, lanes);
        for (size_t r = 0; r < rows; r++) {
            size_t at = r * n + first + i;
            v16 normal = v_mul(v_load_n(x + at, lanes), v_set1(rstd[r]));
            sum = v_fma(v_load_n(dy + at, lanes), normal, sum);
        }
        v_store_n(dweight + first + i, sum, lanes);
    }
}

/// y += sum over rows of factor[r] x[r]: the scalar head's weight gradient.
void CPU_NAME(cpu_weighted_rows)(float *y, const float *factor, const float *x, size_t stride,
                                 size_t rows, size_t n)
{
    // 16 columns stay in a register while all rows pass.
    for (size_t i = 0; i < n; i += LANES) {
        size_t lanes = n - i < LANES ? n - i : LANES;
        v16 sum = v_load_n(y + i, lanes);
        for (size_t r = 0; r < rows; r++) {
            sum = v_fma(v_set1(factor[r]), v_load_n(x + r * stride + i, lanes), sum);
        }
        v_store_n(y + i, sum, lanes);
    }
}
