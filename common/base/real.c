/// Exponential, logarithm, power, sine and cosine in double precision, and bfloat16 conversion
/// (real.h says why).
///
/// Each function reduces its argument to a short interval around 0 and sums a series there that is
/// long enough for 1e-14. Only + - * / are used, all correctly rounded by IEEE 754, and
/// -ffp-contract=off keeps the compiler from fusing them: hence equal bits everywhere. Speed does
/// not matter here. common/tensor/cuda/numbers.h repeats tr_real_log on the device.
#include "common/base/real.h"

#include <math.h>
#include <string.h>

/// ln 2 in two parts (Cody and Waite 1980). The high part has 33 bits, so n * LN2_HIGH is exact for
/// all n used here.
static const double LN2_HIGH = 6.93147180369123816490e-01;
static const double LN2_LOW = 1.90821492927058770002e-10;

/// x * 2^n for -1022 <= n <= 1023, by writing n into the exponent bits of a factor.
static double scale_by_power_of_two(double x, int n)
{
    uint64_t bits = (uint64_t)(1023 + n) << 52;
    double factor;
    memcpy(&factor, &bits, sizeof factor);
    return x * factor;
}

/// The nearest integer; ties go away from 0. floor and rint would do, but need libm.
static int nearest(double x)
{
    return (int)(x < 0 ? x - 0.5 : x + 0.5);
}

double tr_real_exp(double x)
{
    // e^x = 2^n e^r with r = x - n ln 2.
    int n = nearest(x / (LN2_HIGH + LN2_LOW));
    double r = (x - n * LN2_HIGH) - n * LN2_LOW;
    double sum = 1.0;
    for (int k = 20; k >= 1; k--) { // Taylor by Horner; |r| < 0.35
        sum = 1.0 + sum * r / k;
    }
    // Near -1022 the factor would stop being a normal number: scale in two steps.
    return n < -1000 ? scale_by_power_of_two(scale_by_power_of_two(sum, -1000), n + 1000)
                     : scale_by_power_of_two(sum, n);
}

double tr_real_log(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    // x = m 2^exponent with m in [sqrt(1/2), sqrt(2)], so that s below is small on both sides of 1.
    int exponent = (int)(bits >> 52) - 1023;
    bits = (bits & 0x000fffffffffffffu) | 0x3ff0000000000000u;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        exponent++;
    }
    double s = (m - 1.0) / (m + 1.0);
    double square = s * s;
    double sum = 0.0;
    for (int k = 27; k >= 1; k -= 2) { // log m = 2 atanh(s); |s| < 0.172
        sum = 1.0 / k + square * sum;
    }
    // The small terms are added first.
    double result = exponent * LN2_HIGH + (2.0 * s * sum + exponent * LN2_LOW);
    return isnan(x) ? x : result;
}

double tr_real_pow(double x, double y)
{
    return tr_real_exp(y * tr_real_log(x));
}

void tr_real_sincos(double *sine, double *cosine, double x)
{
    // pi / 2 in two parts, likewise; the quadrant is n mod 4.
    static const double HALF_PI_HIGH = 1.57079632673412561417e+00; // the upper 33 bits
    static const double HALF_PI_LOW = 6.07710050650619224932e-11;
    int n = nearest(x / 1.57079632679489661923);
    double r = (x - n * HALF_PI_HIGH) - n * HALF_PI_LOW;
    double square = r * r;
    double s = 1.0;
    double c = 1.0;
    for (int k = 20; k >= 2; k -= 2) { // |r| < 0.79
        s = 1.0 - s * square / (k * (k + 1));
        c = 1.0 - c * square / (k * (k - 1));
    }
    s *= r;
    switch (n & 3) {
    case 0: *sine = s, *cosine = c; break;
    case 1: *sine = c, *cosine = -s; break;
    case 2: *sine = -s, *cosine = -c; break;
    default: *sine = -c, *cosine = s; break;
    }
}

/// Adding 0x7fff and the last kept bit rounds to nearest, ties to even, and carries into the
/// exponent where it must.
uint16_t tr_real_to_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        // The set bit keeps a NaN whose payload lies in the lower half from becoming an infinity.
        return (uint16_t)(bits >> 16 | 0x40);
    }
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

float tr_real_from_bf16(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float x;
    memcpy(&x, &wide, sizeof x);
    return x;
}

/// IEEE 754 binary16: a sign, 5 bits of exponent (bias 15), 10 of fraction.
float tr_real_from_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = (half >> 10) & 0x1f;
    uint32_t fraction = half & 0x3ff;
    if (exponent == 0) { // zero and subnormals: a multiple of 2^-24, which float holds exactly
        float magnitude = (float)fraction * 0x1p-24f;
        return sign != 0 ? -magnitude : magnitude;
    }
    // 31 is infinity or NaN, whose exponent has all bits in float too; else the bias changes from
    // 15 to 127
    uint32_t wide = exponent == 31 ? 255 : exponent + 127 - 15;
    uint32_t bits = sign | wide << 23 | fraction << 13;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

uint16_t tr_real_to_f16(float x)
{
    uint32_t bits, half;
    memcpy(&bits, &x, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
        half = 0x7e00u; // a NaN
    } else if (magnitude >= 0x477ff000u) {
        half = 0x7c00u; // from 65520 on: nearer to infinity than to the largest one, 65504
    } else if (magnitude < 0x38800000u) {
        // Below 2^-14 they are multiples of 2^-24, and so are the floats from 0.5 to 1.
        float scaled = (x < 0.0f ? -x : x) + 0.5f;
        memcpy(&half, &scaled, sizeof half);
        half -= 0x3f000000u;
    } else {
        // The bias changes from 127 to 15; 13 bits of the fraction are rounded, ties to even.
        half = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
    }
    return (uint16_t)(sign | half);
}
