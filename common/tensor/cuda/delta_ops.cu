/// The gated delta net: convolution, gates, recurrence and gradient. The CPU's counterpart is
/// cpu/delta.c, whose order each sum has in f32; a thread has a channel, a head, or a column of a
/// state.
///
/// Sequences go token by token, in prompts as in decoding. A state is in shared memory meanwhile,
/// 32 columns a block; the gradient's states are in scratch memory.
#include "common/tensor/cuda/numbers.h"

enum { LANES = 16, COLUMNS = 32 };

static __device__ __forceinline__ size_t thread_index(void)
{
    return static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

/// The tables of a batch that kernels read.
struct tables {
    const int32_t *starts, *positions, *slots;
    size_t sequences;
};

static tables tables_of(const tr_ragged_t *batch, bool keeps)
{
    return {cuda_i32(batch->starts), cuda_i32(batch->positions),
            keeps ? cuda_i32(batch->slots) : NULL, batch->sequences};
}

// The convolution

/// A channel of some rows of one sequence.
template <typename T> struct channel {
    const T *x, *kept;
    const float *taps;
    size_t x_stride, channels, count;
    bool fresh;

    /// The input `back` rows before row r; zeros before the sequence.
    __device__ __forceinline__ float at(size_t r, size_t back) const
    {
        if (r >= back) {
            return cuda_load(x[(r - back) * x_stride]);
        }
        return fresh ? 0.0f : cuda_load(kept[(count - 1 + r - back) * channels]);
    }

    __device__ __forceinline__ float sum(size_t r) const
    {
        float total = 0.0f;
        for (size_t j = 0; j < count; j++) {
            total = fmaf(taps[j], at(r, count - 1 - j), total);
        }
        return total;
    }
};

/// blockIdx.y: the sequence.
template <typename T>
static __global__ void convolve(T *y, const T *x, size_t x_stride, const T *weight, T *inputs,
                                size_t channels, size_t count, tables batch)
{
    const size_t i = thread_index(), s = blockIdx.y;
    const size_t row = static_cast<size_t>(batch.starts[s]);
    const size_t rows = static_cast<size_t>(batch.starts[s + 1]) - row;
    if (i >= channels || rows == 0) {
        return;
    }
    float taps[TR_TAPS];
    for (size_t j = 0; j < count; j++) {
        taps[j] = cuda_load(weight[i * count + j]);
    }
    T *kept = inputs == NULL
                  ? NULL
                  : inputs + static_cast<size_t>(batch.slots[s]) * (count - 1) * channels + i;
    const channel<T> c = {x + row * x_stride + i,   kept, taps, x_stride, channels, count,
                          batch.positions[row] == 0};
    for (size_t r = 0; r < rows; r++) {
        float u = c.sum(r);
        cuda_store(y + (row + r) * channels + i, u * cuda_sigmoid(u));
    }
    // Ascending: where the rows are few, older inputs move up.
    for (size_t k = 0; kept != NULL && k + 1 < count; k++) {
        cuda_store(kept + k * channels, c.at(rows, count - 1 - k));
    }
}

void cuda_convolution(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t weight,
                      tr_recurrent_t kept, const tr_ragged_t *batch)
{
    const bool keeps = kept.inputs.buffer != NULL;
    TR_ASSERT(weight.columns >= 1 && weight.columns <= TR_TAPS, "%zu taps", weight.columns);
    TR_ASSERT_SHAPE(y, batch->tokens, weight.rows);
    TR_ASSERT_ROWS(x, batch->tokens);
    cuda_with_type(y.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        const dim3 grid(cuda_blocks(weight.rows, CUDA_BLOCK),
                        static_cast<unsigned>(batch->sequences));
        cuda_launch(queue, grid, CUDA_BLOCK, 0, convolve<T>, cuda_real<T>(y), cuda_real<T>(x),
                    x.columns, cuda_real<T>(weight), keeps ? cuda_real<T>(kept.inputs) : NULL,
                    weight.rows, weight.columns, tables_of(batch, keeps));
    });
}

