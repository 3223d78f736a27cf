// Tokens and merges as JSON and text files have them. A tokenizer.json has up to 35 MB, nearly all
// of it the two tables: they are scanned here in place, without a JSON object a string, and what is
// left is a small file for Jansson.
#include "common/text/tokenizer_source.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/text/json.h"
#include "common/text/vocab.h"

tr_status tr_tokenizer_source_open(tr_tokenizer_source_t *source, const char *directory,
                                   tr_error_t *err)
{
    const struct {
        const char *name;
        json_t **file;
    } files[] = {{"tokenizer_config.json", &source->tokenizer_config},
                 {"config.json", &source->config},
                 {"special_tokens_map.json", &source->special_tokens_map},
                 {"added_tokens.json", &source->added_tokens}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = tr_format("%s/%s", directory, files[i].name);
        tr_status status = tr_json_read(files[i].file, path, true, err);
        free(path);
        TR_TRY(status);
    }
    return TR_OK;
}

void tr_tokenizer_source_release(tr_tokenizer_source_t *source)
{
    json_decref(source->tokenizer_config);
    json_decref(source->config);
    json_decref(source->special_tokens_map);
    json_decref(source->added_tokens);
    json_decref(source->root);
    json_decref(source->names);
    json_decref(source->extra);
    json_decref(source->renamed);
    free(source->tokens);
    free(source->merges);
    free(source->files[0]);
    free(source->files[1]);
    tr_bytes_release(&source->texts);
    *source = (tr_tokenizer_source_t){0};
}

void tr_tokenizer_source_add_token(tr_tokenizer_source_t *source, tr_source_token_t token)
{
    if (source->token_count == source->token_capacity) {
        source->token_capacity = source->token_capacity * 2 + 4096;
        source->tokens =
            tr_realloc(source->tokens, source->token_capacity * sizeof *source->tokens);
    }
    source->tokens[source->token_count++] = token;
}

void tr_tokenizer_source_add_merge(tr_tokenizer_source_t *source, tr_source_merge_t merge)
{
    if (source->merge_count == source->merge_capacity) {
        source->merge_capacity = source->merge_capacity * 2 + 4096;
        source->merges =
            tr_realloc(source->merges, source->merge_capacity * sizeof *source->merges);
    }
    source->merges[source->merge_count++] = merge;
}

// JSON, in place: *at is behind what was taken. False where it is not that.

static void skip_space(char **at)
{
    while (**at == ' ' || **at == '\n' || **at == '\t' || **at == '\r') {
        ++*at;
    }
}

/// Whether a character comes next, behind white space; it is taken.
static bool take(char **at, char character)
{
    skip_space(at);
    if (**at != character) {
        return false;
    }
    ++*at;
    return true;
}

/// Four hexadecimal digits; -1 where there are none.
static long hex(const char *text)
{
    char digits[5] = {0};
    memcpy(digits, text, strnlen(text, 4));
    return strspn(digits, "0123456789abcdefABCDEF") == 4 ? strtol(digits, NULL, 16) : -1;
}

/// The character of \uXXXX at text, whose four digits begin behind it; half a pair is U+FFFD.
/// Returns the bytes behind the u, 0 where it is none.
static size_t escaped_point(uint32_t *point, const char *text)
{
    long unit = hex(text);
    *point = unit >= 0xD800 && unit < 0xE000 ? 0xFFFD : (uint32_t)unit;
    if (unit >= 0xD800 && unit < 0xDC00 && text[4] == '\\' && text[5] == 'u') {
        long low = hex(text + 6);
        if (low >= 0xDC00 && low < 0xE000) {
            *point = 0x10000U + ((uint32_t)(unit - 0xD800) << 10) + (uint32_t)(low - 0xDC00);
            return 10;
        }
    }
    return unit < 0 ? 0 : 4;
}

/// Replaces the escapes of a string, from the first of them to its quote. Returns where its text
/// ends, NULL for an escape that JSON lacks; *at: the quote.
static char *unescape(char **at)
{
    static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    char *from = *at, *to = *at;
    while (*from != '"' && *from != '\0') {
        if (*from != '\\') {
            *to++ = *from++;
            continue;
        }
        const char *name = from[1] == '\0' ? NULL : strchr(names, from[1]);
        if (name != NULL) {
            *to++ = meant[name - names];
            from += 2;
            continue;
        }
        uint32_t point = 0;
        size_t digits = from[1] == 'u' ? escaped_point(&point, from + 2) : 0;
        if (digits == 0) {
            return NULL;
        }
        from += 2 + digits;
        to += tr_utf8_put(to, point); // never more bytes than its escape
    }
    *at = from;
    return to;
}

