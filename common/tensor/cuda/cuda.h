/// Inside of the CUDA backend: its state, and the functions that operator files share.
///
/// Files: backend (opening, the table), memory_ops, graph_ops, matmul_ops, layer_ops,
/// attention_ops, attention_gradient, head_ops, sample_ops; head.h is the arithmetic of a row of
/// logits, numbers.h that of elements and lanes. Kernels are templates over the type of tensors
/// marked [real] in backend.h. With float they follow the CPU's chains and reduction shapes to the
/// bit (so -fmad=false, no fast math). With bf16 they load, compute in f32 and round once at the
/// end, in shapes that suit the device and depend on nothing but the row.
#ifndef TR_TENSOR_CUDA_CUDA_H
#define TR_TENSOR_CUDA_CUDA_H

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <type_traits>

extern "C" {
#include "common/tensor/cuda/scratch.h"
#include "common/tensor/device.h"
}

#include "common/tensor/cuda/launch.h"

typedef __nv_bfloat16 bf16;

/// Threads of a block, where a kernel has no reason to take another number.
enum { CUDA_BLOCK = 256 };

struct cuda_products; ///< matmul_ops.cu: the handle of cuBLASLt and the pinned algorithms

typedef struct cuda_backend {
    tr_backend_t base;
    int device;
    char form[16];
    size_t budget;      ///< bytes that may be in use; 0: no limit but the device's
    size_t shared;      ///< most bytes of shared memory that a block may ask for
    bool free_products; ///< see tr_device_options_t
    tr_log_fn *log;     ///< the program's
    struct cuda_products *products;
} cuda_backend_t;

struct tr_buffer {
    cuda_backend_t *backend;
    char *data;
    size_t bytes;
    enum {
        CUDA_OWN,
        CUDA_HOST,
        CUDA_MAPPED
    } kind; ///< CUDA_HOST is pinned host memory, CUDA_MAPPED another process's: not in the budget
};

struct tr_queue {
    cuda_backend_t *backend;
    cudaStream_t stream;
    char *staging; ///< pinned host memory for small writes, so that the source is free at once
    size_t staged; ///< bytes of staging in use since the queue was last waited for
    tr_buffer_t *scratch[CUDA_SLOT_COUNT];
    size_t moves;      ///< how often scratch memory has moved: older graphs are stale
    tr_error_t failed; ///< the first failure since queue_wait
};

/// Where a failure is written (tr_fail) that sticks to the queue, after which operators do nothing;
/// NULL after the first one: those after it are usually its consequences.
static inline tr_error_t *cuda_failure(tr_queue_t *queue)
{
    return queue->failed.status == TR_OK ? &queue->failed : NULL;
}

/// Makes the failure of a call stick. what: a few words for the sentence.
void cuda_check(tr_queue_t *queue, cudaError_t error, const char *what);

/// At least `bytes` of device memory that keeps its place until the slot is asked for more; content
/// undefined. NULL, with the failure stuck to the queue, when there is no memory: the operator must
/// then do nothing.
void *cuda_scratch(tr_queue_t *queue, cuda_slot_t slot, size_t bytes);

/// The tensor's first element on the device; type and place are checked.
void *cuda_data(tr_tensor_t tensor, tr_dtype_t dtype);
static inline float *cuda_f32(tr_tensor_t tensor)
{
    return static_cast<float *>(cuda_data(tensor, TR_F32));
}
static inline int32_t *cuda_i32(tr_tensor_t tensor)
{
    return static_cast<int32_t *>(cuda_data(tensor, TR_I32));
}
template <typename T> struct cuda_type;
template <> struct cuda_type<float> {
    static const tr_dtype_t dtype = TR_F32;
};
template <> struct cuda_type<bf16> {
    static const tr_dtype_t dtype = TR_BF16;
};
template <typename T> static inline T *cuda_real(tr_tensor_t tensor)
{
    return static_cast<T *>(cuda_data(tensor, cuda_type<T>::dtype));
}

/// Calls f(T()) with the C++ type of a real dtype: how operators choose the instance of a kernel.
template <typename F> static inline void cuda_with_type(tr_dtype_t dtype, F f)
{
    if (dtype == TR_BF16) {
        f(bf16());
    } else {
        f(0.0f);
    }
}

/// ceil(n / each)
static inline unsigned cuda_blocks(size_t n, size_t each)
{
    return static_cast<unsigned>((n + each - 1) / each);
}

/// Starts a kernel on the queue, unless the grid is empty or something failed before.
template <typename... P, typename... A>
static inline void cuda_launch(tr_queue_t *queue, dim3 grid, dim3 block, size_t shared,
                               void (*kernel)(P...), A... arguments)
{
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || queue->failed.status != TR_OK) {
        return;
    }
    // More than 48 KiB of dynamic shared memory must be asked for, kernel by kernel.
    if (shared > 48 * 1024) {
        cuda_check(queue,
                   cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                        static_cast<int>(shared)),
                   "shared memory");
    }
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = queue->stream;
    cuda_check(queue, cudaLaunchKernelEx(&config, kernel, static_cast<P>(arguments)...),
               "starting a kernel");
}

// matmul_ops.cu
tr_status cuda_products_new(struct cuda_products **products, tr_error_t *err);
void cuda_products_destroy(struct cuda_products **products);
/// y: [rows, n] of y_dtype = x W^T; x: [rows, k], weight: [n, k], both [real]. For operators that
/// use memory of their own.
void cuda_product(tr_queue_t *queue, void *y, tr_dtype_t y_dtype, const void *x, tr_tensor_t weight,
                  size_t rows);
/// dx: [rows, k] = dy W; dy: [rows, n], both [real].
void cuda_input_gradient(tr_queue_t *queue, void *dx, const void *dy, tr_tensor_t weight,
                         size_t rows);
/// dw: f32 [n, k] += dy^T x over rows; dy: [rows, n], x: [rows, k], both of dtype.
void cuda_weight_gradient(tr_queue_t *queue, float *dw, const void *dy, const void *x,
                          tr_dtype_t dtype, size_t rows, size_t n, size_t k);

// The operators; contracts and types in backend.h.
#define CUDA_DECLARE(name) std::remove_pointer<decltype(tr_ops_t::name)>::type cuda_##name;
TR_OPERATORS(CUDA_DECLARE)
CUDA_DECLARE(buffer_new_host)
CUDA_DECLARE(buffer_export)
CUDA_DECLARE(buffer_import)
CUDA_DECLARE(graph_begin)
CUDA_DECLARE(graph_end)
CUDA_DECLARE(graph_run)
CUDA_DECLARE(graph_destroy)
CUDA_DECLARE(stream)
#undef CUDA_DECLARE

#endif
