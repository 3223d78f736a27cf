/// What a tokenizer is made of: shared by the files of common/text that read it from its directory
/// (tokenizer_*.c), by its stages (normalizer.c, pre_tokenizer.c, decoder.c), and by nobody else.
///
/// Encoding: added tokens are cut out of the text; what lies between is rewritten by the
/// normalizer, cut into pieces by the pre-tokenizer, and each piece is encoded by the model.
/// Decoding goes the other way, see text_stream.c.
#ifndef TR_TEXT_TOKENIZER_PARTS_H
#define TR_TEXT_TOKENIZER_PARTS_H

#include <jansson.h>

#include "common/text/bpe.h"
#include "common/text/pattern.h"
#include "common/text/tokenizer.h"
#include "common/text/tokenizer_source.h"
#include "common/text/unigram.h"

typedef struct tr_text_stage tr_text_stage_t;

/// Where a piece of text lies in the text that is encoded.
typedef enum tr_text_place {
    TR_TEXT_INSIDE,
    TR_TEXT_BEGINS,
    TR_TEXT_CONTINUES ///< it begins it, and continues an earlier text: nothing is put before it
} tr_text_place_t;

/// A row of the table of normalizers, pre-tokenizers or decoders: a type that tokenizer.json may
/// name, how its members are read, and what it does.
typedef struct tr_component {
    const char *name;
    /// NULL: it has no members that matter.
    tr_status (*parse)(tr_text_stage_t *stage, const json_t *node, tr_error_t *err);

    /// A normalizer: rewrites text, and says where what is left of it lies.
    tr_status (*normalize)(tr_bytes_t *text, const tr_text_stage_t *stage, tr_text_place_t *place,
                           tr_error_t *err);

    /// A pre-tokenizer: what must be done to a text before it is cut at the stage's pattern. False
    /// if nothing; else out, which is empty, has the new text. NULL: never anything.
    bool (*prepare)(tr_bytes_t *out, const tr_text_stage_t *stage, const char *text, size_t length,
                    tr_text_place_t place);

    /// A decoder: takes a token's text and hands what is certain to the next stage, by
    /// tr_text_stream_give. at: the stage's index.
    void (*push)(tr_text_stream_t *stream, size_t at, const char *text, size_t length);
    /// No more tokens: hands on what waits. NULL: nothing does.
    void (*finish)(tr_text_stream_t *stream, size_t at);
} tr_component_t;

/// Each ends with a row without a name.
extern const tr_component_t TR_NORMALIZERS[], TR_PRE_TOKENIZERS[], TR_DECODERS[];

/// When a prefix is put; the names are Metaspace's.
typedef enum tr_prepend { TR_PREPEND_NEVER, TR_PREPEND_FIRST, TR_PREPEND_ALWAYS } tr_prepend_t;

/// One step of a normalizer, a pre-tokenizer or a decoder. What a component does not use is zero.
struct tr_text_stage {
    const tr_component_t *component;
    tr_pattern_t *pattern; ///< what it looks for; NULL: nothing
    tr_bytes_t text;       ///< what it puts there, or before the text
    tr_cut_t cut;
    bool invert;
    bool bytes; ///< spells the bytes of the pieces in GPT-2's alphabet
    tr_prepend_t prepend;
    size_t left, right; ///< so many characters `character` are taken off the two ends
    uint32_t character;
    bool joined; ///< a decoder behind one that joins all tokens to one text
};

typedef struct tr_text_stages {
    tr_text_stage_t *items; // [count], in the order in which they are done
    size_t count;
} tr_text_stages_t;

void tr_text_stages_release(tr_text_stages_t *stages);

/// The stage's pattern, from a text of our own; fails as tr_pattern_new.
tr_status tr_text_stage_look_for(tr_text_stage_t *stage, const char *expression,
                                 tr_pattern_kind_t kind, tr_cut_t cut, tr_error_t *err);

/// The stage's pattern, from {"String": text} or {"Regex": text} at the key "pattern".
tr_status tr_text_stage_parse_pattern(tr_text_stage_t *stage, const json_t *node, tr_error_t *err);

/// One character at a key. TR_ERR_FORMAT.
tr_status tr_text_stage_parse_character(uint32_t *point, const json_t *node, const char *key,
                                        tr_error_t *err);

/// "add_prefix_space" and "prepend_scheme" of Metaspace.
tr_status tr_text_stage_parse_prepend(tr_prepend_t *prepend, const json_t *node, tr_error_t *err);

