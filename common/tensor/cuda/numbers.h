/// Arithmetic on the device: elements as f32, our own exp and log, sums over lanes in a fixed tree.
///
/// In f32 every function here gives the bits of its namesake in cpu/simd.h and base/real.c;
/// tests/gpu compares them.
#ifndef TR_TENSOR_CUDA_NUMBERS_H
#define TR_TENSOR_CUDA_NUMBERS_H

#include "common/tensor/cuda/cuda.h"

static __device__ __forceinline__ float cuda_load(float x)
{
    return x;
}
static __device__ __forceinline__ float cuda_load(bf16 x)
{
    return __bfloat162float(x);
}
static __device__ __forceinline__ void cuda_store(float *p, float x)
{
    *p = x;
}
static __device__ __forceinline__ void cuda_store(bf16 *p, float x)
{
    *p = __float2bfloat16_rn(x);
}

/// e^x within about 1 ulp; 0 below -87, e^88 above 88, NaN for NaN: v_exp of cpu/simd.h, a lane.
static __device__ __forceinline__ float cuda_exp(float x)
{
    const float magic = 12582912.0f; // 1.5 * 2^23: adding it rounds to an integer
    float y = 88.0f < x ? 88.0f : x;
    float low = y > -87.0f ? y : -87.0f;
    float t = fmaf(low, 1.44269504088896340736f, magic);
    float n = t - magic;
    float r = fmaf(n, -0.693147182464599609375f, y);
    r = fmaf(n, 1.9046542121259e-09f, r);
    float p = 0.000198527617612853646278381f;
    p = fmaf(p, r, 0.00139304355252534151077271f);
    p = fmaf(p, r, 0.00833336077630519866943359f);
    p = fmaf(p, r, 0.0416664853692054748535156f);
    p = fmaf(p, r, 0.166666671633720397949219f);
    p = fmaf(p, r, 0.5f);
    p = fmaf(r * r, p, r) + 1.0f;
    float power = __uint_as_float((__float_as_uint(t) << 23) + 0x3f800000u);
    return x < -87.0f ? 0.0f : p * power;
}

/// v_tanh of cpu/simd.h, a lane.
static __device__ __forceinline__ float cuda_tanh(float x)
{
    const float square = x * x;
    float p = -5.70498872745e-3f;
    p = fmaf(p, square, 2.06390887954e-2f);
    p = fmaf(p, square, -5.37397155531e-2f);
    p = fmaf(p, square, 1.33314422036e-1f);
    p = fmaf(p, square, -3.33332819422e-1f);
    const float near = fmaf(p * square, x, x);
    return square < 0.390625f ? near : 1.0f - 2.0f / (cuda_exp(x + x) + 1.0f);
}

/// v_sigmoid of cpu/simd.h, a lane.
static __device__ __forceinline__ float cuda_sigmoid(float x)
{
    return 1.0f / (1.0f + cuda_exp(0.0f - x));
}

/// tr_real_log of base/real.c.
static __device__ __forceinline__ double cuda_log(double x)
{
    const double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
    unsigned long long bits = static_cast<unsigned long long>(__double_as_longlong(x));
    int exponent = static_cast<int>(bits >> 52) - 1023;
    bits = (bits & 0x000fffffffffffffull) | 0x3ff0000000000000ull;
    double m = __longlong_as_double(static_cast<long long>(bits));
    if (m > 1.4142135623730951) {
        m *= 0.5;
        exponent++;
    }
    double s = (m - 1.0) / (m + 1.0);
    double square = s * s;
    double sum = 0.0;
    for (int k = 27; k >= 1; k -= 2) {
        sum = 1.0 / k + square * sum;
    }
    double result = exponent * ln2_high + (2.0 * s * sum + exponent * ln2_low);
    return x == x ? result : x;
}

/// Lanes that share a row. f32: the CPU's 16, so that sums have its shape; bf16: a whole block.
template <typename T> struct cuda_lanes;
template <> struct cuda_lanes<float> {
    enum { count = 16 };
};
template <> struct cuda_lanes<bf16> {
    enum { count = CUDA_BLOCK };
};

/// f over all lanes by a tree: lanes L/2 apart, then L/4, ..., 1; every lane gets the result. L is
/// a power of two that divides blockDim.x, lanes are neighbours in threadIdx.x, and every thread of
/// the block must call (it synchronises). shared: [blockDim.x], or NULL when L <= 32.
template <int L, typename F>
static __device__ __forceinline__ float cuda_over_lanes(float x, float *shared, F f)
{
    if (L > 32) {
        const int lane = static_cast<int>(threadIdx.x) % L;
        // Before the first write: another reduction's result may still be read from `shared`.
        __syncthreads();
        shared[threadIdx.x] = x;
        __syncthreads();
        for (int half = L / 2; half >= 32; half /= 2) {
            if (lane < half) {
                shared[threadIdx.x] = f(shared[threadIdx.x], shared[threadIdx.x + half]);
            }
            __syncthreads();
        }
        x = shared[threadIdx.x - lane + lane % 32];
    }
    // The last 32 lanes are in one warp: registers instead of shared memory.
    const int width = L < 32 ? L : 32;
    for (int half = width / 2; half > 0; half /= 2) {
        x = f(x, __shfl_down_sync(0xffffffffu, x, half, width));
    }
    return __shfl_sync(0xffffffffu, x, 0, width);
}

template <int L> static __device__ __forceinline__ float cuda_sum_lanes(float x, float *shared)
{
    return cuda_over_lanes<L>(x, shared, [](float a, float b) { return a + b; });
}
template <int L> static __device__ __forceinline__ float cuda_greatest_lane(float x, float *shared)
{
    return cuda_over_lanes<L>(x, shared, [](float a, float b) { return a > b ? a : b; });
}

#endif
