/// The matrix product kernel of bf16: of pairs along the chain, in the order of AMX.
///
/// A chain goes in blocks of 16 pairs. In a block the first halves of the pairs make one chain of
/// fused multiply-adds from 0, the second halves another; their sum is added to y. The last block
/// is filled up with zeros. Denormals are taken for zeros, and given as zeros. TDPBF16PS does so
/// (Intel's Software Developer's Manual, volume 2). Elsewhere FMAs do, or VDPBF16PS, which adds two
/// products to a sum: two neighbours of one of the chains, once the halves are regrouped.
///
/// matmul_ops.c packs the operands and splits products over threads.
#include <string.h>

#include "common/tensor/cpu/kernels.h"
#include "common/tensor/cpu/simd.h"

#if defined(__AMX_BF16__)

// A tile of y has 16 rows by 16 columns. Two halves of work are in flight at once, each a tile of
// rows by a panel, which is two tiles of sums: with fewer, a core waits for the sums.
enum { TILE_ROWS = 16, TILE_ROW_BYTES = 64, HALVES = 2 };

/// What LDTILECFG reads.
typedef struct __attribute__((packed)) tile_shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_shapes_t;

/// Tiles 0 to 3 are sums and 4, 5 of a, of so many rows; 6, 7 are of b.
static void shape_tiles(size_t rows)
{
    tile_shapes_t shapes = {.palette = 1};
    for (size_t i = 0; i < 8; i++) {
        shapes.row_bytes[i] = TILE_ROW_BYTES;
        shapes.rows[i] = i < 6 ? (uint8_t)rows : CPU_PAIR_BLOCK;
    }
    _tile_loadconfig(&shapes);
}

/// A tile of rows by a panel.
typedef struct half {
    float *y;
    size_t columns;     // valid ones of the panel
    const float *a, *b; // at the place of the chain
    float *sums;        // where its tiles are loaded from and stored to: y, or a copy
    size_t sums_stride;
} half_t;

typedef float sums_t[TILE_ROWS][CPU_PANEL];

/// copy: for a panel that is not whole, or sums that are to be added.
static half_t half_at(const cpu_gemm_t *g, size_t row, size_t panel, sums_t copy)
{
    const size_t left = g->columns - panel * CPU_PANEL;
    half_t half = {.y = g->y + row * g->y_stride + panel * CPU_PANEL,
                   .columns = left < CPU_PANEL ? left : CPU_PANEL,
                   .a = g->a + row * g->a_row,
                   .b = g->b + panel * g->b_panel,
                   .sums = copy[0],
                   .sums_stride = CPU_PANEL};
    if (half.columns == CPU_PANEL && g->mode != CPU_ADD) {
        half.sums = half.y;
        half.sums_stride = g->y_stride;
    }
    return half;
}

static void load_copy(const cpu_gemm_t *g, const half_t *half, size_t rows)
{
    for (size_t r = 0; g->mode == CPU_CONTINUE && half->sums != half->y && r < rows; r++) {
        memcpy(half->sums + r * CPU_PANEL, half->y + r * g->y_stride,
               half->columns * sizeof(float));
    }
}

static void store_copy(const cpu_gemm_t *g, const half_t *half, size_t rows)
{
    for (size_t r = 0; half->sums != half->y && r < rows; r++) {
        for (size_t c = 0; c < half->columns; c += LANES) {
            float *y = half->y + r * g->y_stride + c;
            const size_t n = half->columns - c < LANES ? half->columns - c : LANES;
            v16 sum = v_load(half->sums + r * CPU_PANEL + c);
            v_store_n(y, g->mode == CPU_ADD ? v_add_flushed(v_load_n(y, n), sum) : sum, n);
        }
    }
}

/// The last block of a chain, filled up with zeros.
typedef struct last_block {
    float a[TILE_ROWS][CPU_PAIR_BLOCK];
    float b[CPU_PAIR_BLOCK][CPU_PANEL];
} last_block_t;

/// Points the half at its copy.
static void fill_last(last_block_t *last, const cpu_gemm_t *g, half_t *half, size_t rows)
{
    const size_t pairs = g->k % CPU_PAIR_BLOCK;
    memset(last, 0, sizeof *last);
    for (size_t r = 0; r < rows; r++) {
        memcpy(last->a[r], half->a + r * g->a_row, pairs * sizeof(float));
    }
    for (size_t k = 0; k < pairs; k++) {
        memcpy(last->b[k], half->b + k * g->b_k, CPU_PANEL * sizeof(float));
    }
    half->a = last->a[0];
    half->b = last->b[0];
}

