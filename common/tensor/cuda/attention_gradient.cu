/// The gradient of attention over whole sequences, from the log-sum-exp that the forward pass kept
/// (Dao et al. 2022, algorithm 4):
///
///     p = exp(s - lse)        dp = dout . v          delta = dout . out
///     ds = p (dp - delta) slope, slope: the score's derivative (cuda_score)
///     dq += ds k              dk += ds q             dv += p dout
///
/// Words and shapes: attention.h. Three kernels: delta; dq, where a block takes a tile of rows and
/// goes through their keys in order; dk and dv, where a block takes a tile of keys and goes through
/// their rows in order. So scores are computed twice, but no sum is added to by two blocks, which
/// would need atomics, whose order varies from run to run.
#include "common/tensor/cuda/attention.h"

/// delta of each (token, query head): the CPU's dot product, 16 lanes and a tree.
template <typename T>
static __global__ void dot_rows(float *delta, const T *dout, const T *out, size_t rows, int dim)
{
    const size_t row = (static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x) / CUDA_EXACT;
    // Rows past the last repeat row 0: all lanes of a warp must take part in the tree.
    const size_t at = (row < rows ? row : 0) * dim;
    float sum = 0.0f;
    for (int d = static_cast<int>(threadIdx.x) % CUDA_EXACT; d < dim; d += CUDA_EXACT) {
        sum = fmaf(cuda_load(dout[at + d]), cuda_load(out[at + d]), sum);
    }
    sum = cuda_sum_lanes<CUDA_EXACT>(sum, NULL);
    if (row < rows && threadIdx.x % CUDA_EXACT == 0) {
        delta[row] = sum;
    }
}

// f32: the CPU's chains

/// Shared memory of a block: tiles of 16 rows and of 16 keys, each [16, D + 1], and between them
/// [16 rows, 16 keys].
struct exact_tiles {
    float *query, *dout, *key, *value;
    float (*weights)[CUDA_EXACT + 1], (*slopes)[CUDA_EXACT + 1];
};

/// Divides the dynamic shared memory.
static __device__ __forceinline__ exact_tiles exact_layout(float *memory, int dim)
{
    typedef float(*between)[CUDA_EXACT + 1];
    // D + 1: rows of a tile that are a multiple of 32 floats apart would lie in the same bank.
    const int tile = CUDA_EXACT * (dim + 1);
    between weights = reinterpret_cast<between>(memory + 4 * tile);
    return {memory,  memory + tile,       memory + 2 * tile, memory + 3 * tile,
            weights, weights + CUDA_EXACT};
}

/// Queries and output gradients of rows first..first+15, zeros past the sequence's last.
static __device__ __forceinline__ void load_rows(const exact_tiles &m,
                                                 const cuda_attending<float> &a, const cuda_tile &t,
                                                 int h, int first)
{
    cuda_load_exact(m.query, a.dim, [&](int r) -> const float * {
        return first + r < t.all ? cuda_query_of(a, a.qkv, t, h, first + r) : NULL;
    });
    cuda_load_exact(m.dout, a.dim, [&](int r) -> const float * {
        return first + r < t.all ? a.dout + cuda_row_of(a, t, h, first + r) * a.dim : NULL;
    });
}

/// Keys and values of tokens first..first+15 from qkv, zeros past `tokens`. Values lie Hk * D after
/// keys.
static __device__ __forceinline__ void load_keys(const exact_tiles &m,
                                                 const cuda_attending<float> &a, const cuda_tile &t,
                                                 int h, int first, int tokens)
{
    for (int i = 0; i < 2; i++) {
        cuda_load_exact(i == 0 ? m.key : m.value, a.dim, [&](int key) -> const float * {
            return first + key < tokens
                       ? cuda_key_of(a, a.qkv, t, h, first + key) + i * a.key_value * a.dim
                       : NULL;
        });
    }
}

/// p and ds of row r and key k of the tiles; both scores are one chain over d, as on the CPU.
static __device__ __forceinline__ float2 exact_slopes(const exact_tiles &m, int r, int k,
                                                      const cuda_attending<float> &a, float lse,
                                                      float delta)
{
    // s = q . k, and dp = dout . v; the scale comes after the chain, as in the forward pass.
    const int stride = a.dim + 1;
    float s = cuda_chain(m.query + r * stride, m.key + k * stride, a.dim);
    float dp = cuda_chain(m.dout + r * stride, m.value + k * stride, a.dim);
    float slope;
    float p = cuda_exp(cuda_score(a, s, &slope) - lse);
    return make_float2(p, (p * (dp - delta)) * slope);
}

