/// Strings to ids and back: the vocabulary of a tokenizer.
#ifndef TR_TEXT_VOCAB_H
#define TR_TEXT_VOCAB_H

#include <stddef.h>
#include <stdint.h>

typedef struct tr_vocab tr_vocab_t;

enum { TR_VOCAB_LIMIT = 1 << 24 }; ///< ids are below this

/// limit: how many strings will be added at most.
tr_vocab_t *tr_vocab_new(size_t limit);
void tr_vocab_destroy(tr_vocab_t **vocab);

/// Adds a string (copied) for id, 0 <= id < TR_VOCAB_LIMIT; a string or id that was there is
/// replaced.
void tr_vocab_add(tr_vocab_t *vocab, const char *text, size_t length, int32_t id);

/// The id of a string, -1 if it is not there.
int32_t tr_vocab_find(const tr_vocab_t *vocab, const char *text, size_t length);

/// The string of an id, NUL terminated, the vocabulary's until the next one is added; NULL if there
/// is none. length may be NULL.
const char *tr_vocab_text(size_t *length, const tr_vocab_t *vocab, int32_t id);

/// Bytes of the longest string.
size_t tr_vocab_longest(const tr_vocab_t *vocab);

/// The largest id plus one.
size_t tr_vocab_size(const tr_vocab_t *vocab);

#endif
