/// Embedding, rotary positions, elementwise operators and the optimizer. The CPU's counterparts are
/// cpu/layer_ops.c and elementwise.c; in f32 each kernel adds in their order. Norms: norm_ops.cu.
///
/// No kernel adds with atomics: every sum belongs to one thread or to one tree over lanes, in an
/// order that depends on the shape alone. Operators that move rows use a block a row; elementwise
/// ones a thread an element; sums over rows a thread a column.
#include <math.h>

#include "common/tensor/cuda/numbers.h"

extern "C" {
#include "common/base/rng.h"
#include "common/tensor/adamw.h"
}

enum { SUM_LANES = 16 }; // lanes of a block of sum_squares, as on the CPU

static __device__ __forceinline__ size_t thread_index(void)
{
    return static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

// Rows

/// Threads of a block walk the row side by side, so that a warp's loads are one memory transaction.
/// y[block] = x[rows[block]]
template <typename T>
static __global__ void take_rows(T *y, const T *x, const int32_t *rows, size_t n)
{
    T *to = y + static_cast<size_t>(blockIdx.x) * n;
    const T *from = x + static_cast<size_t>(rows[blockIdx.x]) * n;
    for (size_t i = threadIdx.x; i < n; i += blockDim.x) {
        to[i] = from[i];
    }
}

void cuda_gather_rows(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t rows)
{
    TR_ASSERT_SHAPE(y, tr_tensor_count(rows), x.columns);
    // Row numbers are on the device, so they are not checked here, as they are on the CPU.
    cuda_with_type(y.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, static_cast<unsigned>(y.rows), CUDA_BLOCK, 0, take_rows<T>,
                    cuda_real<T>(y), cuda_real<T>(x), cuda_i32(rows), y.columns);
    });
}

/// dx[rows[block]] += dy[block]. Rows are distinct, so no two blocks write to the same row.
template <typename T>
static __global__ void add_distinct_rows(T *dx, const T *dy, const int32_t *rows, size_t n)
{
    // Reads and writes of an element are one thread's, so no two additions can meet.
    T *to = dx + static_cast<size_t>(rows[blockIdx.x]) * n;
    const T *from = dy + static_cast<size_t>(blockIdx.x) * n;
    for (size_t i = threadIdx.x; i < n; i += blockDim.x) {
        cuda_store(to + i, cuda_load(to[i]) + cuda_load(from[i]));
    }
}

void cuda_scatter_rows_add(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dy, tr_tensor_t rows)
{
    TR_ASSERT_SHAPE(dy, tr_tensor_count(rows), dx.columns);
    // [real] also in bf16: at most one addition an element, which rounds once.
    cuda_with_type(dx.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, static_cast<unsigned>(dy.rows), CUDA_BLOCK, 0, add_distinct_rows<T>,
                    cuda_real<T>(dx), cuda_real<T>(dy), cuda_i32(rows), dy.columns);
    });
}

/// dtable[id] += the rows of dy whose token is id, in ascending order. The block of a token's first
/// row adds all of them; blocks of its later rows return. So a row of the table belongs to one
/// block, and each of its elements to one thread, whose chain needs no atomics. The search compares
/// all pairs of ids, which is little beside the additions.
template <typename T>
static __global__ void add_token_rows(float *dtable, const T *dy, const int32_t *ids, int rows,
                                      size_t n)
{
    __shared__ int seen;
    __shared__ unsigned found[CUDA_BLOCK / 32];
    const int first = static_cast<int>(blockIdx.x), id = ids[first];
    const int thread = static_cast<int>(threadIdx.x);
    if (thread == 0) {
        seen = 0;
    }
    __syncthreads();
    // Only the block of the first row with this token works; the others must leave.
    // Did the token occur before? Several threads may write `seen`, all the same value.
    for (int r = thread; r < first; r += CUDA_BLOCK) {
        if (ids[r] == id) {
            seen = 1;
        }
    }
    __syncthreads();
    // All threads of the block see the same and leave together, so none waits at a barrier below.
    if (seen != 0) {
        return;
    }
    // Global memory as accumulator: a row of the table is too long for registers.
    float *to = dtable + static_cast<size_t>(id) * n;
    // 256 rows at a time: each thread compares one id, each warp's votes are a mask, and then all
    // threads walk the set bits in order, each adding its columns.
    // base and the number of rows are the same for all threads, so all reach the barriers.
    for (int base = first; base < rows; base += CUDA_BLOCK) {
        // All 32 lanes must vote, also those past the last row.
        bool mine = base + thread < rows && ids[base + thread] == id;
        unsigned votes = __ballot_sync(0xffffffffu, mine);
        if (thread % 32 == 0) {
            found[thread / 32] = votes;
        }
        __syncthreads();
        for (int w = 0; w < CUDA_BLOCK / 32; w++) {
            for (unsigned left = found[w]; left != 0; left &= left - 1) {
                int row = base + w * 32 + __ffs(static_cast<int>(left)) - 1;
                for (size_t i = threadIdx.x; i < n; i += CUDA_BLOCK) {
                    // f32 whatever the precision of dy: a frequent token adds up thousands of rows.
                    to[i] = to[i] + cuda_load(dy[static_cast<size_t>(row) * n + i]);
                }
            }
        }
        __syncthreads();
    }
}

