/// Where a backward pass writes the gradient of a model's flat vector of parameters (common/model/layout.h), from the vector's
/// end to its beginning.
#ifndef TR_TENSOR_GRADIENT_H
#define TR_TENSOR_GRADIENT_H

#include "common/tensor/tensor.h"

typedef struct tr_gradient tr_gradient_t;

/// Both tensors are the flat vector, f32, seen whole: element i stands at offset + 4 i. Where the memory holds a segment only,
/// the offset is before its beginning (arithmetic on size_t wraps), and no other element may be touched.
struct tr_gradient {
    tr_tensor_t embedding; ///< for the embedding, and a head tied to it
    tr_tensor_t rest;      ///< for the segment at hand of all that stands behind the embedding
    /// Told of each segment that is complete, the last first; moves `rest` to the one before. NULL: nobody asks.
    void (*complete)(tr_gradient_t *gradient, size_t segment);
    void *context; ///< complete's
};

/// One vector for all: the whole gradient, added to what is there.
static inline tr_gradient_t tr_gradient_whole(tr_tensor_t flat)
{
    return (tr_gradient_t){.embedding = flat, .rest = flat};
}

#endif
