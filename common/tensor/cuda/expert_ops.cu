/// Mixtures of experts: the choice of experts, products by expert, sums over a token's experts. The
/// CPU's counterpart is cpu/expert_ops.c, whose bits these have in f32.
///
/// How many rows an expert has is known on the device alone: grids are as large as any choice may
/// need, so a captured graph serves other choices, and a block finds its expert by the starts.
/// Products are chains in either precision: in bf16 slower than tensor cores, and a row's bits are
/// its own.
#include <math.h>

#include "common/tensor/cuda/chains.h"
#include "common/tensor/cuda/head.h"

static __device__ __forceinline__ size_t thread_index(void)
{
    return static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

// Routing

/// A logit for comparisons, as on the CPU: NaN is the least.
static __device__ __forceinline__ float rank_of(float logit)
{
    return logit == logit ? logit : -INFINITY;
}

/// ranks: gives the logit, or what stands for it, of an expert.
template <typename Ranks>
static __device__ int next_choice(const Ranks &ranks, int experts, int last)
{
    const float before = last < 0 ? 0.0f : rank_of(ranks(last));
    float most = 0.0f;
    int best = -1;
    for (int e = 0; e < experts; e++) {
        const float rank = rank_of(ranks(e));
        const bool after = last < 0 || rank < before || (!(rank > before) && e > last);
        if (after && (best < 0 || rank > most)) {
            best = e;
            most = rank;
        }
    }
    return best;
}

/// to: [chosen], written, ascending.
template <typename Ranks>
static __device__ void choose(int32_t *to, const Ranks &ranks, const tr_router_t &router)
{
    int last = -1;
    for (size_t k = 0; k < router.chosen; k++) {
        last = next_choice(ranks, static_cast<int>(router.experts), last);
        size_t at = k;
        for (; at > 0 && to[at - 1] > last; at--) {
            to[at] = to[at - 1];
        }
        to[at] = last;
    }
}

static __device__ __forceinline__ float score_of(float z)
{
    return 1.0f / (1.0f + cuda_exp(0.0f - z));
}

/// The CPU's group_score.
template <typename Ranks>
static __device__ float group_score(const Ranks &rank_at, size_t group, size_t size)
{
    float best = -INFINITY, second = -INFINITY;
    for (size_t i = group * size; i < (group + 1) * size; i++) {
        const float rank = rank_of(rank_at(static_cast<int>(i)));
        second = rank > best ? best : rank > second ? rank : second;
        best = rank > best ? rank : best;
    }
    return best + second;
}

/// The chosen scores' sum, as on the CPU.
static __device__ float score_sum(const float *z, const int32_t *chosen, size_t count)
{
    float sum = 0.0f;
    for (size_t k = 0; k < count; k++) {
        sum = sum + score_of(z[chosen[k]]);
    }
    return sum + 1e-20f;
}

/// A thread a token; the CPU's sigmoid_rows.
static __global__ void sigmoid_rows(int32_t *experts, float *weights, const float *logits,
                                    const float *bias, size_t tokens, tr_router_t router)
{
    const size_t t = thread_index();
    if (t >= tokens) {
        return;
    }
    const float *z = logits + t * router.experts;
    int32_t *to = experts + t * router.chosen;
    const size_t size = router.experts / router.groups;
    const auto rank_at = [&](int e) { return score_of(z[e]) + bias[e]; };
    const auto group_at = [&](int g) { return group_score(rank_at, static_cast<size_t>(g), size); };
    unsigned long long kept = 0;
    int last = -1;
    for (size_t k = 0; k < router.groups_chosen; k++) {
        last = next_choice(group_at, static_cast<int>(router.groups), last);
        kept |= 1ull << last;
    }
    choose(
        to,
        [&](int e) { return kept >> (static_cast<size_t>(e) / size) & 1 ? rank_at(e) : -INFINITY; },
        router);
    const float sum = router.normalized ? score_sum(z, to, router.chosen) : 1.0f;
    for (size_t k = 0; k < router.chosen; k++) {
        weights[t * router.chosen + k] = score_of(z[to[k]]) / sum * router.scale;
    }
}

/// A row of logits as a distribution: e^(z - max), of which the sum is a chain over all experts.
struct distribution {
    const float *z;
    float max, sum;

    __device__ distribution(const float *logits, size_t experts) : z(logits), max(-INFINITY), sum(0)
    {
        for (size_t i = 0; i < experts; i++) {
            max = max > z[i] ? max : z[i];
        }
        for (size_t i = 0; i < experts; i++) {
            sum = sum + exponential(i);
        }
    }
    __device__ __forceinline__ float exponential(size_t i) const
    {
        return cuda_exp(z[i] - max);
    }
};

/// A thread a token.
static __global__ void route_rows(int32_t *experts, float *weights, const float *logits,
                                  size_t tokens, tr_router_t router)
{
    const size_t t = thread_index();
    if (t >= tokens) {
        return;
    }
    const float *z = logits + t * router.experts;
    int32_t *to = experts + t * router.chosen;
    float *w = weights + t * router.chosen;
    choose(
        to, [&](int e) { return z[e]; }, router);
    const distribution d(z, router.experts);
    float sum = d.sum;
    if (router.normalized) {
        sum = 0.0f;
        for (size_t k = 0; k < router.chosen; k++) {
            sum = sum + d.exponential(to[k]);
        }
    }
    for (size_t k = 0; k < router.chosen; k++) {
        w[k] = d.exponential(to[k]) / sum;
    }
}

/// starts[e + 1] = how many choices are expert e's; a block an expert.
static __global__ void count_rows(int32_t *starts, const int32_t *experts, size_t rows)
{
    __shared__ float shared[CUDA_BLOCK];
    const int32_t e = static_cast<int32_t>(blockIdx.x);
    float mine = 0.0f; // below 2^24 / CUDA_BLOCK a thread: exact
    for (size_t i = threadIdx.x; i < rows; i += CUDA_BLOCK) {
        mine = mine + (experts[i] == e ? 1.0f : 0.0f);
    }
    const float all = cuda_sum_lanes<CUDA_BLOCK>(mine, shared);
    if (threadIdx.x == 0) {
        starts[e + 1] = static_cast<int32_t>(all);
    }
}

static __global__ void add_starts(int32_t *starts, size_t experts)
{
    starts[0] = 0;
    for (size_t e = 0; e < experts; e++) {
        starts[e + 1] += starts[e];
    }
}

/// Rows of an expert in the order of tokens: a block an expert, which goes through all choices, a
/// vote of each warp at a time.
static __global__ void place_rows(int32_t *tokens, int32_t *places, const int32_t *starts,
                                  const int32_t *experts, size_t rows, size_t chosen)
{
    __shared__ unsigned found[CUDA_BLOCK / 32];
    const int32_t e = static_cast<int32_t>(blockIdx.x);
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    int32_t next = starts[e];
    for (size_t base = 0; base < rows; base += CUDA_BLOCK) {
        const size_t i = base + threadIdx.x;
        const bool mine = i < rows && experts[i] == e;
        const unsigned votes = __ballot_sync(0xffffffffu, mine);
        if (lane == 0) {
            found[warp] = votes;
        }
        __syncthreads();
        int before = __popc(votes & ((1u << lane) - 1u)), all = 0;
        for (int w = 0; w < CUDA_BLOCK / 32; w++) {
            before += w < warp ? __popc(found[w]) : 0;
            all += __popc(found[w]);
        }
        if (mine) {
            places[i] = next + before;
            tokens[next + before] = static_cast<int32_t>(i / chosen);
        }
        next += all;
        __syncthreads(); // all have read the votes before the next ones
    }
}

static void check_routes(tr_tensor_t logits, const tr_routes_t *routes, tr_router_t router)
{
    TR_ASSERT_COLUMNS(logits, router.experts);
    TR_ASSERT_SHAPE(routes->experts, logits.rows, router.chosen);
    TR_ASSERT_SHAPE(routes->weights, logits.rows, router.chosen);
    TR_ASSERT_SHAPE(routes->places, logits.rows, router.chosen);
    TR_ASSERT_COUNT(routes->tokens, logits.rows * router.chosen);
    TR_ASSERT_COUNT(routes->starts, router.experts + 1);
}

void cuda_route(tr_queue_t *queue, const tr_routes_t *routes, tr_tensor_t logits,
                tr_router_t router)
{
    const size_t rows = logits.rows * router.chosen;
    const unsigned experts = static_cast<unsigned>(router.experts);
    check_routes(logits, routes, router);
    const unsigned blocks = cuda_blocks(logits.rows, CUDA_BLOCK);
    if (router.sigmoid) {
        cuda_launch(queue, blocks, CUDA_BLOCK, 0, sigmoid_rows, cuda_i32(routes->experts),
                    cuda_f32(routes->weights), cuda_f32(logits), cuda_f32(router.bias), logits.rows,
                    router);
    } else {
        cuda_launch(queue, blocks, CUDA_BLOCK, 0, route_rows, cuda_i32(routes->experts),
                    cuda_f32(routes->weights), cuda_f32(logits), logits.rows, router);
    }
    cuda_launch(queue, experts, CUDA_BLOCK, 0, count_rows, cuda_i32(routes->starts),
                cuda_i32(routes->experts), rows);
    cuda_launch(queue, 1, 1, 0, add_starts, cuda_i32(routes->starts), router.experts);
    cuda_launch(queue, experts, CUDA_BLOCK, 0, place_rows, cuda_i32(routes->tokens),
                cuda_i32(routes->places), cuda_i32(routes->starts), cuda_i32(routes->experts), rows,
                router.chosen);
}

/// A thread a token; the CPU's slope_rows.
static __global__ void slope_rows(float *dlogits, const float *dweights, const float *pull,
                                  const float *logits, const int32_t *chosen_experts,
                                  const float *weights, size_t tokens, tr_router_t router)
{
    const size_t t = thread_index();
    if (t >= tokens) {
        return;
    }
    const size_t experts = router.experts, chosen = router.chosen;
    const int32_t *of = chosen_experts + t * chosen;
    const float *w = weights + t * chosen, *dw = dweights + t * chosen;
    const distribution d(logits + t * experts, experts);
    float *dz = dlogits + t * experts, mean = 0.0f, pulled = 0.0f;
    for (size_t k = 0; k < chosen; k++) {
        mean = mean + w[k] * dw[k];
    }
    for (size_t i = 0; i < experts; i++) {
        const float p = d.exponential(i) / d.sum;
        pulled = pulled + (pull != NULL ? p * pull[i] : 0.0f);
        dz[i] = router.normalized || router.sigmoid ? 0.0f : p * (0.0f - mean);
    }
    const float *z = logits + t * experts;
    const float all = router.sigmoid && router.normalized ? score_sum(z, of, chosen) : 1.0f;
    for (size_t k = 0; k < chosen; k++) {
        const float s = score_of(z[of[k]]), slope = dw[k] * router.scale;
        dz[of[k]] = router.sigmoid
                        ? (router.normalized ? slope - mean : slope) / all * (s * (1.0f - s))
                        : w[k] * (dw[k] - mean);
    }
    for (size_t i = 0; pull != NULL && i < experts; i++) {
        dz[i] = dz[i] + d.exponential(i) / d.sum * (pull[i] - pulled);
    }
}

void cuda_route_gradient(tr_queue_t *queue, tr_tensor_t dlogits, tr_tensor_t dweights,
                         tr_tensor_t pull, tr_tensor_t logits, const tr_routes_t *routes,
                         tr_router_t router)
{
    check_routes(logits, routes, router);
    TR_ASSERT_SHAPE(dlogits, logits.rows, router.experts);
    TR_ASSERT_SHAPE(dweights, logits.rows, router.chosen);
    cuda_launch(queue, cuda_blocks(logits.rows, CUDA_BLOCK), CUDA_BLOCK, 0, slope_rows,
                cuda_f32(dlogits), cuda_f32(dweights),
                pull.buffer != NULL ? cuda_f32(pull) : static_cast<float *>(NULL), cuda_f32(logits),
                cuda_i32(routes->experts), cuda_f32(routes->weights), logits.rows, router);
}

/// A block a token, of which every 16 lanes compute what the CPU's 16 do.
static __global__ void fact_rows(float *facts, const float *logits, size_t experts)
{
    __shared__ float shared[CUDA_BLOCK];
    const cuda_row_t row = {logits + blockIdx.x * experts, NULL, experts, experts, 1.0f};
    const cuda_softmax_t softmax = cuda_row_softmax<16>(row, shared);
    float *to = facts + blockIdx.x * (experts + 1);
    for (size_t i = threadIdx.x; i < experts; i += blockDim.x) {
        to[i] = cuda_exp(row.at(i) - softmax.max) / softmax.sum;
    }
    if (threadIdx.x == 0) {
        to[experts] = softmax.entropy;
    }
}

void cuda_router_facts(tr_queue_t *queue, tr_tensor_t facts, tr_tensor_t logits)
{
    TR_ASSERT_SHAPE(facts, logits.rows, logits.columns + 1);
    cuda_launch(queue, static_cast<unsigned>(logits.rows), CUDA_BLOCK, 0, fact_rows,
                cuda_f32(facts), cuda_f32(logits), logits.columns);
}

// Products by expert

/// Expert e owns the tiles of rows from floor(starts[e] / TILE) + e on, which is always enough
/// (cuda_tiles). The expert of a tile: the last one that owns tiles from it or before it on.
static __device__ int expert_of(const int32_t *starts, int experts, int tile)
{
    int low = 0, high = experts - 1;
    while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (starts[middle] / TILE + middle <= tile) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

/// A tile of y: [R, outputs] from x: [R, depth]: y = x W^T, W: [outputs, depth], or with `back` y =
/// x W, W: [depth, outputs], of the rows' expert.
template <typename T>
static __global__ void __launch_bounds__(CUDA_BLOCK)
    expert_rows(T *y, const T *x, const T *weight, const int32_t *starts, size_t experts,
                size_t outputs, size_t depth, bool back)
{
    const int tile = static_cast<int>(blockIdx.x);
    const int e = expert_of(starts, static_cast<int>(experts), tile);
    const int first = starts[e] + (tile - (starts[e] / TILE + e)) * TILE;
    if (first >= starts[e + 1]) { // all threads of the block
        return;
    }
    const T *w = weight + static_cast<size_t>(e) * outputs * depth;
    chain_tile(y, operand<T>{x, depth, 1}, operand<T>{w, back ? 1 : depth, back ? outputs : 1},
               static_cast<size_t>(first), static_cast<size_t>(starts[e + 1]),
               static_cast<size_t>(blockIdx.y) * TILE, outputs, depth, PRODUCT_WRITE);
}

static size_t experts_of(tr_tensor_t starts)
{
    return tr_tensor_count(starts) - 1;
}

static void run_experts(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t weight,
                        tr_tensor_t starts, bool back)
{
    const size_t experts = experts_of(starts);
    TR_ASSERT_ROWS(y, x.rows);
    TR_ASSERT_SHAPE(weight, experts * (back ? x.columns : y.columns), back ? y.columns : x.columns);
    cuda_with_type(y.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, dim3(cuda_tiles(x.rows, experts, 1, TILE), cuda_blocks(y.columns, TILE)),
                    CUDA_BLOCK, 0, expert_rows<T>, cuda_real<T>(y), cuda_real<T>(x),
                    cuda_real<T>(weight), cuda_i32(starts), experts, y.columns, x.columns, back);
    });
}

