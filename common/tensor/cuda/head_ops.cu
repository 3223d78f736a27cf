/// The heads: log-probabilities of given tokens and their gradient, from logits that exist for a
/// tile of rows only or are kept, and the scalar head. A block works on one row. The arithmetic of
/// a row is head.h, which sampling (sample_ops.cu) shares.
#include "common/tensor/cuda/head.h"

/// Threads of a row's block: its lanes, or a warp where the lanes are fewer.
template <typename T> struct row_block {
    enum { threads = cuda_lanes<T>::count < 32 ? 32 : cuda_lanes<T>::count };
};

/// The place of a target that is no token, or whose row's list is not valid.
enum : size_t { NOWHERE = SIZE_MAX };

/// One call's arguments.
typedef struct head_args {
    size_t vocabulary;
    const int32_t *targets;        // [R]
    const int32_t *offsets, *kept; // [R + 1], [kept_limit]; NULL: nothing was truncated
    size_t kept_limit;
    float temperature, cap;
    float *logprob, *facts; // [R], [R, TR_FACTS]
    const float *dlogprob;  // [R]
    const float *dmean;     // [R]; NULL: 0
} head_args_t;

/// The place of target in the row's ascending list; n when it is not there.
static __device__ size_t find(const cuda_row_t &row, int32_t target)
{
    size_t low = 0, high = row.n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (row.ids[middle] < target) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < row.n && row.ids[low] == target ? low : row.n;
}

/// A row's distribution, and the place of its target there: n when truncation cut it, NOWHERE when
/// it is no token or when the row's list is not within the lists. Indices are on the device and
/// cannot be asserted from the host; a wrong one becomes a NaN.
static __device__ cuda_row_t row_of(const head_args_t &h, const float *z, size_t row,
                                    size_t *target)
{
    cuda_row_t result = {z, NULL, h.vocabulary, h.vocabulary, h.temperature};
    // A negative id becomes a huge one, which the comparison catches too.
    size_t id = static_cast<size_t>(h.targets[row]);
    *target = id < h.vocabulary ? id : static_cast<size_t>(NOWHERE);
    if (h.offsets == NULL || *target == NOWHERE) {
        return result;
    }
    int32_t begin = h.offsets[row], end = h.offsets[row + 1];
    // An empty list keeps the whole vocabulary (tr_kept_t).
    if (begin < 0 || end < begin || static_cast<size_t>(end) > h.kept_limit) {
        *target = NOWHERE;
    } else if (end > begin) {
        result.ids = h.kept + begin;
        result.n = static_cast<size_t>(end - begin);
        *target = find(result, h.targets[row]);
    }
    return result;
}

/// Log-probability and facts of each row of the tile. logits: [tile, vocabulary] of rows from
/// `first`.
template <typename T>
static __global__ void logprob_rows(head_args_t h, const float *logits, size_t first)
{
    enum { L = cuda_lanes<T>::count };
    __shared__ float shared[row_block<T>::threads];
    const size_t at = first + blockIdx.x;
    size_t target;
    cuda_row_t row = row_of(h, logits + blockIdx.x * h.vocabulary, at, &target);
    cuda_softmax_t softmax = cuda_row_softmax<L>(row, shared);
    // All threads have the statistics; one writes the row. No barrier follows.
    if (threadIdx.x != 0) {
        return;
    }
    const bool inside = target < row.n;
    tr_token_facts_t facts;
    facts.entropy = softmax.entropy;
    // log sum p^2 = log sum e^2(z - max) - 2 log sum e^(z - max).
    facts.collision =
        static_cast<float>(cuda_log(static_cast<double>(softmax.squares))) - 2.0f * softmax.log_sum;
    facts.logit = softmax.mean;
    facts.greedy = inside && row.at(target) == softmax.max ? 1.0f : 0.0f;
    facts.mean = (softmax.mean - softmax.max) - softmax.log_sum;
    reinterpret_cast<tr_token_facts_t *>(h.facts)[at] = facts;
    h.logprob[at] =
        inside ? cuda_row_logprob(row, target, softmax) : (target == NOWHERE ? NAN : -INFINITY);
}

