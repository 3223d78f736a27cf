/// Buffers within the role's budget, queues, copies and casts.
///
/// A queue is a stream of its own with pinned staging memory and scratch memory. Everything
/// enqueued in it runs in order, so operators need no synchronisation between each other; the host
/// waits only in queue_wait, for large writes, and where memory is freed.
#include <cstdlib>
#include <cstring>

#include "common/tensor/cuda/numbers.h"

enum {
    STAGING = 4 << 20,     // bytes of a queue's pinned memory for small writes
    STAGED_MOST = 1 << 20, // bytes of the largest write that goes through it
};

/// TR_ERR_MEMORY with the numbers that tell whether the budget, this process or another one is the
/// cause.
static tr_status out_of_memory(const cuda_backend_t *self, size_t bytes, tr_error_t *err)
{
    size_t free = 0, total = 0;
    (void)cudaGetLastError();
    (void)cudaMemGetInfo(&free, &total);
    return tr_fail(err, TR_ERR_MEMORY,
                   "cannot allocate %zu MiB on cuda:%d: %zu MiB are in use here, the "
                   "budget is %zu MiB (0: none), and the GPU has %zu of %zu MiB free",
                   bytes >> 20, self->device, self->base.memory.now >> 20, self->budget >> 20,
                   free >> 20, total >> 20);
}

/// The budget is checked here and not by the device: several roles may share a GPU, each with its
/// own.
tr_status cuda_buffer_new(tr_backend_t *backend, tr_buffer_t **buffer, size_t bytes,
                          tr_error_t *err)
{
    cuda_backend_t *self = reinterpret_cast<cuda_backend_t *>(backend);
    *buffer = NULL;
    void *data = NULL;
    // Without overflow: now + bytes could wrap.
    if (self->budget != 0 &&
        (bytes > self->budget || self->base.memory.now > self->budget - bytes)) {
        return out_of_memory(self, bytes, err);
    }
    // The device is a property of the calling thread, and a role may have several threads. A buffer
    // of no bytes has an address too.
    if (cudaSetDevice(self->device) != cudaSuccess ||
        cudaMalloc(&data, bytes > 0 ? bytes : 1) != cudaSuccess) {
        return out_of_memory(self, bytes, err);
    }
    // Queues are streams that do not synchronise with the default stream, so the zeros must be
    // there before the buffer is handed out.
    cudaError_t error = cudaMemsetAsync(data, 0, bytes, NULL);
    if (error == cudaSuccess) {
        error = cudaStreamSynchronize(NULL);
    }
    if (error != cudaSuccess) {
        (void)cudaFree(data);
        return tr_fail(err, TR_ERR_MEMORY, "cannot zero a new buffer on the GPU: %s",
                       cudaGetErrorString(error));
    }
    *buffer = static_cast<tr_buffer_t *>(tr_alloc(sizeof **buffer));
    **buffer = {self, static_cast<char *>(data), bytes, tr_buffer_t::CUDA_OWN};
    tr_memory_take(&self->base.memory, bytes);
    return TR_OK;
}

/// Pinned, so that kernels can read and write it over the bus: the moments of an optimizer with
/// offload, which are touched once a step. Not in the budget, which is of the device.
tr_status cuda_buffer_new_host(tr_backend_t *backend, tr_buffer_t **buffer, size_t bytes,
                               tr_error_t *err)
{
    cuda_backend_t *self = reinterpret_cast<cuda_backend_t *>(backend);
    void *data = NULL;
    *buffer = NULL;
    if (cudaSetDevice(self->device) != cudaSuccess ||
        cudaHostAlloc(&data, bytes > 0 ? bytes : 1, cudaHostAllocDefault) != cudaSuccess) {
        (void)cudaGetLastError();
        return tr_fail(err, TR_ERR_MEMORY, "cannot allocate %zu MiB of pinned host memory",
                       bytes >> 20);
    }
    // Zeroed by the host: it is the host's memory.
    memset(data, 0, bytes);
    *buffer = static_cast<tr_buffer_t *>(tr_alloc(sizeof **buffer));
    **buffer = {self, static_cast<char *>(data), bytes, tr_buffer_t::CUDA_HOST};
    return TR_OK;
}

