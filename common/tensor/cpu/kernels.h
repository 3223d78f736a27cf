/// The table of kernels: one thread's share of each operator on plain pointers. One table a form
/// (generic, avx2, avx512, avx512bf16, amx), all with the same bits. The operators around it
/// (*_ops.c) check shapes, split work and own scratch memory.
#ifndef TR_TENSOR_CPU_KERNELS_H
#define TR_TENSOR_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/tensor/adamw.h"
#include "common/tensor/backend.h"

enum {
    CPU_PANEL = 32,     ///< columns of a packed panel
    CPU_PAIR_BLOCK = 16 ///< pairs of bf16 in a block of a chain (gemm_pairs.c)
};

/// How a product meets its destination: y = product, y = y + product, or the chain starts at y.
typedef enum cpu_gemm_mode { CPU_WRITE, CPU_ADD, CPU_CONTINUE } cpu_gemm_mode_t;

/// y: [rows, columns] from a: (row, k) and b: panels [ceil(columns / 32)][k][32], each with 32
/// columns to read. Each element is one chain of fused multiply-adds over k ascending.
///
/// With `pairs` an element of a or b is a pair of bf16, which is as large as a float: k counts
/// pairs, whose chain is one of blocks (gemm_pairs.c); a_k is 1 and a_block 0. Elements are only
/// moved and loaded, so packing and splitting need not know which they are.
typedef struct cpu_gemm {
    float *y;
    size_t y_stride;
    const float *a;
    size_t a_row;   ///< distance of two rows of a
    size_t a_k;     ///< distance of two k
    size_t a_block; ///< 0, or: rows come in blocks of the table's block_rows, this far apart
    const float *b;
    size_t b_k;     ///< distance of two k of b, 32 or more
    size_t b_panel; ///< distance of two panels
    size_t rows;
    size_t columns;
    size_t k;
    cpu_gemm_mode_t mode;
    bool pairs;
} cpu_gemm_t;

/// The first key that a query at `position` sees.
static inline size_t cpu_first_key(size_t position, size_t window)
{
    return window > 0 && position >= window ? position + 1 - window : 0;
}

/// A slice of one sequence's queries for one key-value head.
typedef struct cpu_attention {
    float *out;               ///< first row's first head of this group
    float *lse;               ///< likewise
    const float *query;       ///< likewise
    size_t out_stride;        ///< Hq * D
    size_t lse_stride;        ///< Hq
    size_t query_stride;      ///< (Hq + 2 Hk) * D
    const int32_t *positions; ///< [rows], ascending
    size_t rows;
    size_t group;  ///< query heads of this key-value head
    size_t dim;    ///< D
    size_t window; ///< as in tr_heads_t; so are the next two
    float scale;   ///< never 0
    float cap;
    const int32_t *pages; ///< of this sequence
    const float *keys;    ///< this head's [D][16] of page 0
    const float *values;  ///< this head's [16][D] of page 0
    size_t page_stride;   ///< Hk * D * 16
    size_t longest;       ///< greatest position + 1
    float *scratch;       ///< attention_scratch floats
} cpu_attention_t;

/// One whole sequence and one key-value head; pointers are to the first row's first head of the
/// group.
typedef struct cpu_attention_gradient {
    float *dquery, *dkey, *dvalue;
    const float *query, *key, *value; ///< rows of qkv, stride as below
    size_t stride;                    ///< (Hq + 2 Hk) * D, of the six above
    const float *out, *dout;
    size_t out_stride;
    const float *lse;
    size_t lse_stride;
    size_t rows;
    size_t group;
    size_t dim;
    size_t window;
    float scale, cap;
    float *scratch; ///< attention_gradient_scratch floats
} cpu_attention_gradient_t;

/// Some rows of one sequence through the convolution.
typedef struct cpu_convolution {
    float *y;            ///< [rows, channels]; of the gradient: d
    const float *x;      ///< [rows], x_stride apart
    float *dx;           ///< likewise, dx_stride apart
    float *dweight;      ///< [channels, taps]
    const float *weight; ///< likewise
    float *kept;         ///< [taps - 1, channels], or NULL: nothing is kept
    size_t x_stride, dx_stride;
    size_t rows, channels, taps;
    bool fresh; ///< the first row is at position 0
} cpu_convolution_t;

/// Some rows of one sequence and one value head; pointers are to its first row's part.
typedef struct cpu_delta {
    float *out;
    const float *query, *key, *value; ///< rows of qkv
    const float *decay, *beta;        ///< gate_stride apart
    float *state;                     ///< [key_dim, value_dim], or NULL: nothing is kept
    size_t out_stride, stride, gate_stride;
    size_t rows, key_dim, value_dim;
    bool fresh;     ///< the first row is at position 0
    float *scratch; ///< delta_scratch floats
} cpu_delta_t;

