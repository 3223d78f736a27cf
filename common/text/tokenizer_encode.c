// Text to ids, from the outside to the inside: added tokens that are looked for in the raw text are
// cut out; what lies between is normalized, and added tokens that are looked for there are cut out;
// then the stages of the pre-tokenizer cut the rest into pieces, one inside the other, and the
// model (bpe.c, unigram.c) encodes each piece. At last the template's tokens are put around the
// ids. text_stream.c is the way back.
#include <stdlib.h>
#include <string.h>

#include "common/text/tokenizer_parts.h"

/// What a stage of the pre-tokenizer writes: memory that is used again for the next piece.
typedef struct scratch {
    tr_bytes_t prepared, spelt;
} scratch_t;

/// One call of tr_tokenizer_encode.
typedef struct encoding {
    const tr_tokenizer_t *tokenizer;
    tr_bpe_work_t *work;
    scratch_t *scratch; // [pre_tokenizer.count]
    tr_ids_t ids;
    tr_error_t *err;
} encoding_t;

// Pieces

static tr_status encode_model(encoding_t *encoding, const char *text, size_t length)
{
    const tr_tokenizer_t *tokenizer = encoding->tokenizer;
    if (tokenizer->bpe != NULL) {
        tr_bpe_encode(&encoding->ids, tokenizer->bpe, encoding->work, text, length);
        return TR_OK;
    }
    return tr_unigram_encode(&encoding->ids, tokenizer->unigram, text, length)
               ? TR_OK
               : tr_fail(encoding->err, TR_ERR_ARGUMENT,
                         "cannot encode text: a character has no token, and there is no unk_id");
}

/// The bytes of text in GPT-2's alphabet.
static void spell_bytes(tr_bytes_t *out, const tr_tokenizer_t *tokenizer, const char *text,
                        size_t length)
{
    out->length = 0;
    tr_bytes_reserve(out, 2 * length);
    char *to = out->data;
    for (size_t i = 0; i < length; i++) {
        const char *spelt = tokenizer->spelt[(unsigned char)text[i]];
        *to++ = spelt[0];
        *to = spelt[1];
        to += spelt[1] != '\0';
    }
    out->length = (size_t)(to - out->data);
}

static tr_status encode_stage(encoding_t *encoding, size_t stage, const char *text, size_t length,
                              tr_text_place_t place);

/// A text that is being cut by a stage.
typedef struct cutting {
    encoding_t *encoding;
    size_t stage;
    const char *text;
    tr_text_place_t place;
} cutting_t;

/// A tr_piece_fn: a later stage cuts each piece of an earlier one further, as a Sequence of
/// pre-tokenizers does.
static tr_status take_piece(void *context, size_t start, size_t length)
{
    const cutting_t *c = context;
    encoding_t *encoding = c->encoding;
    const char *text = c->text + start;
    // After cutting, since the expressions are about characters, not about the alphabet of bytes.
    if (encoding->tokenizer->pre_tokenizer.items[c->stage].bytes) {
        tr_bytes_t *spelt = &encoding->scratch[c->stage].spelt;
        spell_bytes(spelt, encoding->tokenizer, text, length);
        text = spelt->data;
        length = spelt->length;
    }
    return encode_stage(encoding, c->stage + 1, text, length,
                        start == 0 ? c->place : TR_TEXT_INSIDE);
}

/// The stages from `stage` on; past the last one the model.
static tr_status encode_stage(encoding_t *encoding, size_t stage, const char *text, size_t length,
                              tr_text_place_t place)
{
    const tr_text_stages_t *stages = &encoding->tokenizer->pre_tokenizer;
    if (stage == stages->count) {
        return encode_model(encoding, text, length);
    }
    const tr_text_stage_t *does = &stages->items[stage];
    tr_bytes_t *prepared = &encoding->scratch[stage].prepared;
    prepared->length = 0;
    if (does->component->prepare != NULL &&
        does->component->prepare(prepared, does, text, length, place)) {
        text = prepared->data;
        length = prepared->length;
    }
    cutting_t cutting = {encoding, stage, text, place};
    return does->pattern == NULL ? take_piece(&cutting, 0, length)
                                 : tr_pattern_cut(does->pattern, does->cut, does->invert, text,
                                                  length, take_piece, &cutting, encoding->err);
}

// Added tokens

typedef struct word_search {
    bool found;
} word_search_t;

/// A tr_segment_fn.
static tr_status see_word(void *context, size_t start, size_t end, bool match)
{
    (void)start, (void)end;
    ((word_search_t *)context)->found |= match;
    return TR_OK;
}

