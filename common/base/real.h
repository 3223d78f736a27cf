/// Elementary functions in double precision from additions, multiplications and divisions only, so
/// that their bits do not depend on the C library or the CPU. For tables and initial weights;
/// kernels have float forms. Relative error below 1e-14 in the stated ranges.
#ifndef TR_BASE_REAL_H
#define TR_BASE_REAL_H

#include <stdint.h>

/// e^x for |x| <= 700.
double tr_real_exp(double x);

/// Natural logarithm, x > 0 and normal; NaN of NaN.
double tr_real_log(double x);

/// x^y for x > 0.
double tr_real_pow(double x, double y);

/// Sine and cosine of x, |x| <= 1e7; the absolute error is below 1e-15 near 0 and below 1e-9 at the
/// end.
void tr_real_sincos(double *sine, double *cosine, double x);

/// The nearest bfloat16 as its 16 bits (ties to even, a NaN stays a NaN), and back.
uint16_t tr_real_to_bf16(float x);
float tr_real_from_bf16(uint16_t bits);

/// The same of IEEE's binary16; from 65520 on an infinity.
uint16_t tr_real_to_f16(float x);
float tr_real_from_f16(uint16_t bits);

#endif
