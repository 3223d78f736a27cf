/// Names of devices, as recipes, role configs and command lines write them. common/tensor/device.h
/// opens a device.
#ifndef TR_BASE_DEVICE_NAME_H
#define TR_BASE_DEVICE_NAME_H

#include <stdbool.h>

/// The possible names, for sentences that say what was expected.
#define TR_DEVICE_NAMES "'cpu', 'cuda' or 'cuda:N'"

/// The meaning of every key that bounds a GPU's memory.
#define TR_GPU_MEMORY_HELP "GiB of a GPU that the process may use; null or 0: all that is free."

/// What a device computes in.
typedef enum tr_precision {
    TR_PRECISION_AUTO, ///< bf16 on a GPU, fp32 on a CPU
    TR_PRECISION_BF16, ///< on a CPU of weights and operands of products; the rest is fp32 there
    TR_PRECISION_FP32
} tr_precision_t;

/// "auto", "bf16", "fp32", NULL: by tr_precision_t.
extern const char *const tr_precision_names[];

/// Whether a text names a device: "cpu", "cuda" (the first GPU) or "cuda:N".
bool tr_device_is_name(const char *name);

/// Whether it names a GPU.
bool tr_device_is_gpu(const char *name);

/// The index of the GPU that it names; -1 for "cpu" and for a text that names no device.
long tr_device_index(const char *name);

/// Whether two names are one device: "cuda" is "cuda:0".
bool tr_device_is_same(const char *name, const char *other);

#endif