/// dq: a block takes 16 rows; lane i computes ds for key i of 16, then adds elements i, i + 16, ...
/// of ds k. The CPU takes positions in blocks, and a row's chain runs to the end of its block
/// (BLOCK_ROWS in cpu/attention_gradient.c): past the row's own position the factor is 0, which can
/// still turn a -0 into a 0, so the chains here end where those do.
static __global__ void dquery_f32(cuda_attending<float> a)
{
    CUDA_DYNAMIC_SHARED(float, memory);
    const exact_tiles m = exact_layout(memory, a.dim);
    const int h = static_cast<int>(blockIdx.y), lane = static_cast<int>(threadIdx.x) % CUDA_EXACT;
    const int r = static_cast<int>(threadIdx.x) / CUDA_EXACT;
    const int block = a.group < 4 ? 32 / a.group : 8; // positions, as on the CPU
    const cuda_tile t =
        cuda_find_tile(a.starts, a.sequences, a.group, CUDA_EXACT, gridDim.x - 1 - blockIdx.x);
    if (t.count == 0) {
        return;
    }
    const int tokens = t.all / a.group;
    auto end_of = [&](int row) { return min((row / a.group / block + 1) * block, tokens); };
    const int row = t.first + min(r, t.count - 1), last = t.first + t.count - 1;
    const size_t n = cuda_row_of(a, t, h, row);
    cuda_columns dquery;
    // The sums stay in registers for all keys: 16 lanes by up to 16 elements.
    dquery.zero();
    load_rows(m, a, t, h, t.first);
    for (int first = 0; first < end_of(last); first += CUDA_EXACT) {
        load_keys(m, a, t, h, first, tokens);
        __syncthreads();
        // Thread (r, lane) has row r and key `lane` of the tiles.
        float2 p_ds = exact_slopes(m, r, lane, a, a.lse[n], a.delta[n]);
        bool seen =
            first + lane <= row / a.group && first + lane >= cuda_first_key(a, row / a.group);
        m.slopes[r][lane] = seen ? p_ds.y : 0.0f;
        __syncthreads();
        for (int i = 0; i < CUDA_EXACT && first + i < end_of(row); i++) {
            dquery.add(m.slopes[r][i], m.key + i * (a.dim + 1), lane, a.dim);
        }
        __syncthreads();
    }
    if (r < t.count) {
        dquery.store(cuda_query_of(a, a.dqkv, t, h, row), 1.0f, lane, a.dim);
    }
}

/// dk and dv: a block takes 16 keys and goes through all rows from the first key's position on.
/// Rows before it see none of these keys: their part of the CPU's chain adds zeros to a 0 and
/// changes nothing.
static __global__ void dkey_f32(cuda_attending<float> a)
{
    CUDA_DYNAMIC_SHARED(float, memory);
    const exact_tiles m = exact_layout(memory, a.dim);
    const int h = static_cast<int>(blockIdx.y), lane = static_cast<int>(threadIdx.x) % CUDA_EXACT;
    const int r = static_cast<int>(threadIdx.x) / CUDA_EXACT; // a row of the tile, later a key
    cuda_tile t = cuda_find_tile(a.starts, a.sequences, 1, CUDA_EXACT, blockIdx.x);
    const int tokens = t.all, key = t.first;
    if (t.count == 0) {
        return;
    }
    t.all = tokens * a.group; // from here on rows, not tokens
    cuda_columns dkey, dvalue;
    dkey.zero();
    dvalue.zero();
    // The roles of dquery_f32 turned around: keys stay, rows pass, in ascending order, so each
    // chain is the CPU's over (position, head).
    load_keys(m, a, t, h, key, tokens);
    for (int first = key * a.group; first < t.all; first += CUDA_EXACT) {
        load_rows(m, a, t, h, first);
        __syncthreads();
        const int row = min(first + r, t.all - 1);
        const size_t n = cuda_row_of(a, t, h, row);
        float2 p_ds = exact_slopes(m, r, lane, a, a.lse[n], a.delta[n]);
        bool seen = key + lane <= row / a.group && key + lane >= cuda_first_key(a, row / a.group);
        m.weights[r][lane] = seen ? p_ds.x : 0.0f;
        m.slopes[r][lane] = seen ? p_ds.y : 0.0f;
        __syncthreads();
        // Here r is a key: column r of p and ds, down the 16 rows.
        for (int i = 0; i < CUDA_EXACT && first + i < t.all; i++) {
            dvalue.add(m.weights[i][r], m.dout + i * (a.dim + 1), lane, a.dim);
            dkey.add(m.slopes[i][r], m.query + i * (a.dim + 1), lane, a.dim);
        }
        __syncthreads();
    }
    if (r < t.count) {
        float *to = cuda_key_of(a, a.dqkv, t, h, key + r);
        dkey.store(to, 1.0f, lane, a.dim);
        dvalue.store(to + a.key_value * a.dim, 1.0f, lane, a.dim);
    }
}

