#include "common/base/real.h"

#include <math.h>
#include <string.h>

static const double LN2_HIGH =
    6.93147180369123816490e-01; // the upper 33 bits of ln 2, so that n * LN2_HIGH is exact
static const double LN2_LOW = 1.90821492927058770002e-10;

static double scale_by_power_of_two(double x, int n)
{
    uint64_t bits = (uint64_t)(1023 + n) << 52;
    double factor;
    memcpy(&factor, &bits, sizeof factor);
    return x * factor;
}

static int nearest(double x)
{
    return (int)(x < 0 ? x - 0.5 : x + 0.5);
}

double tr_real_exp(double x)
{
    int n = nearest(x / (LN2_HIGH + LN2_LOW));
    double r = (x - n * LN2_HIGH) - n * LN2_LOW;
    double sum = 1.0;
    for (int k = 20; k >= 1; k--) { // Taylor by Horner; |r| < 0.35
        sum = 1.0 + sum * r / k;
    }
    return n < -1000 ? scale_by_power_of_two(scale_by_power_of_two(sum, -1000), n + 1000)
                     : scale_by_power_of_two(sum, n);
}

double tr_real_log(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
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
    double result = exponent * LN2_HIGH + (2.0 * s * sum + exponent * LN2_LOW);
    return isnan(x) ? x : result;
}

double tr_real_pow(double x, double y)
{
    return tr_real_exp(y * tr_real_log(x));
}

void tr_real_sincos(double *sine, double *cosine, double x)
{
    static const double HALF_PI_HIGH = 1.57079632673412561417e+00; // the upper 33 bits of pi / 2
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

uint16_t tr_real_to_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
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
