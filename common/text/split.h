/// Text cut into pieces by a regular expression: each match is a piece, and so is what lies between
/// two.
#ifndef TR_TEXT_SPLIT_H
#define TR_TEXT_SPLIT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"

typedef struct tr_split tr_split_t;
typedef struct tr_split_cursor tr_split_cursor_t; ///< one pass over one text

/// The expression of GPT-2's byte-level tokenizer.
extern const char *const TR_SPLIT_GPT2;

/// pattern: `length` bytes, as tokenizer.json has it (Oniguruma's syntax, of which PCRE2's is
/// taken). literal: it is plain text. TR_ERR_UNSUPPORTED for an expression that PCRE2 does not
/// understand.
tr_status tr_split_new(tr_split_t **split, const char *pattern, size_t length, bool literal,
                       tr_error_t *err);
void tr_split_destroy(tr_split_t **split);

/// Goes over `length` bytes of valid UTF-8; borrows split and text.
tr_split_cursor_t *tr_split_cursor_new(const tr_split_t *split, const char *text, size_t length);
void tr_split_cursor_destroy(tr_split_cursor_t **cursor);

/// The next piece, text[*start .. *start + *length); *length is 0 after the last one. Pieces are
/// never empty, and joined they are the text. TR_ERR_ARGUMENT when the expression exceeds PCRE2's
/// limits on this text.
tr_status tr_split_cursor_next(size_t *start, size_t *length, tr_split_cursor_t *cursor,
                               tr_error_t *err);

#endif