void cuda_buffer_destroy(tr_buffer_t **buffer)
{
    tr_buffer_t *self = *buffer;
    // Also called for scratch memory that was never asked for.
    if (self == NULL) {
        return;
    }
    (void)cudaSetDevice(self->backend->device);
    // No kernel may still use the memory: cudaFree waits for all of them, the other two calls need
    // not.
    if (self->kind == tr_buffer_t::CUDA_OWN) {
        (void)cudaFree(self->data);
        self->backend->base.memory.now -= self->bytes;
    } else {
        (void)cudaDeviceSynchronize();
        // A mapped buffer is closed, not freed: it belongs to the process that exported it.
        (void)(self->kind == tr_buffer_t::CUDA_HOST ? cudaFreeHost(self->data)
                                                    : cudaIpcCloseMemHandle(self->data));
    }
    free(self);
    *buffer = NULL;
}

/// The GPU's PCI bus id, which means the same GPU in every process; a device number depends on
/// CUDA_VISIBLE_DEVICES.
static cudaError_t bus_id(char (&place)[32], int device)
{
    memset(place, 0, sizeof place);
    return cudaDeviceGetPCIBusId(place, sizeof place, device);
}

/// The handle names the whole allocation; `place` tells the importer on which GPU it lies.
tr_status cuda_buffer_export(tr_device_memory_t *memory, const tr_buffer_t *buffer, tr_error_t *err)
{
    cudaIpcMemHandle_t handle;
    static_assert(sizeof handle == sizeof memory->handle, "a handle is 64 bytes");
    cudaError_t error = cudaIpcGetMemHandle(&handle, buffer->data);
    if (error == cudaSuccess) {
        error = bus_id(memory->place, buffer->backend->device);
    }
    if (error != cudaSuccess) {
        (void)cudaGetLastError();
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "memory of the GPU cannot be shared with other processes (%s): say "
                       "'roles.rollout.weights: host'",
                       cudaGetErrorString(error));
    }
    memcpy(memory->handle, &handle, sizeof handle);
    return TR_OK;
}

tr_status cuda_buffer_import(tr_backend_t *backend, tr_buffer_t **buffer,
                             const tr_device_memory_t *memory, size_t bytes, bool *here,
                             tr_error_t *err)
{
    cuda_backend_t *self = reinterpret_cast<cuda_backend_t *>(backend);
    cudaIpcMemHandle_t handle;
    char place[32];
    void *data = NULL;
    *buffer = NULL;
    memcpy(&handle, memory->handle, sizeof handle);
    // LazyEnablePeerAccess: the memory may lie on another GPU of the machine; the caller then
    // copies it once, since `here` is false.
    cudaError_t error = cudaSetDevice(self->device);
    if (error == cudaSuccess) {
        error = bus_id(place, self->device);
    }
    if (error == cudaSuccess) {
        error = cudaIpcOpenMemHandle(&data, handle, cudaIpcMemLazyEnablePeerAccess);
    }
    if (error != cudaSuccess) {
        (void)cudaGetLastError();
        return tr_fail(err, TR_ERR_PEER,
                       "the weights on the GPU %.31s cannot be mapped (%s): did their process end? "
                       "Where GPUs do not reach each other say 'roles.rollout.weights: host'",
                       memory->place, cudaGetErrorString(error));
    }
    // Another GPU's memory can be mapped, but each kernel would fetch it over the link.
    *here = strncmp(place, memory->place, sizeof place) == 0;
    *buffer = static_cast<tr_buffer_t *>(tr_alloc(sizeof **buffer));
    **buffer = {self, static_cast<char *>(data), bytes, tr_buffer_t::CUDA_MAPPED};
    return TR_OK;
}