void cuda_expert_matmul(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t weight,
                        tr_tensor_t starts)
{
    run_experts(queue, y, x, weight, starts, false);
}

void cuda_expert_input_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dy,
                                tr_tensor_t weight, tr_tensor_t starts)
{
    run_experts(queue, dx, dy, weight, starts, true);
}

/// A tile of expert blockIdx.z's dw: [outputs, inputs].
template <typename T>
static __global__ void __launch_bounds__(CUDA_BLOCK)
    expert_slopes(float *dw, const T *dy, const T *x, const int32_t *starts, size_t outputs,
                  size_t inputs)
{
    const size_t e = blockIdx.z, first = static_cast<size_t>(starts[e]),
                 rows = static_cast<size_t>(starts[e + 1]) - first;
    if (rows > 0) {
        chain_tile(dw + e * outputs * inputs, operand<T>{dy + first * outputs, 1, outputs},
                   operand<T>{x + first * inputs, 1, inputs},
                   static_cast<size_t>(blockIdx.y) * TILE, outputs,
                   static_cast<size_t>(blockIdx.x) * TILE, inputs, rows, PRODUCT_CONTINUE);
    }
}

void cuda_expert_weight_gradient(tr_queue_t *queue, tr_tensor_t dw, tr_tensor_t dy, tr_tensor_t x,
                                 tr_tensor_t starts)
{
    const size_t experts = experts_of(starts);
    TR_ASSERT_ROWS(dy, x.rows);
    TR_ASSERT_SHAPE(dw, experts * dy.columns, x.columns);
    cuda_with_type(dy.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue,
                    dim3(cuda_blocks(x.columns, TILE), cuda_blocks(dy.columns, TILE),
                         static_cast<unsigned>(experts)),
                    CUDA_BLOCK, 0, expert_slopes<T>, cuda_f32(dw), cuda_real<T>(dy),
                    cuda_real<T>(x), cuda_i32(starts), dy.columns, x.columns);
    });
}

