/// The adapter of a policy in the configs of its learner and its rollouts.
#ifndef TR_PROTO_ADAPTER_H
#define TR_PROTO_ADAPTER_H

#include <jansson.h>

#include "common/model/lora.h"

/// Reads a config's
///
///     adapter  optional directory of PEFT's: an adapter of the model, with which it begins
///     lora     optional, the fields of both tables of lora.h: of a fresh one; r null: none
///
/// *lora: that of the directory, if there is one; the caller's to release, after a failure too.
/// *directory: the config's; NULL: none.
tr_status tr_adapter_read(tr_lora_t *lora, const char **directory, const json_t *config,
                          tr_error_t *err);

#endif
