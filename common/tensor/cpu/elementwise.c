/// Kernels without sums: rotary positions, SwiGLU, GELU, additions, AdamW.
///
/// Each output element depends on its own inputs only, so any order gives the same bits. Loops that
/// use no v16 are plain C: the compiler may vectorise them, but neither reorders nor fuses
/// operations (-ffp-contract=off).
#include "common/tensor/cpu/kernels.h"
#include "common/tensor/cpu/simd.h"

#include <math.h>

#include "common/base/real.h"

/// Rotates up to 16 pairs (first[i], second[i]) by their angles; the inverse is the angle's
/// negative.
SIMD void rotate(float *first, float *second, const float *cosine, const float *sine, size_t n,
                 bool inverse)
{
    v16 a = v_load_n(first, n), b = v_load_n(second, n), c = v_load_n(cosine, n),
        s = v_load_n(sine, n);
    if (inverse) {
        s = v_sub(v_zero(), s);
    }
    v_store_n(first, v_sub(v_mul(a, c), v_mul(b, s)), n);
    v_store_n(second, v_add(v_mul(b, c), v_mul(a, s)), n);
}

/// table: the row's position's [cos R/2 | sin R/2], R = rotary. Pairs are (i, i + R/2), the halves
/// of Hugging Face's Llama, not neighbours as in the paper (Su et al. 2021): the weights are stored
/// for this order.
void CPU_NAME(cpu_rope)(float *row, const float *table, size_t heads, size_t dim, size_t rotary,
                        bool inverse)
{
    size_t half = rotary / 2;
    for (size_t h = 0; h < heads; h++, row += dim) {
        for (size_t i = 0; i < half; i += LANES) {
            size_t n = half - i < LANES ? half - i : LANES;
            rotate(row + i, row + half + i, table + i, table + half + i, n, inverse);
        }
    }
}

/// y = silu(gate) up, silu(g) = g v_sigmoid(g) (Shazeer 2020).
void CPU_NAME(cpu_swiglu)(float *y, const float *gate_up, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++, y += n, gate_up += 2 * n) {
        for (size_t i = 0; i < n; i += LANES) {
            size_t lanes = n - i < LANES ? n - i : LANES;
            v16 gate = v_load_n(gate_up + i, lanes), up = v_load_n(gate_up + n + i, lanes);
            v_store_n(y + i, v_mul(v_mul(gate, v_sigmoid(gate)), up), lanes);
        }
    }
}

/// dgate = dy up silu'(gate), dup = dy silu(gate).
void CPU_NAME(cpu_swiglu_gradient)(float *dgate_up, const float *dy, const float *gate_up,
                                   size_t rows, size_t n)
{
    const v16 one = v_set1(1.0f);
    for (size_t r = 0; r < rows; r++, dy += n, gate_up += 2 * n, dgate_up += 2 * n) {
        for (size_t i = 0; i < n; i += LANES) {
            size_t lanes = n - i < LANES ? n - i : LANES;
            v16 gate = v_load_n(gate_up + i, lanes), up = v_load_n(gate_up + n + i, lanes);
            v16 d = v_load_n(dy + i, lanes), s = v_sigmoid(gate);
            // silu'(g) = s (1 + g (1 - s))
            v16 slope = v_mul(s, v_fma(gate, v_sub(one, s), one));
            v_store_n(dgate_up + i, v_mul(v_mul(d, up), slope), lanes);
            v_store_n(dgate_up + n + i, v_mul(d, v_mul(gate, s)), lanes);
        }
    }
}

/// y = g v_sigmoid(alpha g) (u + 1) of bounded gate and up. A NaN passes the bounds.
void CPU_NAME(cpu_swiglu_clamped)(float *y, const float *gate_up, size_t rows, size_t n,
                                  tr_swiglu_t options)
{
    const v16 limit = v_set1(options.limit), lowest = v_set1(0.0f - options.limit),
              alpha = v_set1(options.alpha), one = v_set1(1.0f);
    for (size_t r = 0; r < rows; r++, y += n, gate_up += 2 * n) {
        for (size_t i = 0; i < n; i += LANES) {
            size_t lanes = n - i < LANES ? n - i : LANES;
            v16 gate = v_min(limit, v_load_n(gate_up + i, lanes)),
                up = v_max(lowest, v_min(limit, v_load_n(gate_up + n + i, lanes)));
            v16 gated = v_mul(gate, v_sigmoid(v_mul(alpha, gate)));
            v_store_n(y + i, v_mul(gated, v_add(up, one)), lanes);
        }
    }
}