// Biases by expert

/// A block a row, whose expert is the last one that starts at it or before it.
template <typename T>
static __global__ void add_biases(T *y, const T *bias, const int32_t *starts, size_t experts,
                                  size_t n)
{
    const int32_t row = static_cast<int32_t>(blockIdx.x);
    size_t low = 0, high = experts - 1;
    while (low < high) {
        const size_t middle = (low + high + 1) / 2;
        low = starts[middle] <= row ? middle : low;
        high = starts[middle] <= row ? high : middle - 1;
    }
    for (size_t i = threadIdx.x; i < n; i += blockDim.x) {
        T *at = y + blockIdx.x * n + i;
        cuda_store(at, cuda_load(*at) + cuda_load(bias[low * n + i]));
    }
}

void cuda_expert_bias(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t bias, tr_tensor_t starts)
{
    TR_ASSERT_COUNT(bias, experts_of(starts) * y.columns);
    cuda_with_type(y.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, static_cast<unsigned>(y.rows), CUDA_BLOCK, 0, add_biases<T>,
                    cuda_real<T>(y), cuda_real<T>(bias), cuda_i32(starts), experts_of(starts),
                    y.columns);
    });
}

/// A thread a column of expert blockIdx.y, one chain down its rows.
template <typename T>
static __global__ void sum_biases(float *dbias, const T *dy, const int32_t *starts, size_t n)
{
    const size_t i = thread_index(), e = blockIdx.y;
    if (i < n) {
        float sum = dbias[e * n + i];
        for (int32_t r = starts[e]; r < starts[e + 1]; r++) {
            sum = sum + cuda_load(dy[static_cast<size_t>(r) * n + i]);
        }
        dbias[e * n + i] = sum;
    }
}