static void differentiate(tr_queue_t *queue, const cuda_attending<float> &a,
                          const tr_ragged_t *batch)
{
    const size_t shared = CUDA_EXACT * (4 * (a.dim + 1) + 2 * (CUDA_EXACT + 1)) * sizeof(float);
    const unsigned threads = CUDA_EXACT * CUDA_EXACT, heads = static_cast<unsigned>(a.key_value);
    dim3 rows(cuda_tiles(batch->tokens, batch->sequences, a.group, CUDA_EXACT), heads);
    dim3 keys(cuda_tiles(batch->tokens, batch->sequences, 1, CUDA_EXACT), heads);
    cuda_launch(queue, rows, threads, shared, dquery_f32, a);
    cuda_launch(queue, keys, threads, shared, dkey_f32, a);
}

// bf16: tiles of 64 rows and of 64 keys on tensor cores; p and ds are rounded to bf16 between two
// products, sums are f32. Tiles begin at fixed positions of the sequence, so the bits depend on the
// sequence alone

enum { TILE = CUDA_KEYS };

/// Shared memory of a block, for heads of up to 64 C elements.
template <int C> struct slope_tiles {
    enum { S = cuda_stride<C>::of };
    bf16 query[TILE * S], dout[TILE * S];                           // of 64 rows
    bf16 key[TILE * S], value[TILE * S];                            // of 64 keys
    bf16 weights[TILE * CUDA_WEIGHTS], slopes[TILE * CUDA_WEIGHTS]; // [64 rows, 64 keys]: p and ds
    float lse[TILE], delta[TILE];
    int position[TILE];
};

/// Rows first..first+63 with their statistics; rows past the last get position -1 and so see no
/// key.
template <int C>
static __device__ __forceinline__ void load_rows(slope_tiles<C> *m, const cuda_attending<bf16> &a,
                                                 const cuda_tile &t, int h, int first)
{
    cuda_load_tile<C, TILE, 8 * TILE>(m->query, a.dim, [&](int r) -> const bf16 * {
        return first + r < t.all ? cuda_query_of(a, a.qkv, t, h, first + r) : NULL;
    });
    cuda_load_tile<C, TILE, 8 * TILE>(m->dout, a.dim, [&](int r) -> const bf16 * {
        return first + r < t.all ? a.dout + cuda_row_of(a, t, h, first + r) * a.dim : NULL;
    });
    for (int r = static_cast<int>(threadIdx.x); r < TILE; r += static_cast<int>(blockDim.x)) {
        const size_t n = cuda_row_of(a, t, h, min(first + r, t.all - 1));
        m->lse[r] = a.lse[n];
        m->delta[r] = a.delta[n];
        // Whole sequences: row i of a sequence has position i / group.
        m->position[r] = first + r < t.all ? (first + r) / a.group : -1;
    }
}

/// Keys and values first..first+63 of `tokens`, zeros past them.
template <int C>
static __device__ __forceinline__ void load_keys(slope_tiles<C> *m, const cuda_attending<bf16> &a,
                                                 const cuda_tile &t, int h, int first, int tokens)
{
    for (int i = 0; i < 2; i++) {
        cuda_load_tile<C, TILE, 8 * TILE>(
            i == 0 ? m->key : m->value, a.dim, [&](int key) -> const bf16 * {
                return first + key < tokens
                           ? cuda_key_of(a, a.qkv, t, h, first + key) + i * a.key_value * a.dim
                           : NULL;
            });
    }
}

