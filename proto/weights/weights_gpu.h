/// Weights that stay on the actor's GPU: a description that lets rollouts of this machine read them where they are.
///
/// Unlike shared memory (weights.h) there is one copy, the actor's own, which the next update changes: the controller lets the
/// actor learn only when all trajectories of the step are there, and every trajectory says its version. No checksum is taken of
/// bytes that nobody moves; its place has one of the handle, process and version.
#ifndef TR_PROTO_WEIGHTS_GPU_H
#define TR_PROTO_WEIGHTS_GPU_H

#include <jansson.h>

#include "common/tensor/backend.h"

/// {"transport": "gpu", "version", "bytes", "checksum": 16 hex digits, "handle": 128 hex digits, "place"}; a new reference.
json_t *tr_weights_gpu_describe(const tr_device_memory_t *memory, uint64_t version, size_t bytes);

/// Whether a description is such a one.
bool tr_weights_gpu_is(const json_t *description);

/// TR_ERR_PROTOCOL for a bad description, TR_ERR_VERSION for weights of another size.
tr_status tr_weights_gpu_read(tr_device_memory_t *memory, const json_t *description, size_t bytes,
                              tr_error_t *err);

#endif