/// One whole sequence and one value head.
typedef struct cpu_delta_gradient {
    float *dquery, *dkey, *dvalue;
    float *ddecay, *dbeta;
    const float *query, *key, *value; ///< stride apart, as the first three
    const float *decay, *beta;        ///< gate_stride apart, as their gradients
    const float *dout;                ///< out_stride apart
    size_t out_stride, stride, gate_stride;
    size_t rows, key_dim, value_dim;
    bool continues; ///< dquery and dkey have those of the value heads before
    float *scratch; ///< delta_gradient_scratch floats
} cpu_delta_gradient_t;

/// Statistics of one row of logits z: [n].
typedef struct cpu_softmax {
    float max;
    float sum;     ///< of e^(z - max)
    float log_sum; ///< its logarithm
    float entropy; ///< log_sum - sum(e * (z - max)) / sum
    float mean;    ///< of z
    float squares; ///< sum of e^2(z - max)
} cpu_softmax_t;

typedef struct cpu_kernels {
    const char *name;
    size_t block_rows; ///< rows of the widest tile

    void (*gemm)(const cpu_gemm_t *gemm);
    void (*gemm_pairs)(const cpu_gemm_t *gemm);
    void (*attention)(const cpu_attention_t *attention);
    void (*attention_gradient)(const cpu_attention_gradient_t *gradient);
    size_t (*attention_scratch)(size_t longest, size_t dim); ///< floats
    size_t (*attention_gradient_scratch)(size_t rows, size_t group, size_t dim);

    void (*rmsnorm)(float *y, float *rstd, const float *x, const float *weight, size_t rows,
                    size_t n, float epsilon, float offset);
    /// dx += the gradient, or with `replaces`, where dx may be dy: dx = it.
    void (*rmsnorm_dx)(float *dx, const float *dy, const float *x, const float *rstd,
                       const float *weight, size_t rows, size_t n, float offset, bool replaces);
    /// Columns first..first+count-1 of dweight: a chain over all rows.
    void (*rmsnorm_dweight)(float *dweight, const float *dy, const float *x, const float *rstd,
                            size_t rows, size_t n, size_t first, size_t count);
    /// weight: [2n], the second half being biases. mean, rstd: [rows].
    void (*layernorm)(float *y, float *mean, float *rstd, const float *x, const float *weight,
                      size_t rows, size_t n, float epsilon);
    /// dx += the gradient.
    void (*layernorm_dx)(float *dx, const float *dy, const float *x, const float *mean,
                         const float *rstd, const float *weight, size_t rows, size_t n);
    /// Columns first..first+count-1 of both halves of dweight: a chain each over all rows.
    void (*layernorm_dweight)(float *dweight, const float *dy, const float *x, const float *mean,
                              const float *rstd, size_t rows, size_t n, size_t first, size_t count);
    /// Rotates the first `rotary` elements of each of the first `heads` heads of the row.
    void (*rope)(float *row, const float *table, size_t heads, size_t dim, size_t rotary,
                 bool inverse);
    void (*swiglu)(float *y, const float *gate_up, size_t rows, size_t n);
    void (*swiglu_gradient)(float *dgate_up, const float *dy, const float *gate_up, size_t rows,
                            size_t n);
    void (*swiglu_clamped)(float *y, const float *gate_up, size_t rows, size_t n,
                           tr_swiglu_t options);
    void (*swiglu_clamped_gradient)(float *dgate_up, const float *dy, const float *gate_up,
                                    size_t rows, size_t n, tr_swiglu_t options);
    // Of a row: out: [heads * dim], lse, sinks and dsinks: [heads].
    void (*sink)(float *out, float *lse, const float *sinks, size_t heads, size_t dim);
    void (*sink_gradient)(float *dsinks, const float *dout, const float *out, const float *lse,
                          const float *sinks, size_t heads, size_t dim);
    void (*geglu)(float *y, const float *gate_up, size_t rows, size_t n);
    void (*geglu_gradient)(float *dgate_up, const float *dy, const float *gate_up, size_t rows,
                           size_t n);
    /// y[i] = x[i] f(gate[i]), and its gradients.
    void (*gate)(float *y, const float *x, const float *gate, size_t n, bool silu);
    void (*gate_gradient)(float *dx, float *dgate, const float *dy, const float *x,
                          const float *gate, size_t n, bool silu);
    /// Channels first..first+count-1.
    void (*convolution)(const cpu_convolution_t *c, size_t first, size_t count);
    void (*convolution_gradient)(const cpu_convolution_t *c, size_t first, size_t count);
    /// decay, beta, a, b: one row, n value heads.
    void (*delta_gates)(float *decay, float *beta, const float *a, const float *b,
                        const float *scale, const float *shift, size_t n);
    /// dscale and dshift have this row's part added.
    void (*delta_gates_gradient)(float *da, float *db, float *dscale, float *dshift,
                                 const float *ddecay, const float *dbeta, const float *a,
                                 const float *b, const float *scale, const float *shift, size_t n);
    void (*delta)(const cpu_delta_t *delta);
    void (*delta_gradient)(const cpu_delta_gradient_t *gradient);
    size_t (*delta_scratch)(size_t key_dim); ///< floats
    size_t (*delta_gradient_scratch)(size_t rows, size_t key_dim, size_t value_dim);
    /// to: [n] bf16, x rounded to nearest even.
    void (*narrow)(uint16_t *to, const float *x, size_t n);
    void (*widen)(float *to, const uint16_t *x, size_t n);
    /// to: [n] pairs, of which a is the first; b NULL: zeros.
    void (*narrow_pairs)(uint32_t *to, const float *a, const float *b, size_t n);
    /// to: [columns] rows that lie to_stride apart, the columns of from: [rows, columns].
    void (*turn_pairs)(uint32_t *to, size_t to_stride, const uint32_t *from, size_t from_stride,
                       size_t rows, size_t columns);
    void (*gelu)(float *y, const float *x, size_t n, bool exact);
    void (*gelu_gradient)(float *dx, const float *dy, const float *x, size_t n, bool exact);
    void (*add)(float *y, const float *a, const float *b, size_t n);
    void (*scale)(float *y, const float *x, float factor, size_t n);
    float (*dot)(const float *a, const float *b, size_t n);
    /// y[i] = chain over rows of factor[r] * x[r][i], starting at y[i].
    void (*weighted_rows)(float *y, const float *factor, const float *x, size_t stride, size_t rows,
                          size_t n);
    void (*adamw)(float *weight, float *m, float *v, const float *gradient, size_t n,
                  const tr_adamw_scalars_t *options);

    /// z: [n] becomes cap tanh(z / cap).
    void (*cap)(float *z, float cap, size_t n);
    /// z: [n] divided in place.
    void (*divide)(float *z, float divisor, size_t n);
    /// Statistics of z: [n]; e: [n], written with e^(z - max) unless NULL (it may be z).
    cpu_softmax_t (*softmax)(float *e, const float *z, size_t n);
} cpu_kernels_t;

