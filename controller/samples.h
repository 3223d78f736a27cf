/// samples.jsonl: responses of the policy, every few steps, for people to read. One JSON object a
/// line:
///
///     {"step": 10, "prompt": "Once", "response": " upon a time", "score": 1.5, "finish": "eos"}
///
/// Of `troupe sample` (deploy/sample_rows.h) it is the result: where a prompt is a conversation,
/// messages are that conversation, with the response at its end.
/// Responses to prompts of data.eval have "split": "eval" too.
#ifndef CONTROLLER_SAMPLES_H
#define CONTROLLER_SAMPLES_H

#include <jansson.h>

#include "controller/appender.h"

typedef struct controller_sample {
    uint64_t step;
    const char *split; ///< NULL: none
    const char *prompt;
    const char *response; ///< [length] bytes, of which a NUL is kept
    size_t length;
    double score;           ///< NaN: no judge could score it; null in the file
    const char *finish;     ///< tr_finish_name
    const json_t *messages; ///< NULL: none
} controller_sample_t;

/// Appends one line, flushed, to a file of controller_lines_open. Invalid UTF-8 becomes U+FFFD.
/// TR_ERR_NUMERIC when the score is infinite.
tr_status controller_samples_append(controller_appender_t *file, const controller_sample_t *sample,
                                    tr_error_t *err);

#endif
