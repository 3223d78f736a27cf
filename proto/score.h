/// What the controller and a judge say to each other: the config of the role reward, and the bodies
/// of the method `score`, as PROTOCOL.md describes them.
///
/// The config says how each group of workers judges. It is one map for all groups; each worker
/// reads the entry of its own:
///
///     {"judges": {"words":  {"kind": "words", "words": [["happy", 1.0], ["sad", -1.0]]},
///                 "regex":  {"kind": "regex", "pattern": "\\bthe end\\b", "score": 1.0},
///                 "length": {"kind": "length", "target": 40, "min": 0, "max": 0,
///                            "unit": "tokens"},
///                 "model":  {"kind": "model", "model": "path/to/directory", "threads": 2,
///                            "device": "cuda:0", "precision": "bf16", "memory": 0.0},
///                 "exec":   {"kind": "exec"}}}
///
/// A model has chat_template, steps and step_separator too. Each kind's file in common/judge
/// declares its fields.
/// Programs of users (kinds exec and external) know how they judge and may ignore all this.
#ifndef TR_PROTO_SCORE_H
#define TR_PROTO_SCORE_H

#include "common/base/device_name.h"
#include "common/judge/judge.h"

/// The config for tr_dispatch_set_config; a new reference. precision: of models on GPUs.
json_t *tr_judges_config(const tr_judges_t *judges, tr_precision_t precision);

/// A sample as the map that travels; a new reference.
json_t *tr_score_sample(const tr_sample_t *sample);

/// Reads a judge's reply body. scores: [count], written; NaN where the judge said null: it cannot
/// score that response. *extras: a new reference to an object of arrays of count finite numbers or
/// nulls (empty when the judge gave none). A missing list, one of another length, or a number that
/// is not finite is TR_ERR_PROTOCOL, in a sentence that begins with the
/// judge's name.
tr_status tr_score_reply_read(float *scores, json_t **extras, size_t count, const json_t *body,
                              const char *judge, tr_error_t *err);

/// A judge's reply body. scores: [count], NaN for null; extras: object of arrays or NULL, taken.
/// NULL when a score is infinite.
json_t *tr_score_reply_body(const float *scores, size_t count, json_t *extras);

#endif