/// gradient: [tile, vocabulary], written:
///
///     d logprob / d z = (onehot - p) / temperature over the n kept tokens, times dlogprob
///     d mean / d z    = (1/n - p) / temperature, times dmean
///
/// The gradient of tokens that were cut is 0. The operations are the CPU's (row_gradient in
/// cpu/head_ops.c), in its order.
template <typename T>
static __global__ void gradient_rows(T *gradient, head_args_t h, const float *logits, size_t first)
{
    enum { L = cuda_lanes<T>::count };
    __shared__ float shared[row_block<T>::threads];
    const size_t at = first + blockIdx.x;
    T *to = gradient + blockIdx.x * h.vocabulary;
    size_t target;
    cuda_row_t row = row_of(h, logits + blockIdx.x * h.vocabulary, at, &target);
    cuda_softmax_t softmax = cuda_row_softmax<L>(row, shared);
    // The row's three numbers; each thread computes them, which is cheaper than sharing them.
    const float factor = target == NOWHERE ? NAN : h.dlogprob[at] / h.temperature;
    const float even = h.dmean == NULL ? 0.0f : h.dmean[at] / h.temperature;
    const float scale = -(h.dmean == NULL ? factor : factor + even) / softmax.sum;
    // Zeros first; the barrier keeps them from overwriting another thread's result.
    for (size_t i = threadIdx.x; row.ids != NULL && i < h.vocabulary; i += blockDim.x) {
        cuda_store(to + i, 0.0f);
    }
    __syncthreads();
    for (size_t i = threadIdx.x; i < row.n; i += blockDim.x) {
        float d = cuda_exp(row.at(i) - softmax.max) * scale;
        d = h.dmean == NULL ? d : d + even / static_cast<float>(row.n);
        d = i == target ? d + factor : d;
        if (h.cap > 0.0f) { // the derivative of the cap, as uncap of cpu/head_ops.c
            const float bent = row.at(i) * h.temperature / h.cap;
            d = d * (1.0f - bent * bent);
        }
        // A kept id that is no token has a NaN as its logit, and no place to write to.
        if (row.id(i) < h.vocabulary) {
            cuda_store(to + row.id(i), d);
        }
    }
}

/// Checks and fills the arguments that both operators have.
static head_args_t prepare(tr_tensor_t hidden, size_t vocabulary, tr_tensor_t targets,
                           float temperature, tr_kept_t kept)
{
    head_args_t h = {};
    TR_ASSERT(temperature > 0.0f, "temperature %g", static_cast<double>(temperature));
    TR_ASSERT_COUNT(targets, hidden.rows);
    // Unlike the CPU's, these checks do not see the ids: they are on the device.
    h.vocabulary = vocabulary;
    h.targets = cuda_i32(targets);
    h.temperature = temperature;
    if (kept.offsets.buffer != NULL) {
        TR_ASSERT_ROOM(kept.offsets, hidden.rows + 1);
        h.offsets = cuda_i32(kept.offsets);
        h.kept_limit = kept.ids.buffer == NULL ? 0 : tr_tensor_count(kept.ids);
        h.kept = h.kept_limit > 0 ? cuda_i32(kept.ids) : NULL;
    }
    return h;
}

void cuda_logprob(tr_queue_t *queue, tr_tensor_t logprob, tr_tensor_t facts, tr_tensor_t logits,
                  tr_tensor_t hidden, tr_head_t head, size_t vocabulary, tr_tensor_t targets,
                  float temperature, tr_kept_t kept)
{
    if (hidden.rows == 0) {
        return;
    }
    head_args_t h = prepare(hidden, vocabulary, targets, temperature, kept);
    TR_ASSERT_SHAPE(head.weight, vocabulary, hidden.columns);
    TR_ASSERT_COUNT(logprob, hidden.rows);
    TR_ASSERT_COUNT(facts, hidden.rows * TR_FACTS);
    h.logprob = cuda_f32(logprob);
    h.facts = cuda_f32(facts);
    cuda_with_type(queue->backend->base.real, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_over_logits(queue, logits, false, hidden, head,
                         [&](const float *tile, size_t first, size_t rows) {
                             cuda_launch(queue, static_cast<unsigned>(rows), row_block<T>::threads,
                                         0, logprob_rows<T>, h, tile, first);
                         });
    });
}

/// The gradients of a tile's logits, and through them dhidden of its rows and the tile's part of
/// dhead.
template <typename T>
static void tile_gradient(tr_queue_t *queue, const head_args_t &h, const float *logits,
                          size_t first, size_t rows, tr_tensor_t dhidden, tr_tensor_t dhead,
                          tr_tensor_t hidden, tr_tensor_t weight)
{
    // The same slot for every tile: the products below have read it before the next tile's kernel
    // starts, since both are in the queue.
    T *gradient =
        static_cast<T *>(cuda_scratch(queue, CUDA_SLOT_GRADIENT, rows * h.vocabulary * sizeof(T)));
    if (gradient == NULL) {
        return;
    }
    cuda_launch(queue, static_cast<unsigned>(rows), row_block<T>::threads, 0, gradient_rows<T>,
                gradient, h, logits, first);
    cuda_input_gradient(queue, cuda_real<T>(tr_tensor_rows(dhidden, first, rows)), gradient, weight,
                        rows);
    if (dhead.buffer != NULL) { // else the head is frozen
        cuda_weight_gradient(queue, cuda_f32(dhead), gradient,
                             cuda_real<T>(tr_tensor_rows(hidden, first, rows)), cuda_type<T>::dtype,
                             rows, h.vocabulary, hidden.columns);
    }
}

