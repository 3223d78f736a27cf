/// The place where a backward pass writes the gradient of a model's flat vector of parameters
/// (common/model/layout.h), which it fills from the end to the beginning.
#ifndef TR_TENSOR_GRADIENT_H
#define TR_TENSOR_GRADIENT_H

#include "common/tensor/tensor.h"

typedef struct tr_gradient tr_gradient_t;

/// Both tensors stand for the whole flat vector, f32: element i is at offset + 4 i. Where memory
/// holds one segment only, the offset points before that segment's buffer (arithmetic on size_t
/// wraps), and other elements must not be touched.
struct tr_gradient {
    tr_tensor_t embedding; ///< for the embedding, and a head tied to it
    tr_tensor_t rest;      ///< for the current segment of all that follows the embedding
    /// Called when a segment is complete, the last one first; moves `rest` to the one before. May
    /// be NULL.
    void (*complete)(tr_gradient_t *gradient, size_t segment);
    void *context; ///< complete's
};

/// The whole gradient in one vector, added to its content.
static inline tr_gradient_t tr_gradient_whole(tr_tensor_t flat)
{
    return (tr_gradient_t){.embedding = flat, .rest = flat};
}

#endif
