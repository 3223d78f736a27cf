/// The common part of the attention kernels: a batch as they see it, and tiles of its rows.
/// attention_ops.cu has the forward pass, attention_gradient.cu the gradient.
///
/// A row is a (position, head of the group) pair of one sequence and one key-value head: row i is
/// token i / group of the sequence's tokens in this batch and head i % group of the group. So the
/// heads that share keys share a tile, and one decoded token fills as much of it as its group has
/// heads. A block of threads takes a tile: M rows of one sequence and key-value head, or fewer at
/// its end.
///
/// The cache: keys and values lie alike, a page [Hk][TR_PAGE][D].
#ifndef TR_TENSOR_CUDA_ATTENTION_H
#define TR_TENSOR_CUDA_ATTENTION_H

#include <math.h>
#include <mma.h>
#include <type_traits>

#include "common/tensor/cuda/numbers.h"

enum { CUDA_MOST_DIM = 256 }; ///< largest head dimension

template <typename T> struct cuda_attending {
    const int32_t *starts, *positions; ///< [S + 1], [T]: of the batch
    const int32_t *pages;              ///< [S, max_pages]; NULL where no cache is read
    int sequences, max_pages;
    int query, key_value, group, dim; ///< Hq, Hk, Hq / Hk, D
    int width;                        ///< (Hq + 2 Hk) D
    int window;                       ///< 0: a query sees all keys before it
    float scale, cap;                 ///< of scores; cap 0: none
    T *qkv, *keys, *values, *out;     ///< [T, width], the cache's pages, [T, Hq, D]
    float *lse;                       ///< [T, Hq]
    T *dqkv, *dout;                   ///< [T, width], [T, Hq, D]
    float *delta;                     ///< [T, Hq]: dout . out
};

template <typename T>
static cuda_attending<T> cuda_attending_of(tr_tensor_t qkv, const tr_ragged_t *batch,
                                           tr_heads_t heads)
{
    TR_ASSERT(heads.key_value > 0 && heads.query % heads.key_value == 0 && heads.dim > 0 &&
                  heads.dim <= CUDA_MOST_DIM,
              "%zu query heads over %zu, of %zu elements", heads.query, heads.key_value, heads.dim);
    TR_ASSERT_SHAPE(qkv, batch->tokens, tr_heads_width(heads));
    TR_ASSERT_ROOM(batch->starts, batch->sequences + 1);
    TR_ASSERT_ROOM(batch->positions, batch->tokens);
    cuda_attending<T> a = {};
    a.starts = cuda_i32(batch->starts);
    a.positions = cuda_i32(batch->positions);
    a.sequences = static_cast<int>(batch->sequences);
    a.query = static_cast<int>(heads.query);
    a.key_value = static_cast<int>(heads.key_value);
    a.group = a.query / a.key_value;
    a.dim = static_cast<int>(heads.dim);
    a.width = static_cast<int>(qkv.columns);
    a.window = static_cast<int>(heads.window);
    a.scale = tr_heads_scale(&heads);
    a.cap = heads.cap;
    a.qkv = cuda_real<T>(qkv);
    return a;
}

/// The first key that a query at `position` sees.
template <typename T>
static __device__ __forceinline__ int cuda_first_key(const cuda_attending<T> &a, int position)
{
    return a.window > 0 ? max(position + 1 - a.window, 0) : 0;
}

/// A score from a dot product: scaled, then capped. *slope: its derivative, in the CPU's order.
template <typename T>
static __device__ __forceinline__ float cuda_score(const cuda_attending<T> &a, float dot,
                                                   float *slope)
{
    const float score = dot * a.scale;
    *slope = a.scale;
    if (a.cap <= 0.0f) {
        return score;
    }
    const float bent = cuda_tanh(score / a.cap);
    *slope = a.scale * (1.0f - bent * bent);
    return a.cap * bent;
}

struct cuda_tile {
    int sequence;
    int start; ///< the sequence's first token in the batch
    int all;   ///< rows of the sequence and head
    int first; ///< the tile's first row
    int count; ///< of its rows; 0: nothing to do
};