/// One sequence after another: a weight's chain goes through all of them. d: [T, channels].
template <typename T>
static __global__ void convolve_gradient(T *dx, size_t dx_stride, float *dweight, T *d, const T *x,
                                         size_t x_stride, const T *weight, size_t channels,
                                         size_t count, tables batch)
{
    const size_t i = thread_index();
    if (i >= channels) {
        return;
    }
    float taps[TR_TAPS], sums[TR_TAPS];
    for (size_t j = 0; j < count; j++) {
        taps[j] = cuda_load(weight[i * count + j]);
        sums[j] = dweight[i * count + j];
    }
    for (size_t s = 0; s < batch.sequences; s++) {
        const size_t row = static_cast<size_t>(batch.starts[s]);
        const size_t rows = static_cast<size_t>(batch.starts[s + 1]) - row;
        const channel<T> c = {x + row * x_stride + i, NULL, taps, x_stride, channels, count, true};
        T *slope = d + row * channels + i;
        for (size_t r = 0; r < rows; r++) {
            float u = c.sum(r), f = cuda_sigmoid(u);
            cuda_store(slope + r * channels,
                       cuda_load(slope[r * channels]) * (f * fmaf(u, 1.0f - f, 1.0f)));
        }
        for (size_t r = 0; r < rows; r++) {
            float sum = 0.0f, own = cuda_load(slope[r * channels]);
            for (size_t back = 0; back < count && r + back < rows; back++) {
                sum = fmaf(taps[count - 1 - back], cuda_load(slope[(r + back) * channels]), sum);
            }
            cuda_store(dx + (row + r) * dx_stride + i, sum);
            for (size_t j = 0; j < count; j++) {
                sums[j] = fmaf(own, c.at(r, count - 1 - j), sums[j]);
            }
        }
    }
    for (size_t j = 0; j < count; j++) {
        dweight[i * count + j] = sums[j];
    }
}

void cuda_convolution_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dweight,
                               tr_tensor_t d, tr_tensor_t x, tr_tensor_t weight,
                               const tr_ragged_t *batch)
{
    TR_ASSERT_SHAPE(d, batch->tokens, weight.rows);
    TR_ASSERT_ROWS(dx, batch->tokens);
    TR_ASSERT_COUNT(dweight, weight.rows * weight.columns);
    cuda_with_type(d.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, cuda_blocks(weight.rows, CUDA_BLOCK), CUDA_BLOCK, 0,
                    convolve_gradient<T>, cuda_real<T>(dx), dx.columns, cuda_f32(dweight),
                    cuda_real<T>(d), cuda_real<T>(x), x.columns, cuda_real<T>(weight), weight.rows,
                    weight.columns, tables_of(batch, false));
    });
}

// The gates

/// log(1 + e^x), as in cpu/delta.c.
static __device__ __forceinline__ float softplus(float x)
{
    const float small = cuda_exp(x < 0.0f - x ? x : 0.0f - x);
    const float rest = static_cast<float>(cuda_log(1.0 + static_cast<double>(small)));
    return (x > 0.0f ? x : 0.0f) + rest;
}

template <typename T>
static __global__ void make_gates(float *gates, const T *x, size_t width, const T *scale,
                                  const T *shift, size_t rows, size_t heads)
{
    const size_t i = thread_index(), r = i / heads, h = i % heads;
    if (r < rows) {
        const T *row = x + r * width;
        float soft = softplus(cuda_load(row[heads + h]) + cuda_load(shift[h]));
        float g = cuda_exp(cuda_load(scale[h])) * soft;
        gates[r * 2 * heads + h] = cuda_exp(0.0f - g);
        gates[r * 2 * heads + heads + h] = cuda_sigmoid(cuda_load(row[h]));
    }
}

void cuda_delta_gates(tr_queue_t *queue, tr_tensor_t gates, tr_tensor_t x, size_t first,
                      tr_tensor_t scale, tr_tensor_t shift)
{
    const size_t heads = tr_tensor_count(scale);
    TR_ASSERT_SHAPE(gates, x.rows, 2 * heads);
    TR_ASSERT_COUNT(shift, heads);
    cuda_with_type(x.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, cuda_blocks(x.rows * heads, CUDA_BLOCK), CUDA_BLOCK, 0, make_gates<T>,
                    cuda_f32(gates), cuda_real<T>(x) + first, x.columns, cuda_real<T>(scale),
                    cuda_real<T>(shift), x.rows, heads);
    });
}

