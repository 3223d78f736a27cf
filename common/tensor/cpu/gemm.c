/// The matrix product kernel: tiles in registers over panels of 32 columns; one chain of fused
/// multiply-adds over k an element.
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

#if defined(__AVX512F__)
/// 12 x 2 sums, 2 vectors of b and 1 element of a: 27 of 32 registers.
enum { BLOCK_ROWS = 12 };
#else
// A v16 is two of 16 registers: 6 x 1 or 3 x 2 sums take 12.
enum { BLOCK_ROWS = 6 };
#endif

/// One tile's operands: cpu_gemm_t, moved to the tile's first row and column.
typedef struct tile {
    float *y;
    size_t y_stride;
    const float *a;
    size_t a_row, a_k;
    const float *b;
    size_t b_k, b_panel;
    size_t columns; ///< valid columns of the tile, at most 16 * C
    size_t k;
    cpu_gemm_mode_t mode;
} tile_t;

/// Vector c of row r of y, zeros past the last valid column.
SIMD v16 tile_load(const tile_t *t, size_t r, size_t c)
{
    const float *y = t->y + r * t->y_stride + c * LANES;
    size_t left = t->columns - c * LANES;
    return left >= LANES ? v_load(y) : v_load_n(y, left);
}

/// Stores it, after adding y's content in mode CPU_ADD: one addition, after the chain.
SIMD void tile_store(const tile_t *t, size_t r, size_t c, v16 sum)
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
SIMD void tile_run(const tile_t *t, const size_t R, const size_t C)
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

/// Instantiates tile_run.
#define TILE(R, C)                              \
    static void tile_##R##x##C(const tile_t *t) \
    {                                           \
        tile_run(t, R, C);                      \
    }

typedef void tile_fn(const tile_t *t);

// For each number of rows: the wide tile, as many vectors as the registers allow, and narrower ones
// for the last columns: two vectors (a panel) and one (half a panel). `wide_vectors` has the wide
// tile's.
#if defined(__AVX512F__)
TILE(1, 8)
TILE(2, 8)
TILE(3, 8)
TILE(4, 4)
TILE(5, 4)
TILE(6, 4)
TILE(1, 2)
TILE(2, 2)
TILE(3, 2)
TILE(4, 2)
TILE(5, 2)
TILE(6, 2)
TILE(7, 2)
TILE(8, 2)
TILE(9, 2)
TILE(10, 2)
TILE(11, 2)
TILE(12, 2)
TILE(1, 1)
TILE(2, 1)
TILE(3, 1)
TILE(4, 1)
TILE(5, 1)
TILE(6, 1)
TILE(7, 1)
TILE(8, 1)
TILE(9, 1)
TILE(10, 1)
TILE(11, 1)
TILE(12, 1)
static const size_t wide_vectors[] = {0, 8, 8, 8, 4, 4, 4, 2, 2, 2, 2, 2, 2};
static tile_fn *const wide[] = {NULL,      tile_1x8,  tile_2x8, tile_3x8, tile_4x4,
                                tile_5x4,  tile_6x4,  tile_7x2, tile_8x2, tile_9x2,
                                tile_10x2, tile_11x2, tile_12x2};
static tile_fn *const two[] = {NULL,      tile_1x2,  tile_2x2, tile_3x2, tile_4x2,
                               tile_5x2,  tile_6x2,  tile_7x2, tile_8x2, tile_9x2,
                               tile_10x2, tile_11x2, tile_12x2};
static tile_fn *const one[] = {NULL,      tile_1x1,  tile_2x1, tile_3x1, tile_4x1,
                               tile_5x1,  tile_6x1,  tile_7x1, tile_8x1, tile_9x1,
                               tile_10x1, tile_11x1, tile_12x1};
#else
TILE(1, 4)
TILE(1, 2)
TILE(2, 2)
TILE(3, 2)
TILE(1, 1)
TILE(2, 1)
TILE(3, 1)
TILE(4, 1)
TILE(5, 1)
TILE(6, 1)
static const size_t wide_vectors[] = {0, 4, 2, 2, 1, 1, 1};
static tile_fn *const wide[] = {NULL, tile_1x4, tile_2x2, tile_3x2, tile_4x1, tile_5x1, tile_6x1};
static tile_fn *const two[] = {NULL, tile_1x2, tile_2x2, tile_3x2, NULL, NULL, NULL};
static tile_fn *const one[] = {NULL, tile_1x1, tile_2x1, tile_3x1, tile_4x1, tile_5x1, tile_6x1};
#endif

/// One tile: `rows` rows from `first` on (at most a block), `vectors` vectors of columns from
/// vector `column` on.
static void run(const cpu_gemm_t *g, size_t first, const float *a, size_t rows, size_t column,
                size_t vectors, tile_fn *fn)
{
    size_t left = g->columns - column * LANES;
    tile_t tile = {
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
    (void)rows;
    fn(&tile); // NOLINT(*CallAndMessage): a form has a kernel for each number of vectors
}

/// All rows against vectors column..column+width-1, block after block. Blocks of nearly equal size:
/// 13 rows are 7 and 6, not 12 and 1. Where a is packed in blocks (a_block), the blocks are those
/// of the packing.
static void column_group(const cpu_gemm_t *g, size_t column, size_t width)
{
    size_t blocks = (g->rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
    size_t first = 0;
    for (size_t i = 0; i < blocks; i++) {
        size_t rows = g->a_block != 0
                          ? (g->rows - first < BLOCK_ROWS ? g->rows - first : BLOCK_ROWS)
                          : g->rows / blocks + (i < g->rows % blocks);
        const float *a = g->a_block != 0 ? g->a + i * g->a_block : g->a + first * g->a_row;
        // Each block takes the widest tiles that fit, then what is left.
        size_t step;
        for (size_t c = column; c < column + width; c += step) {
            size_t left = column + width - c;
            if (left >= wide_vectors[rows]) {
                step = wide_vectors[rows];
                run(g, first, a, rows, c, step, wide[rows]);
            } else if (left >= 2 && c % 2 == 0 && two[rows] != NULL) {
                step = 2;
                run(g, first, a, rows, c, 2, two[rows]);
            } else {
                step = 1;
                run(g, first, a, rows, c, 1, one[rows]);
            }
        }
        first += rows;
    }
}

void CPU_NAME(cpu_gemm)(const cpu_gemm_t *gemm);

void CPU_NAME(cpu_gemm)(const cpu_gemm_t *gemm)
{
    size_t vectors = (gemm->columns + LANES - 1) / LANES;
    // Many rows: one panel at a time, which stays in the cache while all rows pass. One block of
    // rows: all columns, so that wide tiles find as many as they take.
    size_t group = gemm->rows > BLOCK_ROWS ? 2 : vectors;
    for (size_t c = 0; c < vectors; c += group) {
        column_group(gemm, c, vectors - c < group ? vectors - c : group);
    }
}
