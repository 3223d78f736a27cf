/// A device that computes nothing: its buffers have an address and no memory, its operators take
/// the memory that they keep for themselves and do nothing else, and both are counted (backend.h,
/// memory).
///
/// Code that runs on a backend runs on this one as it is, in microseconds, and the memory that it
/// takes can be read off. So `troupe check` knows the memory of a run (deploy/memory.h), as ggml
/// knows that of a graph. A dry CPU is the CPU's own backend, told to; a GPU need not be there.
#ifndef TR_TENSOR_DRY_H
#define TR_TENSOR_DRY_H

#include "common/tensor/device.h"

/// Of the options are read device, precision (of a GPU) and threads (of the CPU). What is read from
/// it is left as it was. Fails as tr_backend_open_cpu does.
tr_status tr_backend_open_dry(tr_backend_t **backend, const tr_device_options_t *options,
                              tr_error_t *err);

#endif