/// A string: its text, in its place, of `length` bytes of UTF-8. NULL if there is none.
static char *take_string(size_t *length, char **at)
{
    if (!take(at, '"')) {
        return NULL;
    }
    char *text = *at;
    unsigned char all = 0;
    while (**at != '"' && **at != '\\' && (unsigned char)**at >= ' ') {
        all |= (unsigned char)*(*at)++;
    }
    char *end = *at;
    if (**at == '\\') {
        end = unescape(at);
        all = 0x80;
    }
    if (end == NULL || **at != '"') {
        return NULL;
    }
    ++*at;
    *length = (size_t)(end - text);
    return all < 0x80 || tr_utf8_valid(text, *length) == *length ? text : NULL;
}

/// An integer that is an id, else -1.
static int32_t take_id(char **at)
{
    int64_t id = 0;
    char *start = *at;
    while (**at >= '0' && **at <= '9') {
        id = id < TR_VOCAB_LIMIT ? id * 10 + (*(*at)++ - '0') : (++*at, id);
    }
    bool whole = *at > start;
    while (**at != '\0' && strchr("+-.eE0123456789", **at) != NULL) { // any other number
        ++*at;
        whole = false;
    }
    return whole && id < TR_VOCAB_LIMIT ? (int32_t)id : -1;
}

/// Any value, for whose inside somebody else looks.
static bool skip_value(char **at)
{
    size_t depth = 0;
    do {
        *at += strcspn(*at, depth == 0 ? "\"[]{}," : "\"[]{}");
        char next = **at;
        if (next == '\0' || (depth == 0 && (next == ',' || next == ']' || next == '}'))) {
            return next != '\0'; // a number or a name
        }
        ++*at;
        if (next == '"') {
            while (**at != '"' && **at != '\0') {
                *at += **at == '\\' && (*at)[1] != '\0' ? 2 : 1;
            }
            *at += **at == '"';
        } else {
            depth += next == '[' || next == '{' ? 1 : (size_t)-1;
        }
    } while (depth > 0);
    return true;
}

/// {"token": id, ...}
static bool take_ids(tr_tokenizer_source_t *source, char **at)
{
    source->token_count = 0;
    if (take(at, '}')) {
        return true;
    }
    do {
        size_t length = 0;
        const char *text = take_string(&length, at);
        if (text == NULL || !take(at, ':')) {
            return false;
        }
        skip_space(at);
        tr_tokenizer_source_add_token(
            source, (tr_source_token_t){text, (uint32_t)length, take_id(at), 0.0});
    } while (take(at, ','));
    return take(at, '}');
}

/// [["token", score], ...], in the order of the ids.
static bool take_scores(tr_tokenizer_source_t *source, char **at)
{
    source->token_count = 0;
    if (take(at, ']')) {
        return true;
    }
    do {
        size_t length = 0;
        const char *text = take(at, '[') ? take_string(&length, at) : NULL;
        char *end = NULL;
        double score = text != NULL && take(at, ',') ? strtod(*at, &end) : 0.0;
        if (end == NULL || end == *at) {
            return false;
        }
        *at = end;
        tr_tokenizer_source_add_token(
            source,
            (tr_source_token_t){text, (uint32_t)length, (int32_t)source->token_count, score});
        if (!take(at, ']') || source->token_count >= TR_VOCAB_LIMIT) {
            return false;
        }
    } while (take(at, ','));
    return take(at, ']');
}

/// "a b" as its halves. False without a space, and with a second: which of the two divides the
/// halves cannot be told.
static bool divide(tr_source_merge_t *merge, const char *text, size_t length)
{
    const char *space = memchr(text, ' ', length);
    if (space == NULL) {
        return false;
    }
    merge->left = text;
    merge->left_length = (uint32_t)(space - text);
    merge->right = space + 1;
    merge->right_length = (uint32_t)length - merge->left_length - 1;
    return memchr(merge->right, ' ', merge->right_length) == NULL;
}

/// ["a b", ...] or [["a", "b"], ...]: newer files have pairs, as a token may hold a space itself.
static bool take_merges(tr_tokenizer_source_t *source, char **at)
{
    source->merge_count = 0;
    if (take(at, ']')) {
        return true;
    }
    do {
        size_t left = 0, right = 0;
        tr_source_merge_t merge = {0};
        bool pair = take(at, '[');
        const char *text = take_string(&left, at);
        if (text == NULL || (!pair && !divide(&merge, text, left))) {
            return false;
        }
        if (pair) {
            const char *other = take(at, ',') ? take_string(&right, at) : NULL;
            if (other == NULL || !take(at, ']')) {
                return false;
            }
            merge = (tr_source_merge_t){text, other, (uint32_t)left, (uint32_t)right};
        }
        tr_tokenizer_source_add_merge(source, merge);
    } while (take(at, ','));
    return take(at, ']');
}

// Files

static const char BAD_MODEL[] = "model: expected an object",
                  BAD_MERGE[] = "expected \"a b\" or [\"a\", \"b\"]"; // the caller says which

