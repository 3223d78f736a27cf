/// Norms: root-mean-square of rows or of groups of their columns, and LayerNorm. The CPU's
/// counterpart is cpu/norm.c; in f32 each kernel adds in its order. No kernel adds with atomics.
#include <math.h>

#include "common/tensor/cuda/numbers.h"

static __device__ __forceinline__ size_t thread_index(void)
{
    return static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

// Root-mean-square norm. A row takes L lanes: in f32 16, so a block has 16 rows; in bf16 the whole
// block.

/// The sum of term over the row's n elements: a chain a lane, then the tree. term(i, sum) continues
/// the chain.
template <int L, typename F>
static __device__ __forceinline__ float sum_row(size_t n, float *shared, F term)
{
    float sum = 0.0f;
    for (size_t i = threadIdx.x % L; i < n; i += L) {
        sum = term(i, sum);
    }
    return cuda_sum_lanes<L>(sum, shared);
}

/// Where groups of columns stand: rows of `width` elements have `groups` pieces side by side from
/// column `first`. For a norm of whole rows: one piece from column 0.
struct pieces {
    size_t groups, width, first;

    /// The first element of piece `row`, of all pieces of all rows, n elements each.
    __device__ __forceinline__ size_t at(size_t row, size_t n) const
    {
        return row / groups * width + first + row % groups * n;
    }
};

/// y = x rstd (offset + weight), rstd = 1 / sqrt(mean(x^2) + epsilon). Rows past the last read row
/// 0: every thread must take part in the sum, which synchronises the block.
template <typename T>
static __global__ void norm_rows(T *y, float *rstd, const T *x, const T *weight, size_t rows,
                                 size_t n, tr_norm_t norm, pieces p)
{
    enum { L = cuda_lanes<T>::count };
    __shared__ float shared[CUDA_BLOCK];
    // L divides the block, so the lanes of a row are in the same block.
    const size_t row = thread_index() / L, at = p.at(row < rows ? row : 0, n);
    const T *from = x + at;
    float sum = sum_row<L>(n, shared, [&](size_t i, float s) {
        return fmaf(cuda_load(from[i]), cuda_load(from[i]), s);
    });
    if (row >= rows) {
        return;
    }
    // sqrtf and the division round correctly (nvcc's default), so these are the CPU's bits.
    float factor = 1.0f / sqrtf(sum / static_cast<float>(n) + norm.epsilon);
    for (size_t i = threadIdx.x % L; i < n; i += L) {
        // (x rstd) weight, not x (rstd weight): the CPU's order. In bf16 one rounding, at the end.
        cuda_store(y + at + i,
                   (cuda_load(from[i]) * factor) * (norm.offset + cuda_load(weight[i])));
    }
    if (threadIdx.x % L == 0) {
        rstd[row] = factor;
    }
}

void cuda_rmsnorm(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t rstd, tr_tensor_t x,
                  tr_tensor_t weight, tr_norm_t norm)
{
    TR_ASSERT_SHAPE(y, x.rows, x.columns);
    TR_ASSERT_COUNT(weight, x.columns);
    TR_ASSERT_ROOM(rstd, x.rows);
    cuda_group_norm(queue, y, rstd, x, weight, 0, 1, norm);
}

void cuda_group_norm(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t rstd, tr_tensor_t x,
                     tr_tensor_t weight, size_t first, size_t groups, tr_norm_t norm)
{
    const size_t n = tr_tensor_count(weight), rows = x.rows * groups;
    TR_ASSERT_SHAPE(y, x.rows, x.columns);
    TR_ASSERT_ROOM(rstd, rows);
    TR_ASSERT(first + groups * n <= x.columns, "%zu groups of %zu from %zu", groups, n, first);
    cuda_with_type(x.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, cuda_blocks(rows * cuda_lanes<T>::count, CUDA_BLOCK), CUDA_BLOCK, 0,
                    norm_rows<T>, cuda_real<T>(y), cuda_f32(rstd), cuda_real<T>(x),
                    cuda_real<T>(weight), rows, n, norm, (pieces{groups, x.columns, first}));
    });
}

