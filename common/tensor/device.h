/// Which device a role computes on: the CPU, or a GPU whose module is loaded only when a GPU is
/// asked for.
///
/// Linking CUDA and cuBLAS costs every process 50 ms and 220 MB, and a machine without a driver has
/// neither. So the CUDA backend is a module, troupe-cuda.so beside the programs (the environment's
/// TROUPE_CUDA_MODULE names another), loaded when a GPU is first opened or listed. The module
/// exports the two functions at the end of this file.
#ifndef TR_TENSOR_DEVICE_H
#define TR_TENSOR_DEVICE_H

#include "common/base/device_name.h"
#include "common/base/log.h"
#include "common/tensor/backend.h"

typedef struct tr_device_options {
    const char *device; ///< "cpu", "cuda" (the first GPU), "cuda:1", ...; NULL is "cpu"
    tr_precision_t precision;
    size_t threads; ///< of the CPU, as tr_pool_new
    size_t memory;  ///< bytes of the device that may be used; 0: all that is free
    /// For a GPU in bf16: let cuBLASLt take an algorithm for each number of rows instead of the
    /// pinned one. It breaks the promise that a rollout's log-probabilities are the trainer's, and
    /// exists to measure what the promise costs (bench/gpu.c).
    bool free_products;
} tr_device_options_t;

typedef struct tr_device_info {
    char name[16];          ///< "cuda:0"
    char model[256];        ///< "NVIDIA H100 80GB HBM3"
    char form[16];          ///< "sm_90"
    size_t memory;          ///< bytes
    size_t free;            ///< bytes, now
    size_t multiprocessors; ///< of a GPU
} tr_device_info_t;

/// Opens a device. TR_ERR_ARGUMENT for a text that names no device; TR_ERR_UNSUPPORTED, with a
/// sentence that gives the cause, where this build has no module, or the machine no driver or no
/// such GPU.
tr_status tr_backend_open(tr_backend_t **backend, const tr_device_options_t *options,
                          tr_error_t *err);

/// A device that computes nothing: its buffers have an address and no memory, its operators take
/// the memory that they keep for themselves and do nothing else, and both are counted (backend.h,
/// memory). Code that runs on a backend runs on this one as it is, in microseconds, and the memory
/// that it takes can be read off. So `troupe check` knows the memory of a run (deploy/memory.h), as
/// ggml knows that of a graph. A dry CPU is the CPU's own backend, told to; a GPU need not be
/// there. Of the options are read device, precision and threads (of the CPU). What is read from
/// it is left as it was. Fails as tr_backend_open_cpu does.
tr_status tr_backend_open_dry(tr_backend_t **backend, const tr_device_options_t *options,
                              tr_error_t *err);

/// One of tr_precision_names. TR_ERR_ARGUMENT for another word.
tr_status tr_precision_parse(tr_precision_t *precision, const char *name, tr_error_t *err);

/// The type of the weights on such a device, and of activations on a GPU.
static inline tr_dtype_t tr_precision_type(tr_precision_t precision, bool gpu)
{
    return precision == TR_PRECISION_BF16 || (precision == TR_PRECISION_AUTO && gpu) ? TR_BF16
                                                                                     : TR_F32;
}

/// The GPUs that this process may use: at most `limit` of them, *count written. Fails as
/// tr_backend_open does.
tr_status tr_device_list(tr_device_info_t *devices, size_t limit, size_t *count, tr_error_t *err);

/// The module's two functions, under these names. The module logs through the function that the
/// program passes in.
typedef void tr_log_fn(tr_log_level_t level, const char *subsystem, const char *format, ...);
typedef tr_status tr_cuda_open_fn(tr_backend_t **backend, const tr_device_options_t *options,
                                  size_t index, tr_log_fn *log, tr_error_t *err);
typedef tr_status tr_cuda_list_fn(tr_device_info_t *devices, size_t limit, size_t *count,
                                  tr_error_t *err);
#define TR_CUDA_OPEN "troupe_cuda_open"
#define TR_CUDA_LIST "troupe_cuda_list"

#endif
