/// The table of kernels of one instruction set. CMakeLists.txt compiles this file, and each
/// kernel's, once a form with CPU_FORM set to generic, avx2 or avx512; CPU_NAME appends it to every
/// symbol.
///
/// The prototypes stand here and above each kernel, because kernels.h is also included where no
/// form is compiled.
#include "common/tensor/cpu/kernels.h"

void CPU_NAME(cpu_gemm)(const cpu_gemm_t *gemm);
void CPU_NAME(cpu_attention)(const cpu_attention_t *attention);
void CPU_NAME(cpu_attention_gradient)(const cpu_attention_gradient_t *gradient);
size_t CPU_NAME(cpu_attention_scratch)(size_t longest, size_t dim);
size_t CPU_NAME(cpu_attention_gradient_scratch)(size_t rows, size_t group, size_t dim);
void CPU_NAME(cpu_rmsnorm)(float *y, float *rstd, const float *x, const float *weight, size_t rows,
                           size_t n, float epsilon);
void CPU_NAME(cpu_rmsnorm_dx)(float *dx, const float *dy, const float *x, const float *rstd,
                              const float *weight, size_t rows, size_t n);
void CPU_NAME(cpu_rmsnorm_dweight)(float *dweight, const float *dy, const float *x,
                                   const float *rstd, size_t rows, size_t n, size_t first,
                                   size_t count);
void CPU_NAME(cpu_rope)(float *row, const float *table, size_t heads, size_t dim, bool inverse);
void CPU_NAME(cpu_swiglu)(float *y, const float *gate_up, size_t rows, size_t n);
void CPU_NAME(cpu_swiglu_gradient)(float *dgate_up, const float *dy, const float *gate_up,
                                   size_t rows, size_t n);
void CPU_NAME(cpu_add)(float *y, const float *a, const float *b, size_t n);
void CPU_NAME(cpu_scale)(float *y, const float *x, float factor, size_t n);
float CPU_NAME(cpu_dot)(const float *a, const float *b, size_t n);
void CPU_NAME(cpu_weighted_rows)(float *y, const float *factor, const float *x, size_t stride,
                                 size_t rows, size_t n);
void CPU_NAME(cpu_adamw)(float *weight, float *m, float *v, const float *gradient, size_t n,
                         const tr_adamw_scalars_t *options);
void CPU_NAME(cpu_divide)(float *z, float divisor, size_t n);
cpu_softmax_t CPU_NAME(cpu_softmax)(float *e, const float *z, size_t n);

const cpu_kernels_t CPU_NAME(cpu_kernels) = {
    .name = CPU_FORM_NAME,
#if defined(__AVX512F__)
    // Twice the registers of AVX2, so tiles of twice the rows (gemm.c).
    .block_rows = 12,
#else
    .block_rows = 6,
#endif
    .gemm = CPU_NAME(cpu_gemm),
    .attention = CPU_NAME(cpu_attention),
    .attention_gradient = CPU_NAME(cpu_attention_gradient),
    .attention_scratch = CPU_NAME(cpu_attention_scratch),
    .attention_gradient_scratch = CPU_NAME(cpu_attention_gradient_scratch),
    .rmsnorm = CPU_NAME(cpu_rmsnorm),
    .rmsnorm_dx = CPU_NAME(cpu_rmsnorm_dx),
    .rmsnorm_dweight = CPU_NAME(cpu_rmsnorm_dweight),
    .rope = CPU_NAME(cpu_rope),
    .swiglu = CPU_NAME(cpu_swiglu),
    .swiglu_gradient = CPU_NAME(cpu_swiglu_gradient),
    .add = CPU_NAME(cpu_add),
    .scale = CPU_NAME(cpu_scale),
    .dot = CPU_NAME(cpu_dot),
    .weighted_rows = CPU_NAME(cpu_weighted_rows),
    .adamw = CPU_NAME(cpu_adamw),
    .divide = CPU_NAME(cpu_divide),
    .softmax = CPU_NAME(cpu_softmax),
};
