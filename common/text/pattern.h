/// What a step of a tokenizer looks for in a text: a regular expression or a plain text, and how a
/// text is cut at its matches.
#ifndef TR_TEXT_PATTERN_H
#define TR_TEXT_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"
#include "common/text/utf8.h"

typedef struct tr_pattern tr_pattern_t;

typedef enum tr_pattern_kind {
    TR_PATTERN_TEXT,  ///< the text itself
    TR_PATTERN_REGEX, ///< a regular expression as tokenizer.json has it (pattern_syntax.c)
    TR_PATTERN_PCRE2, ///< one of our own, as PCRE2 reads it
} tr_pattern_kind_t;

/// text: `length` bytes, length >= 1. TR_ERR_UNSUPPORTED for an expression that is not understood.
tr_status tr_pattern_new(tr_pattern_t **pattern, const char *text, size_t length,
                         tr_pattern_kind_t kind, tr_error_t *err);
void tr_pattern_destroy(tr_pattern_t **pattern);

/// Takes text[start .. end), a match or what lies between two. Anything but TR_OK ends the walk.
typedef tr_status (*tr_segment_fn)(void *context, size_t start, size_t end, bool match);

/// Hands the matches in `length` bytes of valid UTF-8, and what lies between them, to `take`, in
/// order: joined they are the text. A match may be empty. TR_ERR_ARGUMENT when the expression
/// exceeds PCRE2's limits on this text, or what `take` returned.
tr_status tr_pattern_find(const tr_pattern_t *pattern, const char *text, size_t length,
                          tr_segment_fn take, void *context, tr_error_t *err);

/// How a text is cut at the matches; the names are tokenizer.json's.
typedef enum tr_cut {
    TR_CUT_REMOVED,    ///< matches vanish
    TR_CUT_ISOLATED,   ///< each match is a piece
    TR_CUT_PREVIOUS,   ///< a match belongs to the piece before it
    TR_CUT_NEXT,       ///< a match belongs to the piece behind it
    TR_CUT_CONTIGUOUS, ///< matches that touch are one piece
} tr_cut_t;

/// The cut of a name ("MergedWithNext"); false if there is none.
bool tr_cut_find(tr_cut_t *cut, const char *name);

/// Takes a piece: text[start .. start + length), length >= 1. Anything but TR_OK ends the walk.
typedef tr_status (*tr_piece_fn)(void *context, size_t start, size_t length);

/// Hands the pieces of a text to `take`, in order. invert: what lies between matches is cut as if
/// it were a match, and matches as if they lay between. Fails as tr_pattern_find.
tr_status tr_pattern_cut(const tr_pattern_t *pattern, tr_cut_t cut, bool invert, const char *text,
                         size_t length, tr_piece_fn take, void *context, tr_error_t *err);

/// Every match in the text becomes `to`. *moved, if not NULL: whether the text's first character
/// went without one in its place (the `tokenizers` library puts `to` in the place of a match's last
/// one). Fails as tr_pattern_find, and where much more than 16 times the text would come
/// (TR_ERR_ARGUMENT); the text is then as it was.
tr_status tr_pattern_replace(tr_bytes_t *text, const tr_pattern_t *pattern, const tr_bytes_t *to,
                             bool *moved, tr_error_t *err);

/// An expression of Oniguruma's as PCRE2 reads it. Appends to out. TR_ERR_UNSUPPORTED, naming what
/// the two read differently.
tr_status tr_pattern_translate(tr_bytes_t *out, const char *text, size_t length, tr_error_t *err);

#endif