// The names of tiles are part of the instructions.
#define START(mode, half, SUM, NEXT)                                                      \
    do {                                                                                  \
        if (mode == CPU_CONTINUE) {                                                       \
            _tile_loadd(SUM, (half)->sums, (half)->sums_stride * sizeof(float));          \
            _tile_loadd(NEXT, (half)->sums + LANES, (half)->sums_stride * sizeof(float)); \
        } else {                                                                          \
            _tile_zero(SUM);                                                              \
            _tile_zero(NEXT);                                                             \
        }                                                                                 \
    } while (false)
/// A block of one half's chains.
#define STEP(half, a_stride, b_stride, SUM, NEXT, LEFT) \
    do {                                                \
        _tile_loadd(LEFT, (half)->a, a_stride);         \
        _tile_loadd(6, (half)->b, b_stride);            \
        _tile_dpbf16ps(SUM, LEFT, 6);                   \
        _tile_loadd(7, (half)->b + LANES, b_stride);    \
        _tile_dpbf16ps(NEXT, LEFT, 7);                  \
    } while (false)
#define END(half, SUM, NEXT)                                                           \
    do {                                                                               \
        _tile_stored(SUM, (half)->sums, (half)->sums_stride * sizeof(float));          \
        _tile_stored(NEXT, (half)->sums + LANES, (half)->sums_stride * sizeof(float)); \
    } while (false)

/// n: 1 or 2.
SIMD void run_halves(const cpu_gemm_t *g, half_t *half, const size_t n, size_t rows)
{
    const size_t a_stride = g->a_row * sizeof(float), b_stride = g->b_k * sizeof(float);
    for (size_t i = 0; i < n; i++) {
        load_copy(g, &half[i], rows);
    }
    START(g->mode, &half[0], 0, 1);
    if (n == 2) {
        START(g->mode, &half[1], 2, 3);
    }
    for (size_t k = g->k / CPU_PAIR_BLOCK; k > 0; k--) {
        STEP(&half[0], a_stride, b_stride, 0, 1, 4);
        if (n == 2) {
            STEP(&half[1], a_stride, b_stride, 2, 3, 5);
        }
        for (size_t i = 0; i < n; i++) {
            half[i].a += CPU_PAIR_BLOCK;
            half[i].b += CPU_PAIR_BLOCK * g->b_k;
        }
    }
    if (g->k % CPU_PAIR_BLOCK != 0) {
        last_block_t last[HALVES];
        for (size_t i = 0; i < n; i++) {
            fill_last(&last[i], g, &half[i], rows);
        }
        STEP(&half[0], sizeof last[0].a[0], sizeof last[0].b[0], 0, 1, 4);
        if (n == 2) {
            STEP(&half[1], sizeof last[0].a[0], sizeof last[0].b[0], 2, 3, 5);
        }
    }
    END(&half[0], 0, 1);
    if (n == 2) {
        END(&half[1], 2, 3);
    }
    for (size_t i = 0; i < n; i++) {
        store_copy(g, &half[i], rows);
    }
}

/// `tiles` tiles of as many rows each, from `first` on, by all panels: a panel stays in the cache
/// while all rows pass.
static void run_tiles(const cpu_gemm_t *g, size_t first, size_t tiles, size_t rows)
{
    const size_t panels = (g->columns + CPU_PANEL - 1) / CPU_PANEL, count = tiles * panels;
    shape_tiles(rows);
    sums_t copies[HALVES] = {0};
    half_t half[HALVES];
    size_t i = 0;
    for (; i + 1 < count; i += 2) {
        half[0] = half_at(g, first + i % tiles * rows, i / tiles, copies[0]);
        half[1] = half_at(g, first + (i + 1) % tiles * rows, (i + 1) / tiles, copies[1]);
        run_halves(g, half, 2, rows);
    }
    if (i < count) {
        half[0] = half_at(g, first + i % tiles * rows, i / tiles, copies[0]);
        run_halves(g, half, 1, rows);
    }
    _tile_release();
}

static void run_all(const cpu_gemm_t *g)
{
    const size_t tiles = g->rows / TILE_ROWS, rest = g->rows % TILE_ROWS;
    if (tiles > 0) {
        run_tiles(g, 0, tiles, TILE_ROWS);
    }
    if (rest > 0) {
        run_tiles(g, tiles * TILE_ROWS, 1, rest);
    }
}

#else

#if defined(__AVX512BF16__)

