/// A tokenizer as the files of its directory say it, before it is built: what tokenizer.json says,
/// whichever files say it. Its tables are kept apart from its JSON, as they have hundreds of
/// thousands of rows. Shared by the files that read a directory (tokenizer_*.c).
#ifndef TR_TEXT_TOKENIZER_SOURCE_H
#define TR_TEXT_TOKENIZER_SOURCE_H

#include <jansson.h>

#include "common/base/status.h"
#include "common/text/utf8.h"

/// A token of the model. `text` is not NUL terminated.
typedef struct tr_source_token {
    const char *text;
    uint32_t length;
    int32_t id;   ///< -1: the file has none that fits
    double score; ///< Unigram's
} tr_source_token_t;

/// A merge of BPE: two texts, which become one.
typedef struct tr_source_merge {
    const char *left, *right;
    uint32_t left_length, right_length;
} tr_source_merge_t;

typedef struct tr_tokenizer_source {
    json_t *root; ///< as tokenizer.json; model.vocab and model.merges, if any, are null
    tr_source_token_t *tokens; // [token_count]
    size_t token_count, token_capacity;
    tr_source_merge_t *merges; // [merge_count], the first learned first
    size_t merge_count, merge_capacity;
    char *files[2];   ///< what was read; the texts point into it
    tr_bytes_t texts; ///< or into this
} tr_tokenizer_source_t;

/// {0} is empty.
void tr_tokenizer_source_release(tr_tokenizer_source_t *source);

void tr_tokenizer_source_add_token(tr_tokenizer_source_t *source, tr_source_token_t token);
void tr_tokenizer_source_add_merge(tr_tokenizer_source_t *source, tr_source_merge_t merge);

/// Reads a tokenizer.json into an empty source. TR_ERR_IO, TR_ERR_FORMAT.
tr_status tr_tokenizer_source_read_json(tr_tokenizer_source_t *source, const char *path,
                                        tr_error_t *err);

/// The tokens of a vocab.json, and the merges of a merges.txt. TR_ERR_IO, TR_ERR_FORMAT.
tr_status tr_tokenizer_source_read_vocab(tr_tokenizer_source_t *source, const char *path,
                                         tr_error_t *err);
tr_status tr_tokenizer_source_read_merges(tr_tokenizer_source_t *source, const char *path,
                                          tr_error_t *err);

#endif
