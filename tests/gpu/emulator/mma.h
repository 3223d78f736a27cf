/// nvcuda::wmma of the emulator, 16x16x16 with bf16 in and f32 out: every lane holds the whole tile and computes all of it,
/// each element one chain over k ascending; lane 0 of a warp stores.
#ifndef TESTS_GPU_EMULATOR_MMA_H
#define TESTS_GPU_EMULATOR_MMA_H

#include "cuda_bf16.h"

namespace nvcuda {
namespace wmma {

struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
enum layout_t { mem_row_major, mem_col_major };

template <typename Use, int M, int N, int K, typename T, typename Layout = void> struct fragment {
    static_assert(M == 16 && N == 16 && K == 16, "the emulator knows tiles of 16");
    enum { num_elements = 256 };
    T x[256]; // row major
};

template <typename T, typename Layout> struct emulator_at {
    static size_t at(int row, int column, unsigned stride) { return (size_t)row * stride + (size_t)column; }
};
template <typename T> struct emulator_at<T, col_major> {
    static size_t at(int row, int column, unsigned stride) { return (size_t)column * stride + (size_t)row; }
};

template <typename Use, typename T, typename Layout>
static inline void load_matrix_sync(fragment<Use, 16, 16, 16, T, Layout> &f, const T *p, unsigned stride)
{
    __syncwarp();
    for (int i = 0; i < 256; i++) {
        f.x[i] = p[emulator_at<T, Layout>::at(i / 16, i % 16, stride)];
    }
}

static inline void load_matrix_sync(fragment<accumulator, 16, 16, 16, float> &f, const float *p, unsigned stride, layout_t layout)
{
    __syncwarp();
    for (int i = 0; i < 256; i++) {
        int row = i / 16, column = i % 16;
        f.x[i] = p[layout == mem_row_major ? (size_t)row * stride + (size_t)column : (size_t)column * stride + (size_t)row];
    }
}

static inline void store_matrix_sync(float *p, const fragment<accumulator, 16, 16, 16, float> &f, unsigned stride, layout_t layout)
{
    __syncwarp();
    if (emulator_lane() == 0) {
        for (int i = 0; i < 256; i++) {
            int row = i / 16, column = i % 16;
            p[layout == mem_row_major ? (size_t)row * stride + (size_t)column : (size_t)column * stride + (size_t)row] = f.x[i];
        }
    }
    __syncwarp();
}

template <typename Use, typename T, typename Layout>
static inline void fill_fragment(fragment<Use, 16, 16, 16, T, Layout> &f, T value)
{
    for (int i = 0; i < 256; i++) {
        f.x[i] = value;
    }
}

template <typename LayoutA, typename LayoutB>
static inline void mma_sync(fragment<accumulator, 16, 16, 16, float> &d, const fragment<matrix_a, 16, 16, 16, __nv_bfloat16, LayoutA> &a,
                            const fragment<matrix_b, 16, 16, 16, __nv_bfloat16, LayoutB> &b,
                            const fragment<accumulator, 16, 16, 16, float> &c)
{
    float sum[256];
    for (int i = 0; i < 16; i++) {
        for (int j = 0; j < 16; j++) {
            float s = c.x[i * 16 + j];
            for (int k = 0; k < 16; k++) {
                s = fmaf(__bfloat162float(a.x[i * 16 + k]), __bfloat162float(b.x[k * 16 + j]), s);
            }
            sum[i * 16 + j] = s;
        }
    }
    memcpy(d.x, sum, sizeof sum);
}

} // namespace wmma
} // namespace nvcuda

#endif
