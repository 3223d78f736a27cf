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
static tr_status parse_vocab(tr_tokenizer_t *tokenizer, json_t *vocab, tr_error_t *err)
{
    if (!json_is_object(vocab)) {
        return tr_fail(err, TR_ERR_FORMAT, "model.vocab: expected an object of tokens and ids");
    }
    tokenizer->vocab = tr_vocab_new(json_object_size(vocab));
    for (void *at = json_object_iter(vocab); at != NULL; at = json_object_iter_next(vocab, at)) {
        int32_t id = tr_tokenizer_parse_id(json_object_iter_value(at));
        if (id < 0) {
            return tr_fail(err, TR_ERR_FORMAT, "model.vocab: '%s' has no id in 0 .. %d",
                           json_object_iter_key(at), TR_VOCAB_LIMIT - 1);
        }
        tr_vocab_add(tokenizer->vocab, json_object_iter_key(at), json_object_iter_key_len(at), id);
    }
    return TR_OK;
}

/// The two halves of a merge: "a b" or ["a", "b"]. They point into the value.
static bool merge_halves(const char *half[2], size_t length[2], const json_t *merge)
{
    // Newer files have pairs, as a token may hold a space itself.
    if (json_is_array(merge) && json_array_size(merge) == 2) {
        for (size_t i = 0; i < 2; i++) {
            half[i] = json_string_value(json_array_get(merge, i));
            length[i] = json_string_length(json_array_get(merge, i));
        }
        return half[0] != NULL && half[1] != NULL;
    }
    const char *text = json_string_value(merge);
    size_t total = json_string_length(merge);
    const char *space = text == NULL ? NULL : memchr(text, ' ', total);
    if (space == NULL) {
        return false;
    }
    half[0] = text;
    length[0] = (size_t)(space - text);
    half[1] = space + 1;
    length[1] = total - length[0] - 1;
    // A second space: which of the two divides the halves cannot be told.
    return memchr(half[1], ' ', length[1]) == NULL;
}

/// A merge of the list. Both texts and what they become must be tokens: BPE works with ids alone.
static tr_status parse_merge(tr_tokenizer_t *tokenizer, const json_t *merge, uint32_t rank,
                             tr_error_t *err)
{
    const char *half[2] = {0};
    size_t length[2] = {0};
    if (!merge_halves(half, length, merge)) {
        return tr_fail(err, TR_ERR_FORMAT, "model.merges[%u]: expected \"a b\" or [\"a\", \"b\"]",
                       rank);
    }
    tr_bytes_t joined = {0}; // the merge names the two texts, not what they become
    tr_bytes_append(&joined, half[0], length[0]);
    tr_bytes_append(&joined, half[1], length[1]);
    // A merge of texts that are no tokens could never be applied: the file is damaged.
    int32_t left = tr_vocab_find(tokenizer->vocab, half[0], length[0]);
    int32_t right = tr_vocab_find(tokenizer->vocab, half[1], length[1]);
    int32_t merged = tr_vocab_find(tokenizer->vocab, joined.data, joined.length);
    tr_bytes_release(&joined);
    if (left < 0 || right < 0 || merged < 0) {
        return tr_fail(err, TR_ERR_FORMAT,
                       "model.merges[%u]: a part or the whole is not in model.vocab", rank);
    }
    tr_bpe_add_merge(tokenizer->bpe, left, right, merged, rank);
    return TR_OK;
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
static tr_status parse_bpe(tr_tokenizer_t *tokenizer, const json_t *model, tr_error_t *err)
{
    TR_TRY(refuse_bpe_features(model, err));
    TR_TRY(parse_vocab(tokenizer, json_object_get(model, "vocab"), err));
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
    const json_t *merges = json_object_get(model, "merges");
    if (!json_is_array(merges)) {
        return tr_fail(err, TR_ERR_FORMAT, "model.merges: expected a list");
    }
    tokenizer->bpe = tr_bpe_new(tokenizer->vocab, &options, json_array_size(merges));
    for (size_t i = 0; i < json_array_size(merges); i++) {
        // The place in the list is the rank: what was learned first is merged first.
        TR_TRY(parse_merge(tokenizer, json_array_get(merges, i), (uint32_t)i, err));
    }
    return TR_OK;
}

/// The vocabulary is a list of [token, score], in the order of the ids. scores: [its size].
static tr_status parse_scores(tr_tokenizer_t *tokenizer, double *scores, const json_t *vocab,
                              tr_error_t *err)
{
    for (size_t i = 0; i < json_array_size(vocab); i++) {
        const json_t *text = json_array_get(json_array_get(vocab, i), 0);
        const json_t *score = json_array_get(json_array_get(vocab, i), 1);
        if (!json_is_string(text) || !json_is_number(score)) {
            return tr_fail(err, TR_ERR_FORMAT, "model.vocab[%zu]: expected a token and its score",
                           i);
        }
        tr_vocab_add(tokenizer->vocab, json_string_value(text), json_string_length(text),
                     (int32_t)i);
        scores[i] = json_number_value(score);
    }
    return TR_OK;
}

static tr_status parse_unigram(tr_tokenizer_t *tokenizer, const json_t *model, tr_error_t *err)
{
    const json_t *vocab = json_object_get(model, "vocab"), *unk = json_object_get(model, "unk_id");
    size_t count = json_array_size(vocab);
    int32_t unk_id = tr_tokenizer_parse_id(unk);
    if (count == 0 || count >= TR_VOCAB_LIMIT ||
        (unk != NULL && !json_is_null(unk) && (unk_id < 0 || (size_t)unk_id >= count))) {
        return tr_fail(err, TR_ERR_FORMAT, "model: expected a list 'vocab', and an unk_id in it");
    }
    tokenizer->vocab = tr_vocab_new(count);
    double *scores = tr_calloc(count, sizeof *scores);
    tr_status status = parse_scores(tokenizer, scores, vocab, err);
    if (status == TR_OK) {
        tokenizer->unigram = tr_unigram_new(tokenizer->vocab, scores, unk_id,
                                            tr_json_flag(model, "byte_fallback", false));
    }
    free(scores);
    return status;
}

tr_status tr_tokenizer_parse_model(tr_tokenizer_t *tokenizer, const json_t *model, tr_error_t *err)
{
    static const struct {
        const char *name;
        tr_status (*parse)(tr_tokenizer_t *tokenizer, const json_t *model, tr_error_t *err);
    } models[] = {{"BPE", parse_bpe}, {"Unigram", parse_unigram}};
    if (!json_is_object(model)) {
        return tr_fail(err, TR_ERR_FORMAT, "model: expected an object");
    }
    // Old files have no type, and are BPE.
    const char *type = tr_json_string(model, "type", "BPE");
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (strcmp(type, models[i].name) == 0) {
            return models[i].parse(tokenizer, model, err);
        }
    }
    return tr_fail(err, TR_ERR_UNSUPPORTED,
                   "model.type: '%s' is not supported; BPE and Unigram are", type);
}
