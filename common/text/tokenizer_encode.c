// Text to ids, from the outside to the inside: added tokens that are looked for in the raw text are
// cut out; what lies between is normalized, and added tokens that are looked for there are cut out;
// then the stages of the pre-tokenizer cut the rest into pieces, one inside the other, and BPE
// (bpe.c) encodes each piece. At last the template's tokens are put around the ids. text_stream.c
// is the way back.
#include <stdlib.h>
#include <string.h>

#include "common/text/tokenizer_parts.h"

/// One call of tr_tokenizer_encode.
typedef struct encoding {
    const tr_tokenizer_t *tokenizer;
    tr_bpe_work_t *work;
    tr_ids_t ids;
    tr_error_t *err;
} encoding_t;

// Pieces

/// One rule over a whole text, into new memory: lengths change.
static void apply(tr_bytes_t *text, const tr_text_rule_t *rule)
{
    const tr_bytes_t *from = &rule->from, *to = &rule->to;
    tr_bytes_t result = {0};
    // SentencePiece's "▁" before the first word; an empty text has no word.
    if (from->length == 0) { // a prefix, of a text that is not empty
        tr_bytes_append(&result, to->data, text->length > 0 ? to->length : 0);
        tr_bytes_append(&result, text->data, text->length);
    }
    for (size_t at = 0; from->length > 0 && at < text->length;) {
        const char *rest = text->data + at;
        // Texts may hold NUL bytes, so not strstr. What was put in is not looked at again.
        const char *found = memmem(rest, text->length - at, from->data, from->length);
        size_t kept = found == NULL ? text->length - at : (size_t)(found - rest);
        tr_bytes_append(&result, rest, kept);
        at += kept;
        if (found != NULL) {
            tr_bytes_append(&result, to->data, to->length);
            at += from->length;
        }
    }
    tr_bytes_release(text);
    *text = result;
}

void tr_text_rules_apply(tr_bytes_t *text, const tr_text_rules_t *rules, bool continues)
{
    for (size_t i = 0; i < rules->count; i++) {
        if (!continues || rules->items[i].from.length > 0) {
            apply(text, &rules->items[i]);
        }
    }
}

/// The bytes of text in GPT-2's alphabet.
static tr_bytes_t spell_bytes(const tr_tokenizer_t *tokenizer, const char *text, size_t length)
{
    tr_bytes_t result = {0};
    for (size_t i = 0; i < length; i++) {
        const char *spelt = tokenizer->spelt[(unsigned char)text[i]];
        tr_bytes_append(&result, spelt, strlen(spelt));
    }
    return result;
}

static tr_status encode_stage(encoding_t *encoding, size_t stage, const char *text, size_t length,
                              bool continues);

/// One piece that a stage cut off goes on to the next stage.
static tr_status encode_piece(encoding_t *encoding, size_t stage, const char *text, size_t length,
                              bool continues)
{
    // A later stage cuts each piece of an earlier one further, as a Sequence of pre-tokenizers
    // does.
    if (!encoding->tokenizer->stages[stage].bytes) {
        return encode_stage(encoding, stage + 1, text, length, continues);
    }
    // After splitting, since the expressions are about characters, not about the alphabet of bytes.
    tr_bytes_t spelt = spell_bytes(encoding->tokenizer, text, length);
    tr_status status = encode_stage(encoding, stage + 1, spelt.data, spelt.length, continues);
    tr_bytes_release(&spelt);
    return status;
}

/// A text that is being split by a stage.
typedef struct splitting {
    encoding_t *encoding;
    size_t stage;
    const char *text;
    bool continues;
} splitting_t;

/// A tr_piece_fn.
static tr_status take_piece(void *context, size_t start, size_t length)
{
    const splitting_t *s = context;
    return encode_piece(s->encoding, s->stage, s->text + start, length, s->continues && start == 0);
}

/// A text in pieces by the stage's expression, or in one piece where it has none.
static tr_status encode_split(encoding_t *encoding, size_t stage, const char *text, size_t length,
                              bool continues)
{
    const tr_split_t *split = encoding->tokenizer->stages[stage].split;
    splitting_t splitting = {encoding, stage, text, continues};
    return split == NULL ? take_piece(&splitting, 0, length)
                         : tr_split_run(split, text, length, take_piece, &splitting, encoding->err);
}

