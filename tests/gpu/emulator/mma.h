/// nvcuda::wmma of the emulator, 16x16x16 with bf16 in and f32 out: each lane holds 8 elements of a
/// tile (no kernel may assume which) and computes 8 of a product, each one chain over k ascending.
#ifndef TESTS_GPU_EMULATOR_MMA_H
#define TESTS_GPU_EMULATOR_MMA_H

#include "cuda_bf16.h"

namespace nvcuda
{
namespace wmma
{

struct matrix_a {
};
struct matrix_b {
};
struct accumulator {
};
struct row_major {
};
struct col_major {
};
enum layout_t { mem_row_major, mem_col_major };

template <typename Use, int M, int N, int K, typename T, typename Layout = void> struct fragment {
    static_assert(M == 16 && N == 16 && K == 16, "the emulator knows tiles of 16");
    enum { num_elements = 8 };
    T x[8];
};

/// The place of element i of this lane: 8 neighbours of a row. No GPU has this order of rows, so a
/// kernel that relies on a real GPU's fails here.
static inline int emulator_row(int)
{
    return (int)(emulator_lane() * 7 % 16);
}
static inline int emulator_column(int i)
{
    return (int)(emulator_lane() / 16 * 8) + i;
}

static inline size_t emulator_at(int i, unsigned stride, bool row_major)
{
    size_t row = (size_t)emulator_row(i), column = (size_t)emulator_column(i);
    return row_major ? row * stride + column : column * stride + row;
}

template <typename Layout> struct emulator_is_row_major {
    enum { value = 1 };
};
template <> struct emulator_is_row_major<col_major> {
    enum { value = 0 };
};

template <typename Use, typename T, typename Layout>
static inline void load_matrix_sync(fragment<Use, 16, 16, 16, T, Layout> &f, const T *p,
                                    unsigned stride)
{
    __syncwarp();
    for (int i = 0; i < 8; i++) {
        f.x[i] = p[emulator_at(i, stride, emulator_is_row_major<Layout>::value)];
    }
}

static inline void load_matrix_sync(fragment<accumulator, 16, 16, 16, float> &f, const float *p,
                                    unsigned stride, layout_t layout)
{
    __syncwarp();
    for (int i = 0; i < 8; i++) {
        f.x[i] = p[emulator_at(i, stride, layout == mem_row_major)];
    }
}

static inline void store_matrix_sync(float *p, const fragment<accumulator, 16, 16, 16, float> &f,
                                     unsigned stride, layout_t layout)
{
    __syncwarp();
    for (int i = 0; i < 8; i++) {
        p[emulator_at(i, stride, layout == mem_row_major)] = f.x[i];
    }
    __syncwarp();
}

template <typename Use, typename T, typename Layout>
static inline void fill_fragment(fragment<Use, 16, 16, 16, T, Layout> &f, T value)
{
    for (int i = 0; i < 8; i++) {
        f.x[i] = value;
    }
}

/// A warp's whole factors: a[row][k], b[k][column].
struct emulator_factors {
    float a[16][16], b[16][16];
};

static inline emulator_factors *emulator_warp_factors(void)
{
    static emulator_factors factors[32];
    unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    return &factors[thread / 32];
}

template <typename LayoutA, typename LayoutB>
static inline void mma_sync(fragment<accumulator, 16, 16, 16, float> &d,
                            const fragment<matrix_a, 16, 16, 16, __nv_bfloat16, LayoutA> &a,
                            const fragment<matrix_b, 16, 16, 16, __nv_bfloat16, LayoutB> &b,
                            const fragment<accumulator, 16, 16, 16, float> &c)
{
    emulator_factors *factors = emulator_warp_factors();
    for (int i = 0; i < 8; i++) {
        factors->a[emulator_row(i)][emulator_column(i)] = __bfloat162float(a.x[i]);
        factors->b[emulator_row(i)][emulator_column(i)] = __bfloat162float(b.x[i]);
    }
    __syncwarp();
    const float *left = factors->a[emulator_row(0)];
    d = c;
    for (int k = 0; k < 16; k++) {
        const float *right = factors->b[k] + emulator_column(0);
        for (int i = 0; i < 8; i++) {
            d.x[i] = left[k] * right[i] + d.x[i]; // as fused: a product of two bf16 is exact in f32
        }
    }
    __syncwarp();
}

} // namespace wmma
} // namespace nvcuda

#endif
