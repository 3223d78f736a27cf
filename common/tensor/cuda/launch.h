/// How kernels find their dynamic shared memory, the one construct of CUDA's language that the
/// emulator in tests/gpu/emulator must replace by another header.
#ifndef TR_TENSOR_CUDA_LAUNCH_H
#define TR_TENSOR_CUDA_LAUNCH_H

#include <cuda_runtime.h>

/// Declares `type *name`, the block's dynamic shared memory, 128-byte aligned.
#define CUDA_DYNAMIC_SHARED(type, name)                          \
    extern __shared__ __align__(128) char cuda_dynamic_shared[]; \
    type *name = reinterpret_cast<type *>(cuda_dynamic_shared)

#endif