void cuda_embedding_gradient(tr_queue_t *queue, tr_tensor_t dtable, tr_tensor_t dy, tr_tensor_t ids)
{
    TR_ASSERT_SHAPE(dy, tr_tensor_count(ids), dtable.columns);
    cuda_with_type(dy.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, static_cast<unsigned>(dy.rows), CUDA_BLOCK, 0, add_token_rows<T>,
                    cuda_f32(dtable), cuda_real<T>(dy), cuda_i32(ids), static_cast<int>(dy.rows),
                    dy.columns);
    });
}

// Element by element

/// Rotates the pairs (i, i + R/2) of a row's query and key heads in place. table: [positions, cos
/// R/2 | sin R/2], R = rotary.
template <typename T>
static __global__ void rotate_heads(T *qkv, const int32_t *positions, const float *table,
                                    size_t width, size_t heads, size_t dim, size_t rotary,
                                    bool inverse)
{
    const size_t half = rotary / 2;
    T *row = qkv + static_cast<size_t>(blockIdx.x) * width;
    // The table's rows are [cos | sin] of a position, made once on the host in double.
    const float *angles = table + static_cast<size_t>(positions[blockIdx.x]) * rotary;
    for (size_t j = threadIdx.x; j < heads * half; j += blockDim.x) {
        // A thread owns both elements of its pair, so rotating in place needs no copy.
        size_t i = j % half;
        T *first = row + j / half * dim + i, *second = first + half;
        float a = cuda_load(*first), b = cuda_load(*second), c = angles[i], s = angles[half + i];
        // The gradient of a rotation is the rotation back.
        if (inverse) {
            s = 0.0f - s;
        }
        cuda_store(first, a * c - b * s);
        cuda_store(second, b * c + a * s);
    }
}

void cuda_rope(tr_queue_t *queue, tr_tensor_t qkv, tr_tensor_t positions, tr_tensor_t table,
               tr_heads_t heads, bool inverse)
{
    TR_ASSERT(table.columns % 2 == 0 && table.columns <= heads.dim,
              "%zu of %zu elements are rotated", table.columns, heads.dim);
    TR_ASSERT_SHAPE(qkv, tr_tensor_count(positions), tr_heads_width(heads));
    cuda_with_type(qkv.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, static_cast<unsigned>(qkv.rows), CUDA_BLOCK, 0, rotate_heads<T>,
                    cuda_real<T>(qkv), cuda_i32(positions), cuda_f32(table), qkv.columns,
                    heads.query + heads.key_value, heads.dim, table.columns, inverse);
    });
}

/// 2 sqrt(2/pi) (x + 0.044715 x^3), in the CPU's order.
static __device__ __forceinline__ float gelu_argument(float x)
{
    return (1.5957691216057308f * x) * fmaf(0.044715f * x, x, 1.0f);
}

/// y = act(gate) up, where act(g) = g sigmoid(g), or GELU: g sigmoid(gelu_argument(g)).
template <typename T, bool GELU>
static __global__ void gated_elements(T *y, const T *gate_up, size_t rows, size_t n)
{
    size_t i = thread_index();
    if (i < rows * n) {
        const T *row = gate_up + i / n * 2 * n;
        // A row is [gate | up], n each.
        float gate = cuda_load(row[i % n]), up = cuda_load(row[n + i % n]);
        cuda_store(y + i, (gate * cuda_sigmoid(GELU ? gelu_argument(gate) : gate)) * up);
    }
}

