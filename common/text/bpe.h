/// Byte pair encoding (Sennrich et al. 2016): a piece of text becomes symbols, and the pair of
/// neighbours that was learned first is merged until none is left. n log n in the length of the
/// piece.
#ifndef TR_TEXT_BPE_H
#define TR_TEXT_BPE_H

#include "common/text/utf8.h"
#include "common/text/vocab.h"

typedef struct tr_bpe tr_bpe_t;
typedef struct tr_bpe_work tr_bpe_work_t; ///< scratch memory, one a thread

/// How characters without a token are spelt; the names are tokenizer.json's.
typedef struct tr_bpe_options {
    int32_t unk;        ///< id of unk_token; -1: such characters vanish
    bool fuse_unk;      ///< neighbours share one unk
    bool byte_fallback; ///< spell the bytes as <0xNN>, if all of them have tokens
    bool ignore_merges; ///< a piece that is a token is taken whole
} tr_bpe_options_t;

/// Borrows vocab. merges: how many will be added at most.
tr_bpe_t *tr_bpe_new(const tr_vocab_t *vocab, const tr_bpe_options_t *options, size_t merges);
void tr_bpe_destroy(tr_bpe_t **bpe);

/// The pair (left, right) becomes `merged`; a smaller rank is merged earlier. A pair that was there
/// is replaced.
void tr_bpe_add_merge(tr_bpe_t *bpe, int32_t left, int32_t right, int32_t merged, uint32_t rank);

tr_bpe_work_t *tr_bpe_work_new(void);
void tr_bpe_work_destroy(tr_bpe_work_t **work);

/// Appends the ids of a piece: `length` bytes of valid UTF-8, fewer than 2^31.
void tr_bpe_encode(tr_ids_t *ids, const tr_bpe_t *bpe, tr_bpe_work_t *work, const char *piece,
                   size_t length);

#endif
