/// Text cut into pieces by a regular expression: each match is a piece, and so is what lies between
/// two.
#ifndef TR_TEXT_SPLIT_H
#define TR_TEXT_SPLIT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"

typedef struct tr_split tr_split_t;

/// The expression of GPT-2's byte-level tokenizer.
extern const char *const TR_SPLIT_GPT2;

/// pattern: `length` bytes, as tokenizer.json has it (Oniguruma's syntax, of which PCRE2's is
/// taken). literal: it is plain text. TR_ERR_UNSUPPORTED for an expression that PCRE2 does not
/// understand.
tr_status tr_split_new(tr_split_t **split, const char *pattern, size_t length, bool literal,
                       tr_error_t *err);
void tr_split_destroy(tr_split_t **split);

/// Takes a piece: text[start .. start + length), length >= 1. Anything but TR_OK ends the walk.
typedef tr_status (*tr_piece_fn)(void *context, size_t start, size_t length);

/// Hands the pieces of `length` bytes of valid UTF-8 to `take`, in order: none is empty, and joined
/// they are the text. TR_ERR_ARGUMENT when the expression exceeds PCRE2's limits on this text, or
/// what `take` returned.
tr_status tr_split_run(const tr_split_t *split, const char *text, size_t length, tr_piece_fn take,
                       void *context, tr_error_t *err);

#endif
