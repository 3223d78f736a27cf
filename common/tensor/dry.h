/// A device that computes nothing: its buffers have an address and no memory, and are counted; its
/// operators only take the memory that they keep for themselves, and that is counted too.
///
/// Code that runs on a backend runs on this one as it is, in microseconds, and what it asked for can
/// be read off. So `troupe check` knows the memory of a run (deploy/memory.h), as ggml knows that of
/// a graph. A dry CPU is the CPU's own backend with its hands off memory; a GPU need not be there.
#ifndef TR_TENSOR_DRY_H
#define TR_TENSOR_DRY_H

#include "common/tensor/device.h"

/// Of the options are read device, precision (of a GPU) and threads (of the CPU). What is read from
/// it is left as it was. Fails as tr_backend_open_cpu does.
tr_status tr_backend_open_dry(tr_backend_t **backend, const tr_device_options_t *options,
                              tr_error_t *err);

/// Nobody looks at values there, so those that cost time need not be made.
bool tr_backend_is_dry(const tr_backend_t *backend);

typedef struct tr_dry_bytes {
    size_t now;     ///< of buffers
    size_t peak;    ///< of buffers, at most so far
    size_t scratch; ///< that operators keep
    size_t host; ///< of buffers in the host's memory (buffer_new_host), which are in no other sum
} tr_dry_bytes_t;

tr_dry_bytes_t tr_dry_bytes(const tr_backend_t *dry);

#endif