template <bool GELU> static void run_gated(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t gate_up)
{
    TR_ASSERT_SHAPE(gate_up, y.rows, 2 * y.columns);
    cuda_with_type(y.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, cuda_blocks(tr_tensor_count(y), CUDA_BLOCK), CUDA_BLOCK, 0,
                    gated_elements<T, GELU>, cuda_real<T>(y), cuda_real<T>(gate_up), y.rows,
                    y.columns);
    });
}

void cuda_swiglu(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t gate_up)
{
    run_gated<false>(queue, y, gate_up);
}

void cuda_geglu(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t gate_up)
{
    run_gated<true>(queue, y, gate_up);
}

/// dgate = dy up act'(gate), dup = dy act(gate)
template <typename T, bool GELU>
static __global__ void gated_slopes(T *dgate_up, const T *dy, const T *gate_up, size_t rows,
                                    size_t n)
{
    size_t i = thread_index();
    if (i < rows * n) {
        // Element i of [rows, n] stands at `at` of gate, and n further at up, in [rows, 2n].
        size_t at = i / n * 2 * n + i % n;
        float gate = cuda_load(gate_up[at]), up = cuda_load(gate_up[at + n]);
        // The sigmoid is computed again rather than kept: memory costs more than the exponential.
        float d = cuda_load(dy[i]), s = cuda_sigmoid(GELU ? gelu_argument(gate) : gate);
        // silu'(g) = s (1 + g (1 - s)); of GELU see cpu/elementwise.c
        float inner = 1.5957691216057308f * fmaf(0.134145f * gate, gate, 1.0f);
        float slope =
            GELU ? fmaf((gate * s) * (1.0f - s), inner, s) : s * fmaf(gate, 1.0f - s, 1.0f);
        cuda_store(dgate_up + at, (d * up) * slope);
        cuda_store(dgate_up + at + n, d * (gate * s));
    }
}

template <bool GELU>
static void run_gated_gradient(tr_queue_t *queue, tr_tensor_t dgate_up, tr_tensor_t dy,
                               tr_tensor_t gate_up)
{
    TR_ASSERT_SHAPE(gate_up, dy.rows, 2 * dy.columns);
    TR_ASSERT_SHAPE(dgate_up, dy.rows, 2 * dy.columns);
    cuda_with_type(dy.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, cuda_blocks(tr_tensor_count(dy), CUDA_BLOCK), CUDA_BLOCK, 0,
                    gated_slopes<T, GELU>, cuda_real<T>(dgate_up), cuda_real<T>(dy),
                    cuda_real<T>(gate_up), dy.rows, dy.columns);
    });
}

void cuda_swiglu_gradient(tr_queue_t *queue, tr_tensor_t dgate_up, tr_tensor_t dy,
                          tr_tensor_t gate_up)
{
    run_gated_gradient<false>(queue, dgate_up, dy, gate_up);
}

void cuda_geglu_gradient(tr_queue_t *queue, tr_tensor_t dgate_up, tr_tensor_t dy,
                         tr_tensor_t gate_up)
{
    run_gated_gradient<true>(queue, dgate_up, dy, gate_up);
}

/// normal_below of cpu/elementwise.c, a lane.
static __device__ __forceinline__ float normal_below(float x)
{
    float a = x * 0.70710678118654752f, s = a * a, t = a > 0.0f - a ? a : 0.0f - a;
    float small = fmaf(-5.96761703e-4f, s, 4.99119423e-3f);
    small = fmaf(small, s, -2.67681349e-2f);
    small = fmaf(small, s, 1.12819925e-1f);
    small = fmaf(small, s, -3.76125336e-1f);
    small = fmaf(small, s, 1.28379166e-1f);
    small = fmaf(small, a, a);
    float u = t < 4.0f ? t : 4.0f, square = u * u;
    float large = fmaf(-1.72853470e-5f, u, 3.83197126e-4f);
    large = fmaf(large, square, fmaf(-3.88396438e-3f, u, 2.42546219e-2f));
    large = fmaf(large, u, -1.06777877e-1f);
    large = fmaf(large, u, -6.34846687e-1f);
    large = fmaf(large, u, -1.28717512e-1f);
    large = 1.0f - cuda_exp(fmaf(large, u, 0.0f - u));
    large = a < 0.0f ? 0.0f - large : large;
    return 0.5f * (1.0f + (t < 0.927734375f ? small : large));
}