void cuda_expert_bias_gradient(tr_queue_t *queue, tr_tensor_t dbias, tr_tensor_t dy,
                               tr_tensor_t starts)
{
    const size_t experts = experts_of(starts);
    TR_ASSERT_COUNT(dbias, experts * dy.columns);
    cuda_with_type(dy.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue,
                    dim3(cuda_blocks(dy.columns, CUDA_BLOCK), static_cast<unsigned>(experts)),
                    CUDA_BLOCK, 0, sum_biases<T>, cuda_f32(dbias), cuda_real<T>(dy),
                    cuda_i32(starts), dy.columns);
    });
}

// SwiGLU with bounds

static __device__ __forceinline__ float at_most(float limit, float x)
{
    return limit < x ? limit : x;
}

static __device__ __forceinline__ float at_least(float limit, float x)
{
    return limit > x ? limit : x;
}

/// A thread an element of y: [rows, n].
template <typename T>
static __global__ void clamped_elements(T *y, const T *gate_up, size_t count, size_t n,
                                        tr_swiglu_t options)
{
    const size_t i = thread_index();
    if (i < count) {
        const T *row = gate_up + i / n * 2 * n;
        const float limit = options.limit, gate = at_most(limit, cuda_load(row[i % n])),
                    up = at_least(0.0f - limit, at_most(limit, cuda_load(row[n + i % n])));
        cuda_store(y + i, (gate * cuda_sigmoid(options.alpha * gate)) * (up + 1.0f));
    }
}