enum { STEP = 2 }; // pairs
/// The first halves of two pairs, in the order in which the instruction adds their products, and
/// the second halves.
SIMD v16 first_halves(v16 pair, v16 next)
{
    const __m512i low = _mm512_set1_epi32(0xffff);
    const __m512i a = _mm512_slli_epi32(_mm512_castps_si512(pair), 16);
    const __m512i b = _mm512_and_si512(_mm512_castps_si512(next), low);
    return _mm512_castsi512_ps(_mm512_or_si512(a, b));
}
SIMD v16 second_halves(v16 pair, v16 next)
{
    const __m512i high = _mm512_set1_epi32((int32_t)0xffff0000u);
    const __m512i a = _mm512_and_si512(_mm512_castps_si512(pair), high);
    const __m512i b = _mm512_srli_epi32(_mm512_castps_si512(next), 16);
    return _mm512_castsi512_ps(_mm512_or_si512(a, b));
}
/// Two steps of a chain.
SIMD v16 chain(v16 a, v16 b, v16 sum)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}
/// Each lane's upper neighbour, for even lanes.
SIMD v16 neighbours(v16 pairs)
{
    return _mm512_castsi512_ps(_mm512_srli_epi64(_mm512_castps_si512(pairs), 32));
}

#else

enum { STEP = 1 };
SIMD v16 first_halves(v16 pair, v16 next)
{
    (void)next;
    return v_low_halves(pair);
}
SIMD v16 second_halves(v16 pair, v16 next)
{
    (void)next;
    return v_high_halves(pair);
}
SIMD v16 chain(v16 a, v16 b, v16 sum)
{
    return v_fma_flushed(a, b, sum);
}
SIMD v16 neighbours(v16 pairs)
{
    return pairs;
}

#endif

// Rows and vectors of the widest tile: its two chains an element fill the registers.
#if defined(__AVX512F__)
#define TILES(X) X(1, 8) X(2, 4) X(3, 4) X(4, 2) X(5, 2) X(6, 2)
enum { TILE_ROWS = 6, TILE_VECTORS = 8 };
#else
#define TILES(X) X(1, 2) X(2, 1) X(3, 1)
enum { TILE_ROWS = 3, TILE_VECTORS = 2 };
#endif

/// A block of a: [first or second halves][row][pair], as a step reads them.
typedef float left_t[2][TILE_ROWS][CPU_PAIR_BLOCK];

static void split_left(left_t left, const float *a, size_t a_row, size_t rows, size_t pairs)
{
    for (size_t r = 0; r < rows; r++) {
        const v16 own = v_load_n(a + r * a_row, pairs), next = neighbours(own);
        v_store(left[0][r], first_halves(own, next));
        v_store(left[1][r], second_halves(own, next));
    }
}

/// A step's operands of 16 columns.
typedef struct right {
    v16 first, second;
} right_t;

/// alone: the step has no second pair.
SIMD right_t split_right(const cpu_gemm_t *g, const float *b, size_t vector, bool alone)
{
    const float *at = b + (vector / 2) * g->b_panel + (vector % 2) * LANES;
    const v16 pair = v_load(at), next = alone ? v_zero() : v_load(at + g->b_k);
    return (right_t){first_halves(pair, next), second_halves(pair, next)};
}

