// "model" of tokenizer.json: the vocabulary, and the merges of BPE or the scores of Unigram. A row
// of the table at the end is a type of model; bpe.c and unigram.c do what is read here.
#include <stdlib.h>
#include <string.h>

#include "common/text/json.h"
#include "common/text/tokenizer_parts.h"

int32_t tr_tokenizer_parse_id(const json_t *value)
{
    // A bound, since by_id of the vocabulary has a place for every id up to the largest.
    json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    return id >= 0 && id < TR_VOCAB_LIMIT ? (int32_t)id : -1;
}

/// The model's tokens. Gaps between ids are allowed: their ids have no text.
static tr_status build_vocab(tr_tokenizer_t *tokenizer, const tr_tokenizer_source_t *source,
                             tr_error_t *err)
{
    if (source->token_count == 0) {
        return tr_fail(err, TR_ERR_FORMAT, "model.vocab: expected tokens");
    }
    tokenizer->vocab = tr_vocab_new(source->token_count);
    for (size_t i = 0; i < source->token_count; i++) {
        const tr_source_token_t *token = &source->tokens[i];
        if (token->id < 0) {
            return tr_fail(err, TR_ERR_FORMAT, "model.vocab: '%.*s' has no id in 0 .. %d",
                           (int)token->length, token->text, TR_VOCAB_LIMIT - 1);
        }
        tr_vocab_add(tokenizer->vocab, token->text, token->length, token->id);
    }
    return TR_OK;
}

/// A merge of the list. Both texts and what they become must be tokens: BPE works with ids alone.
/// joined: room for the latter.
static tr_status build_merge(tr_tokenizer_t *tokenizer, const tr_source_merge_t *merge,
                             uint32_t rank, tr_bytes_t *joined, tr_error_t *err)
{
    joined->length = 0;
    tr_bytes_append(joined, merge->left, merge->left_length);
    tr_bytes_append(joined, merge->right, merge->right_length);
    // A merge of texts that are no tokens could never be applied: the file is damaged.
    const tr_vocab_t *vocab = tokenizer->vocab;
    int32_t left = tr_vocab_find(vocab, merge->left, merge->left_length);
    int32_t right = tr_vocab_find(vocab, merge->right, merge->right_length);
    int32_t merged = tr_vocab_find(vocab, joined->data, joined->length);
    if (left < 0 || right < 0 || merged < 0) {
        return tr_fail(err, TR_ERR_FORMAT,
                       "model.merges[%u]: a part or the whole is not in model.vocab", rank);
    }
    tr_bpe_add_merge(tokenizer->bpe, left, right, merged, rank);
    return TR_OK;
}

/// The place in the list is the rank: what was learned first is merged first.
static tr_status build_merges(tr_tokenizer_t *tokenizer, const tr_tokenizer_source_t *source,
                              tr_error_t *err)
{
    tr_bytes_t joined = {0};
    tr_status status = TR_OK;
    for (size_t i = 0; status == TR_OK && i < source->merge_count; i++) {
        status = build_merge(tokenizer, &source->merges[i], (uint32_t)i, &joined, err);
    }
    tr_bytes_release(&joined);
    return status;
}

/// Prefixes and suffixes would join pieces of words in another way (WordPiece, GPT-1), and dropout
/// is for training a model: ids would be random.
static tr_status refuse_bpe_features(const json_t *model, tr_error_t *err)
{
    static const char *const texts[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < 2; i++) {
        if (tr_json_string(model, texts[i], "")[0] != '\0') {
            return tr_fail(err, TR_ERR_UNSUPPORTED, "model.%s: not supported", texts[i]);
        }
    }
    const json_t *dropout = json_object_get(model, "dropout");
    return json_is_number(dropout) && json_number_value(dropout) != 0.0
               ? tr_fail(err, TR_ERR_UNSUPPORTED, "model.dropout: not supported")
               : TR_OK;
}

/// The vocabulary comes before the merges, which are looked up in it.
static tr_status parse_bpe(tr_tokenizer_t *tokenizer, const tr_tokenizer_source_t *source,
                           const json_t *model, tr_error_t *err)
{
    TR_TRY(refuse_bpe_features(model, err));
    TR_TRY(build_vocab(tokenizer, source, err));
    const char *unk = tr_json_string(model, "unk_token", NULL);
    tr_bpe_options_t options = {
        // The file names the token, not its id.
        .unk = unk == NULL ? -1 : tr_vocab_find(tokenizer->vocab, unk, strlen(unk)),
        .fuse_unk = tr_json_flag(model, "fuse_unk", false),
        .byte_fallback = tr_json_flag(model, "byte_fallback", false),
        .ignore_merges = tr_json_flag(model, "ignore_merges", false),
    };
    if (unk != NULL && options.unk < 0) {
        return tr_fail(err, TR_ERR_FORMAT, "model.unk_token: '%s' is not in model.vocab", unk);
    }
    if (json_object_get(model, "merges") == NULL) {
        return tr_fail(err, TR_ERR_FORMAT, "model.merges: expected a list");
    }
    tokenizer->bpe = tr_bpe_new(tokenizer->vocab, &options, source->merge_count);
    return build_merges(tokenizer, source, err);
}

static tr_status parse_unigram(tr_tokenizer_t *tokenizer, const tr_tokenizer_source_t *source,
                               const json_t *model, tr_error_t *err)
{
    const json_t *unk = json_object_get(model, "unk_id");
    int32_t unk_id = tr_tokenizer_parse_id(unk);
    TR_TRY(build_vocab(tokenizer, source, err));
    if (unk != NULL && !json_is_null(unk) &&
        (unk_id < 0 || (size_t)unk_id >= source->token_count)) {
        return tr_fail(err, TR_ERR_FORMAT, "model.unk_id: expected an id of the vocabulary");
    }
    // A token is known by its place in the list, also where its text comes twice.
    double *scores = tr_calloc(tr_vocab_size(tokenizer->vocab), sizeof *scores);
    for (size_t i = 0; i < source->token_count; i++) {
        scores[source->tokens[i].id] = source->tokens[i].score;
    }
    tokenizer->unigram = tr_unigram_new(tokenizer->vocab, scores, unk_id,
                                        tr_json_flag(model, "byte_fallback", false));
    free(scores);
    return TR_OK;
}

tr_status tr_tokenizer_parse_model(tr_tokenizer_t *tokenizer, const tr_tokenizer_source_t *source,
                                   tr_error_t *err)
{
    static const struct {
        const char *name;
        tr_status (*parse)(tr_tokenizer_t *tokenizer, const tr_tokenizer_source_t *source,
                           const json_t *model, tr_error_t *err);
    } models[] = {{"BPE", parse_bpe}, {"Unigram", parse_unigram}};
    const json_t *model = json_object_get(source->root, "model");
    if (!json_is_object(model)) {
        return tr_fail(err, TR_ERR_FORMAT, "model: expected an object");
    }
    // Old files have no type, and are BPE.
    const char *type = tr_json_string(model, "type", "BPE");
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (strcmp(type, models[i].name) == 0) {
            return models[i].parse(tokenizer, source, model, err);
        }
    }
    return tr_fail(err, TR_ERR_UNSUPPORTED,
                   "model.type: '%s' is not supported; BPE and Unigram are", type);
}