void cuda_swiglu_clamped(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t gate_up, tr_swiglu_t options)
{
    const size_t count = tr_tensor_count(y);
    TR_ASSERT_SHAPE(gate_up, y.rows, 2 * y.columns);
    cuda_with_type(y.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, clamped_elements<T>,
                    cuda_real<T>(y), cuda_real<T>(gate_up), count, y.columns, options);
    });
}

template <typename T>
static __global__ void clamped_slopes(T *dgate_up, const T *dy, const T *gate_up, size_t count,
                                      size_t n, tr_swiglu_t options)
{
    const size_t i = thread_index();
    if (i < count) {
        const size_t at = i / n * 2 * n + i % n;
        const float limit = options.limit, gate = cuda_load(gate_up[at]),
                    up = cuda_load(gate_up[at + n]);
        const float g = at_most(limit, gate), u = at_least(0.0f - limit, at_most(limit, up));
        const float d = cuda_load(dy[i]), a = options.alpha * g, s = cuda_sigmoid(a);
        const float slope = s * fmaf(a, 1.0f - s, 1.0f);
        cuda_store(dgate_up + at, limit < gate ? 0.0f : (d * (u + 1.0f)) * slope);
        cuda_store(dgate_up + at + n, limit < up || up < 0.0f - limit ? 0.0f : d * (g * s));
    }
}

