// Added tokens: the list of tokenizer.json, and which of them a text starts with. They are kept in
// the order of their bytes, so that a walk over a text's bytes narrows the tokens that still fit.
#include <stdlib.h>
#include <string.h>

#include "common/text/json.h"
#include "common/text/tokenizer_parts.h"

/// For qsort: by bytes, so that a token stands before those that it begins.
static int by_content(const void *a, const void *b)
{
    const tr_added_token_t *left = a, *right = b;
    size_t shorter = left->length < right->length ? left->length : right->length;
    int order = memcmp(left->content, right->content, shorter);
    if (order != 0 || left->length != right->length) {
        return order != 0 ? order : left->length < right->length ? -1 : 1;
    }
    return left->id < right->id ? -1 : left->id > right->id;
}

static void sort(tr_added_tokens_t *tokens)
{
    qsort(tokens->items, tokens->count, sizeof *tokens->items, by_content);
    size_t at = 0;
    for (size_t byte = 0; byte <= 256; byte++) {
        while (at < tokens->count && (unsigned char)tokens->items[at].content[0] < byte) {
            at++;
        }
        tokens->firsts[byte] = at;
    }
}

/// The first of items[low .. high) whose byte at `depth` is at least `byte`. All of them are
/// longer.
static size_t narrow(const tr_added_tokens_t *tokens, size_t low, size_t high, size_t depth,
                     unsigned byte)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((unsigned char)tokens->items[middle].content[depth] < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const tr_added_token_t *tr_added_tokens_at(const tr_added_tokens_t *tokens, const char *text,
                                           size_t length)
{
    const tr_added_token_t *longest = NULL;
    unsigned byte = (unsigned char)text[0];
    size_t low = tokens->firsts[byte], high = tokens->firsts[byte + 1];
    for (size_t depth = 1; low < high; depth++) {
        // The tokens in [low, high) begin with the text's first `depth` bytes.
        while (low < high && tokens->items[low].length == depth) {
            longest = &tokens->items[low++];
        }
        if (depth == length) {
            break;
        }
        byte = (unsigned char)text[depth];
        low = narrow(tokens, low, high, depth, byte);
        high = narrow(tokens, low, high, depth, byte + 1);
    }
    return longest;
}

/// A token in the form in which it is looked for, which is what its id is decoded to. The
/// vocabulary of added tokens has it by its own text too.
static tr_status parse_token(tr_tokenizer_t *tokenizer, const json_t *node, size_t index,
                             tr_error_t *err)
{
    const json_t *content = json_object_get(node, "content");
    int32_t id = tr_tokenizer_parse_id(json_object_get(node, "id"));
    if (!json_is_string(content) || id < 0) {
        return tr_fail(err, TR_ERR_FORMAT, "added_tokens[%zu]: expected content and id", index);
    }
    if (json_string_length(content) == 0) {
        return TR_OK; // it would be found everywhere
    }
    tr_vocab_add(tokenizer->added, json_string_value(content), json_string_length(content), id);
    bool special = tr_json_flag(node, "special", false);
    // The default of AddedToken: special tokens are found in the raw text.
    bool normalized = tr_json_flag(node, "normalized", !special);
    tr_bytes_t text = {0};
    tr_bytes_append(&text, json_string_value(content), json_string_length(content));
    if (normalized) {
        tr_text_place_t place = TR_TEXT_BEGINS;
        TR_TRY(tr_tokenizer_normalize(&text, tokenizer, &place, err));
        if (text.length == 0) { // likewise
            tr_bytes_release(&text);
            return TR_OK;
        }
        tr_vocab_add(tokenizer->added, text.data, text.length, id);
    }
    tr_added_tokens_t *tokens = normalized ? &tokenizer->normalized : &tokenizer->raw;
    tokens->items[tokens->count++] = (tr_added_token_t){
        .content = text.data,
        .length = text.length,
        .id = id,
        .lstrip = tr_json_flag(node, "lstrip", false),
        .rstrip = tr_json_flag(node, "rstrip", false),
        .single_word = tr_json_flag(node, "single_word", false),
    };
    return TR_OK;
}

/// [ids], of the tokens that decoding may skip.
static void mark_special(tr_tokenizer_t *tokenizer, const json_t *list)
{
    tokenizer->special = tr_calloc(tr_vocab_size(tokenizer->added) + 1, sizeof(bool));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *node = json_array_get(list, i);
        int32_t id = tr_tokenizer_parse_id(json_object_get(node, "id"));
        if (tr_vocab_text(NULL, tokenizer->added, id) != NULL) {
            tokenizer->special[id] = tr_json_flag(node, "special", false);
        }
    }
}

tr_status tr_tokenizer_parse_added(tr_tokenizer_t *tokenizer, const json_t *list, tr_error_t *err)
{
    size_t count = json_array_size(list);
    tokenizer->added = tr_vocab_new(2 * count);
    tokenizer->raw.items = tr_calloc(count + 1, sizeof *tokenizer->raw.items);
    tokenizer->normalized.items = tr_calloc(count + 1, sizeof *tokenizer->normalized.items);
    for (size_t i = 0; i < count; i++) {
        TR_TRY(parse_token(tokenizer, json_array_get(list, i), i, err));
    }
    mark_special(tokenizer, list);
    sort(&tokenizer->raw);
    sort(&tokenizer->normalized);
    // Rust's \w, which has the two joiners.
    static const char word[] = "[\\w\\x{200C}\\x{200D}]";
    return tr_pattern_new(&tokenizer->word, word, strlen(word), TR_PATTERN_REGEX, err);
}