/// dgate = dy (u + 1) s (1 + alpha g (1 - s)), dup = dy g s, s = v_sigmoid(alpha g); 0 beyond a
/// bound.
void CPU_NAME(cpu_swiglu_clamped_gradient)(float *dgate_up, const float *dy, const float *gate_up,
                                           size_t rows, size_t n, tr_swiglu_t options)
{
    const v16 limit = v_set1(options.limit), lowest = v_set1(0.0f - options.limit),
              alpha = v_set1(options.alpha), one = v_set1(1.0f), zero = v_zero();
    for (size_t r = 0; r < rows; r++, dy += n, gate_up += 2 * n, dgate_up += 2 * n) {
        for (size_t i = 0; i < n; i += LANES) {
            size_t lanes = n - i < LANES ? n - i : LANES;
            v16 gate = v_load_n(gate_up + i, lanes), up = v_load_n(gate_up + n + i, lanes);
            v16 g = v_min(limit, gate), u = v_max(lowest, v_min(limit, up));
            v16 d = v_load_n(dy + i, lanes), a = v_mul(alpha, g), s = v_sigmoid(a);
            v16 slope = v_mul(s, v_fma(a, v_sub(one, s), one));
            v16 dgate = v_mul(v_mul(d, v_add(u, one)), slope), dup = v_mul(d, v_mul(g, s));
            v_store_n(dgate_up + i, v_select_lt(limit, gate, zero, dgate), lanes);
            dup = v_select_lt(limit, up, zero, v_select_lt(up, lowest, zero, dup));
            v_store_n(dgate_up + n + i, dup, lanes);
        }
    }
}

/// lse becomes log(e^lse + e^sink), from the greater of the two on.
void CPU_NAME(cpu_sink)(float *out, float *lse, const float *sinks, size_t heads, size_t dim)
{
    for (size_t i = 0; i < heads; i += LANES) {
        const size_t lanes = heads - i < LANES ? heads - i : LANES;
        float factor[LANES], greatest[LANES], sum[LANES];
        v16 own = v_load_n(lse + i, lanes), sink = v_load_n(sinks + i, lanes),
            most = v_max(own, sink);
        v_store(factor, v_sigmoid(v_sub(own, sink)));
        v_store(greatest, most);
        v_store(sum, v_add(v_exp(v_sub(own, most)), v_exp(v_sub(sink, most))));
        for (size_t h = 0; h < lanes; h++) {
            float *row = out + (i + h) * dim;
            lse[i + h] = greatest[h] + (float)tr_real_log((double)sum[h]);
            CPU_NAME(cpu_scale)(row, row, factor[h], dim);
        }
    }
}

void CPU_NAME(cpu_sink_gradient)(float *dsinks, const float *dout, const float *out,
                                 const float *lse, const float *sinks, size_t heads, size_t dim)
{
    for (size_t i = 0; i < heads; i += LANES) {
        const size_t lanes = heads - i < LANES ? heads - i : LANES;
        float share[LANES];
        v_store(share, v_exp(v_sub(v_load_n(sinks + i, lanes), v_load_n(lse + i, lanes))));
        for (size_t h = 0; h < lanes; h++) {
            const size_t at = (i + h) * dim;
            dsinks[i + h] = dsinks[i + h] - share[h] * CPU_NAME(cpu_dot)(dout + at, out + at, dim);
        }
    }
}

/// 2 sqrt(2/pi) (x + 0.044715 x^3), whose sigmoid is the 0.5 (1 + tanh) of GELU.
SIMD v16 gelu_argument(v16 x)
{
    const v16 twice = v_set1(1.5957691216057308f), cubic = v_set1(0.044715f), one = v_set1(1.0f);
    return v_mul(v_mul(twice, x), v_fma(v_mul(cubic, x), x, one));
}