void cuda_swiglu_clamped_gradient(tr_queue_t *queue, tr_tensor_t dgate_up, tr_tensor_t dy,
                                  tr_tensor_t gate_up, tr_swiglu_t options)
{
    const size_t count = tr_tensor_count(dy);
    TR_ASSERT_SHAPE(gate_up, dy.rows, 2 * dy.columns);
    TR_ASSERT_SHAPE(dgate_up, dy.rows, 2 * dy.columns);
    cuda_with_type(dy.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, clamped_slopes<T>,
                    cuda_real<T>(dgate_up), cuda_real<T>(dy), cuda_real<T>(gate_up), count,
                    dy.columns, options);
    });
}

// Sums over a token's experts

/// A block a token.
template <typename T>
static __global__ void combine_rows(T *y, const T *x, const float *weights, const int32_t *places,
                                    size_t chosen, size_t n)
{
    const size_t t = blockIdx.x;
    for (size_t i = threadIdx.x; i < n; i += blockDim.x) {
        float sum = 0.0f;
        for (size_t k = t * chosen; k < (t + 1) * chosen; k++) {
            const float weight = weights != NULL ? weights[k] : 1.0f;
            sum = fmaf(weight, cuda_load(x[static_cast<size_t>(places[k]) * n + i]), sum);
        }
        cuda_store(y + t * n + i, sum);
    }
}

void cuda_combine(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t weights,
                  tr_tensor_t places)
{
    TR_ASSERT_ROWS(y, places.rows);
    TR_ASSERT_SHAPE(x, tr_tensor_count(places), y.columns);
    cuda_with_type(y.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, static_cast<unsigned>(y.rows), CUDA_BLOCK, 0, combine_rows<T>,
                    cuda_real<T>(y), cuda_real<T>(x),
                    weights.buffer != NULL ? cuda_f32(weights) : static_cast<float *>(NULL),
                    cuda_i32(places), places.columns, y.columns);
    });
}

/// A choice takes L lanes, as the CPU's dot product. dx may be x: a lane reads of the others'
/// elements in no place, and its own before it writes them.
template <typename T>
static __global__ void divide_rows(T *dx, float *dweights, const T *dy, const T *x,
                                   const float *weights, const int32_t *places, size_t rows,
                                   size_t chosen, size_t n)
{
    enum { L = cuda_lanes<T>::count };
    __shared__ float shared[CUDA_BLOCK];
    const size_t i = thread_index() / L, choice = i < rows ? i : 0;
    const size_t from = choice / chosen * n, at = static_cast<size_t>(places[choice]) * n;
    float sum = 0.0f;
    for (size_t j = threadIdx.x % L; j < n; j += L) {
        sum = fmaf(cuda_load(dy[from + j]), cuda_load(x[at + j]), sum);
    }
    sum = cuda_sum_lanes<L>(sum, shared);
    if (i >= rows) { // took part in the sum, which synchronises the block
        return;
    }
    for (size_t j = threadIdx.x % L; j < n; j += L) {
        cuda_store(dx + at + j, cuda_load(dy[from + j]) * weights[i]);
    }
    if (threadIdx.x % L == 0) {
        dweights[i] = sum;
    }
}