/// dx += rstd (dy w - x rstd^2 mean(dy w x)), w = offset + weight, in the order of cpu_rmsnorm_dx;
/// or in place, where dx is dy: a lane reads of the others' elements in the sum alone.
template <typename T>
static __global__ void norm_dx(T *dx, const T *dy, const T *x, const float *rstd, const T *weight,
                               size_t rows, size_t n, float offset, bool replaces, pieces p)
{
    enum { L = cuda_lanes<T>::count };
    __shared__ float shared[CUDA_BLOCK];
    const size_t row = thread_index() / L, at = p.at(row < rows ? row : 0, n);
    float sum = sum_row<L>(n, shared, [&](size_t i, float s) {
        return fmaf(cuda_load(dy[at + i]) * (offset + cuda_load(weight[i])), cuda_load(x[at + i]),
                    s);
    });
    if (row >= rows) {
        return;
    }
    float factor = rstd[row];
    // rstd^2 mean(dy w x): what the derivative of rstd takes from each element, times x.
    float pull = sum / static_cast<float>(n) * factor * factor;
    for (size_t i = threadIdx.x % L; i < n; i += L) {
        float d =
            cuda_load(dy[at + i]) * (offset + cuda_load(weight[i])) - cuda_load(x[at + i]) * pull;
        cuda_store(dx + at + i, replaces ? factor * d : cuda_load(dx[at + i]) + factor * d);
    }
}

/// A thread a column: the chain over the rows of segment blockIdx.y, from sums[segment] or from 0.
/// sums: [segments, n].
template <typename T>
static __global__ void norm_dweight(float *sums, bool from_zero, const T *dy, const T *x,
                                    const float *rstd, size_t rows, size_t n, size_t segment,
                                    pieces p)
{
    size_t i = thread_index();
    if (i >= n) {
        return;
    }
    // In f32 there is one segment, blockIdx.y is 0 and `sums` is dweight itself.
    size_t first = blockIdx.y * segment, end = first + segment < rows ? first + segment : rows;
    float sum = from_zero ? 0.0f : sums[blockIdx.y * n + i];
    for (size_t r = first; r < end; r++) {
        float normal = cuda_load(x[p.at(r, n) + i]) * rstd[r];
        sum = fmaf(cuda_load(dy[p.at(r, n) + i]), normal, sum);
    }
    sums[blockIdx.y * n + i] = sum;
}

/// y[i] += sums[0][i] + sums[1][i] + ..., in order.
static __global__ void add_segments(float *y, const float *sums, size_t segments, size_t n)
{
    size_t i = thread_index();
    if (i < n) {
        float sum = y[i];
        for (size_t s = 0; s < segments; s++) {
            sum = sum + sums[s * n + i];
        }
        y[i] = sum;
    }
}

/// In f32 one chain over all rows, as on the CPU, which keeps few threads busy. In bf16 segments of
/// rows go side by side into scratch memory and are then added in order: the same bits every time,
/// but not those of one chain.
template <typename T>
static void norm_weight_gradient(tr_queue_t *queue, float *dweight, const T *dy, const T *x,
                                 const float *rstd, size_t rows, size_t n, pieces p)
{
    unsigned blocks = cuda_blocks(n, CUDA_BLOCK);
    if (cuda_type<T>::dtype == TR_F32) { // one chain, as on the CPU
        cuda_launch(queue, blocks, CUDA_BLOCK, 0, norm_dweight<T>, dweight, false, dy, x, rstd,
                    rows, n, rows, p);
        return;
    }
    // Both kernels run in the queue's order, so the second one finds all segments complete.
    unsigned segments = cuda_blocks(rows, CUDA_NORM_ROWS);
    float *sums = static_cast<float *>(
        cuda_scratch(queue, CUDA_SLOT_PARTIAL, cuda_norm_gradient_bytes(rows, n)));
    cuda_launch(queue, dim3(blocks, segments), CUDA_BLOCK, 0, norm_dweight<T>, sums, true, dy, x,
                rstd, rows, n, static_cast<size_t>(CUDA_NORM_ROWS), p);
    cuda_launch(queue, blocks, CUDA_BLOCK, 0, add_segments, dweight, sums,
                static_cast<size_t>(segments), n);
}