static __device__ __forceinline__ float gelu_part(float x, bool exact)
{
    return exact ? normal_below(x) : cuda_sigmoid(gelu_argument(x));
}

template <typename T> static __global__ void gelu_elements(T *y, const T *x, size_t n, bool exact)
{
    size_t i = thread_index();
    if (i < n) {
        float z = cuda_load(x[i]);
        cuda_store(y + i, z * gelu_part(z, exact));
    }
}

void cuda_gelu(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, bool exact)
{
    const size_t n = tr_tensor_count(y);
    TR_ASSERT_COUNT(x, n);
    cuda_with_type(y.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, cuda_blocks(n, CUDA_BLOCK), CUDA_BLOCK, 0, gelu_elements<T>,
                    cuda_real<T>(y), cuda_real<T>(x), n, exact);
    });
}

/// gelu'(x) = p + x p', in the order of cpu_gelu_gradient.
template <typename T>
static __global__ void gelu_slopes(T *dx, const T *dy, const T *x, size_t n, bool exact)
{
    size_t i = thread_index();
    if (i < n) {
        float z = cuda_load(x[i]), p = gelu_part(z, exact);
        float density =
            exact ? cuda_exp((z * z) * -0.5f) * 0.3989422804014327f
                  : (p * (1.0f - p)) * (1.5957691216057308f * fmaf(0.134145f * z, z, 1.0f));
        cuda_store(dx + i, cuda_load(dy[i]) * fmaf(z, density, p));
    }
}

void cuda_gelu_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dy, tr_tensor_t x,
                        bool exact)
{
    const size_t n = tr_tensor_count(dx);
    TR_ASSERT_COUNT(dy, n);
    TR_ASSERT_COUNT(x, n);
    cuda_with_type(dx.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, cuda_blocks(n, CUDA_BLOCK), CUDA_BLOCK, 0, gelu_slopes<T>,
                    cuda_real<T>(dx), cuda_real<T>(dy), cuda_real<T>(x), n, exact);
    });
}

template <typename T>
static __global__ void scale_elements(T *y, const T *x, float factor, size_t n)
{
    size_t i = thread_index();
    if (i < n) {
        cuda_store(y + i, cuda_load(x[i]) * factor);
    }
}

void cuda_scale(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, float factor)
{
    size_t n = tr_tensor_count(y);
    TR_ASSERT_COUNT(x, n);
    cuda_with_type(y.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, cuda_blocks(n, CUDA_BLOCK), CUDA_BLOCK, 0, scale_elements<T>,
                    cuda_real<T>(y), cuda_real<T>(x), factor, n);
    });
}

template <typename T> static __global__ void add_elements(T *y, const T *a, const T *b, size_t n)
{
    size_t i = thread_index();
    if (i < n) {
        cuda_store(y + i, cuda_load(a[i]) + cuda_load(b[i]));
    }
}

void cuda_add(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t a, tr_tensor_t b)
{
    size_t n = tr_tensor_count(y);
    TR_ASSERT_COUNT(a, n);
    TR_ASSERT_COUNT(b, n);
    cuda_with_type(y.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, cuda_blocks(n, CUDA_BLOCK), CUDA_BLOCK, 0, add_elements<T>,
                    cuda_real<T>(y), cuda_real<T>(a), cuda_real<T>(b), n);
    });
}

template <typename T, typename U>
static __global__ void add_bias_elements(T *y, const U *bias, size_t count, size_t n)
{
    size_t i = thread_index();
    if (i < count) {
        cuda_store(y + i, cuda_load(y[i]) + cuda_load(bias[i % n]));
    }
}

void cuda_add_bias(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t bias)
{
    const size_t count = tr_tensor_count(y);
    TR_ASSERT_COUNT(bias, y.columns);
    cuda_with_type(y.dtype, [&](auto zero) {
        cuda_with_type(bias.dtype, [&](auto none) { // logits of a router are f32
            typedef decltype(zero) T;
            typedef decltype(none) U;
            cuda_launch(queue, cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0,
                        add_bias_elements<T, U>, cuda_real<T>(y), cuda_real<U>(bias), count,
                        y.columns);
        });
    });
}

