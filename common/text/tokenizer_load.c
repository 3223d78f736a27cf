// From the files of a Hugging Face directory to a tokenizer: tokenizer.json, of which the model and
// the added tokens are read here and the stages of the pipeline in tokenizer_pipeline.c, then the
// special ids of the other files. Refuses by name whatever would give other ids than the
// `tokenizers` library.
#include <stdlib.h>
#include <string.h>

#include "common/text/json.h"
#include "common/text/tokenizer_parts.h"

// tokenizer.json

/// An id that fits a vocabulary, -1 for anything else.
static int32_t id_of(const json_t *value)
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
        int32_t id = id_of(json_object_iter_value(at));
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

/// Features that would change the ids.
/// Prefixes and suffixes would join pieces of words in another way (WordPiece, GPT-1).
static tr_status refuse_model_features(const json_t *model, tr_error_t *err)
{
    // Old files have no type, and are BPE.
    const char *type = tr_json_string(model, "type", "BPE");
    if (strcmp(type, "BPE") != 0) {
        return tr_fail(err, TR_ERR_UNSUPPORTED, "model.type: '%s' is not supported; BPE is", type);
    }
    static const char *const texts[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < 2; i++) {
        if (tr_json_string(model, texts[i], "")[0] != '\0') {
            return tr_fail(err, TR_ERR_UNSUPPORTED, "model.%s: not supported", texts[i]);
        }
    }
    // BPE-dropout is for training a model: ids would be random.
    const json_t *dropout = json_object_get(model, "dropout");
    if (json_is_number(dropout) && json_number_value(dropout) != 0.0) {
        return tr_fail(err, TR_ERR_UNSUPPORTED, "model.dropout: not supported");
    }
    return TR_OK;
}

