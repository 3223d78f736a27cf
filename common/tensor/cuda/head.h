/// One row of logits: the arithmetic that log-probabilities and sampling share, so that both give
/// the same bits; and the tiles of rows for which logits exist.
#ifndef TR_TENSOR_CUDA_HEAD_H
#define TR_TENSOR_CUDA_HEAD_H

#include <math.h>

#include "common/tensor/cuda/numbers.h"

/// A row's distribution: softmax(z / temperature) over n tokens.
typedef struct cuda_row {
    const float *z;     ///< [vocabulary] logits
    const int32_t *ids; ///< [n] kept tokens, ascending; NULL: all, n is vocabulary
    size_t n, vocabulary;
    float temperature;

    __device__ __forceinline__ size_t id(size_t i) const
    {
        return ids == NULL ? i : static_cast<size_t>(ids[i]);
    }
    /// The i-th token's logit / temperature; NaN where a kept id is no token.
    __device__ __forceinline__ float at(size_t i) const
    {
        return id(i) < vocabulary ? z[id(i)] / temperature : NAN;
    }
} cuda_row_t;

/// Statistics of a row, as cpu_softmax_t: sum and squares of e^(at - max), and so on.
typedef struct cuda_softmax {
    float max, sum, log_sum, entropy, squares, mean;
} cuda_softmax_t;

/// A lane's sums over logits, where x = e^distance and the distance is to the maximum.
typedef struct cuda_logit_sums {
    float x, weighted, squares, distance;
} cuda_logit_sums_t;

/// A chain from 0: every L-th logit from the first on, at most TR_SOFTMAX_CHAIN of them.
template <int L>
static __device__ cuda_logit_sums_t cuda_chain_logits(const cuda_row_t &row, size_t first,
                                                      float max)
{
    const size_t end = first + static_cast<size_t>(L) * TR_SOFTMAX_CHAIN;
    cuda_logit_sums_t sums = {};
    for (size_t i = first; i < row.n && i < end; i += L) {
        float distance = row.at(i) - max, x = cuda_exp(distance);
        sums.x = sums.x + x;
        sums.weighted = fmaf(x, distance, sums.weighted);
        sums.squares = fmaf(x, x, sums.squares);
        sums.distance = sums.distance + distance;
    }
    return sums;
}

/// A block works on one row: L lanes from index 0, each in chains, as cpu/softmax.c, then the tree.
/// In a block of more than L threads, every L of them compute the same, so all get the result.
/// shared: [blockDim.x].
template <int L>
static __device__ cuda_softmax_t cuda_row_softmax(const cuda_row_t &row, float *shared)
{
    const size_t lane = threadIdx.x % L;
    cuda_softmax_t result;
    cuda_logit_sums_t all = {};
    float most = -INFINITY;
    for (size_t i = lane; i < row.n; i += L) {
        float z = row.at(i);
        most = most > z ? most : z;
    }
    result.max = cuda_greatest_lane<L>(most, shared);
    for (size_t i = lane; i < row.n; i += static_cast<size_t>(L) * TR_SOFTMAX_CHAIN) {
        cuda_logit_sums_t sums = cuda_chain_logits<L>(row, i, result.max);
        all.x = all.x + sums.x;
        all.weighted = all.weighted + sums.weighted;
        all.squares = all.squares + sums.squares;
        all.distance = all.distance + sums.distance;
    }
    result.sum = cuda_sum_lanes<L>(all.x, shared);
    result.log_sum = static_cast<float>(cuda_log(static_cast<double>(result.sum)));
    result.entropy = result.log_sum - cuda_sum_lanes<L>(all.weighted, shared) / result.sum;
    result.squares = cuda_sum_lanes<L>(all.squares, shared);
    result.mean = result.max + cuda_sum_lanes<L>(all.distance, shared) / static_cast<float>(row.n);
    return result;
}

/// Log-probability of the row's i-th token.
static __device__ __forceinline__ float cuda_row_logprob(const cuda_row_t &row, size_t i,
                                                         const cuda_softmax_t &softmax)
{
    return (row.at(i) - softmax.max) - softmax.log_sum;
}

/// z = cap tanh(z / cap)
static __global__ void cuda_cap_elements(float *z, float cap, size_t n)
{
    size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < n) {
        z[i] = cap * cuda_tanh(z[i] / cap);
    }
}

/// Calls f(logits, first, count) for tiles of hidden: [rows, H]; logits: f32 [count, V] of rows
/// first..first+count-1. kept: f32 [K, V], or a NULL buffer: tiles among the first K rows have
/// their logits there, computed already if `known`. The others share one slot: the queue runs f's
/// kernels before the next tile's product. Which tiles there are does not depend on K, since in
/// bf16 sums over tokens begin anew with each.
template <typename F>
static inline void cuda_over_logits(tr_queue_t *queue, tr_tensor_t kept, bool known,
                                    tr_tensor_t hidden, tr_head_t head, F f)
{
    const tr_dtype_t real = queue->backend->base.real;
    const size_t tile = cuda_logits_tile(hidden.rows, head.weight.rows);
    TR_ASSERT_COLUMNS(head.weight, hidden.columns);
    for (size_t first = 0; first < hidden.rows; first += tile) {
        const size_t count = hidden.rows - first < tile ? hidden.rows - first : tile;
        const bool keeps = cuda_keeps_logits(kept, first, count);
        float *logits =
            keeps ? cuda_f32(tr_tensor_rows(kept, first, count))
                  : static_cast<float *>(cuda_scratch(queue, CUDA_SLOT_LOGITS,
                                                      tile * head.weight.rows * sizeof(float)));
        if (logits == NULL) {
            return;
        }
        if (!keeps || !known) {
            cuda_product(queue, logits, TR_F32,
                         cuda_data(tr_tensor_rows(hidden, first, count), real), head.weight, count);
            if (head.cap > 0.0f) {
                cuda_launch(queue, cuda_blocks(count * head.weight.rows, CUDA_BLOCK), CUDA_BLOCK, 0,
                            cuda_cap_elements, logits, head.cap, count * head.weight.rows);
            }
        }
        f(logits, first, count);
    }
}

#endif
