/// A flat vector of parameters of which each rank of a collective holds its shard alone (ZeRO-3): a
/// segment is gathered when a pass comes to it, and the next layer takes its place. For
/// parameters.c.
///
/// The embedding and what follows the layers are needed at both ends of a pass (or by a head tied
/// to the embedding), so these two keep their memory; all layers share one window. What was
/// gathered is held until the parameters change.
#ifndef TR_MODEL_SHARDING_H
#define TR_MODEL_SHARDING_H

#include "common/collective/collective.h"
#include "common/collective/shards.h"
#include "common/model/layout.h"

enum { SHARDING_WINDOWS = 3 }; ///< the embedding's, any layer's, that of what follows them

typedef struct sharding {
    tr_backend_t *backend;
    tr_queue_t *queue;
    tr_collective_t *collective;
    tr_shards_t shards;
    tr_tensor_t own;     ///< f32 or [real], [local size]: this rank's shard
    tr_buffer_t *buffer; ///< of all windows
    /// [real] each window; its first element is the first of the segment that is there
    tr_tensor_t windows[SHARDING_WINDOWS];
    size_t held[SHARDING_WINDOWS]; ///< segment + 1 that is there; 0: none
} sharding_t;

/// Of a vector with these segments: starts: [segments + 1]. own is the caller's to set.
tr_status sharding_new(sharding_t **sharding, const size_t *starts, size_t segments,
                       tr_backend_t *backend, tr_queue_t *queue, tr_collective_t *collective,
                       tr_error_t *err);
void sharding_destroy(sharding_t **sharding);

/// The whole vector, of which the segment's elements may be read (as in common/tensor/gradient.h).
tr_tensor_t sharding_view(const sharding_t *sharding, size_t segment);

/// All ranks call it: the segment's elements are in its window.
void sharding_gather(sharding_t *sharding, size_t segment);

/// The shards have changed: nothing is held.
void sharding_forget(sharding_t *sharding);

#endif
