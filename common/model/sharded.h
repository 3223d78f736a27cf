/// Parameters of which each rank of a collective holds its shard alone (ZeRO-3): a segment is gathered when a pass comes to it,
/// and the next layer takes its place. For model.c and transformer.c.
///
/// The embedding and what follows the layers are needed at both ends of a pass (or by a head tied to the embedding), so
/// these two keep their memory; all layers share one window. What was gathered is held until the parameters change.
#ifndef TR_MODEL_SHARDED_H
#define TR_MODEL_SHARDED_H

#include "common/collective/collective.h"
#include "common/collective/shards.h"
#include "common/model/model.h"

enum { SHARDED_WINDOWS = 3 }; ///< the embedding's, any layer's, that of what follows them

typedef struct model_sharding {
    tr_backend_t *backend;
    tr_queue_t *queue;
    tr_collective_t *collective;
    tr_shards_t shards;
    tr_tensor_t own;      ///< f32 [local size] this rank's parameters
    tr_buffer_t *windows; ///< all of them
    tr_tensor_t flat
        [SHARDED_WINDOWS]; ///< [real] each window; its first element is the first of the segment that is there
    size_t held[SHARDED_WINDOWS]; ///< segment + 1 that is there; 0: none
} model_sharding_t;

/// Of a model with that layout; own is the caller's to set.
tr_status model_sharding_new(model_sharding_t **sharding, const tr_layout_t *layout,
                             tr_backend_t *backend, tr_queue_t *queue, tr_collective_t *collective,
                             tr_error_t *err);
void model_sharding_destroy(model_sharding_t **sharding);

/// The flat vector through the window of the segment that holds element `at` (as in common/tensor/gradient.h).
tr_tensor_t model_sharding_view(const model_sharding_t *sharding, size_t at);

/// All ranks call it: the segment's parameters are in its window.
void model_sharding_gather(model_sharding_t *sharding, size_t segment);

/// Parameters have changed: nothing is held.
void model_sharding_forget(model_sharding_t *sharding);

/// Elements first.. from values: [count] on the host, as far as this rank holds them.
void model_sharding_write(model_sharding_t *sharding, size_t first, size_t count,
                          const float *values);

#endif
