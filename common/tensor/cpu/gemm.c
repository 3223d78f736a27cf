/// The matrix product kernel of f32: tiles in registers over panels of 32 columns; one chain of
/// fused multiply-adds over k an element. That of bf16 is gemm_pairs.c.
///
/// A tile is R rows by C vectors of 16 columns, its R x C sums in registers for the whole chain. An
/// FMA takes about 4 cycles and a core starts two a cycle, so at least 8 independent sums keep it
/// busy: many rows by few columns where there are many rows, one row by several panels where there
/// are few. The choice of tile changes no bit, because a chain is never split or reordered.
///
/// matmul_ops.c packs the operands and splits products over threads; attention_gradient.c calls
/// this kernel directly.
#include "common/tensor/cpu/kernels.h"
#include "common/tensor/cpu/simd.h"

/// Vector c of row r of y, zeros past the last valid column.
SIMD v16 tile_load(const cpu_gemm_t *t, size_t r, size_t c)
{
    const float *y = t->y + r * t->y_stride + c * LANES;
    size_t left = t->columns - c * LANES;
    return left >= LANES ? v_load(y) : v_load_n(y, left);
}

/// Stores it, after adding y's content in mode CPU_ADD: one addition, after the chain.
SIMD void tile_store(const cpu_gemm_t *t, size_t r, size_t c, v16 sum)
{
    float *y = t->y + r * t->y_stride + c * LANES;
    size_t left = t->columns - c * LANES;
    if (t->mode == CPU_ADD) {
        sum = v_add(tile_load(t, r, c), sum);
    }
    if (left >= LANES) {
        v_store(y, sum);
    } else {
        v_store_n(y, sum, left);
    }
}

/// The element of row r at the current k. x86 addresses base + index and base + 2 index, so a
/// pointer to every third row reaches 12 rows with four pointers.
#define ROW(r) a[(r) / 3][((r) % 3) * t->a_row]

/// The chains of one tile. R and C are constants of the caller, so every loop over them unrolls and
/// `sum` stays in registers; the arrays have room for the largest tile.
SIMD void tile_run(const cpu_gemm_t *t, const size_t R, const size_t C)
{
    v16 sum[12][8];
    const float *a[4];
#pragma GCC unroll 4
    for (size_t i = 0; i < (R + 2) / 3; i++) {
        a[i] = t->a + 3 * i * t->a_row;
    }
#pragma GCC unroll 12
    for (size_t r = 0; r < R; r++) {
#pragma GCC unroll 8
        for (size_t c = 0; c < C; c++) {
            sum[r][c] = t->mode == CPU_CONTINUE ? tile_load(t, r, c) : v_zero();
        }
    }
    const float *b = t->b;
    const size_t a_k = t->a_k, b_k = t->b_k, b_panel = t->b_panel;
    // One step of k: R elements of a by C vectors of b. With at least as many rows as vectors, the
    // vectors are loaded first and used R times. With fewer rows they stay memory operands of the
    // FMAs, which leaves the registers to the sums.
    for (size_t k = t->k; k > 0; k--) {
        v16 right[8];
        if (R >= C) {
#pragma GCC unroll 8
            for (size_t c = 0; c < C; c++) {
                right[c] = v_load(b + (c / 2) * b_panel + (c % 2) * LANES);
            }
        }
#pragma GCC unroll 12
        for (size_t r = 0; r < R; r++) {
            v16 left = v_set1(ROW(r));
#pragma GCC unroll 8
            for (size_t c = 0; c < C; c++) {
                v16 column = R >= C ? right[c] : v_load(b + (c / 2) * b_panel + (c % 2) * LANES);
                sum[r][c] = v_fma(left, column, sum[r][c]);
            }
        }
        b += b_k;
#pragma GCC unroll 4
        for (size_t i = 0; i < (R + 2) / 3; i++) {
            a[i] += a_k;
        }
    }
#pragma GCC unroll 12
    for (size_t r = 0; r < R; r++) {
#pragma GCC unroll 8
        for (size_t c = 0; c < C; c++) {
            tile_store(t, r, c, sum[r][c]);
        }
    }
}