void cuda_combine_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dweights, tr_tensor_t dy,
                           tr_tensor_t x, tr_tensor_t weights, tr_tensor_t places)
{
    TR_ASSERT_ROWS(dy, places.rows);
    TR_ASSERT_SHAPE(x, tr_tensor_count(places), dy.columns);
    TR_ASSERT_SHAPE(dx, x.rows, x.columns);
    TR_ASSERT_COUNT(weights, x.rows);
    TR_ASSERT_COUNT(dweights, x.rows);
    cuda_with_type(dy.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, cuda_blocks(x.rows * cuda_lanes<T>::count, CUDA_BLOCK), CUDA_BLOCK, 0,
                    divide_rows<T>, cuda_real<T>(dx), cuda_f32(dweights), cuda_real<T>(dy),
                    cuda_real<T>(x), cuda_f32(weights), cuda_i32(places), x.rows, places.columns,
                    dy.columns);
    });
}

// A gate for each row

template <typename T> static __device__ __forceinline__ float sigmoid_of(const T *gates, size_t row)
{
    return 1.0f / (1.0f + cuda_exp(0.0f - cuda_load(gates[row])));
}

/// A block a row.
template <typename T>
static __global__ void gate_each_row(T *y, const T *x, const T *gates, size_t n)
{
    const float sigmoid = sigmoid_of(gates, blockIdx.x);
    for (size_t i = threadIdx.x; i < n; i += blockDim.x) {
        cuda_store(y + blockIdx.x * n + i, cuda_load(x[blockIdx.x * n + i]) * sigmoid);
    }
}

void cuda_gate_rows(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t gates)
{
    TR_ASSERT_SHAPE(x, y.rows, y.columns);
    TR_ASSERT_SHAPE(gates, y.rows, 1);
    cuda_with_type(y.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, static_cast<unsigned>(y.rows), CUDA_BLOCK, 0, gate_each_row<T>,
                    cuda_real<T>(y), cuda_real<T>(x), cuda_real<T>(gates), y.columns);
    });
}

/// A row takes L lanes, as in divide_rows.
template <typename T>
static __global__ void gate_row_slopes(T *dx, T *dgates, const T *dy, const T *x, const T *gates,
                                       size_t rows, size_t n)
{
    enum { L = cuda_lanes<T>::count };
    __shared__ float shared[CUDA_BLOCK];
    const size_t row = thread_index() / L, t = row < rows ? row : 0;
    float sum = 0.0f;
    for (size_t i = threadIdx.x % L; i < n; i += L) {
        sum = fmaf(cuda_load(dy[t * n + i]), cuda_load(x[t * n + i]), sum);
    }
    sum = cuda_sum_lanes<L>(sum, shared);
    if (row >= rows) {
        return;
    }
    const float sigmoid = sigmoid_of(gates, t);
    for (size_t i = threadIdx.x % L; i < n; i += L) {
        cuda_store(dx + t * n + i, cuda_load(dy[t * n + i]) * sigmoid);
    }
    if (threadIdx.x % L == 0) {
        cuda_store(dgates + t, sum * (sigmoid * (1.0f - sigmoid)));
    }
}

void cuda_gate_rows_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dgates, tr_tensor_t dy,
                             tr_tensor_t x, tr_tensor_t gates)
{
    TR_ASSERT_SHAPE(x, dy.rows, dy.columns);
    TR_ASSERT_SHAPE(dx, dy.rows, dy.columns);
    TR_ASSERT_SHAPE(gates, dy.rows, 1);
    TR_ASSERT_SHAPE(dgates, dy.rows, 1);
    cuda_with_type(dy.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, cuda_blocks(dy.rows * cuda_lanes<T>::count, CUDA_BLOCK), CUDA_BLOCK, 0,
                    gate_row_slopes<T>, cuda_real<T>(dx), cuda_real<T>(dgates), cuda_real<T>(dy),
                    cuda_real<T>(x), cuda_real<T>(gates), dy.rows, dy.columns);
    });
}