/// A thread a head, down the rows.
template <typename T>
static __global__ void gates_gradient(T *dx, size_t dx_width, float *dscale, float *dshift,
                                      const float *dgates, const T *x, size_t width, const T *scale,
                                      const T *shift, size_t rows, size_t heads)
{
    const size_t h = thread_index();
    if (h >= heads) {
        return;
    }
    float sum_scale = dscale[h], sum_shift = dshift[h];
    for (size_t r = 0; r < rows; r++) {
        const T *row = x + r * width;
        float a = cuda_load(row[heads + h]) + cuda_load(shift[h]);
        float rate = cuda_exp(cuda_load(scale[h])), g = rate * softplus(a);
        float dg = dgates[r * 2 * heads + h] * cuda_exp(0.0f - g);
        float d = (0.0f - dg * rate) * cuda_sigmoid(a), s = cuda_sigmoid(cuda_load(row[h]));
        cuda_store(dx + r * dx_width + heads + h, d);
        cuda_store(dx + r * dx_width + h, dgates[r * 2 * heads + heads + h] * (s * (1.0f - s)));
        sum_shift = sum_shift + d;
        sum_scale = sum_scale - dg * g;
    }
    dscale[h] = sum_scale;
    dshift[h] = sum_shift;
}

void cuda_delta_gates_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dscale,
                               tr_tensor_t dshift, tr_tensor_t dgates, tr_tensor_t x, size_t first,
                               tr_tensor_t scale, tr_tensor_t shift)
{
    const size_t heads = tr_tensor_count(scale);
    TR_ASSERT_SHAPE(dgates, x.rows, 2 * heads);
    TR_ASSERT_ROWS(dx, x.rows);
    TR_ASSERT_COUNT(dscale, heads);
    TR_ASSERT_COUNT(dshift, heads);
    cuda_with_type(x.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, cuda_blocks(heads, 32), 32, 0, gates_gradient<T>,
                    cuda_real<T>(dx) + first, dx.columns, cuda_f32(dscale), cuda_f32(dshift),
                    cuda_f32(dgates), cuda_real<T>(x) + first, x.columns, cuda_real<T>(scale),
                    cuda_real<T>(shift), x.rows, heads);
    });
}

// The recurrence

/// Where the parts of one value head stand in a row of qkv.
struct places {
    size_t query, key, value;
};

static __device__ __forceinline__ places places_of(tr_delta_t d, size_t h)
{
    const size_t head = h / (d.value_heads / d.key_heads);
    return {head * d.key_dim, (d.key_heads + head) * d.key_dim,
            2 * d.key_heads * d.key_dim + h * d.value_dim};
}

/// A block: 32 columns of the state of value head blockIdx.y of sequence blockIdx.z.
template <typename T>
static __global__ void recur(T *out, const T *qkv, const float *gates, float *states, tables batch,
                             tr_delta_t d, size_t channels)
{
    CUDA_DYNAMIC_SHARED(float, state); // [K, COLUMNS], then query and key, [K] each
    float *query = state + d.key_dim * COLUMNS, *key = query + d.key_dim;
    const size_t s = blockIdx.z, h = blockIdx.y, thread = threadIdx.x;
    const size_t column = static_cast<size_t>(blockIdx.x) * COLUMNS + thread;
    const size_t row = static_cast<size_t>(batch.starts[s]);
    const size_t end = static_cast<size_t>(batch.starts[s + 1]);
    const places at = places_of(d, h);
    const bool mine = column < d.value_dim;
    if (row == end) {
        return; // all threads of the block alike
    }
    float *kept = NULL;
    if (states != NULL && mine) {
        kept = states +
               (static_cast<size_t>(batch.slots[s]) * d.value_heads + h) * d.key_dim * d.value_dim +
               column;
    }
    const bool fresh = batch.positions[row] == 0;
    for (size_t i = 0; i < d.key_dim; i++) {
        state[i * COLUMNS + thread] = fresh || kept == NULL ? 0.0f : kept[i * d.value_dim];
    }
    for (size_t t = row; t < end; t++) {
        __syncthreads(); // the last token's query and key have been read
        for (size_t i = thread; i < d.key_dim; i += COLUMNS) {
            query[i] = cuda_load(qkv[t * channels + at.query + i]);
            key[i] = cuda_load(qkv[t * channels + at.key + i]);
        }
        __syncthreads();
        const float decay = gates[t * 2 * d.value_heads + h];
        const float beta = gates[t * 2 * d.value_heads + d.value_heads + h];
        float e = 0.0f, sum = 0.0f;
        for (size_t i = 0; i < d.key_dim; i++) {
            e = fmaf(key[i], state[i * COLUMNS + thread], e);
        }
        e = (mine ? cuda_load(qkv[t * channels + at.value + column]) : 0.0f) - decay * e;
        e = beta * e;
        for (size_t i = 0; i < d.key_dim; i++) {
            float next = fmaf(key[i], e, decay * state[i * COLUMNS + thread]);
            state[i * COLUMNS + thread] = next;
            sum = fmaf(query[i], next, sum);
        }
        if (mine) {
            cuda_store(out + (t * d.value_heads + h) * d.value_dim + column, sum);
        }
    }
    for (size_t i = 0; kept != NULL && i < d.key_dim; i++) {
        kept[i * d.value_dim] = state[i * COLUMNS + thread];
    }
}

