/// How rows are read: what the caller wants of them, without a recipe or an algorithm.
#ifndef TR_DATA_OPTIONS_H
#define TR_DATA_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/text/chat.h"

/// Plain values, filled by the caller; texts are borrowed, as long as there are rows.
typedef struct tr_rows_options {
    unsigned kinds;        ///< which kinds of rows are taken: 1u << tr_kind_t each, at least one
    size_t limit;          ///< tokens of a sequence, at least 1
    const char *limit_key; ///< what set the limit, for sentences: a key of the recipe
    bool keep_end;         ///< a longer sequence loses its beginning, not its end
    bool packing;          ///< a row is a pack of sequences of at most `limit` tokens (pack.h)

    const char *prompt_column; ///< the name of the column `prompt`
    const char *text_column;   ///< the name of the column `text`

    /// Of a prompt with its completion the completion alone is learnt; else all but the first
    /// token.
    bool completion_only;
    /// The key that wants what assistants say learnt and nothing else; NULL: all is learnt. Texts
    /// are then bad rows.
    const char *assistant_only;
    const char *step_separator; ///< ends each step of a response in steps

    tr_chat_format_t chat_template; ///< TR_CHAT_NONE: the model's own
    const char *model;              ///< the directory of that template
} tr_rows_options_t;

#endif
