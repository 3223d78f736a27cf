/// bfloat16 of the emulator: stored in 16 bits, rounded to nearest even, computed in f32.
#ifndef TESTS_GPU_EMULATOR_CUDA_BF16_H
#define TESTS_GPU_EMULATOR_CUDA_BF16_H

#include "cuda_runtime.h"

struct __nv_bfloat16 {
    uint16_t bits;
};

static inline float __bfloat162float(__nv_bfloat16 x)
{
    return __uint_as_float((unsigned)x.bits << 16);
}

static inline __nv_bfloat16 __float2bfloat16_rn(float x)
{
    unsigned b = __float_as_uint(x);
    if ((b & 0x7fffffffu) > 0x7f800000u) {
        return {0x7fff};
    }
    return {(uint16_t)((b + 0x7fffu + (b >> 16 & 1u)) >> 16)};
}

static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits)
{
    return {bits};
}

static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x)
{
    return x.bits;
}

#endif