/// The last s of 0..sequences-1 with first(s) <= x, where first never falls: binary search.
template <typename F>
static __device__ __forceinline__ int cuda_last_sequence(int sequences, int x, F first)
{
    int low = 0, high = sequences;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (first(middle) <= x) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

/// The tile of a block by its number. Blocks start in ascending order, so callers give those with
/// the most keys the lowest numbers.
static __device__ __forceinline__ cuda_tile cuda_find_tile(const int32_t *starts, int sequences,
                                                           int each, int m, unsigned number)
{
    const int block = static_cast<int>(number);
    auto first_block = [&](int s) {
        return static_cast<int>(static_cast<long long>(starts[s]) * each / m) + s;
    };
    cuda_tile t;
    t.sequence = cuda_last_sequence(sequences, block, first_block);
    t.start = starts[t.sequence];
    t.all = (starts[t.sequence + 1] - t.start) * each;
    t.first = (block - first_block(t.sequence)) * m;
    t.count = min(max(t.all - t.first, 0), m);
    return t;
}

/// Number of row `row`'s (token, query head) pair among all: its place in out, lse and delta.
template <typename T>
static __device__ __forceinline__ size_t cuda_row_of(const cuda_attending<T> &a, const cuda_tile &t,
                                                     int h, int row)
{
    return static_cast<size_t>(t.start + row / a.group) * a.query + h * a.group + row % a.group;
}

/// Its query in qkv or dqkv.
template <typename T>
static __device__ __forceinline__ T *cuda_query_of(const cuda_attending<T> &a, T *qkv,
                                                   const cuda_tile &t, int h, int row)
{
    return qkv + static_cast<size_t>(t.start + row / a.group) * a.width +
           (h * a.group + row % a.group) * a.dim;
}

/// The key of the sequence's token `token` in qkv or dqkv; the value lies Hk * D further.
template <typename T>
static __device__ __forceinline__ T *cuda_key_of(const cuda_attending<T> &a, T *qkv,
                                                 const cuda_tile &t, int h, int token)
{
    return qkv + static_cast<size_t>(t.start + token) * a.width + (a.query + h) * a.dim;
}

/// The place of position `position` of a sequence in the cache's keys, and in its values.
template <typename T>
static __device__ __forceinline__ size_t cuda_cached(const cuda_attending<T> &a, int sequence,
                                                     int h, int position)
{
    int page = a.pages[static_cast<size_t>(sequence) * a.max_pages + position / TR_PAGE];
    return ((static_cast<size_t>(page) * a.key_value + h) * TR_PAGE + position % TR_PAGE) * a.dim;
}

// f32: a block has 16 rows of 16 lanes, and keys come 16 at a time. The lanes are the CPU's.

enum { CUDA_EXACT = 16 };

/// to: [16, D + 1] in shared memory (the extra float puts 16 rows into different banks), from rows
/// from(r); zeros where that is NULL.
template <typename F>
static __device__ __forceinline__ void cuda_load_exact(float *to, int dim, F from)
{
    const int r = static_cast<int>(threadIdx.x) / CUDA_EXACT;
    const float *row = from(r);
    for (int d = static_cast<int>(threadIdx.x) % CUDA_EXACT; d < dim; d += CUDA_EXACT) {
        to[r * (dim + 1) + d] = row != NULL ? row[d] : 0.0f;
    }
}

/// The dot product as one chain over d.
static __device__ __forceinline__ float cuda_chain(const float *x, const float *y, int dim)
{
    float sum = 0.0f;
    for (int d = 0; d < dim; d++) {
        sum = fmaf(x[d], y[d], sum);
    }
    return sum;
}

/// A lane's part of a row of D elements: element `lane` and every 16th after it, in registers.
struct cuda_columns {
    float x[CUDA_MOST_DIM / CUDA_EXACT];

    __device__ __forceinline__ void zero(void)
    {
        for (int i = 0; i < CUDA_MOST_DIM / CUDA_EXACT; i++) {
            x[i] = 0.0f;
        }
    }
    /// x = factor * row + x
    __device__ __forceinline__ void add(float factor, const float *row, int lane, int dim)
    {
        for (int i = 0; i < CUDA_MOST_DIM / CUDA_EXACT; i++) {
            if (lane + i * CUDA_EXACT < dim) {
                x[i] = fmaf(factor, row[lane + i * CUDA_EXACT], x[i]);
            }
        }
    }
    __device__ __forceinline__ void store(float *row, float factor, int lane, int dim) const
    {
        for (int i = 0; i < CUDA_MOST_DIM / CUDA_EXACT; i++) {
            if (lane + i * CUDA_EXACT < dim) {
                row[lane + i * CUDA_EXACT] = x[i] * factor;
            }
        }
    }
};

// bf16: a block has 8 threads a row, keys come 64 at a time, and products are made of 16 x 16
// pieces on tensor cores, a warp a piece, so four warps for 16 rows. An element of a piece is
// computed from its own row and column alone, so its bits do not depend on its place. Kernels are
// instantiated for heads of up to 64 C elements, C = 1, 2 or 4; a smaller D is filled up with zeros
// in shared memory.

enum { CUDA_ROW_THREADS = 8, CUDA_PIECE = 16, CUDA_KEYS = 64 };

/// Elements from a row to the next in shared memory: 8 (16 bytes) more than a row has, so that the
/// rows of a piece lie in different banks.
template <int C> struct cuda_stride {
    enum { of = 64 * C + 8 };
};
enum { CUDA_WEIGHTS = CUDA_KEYS + 8 }; ///< the same for rows of weights, [rows, 64 keys]

typedef nvcuda::wmma::fragment<nvcuda::wmma::accumulator, CUDA_PIECE, CUDA_PIECE, CUDA_PIECE, float>
    cuda_piece;

/// The warp's pieces: 16 rows from `side` on and 16 columns from `column` on, and the same every 64
/// columns further.
struct cuda_warp {
    int side, column;
};
static __device__ __forceinline__ cuda_warp cuda_this_warp(void)
{
    const int warp = static_cast<int>(threadIdx.x) / 32, beside = CUDA_KEYS / CUDA_PIECE;
    return {warp / beside * CUDA_PIECE, warp % beside * CUDA_PIECE};
}

/// to: [ROWS, stride], from rows from(r), zeros where that is NULL; by all THREADS of the block, 16
/// bytes a load where it can.
template <int C, int ROWS, int THREADS, typename F>
static __device__ __forceinline__ void cuda_load_tile(bf16 *to, int dim, F from)
{
    enum { D = 64 * C, S = cuda_stride<C>::of };
    if (dim % 8 == 0) { // then rows lie at multiples of 16 bytes
        for (int i = 0; i < ROWS * D / 8 / THREADS; i++) {
            const int at = (i * THREADS + static_cast<int>(threadIdx.x)) * 8, d = at % D;
            const bf16 *row = from(at / D);
            uint4 eight = make_uint4(0, 0, 0, 0);
            if (row != NULL && d < dim) {
                eight = *reinterpret_cast<const uint4 *>(row + d);
            }
            *reinterpret_cast<uint4 *>(to + at / D * S + d) = eight;
        }
    } else {
        for (int at = static_cast<int>(threadIdx.x); at < ROWS * D; at += THREADS) {
            const int d = at % D;
            const bf16 *row = from(at / D);
            to[at / D * S + d] = row != NULL && d < dim ? row[d] : __ushort_as_bfloat16(0);
        }
    }
}

/// The places of this thread's elements in a piece. wmma leaves them open, so a piece that holds
/// its own numbers is loaded.
struct cuda_places {
    int row[cuda_piece::num_elements], column[cuda_piece::num_elements];
};

/// numbers: [256] in shared memory.
static __device__ __forceinline__ cuda_places cuda_find_places(float *numbers)
{
    cuda_places places;
    cuda_piece piece;
    for (unsigned i = threadIdx.x; i < CUDA_PIECE * CUDA_PIECE; i += blockDim.x) {
        numbers[i] = static_cast<float>(i);
    }
    __syncthreads();
    nvcuda::wmma::load_matrix_sync(piece, numbers, CUDA_PIECE, nvcuda::wmma::mem_row_major);
    for (int i = 0; i < cuda_piece::num_elements; i++) {
        places.row[i] = static_cast<int>(piece.x[i]) / CUDA_PIECE;
        places.column[i] = static_cast<int>(piece.x[i]) % CUDA_PIECE;
    }
    __syncthreads();
    return places;
}

typedef nvcuda::wmma::row_major cuda_plain;
typedef nvcuda::wmma::col_major cuda_transposed;

/// sum += x y over DEPTH, where element (row, k) of x is x[row * XS + k], and (k, column) of y is
/// y[k * YS + column]; with cuda_transposed it is x[k * XS + row], y[column * YS + k].
template <typename X, int XS, typename Y, int YS, int DEPTH>
static __device__ __forceinline__ void cuda_add_product(cuda_piece &sum, const bf16 *x,
                                                        const bf16 *y)
{
    using namespace nvcuda::wmma;
    const int x_step = std::is_same<X, cuda_plain>::value ? 1 : XS;
    const int y_step = std::is_same<Y, cuda_plain>::value ? YS : 1;
    for (int k = 0; k < DEPTH; k += CUDA_PIECE) {
        fragment<matrix_a, CUDA_PIECE, CUDA_PIECE, CUDA_PIECE, bf16, X> left;
        fragment<matrix_b, CUDA_PIECE, CUDA_PIECE, CUDA_PIECE, bf16, Y> right;
        load_matrix_sync(left, x + k * x_step, XS);
        load_matrix_sync(right, y + k * y_step, YS);
        mma_sync(sum, left, right, sum);
    }
}

template <int C> static __device__ __forceinline__ void cuda_zero_pieces(cuda_piece *pieces)
{
    for (int c = 0; c < C; c++) {
        nvcuda::wmma::fill_fragment(pieces[c], 0.0f);
    }
}

/// Calls f(row, column, element) for this thread's elements of the warp's C pieces.
template <int C, typename F>
static __device__ __forceinline__ void cuda_each_element(const cuda_piece *pieces,
                                                         const cuda_places &places, F f)
{
    const cuda_warp w = cuda_this_warp();
    for (int c = 0; c < C; c++) {
        for (int i = 0; i < cuda_piece::num_elements; i++) {
            f(w.side + places.row[i], w.column + c * 64 + places.column[i], pieces[c].x[i]);
        }
    }
}

/// The dot products of 16 rows of x with 16 rows of y, over all of the head dimension.
template <int C>
static __device__ __forceinline__ cuda_piece cuda_dot_rows(const bf16 *x, const bf16 *y)
{
    enum { S = cuda_stride<C>::of };
    cuda_piece sum;
    nvcuda::wmma::fill_fragment(sum, 0.0f);
    cuda_add_product<cuda_plain, S, cuda_transposed, S, 64 * C>(sum, x, y);
    return sum;
}

#endif