/// y = gelu(gate) up.
void CPU_NAME(cpu_geglu)(float *y, const float *gate_up, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++, y += n, gate_up += 2 * n) {
        for (size_t i = 0; i < n; i += LANES) {
            size_t lanes = n - i < LANES ? n - i : LANES;
            v16 gate = v_load_n(gate_up + i, lanes), up = v_load_n(gate_up + n + i, lanes);
            v_store_n(y + i, v_mul(v_mul(gate, v_sigmoid(gelu_argument(gate))), up), lanes);
        }
    }
}

/// dgate = dy up gelu'(gate), dup = dy gelu(gate).
void CPU_NAME(cpu_geglu_gradient)(float *dgate_up, const float *dy, const float *gate_up,
                                  size_t rows, size_t n)
{
    const v16 one = v_set1(1.0f), twice = v_set1(1.5957691216057308f), cubic = v_set1(0.134145f);
    for (size_t r = 0; r < rows; r++, dy += n, gate_up += 2 * n, dgate_up += 2 * n) {
        for (size_t i = 0; i < n; i += LANES) {
            size_t lanes = n - i < LANES ? n - i : LANES;
            v16 gate = v_load_n(gate_up + i, lanes), up = v_load_n(gate_up + n + i, lanes);
            v16 d = v_load_n(dy + i, lanes), s = v_sigmoid(gelu_argument(gate));
            // gelu'(g) = s + g s (1 - s) a', a' = 2 sqrt(2/pi) (1 + 3 * 0.044715 g^2)
            v16 inner = v_mul(twice, v_fma(v_mul(cubic, gate), gate, one));
            v16 slope = v_fma(v_mul(v_mul(gate, s), v_sub(one, s)), inner, s);
            v_store_n(dgate_up + i, v_mul(v_mul(d, up), slope), lanes);
            v_store_n(dgate_up + n + i, v_mul(d, v_mul(gate, s)), lanes);
        }
    }
}

/// y = x f(g), f the sigmoid, or SiLU: g v_sigmoid(g).
void CPU_NAME(cpu_gate)(float *y, const float *x, const float *gate, size_t n, bool silu)
{
    for (size_t i = 0; i < n; i += LANES) {
        size_t lanes = n - i < LANES ? n - i : LANES;
        v16 g = v_load_n(gate + i, lanes), f = v_sigmoid(g);
        v_store_n(y + i, v_mul(v_load_n(x + i, lanes), silu ? v_mul(g, f) : f), lanes);
    }
}

/// dx = dy f(g), dgate = dy x f'(g).
void CPU_NAME(cpu_gate_gradient)(float *dx, float *dgate, const float *dy, const float *x,
                                 const float *gate, size_t n, bool silu)
{
    const v16 one = v_set1(1.0f);
    for (size_t i = 0; i < n; i += LANES) {
        size_t lanes = n - i < LANES ? n - i : LANES;
        v16 g = v_load_n(gate + i, lanes), s = v_sigmoid(g), d = v_load_n(dy + i, lanes);
        v16 slope = silu ? v_fma(g, v_sub(one, s), one) : v_sub(one, s);
        v_store_n(dgate + i, v_mul(v_mul(d, v_load_n(x + i, lanes)), v_mul(s, slope)), lanes);
        v_store_n(dx + i, v_mul(d, silu ? v_mul(g, s) : s), lanes);
    }
}

/// The probability that a normal variable is below x: (1 + erf(x / sqrt(2))) / 2. erf by two
/// polynomials (after N. Juffa), to 1e-7.
SIMD v16 normal_below(v16 x)
{
    const v16 one = v_set1(1.0f);
    v16 a = v_mul(x, v_set1(0.70710678118654752f)), s = v_mul(a, a);
    v16 t = v_max(a, v_sub(v_zero(), a));
    v16 small = v_fma(v_set1(-5.96761703e-4f), s, v_set1(4.99119423e-3f));
    small = v_fma(small, s, v_set1(-2.67681349e-2f));
    small = v_fma(small, s, v_set1(1.12819925e-1f));
    small = v_fma(small, s, v_set1(-3.76125336e-1f));
    small = v_fma(small, s, v_set1(1.28379166e-1f));
    small = v_fma(small, a, a);
    // Beyond 4 it is 1 in float.
    v16 u = v_min(t, v_set1(4.0f)), square = v_mul(u, u);
    v16 large = v_fma(v_set1(-1.72853470e-5f), u, v_set1(3.83197126e-4f));
    large = v_fma(large, square, v_fma(v_set1(-3.88396438e-3f), u, v_set1(2.42546219e-2f)));
    large = v_fma(large, u, v_set1(-1.06777877e-1f));
    large = v_fma(large, u, v_set1(-6.34846687e-1f));
    large = v_fma(large, u, v_set1(-1.28717512e-1f));
    large = v_sub(one, v_exp(v_fma(large, u, v_sub(v_zero(), u))));
    large = v_select_lt(a, v_zero(), v_sub(v_zero(), large), large);
    v16 erf = v_select_lt(t, v_set1(0.927734375f), small, large);
    return v_mul(v_set1(0.5f), v_add(one, erf));
}