/// A thread a column, one chain down the rows in either precision: biases are few.
template <typename T>
static __global__ void sum_columns(float *dbias, const T *dy, size_t rows, size_t n)
{
    size_t i = thread_index();
    if (i < n) {
        float sum = dbias[i];
        for (size_t r = 0; r < rows; r++) {
            sum = sum + cuda_load(dy[r * n + i]);
        }
        dbias[i] = sum;
    }
}

void cuda_bias_gradient(tr_queue_t *queue, tr_tensor_t dbias, tr_tensor_t dy)
{
    TR_ASSERT_COUNT(dbias, dy.columns);
    cuda_with_type(dy.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, cuda_blocks(dy.columns, CUDA_BLOCK), CUDA_BLOCK, 0, sum_columns<T>,
                    cuda_f32(dbias), cuda_real<T>(dy), dy.rows, dy.columns);
    });
}

// Pieces of rows

/// A thread an element of the pieces.
template <typename T>
static __global__ void copy_piece_elements(T *y, tr_pieces_t to, size_t y_width, const T *x,
                                           tr_pieces_t from, size_t x_width, size_t rows,
                                           size_t count)
{
    const size_t i = thread_index(), n = count * to.width, piece = i % n / to.width;
    if (i < rows * n) {
        y[i / n * y_width + to.first + piece * to.step + i % to.width] =
            x[i / n * x_width + from.first + piece * from.step + i % to.width];
    }
}

void cuda_copy_pieces(tr_queue_t *queue, tr_tensor_t y, tr_pieces_t to, tr_tensor_t x,
                      tr_pieces_t from, size_t count)
{
    TR_ASSERT(to.width == from.width, "pieces of %zu and %zu", to.width, from.width);
    TR_ASSERT_ROWS(x, y.rows);
    cuda_with_type(y.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, cuda_blocks(y.rows * count * to.width, CUDA_BLOCK), CUDA_BLOCK, 0,
                    copy_piece_elements<T>, cuda_real<T>(y), to, y.columns, cuda_real<T>(x), from,
                    x.columns, y.rows, count);
    });
}

/// A thread a sum.
template <typename T>
static __global__ void sum_piece_elements(T *y, size_t first, size_t y_width, const T *x,
                                          tr_pieces_t from, size_t x_width, size_t rows,
                                          size_t count)
{
    const size_t i = thread_index(), row = i / from.width, column = i % from.width;
    if (row < rows) {
        float sum = cuda_load(x[row * x_width + from.first + column]);
        for (size_t piece = 1; piece < count; piece++) {
            sum = sum + cuda_load(x[row * x_width + from.first + piece * from.step + column]);
        }
        cuda_store(y + row * y_width + first + column, sum);
    }
}

void cuda_sum_pieces(tr_queue_t *queue, tr_tensor_t y, size_t first, tr_tensor_t x,
                     tr_pieces_t from, size_t count)
{
    TR_ASSERT_ROWS(x, y.rows);
    cuda_with_type(y.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, cuda_blocks(y.rows * from.width, CUDA_BLOCK), CUDA_BLOCK, 0,
                    sum_piece_elements<T>, cuda_real<T>(y), first, y.columns, cuda_real<T>(x), from,
                    x.columns, y.rows, count);
    });
}

/// Where the gate of element i of [rows, n] stands.
static __device__ __forceinline__ size_t gate_at(size_t i, size_t n, tr_pieces_t from, size_t width)
{
    return i / n * width + from.first + i % n / from.width * from.step + i % n % from.width;
}

/// y = x f(g), in the order of cpu_gate.
template <typename T>
static __global__ void gate_elements(T *y, const T *x, const T *gates, tr_pieces_t from,
                                     size_t width, size_t count, size_t n, bool silu)
{
    size_t i = thread_index();
    if (i < count) {
        float g = cuda_load(gates[gate_at(i, n, from, width)]), f = cuda_sigmoid(g);
        cuda_store(y + i, cuda_load(x[i]) * (silu ? g * f : f));
    }
}

