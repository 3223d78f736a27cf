/// Turns of a conversation, as other programs write them, become messages (common/text/chat.h).
///
/// ShareGPT and LLaMA-Factory have {"from": "human", "value": "Hi"}, with names of their own that a
/// file may change (`tags`); ms-swift has messages with the roles tool_call and tool_response.
/// forms.c and columns.c call them.
#ifndef TR_DATA_TURNS_H
#define TR_DATA_TURNS_H

#include <jansson.h>
#include <stdbool.h>

#include "common/base/status.h"

/// Whether tags are LLaMA-Factory's, {"role_tag": "role", "user_tag": "User", ...}, texts or null.
/// TR_ERR_ARGUMENT.
tr_status tr_tags_check(const json_t *tags, tr_error_t *err);

/// Appends the messages of turns, a list of them or one. Function calls that follow each other, or
/// what the assistant says, are one message. tags: what roles are called; NULL: as the programs
/// call them. column: for sentences. TR_ERR_FORMAT, "column[1]: what is wrong", of all turns.
tr_status tr_turns_append(json_t *messages, const json_t *turns, const char *column,
                          const json_t *tags, tr_error_t *err);

/// Makes messages of the turns in a row's columns: of all, where there are tags; else of those that
/// have ms-swift's roles. A mistake spoils its column (columns.h).
void tr_turns_in_row(json_t *row, const json_t *tags);

/// LLaMA-Factory's order: behind a system text the user (or a tool) and the assistant by turns, the
/// assistant last, or before a pair's sides the user. TR_ERR_FORMAT, as above.
tr_status tr_turns_check_order(const json_t *messages, const char *column, bool pair,
                               tr_error_t *err);

#endif
