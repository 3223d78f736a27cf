/// The table of kernels of one instruction set. CMakeLists.txt compiles this file, and each
/// kernel's, once a form with CPU_FORM set to generic, avx2 or avx512; CPU_NAME appends it to every
/// symbol.
#include "common/tensor/cpu/kernels.h"

// clang-format off
const cpu_kernels_t CPU_NAME(cpu_kernels) = {
    .name = CPU_FORM_NAME,
    .block_rows = CPU_BLOCK_ROWS,
#define ROW(name) .name = CPU_NAME(cpu_##name),
    CPU_KERNELS(ROW)
#undef ROW
};
// clang-format on