void cuda_logprob_gradient(tr_queue_t *queue, tr_tensor_t dhidden, tr_tensor_t dhead,
                           tr_tensor_t dlogprob, tr_tensor_t dmean, tr_tensor_t logits,
                           tr_tensor_t hidden, tr_head_t head, tr_tensor_t targets,
                           float temperature, tr_kept_t kept)
{
    // dhead tells the vocabulary also where its buffer is NULL.
    const size_t width = hidden.columns;
    if (hidden.rows == 0) {
        return;
    }
    head_args_t h = prepare(hidden, dhead.rows, targets, temperature, kept);
    h.cap = head.cap;
    TR_ASSERT_SHAPE(head.weight, dhead.rows, width);
    TR_ASSERT_COLUMNS(dhead, width);
    TR_ASSERT_SHAPE(dhidden, hidden.rows, width);
    TR_ASSERT_COUNT(dlogprob, hidden.rows);
    // Without dmean the kernel leaves the second gradient out, so that the first keeps its bits.
    h.dlogprob = cuda_f32(dlogprob);
    if (dmean.buffer != NULL) {
        TR_ASSERT_COUNT(dmean, hidden.rows);
        h.dmean = cuda_f32(dmean);
    }
    cuda_with_type(queue->backend->base.real, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_over_logits(
            queue, logits, true, hidden, head, [&](const float *tile, size_t first, size_t rows) {
                tile_gradient<T>(queue, h, tile, first, rows, dhidden, dhead, hidden, head.weight);
            });
    });
}

// The scalar head

/// values = hidden . weight: a block a row, a lane a chain, then the tree.
template <typename T>
static __global__ void scalar_rows(float *values, const T *hidden, const T *weight, size_t n)
{
    enum { L = cuda_lanes<T>::count };
    __shared__ float shared[row_block<T>::threads];
    const T *x = hidden + blockIdx.x * n;
    float sum = 0.0f;
    for (size_t i = threadIdx.x % L; i < n; i += L) {
        sum = fmaf(cuda_load(x[i]), cuda_load(weight[i]), sum);
    }
    // In f32 16 lanes work and the other threads of the warp repeat them: threadIdx.x % L above.
    sum = cuda_sum_lanes<L>(sum, shared);
    if (threadIdx.x == 0) {
        values[blockIdx.x] = sum;
    }
}

void cuda_scalar_head(tr_queue_t *queue, tr_tensor_t values, tr_tensor_t hidden, tr_tensor_t weight)
{
    TR_ASSERT_COUNT(weight, hidden.columns);
    TR_ASSERT_COUNT(values, hidden.rows);
    cuda_with_type(hidden.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, static_cast<unsigned>(hidden.rows), row_block<T>::threads, 0,
                    scalar_rows<T>, cuda_f32(values), cuda_real<T>(hidden), cuda_real<T>(weight),
                    hidden.columns);
    });
}

/// A thread a column: dhidden, written, and the chain over rows that continues dweight.
template <typename T>
static __global__ void scalar_gradient(T *dhidden, float *dweight, const float *dvalues,
                                       const T *hidden, const T *weight, size_t rows, size_t n)
{
    size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) {
        return;
    }
    // Neighbouring threads have neighbouring columns, so each row is read in whole transactions.
    float w = cuda_load(weight[i]), sum = dweight[i];
    for (size_t r = 0; r < rows; r++) {
        cuda_store(dhidden + r * n + i, w * dvalues[r]);
        sum = fmaf(dvalues[r], cuda_load(hidden[r * n + i]), sum);
    }
    dweight[i] = sum;
}

void cuda_scalar_head_gradient(tr_queue_t *queue, tr_tensor_t dhidden, tr_tensor_t dweight,
                               tr_tensor_t dvalues, tr_tensor_t hidden, tr_tensor_t weight)
{
    const size_t width = hidden.columns;
    TR_ASSERT_SHAPE(dhidden, hidden.rows, width);
    TR_ASSERT_COUNT(weight, width);
    TR_ASSERT_COUNT(dweight, width);
    TR_ASSERT_COUNT(dvalues, hidden.rows);
    cuda_with_type(hidden.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, cuda_blocks(width, CUDA_BLOCK), CUDA_BLOCK, 0, scalar_gradient<T>,
                    cuda_real<T>(dhidden), cuda_f32(dweight), cuda_f32(dvalues),
                    cuda_real<T>(hidden), cuda_real<T>(weight), hidden.rows, width);
    });
}