/// The chains of one tile; R, C and `whole` (the block has all its pairs) are constants of the
/// caller.
SIMD void run_block(v16 sums[TILE_ROWS][TILE_VECTORS], left_t left, const cpu_gemm_t *g,
                    const float *b, size_t pairs, const size_t R, const size_t C, const bool whole)
{
    v16 first[TILE_ROWS][TILE_VECTORS], second[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 6
    for (size_t r = 0; r < R; r++) {
#pragma GCC unroll 8
        for (size_t c = 0; c < C; c++) {
            first[r][c] = second[r][c] = v_zero();
        }
    }
    for (size_t k = 0; k < (whole ? CPU_PAIR_BLOCK : pairs); k += STEP, b += STEP * g->b_k) {
        const bool alone = STEP == 1 || (!whole && k + 1 == pairs);
        right_t right[TILE_VECTORS];
        // With at least as many rows as vectors, these are split first and used R times; else a
        // row's operands are few, and stay.
        if (R >= C) {
#pragma GCC unroll 8
            for (size_t c = 0; c < C; c++) {
                right[c] = split_right(g, b, c, alone);
            }
        }
#pragma GCC unroll 8
        for (size_t i = 0; i < (R >= C ? R : C); i++) {
#pragma GCC unroll 8
            for (size_t j = 0; j < (R >= C ? C : R); j++) {
                const size_t r = R >= C ? i : j, c = R >= C ? j : i;
                if (R < C && j == 0) {
                    right[c] = split_right(g, b, c, alone);
                }
                first[r][c] = chain(v_set1(left[0][r][k]), right[c].first, first[r][c]);
                second[r][c] = chain(v_set1(left[1][r][k]), right[c].second, second[r][c]);
            }
        }
    }
#pragma GCC unroll 6
    for (size_t r = 0; r < R; r++) {
#pragma GCC unroll 8
        for (size_t c = 0; c < C; c++) {
            if (!whole) { // the products of zeros: they make a zero positive
                first[r][c] = v_add_flushed(first[r][c], v_zero());
                second[r][c] = v_add_flushed(second[r][c], v_zero());
            }
            sums[r][c] = v_add_flushed(sums[r][c], v_add_flushed(first[r][c], second[r][c]));
        }
    }
}

/// R rows from `row` on by C vectors of 16 columns from vector `column` on.
SIMD void run_tile(const cpu_gemm_t *g, size_t row, size_t column, const size_t R, const size_t C)
{
    v16 sums[TILE_ROWS][TILE_VECTORS];
    left_t left;
    const float *a = g->a + row * g->a_row;
    const float *b = g->b + (column / 2) * g->b_panel + (column % 2) * LANES;
    float *y = g->y + row * g->y_stride + column * LANES;
    size_t valid[TILE_VECTORS];
    for (size_t c = 0; c < C; c++) {
        const size_t columns = g->columns - (column + c) * LANES;
        valid[c] = columns < LANES ? columns : LANES;
    }
    for (size_t r = 0; r < R; r++) {
        for (size_t c = 0; c < C; c++) {
            sums[r][c] = g->mode == CPU_CONTINUE
                             ? v_load_n(y + r * g->y_stride + c * LANES, valid[c])
                             : v_zero();
        }
    }
    size_t k = 0;
    for (; k + CPU_PAIR_BLOCK <= g->k; k += CPU_PAIR_BLOCK) {
        split_left(left, a + k, g->a_row, R, CPU_PAIR_BLOCK);
        run_block(sums, left, g, b + k * g->b_k, CPU_PAIR_BLOCK, R, C, true);
    }
    if (k < g->k) {
        split_left(left, a + k, g->a_row, R, g->k - k);
        run_block(sums, left, g, b + k * g->b_k, g->k - k, R, C, false);
    }
    for (size_t r = 0; r < R; r++) {
        for (size_t c = 0; c < C; c++) {
            float *to = y + r * g->y_stride + c * LANES;
            const v16 sum = sums[r][c];
            v_store_n(to, g->mode == CPU_ADD ? v_add_flushed(v_load_n(to, valid[c]), sum) : sum,
                      valid[c]);
        }
    }
}

/// Instantiates run_tile: the widest tile of so many rows, one of a panel, and one of a vector.
#define DEFINE_ONE(name, R, C)                                             \
    static void name##_##R(const cpu_gemm_t *g, size_t row, size_t column) \
    {                                                                      \
        run_tile(g, row, column, R, C);                                    \
    }
#define DEFINE(R, C)       \
    DEFINE_ONE(wide, R, C) \
    DEFINE_ONE(two, R, 2)  \
    DEFINE_ONE(one, R, 1)
TILES(DEFINE)

typedef void tile_fn(const cpu_gemm_t *g, size_t row, size_t column);
#define TILE(R, C) [R] = {C, wide_##R, two_##R, one_##R},
static const struct {
    size_t vectors; // of the widest tile
    tile_fn *wide, *two, *one;
} tiles[] = {TILES(TILE)};

/// All vectors from `column` to `end` of some rows: the widest tiles that fit, then what is left.
static void run_rows(const cpu_gemm_t *g, size_t row, size_t rows, size_t column, size_t end)
{
    const size_t wide = tiles[rows].vectors;
    while (column < end) {
        const size_t left = end - column, step = left >= wide            ? wide
                                                 : left >= 2 && wide > 2 ? 2
                                                                         : 1;
        (step == wide ? tiles[rows].wide
         : step == 2  ? tiles[rows].two
                      : tiles[rows].one)(g, row, column);
        column += step;
    }
}

/// Many rows: one panel at a time, which stays in the cache while all rows pass. One tile of rows:
/// all columns, so that wide tiles find as many as they take.
static void run_all(const cpu_gemm_t *g)
{
    const size_t vectors = (g->columns + LANES - 1) / LANES;
    const size_t group = g->rows > TILE_ROWS ? 2 : vectors;
    const size_t blocks = (g->rows + TILE_ROWS - 1) / TILE_ROWS;
    for (size_t from = 0; from < vectors; from += group) {
        const size_t to = vectors - from < group ? vectors : from + group;
        for (size_t i = 0, row = 0; i < blocks; i++) {
            const size_t rows = g->rows / blocks + (i < g->rows % blocks); // of nearly equal size
            run_rows(g, row, rows, from, to);
            row += rows;
        }
    }
}

#endif

/// Under flushed denormals, which run_all, called by a pointer, does not move out of.
void CPU_NAME(cpu_gemm_pairs)(const cpu_gemm_t *gemm)
{
    void (*volatile run)(const cpu_gemm_t *) = run_all;
    const unsigned control = simd_flush_denormals();
    run(gemm);
    simd_restore(control);
}
