/// Tensors that live for one step (arena.h), from buffers of a backend.
///
/// Handing out is adding to an offset; giving back is setting the offsets to 0. A file of its own
/// above the backends, so that kernels never allocate and each device gets the same policy: grow
/// while a step is unlike those before, then stay.
#include "common/tensor/arena.h"

#include <stdlib.h>

/// ALIGNMENT: a cache line, and enough for the widest vector. FIRST: bytes of the smallest buffer.
/// BUFFERS: each is at least a quarter of the bytes before, so 64 of them hold far more than any
/// machine has.
enum { ARENA_BUFFERS = 64, ARENA_ALIGNMENT = 64, ARENA_FIRST = 1 << 20 };

struct tr_arena {
    tr_backend_t *backend;
    tr_buffer_t *buffers[ARENA_BUFFERS];
    size_t bytes[ARENA_BUFFERS], used[ARENA_BUFFERS]; // of each
    size_t count;
    size_t total;      // bytes handed out since the last reset
    size_t peak;       // the most bytes handed out between two resets
    size_t generation; // see tr_arena_generation
};

tr_arena_t *tr_arena_new(tr_backend_t *backend)
{
    tr_arena_t *arena = tr_calloc(1, sizeof *arena);
    arena->backend = backend;
    return arena;
}

static void release_buffers(tr_arena_t *arena)
{
    for (size_t i = 0; i < arena->count; i++) {
        arena->backend->ops->buffer_destroy(&arena->buffers[i]);
    }
    arena->count = 0;
}

void tr_arena_destroy(tr_arena_t **self)
{
    if (*self != NULL) {
        release_buffers(*self);
        free(*self);
        *self = NULL;
    }
}

static void add_buffer(tr_arena_t *arena, size_t bytes)
{
    tr_error_t err = {0};
    TR_ASSERT(arena->count < ARENA_BUFFERS, "an arena grew %zu times without a reset",
              arena->count);
    tr_status status =
        arena->backend->ops->buffer_new(arena->backend, &arena->buffers[arena->count], bytes, &err);
    // A step that does not fit cannot go on: the tensors of its first half are in use. Roles are
    // sized before they start (deploy/memory_plan), so this is our own mistake or another
    // process's.
    TR_ASSERT(status == TR_OK, "%s", err.text);
    arena->bytes[arena->count] = bytes;
    arena->used[arena->count++] = 0;
    arena->generation++;
}

void tr_arena_reset(tr_arena_t *arena)
{
    if (arena->count > 1) {
        // Merge, so that the next step finds one buffer that holds it all. The old buffers go
        // first: the device need not hold both. An eighth more than the peak leaves room for a step
        // that is a little longer.
        release_buffers(arena);
        add_buffer(arena, arena->peak + arena->peak / 8);
    }
    arena->used[0] = 0;
    arena->total = 0;
}

/// The first buffer that has room for so many bytes; count when none has. First fit fills the gaps
/// at the ends of older buffers. There are one or two buffers after the first steps, so the search
/// costs nothing.
static size_t find_room(const tr_arena_t *arena, size_t bytes)
{
    size_t i = 0;
    while (i < arena->count && arena->used[i] + bytes > arena->bytes[i]) {
        i++;
    }
    return i;
}

tr_tensor_t tr_arena_tensor(tr_arena_t *arena, tr_dtype_t dtype, size_t rows, size_t columns)
{
    tr_tensor_t tensor = {.dtype = dtype, .rows = rows, .columns = columns};
    size_t bytes = (tr_tensor_bytes(tensor) + ARENA_ALIGNMENT - 1) & ~(size_t)(ARENA_ALIGNMENT - 1);
    size_t at = find_room(arena, bytes);
    if (at == arena->count) {
        size_t quarter = arena->total / 4 > ARENA_FIRST ? arena->total / 4 : ARENA_FIRST;
        add_buffer(arena, bytes > quarter ? bytes : quarter);
    }
    tensor.buffer = arena->buffers[at];
    tensor.offset = arena->used[at];
    arena->used[at] += bytes;
    arena->total += bytes;
    if (arena->total > arena->peak) {
        arena->peak = arena->total;
    }
    return tensor;
}

/// A vector of n values; n may be 0, and values NULL then.
static tr_tensor_t written(tr_arena_t *arena, tr_queue_t *queue, tr_dtype_t dtype,
                           const void *values, size_t n)
{
    tr_tensor_t tensor = tr_arena_tensor(arena, dtype, 1, n);
    if (n > 0) {
        arena->backend->ops->write(queue, tensor, values);
    }
    return tensor;
}

tr_tensor_t tr_arena_indices(tr_arena_t *arena, tr_queue_t *queue, const int32_t *values, size_t n)
{
    return written(arena, queue, TR_I32, values, n);
}

tr_tensor_t tr_arena_reals(tr_arena_t *arena, tr_queue_t *queue, const float *values, size_t n)
{
    return written(arena, queue, TR_F32, values, n);
}

size_t tr_arena_generation(const tr_arena_t *arena)
{
    return arena->generation;
}
