/// The key-value cache, and causal grouped-query attention over a ragged batch. Words and shapes:
/// attention.h. The CPU's counterpart is cpu/attention.c.
///
/// Two kernels for attention: attend_f32 repeats the CPU's chains bit for bit; attend_bf16 is flash
/// attention on tensor cores.
#include "common/tensor/cuda/attention.h"

// The cache

/// A block a token: copies its keys and values to its slot of its page. Tokens have different
/// slots, so blocks do not meet.
template <typename T> static __global__ void store_token(cuda_attending<T> a)
{
    const int token = static_cast<int>(blockIdx.x), all = a.key_value * a.dim;
    const int s = cuda_last_sequence(a.sequences, token, [&](int i) { return a.starts[i]; });
    const T *key = a.qkv + static_cast<size_t>(token) * a.width + a.query * a.dim;
    for (int i = static_cast<int>(threadIdx.x); i < all; i += static_cast<int>(blockDim.x)) {
        size_t at = cuda_cached(a, s, i / a.dim, a.positions[token]) + i % a.dim;
        a.keys[at] = key[i];
        a.values[at] = key[all + i];
    }
}

/// Arguments of operators that read or write the cache. Page numbers are on the device and cannot
/// be checked here.
template <typename T>
static cuda_attending<T> cached(tr_tensor_t qkv, tr_kv_t kv, const tr_ragged_t *batch,
                                tr_heads_t heads)
{
    const size_t page = heads.key_value * heads.dim * TR_PAGE;
    cuda_attending<T> a = cuda_attending_of<T>(qkv, batch, heads);
    TR_ASSERT_SHAPE(kv.keys, kv.keys.rows, page);
    TR_ASSERT_SHAPE(kv.values, kv.keys.rows, page);
    TR_ASSERT_ROOM(batch->pages, batch->sequences * batch->max_pages);
    TR_ASSERT(batch->longest <= batch->max_pages * TR_PAGE, "%zu pages for %zu positions",
              batch->max_pages, batch->longest);
    a.pages = cuda_i32(batch->pages);
    a.max_pages = static_cast<int>(batch->max_pages);
    a.keys = cuda_real<T>(kv.keys);
    a.values = cuda_real<T>(kv.values);
    return a;
}

void cuda_kv_store(tr_queue_t *queue, tr_kv_t kv, tr_tensor_t qkv, const tr_ragged_t *batch,
                   tr_heads_t heads)
{
    cuda_with_type(qkv.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, static_cast<unsigned>(batch->tokens), CUDA_BLOCK, 0, store_token<T>,
                    cached<T>(qkv, kv, batch, heads));
    });
}

// f32: the CPU's chains. Scores are computed twice, for the maximum and for the sums; the CPU keeps
// them, but shared memory does not hold a row of scores of any length

