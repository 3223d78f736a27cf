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