// The tiles of R rows: X(R, W), where W is the vectors of the widest one. AVX-512 has 32 registers:
// at most 24 sums, and the operands of a step beside them. Else there are 16, and a v16 is two of
// them: at most 6 sums.
// clang-format off
#if defined(__AVX512F__)
#define TILES(X)                                                                                   \
    X(1, 8) X(2, 8) X(3, 8) X(4, 4) X(5, 4) X(6, 4)                                                \
    X(7, 2) X(8, 2) X(9, 2) X(10, 2) X(11, 2) X(12, 2)
#else
#define TILES(X) X(1, 4) X(2, 2) X(3, 2) X(4, 1) X(5, 1) X(6, 1)
#endif
// clang-format on

/// Instantiates tile_run: the widest tile, and narrower ones for the last columns, of two vectors
/// (a panel), which is not used where the widest has one, and of one.
#define DEFINE_ONE(name, R, C)                  \
    static void name##_##R(const cpu_gemm_t *t) \
    {                                           \
        tile_run(t, R, C);                      \
    }
#define DEFINE(R, W)       \
    DEFINE_ONE(wide, R, W) \
    DEFINE_ONE(two, R, 2)  \
    DEFINE_ONE(one, R, 1)
TILES(DEFINE)

typedef void tile_fn(const cpu_gemm_t *t);
#define TILE(R, W) [R] = {W, wide_##R, two_##R, one_##R},
static const struct {
    size_t vectors; // of the widest tile
    tile_fn *wide, *two, *one;
} tiles[] = {TILES(TILE)};

/// One tile: the rows of a block from `first` on, whose a is given, and `vectors` vectors of
/// columns from vector `column` on.
static void run(const cpu_gemm_t *g, size_t first, const float *a, size_t column, size_t vectors,
                tile_fn *fn)
{
    size_t left = g->columns - column * LANES;
    // Field by field: a copy of *g with some fields changed afterwards made generation 3 % slower.
    const cpu_gemm_t tile = {
        .y = g->y + first * g->y_stride + column * LANES,
        .y_stride = g->y_stride,
        .a = a,
        .a_row = g->a_row,
        .a_k = g->a_k,
        .b = g->b + (column / 2) * g->b_panel + (column % 2) * LANES,
        .b_k = g->b_k,
        .b_panel = g->b_panel,
        .columns = left < vectors * LANES ? left : vectors * LANES,
        .k = g->k,
        .mode = g->mode,
    };
    fn(&tile); // NOLINT(*CallAndMessage): a form has a kernel for each number of rows
}

/// All rows against vectors column..column+width-1, block after block. Blocks of nearly equal size:
/// 13 rows are 7 and 6, not 12 and 1. Where a is packed in blocks (a_block), the blocks are those
/// of the packing.
static void column_group(const cpu_gemm_t *g, size_t column, size_t width)
{
    size_t blocks = (g->rows + CPU_BLOCK_ROWS - 1) / CPU_BLOCK_ROWS;
    size_t first = 0;
    for (size_t i = 0; i < blocks; i++) {
        size_t rows = g->a_block != 0
                          ? (g->rows - first < CPU_BLOCK_ROWS ? g->rows - first : CPU_BLOCK_ROWS)
                          : g->rows / blocks + (i < g->rows % blocks);
        const float *a = g->a_block != 0 ? g->a + i * g->a_block : g->a + first * g->a_row;
        // Each block takes the widest tiles that fit, then what is left.
        size_t step;
        for (size_t c = column; c < column + width; c += step) {
            size_t left = column + width - c;
            if (left >= tiles[rows].vectors) {
                step = tiles[rows].vectors;
                run(g, first, a, c, step, tiles[rows].wide);
            } else if (left >= 2 && c % 2 == 0 && tiles[rows].vectors > 1) {
                step = 2;
                run(g, first, a, c, 2, tiles[rows].two);
            } else {
                step = 1;
                run(g, first, a, c, 1, tiles[rows].one);
            }
        }
        first += rows;
    }
}

void CPU_NAME(cpu_gemm)(const cpu_gemm_t *gemm)
{
    size_t vectors = (gemm->columns + LANES - 1) / LANES;
    // Many rows: one panel at a time, which stays in the cache while all rows pass. One block of
    // rows: all columns, so that wide tiles find as many as they take.
    size_t group = gemm->rows > CPU_BLOCK_ROWS ? 2 : vectors;
    for (size_t c = 0; c < vectors; c += group) {
        column_group(gemm, c, vectors - c < group ? vectors - c : group);
    }
}
