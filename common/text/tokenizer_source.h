/// A tokenizer as the files of its directory say it, before it is built: what tokenizer.json says,
/// whichever files say it. Its tables are kept apart from its JSON, as they have hundreds of
/// thousands of rows. Shared by the files that read a directory (tokenizer_*.c, sentencepiece.c,
/// tiktoken.c).
#ifndef TR_TEXT_TOKENIZER_SOURCE_H
#define TR_TEXT_TOKENIZER_SOURCE_H

#include <jansson.h>
#include <stdbool.h>

#include "common/base/status.h"
#include "common/text/utf8.h"
#include "common/text/vocab.h"

/// Bytes of a vocabulary's file at most: the largest public ones have some 35 MB.
enum { TR_TOKENIZER_FILE_LIMIT = 256 << 20 };

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

typedef struct tr_tokenizer_class tr_tokenizer_class_t;

typedef struct tr_tokenizer_source {
    // Files beside the tokenizer's own; NULL where there is none. See tr_tokenizer_source_open.
    json_t *tokenizer_config, *config, *special_tokens_map, *added_tokens;
    const tr_tokenizer_class_t *class; ///< what transformers builds anew; NULL: nothing

    /// As tokenizer.json; model.vocab and model.merges, if any, are null. Added tokens need no id.
    json_t *root;
    tr_source_token_t *tokens; ///< [token_count]
    size_t token_count, token_capacity;
    tr_source_merge_t *merges; ///< [merge_count], the first learned first
    size_t merge_count, merge_capacity;
    bool from_json; ///< there is a tokenizer.json
    bool whole;     ///< the root is complete, whatever the class would build
    /// {"bos_token": text, ...}: as the vocabulary's own file names them, or NULL; once the source
    /// is complete, as all files and the class do.
    json_t *names;
    json_t *renamed;  ///< owns texts of tokens that files rename
    json_t *extra;    ///< its added tokens, as members of "added_tokens" without ids, or NULL
    bool reserves;    ///< ids past the vocabulary that files name are filled up
    bool raw_added;   ///< added tokens are looked for in the text as it is
    char *files[2];   ///< what was read; the texts point into it
    tr_bytes_t texts; ///< or into this
} tr_tokenizer_source_t;

/// Reads tokenizer_config.json, config.json, special_tokens_map.json and added_tokens.json of a
/// directory, where they exist, into an empty source ({0}). TR_ERR_IO, TR_ERR_FORMAT.
tr_status tr_tokenizer_source_open(tr_tokenizer_source_t *source, const char *directory,
                                   tr_error_t *err);
void tr_tokenizer_source_release(tr_tokenizer_source_t *source);

void tr_tokenizer_source_add_token(tr_tokenizer_source_t *source, tr_source_token_t token);
void tr_tokenizer_source_add_merge(tr_tokenizer_source_t *source, tr_source_merge_t merge);

// Files of vocabularies. Each: TR_ERR_IO, TR_ERR_FORMAT.

/// A tokenizer.json.
tr_status tr_tokenizer_source_read_json(tr_tokenizer_source_t *source, const char *path,
                                        tr_error_t *err);

/// The tokens of a vocab.json, and the merges of a merges.txt.
tr_status tr_tokenizer_source_read_vocab(tr_tokenizer_source_t *source, const char *path,
                                         tr_error_t *err);
tr_status tr_tokenizer_source_read_merges(tr_tokenizer_source_t *source, const char *path,
                                          tr_error_t *err);

/// A tokenizer.model of SentencePiece. *is_model: false, and nothing is read, where the file is
/// none.
tr_status tr_tokenizer_source_read_sentencepiece(tr_tokenizer_source_t *source, const char *path,
                                                 bool *is_model, tr_error_t *err);

/// A tokenizer.model or tiktoken.model as tiktoken has it, and a tekken.json.
tr_status tr_tokenizer_source_read_tiktoken(tr_tokenizer_source_t *source, const char *path,
                                            tr_error_t *err);
tr_status tr_tokenizer_source_read_tekken(tr_tokenizer_source_t *source, const char *path,
                                          tr_error_t *err);

// What transformers makes of them (tokenizer_class.c)

/// Finds source->class, by the names in the directory's files and by source->root, if there is one.
/// TR_ERR_UNSUPPORTED for a class whose tokenizer is none of ours.
tr_status tr_tokenizer_source_find_class(tr_tokenizer_source_t *source, tr_error_t *err);

/// Whether the class reads vocab.json and merges.txt.
bool tr_tokenizer_class_reads_pairs(const tr_tokenizer_class_t *class);

/// Builds the class's model and pipeline in source->root, if there is a class.
void tr_tokenizer_source_build_class(tr_tokenizer_source_t *source);

/// "added_tokens" of source->root, as transformers completes it by the directory's other files, and
/// the template that add_bos_token and add_eos_token ask for where there is no tokenizer.json.
/// vocab: the model's (tokenizer_specials.c).
tr_status tr_tokenizer_source_complete(tr_tokenizer_source_t *source, const tr_vocab_t *vocab,
                                       tr_error_t *err);

/// The added tokens to which files give ids: {"id": member of "added_tokens"}; the caller's.
json_t *tr_tokenizer_source_numbered(const tr_tokenizer_source_t *source);

/// What the class does to special tokens: their names where tokenizer_config.json has none
/// (a JSON object, the caller's); whether each is added once more, as a plain one; and whether the
/// template of tokenizer.json is dropped.
json_t *tr_tokenizer_class_names(const tr_tokenizer_class_t *class);
bool tr_tokenizer_class_adds_specials(const tr_tokenizer_class_t *class);
bool tr_tokenizer_class_drops_template(const tr_tokenizer_class_t *class);

#endif
