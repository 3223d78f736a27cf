/// The key-value cache, and causal grouped-query attention over a ragged batch. Words and shapes: attention.h.
#include "common/tensor/cuda/attention.h"

// The cache

/// A block a token: its keys and values go to its slot of its page.
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

template <typename T>
static cuda_attending<T> cached(tr_tensor_t qkv, tr_kv_t kv, const tr_ragged_t *batch,
                                tr_heads_t heads)
{
    const size_t page = heads.key_value * heads.dim * TR_PAGE;
    cuda_attending<T> a = cuda_attending_of<T>(qkv, batch, heads);
    TR_ASSERT(kv.keys.columns == page && kv.values.columns == page,
              "cache pages of %zu and %zu, expected %zu", kv.keys.columns, kv.values.columns, page);
    TR_ASSERT(tr_tensor_count(batch->pages) >= batch->sequences * batch->max_pages &&
                  batch->longest <= batch->max_pages * TR_PAGE,
              "a table of %zu pages for %zu sequences, %zu each, longest %zu",
              tr_tensor_count(batch->pages), batch->sequences, batch->max_pages, batch->longest);
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

// In f32: the CPU's chains. Scores are computed twice, for the maximum and for the sums, so that nothing grows with the length

static __global__ void attend_f32(cuda_attending<float> a)
{
    CUDA_DYNAMIC_SHARED(float, query);
    __shared__ float weights[CUDA_EXACT][CUDA_EXACT + 1];
    float *keys = query + CUDA_EXACT * (a.dim + 1), *values = keys + CUDA_EXACT * (a.dim + 1);
    const int h = static_cast<int>(blockIdx.y), lane = static_cast<int>(threadIdx.x) % CUDA_EXACT;
    const int r = static_cast<int>(threadIdx.x) / CUDA_EXACT;
    const cuda_tile t = cuda_find_tile(a.starts, a.sequences, a.group, CUDA_EXACT);
    if (t.count == 0) {
        return;
    }
    // Rows past the tile's last do as it does, and write nothing.
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
        return cuda_chain(query + r * (a.dim + 1), keys + lane * (a.dim + 1), a.dim) * a.scale;
    };
    float most = -INFINITY;
    for (int first = 0; first <= last; first += CUDA_EXACT) {
        load(keys, a.keys, first);
        __syncthreads();
        float s = score();
        most = first + lane <= position && s > most ? s : most;
        __syncthreads();
    }
    most = cuda_greatest_lane<CUDA_EXACT>(most, NULL);
    float sum = 0.0f;
    cuda_columns out;
    out.zero();
    for (int first = 0; first <= last; first += CUDA_EXACT) {
        load(keys, a.keys, first);
        load(values, a.values, first);
        __syncthreads();
        float e = first + lane <= position ? cuda_exp(score() - most) : 0.0f;
        sum = sum + e;
        weights[r][lane] = e;
        __syncthreads();
        for (int i = 0; i < CUDA_EXACT && first + i <= position; i++) {
            out.add(weights[r][i], values + i * (a.dim + 1), lane, a.dim);
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
    cuda_launch(queue, grid, CUDA_EXACT * CUDA_EXACT, 3 * CUDA_EXACT * (a.dim + 1) * sizeof(float),
                attend_f32, a);
}

static void attend(tr_queue_t *queue, const cuda_attending<bf16> &, const tr_ragged_t *)
{
    cuda_stick(queue, TR_ERR_UNSUPPORTED, "attention on a GPU is in f32 only");
}

void cuda_attention(tr_queue_t *queue, tr_tensor_t out, tr_tensor_t lse, tr_tensor_t qkv,
                    tr_kv_t kv, const tr_ragged_t *batch, tr_heads_t heads)
{
    TR_ASSERT(tr_tensor_count(out) == batch->tokens * heads.query * heads.dim &&
                  tr_tensor_count(lse) == batch->tokens * heads.query,
              "out has %zu elements, lse %zu", tr_tensor_count(out), tr_tensor_count(lse));
    cuda_with_type(qkv.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        auto a = cached<T>(qkv, kv, batch, heads);
        a.out = cuda_real<T>(out);
        a.lse = cuda_f32(lse);
        attend(queue, a, batch);
    });
}