/// gelu(x) = x p: p is normal_below, or the sigmoid that stands for it in the tanh form.
SIMD v16 gelu_part(v16 x, bool exact)
{
    return exact ? normal_below(x) : v_sigmoid(gelu_argument(x));
}

void CPU_NAME(cpu_gelu)(float *y, const float *x, size_t n, bool exact)
{
    for (size_t i = 0; i < n; i += LANES) {
        size_t lanes = n - i < LANES ? n - i : LANES;
        v16 z = v_load_n(x + i, lanes);
        v_store_n(y + i, v_mul(z, gelu_part(z, exact)), lanes);
    }
}

/// gelu'(x) = p + x p'. p' is the normal density e^(-x^2/2) / sqrt(2 pi), or that of the sigmoid.
void CPU_NAME(cpu_gelu_gradient)(float *dx, const float *dy, const float *x, size_t n, bool exact)
{
    const v16 one = v_set1(1.0f), twice = v_set1(1.5957691216057308f), cubic = v_set1(0.134145f);
    for (size_t i = 0; i < n; i += LANES) {
        size_t lanes = n - i < LANES ? n - i : LANES;
        v16 z = v_load_n(x + i, lanes), p = gelu_part(z, exact), density;
        if (exact) {
            v16 e = v_exp(v_mul(v_mul(z, z), v_set1(-0.5f)));
            density = v_mul(e, v_set1(0.3989422804014327f));
        } else {
            v16 inner = v_mul(twice, v_fma(v_mul(cubic, z), z, one));
            density = v_mul(v_mul(p, v_sub(one, p)), inner);
        }
        v_store_n(dx + i, v_mul(v_load_n(dy + i, lanes), v_fma(z, density, p)), lanes);
    }
}

void CPU_NAME(cpu_add)(float *y, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = a[i] + b[i];
    }
}

void CPU_NAME(cpu_scale)(float *y, const float *x, float factor, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = x[i] * factor;
    }
}

/// One step of AdamW in the order of PyTorch's implementation, with no operation fused:
///
///     g = gradient scale;  m += (1 - beta1)(g - m);  v = beta2 v + (1 - beta2) g g
///     w = (1 - lr wd) w - lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)
void CPU_NAME(cpu_adamw)(float *weight, float *m, float *v, const float *gradient, size_t n,
                         const tr_adamw_scalars_t *options)
{
    const v16 decay = v_set1(options->decay), lerp = v_set1(options->lerp),
              beta2 = v_set1(options->beta2);
    const v16 square = v_set1(options->square), root = v_set1(options->root),
              scale = v_set1(options->scale);
    const v16 epsilon = v_set1(options->epsilon), step = v_set1(options->step_size);
    for (size_t i = 0; i < n; i += LANES) {
        size_t lanes = n - i < LANES ? n - i : LANES;
        v16 g = v_mul(v_load_n(gradient + i, lanes), scale);
        v16 first = v_load_n(m + i, lanes), second = v_load_n(v + i, lanes);
        first = v_add(first, v_mul(lerp, v_sub(g, first)));
        second = v_add(v_mul(second, beta2), v_mul(v_mul(square, g), g));
        v16 denominator = v_add(v_div(v_sqrt(second), root), epsilon);
        v16 w = v_mul(v_load_n(weight + i, lanes), decay);
        w = v_sub(w, v_div(v_mul(step, first), denominator));
        v_store_n(m + i, first, lanes);
        v_store_n(v + i, second, lanes);
        v_store_n(weight + i, w, lanes);
    }
}