/// dx = dy f(g), dg = dy x f'(g).
template <typename T>
static __global__ void gate_slopes(T *dx, T *dgates, const T *dy, const T *x, const T *gates,
                                   tr_pieces_t from, size_t width, size_t count, size_t n,
                                   bool silu)
{
    size_t i = thread_index();
    if (i < count) {
        const size_t at = gate_at(i, n, from, width);
        float g = cuda_load(gates[at]), s = cuda_sigmoid(g), d = cuda_load(dy[i]);
        float slope = silu ? fmaf(g, 1.0f - s, 1.0f) : 1.0f - s;
        cuda_store(dgates + at, (d * cuda_load(x[i])) * (s * slope));
        cuda_store(dx + i, d * (silu ? g * s : s));
    }
}

void cuda_gate(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t gates, tr_pieces_t from,
               tr_gate_t f)
{
    const size_t count = tr_tensor_count(y);
    TR_ASSERT_SHAPE(x, y.rows, y.columns);
    TR_ASSERT_ROWS(gates, y.rows);
    cuda_with_type(y.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, gate_elements<T>,
                    cuda_real<T>(y), cuda_real<T>(x), cuda_real<T>(gates), from, gates.columns,
                    count, y.columns, f == TR_GATE_SILU);
    });
}

void cuda_gate_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dgates, tr_tensor_t dy,
                        tr_tensor_t x, tr_tensor_t gates, tr_pieces_t from, tr_gate_t f)
{
    const size_t count = tr_tensor_count(dx);
    TR_ASSERT_SHAPE(x, dx.rows, dx.columns);
    TR_ASSERT_SHAPE(dy, dx.rows, dx.columns);
    TR_ASSERT_SHAPE(dgates, dx.rows, gates.columns);
    cuda_with_type(dx.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, gate_slopes<T>,
                    cuda_real<T>(dx), cuda_real<T>(dgates), cuda_real<T>(dy), cuda_real<T>(x),
                    cuda_real<T>(gates), from, gates.columns, count, dx.columns, f == TR_GATE_SILU);
    });
}

// The optimizer

/// sums[b] = sum of squares of block b of 4096 elements: 16 lanes, then the tree, which is the
/// CPU's dot product. Threads past the last block take part in the shuffles with 0.
static __global__ void square_blocks(float *sums, const float *x, size_t n, size_t blocks)
{
    const size_t block = thread_index() / SUM_LANES, first = block * TR_SUM_BLOCK;
    float sum = 0.0f;
    if (block < blocks) {
        size_t end = first + TR_SUM_BLOCK < n ? first + TR_SUM_BLOCK : n;
        for (size_t i = first + threadIdx.x % SUM_LANES; i < end; i += SUM_LANES) {
            sum = fmaf(x[i], x[i], sum);
        }
    }
    // 16 lanes are half a warp, so the tree needs no shared memory.
    sum = cuda_sum_lanes<SUM_LANES>(sum, NULL);
    if (block < blocks && threadIdx.x % SUM_LANES == 0) {
        sums[block] = sum;
    }
}

void cuda_sum_squares(tr_queue_t *queue, tr_tensor_t sums, tr_tensor_t x)
{
    const size_t n = tr_tensor_count(x), blocks = TR_SUM_BLOCKS(n);
    TR_ASSERT_COUNT(sums, blocks);
    cuda_launch(queue, cuda_blocks(blocks * SUM_LANES, CUDA_BLOCK), CUDA_BLOCK, 0, square_blocks,
                cuda_f32(sums), cuda_f32(x), n, blocks);
}

/// The address of the random numbers for stochastic rounding; an element adds its number.
typedef struct rounding {
    uint64_t seed, step, first;
} rounding_t;