/// p and ds of the tiles, whose first key is `first`; a warp computes 16 x 16 of each.
template <int C>
static __device__ __forceinline__ void find_slopes(slope_tiles<C> *m, const cuda_places &places,
                                                   int first, const cuda_attending<bf16> &a)
{
    enum { S = slope_tiles<C>::S };
    const cuda_warp w = cuda_this_warp();
    // Four warps a row of pieces and four rows of them cover the 64 x 64 tile: 16 warps, 512
    // threads.
    cuda_piece s = cuda_dot_rows<C>(m->query + w.side * S, m->key + w.column * S);
    cuda_piece dp = cuda_dot_rows<C>(m->dout + w.side * S, m->value + w.column * S);
    for (int i = 0; i < cuda_piece::num_elements; i++) {
        int r = w.side + places.row[i], key = w.column + places.column[i];
        float slope, score = cuda_score(a, s.x[i], &slope);
        bool seen =
            first + key <= m->position[r] && first + key >= cuda_first_key(a, m->position[r]);
        float p = seen ? cuda_exp(score - m->lse[r]) : 0.0f;
        cuda_store(m->weights + r * CUDA_WEIGHTS + key, p);
        cuda_store(m->slopes + r * CUDA_WEIGHTS + key, p * (dp.x[i] - m->delta[r]) * slope);
    }
}

/// dq: a block takes 64 rows and goes through their keys, 64 at a time, with the sums in
/// accumulators.
template <int C>
static __global__ void __launch_bounds__(8 * TILE) dquery_bf16(cuda_attending<bf16> a)
{
    typedef slope_tiles<C> tiles;
    CUDA_DYNAMIC_SHARED(tiles, m);
    const int h = static_cast<int>(blockIdx.y);
    const cuda_warp w = cuda_this_warp();
    const cuda_tile t =
        cuda_find_tile(a.starts, a.sequences, a.group, TILE, gridDim.x - 1 - blockIdx.x);
    if (t.count == 0) {
        return;
    }
    // Later keys are masked for every row of the tile, so they are not loaded.
    const int last = (t.first + t.count - 1) / a.group; // the last row's position
    const cuda_places places = cuda_find_places(reinterpret_cast<float *>(m->weights));
    cuda_piece dquery[C];
    cuda_zero_pieces<C>(dquery);
    load_rows(m, a, t, h, t.first);
    for (int first = 0; first <= last; first += TILE) {
        load_keys(m, a, t, h, first, last + 1);
        __syncthreads();
        find_slopes(m, places, first, a);
        __syncthreads();
        // dq += ds k. The barrier after it keeps the next keys from overwriting these.
        for (int c = 0; c < C; c++) {
            cuda_add_product<cuda_plain, CUDA_WEIGHTS, cuda_plain, tiles::S, TILE>(
                dquery[c], m->slopes + w.side * CUDA_WEIGHTS, m->key + w.column + c * 64);
        }
        __syncthreads();
    }
    cuda_each_element<C>(dquery, places, [&](int r, int d, float x) {
        if (r < t.count && d < a.dim) {
            cuda_store(cuda_query_of(a, a.dqkv, t, h, t.first + r) + d, x);
        }
    });
}

