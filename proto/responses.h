/// Responses as tensors of a message: the reply to `generate`, written by the rollout, read by the
/// controller.
#ifndef TR_PROTO_RESPONSES_H
#define TR_PROTO_RESPONSES_H

#include <stddef.h>
#include <stdint.h>

#include "common/text/finish.h"
#include "proto/message.h"

/// Ragged host arrays, borrowed: tokens = starts[count].
typedef struct tr_responses {
    size_t count;
    const int32_t *ids;          ///< [tokens]
    const int32_t *starts;       ///< [count + 1]
    const int32_t *finish;       ///< [count] tr_finish_t
    const float *logprobs;       ///< [tokens] under the distribution sampled from
    const float *raw;            ///< [tokens] under the untempered model
    const int32_t *kept_offsets; ///< [tokens + 1], or NULL: sampling did not truncate
    const int32_t *kept_ids;     ///< [kept_offsets[tokens]]
} tr_responses_t;

/// Adds tensors responses, response_starts, finish, logprobs, raw, and, unless they are NULL,
/// kept_offsets and kept_ids; they are copied.
void tr_responses_put(tr_message_t *message, const tr_responses_t *responses);

/// Reads exactly `count` responses, each of at least one token, with ids below vocabulary, from a
/// message that must outlive *responses. truncated: kept sets must come along, each ascending and,
/// unless empty, with its token; otherwise they must not. TR_ERR_PROTOCOL; TR_ERR_NUMERIC for a
/// log-prob that is not finite.
tr_status tr_responses_take(tr_responses_t *responses, size_t count, size_t vocabulary,
                            bool truncated, const tr_message_t *message, tr_error_t *err);

#endif