/// The model must be BPE without anything that would give other ids; its vocabulary comes before
/// its merges, which are looked up in it.
static tr_status parse_model(tr_tokenizer_t *tokenizer, const json_t *model, tr_error_t *err)
{
    if (!json_is_object(model)) {
        return tr_fail(err, TR_ERR_FORMAT, "model: expected an object");
    }
    TR_TRY(refuse_model_features(model, err));
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

/// For qsort: of two added tokens that begin alike, the longer one is found first.
static int longest_first(const void *a, const void *b)
{
    const tr_added_token_t *left = a;
    const tr_added_token_t *right = b;
    if (left->length != right->length) {
        return left->length > right->length ? -1 : 1;
    }
    // Two tokens of one length cannot both begin at a place; the order is for the sake of qsort,
    // which is not stable.
    return left->id < right->id ? -1 : left->id > right->id;
}

/// An added token, in the form in which it is looked for, and by its own text in the vocabulary of
/// added tokens: ids are decoded to that.
static tr_status parse_added_token(tr_tokenizer_t *tokenizer, const json_t *node, size_t index,
                                   tr_error_t *err)
{
    const json_t *content = json_object_get(node, "content");
    int32_t id = id_of(json_object_get(node, "id"));
    if (!json_is_string(content) || id < 0) {
        return tr_fail(err, TR_ERR_FORMAT, "added_tokens[%zu]: expected content and id", index);
    }
    // It would be found between the borders of words alone.
    if (tr_json_flag(node, "single_word", false)) {
        return tr_fail(err, TR_ERR_UNSUPPORTED, "added_tokens[%zu].single_word: not supported",
                       index);
    }
    if (json_string_length(content) == 0) {
        return TR_OK; // it would be found everywhere
    }
    tr_vocab_add(tokenizer->added, json_string_value(content), json_string_length(content), id);
    tr_added_token_t token = {.id = id,
                              .special = tr_json_flag(node, "special", false),
                              .lstrip = tr_json_flag(node, "lstrip", false),
                              .rstrip = tr_json_flag(node, "rstrip", false)};
    // The default of AddedToken: special tokens are found in the raw text.
    token.normalized = tr_json_flag(node, "normalized", !token.special);
    // A normalized token is looked for in normalized text, so the rules are applied to it once,
    // here.
    tr_bytes_t text = {0};
    tr_bytes_append(&text, json_string_value(content), json_string_length(content));
    if (token.normalized) {
        tr_text_rules_apply(&text, &tokenizer->rules, false);
    }
    token.content = text.data;
    token.length = text.length;
    tokenizer->tokens[tokenizer->token_count++] = token;
    return TR_OK;
}

static tr_status parse_added_tokens(tr_tokenizer_t *tokenizer, const json_t *list, tr_error_t *err)
{
    size_t count = json_array_size(list);
    tokenizer->added = tr_vocab_new(count);
    tokenizer->tokens = tr_calloc(count + 1, sizeof *tokenizer->tokens);
    for (size_t i = 0; i < count; i++) {
        TR_TRY(parse_added_token(tokenizer, json_array_get(list, i), i, err));
    }
    qsort(tokenizer->tokens, tokenizer->token_count, sizeof *tokenizer->tokens, longest_first);
    return TR_OK;
}

/// Features that are left out are refused before anything is read: texts would be cut or padded
/// otherwise.
static tr_status parse(tr_tokenizer_t *tokenizer, const json_t *root, tr_error_t *err)
{
    static const char *const absent[] = {"truncation", "padding"};
    for (size_t i = 0; i < 2; i++) {
        // They would cut or fill every text; batches here are ragged, and cut by the recipe's
        // limits.
        const json_t *value = json_object_get(root, absent[i]);
        if (value != NULL && !json_is_null(value)) {
            return tr_fail(err, TR_ERR_UNSUPPORTED, "%s: not supported; set it to null", absent[i]);
        }
    }
    // The normalizer's rules must be there before the added tokens, which they rewrite.
    TR_TRY(parse_model(tokenizer, json_object_get(root, "model"), err));
    TR_TRY(tr_tokenizer_parse_pipeline(tokenizer, root, err));
    return parse_added_tokens(tokenizer, json_object_get(root, "added_tokens"), err);
}

// Special ids

/// The id of a token that tokenizer_config.json names: "text", or {"content": "text"}.
static int32_t named_id(const tr_tokenizer_t *tokenizer, const json_t *config, const char *key)
{
    const json_t *value = json_object_get(config, key);
    const char *text =
        // An AddedToken, or its text alone.
        json_is_object(value) ? tr_json_string(value, "content", NULL) : json_string_value(value);
    return text == NULL ? -1 : tr_tokenizer_id(tokenizer, text);
}

/// The first id at a key: a number, or a list of numbers.
static int32_t numbered_id(const json_t *config, const char *key)
{
    const json_t *value = json_object_get(config, key);
    // Of a list the first: Llama 3's begins with <|end_of_text|>.
    return id_of(json_is_array(value) ? json_array_get(value, 0) : value);
}

/// The begin and end tokens, each from the first of the files that says it. transformers names them
/// in tokenizer_config.json; the others have their numbers.
static tr_status read_specials(tr_tokenizer_t *tokenizer, const char *directory, tr_error_t *err)
{
    static const char *const names[] = {"tokenizer_config.json", "generation_config.json",
                                        "config.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        json_t *file;
        char *path = tr_format("%s/%s", directory, names[i]);
        tr_status status = tr_json_read(&file, path, true, err);
        free(path);
        TR_TRY(status);
        if (i == 0) {
            tokenizer->bos = named_id(tokenizer, file, "bos_token");
            tokenizer->eos = named_id(tokenizer, file, "eos_token");
        }
        if (tokenizer->bos < 0) {
            tokenizer->bos = numbered_id(file, "bos_token_id");
        }
        if (tokenizer->eos < 0) {
            tokenizer->eos = numbered_id(file, "eos_token_id");
        }
        json_decref(file);
    }
    return TR_OK;
}

// Both

tr_status tr_tokenizer_new(tr_tokenizer_t **tokenizer, const char *model_directory, tr_error_t *err)
{
    *tokenizer = NULL;
    char *path = tr_format("%s/tokenizer.json", model_directory);
    json_t *root = NULL;
    tr_tokenizer_t *made = NULL;
    tr_status status = TR_OK;
    TR_TRY_GOTO(tr_json_read(&root, path, false, err), done);
    made = tr_tokenizer_empty();
    // Sentences of the parts name a key; the file is named here, for all of them.
    status = parse(made, root, err);
    if (status != TR_OK) {
        tr_error_prefix(err, "%s", path);
        goto done;
    }
    TR_TRY_GOTO(read_specials(made, model_directory, err), done);
    *tokenizer = made;
    made = NULL;
done:
    tr_tokenizer_destroy(&made);
    json_decref(root);
    free(path);
    return status;
}