/// dk and dv: a block takes 64 keys and goes through the rows that see one of them. The products
/// read p and ds transposed.
template <int C>
static __global__ void __launch_bounds__(8 * TILE) dkey_bf16(cuda_attending<bf16> a)
{
    typedef slope_tiles<C> tiles;
    CUDA_DYNAMIC_SHARED(tiles, m);
    const int h = static_cast<int>(blockIdx.y);
    const cuda_warp w = cuda_this_warp();
    cuda_tile t = cuda_find_tile(a.starts, a.sequences, 1, TILE, blockIdx.x);
    const int tokens = t.all, key = t.first;
    if (t.count == 0) {
        return;
    }
    t.all = tokens * a.group; // from here on rows, not tokens
    const cuda_places places = cuda_find_places(reinterpret_cast<float *>(m->weights));
    cuda_piece dkey[C], dvalue[C];
    cuda_zero_pieces<C>(dkey);
    cuda_zero_pieces<C>(dvalue);
    load_keys(m, a, t, h, key, tokens);
    for (int first = key * a.group; first < t.all; first += TILE) {
        load_rows(m, a, t, h, first);
        __syncthreads();
        find_slopes(m, places, key, a);
        __syncthreads();
        // dv += p^T dout, dk += ds^T q: p and ds lie as [rows, keys] and are read transposed.
        for (int c = 0; c < C; c++) {
            const int column = w.column + c * 64;
            cuda_add_product<cuda_transposed, CUDA_WEIGHTS, cuda_plain, tiles::S, TILE>(
                dvalue[c], m->weights + w.side, m->dout + column);
            cuda_add_product<cuda_transposed, CUDA_WEIGHTS, cuda_plain, tiles::S, TILE>(
                dkey[c], m->slopes + w.side, m->query + column);
        }
        __syncthreads();
    }
    auto store = [&](const cuda_piece *pieces, int further) {
        cuda_each_element<C>(pieces, places, [&](int r, int d, float x) {
            if (r < t.count && d < a.dim) {
                cuda_store(cuda_key_of(a, a.dqkv, t, h, key + r) + further + d, x);
            }
        });
    };
    store(dkey, 0);
    store(dvalue, a.key_value * a.dim);
}

/// Launches both kernels, or fails where a block's tiles do not fit the GPU's shared memory: there
/// is no smaller form.
template <int C>
static void differentiate_heads(tr_queue_t *queue, const cuda_attending<bf16> &a,
                                const tr_ragged_t *batch)
{
    const size_t shared = sizeof(slope_tiles<C>);
    const unsigned heads = static_cast<unsigned>(a.key_value);
    dim3 rows(cuda_tiles(batch->tokens, batch->sequences, a.group, TILE), heads);
    dim3 keys(cuda_tiles(batch->tokens, batch->sequences, 1, TILE), heads);
    if (shared > queue->backend->shared) {
        tr_fail(cuda_failure(queue), TR_ERR_UNSUPPORTED,
                "the gradient of attention in bf16, with heads of %d elements, takes %zu KiB of "
                "shared memory a block, and this GPU has %zu: train in fp32",
                a.dim, shared >> 10, queue->backend->shared >> 10);
        return;
    }
    cuda_launch(queue, rows, 8 * TILE, shared, dquery_bf16<C>, a);
    cuda_launch(queue, keys, 8 * TILE, shared, dkey_bf16<C>, a);
}

static void differentiate(tr_queue_t *queue, const cuda_attending<bf16> &a,
                          const tr_ragged_t *batch)
{
    if (a.dim <= 64) {
        differentiate_heads<1>(queue, a, batch);
    } else if (a.dim <= 128) {
        differentiate_heads<2>(queue, a, batch);
    } else {
        differentiate_heads<4>(queue, a, batch);
    }
}

void cuda_attention_gradient(tr_queue_t *queue, tr_tensor_t dqkv, tr_tensor_t dout, tr_tensor_t out,
                             tr_tensor_t lse, tr_tensor_t qkv, const tr_ragged_t *batch,
                             tr_heads_t heads)
{
    const size_t rows = batch->tokens * heads.query;
    TR_ASSERT_COUNT(dqkv, tr_tensor_count(qkv));
    TR_ASSERT_COUNT(dout, rows * heads.dim);
    TR_ASSERT_COUNT(out, rows * heads.dim);
    TR_ASSERT_COUNT(lse, rows);
    float *delta = static_cast<float *>(
        cuda_scratch(queue, CUDA_SLOT_ROWS, cuda_attention_gradient_bytes(batch, heads)));
    cuda_with_type(qkv.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        auto a = cuda_attending_of<T>(qkv, batch, heads);
        a.dqkv = cuda_real<T>(dqkv);
        a.dout = cuda_real<T>(dout);
        a.out = cuda_real<T>(out);
        a.lse = cuda_f32(lse);
        a.delta = delta;
        cuda_launch(queue, cuda_blocks(rows * CUDA_EXACT, CUDA_BLOCK), CUDA_BLOCK, 0, dot_rows<T>,
                    delta, a.dout, a.out, rows, a.dim);
        differentiate(queue, a, batch);
    });
}