void cuda_delta(tr_queue_t *queue, tr_tensor_t out, tr_tensor_t qkv, tr_tensor_t gates,
                tr_recurrent_t kept, const tr_ragged_t *batch, tr_delta_t delta)
{
    const bool keeps = kept.states.buffer != NULL;
    TR_ASSERT_SHAPE(qkv, batch->tokens, tr_delta_channels(delta));
    TR_ASSERT_SHAPE(gates, batch->tokens, 2 * delta.value_heads);
    TR_ASSERT_SHAPE(out, batch->tokens, delta.value_heads * delta.value_dim);
    cuda_with_type(qkv.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        const dim3 grid(cuda_blocks(delta.value_dim, COLUMNS),
                        static_cast<unsigned>(delta.value_heads),
                        static_cast<unsigned>(batch->sequences));
        cuda_launch(queue, grid, COLUMNS, delta.key_dim * (COLUMNS + 2) * sizeof(float), recur<T>,
                    cuda_real<T>(out), cuda_real<T>(qkv), cuda_f32(gates),
                    keeps ? cuda_f32(kept.states) : NULL, tables_of(batch, keeps), delta,
                    qkv.columns);
    });
}

/// cpu_dot by one thread: 16 chains, then the tree.
static __device__ float dot(const float *a, const float *b, size_t n)
{
    float lane[LANES] = {0};
    for (size_t j = 0; j < n; j += LANES) {
        for (size_t l = 0; l < LANES && j + l < n; l++) {
            lane[l] = fmaf(a[j + l], b[j + l], lane[l]);
        }
    }
    for (size_t half = LANES / 2; half > 0; half /= 2) {
        for (size_t l = 0; l < half; l++) {
            lane[l] = lane[l] + lane[l + half];
        }
    }
    return lane[0];
}

/// What the gradient of one value head of one sequence reads and writes; pointers are to its first
/// row.
template <typename T> struct gradient_job {
    T *dquery, *dkey, *dvalue;
    float *ddecay, *dbeta;
    const T *query, *key, *value, *dout;
    const float *decay, *beta;
    size_t stride, out_stride, gate_stride;
    size_t K, V;
    bool continues;
};

/// Shared memory of a block: vectors of the row that it is at.
struct row_vectors {
    float *query, *key, *products;          // [K]
    float *dout, *change, *dchange, *dread; // [V]
};

template <typename T>
static __device__ void load_keys(const gradient_job<T> &g, const row_vectors &v, size_t r)
{
    __syncthreads(); // what was read of the row before is done with
    for (size_t i = threadIdx.x; i < g.K; i += blockDim.x) {
        v.query[i] = cuda_load(g.query[r * g.stride + i]);
        v.key[i] = cuda_load(g.key[r * g.stride + i]);
    }
    __syncthreads();
}

