// Vocabularies that tiktoken reads, as transformers 5 builds a tokenizer of them: lines of a token
// in base64 and its rank (tokenizer.model of Llama 3, tiktoken.model of Kimi), and Mistral's
// tekken.json. A token's rank is its id, and the merges are all ways to divide one into two others.
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/text/base64.h"
#include "common/text/json.h"
#include "common/text/tokenizer_parts.h"

/// What transformers cuts all of them at, as GPT-4.
static const char PATTERN[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/// A merge to be sorted: of the token of an id the tokens left and right.
typedef struct ranked {
    int32_t id, left, right;
    const tr_source_token_t *token;
    uint32_t left_length;
} ranked_t;

static int by_rank(const void *a, const void *b)
{
    const ranked_t *one = a, *other = b;
    if (one->id != other->id) {
        return one->id < other->id ? -1 : 1;
    }
    if (one->left != other->left) {
        return one->left < other->left ? -1 : 1;
    }
    return one->right < other->right ? -1 : one->right > other->right;
}

/// The merges of the tokens, whose texts are spelt in GPT-2's alphabet, and the model.
static void build(tr_tokenizer_source_t *source, const char *pattern)
{
    tr_vocab_t *vocab = tr_vocab_new(source->token_count);
    ranked_t *ranked = NULL;
    size_t count = 0, capacity = 0;
    for (size_t i = 0; i < source->token_count; i++) {
        tr_vocab_add(vocab, source->tokens[i].text, source->tokens[i].length, source->tokens[i].id);
    }
    for (size_t i = 0; i < source->token_count; i++) {
        const tr_source_token_t *token = &source->tokens[i];
        for (uint32_t at = 1; at < token->length; at++) {
            int32_t left = tr_vocab_find(vocab, token->text, at), right = -1;
            if (left >= 0) {
                right = tr_vocab_find(vocab, token->text + at, token->length - at);
            }
            if (right < 0) {
                continue; // also within a letter of two bytes
            }
            if (count == capacity) {
                capacity = capacity * 2 + 4096;
                ranked = tr_realloc(ranked, capacity * sizeof *ranked);
            }
            ranked[count++] = (ranked_t){token->id, left, right, token, at};
        }
    }
    if (count > 0) {
        qsort(ranked, count, sizeof *ranked, by_rank);
    }
    for (size_t i = 0; i < count; i++) {
        const char *text = ranked[i].token->text;
        tr_tokenizer_source_add_merge(
            source, (tr_source_merge_t){text, text + ranked[i].left_length, ranked[i].left_length,
                                        ranked[i].token->length - ranked[i].left_length});
    }
    free(ranked);
    tr_vocab_destroy(&vocab);
    source->whole = true;
    source->root = json_pack(
        "{s:{s:s, s:b, s:n}, s:{s:s, s:[{s:s, s:{s:s}, s:s}, {s:s, s:b, s:b}]}, s:{s:s}}", "model",
        "type", "BPE", "ignore_merges", 1, "merges", "pre_tokenizer", "type", "Sequence",
        "pretokenizers", "type", "Split", "pattern", "Regex", pattern, "behavior", "Isolated",
        "type", "ByteLevel", "add_prefix_space", 0, "use_regex", 0, "decoder", "type", "ByteLevel");
}

/// Where a token's bytes stand until all are read: the buffer moves as it grows.
typedef struct place {
    size_t start, length;
    int32_t id;
} place_t;

typedef struct places {
    place_t *items;
    size_t count, capacity;
} places_t;

/// A place of a text that begins here.
static void add_place(places_t *places, size_t start, int32_t id)
{
    if (places->count == places->capacity) {
        places->capacity = places->capacity * 2 + 4096;
        places->items = tr_realloc(places->items, places->capacity * sizeof *places->items);
    }
    places->items[places->count++] = (place_t){start, 0, id};
}

/// Appends a token's bytes in GPT-2's alphabet. False where base64 is none.
static bool spell(tr_tokenizer_source_t *source, places_t *places, const char *base64,
                  size_t length, int32_t id)
{
    tr_bytes_t bytes = {0};
    bool right = tr_base64_decode(&bytes, base64, length) && bytes.length > 0;
    add_place(places, source->texts.length, id);
    for (size_t i = 0; right && i < bytes.length; i++) {
        char spelt[4];
        size_t n = tr_utf8_put(spelt, tr_alphabet_point((unsigned char)bytes.data[i]));
        tr_bytes_append(&source->texts, spelt, n);
    }
    place_t *place = &places->items[places->count - 1];
    place->length = source->texts.length - place->start;
    tr_bytes_release(&bytes);
    return right;
}

/// The tokens of the places, which are freed.
static void add_tokens(tr_tokenizer_source_t *source, places_t *places)
{
    for (size_t i = 0; i < places->count; i++) {
        const place_t *place = &places->items[i];
        tr_tokenizer_source_add_token(source,
                                      (tr_source_token_t){source->texts.data + place->start,
                                                          (uint32_t)place->length, place->id, 0.0});
    }
    free(places->items);
}

tr_status tr_tokenizer_source_read_tiktoken(tr_tokenizer_source_t *source, const char *path,
                                            tr_error_t *err)
{
    size_t length = 0, line = 1;
    free(source->files[0]); // SentencePiece's reader has looked at it
    TR_TRY(tr_file_read(&source->files[0], &length, path, TR_TOKENIZER_FILE_LIMIT, err));
    places_t places = {0};
    bool right = true;
    for (char *at = source->files[0], *end; right && *at != '\0'; at = end, line++) {
        end = at + strcspn(at, "\n");
        size_t token = strcspn(at, " \n");
        char *rank = at + token, *behind = rank;
        long id = *rank == ' ' ? strtol(rank, &behind, 10) : -1;
        right = at == end || (id >= 0 && id < TR_VOCAB_LIMIT && strchr("\r\n", *behind) != NULL &&
                              spell(source, &places, at, token, (int32_t)id));
        end += *end == '\n';
    }
    add_tokens(source, &places);
    if (!right || source->token_count == 0) {
        return tr_fail(err, TR_ERR_FORMAT,
                       "%s:%zu: expected a model of SentencePiece, or a token in base64 and its "
                       "rank, as tiktoken has them",
                       path, line > 1 ? line - 1 : line);
    }
    build(source, PATTERN);
    source->reserves = true;
    return TR_OK;
}

// tekken.json

/// Special tokens have the first ids, in the order of their ranks; those that are not named are
/// numbered.
static bool read_specials(tr_tokenizer_source_t *source, places_t *places, const json_t *list,
                          size_t count)
{
    const char **names = tr_calloc(count + 1, sizeof *names);
    const json_t *value;
    size_t i;
    bool right = json_is_array(list) && json_array_size(list) <= count;
    json_array_foreach(list, i, value)
    {
        json_int_t rank = json_integer_value(json_object_get(value, "rank"));
        if (right && rank >= 0 && (size_t)rank < json_array_size(list) && names[rank] == NULL) {
            names[rank] = json_string_value(json_object_get(value, "token_str"));
        }
        right = right && rank >= 0 && (size_t)rank < json_array_size(list) && names[rank] != NULL;
    }
    for (i = 0; right && i < count; i++) {
        char *filler = tr_format("<SPECIAL_%zu>", i);
        add_place(places, source->texts.length, (int32_t)i);
        const char *name = names[i] == NULL ? filler : names[i];
        tr_bytes_append(&source->texts, name, strlen(name));
        places->items[places->count - 1].length = strlen(name);
        free(filler);
    }
    free(names);
    return right;
}

/// How many tokens there are beside `specials`: all that are listed, or as many as the config says.
static size_t vocabulary_size(const json_t *config, const json_t *vocab, size_t specials)
{
    const json_t *limit = json_object_get(config, "default_vocab_size");
    size_t count = json_array_size(vocab);
    if (json_is_integer(limit) && json_integer_value(limit) >= (json_int_t)specials &&
        (size_t)json_integer_value(limit) - specials < count) {
        count = (size_t)json_integer_value(limit) - specials;
    }
    return count;
}

/// The special tokens' names, as members of "added_tokens" without ids.
static json_t *names_of(const tr_tokenizer_source_t *source, const places_t *places)
{
    json_t *list = json_array();
    for (size_t i = 0; i < places->count; i++) {
        json_array_append_new(list,
                              json_pack("{s:s%, s:b, s:b}", "content",
                                        source->texts.data + places->items[i].start,
                                        places->items[i].length, "special", 1, "normalized", 0));
    }
    return list;
}

/// False where the file is not of this form.
static bool take_tekken(tr_tokenizer_source_t *source, const json_t *file)
{
    const json_t *config = json_object_get(file, "config"), *vocab = json_object_get(file, "vocab");
    const json_t *list = json_object_get(file, "special_tokens");
    const json_t *said = json_object_get(config, "default_num_special_tokens");
    const char *pattern = tr_json_string(config, "pattern", NULL);
    json_int_t specials =
        json_is_integer(said) ? json_integer_value(said) : (json_int_t)json_array_size(list);
    if (pattern == NULL || specials < 0 || specials >= TR_VOCAB_LIMIT) {
        return false;
    }
    size_t count = vocabulary_size(config, vocab, (size_t)specials);
    places_t places = {0}, named = {0};
    bool right = count > 0 && count < TR_VOCAB_LIMIT - (size_t)specials &&
                 read_specials(source, &named, list, (size_t)specials);
    for (size_t i = 0; right && i < count; i++) {
        const json_t *value = json_object_get(json_array_get(vocab, i), "token_bytes");
        right = json_is_string(value) &&
                spell(source, &places, json_string_value(value), json_string_length(value),
                      (int32_t)((size_t)specials + i));
    }
    add_tokens(source, &places);
    if (right) { // special tokens are in the vocabulary too, but nothing is merged to them
        build(source, pattern);
        json_object_set_new(source->root, "added_tokens", names_of(source, &named));
    }
    add_tokens(source, &named);
    return right;
}

tr_status tr_tokenizer_source_read_tekken(tr_tokenizer_source_t *source, const char *path,
                                          tr_error_t *err)
{
    json_t *file = NULL;
    TR_TRY(tr_json_read(&file, path, false, err));
    bool old = json_object_get(file, "special_tokens") == NULL;
    bool right = !old && take_tekken(source, file);
    json_decref(file);
    if (old) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "%s has no special_tokens: transformers reads such an old one with the help "
                       "of mistral-common alone",
                       path);
    }
    return right ? TR_OK
                 : tr_fail(err, TR_ERR_FORMAT,
                           "%s: expected a config with a pattern, a vocab of token_bytes, and "
                           "special_tokens with ranks from 0 on",
                           path);
}
