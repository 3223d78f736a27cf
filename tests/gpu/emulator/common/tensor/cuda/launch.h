/// Replaces the backend's own launch.h where the emulator is compiled: this folder comes first in
/// the include path.
#ifndef TESTS_GPU_EMULATOR_LAUNCH_H
#define TESTS_GPU_EMULATOR_LAUNCH_H

#include <cuda_runtime.h>

#define CUDA_DYNAMIC_SHARED(type, name) type *name = static_cast<type *>(emulator_shared())

#endif
