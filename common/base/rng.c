/// Philox and what is made of it: uniform and normal numbers, permutations (rng.h says why numbers
/// have addresses).
///
/// The only state is the address, so there is nothing to seed, save or share between threads. The
/// CUDA backend repeats the generator on the device (random_word in
/// common/tensor/cuda/layer_ops.cu); the bits must stay the same in both.
#include "common/base/rng.h"

#include <math.h>

#include "common/base/real.h"

/// Philox 4x32-10 (Salmon et al. 2011, section 3.3): ten rounds of two 32 x 32 -> 64 bit products,
/// whose high halves are mixed with the other words and the key. The multipliers are the paper's;
/// the key grows by the golden ratio and by sqrt(3) - 1, as 32-bit fractions.
static void philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/// The number's purpose and address as key and counter. c is the lowest word of the counter.
static void words(uint32_t out[4], uint64_t seed, tr_rng_stream_t stream, uint32_t a, uint32_t b,
                  uint32_t c)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {c, b, a, (uint32_t)stream};
    philox(out, counter, key);
}

/// 24 bits fill a float's mantissa: every value is exact, evenly spaced, and below 1.
static float unit(uint32_t word)
{
    return (float)(word >> 8) * 0x1p-24f;
}

float tr_rng_uniform(uint64_t seed, tr_rng_stream_t stream, uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t out[4];
    words(out, seed, stream, a, b, c);
    return unit(out[0]);
}

void tr_rng_uniforms(float *out, size_t n, uint64_t seed, tr_rng_stream_t stream, uint32_t a,
                     uint32_t b)
{
    uint32_t four[4] = {0};
    // one call gives four numbers: number i is word i % 4 of the address whose c is i / 4
    for (size_t i = 0; i < n; i++) {
        if (i % 4 == 0) {
            words(four, seed, stream, a, b, (uint32_t)(i / 4));
        }
        out[i] = unit(four[i % 4]);
    }
}

float tr_rng_normal(uint64_t seed, tr_rng_stream_t stream, uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t out[4];
    words(out, seed, stream, a, b, c);
    // 1 - u lies in (0, 1], so that the logarithm is finite. Box-Muller gives a second number with
    // the sine, which is dropped: an address has one number.
    double radius = sqrt(-2.0 * tr_real_log(1.0 - (double)unit(out[0])));
    double sine, cosine;
    tr_real_sincos(&sine, &cosine, 6.28318530717958647693 * (double)unit(out[1]));
    return (float)(radius * cosine);
}

void tr_rng_permutation(uint32_t *order, size_t n, uint64_t seed, uint32_t a, uint32_t b)
{
    for (size_t i = 0; i < n; i++) {
        order[i] = (uint32_t)i;
    }
    // Fisher-Yates from the end: place i - 1 gets one of the first i elements.
    for (size_t i = n; i > 1; i--) {
        uint32_t out[4];
        words(out, seed, TR_RNG_SHUFFLE, a, b, (uint32_t)i);
        // Lemire's multiplication instead of a remainder; the bias is below i / 2^32.
        size_t j = (size_t)(((uint64_t)out[0] * i) >> 32);
        uint32_t swap = order[i - 1];
        order[i - 1] = order[j];
        order[j] = swap;
    }
}
