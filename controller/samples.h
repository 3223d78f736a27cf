/// samples.jsonl: responses of the policy, every few steps, for people to read. One JSON object a
/// line:
///
///     {"step": 10, "prompt": "Once", "response": " upon a time", "score": 1.5, "finish": "eos"}
///
/// Of `troupe sample` (deploy/sample_rows.h) it is the result: where a prompt is a conversation,
/// messages are that conversation, with the response at its end.
#ifndef CONTROLLER_SAMPLES_H
#define CONTROLLER_SAMPLES_H

#include <jansson.h>

#include "controller/appender.h"

/// Appends one line, flushed, to a file of controller_lines_open. response: [length] bytes, of
/// which a NUL is kept; invalid UTF-8 becomes U+FFFD, in the prompt too. score: finite, else
/// TR_ERR_NUMERIC. finish: tr_finish_name. messages: may be NULL.
tr_status controller_samples_append(controller_appender_t *file, uint64_t step, const char *prompt,
                                    const char *response, size_t length, double score,
                                    const char *finish, const json_t *messages, tr_error_t *err);

#endif
