/// The device on which a worker computes, from the config of its welcome.
///
///     {"threads": 2, "device": "cuda:0", "precision": "bf16", "memory": 40.0}
///
/// device: a name (common/base/device_name.h) or a list of names, dealt to the workers of a role in
/// turn; default "cpu". precision: "auto" (default), "bf16" or "fp32". memory: GiB of a GPU that
/// may be used; 0 (default): all that is free. threads: for a CPU; 0: one per processor. The
/// daemon's --config is laid over the welcome, so it decides.
#ifndef TR_PROTO_DEVICE_H
#define TR_PROTO_DEVICE_H

#include <jansson.h>

#include "common/tensor/device.h"

/// Opens it. threads: if above 0, instead of those in config. number: which of the role's workers
/// this is. TR_ERR_PROTOCOL for a config that cannot be read; otherwise fails as tr_backend_open
/// does.
tr_status tr_device_open(tr_backend_t **backend, const json_t *config, size_t threads,
                         size_t number, tr_error_t *err);

/// The number at the end of a worker's name, behind the last '-': 3 of "rollout-3"; 0 where there
/// is none, or no name.
size_t tr_device_worker_number(const char *name);

#endif