/// The state after row r from the one before it, by columns; to may be from.
template <typename T>
static __device__ void advance(const gradient_job<T> &g, const row_vectors &v, size_t r, float *to,
                               const float *from, float *errors)
{
    const float decay = g.decay[r * g.gate_stride], beta = g.beta[r * g.gate_stride];
    load_keys(g, v, r);
    for (size_t j = threadIdx.x; j < g.V; j += blockDim.x) {
        float e = 0.0f;
        for (size_t i = 0; i < g.K; i++) {
            e = fmaf(v.key[i], from[i * g.V + j], e);
        }
        e = cuda_load(g.value[r * g.stride + j]) - decay * e;
        errors[j] = e;
        e = beta * e;
        for (size_t i = 0; i < g.K; i++) {
            to[i * g.V + j] = fmaf(v.key[i], e, decay * from[i * g.V + j]);
        }
    }
}

/// delta_back of cpu/delta.c: its loops over columns and over rows take turns.
template <typename T>
static __device__ void back(const gradient_job<T> &g, const row_vectors &v, size_t r,
                            const float *before, const float *after, const float *errors,
                            float *dstate)
{
    const float decay = g.decay[r * g.gate_stride], beta = g.beta[r * g.gate_stride];
    load_keys(g, v, r);
    for (size_t j = threadIdx.x; j < g.V; j += blockDim.x) {
        float dout = cuda_load(g.dout[r * g.out_stride + j]), dchange = 0.0f;
        for (size_t i = 0; i < g.K; i++) {
            float d = fmaf(v.query[i], dout, dstate[i * g.V + j]);
            dstate[i * g.V + j] = d;
            dchange = fmaf(v.key[i], d, dchange);
        }
        v.dout[j] = dout;
        v.change[j] = errors[j] * beta;
        v.dchange[j] = dchange;
        v.dread[j] = dchange * -beta;
        cuda_store(g.dvalue + r * g.stride + j, dchange * beta);
    }
    __syncthreads();
    for (size_t i = threadIdx.x; i < g.K; i += blockDim.x) {
        T *dquery = g.dquery + r * g.stride + i, *dkey = g.dkey + r * g.stride + i;
        float dq = dot(after + i * g.V, v.dout, g.V), dk = dot(dstate + i * g.V, v.change, g.V);
        dq = g.continues ? cuda_load(*dquery) + dq : dq;
        dk = g.continues ? cuda_load(*dkey) + dk : dk;
        cuda_store(dquery, dq);
        cuda_store(dkey, dk + decay * dot(before + i * g.V, v.dread, g.V));
    }
    __syncthreads();
    for (size_t j = threadIdx.x; j < g.V; j += blockDim.x) {
        for (size_t i = 0; i < g.K; i++) {
            dstate[i * g.V + j] = fmaf(v.key[i], v.dread[j], dstate[i * g.V + j]);
        }
    }
    __syncthreads();
    for (size_t i = threadIdx.x; i < g.K; i += blockDim.x) {
        v.products[i] = dot(dstate + i * g.V, before + i * g.V, g.V);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        float ddecay = 0.0f;
        for (size_t i = 0; i < g.K; i++) {
            ddecay = ddecay + v.products[i];
        }
        g.ddecay[r * g.gate_stride] = ddecay;
        g.dbeta[r * g.gate_stride] = dot(v.dchange, errors, g.V);
    }
    for (size_t j = threadIdx.x; j < g.V; j += blockDim.x) {
        for (size_t i = 0; i < g.K; i++) {
            dstate[i * g.V + j] = dstate[i * g.V + j] * decay;
        }
    }
}

/// All rows of one value head of one sequence, as cpu_delta_gradient. interval: of the states that
/// are kept, long enough for the longest sequence; it changes no bit.
template <typename T>
static __device__ void head_gradient(const gradient_job<T> &g, const row_vectors &v, size_t rows,
                                     float *scratch, size_t interval)
{
    const size_t size = g.K * g.V;
    float *kept = scratch, *states = kept + interval * size;
    float *dstate = states + (interval + 1) * size, *errors = dstate + size;
    // A column is its thread's in every loop but those over rows, which barriers enclose.
    for (size_t j = threadIdx.x; j < g.V; j += blockDim.x) {
        for (size_t i = 0; i < g.K; i++) {
            states[i * g.V + j] = dstate[i * g.V + j] = 0.0f;
        }
    }
    for (size_t r = 0; r < rows; r++) {
        for (size_t j = threadIdx.x; j < g.V && r % interval == 0; j += blockDim.x) {
            for (size_t i = 0; i < g.K; i++) {
                kept[r / interval * size + i * g.V + j] = states[i * g.V + j];
            }
        }
        advance(g, v, r, states, states, errors);
    }
    for (size_t part = (rows - 1) / interval + 1; part-- > 0;) {
        const size_t first = part * interval;
        const size_t count = rows - first < interval ? rows - first : interval;
        for (size_t j = threadIdx.x; j < g.V; j += blockDim.x) {
            for (size_t i = 0; i < g.K; i++) {
                states[i * g.V + j] = kept[part * size + i * g.V + j];
            }
        }
        for (size_t i = 0; i < count; i++) {
            advance(g, v, first + i, states + (i + 1) * size, states + i * size, errors + i * g.V);
        }
        for (size_t i = count; i-- > 0;) {
            back(g, v, first + i, states + i * size, states + (i + 1) * size, errors + i * g.V,
                 dstate);
        }
    }
}