/// The stages from `stage` on; past the last one BPE.
static tr_status encode_stage(encoding_t *encoding, size_t stage, const char *text, size_t length,
                              bool continues)
{
    const tr_tokenizer_t *tokenizer = encoding->tokenizer;
    if (stage == tokenizer->stage_count) {
        tr_bpe_encode(&encoding->ids, tokenizer->bpe, encoding->work, text, length);
        return TR_OK;
    }
    // As a word in the middle of a text begins with a space, the first one gets one too.
    uint32_t first = 0;
    tr_utf8_next(&first, text, length);
    if (!tokenizer->stages[stage].prefix_space || continues || tr_utf8_is_space(first)) {
        return encode_split(encoding, stage, text, length, continues);
    }
    tr_bytes_t spaced = {0};
    tr_bytes_append(&spaced, " ", 1);
    tr_bytes_append(&spaced, text, length);
    tr_status status = encode_split(encoding, stage, spaced.data, spaced.length, continues);
    tr_bytes_release(&spaced);
    return status;
}

// Added tokens

/// The longest added token that text starts with; NULL if there is none.
static const tr_added_token_t *token_at(const tr_tokenizer_t *tokenizer, const char *text,
                                        size_t length, bool normalized)
{
    for (size_t i = 0; i < tokenizer->token_count; i++) {
        // The list has the longest first, so the first that fits is the longest.
        const tr_added_token_t *token = &tokenizer->tokens[i];
        if (token->normalized == normalized && token->length <= length &&
            memcmp(text, token->content, token->length) == 0) {
            return token;
        }
    }
    return NULL;
}

/// Where the white space that ends text[from .. to) starts.
static size_t space_before(const char *text, size_t from, size_t to)
{
    while (to > from) {
        // Back over the bytes that continue a character, to where it begins.
        size_t at = to - 1;
        while (at > from && ((unsigned char)text[at] & 0xC0) == 0x80) {
            at--;
        }
        uint32_t point = 0;
        if (tr_utf8_next(&point, text + at, to - at) == 0 || !tr_utf8_is_space(point)) {
            break;
        }
        to = at;
    }
    return to;
}

/// Where the white space that text[from .. to) starts with ends.
static size_t space_after(const char *text, size_t from, size_t to)
{
    uint32_t point = 0;
    for (size_t n;
         (n = tr_utf8_next(&point, text + from, to - from)) > 0 && tr_utf8_is_space(point);) {
        from += n;
    }
    return from;
}

/// firsts: [256], set for each byte that an added token of the kind starts with.
static void mark_firsts(bool *firsts, const tr_tokenizer_t *tokenizer, bool normalized)
{
    memset(firsts, 0, 256 * sizeof *firsts);
    for (size_t i = 0; i < tokenizer->token_count; i++) {
        if (tokenizer->tokens[i].normalized == normalized) {
            firsts[(unsigned char)tokenizer->tokens[i].content[0]] = true;
        }
    }
}

static tr_status encode_between(encoding_t *encoding, const char *text, size_t length,
                                bool continues, bool normalized);

/// Cuts the added tokens of one kind (normalized or not) out of text, which is of that kind, and
/// encodes what lies between.
static tr_status encode_added(encoding_t *encoding, const char *text, size_t length, bool continues,
                              bool normalized)
{
    bool firsts[256]; // bytes that such a token starts with, so that most bytes cost one look
    mark_firsts(firsts, encoding->tokenizer, normalized);
    // Text between two tokens is handed on when the second is found: a token may take white space
    // before it.
    size_t done = 0; // bytes that were handed on or belong to a token
    for (size_t at = 0; at < length;) {
        const tr_added_token_t *token = NULL;
        if (firsts[(unsigned char)text[at]]) {
            token = token_at(encoding->tokenizer, text + at, length - at, normalized);
        }
        if (token == NULL) {
            at++;
            continue;
        }
        // Not before `done`: what an earlier token took is gone.
        size_t start = token->lstrip ? space_before(text, done, at) : at;
        at += token->length;
        if (start > done) {
            TR_TRY(encode_between(encoding, text + done, start - done, continues && done == 0,
                                  normalized));
        }
        // Never through the stages: an added token is one id, whatever it is made of.
        tr_ids_append(&encoding->ids, token->id);
        at = token->rstrip ? space_after(text, at, length) : at;
        done = at;
    }
    return done < length ? encode_between(encoding, text + done, length - done,
                                          continues && done == 0, normalized)
                         : TR_OK;
}