/// Whether the character at text[at] is one of a word; past the ends there is none.
static bool is_word(const tr_tokenizer_t *tokenizer, const char *text, size_t at, size_t length)
{
    word_search_t search = {false};
    size_t n = tr_utf8_next(NULL, text + at, length - at);
    tr_pattern_find(tokenizer->word, text + at, n, see_word, &search, NULL);
    return search.found;
}

/// Whether no word goes on at one of the two ends of text[start .. end).
static bool stands_alone(const tr_tokenizer_t *tokenizer, const char *text, size_t start,
                         size_t end, size_t length)
{
    bool before = start > 0 && is_word(tokenizer, text, tr_utf8_before(text, start), start);
    return !before && !is_word(tokenizer, text, end, length);
}

static tr_status encode_between(encoding_t *encoding, const char *text, size_t length,
                                tr_text_place_t place, bool normalized);

/// Cuts the added tokens of one kind (normalized or not) out of text, which is of that kind, and
/// encodes what lies between.
static tr_status encode_added(encoding_t *encoding, const char *text, size_t length,
                              tr_text_place_t place, bool normalized)
{
    const tr_tokenizer_t *tokenizer = encoding->tokenizer;
    const tr_added_tokens_t *tokens = normalized ? &tokenizer->normalized : &tokenizer->raw;
    // Text between two tokens is handed on when the second is found: a token may take white space
    // before it. Behind one that took white space, `done` may lie past the next one's start.
    size_t done = 0; // bytes that were handed on or belong to a token
    for (size_t at = 0; tokens->count > 0 && at < length;) {
        const tr_added_token_t *token = tr_added_tokens_at(tokens, text + at, length - at);
        if (token == NULL) {
            at++;
            continue;
        }
        size_t start = at, end = at + token->length;
        at = end;
        if (token->single_word && !stands_alone(tokenizer, text, start, end, length)) {
            continue;
        }
        if (token->lstrip) {
            size_t space = tr_utf8_space_before(text, 0, start);
            start = space > done ? space : done; // what an earlier token took is gone
        }
        if (start >= end) { // all of it, where the token is white space
            continue;
        }
        end = token->rstrip ? tr_utf8_space_after(text, end, length) : end;
        if (start > done) {
            TR_TRY(encode_between(encoding, text + done, start - done,
                                  done == 0 ? place : TR_TEXT_INSIDE, normalized));
        }
        // Never through the stages: an added token is one id, whatever it is made of.
        tr_ids_append(&encoding->ids, token->id);
        done = end;
    }
    return done < length ? encode_between(encoding, text + done, length - done,
                                          done == 0 ? place : TR_TEXT_INSIDE, normalized)
                         : TR_OK;
}

/// Text between two added tokens: raw text is normalized, and its other added tokens are looked
/// for; normalized text goes through the stages.
static tr_status encode_between(encoding_t *encoding, const char *text, size_t length,
                                tr_text_place_t place, bool normalized)
{
    if (normalized) {
        return encode_stage(encoding, 0, text, length, place);
    }
    if (encoding->tokenizer->normalizer.count == 0) {
        return encode_added(encoding, text, length, place, true);
    }
    tr_bytes_t normal = {0};
    tr_bytes_append(&normal, text, length);
    tr_status status = tr_tokenizer_normalize(&normal, encoding->tokenizer, &place, encoding->err);
    if (status == TR_OK) {
        status = encode_added(encoding, normal.data, normal.length, place, true);
    }
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
    size_t stages = tokenizer->pre_tokenizer.count;
    encoding_t encoding = {.tokenizer = tokenizer,
                           .work = tr_bpe_work_new(),
                           .scratch = tr_calloc(stages, sizeof *encoding.scratch),
                           .err = err};
    bool continues = (flags & TR_ENCODE_CONTINUES) != 0;
    tr_status status = encode_added(&encoding, text, length,
                                    continues ? TR_TEXT_CONTINUES : TR_TEXT_BEGINS, false);
    tr_bpe_work_destroy(&encoding.work);
    for (size_t i = 0; i < stages; i++) {
        tr_bytes_release(&encoding.scratch[i].prepared);
        tr_bytes_release(&encoding.scratch[i].spelt);
    }
    free(encoding.scratch);
    if (status == TR_OK) {
        status = tr_tokenizer_check_ids(tokenizer, encoding.ids.data, encoding.ids.count, err);
    }
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