tr_status cuda_queue_new(tr_backend_t *backend, tr_queue_t **queue, tr_error_t *err)
{
    tr_queue_t *self = static_cast<tr_queue_t *>(tr_calloc(1, sizeof *self));
    void *staging = NULL;
    // NonBlocking: not ordered with the default stream, in which buffers are zeroed.
    self->backend = reinterpret_cast<cuda_backend_t *>(backend);
    cudaError_t error = cudaSetDevice(self->backend->device);
    if (error == cudaSuccess) {
        error = cudaStreamCreateWithFlags(&self->stream, cudaStreamNonBlocking);
    }
    if (error == cudaSuccess) {
        error = cudaHostAlloc(&staging, STAGING, cudaHostAllocDefault);
    }
    if (error != cudaSuccess) {
        (void)cudaGetLastError();
        if (self->stream != NULL) {
            (void)cudaStreamDestroy(self->stream);
        }
        free(self);
        return tr_fail(err, TR_ERR_MEMORY, "a queue on the GPU: %s", cudaGetErrorString(error));
    }
    self->staging = static_cast<char *>(staging);
    *queue = self;
    return TR_OK;
}

void cuda_queue_destroy(tr_queue_t **queue)
{
    tr_queue_t *self = *queue;
    if (self == NULL) {
        return;
    }
    // Kernels may still use scratch and staging memory.
    (void)cudaStreamSynchronize(self->stream);
    for (size_t i = 0; i < CUDA_SLOT_COUNT; i++) {
        cuda_buffer_destroy(&self->scratch[i]);
    }
    (void)cudaFreeHost(self->staging);
    (void)cudaStreamDestroy(self->stream);
    free(self);
    *queue = NULL;
}

tr_status cuda_queue_wait(tr_queue_t *queue, tr_error_t *err)
{
    // A kernel that fails does so later than the call that started it; here at the latest.
    cuda_check(queue, cudaStreamSynchronize(queue->stream), "waiting for its work");
    // The stream is empty, so no copy reads the staging memory any more.
    queue->staged = 0;
    tr_status status = queue->failed.status;
    if (status != TR_OK && err != NULL) {
        *err = queue->failed;
    }
    // Reported once; the next operators run again.
    queue->failed.status = TR_OK;
    return status;
}

void *cuda_scratch(tr_queue_t *queue, cuda_slot_t slot, size_t bytes)
{
    tr_buffer_t **buffer = &queue->scratch[slot];
    if (*buffer == NULL || (*buffer)->bytes < bytes) {
        // The old memory goes first: both need not fit. Kernels that use it have ended (cudaFree
        // waits).
        cuda_buffer_destroy(buffer);
        // Graphs recorded before have the old address: graph_run refuses them.
        queue->moves++;
        if (cuda_buffer_new(&queue->backend->base, buffer, cuda_scratch_size(bytes),
                            cuda_failure(queue)) != TR_OK) {
            return NULL;
        }
    }
    return (*buffer)->data;
}

/// Every operator gets its pointers here, so no tensor that leaves its buffer reaches a kernel.
void *cuda_data(tr_tensor_t tensor, tr_dtype_t dtype)
{
    TR_ASSERT(tensor.dtype == dtype, "expected %s, found %s", tr_dtype_name(dtype),
              tr_dtype_name(tensor.dtype));
    TR_ASSERT(tensor.buffer != NULL, "a %s tensor [%zu, %zu] has no buffer",
              tr_dtype_name(tensor.dtype), tensor.rows, tensor.columns);
    TR_ASSERT(tensor.offset + tr_tensor_bytes(tensor) <= tensor.buffer->bytes,
              "a %s tensor [%zu, %zu] at byte %zu leaves its buffer of %zu",
              tr_dtype_name(tensor.dtype), tensor.rows, tensor.columns, tensor.offset,
              tensor.buffer->bytes);
    return tensor.buffer->data + tensor.offset;
}

void *cuda_address(tr_tensor_t tensor)
{
    return cuda_data(tensor, tensor.dtype);
}

