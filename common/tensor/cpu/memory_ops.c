/// Buffers, queues and copies of the CPU. A queue runs each operator when it is called, so it has
/// no state but its backend, and queue_wait has nothing to wait for.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/tensor/cpu/cpu.h"

enum {
    HUGE_PAGE = 2 << 20,
    CAST_GRAIN = 65536 // elements below which waking another thread costs more than it saves
};

/// Large buffers come straight from the kernel: zeroed when they are first touched, and in huge
/// pages where it grants them, which saves TLB misses in products whose rows lie far apart. Small
/// ones come from the heap. False where there is no memory.
static bool allocate(tr_buffer_t *self)
{
    if (self->bytes >= HUGE_PAGE) {
        self->mapped = cpu_round_up(self->bytes, HUGE_PAGE);
        self->data =
            mmap(NULL, self->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (self->data == MAP_FAILED) {
            return false;
        }
        (void)madvise(self->data, self->mapped, MADV_HUGEPAGE); // refusal costs speed only
        return true;
    }
    // One byte more, so that a buffer of no bytes has an address too.
    size_t size = cpu_round_up(self->bytes + 1, 64);
    if (posix_memalign(&self->data, 64, size) != 0) {
        return false;
    }
    memset(self->data, 0, size);
    return true;
}

tr_status cpu_buffer_new(tr_backend_t *backend, tr_buffer_t **buffer, size_t bytes, tr_error_t *err)
{
    *buffer = NULL;
    tr_buffer_t self = {.data = CPU_NOWHERE, .bytes = bytes, .sum = &backend->memory.now};
    // Rounding up must not wrap.
    if (bytes > SIZE_MAX - HUGE_PAGE || (!backend->dry && !allocate(&self))) {
        return tr_fail(err, TR_ERR_MEMORY, "cannot allocate a buffer of %zu bytes", bytes);
    }
    // Only now, so that after a failure there is nothing to free.
    *buffer = tr_alloc(sizeof **buffer);
    **buffer = self;
    tr_memory_take(&backend->memory, bytes);
    return TR_OK;
}

void cpu_buffer_destroy(tr_buffer_t **buffer)
{
    tr_buffer_t *self = *buffer;
    if (self == NULL) {
        return;
    }
    // Of device memory, or of the host's where a dry GPU has it there (dry.c).
    *self->sum -= self->bytes;
    if (self->mapped != 0) {
        munmap(self->data, self->mapped);
    } else if (self->data != CPU_NOWHERE) {
        free(self->data);
    }
    free(self);
    *buffer = NULL;
}

/// Queues of one backend share its pool and scratch memory, so only one thread may use them.
tr_status cpu_queue_new(tr_backend_t *backend, tr_queue_t **queue, tr_error_t *err)
{
    (void)err;
    *queue = tr_calloc(1, sizeof **queue);
    (*queue)->backend = (cpu_backend_t *)backend;
    return TR_OK;
}

/// Nothing can be pending.
void cpu_queue_destroy(tr_queue_t **queue)
{
    free(*queue);
    *queue = NULL;
}

tr_status cpu_queue_wait(tr_queue_t *queue, tr_error_t *err)
{
    (void)queue, (void)err;
    return TR_OK;
}

/// Every operator gets its pointers here, so no tensor that leaves its buffer reaches a kernel.
void *cpu_address(tr_tensor_t tensor)
{
    TR_ASSERT(tensor.buffer != NULL, "a %s tensor [%zu, %zu] has no buffer",
              tr_dtype_name(tensor.dtype), tensor.rows, tensor.columns);
    TR_ASSERT(tensor.offset + tr_tensor_bytes(tensor) <= tensor.buffer->bytes,
              "a %s tensor [%zu, %zu] at byte %zu leaves its buffer of %zu",
              tr_dtype_name(tensor.dtype), tensor.rows, tensor.columns, tensor.offset,
              tensor.buffer->bytes);
    return (char *)tensor.buffer->data + tensor.offset;
}

/// A dry GPU in bf16 runs the CPU's operators on its tensors, up to where they would compute; so
/// their type is not looked at where there is no memory.
float *cpu_f32(tr_tensor_t tensor)
{
    void *first = cpu_address(tensor);
    TR_ASSERT(tensor.dtype == TR_F32 || tensor.buffer->data == CPU_NOWHERE, // of a GPU in bf16
              "expected f32, found %s", tr_dtype_name(tensor.dtype));
    return first;
}

void *cpu_weight(tr_tensor_t tensor)
{
    void *first = cpu_address(tensor);
    TR_ASSERT(tensor.dtype == TR_F32 || tensor.dtype == TR_BF16, "expected f32 or bf16, found %s",
              tr_dtype_name(tensor.dtype));
    return first;
}

const float *cpu_widened(cpu_backend_t *backend, cpu_slot_t slot, tr_tensor_t weights)
{
    const size_t n = tr_tensor_count(weights);
    const void *from = cpu_weight(weights);
    if (weights.dtype == TR_F32 || backend->base.real == TR_BF16) { // or of a dry GPU
        return from;
    }
    // A kernel may load whole vectors past the last element.
    float *to = cpu_scratch(backend, slot, (n + 16) * sizeof *to);
    if (!backend->base.dry) {
        backend->kernels->widen(to, from, n);
    }
    return to;
}

/// Indices have one type on every device.
int32_t *cpu_i32(tr_tensor_t tensor)
{
    TR_ASSERT(tensor.dtype == TR_I32, "expected i32, found %s", tr_dtype_name(tensor.dtype));
    return cpu_address(tensor);
}

/// As soon as it is called: no kernel can be using the destination.
void cpu_write(tr_queue_t *queue, tr_tensor_t destination, const void *source)
{
    void *to = cpu_address(destination);
    if (!queue->backend->base.dry) {
        memcpy(to, source, tr_tensor_bytes(destination));
    }
}

void cpu_read(tr_queue_t *queue, void *destination, tr_tensor_t source)
{
    // The address is asked for in any case: it checks the tensor, also of a dry backend.
    const void *from = cpu_address(source);
    if (!queue->backend->base.dry) {
        memcpy(destination, from, tr_tensor_bytes(source));
    }
}

/// memmove: ranges of one buffer may overlap.
void cpu_copy(tr_queue_t *queue, tr_tensor_t destination, tr_tensor_t source)
{
    void *to = cpu_address(destination), *from = cpu_address(source);
    TR_ASSERT(tr_tensor_bytes(destination) == tr_tensor_bytes(source), "%zu bytes into %zu",
              tr_tensor_bytes(source), tr_tensor_bytes(destination));
    if (!queue->backend->base.dry) {
        memmove(to, from, tr_tensor_bytes(source));
    }
}

void cpu_zero(tr_queue_t *queue, tr_tensor_t destination)
{
    void *to = cpu_address(destination);
    if (!queue->backend->base.dry) {
        memset(to, 0, tr_tensor_bytes(destination));
    }
}

/// Source and destination of a conversion.
typedef struct cast_args {
    const cpu_kernels_t *kernels;
    void *to;
    const void *from;
    bool narrows;
} cast_args_t;

static void cast_part(void *context, size_t first, size_t count, size_t thread)
{
    const cast_args_t *c = context;
    (void)thread;
    if (c->narrows) {
        c->kernels->narrow((uint16_t *)c->to + first, (const float *)c->from + first, count);
    } else {
        c->kernels->widen((float *)c->to + first, (const uint16_t *)c->from + first, count);
    }
}

void cpu_cast(tr_queue_t *queue, tr_tensor_t destination, tr_tensor_t source)
{
    if (destination.dtype == source.dtype) {
        cpu_copy(queue, destination, source);
        return;
    }
    cast_args_t c = {queue->backend->kernels, cpu_weight(destination), cpu_weight(source),
                     destination.dtype == TR_BF16};
    TR_ASSERT_COUNT(destination, tr_tensor_count(source));
    cpu_for(queue->backend, tr_tensor_count(source), CAST_GRAIN, cast_part, &c);
}