/// A block takes a tile of 16 rows, 16 lanes a row, and goes through the keys 16 at a time: lane i
/// scores key i of the 16, then lane i adds element i, i + 16, ... of the values. All threads take
/// part in every step, since each begins and ends at a barrier.
static __global__ void attend_f32(cuda_attending<float> a)
{
    CUDA_DYNAMIC_SHARED(float, query); // [16, D + 1], and so are keys and values
    float *keys = query + CUDA_EXACT * (a.dim + 1), *values = keys + CUDA_EXACT * (a.dim + 1);
    float *weights = values + CUDA_EXACT * (a.dim + 1); // [16, 17]
    const int h = static_cast<int>(blockIdx.y), lane = static_cast<int>(threadIdx.x) % CUDA_EXACT;
    const int r = static_cast<int>(threadIdx.x) / CUDA_EXACT;
    // The last tiles of a sequence see the most keys, so they come first: blocks start in ascending
    // order.
    const cuda_tile t =
        cuda_find_tile(a.starts, a.sequences, a.group, CUDA_EXACT, gridDim.x - 1 - blockIdx.x);
    if (t.count == 0) {
        return;
    }
    // Rows past the tile's last one compute what it does, and write nothing.
    const int row = t.first + min(r, t.count - 1);
    const int position = a.positions[t.start + row / a.group];
    const int last = a.positions[t.start + (t.first + t.count - 1) / a.group];
    cuda_load_exact(query, a.dim, [&](int) { return cuda_query_of(a, a.qkv, t, h, row); });
    auto load = [&](float *to, const float *cache, int first) {
        cuda_load_exact(to, a.dim, [&](int key) -> const float * {
            return first + key <= last ? cache + cuda_cached(a, t.sequence, h, first + key) : NULL;
        });
    };
    auto score = [&] {
        float slope;
        return cuda_score(a, cuda_chain(query + r * (a.dim + 1), keys + lane * (a.dim + 1), a.dim),
                          &slope);
    };
    // Keys that the row sees, and where the tile's first row begins.
    const int from = cuda_first_key(a, position);
    const int begin =
        cuda_first_key(a, a.positions[t.start + t.first / a.group]) / CUDA_EXACT * CUDA_EXACT;
    // First pass: the maximum over keys from..position.
    float most = -INFINITY;
    for (int first = begin; first <= last; first += CUDA_EXACT) {
        load(keys, a.keys, first);
        __syncthreads();
        float s = score();
        most = first + lane >= from && first + lane <= position && s > most ? s : most;
        __syncthreads();
    }
    most = cuda_greatest_lane<CUDA_EXACT>(most, NULL);
    // Second pass: exponentials, their sum (16 lanes, as on the CPU), and the chain over keys for
    // each output element.
    float sum = 0.0f;
    cuda_columns out;
    out.zero();
    for (int first = begin; first <= last; first += CUDA_EXACT) {
        load(keys, a.keys, first);
        load(values, a.values, first);
        __syncthreads();
        bool seen = first + lane >= from && first + lane <= position;
        float e = seen ? cuda_exp(score() - most) : 0.0f;
        sum = sum + e;
        weights[r * (CUDA_EXACT + 1) + lane] = e;
        __syncthreads();
        // A chain must not run past the row's position: adding 0 times a value could turn a -0 into
        // 0, and the page's rest may hold anything.
        for (int i = 0; i < CUDA_EXACT && first + i <= position; i++) {
            out.add(weights[r * (CUDA_EXACT + 1) + i], values + i * (a.dim + 1), lane, a.dim);
        }
        __syncthreads();
    }
    sum = cuda_sum_lanes<CUDA_EXACT>(sum, NULL);
    if (r < t.count) {
        size_t n = cuda_row_of(a, t, h, row);
        out.store(a.out + n * a.dim, 1.0f / sum, lane, a.dim);
        if (lane == 0) {
            a.lse[n] = most + static_cast<float>(cuda_log(static_cast<double>(sum)));
        }
    }
}

static void attend(tr_queue_t *queue, const cuda_attending<float> &a, const tr_ragged_t *batch)
{
    dim3 grid(cuda_tiles(batch->tokens, batch->sequences, a.group, CUDA_EXACT), a.key_value);
    const size_t shared = CUDA_EXACT * (3 * (a.dim + 1) + CUDA_EXACT + 1) * sizeof(float);
    cuda_launch(queue, grid, CUDA_EXACT * CUDA_EXACT, shared, attend_f32, a);
}

// bf16: flash attention (Dao et al. 2022). Keys come in blocks of 64 from position 0, with a
// running maximum and sums that are scaled when it grows. Four blocks are a segment, which starts
// afresh, and segments are joined in order. A row's result must depend on nothing but its query and
// the keys that it sees, so that a rollout and the trainer get the same bits:
//
//   - not on whether one block of threads takes all segments of a tile or, where tiles are few,
//     one block takes each segment and join_parts joins them: both join in the same order;
//   - not on its tile. Rows of a tile see different numbers of keys, but for a row that sees none
//     of a block or segment, going through it changes nothing: the maximum stays, sums are
//     multiplied by exp(0) = 1, weights are 0, and a product with zeros adds 0. Only a -0 may
//     become a 0 that way, so the last step adds 0 to every result.