/// Text between two added tokens: raw text is normalized, and its other added tokens are looked
/// for; normalized text goes through the stages.
static tr_status encode_between(encoding_t *encoding, const char *text, size_t length,
                                bool continues, bool normalized)
{
    if (normalized) {
        return encode_stage(encoding, 0, text, length, continues);
    }
    tr_bytes_t normal = {0};
    tr_bytes_append(&normal, text, length);
    tr_text_rules_apply(&normal, &encoding->tokenizer->rules, continues);
    tr_status status = encode_added(encoding, normal.data, normal.length, continues, true);
    tr_bytes_release(&normal);
    return status;
}

// The template

/// Whether ids has the wanted ones at `at`, from where it has as many.
static bool has_ids(const tr_ids_t *ids, size_t at, const tr_ids_t *wanted)
{
    return wanted->count == 0 ||
           memcmp(ids->data + at, wanted->data, wanted->count * sizeof *ids->data) == 0;
}

/// Puts the template around the ids, but not where the text brought its ids along.
static void add_template(tr_ids_t *ids, const tr_tokenizer_t *tokenizer)
{
    // The one difference from the tokenizers library (tokenizer.h): a prompt that begins with the
    // begin token gets no second one.
    const tr_ids_t *before = &tokenizer->template_before;
    const tr_ids_t *after = &tokenizer->template_after;
    tr_ids_t result = {0};
    bool begun = before->count <= ids->count && has_ids(ids, 0, before);
    bool ended = after->count <= ids->count && has_ids(ids, ids->count - after->count, after);
    tr_ids_extend(&result, before->data, begun ? 0 : before->count);
    tr_ids_extend(&result, ids->data, ids->count);
    tr_ids_extend(&result, after->data, ended ? 0 : after->count);
    tr_ids_release(ids);
    *ids = result;
}

/// The text is checked and bounded here, once: all functions above rely on it.
tr_status tr_tokenizer_encode(int32_t **ids, size_t *count, const tr_tokenizer_t *tokenizer,
                              const char *text, size_t length, unsigned flags, tr_error_t *err)
{
    *ids = NULL;
    *count = 0;
    // Checked once here; everything further inside relies on it.
    size_t valid = tr_utf8_valid(text, length);
    if (valid < length) {
        return tr_fail(err, TR_ERR_ARGUMENT, "cannot encode text: byte %zu (0x%02X) is not UTF-8",
                       valid, (unsigned char)text[valid]);
    }
    // BPE counts symbols in 32 bits, and ByteLevel doubles a byte.
    if (length > (size_t)1 << 30) {
        return tr_fail(err, TR_ERR_ARGUMENT, "cannot encode text: %zu bytes; at most %d are taken",
                       length, 1 << 30);
    }
    // Scratch memory of this call alone: threads share a tokenizer.
    encoding_t encoding = {.tokenizer = tokenizer, .work = tr_bpe_work_new(), .err = err};
    tr_status status =
        encode_added(&encoding, text, length, (flags & TR_ENCODE_CONTINUES) != 0, false);
    tr_bpe_work_destroy(&encoding.work);
    if (status == TR_OK) {
        if ((flags & TR_ENCODE_SPECIAL) != 0) {
            add_template(&encoding.ids, tokenizer);
        }
        *count = encoding.ids.count;
        // Not NULL for a text without tokens: callers copy and free it as any other.
        *ids = encoding.ids.data != NULL ? encoding.ids.data : tr_alloc(sizeof **ids);
        return TR_OK;
    }
    tr_ids_release(&encoding.ids);
    return status;
}
