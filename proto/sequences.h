/// Prompts with responses as tensors of a message: i32 vectors `ids`, `starts`, `prompt_lengths`,
/// and, where sampling was truncated, `kept_offsets` and `kept_ids`. The controller sends them to
/// actor, critic and reference.
#ifndef TR_PROTO_SEQUENCES_H
#define TR_PROTO_SEQUENCES_H

#include "common/model/response.h"
#include "proto/message.h"

/// Adds the tensors; they are copied.
void tr_sequences_put(tr_message_t *message, const tr_sequences_t *sequences);

/// Reads them from a message that must outlive *sequences, whose arrays stay in it. Only
/// response_starts is made here: *owned, to be freed by the caller. TR_ERR_PROTOCOL when they do
/// not fit together: starts that fall, an empty prompt, offsets out of range.
tr_status tr_sequences_take(tr_sequences_t *sequences, int32_t **owned, const tr_message_t *message,
                            tr_error_t *err);

/// TR_ERR_ARGUMENT when an id is outside 0..vocabulary-1 or a sequence is longer than
/// max_positions.
tr_status tr_sequences_check(const tr_sequences_t *sequences, size_t vocabulary,
                             size_t max_positions, tr_error_t *err);

#endif
