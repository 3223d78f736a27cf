/// Weights that stay on the actor's GPU: a description by which rollouts of this machine read them
/// where they are.
///
/// Unlike shared memory (weights.h) there is one copy, the actor's own, which the next update
/// changes. The controller lets the actor train only when all trajectories of the step have come,
/// and every trajectory names its version. No checksum of the bytes is computed, since nobody moves
/// them; its place has one of handle, process and version.
#ifndef TR_PROTO_WEIGHTS_GPU_H
#define TR_PROTO_WEIGHTS_GPU_H

#include <jansson.h>

#include "common/tensor/backend.h"

/// {"transport": "gpu", "version", "bytes", "checksum": 16 hex digits, "handle": 128 hex digits,
/// "place"}; a new reference.
json_t *tr_weights_gpu_describe(const tr_device_memory_t *memory, uint64_t version, size_t bytes);

/// Whether a description is of this kind.
bool tr_weights_gpu_is(const json_t *description);

/// TR_ERR_PROTOCOL for a bad description, TR_ERR_VERSION for weights of another size.
tr_status tr_weights_gpu_read(tr_device_memory_t *memory, const json_t *description, size_t bytes,
                              tr_error_t *err);

#endif