typedef struct tr_added_token {
    char *content;
    size_t length;
    int32_t id;
    bool lstrip;      ///< takes the white space before it
    bool rstrip;      ///< takes the white space after it
    bool single_word; ///< only where no word's character is next to it
} tr_added_token_t;

/// Added tokens that are looked for in one kind of text.
typedef struct tr_added_tokens {
    tr_added_token_t *items; // [count], in the order of their bytes
    size_t count;
    size_t firsts[257]; ///< where the tokens begin whose first byte is at least this
} tr_added_tokens_t;

/// The longest token that text starts with; NULL if there is none.
const tr_added_token_t *tr_added_tokens_at(const tr_added_tokens_t *tokens, const char *text,
                                           size_t length);

struct tr_tokenizer {
    tr_vocab_t *vocab; // the model's
    tr_vocab_t *added; // added tokens by content; decides before vocab
    bool *special;     // [tr_vocab_size(added)], by id
    tr_bpe_t *bpe;     // the model is one of the two
    tr_unigram_t *unigram;

    tr_added_tokens_t raw;        // looked for in the text as it is
    tr_added_tokens_t normalized; // and in what the normalizer makes of it
    tr_pattern_t *word;           // a character of a word; only for single_word
    tr_text_stages_t normalizer, pre_tokenizer, decoder;
    tr_ids_t template_before; // what the template puts around the text
    tr_ids_t template_after;
    int16_t byte_of[512]; // GPT-2's alphabet: code point -> byte, -1 if it stands for none
    char spelt[256][3];   // byte -> the UTF-8 of its code point, and a NUL

    int32_t bos;
    int32_t eos;
    size_t bound; // ids that the model has
};

/// Every id has a row in the model's embedding; else TR_ERR_ARGUMENT, which names the token.
tr_status tr_tokenizer_check_ids(const tr_tokenizer_t *tokenizer, const int32_t *ids, size_t count,
                                 tr_error_t *err);

/// All stages of the normalizer, in place. *place: TR_TEXT_INSIDE where a text that began has lost
/// its first character.
tr_status tr_tokenizer_normalize(tr_bytes_t *text, const tr_tokenizer_t *tokenizer,
                                 tr_text_place_t *place, tr_error_t *err);

/// A tokenizer without vocabularies, stages and special ids. Owned by the caller.
tr_tokenizer_t *tr_tokenizer_empty(void);

/// An id that fits a vocabulary, -1 for anything else.
int32_t tr_tokenizer_parse_id(const json_t *value);

/// The code point that stands for a byte in GPT-2's alphabet.
uint32_t tr_alphabet_point(unsigned byte);

/// The normalizer Precompiled (precompiled.c): how it is parsed, and what it does.
tr_status tr_precompiled_parse(tr_text_stage_t *stage, const json_t *node, tr_error_t *err);
tr_status tr_precompiled_normalize(tr_bytes_t *text, const tr_text_stage_t *stage,
                                   tr_text_place_t *place, tr_error_t *err);

/// "model" of tokenizer.json, and its tables.
tr_status tr_tokenizer_parse_model(tr_tokenizer_t *tokenizer, const tr_tokenizer_source_t *source,
                                   tr_error_t *err);

/// The parts "normalizer", "pre_tokenizer", "post_processor" and "decoder" of tokenizer.json.
tr_status tr_tokenizer_parse_pipeline(tr_tokenizer_t *tokenizer, const json_t *root,
                                      tr_error_t *err);

/// The list "added_tokens" of tokenizer.json; after the pipeline, which rewrites some of them.
tr_status tr_tokenizer_parse_added(tr_tokenizer_t *tokenizer, const json_t *list, tr_error_t *err);

/// What a stage of a decoder has of earlier tokens.
typedef struct tr_stage_state {
    tr_bytes_t held; // bytes that are not certain yet
    size_t left;     // characters that may still be taken off the start
    bool begun;      // a token has come
} tr_stage_state_t;

struct tr_text_stream {
    const tr_tokenizer_t *tokenizer;
    unsigned flags;
    tr_stage_state_t *states; // [decoder.count]
    tr_bytes_t out;           // what the last call returned
};

/// Hands text to the stage at an index; behind the last one it is the stream's.
void tr_text_stream_give(tr_text_stream_t *stream, size_t at, const char *text, size_t length);

#endif