void *cuda_stream(tr_queue_t *queue)
{
    cuda_check(queue, cudaSetDevice(queue->backend->device), "turning to it");
    return queue->stream;
}

/// Enqueues a copy from or to any memory. what: a few words for the sentence of a failure.
static void move(tr_queue_t *queue, void *to, const void *from, size_t bytes, const char *what)
{
    if (bytes > 0) {
        cuda_check(queue, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, queue->stream), what);
    }
}

/// Small writes (ids, positions, a step's indices) are many, and the caller's memory is free on
/// return; waiting for each would stop the GPU. So they are copied to the staging memory, from
/// which the GPU fetches them when their turn comes.
void cuda_write(tr_queue_t *queue, tr_tensor_t destination, const void *source)
{
    size_t bytes = tr_tensor_bytes(destination);
    void *to = cuda_address(destination);
    if (bytes == 0) {
        return;
    }
    // Such a write would fill the staging memory; it waits for its own copy instead.
    // Large: copied from the source itself, which the caller may change as soon as this returns.
    if (bytes > STAGED_MOST) {
        move(queue, to, source, bytes, "writing to it");
        cuda_check(queue, cudaStreamSynchronize(queue->stream), "writing to it");
        return;
    }
    // The staging memory is full: wait until its copies are done, then start from its beginning.
    if (queue->staged + bytes > STAGING) {
        cuda_check(queue, cudaStreamSynchronize(queue->stream), "writing to it");
        queue->staged = 0;
    }
    // Every copy keeps its own place until the next wait; 64 bytes, so that each is aligned.
    char *waiting = queue->staging + queue->staged;
    queue->staged += (bytes + 63) & ~static_cast<size_t>(63);
    memcpy(waiting, source, bytes);
    move(queue, to, waiting, bytes, "writing to it");
}

/// The destination is valid after queue_wait, as backend.h says; a small read is not worth a wait
/// of its own.
void cuda_read(tr_queue_t *queue, void *destination, tr_tensor_t source)
{
    move(queue, destination, cuda_address(source), tr_tensor_bytes(source), "reading from it");
}

void cuda_copy(tr_queue_t *queue, tr_tensor_t destination, tr_tensor_t source)
{
    size_t bytes = tr_tensor_bytes(destination);
    TR_ASSERT(bytes == tr_tensor_bytes(source), "%zu bytes into %zu", tr_tensor_bytes(source),
              bytes);
    move(queue, cuda_address(destination), cuda_address(source), bytes, "copying");
}

void cuda_zero(tr_queue_t *queue, tr_tensor_t destination)
{
    void *to = cuda_address(destination);
    if (tr_tensor_bytes(destination) > 0) {
        cuda_check(queue, cudaMemsetAsync(to, 0, tr_tensor_bytes(destination), queue->stream),
                   "zeroing");
    }
}

/// Values pass through f32, which holds every bf16 exactly; to bf16 they are rounded to nearest,
/// ties to even. A thread an element.
template <typename To, typename From>
static __global__ void cast_elements(To *to, const From *from, size_t n)
{
    size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < n) {
        cuda_store(to + i, cuda_load(from[i]));
    }
}

void cuda_cast(tr_queue_t *queue, tr_tensor_t destination, tr_tensor_t source)
{
    size_t n = tr_tensor_count(source);
    unsigned blocks = cuda_blocks(n, CUDA_BLOCK);
    TR_ASSERT(tr_tensor_count(destination) == n, "%zu elements from %zu",
              tr_tensor_count(destination), n);
    if (destination.dtype == source.dtype) {
        cuda_copy(queue, destination, source);
    } else if (destination.dtype == TR_BF16) {
        cuda_launch(queue, blocks, CUDA_BLOCK, 0, cast_elements<bf16, float>,
                    cuda_real<bf16>(destination), cuda_f32(source), n);
    } else {
        cuda_launch(queue, blocks, CUDA_BLOCK, 0, cast_elements<float, bf16>, cuda_f32(destination),
                    cuda_real<bf16>(source), n);
    }
}
