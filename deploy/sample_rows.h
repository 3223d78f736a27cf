/// Rows to learn from, made of judged responses: what `troupe sample` writes, in TRL's columns, one
/// JSON object a line.
#ifndef DEPLOY_SAMPLE_ROWS_H
#define DEPLOY_SAMPLE_ROWS_H

#include <stddef.h>

#include "common/base/status.h"

/// Where each kind of row goes; NULL: nowhere. Of a prompt that is a conversation, prompt and
/// responses are messages.
typedef struct sample_rows {
    /// {prompt, completion, score, finish} for each response.
    const char *all;
    /// The same: the response to each prompt with the highest score.
    const char *best;
    /// {prompt, chosen, score_chosen, finish_chosen, rejected, score_rejected, finish_rejected}:
    /// the best and the worst response to each prompt; none for a prompt whose responses have one
    /// score.
    const char *pairs;
} sample_rows_t;

/// What was written.
typedef struct sample_rows_count {
    size_t prompts, responses;
    size_t pairs;
} sample_rows_count_t;

/// From samples.jsonl (controller/samples.h), where `samples` responses to a prompt follow each
/// other. Files appear whole or not at all. TR_ERR_IO; TR_ERR_FORMAT for a file that is not such a
/// one.
tr_status sample_rows_write(sample_rows_count_t *count, const sample_rows_t *rows,
                            const char *samples_path, size_t samples, tr_error_t *err);

#endif