enum { SEGMENT = CUDA_SEGMENT };
static_assert(SEGMENT == 4 * CUDA_KEYS, "keys of a segment");

/// The running statistics of a row's scores: their maximum, and the sum of exp(score - maximum).
struct softmax {
    float most, sum;
};

/// Joins the statistics of two segments, the earlier one first; returns the factors for the sums of
/// values of each.
static __device__ __forceinline__ float2 join(softmax &x, const softmax &y)
{
    const float most = y.most > x.most ? y.most : x.most;
    const float base = most > -INFINITY ? most : 0.0f; // a window may leave both without keys
    const float2 factors = make_float2(cuda_exp(x.most - base), cuda_exp(y.most - base));
    x = {most, x.sum * factors.x + y.sum * factors.y};
    return factors;
}

/// The log-sum-exp that the gradient needs.
static __device__ __forceinline__ float log_sum(const softmax &x)
{
    return x.most + static_cast<float>(cuda_log(static_cast<double>(x.sum)));
}

/// Shared memory of a block of M rows (16 where sequences have few rows, else 64), for heads of up
/// to 64 C elements.
template <int M, int C> struct flash_tiles {
    enum { S = cuda_stride<C>::of, SCORES = CUDA_KEYS + 4 };
    bf16 query[M * S];
    bf16 keys[CUDA_KEYS * S];
    bf16 values[CUDA_KEYS * S];
    float scores[M * SCORES];
    bf16 weights[M * CUDA_WEIGHTS]; // exponentials
    float2 factors[M];              // for the sums so far (x) and for the next ones (y)
};

/// One lane's keys of a row, those of its number and every 8th after it: turns scores into weights,
/// for the keys from..seen-1 of the block. Returns the factor for the sums before this block. x:
/// the row's maximum, and the lane's part of the sum.
static __device__ __forceinline__ float update_softmax(bf16 *weights, const float *scores, int lane,
                                                       int from, int seen,
                                                       const cuda_attending<bf16> &a, softmax &x)
{
    float score[CUDA_KEYS / CUDA_ROW_THREADS], most = x.most;
    for (int i = 0; i < CUDA_KEYS / CUDA_ROW_THREADS; i++) {
        int key = lane + i * CUDA_ROW_THREADS;
        float slope;
        score[i] = key >= from && key < seen ? cuda_score(a, scores[key], &slope) : -INFINITY;
        most = score[i] > most ? score[i] : most;
    }
    most = cuda_greatest_lane<CUDA_ROW_THREADS>(most, NULL);
    // While no key was seen, base must be finite, so that exp(-inf - base) is 0.
    const float base = most > -INFINITY ? most : 0.0f;
    const float factor = cuda_exp(x.most - base);
    x = {most, x.sum * factor};
    for (int i = 0; i < CUDA_KEYS / CUDA_ROW_THREADS; i++) {
        float weight = cuda_exp(score[i] - base);
        x.sum = x.sum + weight;
        cuda_store(weights + lane + i * CUDA_ROW_THREADS, weight);
    }
    return factor;
}

/// Loads keys and values of positions first..first+63, zeros past the tile's last: a page may hold
/// anything there, and 0 times a NaN is a NaN.
template <int M, int C>
static __device__ __forceinline__ void load_keys(flash_tiles<M, C> *m,
                                                 const cuda_attending<bf16> &a, int sequence, int h,
                                                 int first, int last)
{
    for (int i = 0; i < 2; i++) {
        const bf16 *cache = i == 0 ? a.keys : a.values;
        cuda_load_tile<C, CUDA_KEYS, 8 * M>(i == 0 ? m->keys : m->values, a.dim, [&](int key) {
            return first + key <= last ? cache + cuda_cached(a, sequence, h, first + key) : NULL;
        });
    }
}

