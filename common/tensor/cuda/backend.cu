/// Opening a GPU, listing GPUs, the operator table, and how failures stick to a queue.
///
/// The two exported functions are the module's whole interface (common/tensor/device.h). CUDA's
/// errors become sentences here: a machine without a driver, a GPU that is too old, one with too
/// little memory free. cudaGetLastError is called after each failure, because CUDA keeps an error
/// until it is read.
#include "common/tensor/cuda/cuda.h"

#include <cstdio>
#include <cstdlib>

void cuda_close(tr_backend_t *backend)
{
    cuda_backend_t *self = reinterpret_cast<cuda_backend_t *>(backend);
    cuda_products_destroy(&self->products);
    // Buffers and queues are their owners' to destroy, before this.
    free(self);
}

/// A function, as C++17 has no designated initialisers. pack and packed_count stay NULL: weights
/// are used as they are stored.
static tr_ops_t make_table(void)
{
    tr_ops_t ops = {};
    ops.name = "cuda";
#define ROW(name) ops.name = cuda_##name;
    TR_OPERATORS(ROW)
    ROW(buffer_new_host)
    ROW(buffer_export)
    ROW(buffer_import)
    ROW(graph_begin)
    ROW(graph_end)
    ROW(graph_run)
    ROW(graph_destroy)
    ROW(stream)
#undef ROW
    return ops;
}

static const tr_ops_t cuda_ops = make_table();

/// The number of GPUs. A machine without a driver or a GPU gets a sentence of its own, the most
/// common case.
static tr_status count_devices(int *count, tr_error_t *err)
{
    cudaError_t error = cudaGetDeviceCount(count);
    // cudaGetDeviceCount fails where there is no driver, and may also succeed with 0.
    if (error != cudaSuccess || *count == 0) {
        (void)cudaGetLastError();
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "this machine shows no GPU (%s): install NVIDIA's driver, or say "
                       "'device: cpu'",
                       error != cudaSuccess ? cudaGetErrorString(error) : "the driver lists none");
    }
    return TR_OK;
}

/// The status and sentence of a failed call.
static tr_status check_call(cudaError_t error, const char *what, tr_error_t *err)
{
    if (error == cudaSuccess) {
        return TR_OK;
    }
    (void)cudaGetLastError();
    return tr_fail(err, error == cudaErrorMemoryAllocation ? TR_ERR_MEMORY : TR_ERR_UNSUPPORTED,
                   "%s: %s", what, cudaGetErrorString(error));
}

static tr_status describe(tr_device_info_t *info, int device, tr_error_t *err)
{
    cudaDeviceProp properties;
    size_t total = 0;
    TR_TRY(check_call(cudaGetDeviceProperties(&properties, device),
                      "cannot query a GPU's properties", err));
    // Names are for people: cuda:0 as recipes say it, the product, and the architecture.
    *info = {};
    snprintf(info->name, sizeof info->name, "cuda:%d", device);
    snprintf(info->model, sizeof info->model, "%s", properties.name);
    snprintf(info->form, sizeof info->form, "sm_%d%d", properties.major, properties.minor);
    info->multiprocessors = static_cast<size_t>(properties.multiProcessorCount);
    // Free memory can only be asked for in a context, so this creates one on the GPU.
    TR_TRY(check_call(cudaSetDevice(device), "cannot select a GPU", err));
    TR_TRY(check_call(cudaMemGetInfo(&info->free, &total), "cannot query a GPU's memory", err));
    info->memory = total;
    return TR_OK;
}

extern "C" __attribute__((visibility("default"))) tr_status
troupe_cuda_list(tr_device_info_t *devices, size_t limit, size_t *count, tr_error_t *err)
{
    int found = 0;
    TR_TRY(count_devices(&found, err));
    *count = 0;
    // Numbered as the driver does under CUDA_VISIBLE_DEVICES, which is how the recipe counts too.
    while (*count < limit && *count < static_cast<size_t>(found)) {
        TR_TRY(describe(&devices[*count], static_cast<int>(*count), err));
        ++*count;
    }
    return TR_OK;
}

/// Compute capability 8.0 is the least that the kernels need: bf16 on tensor cores begins there.
static tr_status check_capability(const tr_device_info_t *info, tr_error_t *err)
{
    // "sm_90": the digits after the underscore.
    int version = atoi(info->form + 3);
    if (version < 80) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "%s is a %s of %s; sm_80 or newer is needed: say 'device: cpu'", info->name,
                       info->model, info->form);
    }
    return TR_OK;
}

/// Fills self. The role's memory is checked against what is free now, so that a role that cannot
/// fit fails at once and not hours later at its first large batch.
static tr_status open_device(cuda_backend_t *self, const tr_device_options_t *options,
                             tr_error_t *err)
{
    tr_device_info_t info;
    int shared = 0;
    TR_TRY(describe(&info, self->device, err));
    TR_TRY(check_capability(&info, err));
    if (options->memory > info.free) {
        return tr_fail(err, TR_ERR_MEMORY,
                       "%s has %zu MiB free of %zu; %zu MiB were asked for: lower the role's "
                       "'memory', or end what else uses the GPU",
                       info.name, info.free >> 20, info.memory >> 20, options->memory >> 20);
    }
    // 227 KiB on sm_90, 163 KiB on sm_80: attention chooses its tiles by it, and its gradient
    // refuses heads whose tiles do not fit.
    TR_TRY(check_call(
        cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, self->device),
        "cannot query a GPU's shared memory", err));
    self->shared = static_cast<size_t>(shared);
    self->budget = options->memory;
    self->free_products = options->free_products;
    snprintf(self->form, sizeof self->form, "%s", info.form);
    self->base.ops = &cuda_ops;
    self->base.real = self->base.weights = tr_precision_type(options->precision, true);
    self->base.form = self->form;
    // cuBLASLt last: its handle is the only thing that cuda_close has to release.
    return cuda_products_new(&self->products, err);
}

extern "C" __attribute__((visibility("default"))) tr_status
troupe_cuda_open(tr_backend_t **backend, const tr_device_options_t *options, size_t index,
                 tr_log_fn *log, tr_error_t *err)
{
    int found = 0;
    TR_TRY(count_devices(&found, err));
    // A recipe may name a GPU that this machine, or CUDA_VISIBLE_DEVICES, does not have.
    if (index >= static_cast<size_t>(found)) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "there is no cuda:%zu: this machine shows %d GPU(s), from cuda:0", index,
                       found);
    }
    // The device is opened after this, so that a failure has one place to free.
    cuda_backend_t *self = static_cast<cuda_backend_t *>(tr_calloc(1, sizeof *self));
    self->device = static_cast<int>(index);
    self->log = log;
    tr_status status = open_device(self, options, err);
    if (status != TR_OK) {
        free(self);
        return status;
    }
    *backend = &self->base;
    return TR_OK;
}

/// Kernels are enqueued, so a failed call may report what an earlier kernel did; the words say only
/// what was being done when it showed.
void cuda_check(tr_queue_t *queue, cudaError_t error, const char *what)
{
    if (error != cudaSuccess) {
        (void)cudaGetLastError();
        (void)tr_fail(cuda_failure(queue),
                      error == cudaErrorMemoryAllocation ? TR_ERR_MEMORY : TR_ERR_UNSUPPORTED,
                      "the GPU failed (%s): %s", what, cudaGetErrorString(error));
    }
}
