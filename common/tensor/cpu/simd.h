/// One logical vector of 16 floats: a zmm register, two ymm registers, or an array with fmaf.
///
/// For the kernels only, which are compiled once for each form. Every operation is defined lane by
/// lane and rounds once, and the one reduction over lanes (v_sum) is a fixed tree, so that a kernel
/// gives the same bits in all forms. Comments stand at the AVX-512 form; the others do the same.
#ifndef TR_TENSOR_CPU_SIMD_H
#define TR_TENSOR_CPU_SIMD_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

enum { LANES = 16 };

#define SIMD static inline __attribute__((always_inline, unused))

#if defined(__AVX512F__)

typedef __m512 v16;
typedef __mmask16 simd_mask;

/// The mask of lanes 0..n-1, n <= 16.
SIMD simd_mask simd_first(size_t n)
{
    return (simd_mask)((1u << n) - 1u);
}
SIMD v16 v_set1(float x)
{
    return _mm512_set1_ps(x);
}
/// Unaligned: rows of a matrix begin anywhere.
SIMD v16 v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
SIMD void v_store(float *p, v16 a)
{
    _mm512_storeu_ps(p, a);
}
/// The first n lanes from p (n <= 16), zeros after them; memory past p[n-1] is not touched.
SIMD v16 v_load_n(const float *p, size_t n)
{
    return _mm512_maskz_loadu_ps(simd_first(n), p);
}
SIMD void v_store_n(float *p, v16 a, size_t n)
{
    _mm512_mask_storeu_ps(p, simd_first(n), a);
}
/// Lanes 0..n-1 of a, and fill in the others.
SIMD v16 v_keep_n(v16 a, size_t n, v16 fill)
{
    return _mm512_mask_blend_ps(simd_first(n), fill, a);
}
/// An operation of two operands that is one instruction; `lane` says what it does to each lane.
#define SIMD_BINARY(name, instruction, lane)    \
    SIMD v16 name(v16 x, v16 y)                 \
    {                                           \
        return _mm512_##instruction##_ps(x, y); \
    }
/// a * b + c, rounded once.
SIMD v16 v_fma(v16 a, v16 b, v16 c)
{
    return _mm512_fmadd_ps(a, b, c);
}
/// Lanes are pairs of bf16: the first ones (the low halves) as f32, and the second ones.
SIMD v16 v_low_halves(v16 pairs)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(pairs), 16));
}
SIMD v16 v_high_halves(v16 pairs)
{
    const __m512i mask = _mm512_set1_epi32((int32_t)0xffff0000u);
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(pairs), mask));
}
SIMD v16 v_sqrt(v16 a)
{
    return _mm512_sqrt_ps(a);
}
/// a < b ? x : y
SIMD v16 v_select_lt(v16 a, v16 b, v16 x, v16 y)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
/// 2^n, where t = 1.5 * 2^23 + n and -126 <= n <= 127. n stands in the lowest bits of t; shifted by
/// 23 it becomes an exponent, the other bits of t fall off, and 127 << 23 is the exponent's bias.
SIMD v16 v_power_of_two(v16 t)
{
    __m512i bits = _mm512_slli_epi32(_mm512_castps_si512(t), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(bits, _mm512_set1_epi32(0x3f800000)));
}

#elif defined(__AVX2__)

typedef struct v16 {
    __m256 a, b;
} v16;