/// Scores of the tile's rows with the block's keys, not scaled yet; a warp computes 16 x 16 of
/// them.
template <int M, int C> static __device__ __forceinline__ void score_keys(flash_tiles<M, C> *m)
{
    enum { S = flash_tiles<M, C>::S, SCORES = flash_tiles<M, C>::SCORES };
    const cuda_warp w = cuda_this_warp();
    cuda_piece scores = cuda_dot_rows<C>(m->query + w.side * S, m->keys + w.column * S);
    nvcuda::wmma::store_matrix_sync(m->scores + w.side * SCORES + w.column, scores, SCORES,
                                    nvcuda::wmma::mem_row_major);
}

/// out = factors * out + weights * values, in the warp's accumulators
template <int M, int C>
static __device__ __forceinline__ void add_values(cuda_piece *out, const flash_tiles<M, C> *m,
                                                  const cuda_places &places)
{
    enum { S = flash_tiles<M, C>::S };
    const cuda_warp w = cuda_this_warp();
    for (int c = 0; c < C; c++) {
        for (int i = 0; i < cuda_piece::num_elements; i++) {
            out[c].x[i] *= m->factors[w.side + places.row[i]].x;
        }
        cuda_add_product<cuda_plain, CUDA_WEIGHTS, cuda_plain, S, CUDA_KEYS>(
            out[c], m->weights + w.side * CUDA_WEIGHTS, m->values + w.column + c * 64);
    }
}

/// all = all * factors.x + out * factors.y: the values' side of join
template <int M, int C>
static __device__ __forceinline__ void join_outs(cuda_piece *all, const cuda_piece *out,
                                                 const flash_tiles<M, C> *m,
                                                 const cuda_places &places)
{
    const cuda_warp w = cuda_this_warp();
    for (int c = 0; c < C; c++) {
        for (int i = 0; i < cuda_piece::num_elements; i++) {
            const float2 factors = m->factors[w.side + places.row[i]];
            all[c].x[i] = all[c].x[i] * factors.x + out[c].x[i] * factors.y;
        }
    }
}

/// One segment's result for row n: out [D], maximum, sum. Segments that the row sees nothing of are
/// not read.
static __device__ __forceinline__ float *part_of(float *parts, size_t n, size_t segments,
                                                 size_t segment, int dim)
{
    return parts + (n * segments + segment) * (dim + 2);
}

/// Writes out and lse of the tile's rows, or this block's parts of them.
template <int M, int C>
static __device__ __forceinline__ void store_rows(const cuda_attending<bf16> &a, const cuda_tile &t,
                                                  float *parts, flash_tiles<M, C> *m,
                                                  const cuda_piece *out, const softmax &all)
{
    const int h = static_cast<int>(blockIdx.y);
    const int r = static_cast<int>(threadIdx.x) / CUDA_ROW_THREADS;
    auto row = [&](int i) { return cuda_row_of(a, t, h, t.first + i); };
    auto part = [&](int i) { return part_of(parts, row(i), gridDim.z, blockIdx.z, a.dim); };
    if (threadIdx.x % CUDA_ROW_THREADS == 0 && r < t.count) {
        if (parts != NULL) {
            part(r)[a.dim] = all.most;
            part(r)[a.dim + 1] = all.sum;
        } else {
            a.lse[row(r)] = log_sum(all);
        }
    }
    m->factors[r].x = 1.0f / all.sum;
    // Found again rather than kept through the loop over keys, where registers are scarce. Its
    // barriers also order factors, written above, before they are read below.
    const cuda_places places = cuda_find_places(m->scores);
    cuda_each_element<C>(out, places, [&](int i, int d, float x) {
        if (i < t.count && d < a.dim) {
            if (parts != NULL) {
                part(i)[d] = x;
            } else {
                cuda_store(a.out + row(i) * a.dim + d, x * m->factors[i].x + 0.0f);
            }
        }
    });
}

/// The number of blocks that a multiprocessor should hold, for __launch_bounds__: it limits the
/// registers of a thread.
template <int M, int C> struct flash_blocks {
    enum { of = C == 4 ? 1 : M == 16 ? 4 : 2 / C };
};

