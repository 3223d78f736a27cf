/// What a tokenizer is made of: shared by the files tokenizer*.c and text_stream.c, and by nobody
/// else.
///
/// Encoding: added tokens are cut out of the text; what lies between is rewritten by the rules, cut
/// into pieces by the stages, and each piece is encoded by BPE. Decoding goes the other way, see
/// text_stream.c.
#ifndef TR_TEXT_TOKENIZER_PARTS_H
#define TR_TEXT_TOKENIZER_PARTS_H

#include <jansson.h>

#include "common/text/bpe.h"
#include "common/text/split.h"
#include "common/text/tokenizer.h"

/// One rewriting of text: from -> to everywhere, or (from is empty) `to` put before text that is
/// not empty.
typedef struct tr_text_rule {
    tr_bytes_t from, to;
} tr_text_rule_t;

typedef struct tr_text_rules {
    tr_text_rule_t *items; // [count], applied in this order
    size_t count;
} tr_text_rules_t;

/// One step of the pre-tokenizer.
typedef struct tr_text_stage {
    tr_split_t *split; ///< NULL: the text stays in one piece
    bool bytes;        ///< ByteLevel: spell the bytes in GPT-2's alphabet after splitting
    bool prefix_space;
} tr_text_stage_t;

typedef struct tr_added_token {
    char *content;
    size_t length;
    int32_t id;
    bool special;
    bool lstrip;     ///< takes the white space before it
    bool rstrip;     ///< takes the white space after it
    bool normalized; ///< looked for after the rules, in the form that they give it
} tr_added_token_t;

typedef enum tr_decoder_kind { TR_DECODER_BYTE_LEVEL, TR_DECODER_PIECES } tr_decoder_kind_t;

struct tr_tokenizer {
    tr_vocab_t *vocab; // the model's
    tr_vocab_t *added; // added tokens by content; decides before vocab
    tr_bpe_t *bpe;

    tr_added_token_t *tokens; // [token_count], longest content first
    size_t token_count;
    tr_text_rules_t rules;   // the normalizer
    tr_text_stage_t *stages; // [stage_count], the pre-tokenizer
    size_t stage_count;
    tr_ids_t template_before; // what the template puts around the text
    tr_ids_t template_after;

    tr_decoder_kind_t decoder;
    tr_text_rules_t decoder_rules; // for each token; only TR_DECODER_PIECES
    bool decoder_byte_fallback;
    size_t strip_count;   // so many characters `strip` are taken from the start
    uint32_t strip;       // a code point
    int16_t byte_of[512]; // GPT-2's alphabet: code point -> byte, -1 if it stands for none
    char spelt[256][3];   // byte -> the UTF-8 of its code point, and a NUL

    int32_t bos;
    int32_t eos;
};

/// Rewrites text in place. continues: it is not a beginning, so that nothing is put before it.
void tr_text_rules_apply(tr_bytes_t *text, const tr_text_rules_t *rules, bool continues);

/// A tokenizer without vocabularies, stages and special ids. Owned by the caller.
tr_tokenizer_t *tr_tokenizer_empty(void);

/// The parts "normalizer", "pre_tokenizer", "post_processor" and "decoder" of tokenizer.json.
tr_status tr_tokenizer_parse_pipeline(tr_tokenizer_t *tokenizer, const json_t *root,
                                      tr_error_t *err);

#endif
