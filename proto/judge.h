/// The config of the role reward: how each group of workers judges.
///
/// It is one map for all groups; each worker reads the entry of its own:
///
///     {"judges": {"words":  {"kind": "words", "words": [["happy", 1.0], ["sad", -1.0]]},
///                 "regex":  {"kind": "regex", "pattern": "\\bthe end\\b", "score": 1.0},
///                 "length": {"kind": "length", "target": 40, "min": 0, "max": 0, "unit":
///                 "tokens"}, "model":  {"kind": "model", "model": "path/to/directory", "threads":
///                 2,
///                            "device": "cuda:0", "precision": "bf16", "memory": 0.0},
///                 "exec":   {"kind": "exec"}}}
///
/// A model has steps and step_separator too. Each kind's file in common/judge declares its fields.
/// Programs of users (kinds exec and external) know how they judge and may ignore all this.
#ifndef TR_PROTO_JUDGE_H
#define TR_PROTO_JUDGE_H

#include <jansson.h>

#include "common/base/device_name.h"
#include "common/judge/judge.h"

/// The config for tr_dispatch_set_config; a new reference. precision: of models on GPUs.
json_t *tr_judges_config(const tr_judges_t *judges, tr_precision_t precision);

#endif