void cuda_rmsnorm_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dweight, tr_tensor_t dy,
                           tr_tensor_t x, tr_tensor_t rstd, tr_tensor_t weight, tr_norm_t norm)
{
    TR_ASSERT_SHAPE(dx, x.rows, x.columns);
    TR_ASSERT_SHAPE(dy, x.rows, x.columns);
    TR_ASSERT_COUNT(weight, x.columns);
    TR_ASSERT_COUNT(dweight, x.columns);
    TR_ASSERT_ROOM(rstd, x.rows);
    // A rank's share of a batch may be empty; a grid of no blocks is not launched, but scratch
    // memory would be asked for.
    if (x.rows == 0) {
        return;
    }
    const pieces whole = {1, x.columns, 0};
    cuda_with_type(x.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, cuda_blocks(x.rows * cuda_lanes<T>::count, CUDA_BLOCK), CUDA_BLOCK, 0,
                    norm_dx<T>, cuda_real<T>(dx), cuda_real<T>(dy), cuda_real<T>(x), cuda_f32(rstd),
                    cuda_real<T>(weight), x.rows, x.columns, norm.offset, false, whole);
        norm_weight_gradient<T>(queue, cuda_f32(dweight), cuda_real<T>(dy), cuda_real<T>(x),
                                cuda_f32(rstd), x.rows, x.columns, whole);
    });
}

void cuda_group_norm_gradient(tr_queue_t *queue, tr_tensor_t d, tr_tensor_t dweight, tr_tensor_t x,
                              tr_tensor_t rstd, tr_tensor_t weight, size_t first, size_t groups,
                              tr_norm_t norm)
{
    const size_t n = tr_tensor_count(weight), rows = x.rows * groups;
    TR_ASSERT_SHAPE(d, x.rows, x.columns);
    TR_ASSERT_COUNT(dweight, n);
    TR_ASSERT_ROOM(rstd, rows);
    TR_ASSERT(first + groups * n <= x.columns, "%zu groups of %zu from %zu", groups, n, first);
    if (rows == 0) {
        return;
    }
    const pieces p = {groups, x.columns, first};
    cuda_with_type(x.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        // The weight's gradient first: it reads dy, which the other kernel replaces.
        norm_weight_gradient<T>(queue, cuda_f32(dweight), cuda_real<T>(d), cuda_real<T>(x),
                                cuda_f32(rstd), rows, n, p);
        cuda_launch(queue, cuda_blocks(rows * cuda_lanes<T>::count, CUDA_BLOCK), CUDA_BLOCK, 0,
                    norm_dx<T>, cuda_real<T>(d), cuda_real<T>(d), cuda_real<T>(x), cuda_f32(rstd),
                    cuda_real<T>(weight), rows, n, norm.offset, true, p);
    });
}

// LayerNorm

/// y = (x - mean) rstd weight + bias; as norm_rows.
template <typename T>
static __global__ void layernorm_rows(T *y, float *mean, float *rstd, const T *x, const T *weight,
                                      size_t rows, size_t n, float epsilon)
{
    enum { L = cuda_lanes<T>::count };
    __shared__ float shared[CUDA_BLOCK];
    const size_t row = thread_index() / L, at = (row < rows ? row : 0) * n;
    const T *from = x + at;
    float center =
        sum_row<L>(n, shared, [&](size_t i, float s) { return s + cuda_load(from[i]); }) /
        static_cast<float>(n);
    float squares = sum_row<L>(n, shared, [&](size_t i, float s) {
        float d = cuda_load(from[i]) - center;
        return fmaf(d, d, s);
    });
    if (row >= rows) {
        return;
    }
    float factor = 1.0f / sqrtf(squares / static_cast<float>(n) + epsilon);
    for (size_t i = threadIdx.x % L; i < n; i += L) {
        cuda_store(y + at + i, ((cuda_load(from[i]) - center) * factor) * cuda_load(weight[i]) +
                                   cuda_load(weight[n + i]));
    }
    if (threadIdx.x % L == 0) {
        mean[row] = center;
        rstd[row] = factor;
    }
}