/// A member of "model". *kept: what is left of the file for Jansson, where a table is null.
/// Returns NULL, or what was expected.
static const char *take_member(tr_tokenizer_source_t *source, tr_bytes_t *rest, char **kept,
                               char **at)
{
    size_t length = 0;
    skip_space(at);
    char *key = *at;
    const char *name = take_string(&length, at), *wrong = NULL;
    if (name == NULL || !take(at, ':')) {
        return BAD_MODEL;
    }
    bool vocab = length == 5 && memcmp(name, "vocab", 5) == 0;
    bool merges = length == 6 && memcmp(name, "merges", 6) == 0;
    if (!vocab && !merges) {
        return skip_value(at) ? NULL : BAD_MODEL;
    }
    tr_bytes_append(rest, *kept, (size_t)(key - *kept));
    tr_bytes_append(rest, vocab ? "\"vocab\":null" : "\"merges\":null", vocab ? 12 : 13);
    if (vocab &&
        !(take(at, '{') ? take_ids(source, at) : take(at, '[') && take_scores(source, at))) {
        wrong = "model.vocab: expected an object of tokens and ids, or a list of [token, score]";
    } else if (merges && !(take(at, '[') && take_merges(source, at))) {
        wrong = BAD_MERGE;
    }
    *kept = *at;
    return wrong;
}

/// The tables, and in `rest` the file without them. Returns NULL, or what was expected.
static const char *scan(tr_tokenizer_source_t *source, tr_bytes_t *rest, char *text)
{
    char *kept = text, *at = text;
    if (!take(&at, '{')) {
        return "expected a JSON object";
    }
    do {
        size_t length = 0;
        const char *name = take_string(&length, &at), *wrong = NULL;
        if (name == NULL || !take(&at, ':')) {
            break; // the end, or Jansson says what is wrong
        }
        if (length != 5 || memcmp(name, "model", 5) != 0 || !take(&at, '{')) {
            wrong = skip_value(&at) ? NULL : "expected a JSON object";
        } else if (!take(&at, '}')) {
            do {
                wrong = take_member(source, rest, &kept, &at);
            } while (wrong == NULL && take(&at, ','));
            wrong = wrong != NULL || take(&at, '}') ? wrong : BAD_MODEL;
        }
        if (wrong != NULL) {
            return wrong;
        }
    } while (take(&at, ','));
    tr_bytes_append(rest, kept, strlen(kept));
    return NULL;
}

tr_status tr_tokenizer_source_read_json(tr_tokenizer_source_t *source, const char *path,
                                        tr_error_t *err)
{
    size_t length = 0;
    TR_TRY(tr_file_read(&source->files[0], &length, path, TR_TOKENIZER_FILE_LIMIT, err));
    tr_bytes_t rest = {0};
    const char *wrong = scan(source, &rest, source->files[0]);
    tr_status status = TR_OK;
    if (wrong == NULL) {
        status = tr_json_parse(&source->root, rest.data, rest.length, path, err);
    }
    tr_bytes_release(&rest);
    if (wrong == NULL && status == TR_OK) {
        return TR_OK;
    }
    // Not JSON at all: Jansson says the line of the whole file.
    json_t *whole = NULL;
    TR_TRY(tr_json_read(&whole, path, false, err));
    json_decref(whole);
    return wrong == BAD_MERGE ? tr_fail(err, TR_ERR_FORMAT, "%s: model.merges[%zu]: %s", path,
                                        source->merge_count, wrong)
                              : tr_fail(err, TR_ERR_FORMAT, "%s: %s", path, wrong);
}

tr_status tr_tokenizer_source_read_vocab(tr_tokenizer_source_t *source, const char *path,
                                         tr_error_t *err)
{
    size_t length = 0;
    TR_TRY(tr_file_read(&source->files[0], &length, path, TR_TOKENIZER_FILE_LIMIT, err));
    char *at = source->files[0];
    return take(&at, '{') && take_ids(source, &at)
               ? TR_OK
               : tr_fail(err, TR_ERR_FORMAT, "%s: expected an object of tokens and ids", path);
}

tr_status tr_tokenizer_source_read_merges(tr_tokenizer_source_t *source, const char *path,
                                          tr_error_t *err)
{
    size_t length = 0, line = 1;
    TR_TRY(tr_file_read(&source->files[1], &length, path, TR_TOKENIZER_FILE_LIMIT, err));
    const char *text = source->files[1], *end = text + length;
    for (size_t n; text < end; text += n + 1, line++) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        n = (size_t)((newline == NULL ? end : newline) - text);
        size_t shown = n > 0 && text[n - 1] == '\r' ? n - 1 : n;
        tr_source_merge_t merge;
        if (n >= 8 && memcmp(text, "#version", 8) == 0) {
            continue;
        }
        if (!divide(&merge, text, shown)) {
            return tr_fail(err, TR_ERR_FORMAT, "%s:%zu: expected two tokens and a space between",
                           path, line);
        }
        tr_tokenizer_source_add_merge(source, merge);
    }
    return TR_OK;
}