/// The mask of the register that begins at lane `from`, for lanes 0..n-1: a window into 16 ones
/// that zeros follow.
SIMD __m256i simd_first(size_t n, size_t from)
{
    static const int32_t ones[48] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                     -1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const __m256i *)(const void *)(ones + 16 + from - n));
}
SIMD v16 v_set1(float x)
{
    return (v16){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
SIMD v16 v_load(const float *p)
{
    return (v16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
SIMD void v_store(float *p, v16 x)
{
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
SIMD v16 v_load_n(const float *p, size_t n)
{
    return (v16){_mm256_maskload_ps(p, simd_first(n, 0)),
                 _mm256_maskload_ps(p + 8, simd_first(n, 8))};
}
SIMD void v_store_n(float *p, v16 x, size_t n)
{
    _mm256_maskstore_ps(p, simd_first(n, 0), x.a);
    _mm256_maskstore_ps(p + 8, simd_first(n, 8), x.b);
}
SIMD v16 v_keep_n(v16 x, size_t n, v16 fill)
{
    return (v16){_mm256_blendv_ps(fill.a, x.a, _mm256_castsi256_ps(simd_first(n, 0))),
                 _mm256_blendv_ps(fill.b, x.b, _mm256_castsi256_ps(simd_first(n, 8)))};
}
#define SIMD_BINARY(name, instruction, lane)                                                    \
    SIMD v16 name(v16 x, v16 y)                                                                 \
    {                                                                                           \
        return (v16){_mm256_##instruction##_ps(x.a, y.a), _mm256_##instruction##_ps(x.b, y.b)}; \
    }
SIMD v16 v_fma(v16 x, v16 y, v16 z)
{
    return (v16){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
SIMD v16 v_low_halves(v16 x)
{
    return (v16){_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(x.a), 16)),
                 _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(x.b), 16))};
}
SIMD v16 v_high_halves(v16 x)
{
    const __m256 mask = _mm256_castsi256_ps(_mm256_set1_epi32((int32_t)0xffff0000u));
    return (v16){_mm256_and_ps(x.a, mask), _mm256_and_ps(x.b, mask)};
}
SIMD v16 v_sqrt(v16 x)
{
    return (v16){_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)};
}
SIMD v16 v_select_lt(v16 p, v16 q, v16 x, v16 y)
{
    return (v16){_mm256_blendv_ps(y.a, x.a, _mm256_cmp_ps(p.a, q.a, _CMP_LT_OQ)),
                 _mm256_blendv_ps(y.b, x.b, _mm256_cmp_ps(p.b, q.b, _CMP_LT_OQ))};
}
SIMD __m256 simd_power_of_two(__m256 t)
{
    __m256i bits = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(bits, _mm256_set1_epi32(0x3f800000)));
}
SIMD v16 v_power_of_two(v16 t)
{
    return (v16){simd_power_of_two(t.a), simd_power_of_two(t.b)};
}

#else

typedef struct v16 {
    float v[LANES];
} v16;

#define SIMD_EACH(expression)            \
    v16 result_;                         \
    for (size_t i = 0; i < LANES; i++) { \
        result_.v[i] = (expression);     \
    }                                    \
    return result_
SIMD v16 v_set1(float x)
{
    SIMD_EACH(x);
}
SIMD v16 v_load(const float *p)
{
    SIMD_EACH(p[i]);
}
SIMD void v_store(float *p, v16 a)
{
    memcpy(p, a.v, sizeof a.v);
}
SIMD v16 v_load_n(const float *p, size_t n)
{
    SIMD_EACH(i < n ? p[i] : 0.0f);
}
SIMD void v_store_n(float *p, v16 a, size_t n)
{
    memcpy(p, a.v, n * sizeof *p);
}
SIMD v16 v_keep_n(v16 a, size_t n, v16 fill)
{
    SIMD_EACH(i < n ? a.v[i] : fill.v[i]);
}
#define SIMD_BINARY(name, instruction, lane)    \
    SIMD v16 name(v16 x, v16 y)                 \
    {                                           \
        v16 result;                             \
        for (size_t i = 0; i < LANES; i++) {    \
            const float a = x.v[i], b = y.v[i]; \
            result.v[i] = (lane);               \
        }                                       \
        return result;                          \
    }
SIMD v16 v_fma(v16 a, v16 b, v16 c)
{
    SIMD_EACH(fmaf(a.v[i], b.v[i], c.v[i]));
}
SIMD float simd_flush(float x)
{
    return fabsf(x) < FLT_MIN ? copysignf(0.0f, x) : x;
}
/// The float whose upper half is given.
SIMD float simd_from_half(uint32_t half)
{
    uint32_t bits = half << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return simd_flush(x);
}
/// a * b + c as x86 rounds it where denormals are flushed: to zero goes what is below FLT_MIN after
/// rounding to 24 bits, not to the fewer bits of a denormal. From `least` on the true value rounds
/// to FLT_MIN. The comparison is exact: the product has 16 bits, and where the sum is near `least`
/// c is a multiple of 2^-149 below 2^-98.
SIMD float simd_fma_flushed(float a, float b, float c)
{
    const double least = 0x1p-126 * (1.0 - 0x1p-25), product = (double)a * (double)b;
    float sum = fmaf(a, b, c);
    bool tiny =
        fabsf(sum) <= FLT_MIN && product < least - (double)c && product > -least - (double)c;
    return tiny ? copysignf(0.0f, sum) : sum;
}
SIMD uint32_t simd_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
SIMD v16 v_low_halves(v16 x)
{
    SIMD_EACH(simd_from_half(simd_bits(x.v[i]) & 0xffff));
}
SIMD v16 v_high_halves(v16 x)
{
    SIMD_EACH(simd_from_half(simd_bits(x.v[i]) >> 16));
}
SIMD v16 v_sqrt(v16 a)
{
    SIMD_EACH(sqrtf(a.v[i]));
}
SIMD v16 v_select_lt(v16 a, v16 b, v16 x, v16 y)
{
    SIMD_EACH(a.v[i] < b.v[i] ? x.v[i] : y.v[i]);
}
SIMD v16 v_power_of_two(v16 t)
{
    v16 result;
    for (size_t i = 0; i < LANES; i++) {
        uint32_t bits;
        memcpy(&bits, &t.v[i], sizeof bits);
        bits = (bits << 23) + 0x3f800000u;
        memcpy(&result.v[i], &bits, sizeof bits);
    }
    return result;
}
#undef SIMD_EACH

#endif

SIMD_BINARY(v_add, add, a + b)
SIMD_BINARY(v_sub, sub, a - b)
SIMD_BINARY(v_mul, mul, a *b)
SIMD_BINARY(v_div, div, a / b)
SIMD_BINARY(v_max, max, a > b ? a : b) // b where either is NaN, as the instruction does
SIMD_BINARY(v_min, min, a < b ? a : b)
#undef SIMD_BINARY

SIMD v16 v_zero(void)
{
    return v_set1(0.0f);
}

/// Between the two, this thread's additions and multiplications take denormals for zeros and give
/// zeros for them. The code in between must be behind a call that is not inlined: the compiler
/// knows nothing of the control word. The plain form flushes in v_*_flushed and v_*_halves.
SIMD unsigned simd_flush_denormals(void)
{
#if defined(__AVX2__)
    const unsigned control = _mm_getcsr();
    _mm_setcsr(control | _MM_FLUSH_ZERO_ON | _MM_DENORMALS_ZERO_ON);
    return control;
#else
    return 0;
#endif
}
SIMD void simd_restore(unsigned control)
{
#if defined(__AVX2__)
    _mm_setcsr(control);
#else
    (void)control;
#endif
}

/// x * y + z between the two; x and y are halves, and z such a sum.
SIMD v16 v_fma_flushed(v16 x, v16 y, v16 z)
{
#if defined(__AVX2__)
    return v_fma(x, y, z);
#else
    v16 sum;
    for (size_t i = 0; i < LANES; i++) {
        sum.v[i] = simd_fma_flushed(x.v[i], y.v[i], z.v[i]);
    }
    return sum;
#endif
}

/// x + y between the two.
SIMD v16 v_add_flushed(v16 x, v16 y)
{
#if defined(__AVX2__)
    return v_add(x, y);
#else
    v16 sum;
    for (size_t i = 0; i < LANES; i++) { // a denormal sum is exact, so it is flushed as it is
        sum.v[i] = simd_flush(simd_flush(x.v[i]) + simd_flush(y.v[i]));
    }
    return sum;
#endif
}

/// The sum of the lanes by a fixed tree: lanes 8 apart, then 4, 2 and 1. In registers where there
/// are any: through memory it is slower, and gcc 12 stores to a frame of AddressSanitizer's as if
/// it were aligned (its PR 110027).
SIMD float v_sum(v16 a)
{
#if defined(__AVX2__)
#if defined(__AVX512F__)
    const __m256d upper = _mm512_extractf64x4_pd(_mm512_castps_pd(a), 1);
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm256_castpd_ps(upper));
#else
    const __m256 eight = _mm256_add_ps(a.a, a.b);
#endif
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
#else
    for (size_t half = LANES / 2; half > 0; half /= 2) {
        for (size_t i = 0; i < half; i++) {
            a.v[i] = a.v[i] + a.v[i + half];
        }
    }
    return a.v[0];
#endif
}

/// The greatest lane, by the same tree.
SIMD float v_greatest(v16 a)
{
    float lane[LANES];
    v_store(lane, a);
    for (size_t half = LANES / 2; half > 0; half /= 2) {
        for (size_t i = 0; i < half; i++) {
            lane[i] = lane[i] > lane[i + half] ? lane[i] : lane[i + half];
        }
    }
    return lane[0];
}

/// e^x within about 1 ulp; 0 below -87, e^88 above 88, NaN for NaN. e^x = 2^n e^r with r = x - n ln
/// 2, |r| <= ln 2 / 2: n by rounding x / ln 2, ln 2 in two parts (Cody and Waite), and e^r by the
/// polynomial of SLEEF's expf (Shibata and Petrogalli 2020). cuda_exp in
/// common/tensor/cuda/numbers.h does the same.
SIMD v16 v_exp(v16 x)
{
    const v16 magic = v_set1(12582912.0f); // 1.5 * 2^23: adding it rounds to an integer
    v16 y = v_min(v_set1(88.0f), x);       // in this order of arguments a NaN stays
    v16 t = v_fma(v_max(v_set1(-87.0f), y), v_set1(1.44269504088896340736f), magic);
    v16 n = v_sub(t, magic);
    v16 r = v_fma(n, v_set1(-0.693147182464599609375f), y);
    r = v_fma(n, v_set1(1.9046542121259e-09f), r);
    v16 p = v_set1(0.000198527617612853646278381f);
    p = v_fma(p, r, v_set1(0.00139304355252534151077271f));
    p = v_fma(p, r, v_set1(0.00833336077630519866943359f));
    p = v_fma(p, r, v_set1(0.0416664853692054748535156f));
    p = v_fma(p, r, v_set1(0.166666671633720397949219f));
    p = v_fma(p, r, v_set1(0.5f));
    p = v_add(v_fma(v_mul(r, r), p, r), v_set1(1.0f));
    return v_select_lt(x, v_set1(-87.0f), v_zero(), v_mul(p, v_power_of_two(t)));
}

/// 1 / (1 + e^-x); v_exp saturates, so no x gives a NaN.
SIMD v16 v_sigmoid(v16 x)
{
    const v16 one = v_set1(1.0f);
    return v_div(one, v_add(one, v_exp(v_sub(v_zero(), x))));
}

/// (e^2x - 1) / (e^2x + 1), within a few ulp; no x gives a NaN, as v_exp saturates. Near 0 that
/// difference would lose digits, and a cap multiplies what is lost: there a polynomial (Moshier's
/// Cephes).
SIMD v16 v_tanh(v16 x)
{
    const v16 one = v_set1(1.0f), square = v_mul(x, x);
    v16 p = v_set1(-5.70498872745e-3f);
    p = v_fma(p, square, v_set1(2.06390887954e-2f));
    p = v_fma(p, square, v_set1(-5.37397155531e-2f));
    p = v_fma(p, square, v_set1(1.33314422036e-1f));
    p = v_fma(p, square, v_set1(-3.33332819422e-1f));
    const v16 near = v_fma(v_mul(p, square), x, x);
    const v16 far = v_sub(one, v_div(v_set1(2.0f), v_add(v_exp(v_add(x, x)), one)));
    return v_select_lt(square, v_set1(0.390625f), near, far);
}

#endif
