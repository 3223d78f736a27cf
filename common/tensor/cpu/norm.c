/// Kernels with sums over a row or over rows: dot products, the root-mean-square norm, LayerNorm,
/// weighted sums of rows.
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

/// Lanes of a row from element i on, zeros after its end.
SIMD v16 row_at(const float *row, size_t i, size_t n)
{
    return i + LANES <= n ? v_load(row + i) : v_load_n(row + i, n - i);
}

/// y = (x - mean) rstd weight + bias (Ba et al. 2016). The mean square is that of the differences,
/// as in PyTorch: the square of the mean may be far greater.
void CPU_NAME(cpu_layernorm)(float *y, float *mean, float *rstd, const float *x,
                             const float *weight, size_t rows, size_t n, float epsilon)
{
    for (size_t r = 0; r < rows; r++, x += n, y += n) {
        v16 sum = v_zero(), squares = v_zero();
        for (size_t i = 0; i < n; i += LANES) {
            sum = v_add(sum, row_at(x, i, n));
        }
        mean[r] = v_sum(sum) / (float)n;
        for (size_t i = 0; i < n; i += LANES) {
            // Lanes past the end are zeros, not differences.
            v16 d = v_sub(row_at(x, i, n), v_set1(mean[r]));
            d = n - i < LANES ? v_keep_n(d, n - i, v_zero()) : d;
            squares = v_fma(d, d, squares);
        }
        rstd[r] = 1.0f / sqrtf(v_sum(squares) / (float)n + epsilon);
        for (size_t i = 0; i < n; i++) {
            y[i] = ((x[i] - mean[r]) * rstd[r]) * weight[i] + weight[n + i];
        }
    }
}

/// dx += rstd (d - mean(d) - z mean(d z)), d = dy w, z = (x - mean) rstd: what flows through the
/// mean and through rstd.
void CPU_NAME(cpu_layernorm_dx)(float *dx, const float *dy, const float *x, const float *mean,
                                const float *rstd, const float *weight, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++, x += n, dx += n, dy += n) {
        const v16 center = v_set1(mean[r]), factor = v_set1(rstd[r]);
        v16 sum = v_zero(), product = v_zero();
        for (size_t i = 0; i < n; i += LANES) {
            v16 d = v_mul(row_at(dy, i, n), row_at(weight, i, n)); // 0 past the end
            sum = v_add(sum, d);
            product = v_fma(d, v_mul(v_sub(row_at(x, i, n), center), factor), product);
        }
        const float shift = v_sum(sum) / (float)n, pull = v_sum(product) / (float)n;
        for (size_t i = 0; i < n; i++) {
            float z = (x[i] - mean[r]) * rstd[r];
            dx[i] = dx[i] + rstd[r] * (dy[i] * weight[i] - shift - z * pull);
        }
    }
}

/// dweight += sum over rows of dy z, dbias += sum over rows of dy: as cpu_rmsnorm_dweight.
void CPU_NAME(cpu_layernorm_dweight)(float *dweight, const float *dy, const float *x,
                                     const float *mean, const float *rstd, size_t rows, size_t n,
                                     size_t first, size_t count)
{
    for (size_t i = first; i < first + count; i += LANES) {
        size_t lanes = first + count - i < LANES ? first + count - i : LANES;
        v16 weight = v_load_n(dweight + i, lanes), bias = v_load_n(dweight + n + i, lanes);
        for (size_t r = 0; r < rows; r++) {
            v16 d = v_load_n(dy + r * n + i, lanes), z = v_load_n(x + r * n + i, lanes);
            weight = v_fma(d, v_mul(v_sub(z, v_set1(mean[r])), v_set1(rstd[r])), weight);
            bias = v_add(bias, d);
        }
        v_store_n(dweight + i, weight, lanes);
        v_store_n(dweight + n + i, bias, lanes);
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