/// Philox 4x32-10 (base/rng.c): the four words at this counter.
static __device__ uint4 philox(uint64_t seed, unsigned c0, unsigned c1, unsigned c2, unsigned c3)
{
    unsigned k0 = static_cast<unsigned>(seed), k1 = static_cast<unsigned>(seed >> 32);
    for (int round = 0; round < 10; round++) {
        unsigned high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
        unsigned high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {c0, c1, c2, c3};
}

/// The first word at (seed, TR_RNG_ROUND, step, element).
static __device__ unsigned random_word(rounding_t at, uint64_t element)
{
    // The element's 64-bit number takes two words of the counter, the step one: vectors of more
    // than 2^32 elements draw different numbers.
    return philox(at.seed, static_cast<unsigned>(element), static_cast<unsigned>(element >> 32),
                  static_cast<unsigned>(at.step), TR_RNG_ROUND)
        .x;
}

/// A thread four columns of a row, whose numbers are one address's.
template <typename T>
static __global__ void dropout_elements(T *y, const T *x, const int32_t *addresses, size_t rows,
                                        size_t n, tr_dropout_t dropout)
{
    const size_t fours = (n + 3) / 4, i = thread_index();
    if (i >= rows * fours) {
        return;
    }
    const size_t row = i / fours, four = i % fours;
    const uint4 words = philox(dropout.seed, static_cast<unsigned>(four),
                               static_cast<unsigned>(addresses[row]), dropout.a, TR_RNG_DROPOUT);
    const unsigned word[] = {words.x, words.y, words.z, words.w};
    const float factor = 1.0f / (1.0f - dropout.chance);
    for (size_t k = 0; k < 4 && 4 * four + k < n; k++) {
        const size_t at = row * n + 4 * four + k;
        const float number = static_cast<float>(word[k] >> 8) * 0x1p-24f;
        cuda_store(y + at, number < dropout.chance ? 0.0f : cuda_load(x[at]) * factor);
    }
}

void cuda_dropout(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t addresses,
                  tr_dropout_t dropout)
{
    const size_t threads = y.rows * ((y.columns + 3) / 4);
    TR_ASSERT_SHAPE(x, y.rows, y.columns);
    TR_ASSERT_COUNT(addresses, y.rows);
    cuda_with_type(y.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, cuda_blocks(threads, CUDA_BLOCK), CUDA_BLOCK, 0, dropout_elements<T>,
                    cuda_real<T>(y), cuda_real<T>(x), cuda_i32(addresses), y.rows, y.columns,
                    dropout);
    });
}

/// f32 weights need no rounding.
static __device__ __forceinline__ void round_to(float *p, float x, rounding_t, uint64_t)
{
    *p = x;
}

/// Stochastic rounding: a random number below a step of bf16 is added, then the lower half is cut
/// off. So x is rounded up with a probability equal to the fraction that is cut off, and its mean
/// is x.
static __device__ __forceinline__ void round_to(bf16 *p, float x, rounding_t at, uint64_t element)
{
    unsigned bits = __float_as_uint(x);
    if ((bits & 0x7f800000u) == 0x7f800000u) { // infinite or NaN: adding would change its kind
        *p = __float2bfloat16_rn(x);
        return;
    }
    // 16 random bits: a bf16 is the upper half of an f32. A carry goes into the exponent, as it
    // must.
    bits += random_word(at, element) & 0xffffu;
    *p = __ushort_as_bfloat16(static_cast<unsigned short>(bits >> 16));
}

/// A thread an element, in the order of cpu_adamw.
template <typename T>
static __global__ void adamw_elements(T *weight, float *m, float *v, const float *gradient,
                                      size_t n, tr_adamw_scalars_t s, rounding_t rounding)
{
    size_t i = thread_index();
    if (i >= n) {
        return;
    }
    float g = gradient[i] * s.scale;
    // -fmad=false keeps each operation rounded by itself, as in PyTorch and in cpu_adamw.
    float first = m[i] + s.lerp * (g - m[i]);
    float second = v[i] * s.beta2 + (s.square * g) * g;
    float denominator = sqrtf(second) / s.root + s.epsilon;
    m[i] = first;
    v[i] = second;
    float updated = cuda_load(weight[i]) * s.decay - (s.step_size * first) / denominator;
    round_to(weight + i, updated, rounding, rounding.first + i);
}

void cuda_adamw(tr_queue_t *queue, tr_tensor_t weight, tr_tensor_t m, tr_tensor_t v,
                tr_tensor_t gradient, tr_adamw_t options)
{
    size_t n = tr_tensor_count(weight);
    const tr_adamw_scalars_t s = tr_adamw_scalars_of(&options);
    TR_ASSERT_COUNT(m, n);
    TR_ASSERT_COUNT(v, n);
    TR_ASSERT_COUNT(gradient, n);
    const rounding_t rounding = {options.seed, options.step, options.first};
    cuda_with_type(weight.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_launch(queue, cuda_blocks(n, CUDA_BLOCK), CUDA_BLOCK, 0, adamw_elements<T>,
                    cuda_real<T>(weight), cuda_f32(m), cuda_f32(v), cuda_f32(gradient), n, s,
                    rounding);
    });
}
