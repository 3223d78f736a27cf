#include "common/tensor/arena.h"

#include <stdlib.h>

enum { ARENA_BUFFERS = 64, ARENA_ALIGNMENT = 64, ARENA_FIRST = 1 << 20 };

struct tr_arena {
    tr_backend_t *backend;
    tr_buffer_t *buffers[ARENA_BUFFERS];
    size_t used[ARENA_BUFFERS]; // bytes of each
    size_t count;
    size_t total; // bytes handed out since the last reset
    size_t peak;
    size_t generation;
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
    TR_ASSERT(status == TR_OK, "%s", err.text);
    arena->used[arena->count++] = 0;
    arena->generation++;
}

void tr_arena_reset(tr_arena_t *arena)
{
    if (arena->count > 1) { // merge: the next step finds one buffer that holds it all
        release_buffers(arena);
        add_buffer(arena, arena->peak + arena->peak / 8);
    }
    arena->used[0] = 0;
    arena->total = 0;
}

/// The first buffer that has room; count when none has.
static size_t find_room(const tr_arena_t *arena, size_t bytes)
{
    size_t i = 0;
    while (i < arena->count &&
           arena->used[i] + bytes > arena->backend->ops->buffer_bytes(arena->buffers[i])) {
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

size_t tr_arena_peak(const tr_arena_t *arena)
{
    return arena->peak;
}