/// A block takes all segments of a tile, or with parts, [T * Hq, gridDim.z, part], the segment of
/// number blockIdx.z. Each step below works on shared memory that the step before has filled, hence
/// the barriers.
template <int M, int C>
static __global__ void __launch_bounds__(8 * M, flash_blocks<M, C>::of)
    attend_bf16(cuda_attending<bf16> a, float *parts)
{
    typedef flash_tiles<M, C> tiles;
    CUDA_DYNAMIC_SHARED(tiles, m);
    const int h = static_cast<int>(blockIdx.y);
    const int r = static_cast<int>(threadIdx.x) / CUDA_ROW_THREADS;
    const int lane = static_cast<int>(threadIdx.x) % CUDA_ROW_THREADS;
    const cuda_tile t =
        cuda_find_tile(a.starts, a.sequences, a.group, M, gridDim.x - 1 - blockIdx.x);
    // Rows past the tile's last one compute what it does, and write nothing.
    auto row = [&](int i) { return t.first + min(i, t.count - 1); };
    const int position = t.count > 0 ? a.positions[t.start + row(r) / a.group] : -1;
    const int last = t.count > 0 ? a.positions[t.start + row(M) / a.group] : -1;
    const int from = cuda_first_key(a, position); // the first key that the row sees
    // The tile's first row sees the earliest keys; segments that no row sees are left out.
    const int earliest =
        t.count > 0 ? cuda_first_key(a, a.positions[t.start + t.first / a.group]) : 0;
    const int skipped = parts == NULL ? earliest / SEGMENT : 0;
    const int begin = (static_cast<int>(blockIdx.z) + skipped) * SEGMENT;
    const int end = parts == NULL ? last + 1 : min(begin + SEGMENT, last + 1);
    if (begin >= end) {
        return;
    }
    const cuda_places places = cuda_find_places(m->scores);
    cuda_load_tile<C, M, 8 * M>(m->query, a.dim,
                                [&](int i) { return cuda_query_of(a, a.qkv, t, h, row(i)); });
    softmax all = {-INFINITY, 0.0f}, segment = all;
    cuda_piece all_out[C], out[C];
    cuda_zero_pieces<C>(all_out);
    cuda_zero_pieces<C>(out);
    for (int first = begin; first < end; first += CUDA_KEYS) {
        load_keys(m, a, t.sequence, h, first, last);
        __syncthreads();
        score_keys(m);
        __syncthreads();
        // All lanes of a row write the same factor.
        m->factors[r].x =
            update_softmax(m->weights + r * CUDA_WEIGHTS, m->scores + r * tiles::SCORES, lane,
                           from - first, position + 1 - first, a, segment);
        __syncthreads();
        add_values(out, m, places);
        __syncthreads();
        // The end of a segment: join it, and start the next one afresh.
        if ((first + CUDA_KEYS) % SEGMENT == 0 || first + CUDA_KEYS >= end) {
            segment.sum = cuda_sum_lanes<CUDA_ROW_THREADS>(segment.sum, NULL);
            m->factors[r] = join(all, segment);
            __syncthreads();
            join_outs(all_out, out, m, places);
            segment = {-INFINITY, 0.0f};
            cuda_zero_pieces<C>(out);
        }
    }
    __syncthreads();
    store_rows(a, t, parts, m, all_out, all);
}

/// A block a row, a thread an element of out: joins the row's segments in order, as attend_bf16
/// does.
static __global__ void join_parts(cuda_attending<bf16> a, float *parts, int segments)
{
    const size_t n = blockIdx.x;
    const int d = static_cast<int>(threadIdx.x), seen = a.positions[n / a.query] / SEGMENT + 1;
    softmax all = {-INFINITY, 0.0f};
    float out = 0.0f;
    for (int i = cuda_first_key(a, a.positions[n / a.query]) / SEGMENT; i < seen; i++) {
        const float *part = part_of(parts, n, segments, i, a.dim);
        const float2 factors = join(all, {part[a.dim], part[a.dim + 1]});
        out = out * factors.x + (d < a.dim ? part[d] : 0.0f) * factors.y;
    }
    if (d < a.dim) {
        cuda_store(a.out + n * a.dim + d, out * (1.0f / all.sum) + 0.0f);
    }
    if (d == 0) {
        a.lse[n] = log_sum(all);
    }
}

