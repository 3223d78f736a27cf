/// Between f32 and bf16. Plain loops, which the compiler turns into each form's vectors: integers
/// round alike everywhere, while the instructions for it flush denormals.
#include <string.h>

#include "common/tensor/cpu/kernels.h"

/// As tr_real_to_bf16, without a branch.
static inline uint32_t narrowed(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    return (bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40u : rounded;
}

void CPU_NAME(cpu_narrow)(uint16_t *restrict to, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        to[i] = (uint16_t)narrowed(x[i]);
    }
}

void CPU_NAME(cpu_widen)(float *restrict to, const uint16_t *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = (uint32_t)x[i] << 16;
        memcpy(&to[i], &bits, sizeof bits);
    }
}

void CPU_NAME(cpu_narrow_pairs)(uint32_t *restrict to, const float *restrict a,
                                const float *restrict b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        to[i] = narrowed(a[i]);
    }
    for (size_t i = 0; b != NULL && i < n; i++) {
        to[i] |= narrowed(b[i]) << 16;
    }
}

/// Square blocks, so that the cache lines of both sides are used up.
void CPU_NAME(cpu_turn_pairs)(uint32_t *to, size_t to_stride, const uint32_t *from,
                              size_t from_stride, size_t rows, size_t columns)
{
    enum { BLOCK = 16 };
    for (size_t c = 0; c < columns; c += BLOCK) {
        const size_t width = columns - c < BLOCK ? columns - c : BLOCK;
        for (size_t r = 0; r < rows; r += BLOCK) {
            const size_t height = rows - r < BLOCK ? rows - r : BLOCK;
            for (size_t i = 0; i < width; i++) {
                for (size_t j = 0; j < height; j++) {
                    to[(c + i) * to_stride + r + j] = from[(r + j) * from_stride + c + i];
                }
            }
        }
    }
}
