/// Unigram language model (Kudo 2018): of all ways to spell a piece of text by tokens, the one
/// whose scores have the largest sum. Linear in the length of the piece.
#ifndef TR_TEXT_UNIGRAM_H
#define TR_TEXT_UNIGRAM_H

#include "common/text/utf8.h"
#include "common/text/vocab.h"

typedef struct tr_unigram tr_unigram_t;

/// Borrows vocab. scores: [tr_vocab_size(vocab)], of each id, copied. unk: the id of characters
/// without a token, -1: there is none. byte_fallback: they are spelt as <0xNN> instead, if all of
/// their bytes have tokens.
tr_unigram_t *tr_unigram_new(const tr_vocab_t *vocab, const double *scores, int32_t unk,
                             bool byte_fallback);
void tr_unigram_destroy(tr_unigram_t **unigram);

/// Appends the ids of a piece: `length` bytes of valid UTF-8. False if unk is needed and there is
/// none.
bool tr_unigram_encode(tr_ids_t *ids, const tr_unigram_t *unigram, const char *piece,
                       size_t length);

#endif
