// A tokenizer as an object: an empty one, what it says of ids, and its end. tokenizer_load.c fills
// it, tokenizer_encode.c and text_stream.c use it.
#include "common/text/tokenizer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/text/tokenizer_parts.h"

/// Printable bytes stand for themselves, the others for U+0100 and on, in order. White space and
/// controls are not printable, so that a vocabulary's file has none.
uint32_t tr_alphabet_point(unsigned byte)
{
    return byte <= 0x20                   ? 0x100 + byte
           : byte >= 0x7F && byte <= 0xA0 ? 0x121 + byte - 0x7F
           : byte == 0xAD                 ? 0x143
                                          : byte;
}

static void fill_alphabet(tr_tokenizer_t *tokenizer)
{
    // Code points of the alphabet are below 256 + 68: 512 is enough.
    for (size_t i = 0; i < 512; i++) {
        tokenizer->byte_of[i] = -1;
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        uint32_t point = tr_alphabet_point(byte);
        tokenizer->byte_of[point] = (int16_t)byte;
        char *spelt = tokenizer->spelt[byte]; // one byte, or two below U+0800
        spelt[0] = (char)(point < 0x80 ? point : 0xC0U | point >> 6);
        spelt[1] = (char)(point < 0x80 ? '\0' : 0x80U | (point & 0x3FU));
    }
}

/// What every tokenizer has before its file is read: no special ids, and GPT-2's alphabet.
tr_tokenizer_t *tr_tokenizer_empty(void)
{
    tr_tokenizer_t *tokenizer = tr_calloc(1, sizeof *tokenizer);
    // 0 is an id. Vocabularies are made when their size is known (tokenizer_load.c).
    tokenizer->bos = tokenizer->eos = -1;
    tokenizer->bound = SIZE_MAX;
    fill_alphabet(tokenizer);
    return tokenizer;
}

void tr_text_stages_release(tr_text_stages_t *stages)
{
    for (size_t i = 0; i < stages->count; i++) {
        tr_pattern_destroy(&stages->items[i].pattern);
        tr_bytes_release(&stages->items[i].text);
    }
    free(stages->items);
    *stages = (tr_text_stages_t){0};
}

static void release_added(tr_added_tokens_t *tokens)
{
    for (size_t i = 0; i < tokens->count; i++) {
        free(tokens->items[i].content);
    }
    free(tokens->items);
}

void tr_tokenizer_destroy(tr_tokenizer_t **tokenizer)
{
    tr_tokenizer_t *t = *tokenizer;
    if (t == NULL) {
        return;
    }
    // Also of a tokenizer whose file was refused in the middle: what was not made is NULL.
    tr_text_stages_release(&t->normalizer);
    tr_text_stages_release(&t->pre_tokenizer);
    tr_text_stages_release(&t->decoder);
    release_added(&t->raw);
    release_added(&t->normalized);
    tr_pattern_destroy(&t->word);
    tr_ids_release(&t->template_before);
    tr_ids_release(&t->template_after);
    tr_bpe_destroy(&t->bpe);
    tr_unigram_destroy(&t->unigram);
    tr_vocab_destroy(&t->vocab);
    tr_vocab_destroy(&t->added);
    free(t->special);
    free(t);
    *tokenizer = NULL;
}

size_t tr_tokenizer_vocab_size(const tr_tokenizer_t *tokenizer)
{
    // Added tokens mostly come after the model's, but may have ids among them.
    size_t model = tr_vocab_size(tokenizer->vocab);
    size_t added = tr_vocab_size(tokenizer->added);
    return model > added ? model : added;
}

tr_status tr_tokenizer_check_ids(const tr_tokenizer_t *tokenizer, const int32_t *ids, size_t count,
                                 tr_error_t *err)
{
    for (size_t i = 0; i < count; i++) {
        if (ids[i] >= 0 && (size_t)ids[i] >= tokenizer->bound) {
            const char *token = tr_tokenizer_token(tokenizer, ids[i]);
            return tr_fail(err, TR_ERR_ARGUMENT,
                           "the token '%s' has the id %" PRId32
                           ", and the model's vocabulary %zu: resize the model "
                           "(resize_token_embeddings of transformers), or do without the token",
                           token, ids[i], tokenizer->bound);
        }
    }
    return TR_OK;
}

tr_status tr_tokenizer_bound(tr_tokenizer_t *tokenizer, size_t ids, tr_error_t *err)
{
    const tr_ids_t *before = &tokenizer->template_before, *after = &tokenizer->template_after;
    const size_t model = tr_vocab_size(tokenizer->vocab);
    if (model > ids) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "the tokenizer has %zu ids and the model's vocabulary %zu: they do not "
                       "belong together",
                       model, ids);
    }
    tokenizer->bound = ids;
    TR_TRY(tr_tokenizer_check_ids(tokenizer, &tokenizer->bos, 1, err));
    TR_TRY(tr_tokenizer_check_ids(tokenizer, &tokenizer->eos, 1, err));
    TR_TRY(tr_tokenizer_check_ids(tokenizer, before->data, before->count, err));
    return tr_tokenizer_check_ids(tokenizer, after->data, after->count, err);
}

int32_t tr_tokenizer_id(const tr_tokenizer_t *tokenizer, const char *token)
{
    // An added token decides, as in encoding.
    int32_t id = tr_vocab_find(tokenizer->added, token, strlen(token));
    return id >= 0 ? id : tr_vocab_find(tokenizer->vocab, token, strlen(token));
}

/// As the file spells it: "▁the", or GPT-2's alphabet for a byte-level token.
const char *tr_tokenizer_token(const tr_tokenizer_t *tokenizer, int32_t id)
{
    const char *text = tr_vocab_text(NULL, tokenizer->added, id);
    return text != NULL ? text : tr_vocab_text(NULL, tokenizer->vocab, id);
}

/// Tokens of the model alone are never special.
bool tr_tokenizer_is_special(const tr_tokenizer_t *tokenizer, int32_t id)
{
    return id >= 0 && (size_t)id < tr_vocab_size(tokenizer->added) && tokenizer->special[id];
}

int32_t tr_tokenizer_bos(const tr_tokenizer_t *tokenizer)
{
    return tokenizer->bos;
}

int32_t tr_tokenizer_eos(const tr_tokenizer_t *tokenizer)
{
    return tokenizer->eos;
}