/// A block takes a tile with all its segments.
template <int M, int C>
static void attend_whole(tr_queue_t *queue, const cuda_attending<bf16> &a, const tr_ragged_t *batch)
{
    dim3 grid(cuda_tiles(batch->tokens, batch->sequences, a.group, M), a.key_value);
    cuda_launch(queue, grid, M * CUDA_ROW_THREADS, sizeof(flash_tiles<M, C>), attend_bf16<M, C>, a,
                static_cast<float *>(NULL));
}

/// A block takes one segment of a tile, so that few sequences still keep the GPU busy. The scratch
/// memory of the parts is small: those of a decoded token are group / 256 of its sequence's share
/// of the layer's cache.
template <int C>
static void attend_parts(tr_queue_t *queue, const cuda_attending<bf16> &a, const tr_ragged_t *batch,
                         size_t bytes)
{
    const size_t rows = batch->tokens * a.query;
    const unsigned segments = cuda_blocks(batch->max_pages * TR_PAGE, SEGMENT);
    dim3 grid(cuda_tiles(batch->tokens, batch->sequences, a.group, 16), a.key_value, segments);
    float *parts = static_cast<float *>(cuda_scratch(queue, CUDA_SLOT_PARTIAL, bytes));
    cuda_launch(queue, grid, 16 * CUDA_ROW_THREADS, sizeof(flash_tiles<16, C>), attend_bf16<16, C>,
                a, parts);
    cuda_launch(queue, static_cast<unsigned>(rows), 64 * C, 0, join_parts, a, parts,
                static_cast<int>(segments));
}

/// Chooses the kernel. Tiles of 64 rows where sequences have that many on average and such a tile
/// fits the GPU's shared memory; tiles of 16 rows (83 KiB at most) fit every GPU. The choice
/// affects speed only.
template <int C>
static void attend_heads(tr_queue_t *queue, const cuda_attending<bf16> &a, const tr_ragged_t *batch)
{
    const bool many = batch->tokens * a.group >= 32 * batch->sequences;
    const tr_heads_t heads = {static_cast<size_t>(a.query),
                              static_cast<size_t>(a.key_value),
                              static_cast<size_t>(a.dim),
                              0,
                              0.0f,
                              0.0f}; // sizes alone decide
    const size_t bytes = cuda_attention_bytes(batch, heads);
    if (many && sizeof(flash_tiles<64, C>) <= queue->backend->shared) {
        attend_whole<64, C>(queue, a, batch);
    } else if (bytes == 0) {
        attend_whole<16, C>(queue, a, batch);
    } else {
        attend_parts<C>(queue, a, batch, bytes);
    }
}

static void attend(tr_queue_t *queue, const cuda_attending<bf16> &a, const tr_ragged_t *batch)
{
    if (a.dim <= 64) {
        attend_heads<1>(queue, a, batch);
    } else if (a.dim <= 128) {
        attend_heads<2>(queue, a, batch);
    } else {
        attend_heads<4>(queue, a, batch);
    }
}

void cuda_attention(tr_queue_t *queue, tr_tensor_t out, tr_tensor_t lse, tr_tensor_t qkv,
                    tr_kv_t kv, const tr_ragged_t *batch, tr_heads_t heads)
{
    TR_ASSERT_COUNT(out, batch->tokens * heads.query * heads.dim);
    TR_ASSERT_COUNT(lse, batch->tokens * heads.query);
    cuda_with_type(qkv.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        auto a = cached<T>(qkv, kv, batch, heads);
        a.out = cuda_real<T>(out);
        a.lse = cuda_f32(lse);
        attend(queue, a, batch);
    });
}

// Sinks

