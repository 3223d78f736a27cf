/// A tile of a matrix product whose elements are one chain of fused multiply-adds over k ascending
/// each, as on the CPU: products in f32 (matmul_ops.cu) and those of experts (expert_ops.cu).
#ifndef TR_TENSOR_CUDA_CHAINS_H
#define TR_TENSOR_CUDA_CHAINS_H

#include "common/tensor/cuda/numbers.h"

enum {
    TILE = 64,  // a block's tile of y is TILE x TILE
    DEPTH = 16, // k at a time: two tiles of operands are 8 KiB of shared memory
    EACH = 4    // a thread's tile is EACH x EACH: 256 threads make a block's
};

/// How the product meets its destination: y = product, y = y + product, or the chain starts at y.
typedef enum product_mode { PRODUCT_WRITE, PRODUCT_ADD, PRODUCT_CONTINUE } product_mode_t;

/// A matrix of any layout: a(i, k) = a[i * row + k * depth], b(k, j) = b[k * depth + j * row]. One
/// of the two distances is 1.
template <typename T> struct operand {
    const T *data;
    size_t row, depth;
};

/// Copies a tile of an operand to shared memory, to[k][i], with zeros outside the matrix.
template <typename T>
static __device__ __forceinline__ void load_tile(float (*to)[TILE], operand<T> from, size_t first,
                                                 size_t rows, size_t k, size_t depth)
{
    // 64 x 16 elements by 256 threads: four each.
    for (int e = static_cast<int>(threadIdx.x); e < TILE * DEPTH; e += CUDA_BLOCK) {
        // Neighbouring threads load neighbouring elements, along k or along i: one memory
        // transaction.
        int i = from.depth == 1 ? e / DEPTH : e % TILE, d = from.depth == 1 ? e % DEPTH : e / TILE;
        bool inside = first + i < rows && k + d < depth;
        to[d][i] =
            inside ? cuda_load(from.data[(first + i) * from.row + (k + d) * from.depth]) : 0.0f;
    }
}

/// The tile of y: [rows, columns] from (first_row, first_column) on, by a block of CUDA_BLOCK
/// threads. A thread computes 4 x 4 elements of it, each one chain: k is never split over threads.
/// Elements outside y are computed from zeros and not stored.
template <typename Y, typename T>
static __device__ void chain_tile(Y *y, operand<T> a, operand<T> b, size_t first_row, size_t rows,
                                  size_t first_column, size_t columns, size_t depth,
                                  product_mode_t mode)
{
    __shared__ float left[DEPTH][TILE], right[DEPTH][TILE];
    const int at_row = static_cast<int>(threadIdx.x) / (TILE / EACH) * EACH;
    const int at_column = static_cast<int>(threadIdx.x) % (TILE / EACH) * EACH;
    float sum[EACH][EACH];
    for (int i = 0; i < EACH; i++) {
        for (int j = 0; j < EACH; j++) {
            size_t row = first_row + at_row + i, column = first_column + at_column + j;
            bool starts = mode == PRODUCT_CONTINUE && row < rows && column < columns;
            sum[i][j] = starts ? cuda_load(y[row * columns + column]) : 0.0f;
        }
    }
    for (size_t k = 0; k < depth; k += DEPTH) {
        load_tile(left, a, first_row, rows, k, depth);
        load_tile(right, b, first_column, columns, k, depth);
        // The tiles are complete.
        __syncthreads();
        // The last piece may be short. Zeros past the end are left out of the chain: adding 0 turns
        // a -0 into 0.
        int end = depth - k < DEPTH ? static_cast<int>(depth - k) : DEPTH;
        for (int d = 0; d < end; d++) {
            for (int i = 0; i < EACH; i++) {
                for (int j = 0; j < EACH; j++) {
                    sum[i][j] = fmaf(left[d][at_row + i], right[d][at_column + j], sum[i][j]);
                }
            }
        }
        __syncthreads(); // all threads have read the tiles before they are loaded again
    }
    for (int i = 0; i < EACH; i++) {
        for (int j = 0; j < EACH; j++) {
            size_t row = first_row + at_row + i, column = first_column + at_column + j;
            if (row < rows && column < columns) {
                Y *to = y + row * columns + column;
                cuda_store(to, mode == PRODUCT_ADD ? cuda_load(*to) + sum[i][j] : sum[i][j]);
            }
        }
    }
}

#endif