void cuda_layernorm(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t moments, tr_tensor_t x,
                    tr_tensor_t weight, tr_norm_t norm)
{
    TR_ASSERT_SHAPE(y, x.rows, x.columns);
    TR_ASSERT_COUNT(weight, 2 * x.columns);
    TR_ASSERT_ROOM(moments, 2 * x.rows);
    cuda_with_type(x.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        float *mean = cuda_f32(moments);
        cuda_launch(queue, cuda_blocks(x.rows * cuda_lanes<T>::count, CUDA_BLOCK), CUDA_BLOCK, 0,
                    layernorm_rows<T>, cuda_real<T>(y), mean, mean + x.rows, cuda_real<T>(x),
                    cuda_real<T>(weight), x.rows, x.columns, norm.epsilon);
    });
}

/// dx += rstd (d - mean(d) - z mean(d z)), in the order of cpu_layernorm_dx.
template <typename T>
static __global__ void layernorm_dx(T *dx, const T *dy, const T *x, const float *mean,
                                    const float *rstd, const T *weight, size_t rows, size_t n)
{
    enum { L = cuda_lanes<T>::count };
    __shared__ float shared[CUDA_BLOCK];
    const size_t row = thread_index() / L, safe = row < rows ? row : 0, at = safe * n;
    const float center = mean[safe], factor = rstd[safe];
    float sum = sum_row<L>(n, shared, [&](size_t i, float s) {
        return s + cuda_load(dy[at + i]) * cuda_load(weight[i]);
    });
    float product = sum_row<L>(n, shared, [&](size_t i, float s) {
        return fmaf(cuda_load(dy[at + i]) * cuda_load(weight[i]),
                    (cuda_load(x[at + i]) - center) * factor, s);
    });
    if (row >= rows) {
        return;
    }
    const float shift = sum / static_cast<float>(n), pull = product / static_cast<float>(n);
    for (size_t i = threadIdx.x % L; i < n; i += L) {
        float z = (cuda_load(x[at + i]) - center) * factor;
        float d = cuda_load(dy[at + i]) * cuda_load(weight[i]) - shift - z * pull;
        cuda_store(dx + at + i, cuda_load(dx[at + i]) + factor * d);
    }
}

/// A thread a column, one chain down the rows in either precision: of the weight and of the bias.
template <typename T>
static __global__ void layernorm_dweight(float *dweight, const T *dy, const T *x, const float *mean,
                                         const float *rstd, size_t rows, size_t n)
{
    size_t i = thread_index();
    if (i < n) {
        float weight = dweight[i], bias = dweight[n + i];
        for (size_t r = 0; r < rows; r++) {
            float d = cuda_load(dy[r * n + i]);
            weight = fmaf(d, (cuda_load(x[r * n + i]) - mean[r]) * rstd[r], weight);
            bias = bias + d;
        }
        dweight[i] = weight;
        dweight[n + i] = bias;
    }
}

void cuda_layernorm_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dweight, tr_tensor_t dy,
                             tr_tensor_t x, tr_tensor_t moments, tr_tensor_t weight)
{
    TR_ASSERT_SHAPE(dx, x.rows, x.columns);
    TR_ASSERT_SHAPE(dy, x.rows, x.columns);
    TR_ASSERT_COUNT(weight, 2 * x.columns);
    TR_ASSERT_COUNT(dweight, 2 * x.columns);
    TR_ASSERT_ROOM(moments, 2 * x.rows);
    if (x.rows == 0) {
        return;
    }
    cuda_with_type(x.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        const float *mean = cuda_f32(moments);
        cuda_launch(queue, cuda_blocks(x.rows * cuda_lanes<T>::count, CUDA_BLOCK), CUDA_BLOCK, 0,
                    layernorm_dx<T>, cuda_real<T>(dx), cuda_real<T>(dy), cuda_real<T>(x), mean,
                    mean + x.rows, cuda_real<T>(weight), x.rows, x.columns);
        cuda_launch(queue, cuda_blocks(x.columns, CUDA_BLOCK), CUDA_BLOCK, 0, layernorm_dweight<T>,
                    cuda_f32(dweight), cuda_real<T>(dy), cuda_real<T>(x), mean, mean + x.rows,
                    x.rows, x.columns);
    });
}
