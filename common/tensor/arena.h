/// Tensors that live for one step: handed out one after another from a backend's buffer, all taken
/// back at once.
///
/// A request that the buffers have no room for adds one, of a quarter of the bytes handed out so
/// far or of the request's size if that is more: unused memory stays below about a quarter. The
/// next reset merges the buffers, so that after the first steps nothing is allocated any more. The
/// content of a new tensor is undefined unless said otherwise. Running out of memory ends the
/// process with a sentence, as tr_alloc does.
#ifndef TR_TENSOR_ARENA_H
#define TR_TENSOR_ARENA_H

#include "common/tensor/backend.h"

typedef struct tr_arena tr_arena_t;

tr_arena_t *tr_arena_new(tr_backend_t *backend);
void tr_arena_destroy(tr_arena_t **arena);

/// Takes back every tensor.
void tr_arena_reset(tr_arena_t *arena);

/// A [rows, columns] tensor, valid until the next reset.
tr_tensor_t tr_arena_tensor(tr_arena_t *arena, tr_dtype_t dtype, size_t rows, size_t columns);

/// An i32 vector of n elements with the content of `values`.
tr_tensor_t tr_arena_indices(tr_arena_t *arena, tr_queue_t *queue, const int32_t *values, size_t n);

/// An f32 vector of n elements with the content of `values`.
tr_tensor_t tr_arena_reals(tr_arena_t *arena, tr_queue_t *queue, const float *values, size_t n);

/// Changes whenever the arena allocates or frees memory. While it stays the same, equal requests
/// after a reset get equal addresses, which captured graphs rely on.
size_t tr_arena_generation(const tr_arena_t *arena);

#endif
