/// samples.jsonl: responses of the policy, every few steps, for people to read. One JSON object a
/// line:
///
///     {"step": 10, "prompt": "Once", "response": " upon a time", "score": 1.5, "finish": "eos"}
#ifndef CONTROLLER_SAMPLES_H
#define CONTROLLER_SAMPLES_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

typedef struct controller_samples controller_samples_t;

/// As controller_metrics_open: cuts lines of steps after `last`, and a torn last line.
tr_status controller_samples_open(controller_samples_t **samples, const char *path, uint64_t last,
                                  tr_error_t *err);
void controller_samples_destroy(controller_samples_t **samples);

/// Appends one line, flushed. prompt, response: [their lengths] bytes; invalid UTF-8 becomes
/// U+FFFD, and a NUL is kept. score: finite, else TR_ERR_NUMERIC. more: further keys (an object,
/// borrowed) or NULL; they come last, and none may have the name of another key (TR_ERR_ARGUMENT).
tr_status controller_samples_append(controller_samples_t *samples, uint64_t step,
                                    const char *prompt, size_t prompt_length, const char *response,
                                    size_t response_length, double score, const json_t *more,
                                    tr_error_t *err);

/// Syncs to the disk; called before a checkpoint is committed.
tr_status controller_samples_sync(controller_samples_t *samples, tr_error_t *err);

#endif