/// A block takes every gridDim.x-th pair of sequence and key head, whose value heads go one after
/// another: the gradient of queries and keys is a chain over them. scratch: `share` floats a block.
template <typename T>
static __global__ void recur_gradient(T *dqkv, float *dgates, const T *dout, const T *qkv,
                                      const float *gates, tables batch, tr_delta_t d,
                                      size_t channels, float *scratch, size_t share,
                                      size_t interval)
{
    CUDA_DYNAMIC_SHARED(float, shared);
    const size_t K = d.key_dim, V = d.value_dim, group = d.value_heads / d.key_heads;
    float *wide = shared + 3 * K;
    const row_vectors v = {shared,   shared + K,   shared + 2 * K, wide,
                           wide + V, wide + 2 * V, wide + 3 * V};
    for (size_t task = blockIdx.x; task < batch.sequences * d.key_heads; task += gridDim.x) {
        const size_t s = task / d.key_heads, row = static_cast<size_t>(batch.starts[s]);
        const size_t rows = static_cast<size_t>(batch.starts[s + 1]) - row;
        const size_t first = task % d.key_heads * group, qkv_at = row * channels;
        for (size_t h = first; h < first + group && rows > 0; h++) {
            const places at = places_of(d, h);
            const size_t gate = row * 2 * d.value_heads + h;
            const gradient_job<T> job = {dqkv + qkv_at + at.query,
                                         dqkv + qkv_at + at.key,
                                         dqkv + qkv_at + at.value,
                                         dgates + gate,
                                         dgates + gate + d.value_heads,
                                         qkv + qkv_at + at.query,
                                         qkv + qkv_at + at.key,
                                         qkv + qkv_at + at.value,
                                         dout + (row * d.value_heads + h) * V,
                                         gates + gate,
                                         gates + gate + d.value_heads,
                                         channels,
                                         d.value_heads * V,
                                         2 * d.value_heads,
                                         K,
                                         V,
                                         h > first};
            head_gradient(job, v, rows, scratch + blockIdx.x * share, interval);
        }
    }
}

void cuda_delta_gradient(tr_queue_t *queue, tr_tensor_t dqkv, tr_tensor_t dgates, tr_tensor_t dout,
                         tr_tensor_t qkv, tr_tensor_t gates, const tr_ragged_t *batch,
                         tr_delta_t delta)
{
    TR_ASSERT_SHAPE(qkv, batch->tokens, tr_delta_channels(delta));
    TR_ASSERT_SHAPE(dqkv, batch->tokens, qkv.columns);
    TR_ASSERT_SHAPE(dgates, batch->tokens, 2 * delta.value_heads);
    TR_ASSERT_SHAPE(dout, batch->tokens, delta.value_heads * delta.value_dim);
    float *scratch = static_cast<float *>(
        cuda_scratch(queue, CUDA_SLOT_PARTIAL, cuda_delta_gradient_bytes(batch, delta)));
    cuda_with_type(qkv.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, static_cast<unsigned>(cuda_delta_blocks(batch, delta)), 128,
                    (3 * delta.key_dim + 4 * delta.value_dim) * sizeof(float), recur_gradient<T>,
                    cuda_real<T>(dqkv), cuda_f32(dgates), cuda_real<T>(dout), cuda_real<T>(qkv),
                    cuda_f32(gates), tables_of(batch, false), delta, qkv.columns, scratch,
                    cuda_delta_share(batch->longest, delta), tr_delta_interval(batch->longest));
    });
}