extern const cpu_kernels_t cpu_kernels_generic;
extern const cpu_kernels_t cpu_kernels_avx2;
extern const cpu_kernels_t cpu_kernels_avx512;
extern const cpu_kernels_t cpu_kernels_avx512bf16;
extern const cpu_kernels_t cpu_kernels_amx;

/// A matrix seen as b of a product, from memory: the distance of two outputs of the product (its
/// columns) and of two elements of its chain. One of the two is 1.
typedef struct cpu_stored {
    const void *data; ///< f32, or bf16; NULL: the product has its panels already
    size_t output_step, chain_step;
    size_t bf16; ///< 0: it is f32; else how many elements its chain has, which are packed in pairs
} cpu_stored_t;

/// Packs outputs 0..outputs-1 into panels: [ceil(outputs / 32)][chain][32], the last one filled up
/// with zeros (matmul_ops.c); chain counts pairs of bf16. By the calling thread.
void cpu_pack_panels(float *to, const cpu_stored_t *from, size_t outputs, size_t chain);

static inline size_t cpu_round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

#define CPU_JOIN_(a, b) a##_##b
#define CPU_JOIN(a, b) CPU_JOIN_(a, b)
/// A kernel's symbol in the form being compiled.
#define CPU_NAME(name) CPU_JOIN(name, CPU_FORM)

/// The names of the functions above: a new kernel is a member of cpu_kernels_t, a name here, and a
/// function that is compiled for each form.
// clang-format off
#define CPU_KERNELS(X)                                                                             \
    X(gemm) X(gemm_pairs) X(attention) X(attention_gradient) X(attention_scratch)                  \
    X(attention_gradient_scratch) X(rmsnorm) X(rmsnorm_dx) X(rmsnorm_dweight) X(rope) X(swiglu)    \
    X(swiglu_gradient) X(swiglu_clamped) X(swiglu_clamped_gradient) X(sink) X(sink_gradient)       \
    X(geglu) X(geglu_gradient) X(narrow) X(widen) X(narrow_pairs) X(turn_pairs) X(add) X(scale)    \
    X(dot) X(weighted_rows) X(adamw) X(cap) X(divide) X(softmax) X(gate) X(gate_gradient)          \
    X(convolution) X(convolution_gradient) X(delta_gates) X(delta_gates_gradient) X(delta)         \
    X(delta_gradient) X(delta_scratch) X(delta_gradient_scratch) X(layernorm) X(layernorm_dx)      \
    X(layernorm_dweight) X(gelu) X(gelu_gradient)
// clang-format on

// Where a form is compiled: its kernels, with the types that the table gives them.
#if defined(CPU_FORM)
#if defined(__AVX512F__)
enum { CPU_BLOCK_ROWS = 12 }; ///< of the widest tile: its sums fill the registers (gemm.c)
#else
enum { CPU_BLOCK_ROWS = 6 };
#endif
#define CPU_DECLARE_KERNEL(name) __typeof__(*((cpu_kernels_t *)0)->name) CPU_NAME(cpu_##name);
CPU_KERNELS(CPU_DECLARE_KERNEL)
#undef CPU_DECLARE_KERNEL
#endif

#endif
