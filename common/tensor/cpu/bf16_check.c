/// What a processor's instructions for bf16 must show before they are used: bits and, AVX512-BF16,
/// speed.
///
/// Its manual says how an instruction rounds, but another vendor's, or an emulator's, may do
/// otherwise, and a run would then depend on the machine. And where a core starts two FMAs a cycle,
/// but an instruction of AVX512-BF16 every other cycle, as Intel's with AMX do, the FMAs that stand
/// for it are quicker.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/tensor/cpu/cpu.h"

enum {
    CASES = 96,                      // of either operand
    LONG_CHAIN = CPU_PAIR_BLOCK + 3, // pairs: a whole block and another's part
    TIMED_ROWS = 12,                 // of a product of a few microseconds
    TIMED_CHAIN = 512,               // pairs
    TIMED_TURNS = 9                  // of which the best counts
};

/// Pairs of nasty numbers; the strides scatter which of them meet in a pair, or across one. Long
/// chains leave out the great ones, which would end them all in infinities.
static void make_pairs(uint32_t *pairs, size_t n, size_t stride, bool great)
{
    static const uint16_t values[] = {
        0x0000, 0x8000, 0x3f80, 0xbf80, // 0, -0, 1, -1
        0x3f81, 0xbf7f, 0x407f, 0x3980, // all bits of a fraction; 2^-12, whose square is a tie at 1
        0xb980, 0x397f, 0x4b80, 0xcb81, // near it; 2^24
        0x0080, 0x8080, 0x007f, 0x8001, // the smallest normal numbers, denormals
        0x2000, 0xa000, 0x1fff, 0x2001, // 2^-63, whose square is the smallest normal number
        0x1f80, 0x9fff, 0x1400,         // products of a part of it
        0x6b00, 0x7f7f, 0xff7f, 0x7f80, 0x5f80, // 2^87, the greatest, infinity, 2^64
    };
    enum { COUNT = sizeof values / sizeof values[0], GREAT = 5 };
    const size_t count = great ? COUNT : COUNT - GREAT;
    for (size_t i = 0; i < n; i++) {
        const uint32_t low = values[i % count], high = values[(i * stride + i / count) % count];
        pairs[i] = low | high << 16;
    }
}

/// sums: [CASES][CASES], of which each starts at a nasty number.
static void make_sums(float *sums)
{
    static const float values[] = {
        0.0f,       -0.0f,       1.0f,      -0x1.000002p0f, 0x1p24f,          -0x1.fffffep23f,
        0x1p-126f,  -0x1p-126f,  0x1p-130f, -0x1.8p-126f,   0x1.fffffep-126f, 0x1.fffffep127f,
        -0x1p-149f, 0x1.5p-102f, INFINITY};
    for (size_t i = 0; i < (size_t)CASES * CASES; i++) {
        sums[i] = values[i % (sizeof values / sizeof values[0])];
    }
}

/// NaNs may differ: no run continues with one.
static bool is_same(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

static bool same_products(const cpu_kernels_t *kernels, size_t chain)
{
    const cpu_kernels_t *const both[] = {&cpu_kernels_generic, kernels};
    uint32_t *left = tr_calloc(CASES * chain, sizeof *left);
    uint32_t *right = tr_calloc(CASES * chain, sizeof *right);
    float *sums[2];
    bool same = true;
    make_pairs(left, CASES * chain, 5, chain == 1);
    make_pairs(right, CASES * chain, 11, chain == 1);
    for (size_t i = 0; i < 2; i++) {
        sums[i] = tr_calloc((size_t)CASES * CASES, sizeof *sums[i]);
        make_sums(sums[i]);
        const cpu_gemm_t gemm = {.y = sums[i],
                                 .y_stride = CASES,
                                 .a = (const void *)left,
                                 .a_row = chain,
                                 .a_k = 1,
                                 .b = (const void *)right,
                                 .b_k = CASES,
                                 .b_panel = CPU_PANEL,
                                 .rows = CASES,
                                 .columns = CASES,
                                 .k = chain,
                                 .mode = CPU_CONTINUE,
                                 .pairs = true};
        both[i]->gemm_pairs(&gemm);
    }
    for (size_t i = 0; i < (size_t)CASES * CASES; i++) {
        same = same && is_same(sums[0][i], sums[1][i]);
    }
    free(sums[0]);
    free(sums[1]);
    free(left);
    free(right);
    return same;
}

bool cpu_same_pairs(const cpu_kernels_t *kernels)
{
    return same_products(kernels, 1) && same_products(kernels, LONG_CHAIN);
}

/// Seconds of one product of a widest tile.
static double product_seconds(const cpu_kernels_t *kernels, const float *operands, float *y)
{
    const cpu_gemm_t gemm = {.y = y,
                             .y_stride = CPU_PANEL,
                             .a = operands,
                             .a_row = TIMED_CHAIN,
                             .a_k = 1,
                             .b = operands,
                             .b_k = CPU_PANEL,
                             .b_panel = CPU_PANEL * TIMED_CHAIN,
                             .rows = TIMED_ROWS,
                             .columns = CPU_PANEL,
                             .k = TIMED_CHAIN,
                             .pairs = true};
    const double start = tr_clock_seconds();
    kernels->gemm_pairs(&gemm);
    return tr_clock_seconds() - start;
}

bool cpu_pairs_are_faster(const cpu_kernels_t *kernels, const cpu_kernels_t *other)
{
    double best[2] = {INFINITY, INFINITY};
    float *operands = tr_calloc(CPU_PANEL * TIMED_CHAIN, sizeof *operands);
    float *y = tr_calloc(TIMED_ROWS * CPU_PANEL, sizeof *y);
    for (size_t i = 0; i < TIMED_TURNS; i++) {
        for (size_t j = 0; j < 2; j++) {
            double seconds = product_seconds(j == 0 ? kernels : other, operands, y);
            best[j] = seconds < best[j] ? seconds : best[j];
        }
    }
    free(operands);
    free(y);
    return best[0] < best[1];
}
