/// The gradient of attention over whole sequences, from the log-sum-exp that the forward pass kept: p = exp(s - lse),
/// ds = p (dp - delta) / sqrt(D), delta = dout . out (Dao et al. 2022, algorithm 4). Words and shapes: attention.h.
///
/// Three kernels: delta; dq, where a block takes a tile of rows and goes through their keys in order; dk and dv, where it takes a
/// tile of keys and goes through their rows in order. Scores are computed twice, and nothing is added by two blocks.
#include "common/tensor/cuda/attention.h"

/// delta of each (token, query head): the CPU's dot product, 16 lanes and a tree.
template <typename T>
static __global__ void dot_rows(float *delta, const T *dout, const T *out, size_t rows, int dim)
{
    const size_t row = (static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x) / CUDA_EXACT;
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

// In f32: the CPU's chains

/// Shared memory of a block: tiles of 16 rows and of 16 keys, each [16, D + 1].
struct exact_tiles {
    float *query, *dout, *key, *value;
};

static __device__ __forceinline__ exact_tiles exact_layout(float *memory, int dim)
{
    const int tile = CUDA_EXACT * (dim + 1);
    return {memory, memory + tile, memory + 2 * tile, memory + 3 * tile};
}

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

/// p and ds of row r and key k of the tiles.
static __device__ __forceinline__ float2 exact_slopes(const exact_tiles &m, int r, int k,
                                                      const cuda_attending<float> &a, float lse,
                                                      float delta)
{
    const int stride = a.dim + 1;
    float s = cuda_chain(m.query + r * stride, m.key + k * stride, a.dim);
    float dp = cuda_chain(m.dout + r * stride, m.value + k * stride, a.dim);
    float p = cuda_exp(s * a.scale - lse);
    return make_float2(p, (p * (dp - delta)) * a.scale);
}

/// dq. The CPU takes positions by blocks, and a row's chain runs to the end of its block: past the row's own position the factor
/// is 0, which can still make a -0 a 0.
static __global__ void dquery_f32(cuda_attending<float> a)
{
    CUDA_DYNAMIC_SHARED(float, memory);
    __shared__ float slopes[CUDA_EXACT][CUDA_EXACT + 1];
    const exact_tiles m = exact_layout(memory, a.dim);
    const int h = static_cast<int>(blockIdx.y), lane = static_cast<int>(threadIdx.x) % CUDA_EXACT;
    const int r = static_cast<int>(threadIdx.x) / CUDA_EXACT;
    const int block = a.group < 4 ? 32 / a.group : 8; // positions, as on the CPU
    const cuda_tile t = cuda_find_tile(a.starts, a.sequences, a.group, CUDA_EXACT);
    if (t.count == 0) {
        return;
    }
    const int tokens = t.all / a.group;
    auto end_of = [&](int row) { return min((row / a.group / block + 1) * block, tokens); };
    const int row = t.first + min(r, t.count - 1), last = t.first + t.count - 1;
    const size_t n = cuda_row_of(a, t, h, row);
    cuda_columns dquery;
    dquery.zero();
    load_rows(m, a, t, h, t.first);
    for (int first = 0; first < end_of(last); first += CUDA_EXACT) {
        load_keys(m, a, t, h, first, tokens);
        __syncthreads();
        float2 p_ds = exact_slopes(m, r, lane, a, a.lse[n], a.delta[n]);
        slopes[r][lane] = first + lane <= row / a.group ? p_ds.y : 0.0f;
        __syncthreads();
        for (int i = 0; i < CUDA_EXACT && first + i < end_of(row); i++) {
            dquery.add(slopes[r][i], m.key + i * (a.dim + 1), lane, a.dim);
        }
        __syncthreads();
    }
    if (r < t.count) {
        dquery.store(cuda_query_of(a, a.dqkv, t, h, row), 1.0f, lane, a.dim);
    }
}

/// dk and dv. Rows before a tile's first key see none of it: their chains of zeros would leave a 0 what it is.
static __global__ void dkey_f32(cuda_attending<float> a)
{
    CUDA_DYNAMIC_SHARED(float, memory);
    __shared__ float weights[CUDA_EXACT][CUDA_EXACT + 1], slopes[CUDA_EXACT][CUDA_EXACT + 1];
    const exact_tiles m = exact_layout(memory, a.dim);
    const int h = static_cast<int>(blockIdx.y), lane = static_cast<int>(threadIdx.x) % CUDA_EXACT;
    const int r = static_cast<int>(threadIdx.x) / CUDA_EXACT; // of rows, then of keys
    cuda_tile t = cuda_find_tile(a.starts, a.sequences, 1, CUDA_EXACT);
    const int tokens = t.all, key = t.first;
    if (t.count == 0) {
        return;
    }
    t.all = tokens * a.group; // from here on, of rows
    cuda_columns dkey, dvalue;
    dkey.zero();
    dvalue.zero();
    load_keys(m, a, t, h, key, tokens);
    for (int first = key * a.group; first < t.all; first += CUDA_EXACT) {
        load_rows(m, a, t, h, first);
        __syncthreads();
        const int row = min(first + r, t.all - 1);
        const size_t n = cuda_row_of(a, t, h, row);
        float2 p_ds = exact_slopes(m, r, lane, a, a.lse[n], a.delta[n]);
        bool seen = key + lane <= row / a.group;
        weights[r][lane] = seen ? p_ds.x : 0.0f;
        slopes[r][lane] = seen ? p_ds.y : 0.0f;
        __syncthreads();
        for (int i = 0; i < CUDA_EXACT && first + i < t.all; i++) {
            dvalue.add(weights[i][r], m.dout + i * (a.dim + 1), lane, a.dim);
            dkey.add(slopes[i][r], m.query + i * (a.dim + 1), lane, a.dim);
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
    const size_t shared = 4 * CUDA_EXACT * (a.dim + 1) * sizeof(float);
    const unsigned threads = CUDA_EXACT * CUDA_EXACT, heads = static_cast<unsigned>(a.key_value);
    dim3 rows(cuda_tiles(batch->tokens, batch->sequences, a.group, CUDA_EXACT), heads);
    dim3 keys(cuda_tiles(batch->tokens, batch->sequences, 1, CUDA_EXACT), heads);
    cuda_launch(queue, rows, threads, shared, dquery_f32, a);
    cuda_launch(queue, keys, threads, shared, dkey_f32, a);
}

static void differentiate(tr_queue_t *queue, const cuda_attending<bf16> &, const tr_ragged_t *)
{
    cuda_stick(queue, TR_ERR_UNSUPPORTED, "attention on a GPU is in f32 only");
}

void cuda_attention_gradient(tr_queue_t *queue, tr_tensor_t dqkv, tr_tensor_t dout, tr_tensor_t out,
                             tr_tensor_t lse, tr_tensor_t qkv, const tr_ragged_t *batch,
                             tr_heads_t heads)
{
    const size_t rows = batch->tokens * heads.query;
    TR_ASSERT(tr_tensor_count(dqkv) == tr_tensor_count(qkv) &&
                  tr_tensor_count(dout) == rows * heads.dim &&
                  tr_tensor_count(out) == tr_tensor_count(dout) && tr_tensor_count(lse) == rows,
              "dqkv %zu, dout %zu, out %zu, lse %zu", tr_tensor_count(dqkv), tr_tensor_count(dout),
              tr_tensor_count(out), tr_tensor_count(lse));
    float *delta =
        static_cast<float *>(cuda_scratch(queue, CUDA_SLOT_ROWS, (rows + 1) * sizeof(float)));
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
