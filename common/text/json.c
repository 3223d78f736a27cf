// Reading JSON for the tokenizer and the chat templates: a file of its own, so that neither of them
// needs the other.
#include "common/text/json.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"

// The largest public tokenizer.json files are some tens of megabytes.
enum { FILE_LIMIT = 256 << 20 }; // bytes

// What Python writes as JSON and jansson refuses. Each becomes, in its place and as many bytes
// long, something near it that jansson takes: nobody reads these values, but they stand among
// others.

enum { WHOLE_DIGITS = 18 }; // of an integer that surely fits 64 bits

/// Overwrites a token, with spaces behind the new text.
static void overwrite(char *token, size_t length, const char *text)
{
    for (size_t i = 0, n = strlen(text); i < length; i++) {
        token[i] = ' ';
        if (i < n) {
            token[i] = text[i];
        }
    }
}

/// A number: an integer that is too long becomes a real, and one past all reals the largest.
/// Returns where it ends.
static char *repair_number(char *token)
{
    char *start = *token == '-' ? token + 1 : token, *end = start;
    while (isdigit((unsigned char)*end)) {
        end++;
    }
    size_t digits = (size_t)(end - start);
    bool whole = *end != '.' && *end != 'e' && *end != 'E';
    while (isalnum((unsigned char)*end) || *end == '.' || *end == '+' || *end == '-') {
        end++;
    }
    if (isinf(strtod(token, NULL))) {
        overwrite(start, (size_t)(end - start), "1e308");
    } else if (whole && digits > WHOLE_DIGITS) {
        char exponent[8];
        int length = snprintf(exponent, sizeof exponent, "e%zu", digits - 1);
        memmove(start + 2, start + 1, digits - 2);
        start[1] = '.';
        memcpy(end - length, exponent, (size_t)length);
    }
    return end;
}

/// Whether text is \\uXXXX with XXXX from low to low + 3FF.
static bool is_surrogate(const char *text, unsigned long low)
{
    if (text[0] != '\\' || text[1] != 'u' || strspn(text + 2, "0123456789abcdefABCDEF") < 4) {
        return false;
    }
    char hex[5] = {text[2], text[3], text[4], text[5], '\0'};
    unsigned long unit = strtoul(hex, NULL, 16);
    return unit >= low && unit < low + 0x400;
}

/// A string, from its first byte behind the quote: half of a pair of surrogates is no character.
/// Returns the byte behind its quote.
static char *repair_string(char *at)
{
    while (*at != '"' && *at != '\0') {
        bool high = is_surrogate(at, 0xD800), low = is_surrogate(at, 0xDC00);
        if (high && is_surrogate(at + 6, 0xDC00)) {
            at += 12;
        } else if (high || low) {
            memcpy(at + 2, "fffd", 4);
            at += 6;
        } else {
            at += *at == '\\' && at[1] != '\0' ? 2 : 1;
        }
    }
    return *at == '"' ? at + 1 : at;
}

/// A name that JSON does not have. Returns where it ends, or the next byte.
static char *repair_name(char *token)
{
    static const struct {
        const char *name, *instead;
    } names[] = {{"NaN", "\"\""}, {"Infinity", "1e308"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t length = strlen(names[i].name);
        if (strncmp(token, names[i].name, length) == 0) {
            overwrite(token, length, names[i].instead);
            return token + length;
        }
    }
    return token + 1;
}

/// text: NUL terminated; at a NUL byte within it, which is no JSON, it ends.
static void repair(char *text)
{
    while (*text != '\0') {
        if (*text == '"') {
            text = repair_string(text + 1);
        } else if (isdigit((unsigned char)*text) ||
                   (*text == '-' && isdigit((unsigned char)text[1]))) {
            text = repair_number(text);
        } else {
            text = repair_name(text);
        }
    }
}

tr_status tr_json_parse(json_t **root, char *text, size_t length, const char *path, tr_error_t *err)
{
    repair(text);
    json_error_t cause;
    // A token's text may hold NUL bytes, which Jansson refuses otherwise.
    *root = json_loadb(text, length, JSON_ALLOW_NUL, &cause);
    if (*root == NULL) {
        return tr_fail(err, TR_ERR_FORMAT, "%s:%d: malformed JSON: %s", path, cause.line,
                       cause.text);
    }
    if (!json_is_object(*root)) {
        json_decref(*root);
        *root = NULL;
        return tr_fail(err, TR_ERR_FORMAT, "%s: expected a JSON object", path);
    }
    return TR_OK;
}

tr_status tr_json_read(json_t **root, const char *path, bool optional, tr_error_t *err)
{
    *root = NULL;
    // A file that is there and cannot be read is an error, whether it is optional or not.
    if (optional && access(path, F_OK) != 0) {
        return TR_OK;
    }
    char *text = NULL;
    size_t length = 0;
    TR_TRY(tr_file_read(&text, &length, path, FILE_LIMIT, err));
    tr_status status = tr_json_parse(root, text, length, path, err);
    free(text);
    return status;
}

const char *tr_json_string(const json_t *object, const char *key, const char *fallback)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : fallback;
}

bool tr_json_flag(const json_t *object, const char *key, bool fallback)
{
    const json_t *value = json_object_get(object, key);
    // null is the fallback too.
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}
