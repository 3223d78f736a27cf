/// Text to token ids and back, as the files of a Hugging Face directory define it: tokenizer.json,
/// a tokenizer.model of SentencePiece or tiktoken, tiktoken.model, tekken.json, or vocab.json with
/// merges.txt.
///
/// The ids and the decoded text are those of transformers 5 (golden files pin them), with one
/// deliberate difference: special ids that the template would add are not added where the text
/// already has them, so a prompt that starts with the begin token does not get two.
///
/// It understands the models BPE and Unigram, added tokens, TemplateProcessing, and the
/// normalizers, pre-tokenizers and decoders that have a row in normalizer.c, pre_tokenizer.c and
/// decoder.c. Anything else is refused by its name.
///
/// A tokenizer is never written after tr_tokenizer_new and tr_tokenizer_bound: threads may share
/// one. It knows no models.
#ifndef TR_TEXT_TOKENIZER_H
#define TR_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

typedef struct tr_tokenizer tr_tokenizer_t;
typedef struct tr_text_stream tr_text_stream_t;

/// Flags of tr_tokenizer_encode.
enum {
    TR_ENCODE_SPECIAL = 1,  ///< add the template's tokens (begin, ...) that the text has not
    TR_ENCODE_CONTINUES = 2 ///< the text continues an earlier one: no space is put before it
};

/// Flags of tr_tokenizer_decode and tr_text_stream_new.
enum {
    TR_DECODE_SKIP_SPECIAL = 1, ///< special tokens leave no text
    TR_DECODE_CONTINUES = 2     ///< the ids continue earlier ones: a space at the start is kept
};

// Life cycle

/// Reads the directory's files, and the special ids from tokenizer_config.json,
/// generation_config.json and config.json, where those exist (the first that names one decides).
/// *tokenizer: owned by the caller; NULL on failure. TR_ERR_IO, TR_ERR_FORMAT, TR_ERR_UNSUPPORTED.
tr_status tr_tokenizer_new(tr_tokenizer_t **tokenizer, const char *model_directory,
                           tr_error_t *err);
void tr_tokenizer_destroy(tr_tokenizer_t **tokenizer);

/// The tokens are from now on those of a model that has the ids below `ids`. The vocabulary, begin
/// and end tokens and the template must fit (TR_ERR_ARGUMENT). Other added tokens may lie beyond,
/// as that of images does for the text models of Gemma 3: a text that has one cannot be encoded.
tr_status tr_tokenizer_bound(tr_tokenizer_t *tokenizer, size_t ids, tr_error_t *err);

// Text to ids

/// Encodes `length` bytes of UTF-8 (NUL bytes allowed). *ids: [*count], owned by the caller (free),
/// not NULL. Fails for invalid UTF-8 (TR_ERR_ARGUMENT, naming the byte), for an id that the model
/// lacks (tr_tokenizer_bound), and when a split expression gives up.
tr_status tr_tokenizer_encode(int32_t **ids, size_t *count, const tr_tokenizer_t *tokenizer,
                              const char *text, size_t length, unsigned flags, tr_error_t *err);

// Ids to text

/// The text of ids: [count]. Owned by the caller (free), NUL terminated after *length bytes (length
/// may be NULL), always valid UTF-8: bytes that are none become U+FFFD. Ids outside the vocabulary
/// leave no text.
char *tr_tokenizer_decode(size_t *length, const tr_tokenizer_t *tokenizer, const int32_t *ids,
                          size_t count, unsigned flags);

/// Decoding while ids arrive. The pieces joined are exactly what tr_tokenizer_decode gives for all
/// the ids: a piece is returned once no later id can change it. Borrows the tokenizer.
tr_text_stream_t *tr_text_stream_new(const tr_tokenizer_t *tokenizer, unsigned flags);
void tr_text_stream_destroy(tr_text_stream_t **stream);

/// The text that became certain by this id: valid UTF-8, *length bytes (may be 0; length may be
/// NULL), NUL terminated, the stream's until its next call.
const char *tr_text_stream_push(size_t *length, tr_text_stream_t *stream, int32_t id);

/// What tr_text_stream_flush would return now; the stream goes on.
const char *tr_text_stream_peek(size_t *length, tr_text_stream_t *stream);

/// The rest, incomplete characters as U+FFFD; the stream then starts afresh with its first flags.
const char *tr_text_stream_flush(size_t *length, tr_text_stream_t *stream);

// The vocabulary

/// The largest id plus one: what an embedding must have at least.
size_t tr_tokenizer_vocab_size(const tr_tokenizer_t *tokenizer);

/// The id of a token's text as the file spells it ("<s>", "\u2581the"); -1 if there is none.
int32_t tr_tokenizer_id(const tr_tokenizer_t *tokenizer, const char *token);

/// The token's text as the file spells it; the tokenizer's; NULL for an id that has none.
const char *tr_tokenizer_token(const tr_tokenizer_t *tokenizer, int32_t id);

/// Whether TR_DECODE_SKIP_SPECIAL skips the id.
bool tr_tokenizer_is_special(const tr_tokenizer_t *tokenizer, int32_t id);

/// -1 where the files name none.
int32_t tr_tokenizer_bos(const tr_tokenizer_t *tokenizer);
int32_t tr_tokenizer_eos(const tr_tokenizer_t *tokenizer);

#endif