/// A block a token, which scales what its heads read before lse changes.
template <typename T>
static __global__ void sink_rows(T *out, float *lse, const T *sinks, size_t heads, size_t dim)
{
    T *row = out + blockIdx.x * heads * dim;
    float *own = lse + blockIdx.x * heads;
    for (size_t i = threadIdx.x; i < heads * dim; i += blockDim.x) {
        const size_t h = i / dim;
        cuda_store(row + i, cuda_load(row[i]) * cuda_sigmoid(own[h] - cuda_load(sinks[h])));
    }
    __syncthreads();
    for (size_t h = threadIdx.x; h < heads; h += blockDim.x) {
        const float a = own[h], b = cuda_load(sinks[h]), most = a > b ? a : b;
        const float sum = cuda_exp(a - most) + cuda_exp(b - most);
        own[h] = most + static_cast<float>(cuda_log(static_cast<double>(sum)));
    }
}

static void check_sinks(tr_tensor_t out, tr_tensor_t lse, tr_tensor_t sinks)
{
    const size_t heads = tr_tensor_count(sinks);
    TR_ASSERT_SHAPE(lse, out.rows, heads);
    TR_ASSERT(out.columns % heads == 0, "%zu columns of %zu heads", out.columns, heads);
}

void cuda_sink(tr_queue_t *queue, tr_tensor_t out, tr_tensor_t lse, tr_tensor_t sinks)
{
    const size_t heads = tr_tensor_count(sinks);
    check_sinks(out, lse, sinks);
    cuda_with_type(out.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, static_cast<unsigned>(out.rows), CUDA_BLOCK, 0, sink_rows<T>,
                    cuda_real<T>(out), cuda_f32(lse), cuda_real<T>(sinks), heads,
                    out.columns / heads);
    });
}

/// A block a head. 16 lanes a token, as the CPU's dot product; then one thread adds the tokens' up
/// in their order.
template <typename T>
static __global__ void sink_slopes(float *dsinks, const T *dout, const T *out, const float *lse,
                                   const T *sinks, size_t tokens, size_t heads, size_t dim)
{
    enum { L = CUDA_EXACT, TOKENS = CUDA_BLOCK / L };
    __shared__ float products[TOKENS];
    const size_t h = blockIdx.x, lane = threadIdx.x % L;
    float dsink = dsinks[h];
    for (size_t first = 0; first < tokens; first += TOKENS) {
        const size_t own = first + threadIdx.x / L, t = own < tokens ? own : 0;
        const size_t at = (t * heads + h) * dim;
        float sum = 0.0f;
        for (size_t i = lane; i < dim; i += L) {
            sum = fmaf(cuda_load(dout[at + i]), cuda_load(out[at + i]), sum);
        }
        sum = cuda_sum_lanes<L>(sum, NULL);
        if (lane == 0) {
            products[threadIdx.x / L] = cuda_exp(cuda_load(sinks[h]) - lse[t * heads + h]) * sum;
        }
        __syncthreads();
        for (size_t i = 0; i < TOKENS && first + i < tokens; i++) {
            dsink = dsink - products[i];
        }
        __syncthreads(); // all have read the products before the next ones
    }
    if (threadIdx.x == 0) {
        dsinks[h] = dsink;
    }
}

void cuda_sink_gradient(tr_queue_t *queue, tr_tensor_t dsinks, tr_tensor_t dout, tr_tensor_t out,
                        tr_tensor_t lse, tr_tensor_t sinks)
{
    const size_t heads = tr_tensor_count(sinks);
    check_sinks(out, lse, sinks);
    TR_ASSERT_SHAPE(dout, out.rows, out.columns);
    TR_ASSERT_COUNT(dsinks, heads);
    cuda_with_type(out.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, static_cast<unsigned>(heads), CUDA_BLOCK, 0, sink_slopes<T>,
                    cuda_f32(dsinks), cuda_real<T>(dout), cuda_real<T>(out), cuda_f32(lse),
                    cuda_real<T>(sinks), out.rows, heads, out.columns / heads);
    });
}
