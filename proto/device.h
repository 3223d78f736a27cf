/// The device on which a worker computes, as its welcome names it.
///
///     {"threads": 2, "device": "cuda:0", "precision": "bf16", "memory": 40.0}
///
/// device: a name (common/base/device_name.h) or a list of names, dealt to the workers of a role in turn; absent: "cpu".
/// precision: of a GPU, "bf16" (absent too) or "fp32". memory: GiB of a GPU that may be used, 0 (absent too): all that is free.
/// threads: of a CPU, 0: one per processor. The daemon's --config is laid over the welcome and so has the last word.
#ifndef TR_PROTO_DEVICE_H
#define TR_PROTO_DEVICE_H

#include <jansson.h>

#include "common/tensor/device.h"

/// Opens it. threads: above 0 it goes before the welcome's. number: which of the role's workers this is. TR_ERR_PROTOCOL for a
/// welcome that says no such thing; else fails as tr_backend_open does.
tr_status tr_device_open(tr_backend_t **backend, const json_t *config, size_t threads,
                         size_t number, tr_error_t *err);

/// The number that a worker's name ends in, behind a '-': 3 of "rollout-3"; 0 where there is none, or no name.
size_t tr_device_worker_number(const char *name);

#endif
