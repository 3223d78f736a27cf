// Reading JSON as Python writes it, for the tokenizer, the chat templates and rows of data: a file
// of its own, so that none of them needs another.
#include "common/text/json.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/text/utf8.h"

// The largest public tokenizer.json files are some tens of megabytes.
enum { FILE_LIMIT = 256 << 20 }; // bytes

// What Python writes as JSON and jansson refuses. Each becomes something near it that jansson
// takes: it stands among values that are read, and is itself mostly not.

/// The text as it is repaired, and of an object what was changed in which of its members.
typedef struct repair {
    const char *at, *end; // what is left; NUL terminated
    tr_bytes_t out;
    json_t *flaws;  // member -> what it held; NULL: nobody asks, and NUL characters stay
    json_t *keys;   // member -> how many keys stand in it
    json_t *member; // its name: the one that the text is in
    unsigned depth; // brackets and braces that are open
} repair_t;

/// Moves length bytes to the result as they are.
static void keep(repair_t *r, size_t length)
{
    tr_bytes_append(&r->out, r->at, length);
    r->at += length;
}

/// Puts text in the place of the next length bytes.
static void replace(repair_t *r, size_t length, const char *text)
{
    tr_bytes_append(&r->out, text, strlen(text));
    r->at += length;
}

/// The first flaw of a member is the one that is told.
static void note(repair_t *r, const char *flaw)
{
    const char *member = json_string_value(r->member);
    if (r->flaws != NULL && member != NULL && json_object_get(r->flaws, member) == NULL) {
        json_object_set_new(r->flaws, member, json_string(flaw));
    }
}

/// A number: an integer that is too long becomes a real, and one past all reals the largest.
static void repair_number(repair_t *r)
{
    size_t length = *r->at == '-', digits = strspn(r->at + length, "0123456789");
    length += digits;
    bool whole = strchr(".eE", r->at[length]) == NULL || r->at[length] == '\0';
    while (isalnum((unsigned char)r->at[length]) ||
           (r->at[length] != '\0' && strchr(".+-", r->at[length]) != NULL)) {
        length++;
    }
    char real[32];
    double value = strtod(r->at, NULL);
    errno = 0;
    strtoll(r->at, NULL, 10);
    bool long_whole = whole && errno == ERANGE;
    if (isinf(value)) {
        note(r, "a number past all reals");
        replace(r, length, value > 0 ? "1e308" : "-1e308");
    } else if (long_whole) {
        note(r, "a whole number of more than 64 bits");
        snprintf(real, sizeof real, "%.17g", value);
        tr_bytes_append(&r->out, real, strlen(real));
        replace(r, length, strpbrk(real, ".e") != NULL ? "" : ".0");
    } else {
        keep(r, length);
    }
}

/// Whether text is \\uXXXX with XXXX from low to high.
static bool is_escape(const char *text, unsigned long low, unsigned long high)
{
    if (text[0] != '\\' || text[1] != 'u' || strspn(text + 2, "0123456789abcdefABCDEF") < 4) {
        return false;
    }
    char hex[5] = {text[2], text[3], text[4], text[5], '\0'};
    unsigned long unit = strtoul(hex, NULL, 16);
    return unit >= low && unit <= high;
}

/// A key of the whole object begins a member. text: [length], in quotes.
static void begin_member(repair_t *r, const char *text, size_t length)
{
    json_decref(r->member);
    r->member = json_loadb(text, length, JSON_DECODE_ANY, NULL);
    const char *name = json_string_value(r->member);
    if (name != NULL && json_object_get(r->keys, name) != NULL) {
        note(r, "the column twice");
    }
    if (name != NULL) {
        json_object_set_new(r->keys, name, json_integer(0));
    }
}

/// A key: of the whole object, or counted.
static void take_key(repair_t *r, const char *text, size_t length)
{
    if (r->depth == 1) {
        begin_member(r, text, length);
    } else if (r->member != NULL) {
        json_t *count = json_object_get(r->keys, json_string_value(r->member));
        json_integer_set(count, json_integer_value(count) + 1);
    }
}

/// A string: half of a pair of surrogates is no character. A key that holds one is read by nobody.
static void repair_string(repair_t *r)
{
    const char *flaw = NULL;
    size_t start = r->out.length;
    keep(r, 1);
    while (r->at < r->end && *r->at != '"') {
        bool high = is_escape(r->at, 0xD800, 0xDBFF), low = is_escape(r->at, 0xDC00, 0xDFFF);
        if (high && is_escape(r->at + 6, 0xDC00, 0xDFFF)) {
            keep(r, 12);
        } else if (high || low || (r->flaws != NULL && is_escape(r->at, 0, 0))) {
            flaw =
                high || low ? "half of a surrogate pair, which is no character" : "a NUL character";
            replace(r, 6, "\\ufffd");
        } else {
            keep(r, *r->at == '\\' && r->at + 1 < r->end ? 2 : 1);
        }
    }
    keep(r, r->at < r->end);
    size_t blank = strspn(r->at, " \t\r\n"), length = r->out.length - start;
    if (r->flaws != NULL && r->at[blank] == ':') {
        take_key(r, r->out.data + start, length);
    } else if (flaw != NULL) {
        note(r, flaw);
    }
}

/// A name that JSON does not have, or the next byte. NaN is how pandas writes null.
static void repair_name(repair_t *r)
{
    static const struct {
        const char *name, *instead;
    } names[] = {{"NaN", "null"}, {"Infinity", "1e308"}, {"-Infinity", "-1e308"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t length = strlen(names[i].name);
        if (strncmp(r->at, names[i].name, length) == 0) {
            note(r, names[i].name);
            replace(r, length, names[i].instead);
            return;
        }
    }
    r->depth += *r->at == '{' || *r->at == '[';
    r->depth -= r->depth > 0 && (*r->at == '}' || *r->at == ']');
    keep(r, 1);
}

/// text: [length], NUL terminated. The result is r->out.
static void repair(repair_t *r, const char *text, size_t length)
{
    r->at = text;
    r->end = text + length;
    tr_bytes_reserve(&r->out, length);
    while (r->at < r->end) {
        if (*r->at == '"') {
            repair_string(r);
        } else if (isdigit((unsigned char)*r->at) ||
                   (*r->at == '-' && isdigit((unsigned char)r->at[1]))) {
            repair_number(r);
        } else {
            repair_name(r);
        }
    }
}

// Objects of data

/// Keys of a value and of all within it.
static size_t count_keys(const json_t *value)
{
    size_t count = json_object_size(value), i;
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)value, key, item)
    {
        count += count_keys(item);
    }
    json_array_foreach(value, i, item)
    {
        count += count_keys(item);
    }
    return count;
}

/// Where the text had more keys in a member than its value has, one of them came twice.
static void note_lost_keys(repair_t *r, const json_t *object)
{
    const char *name;
    json_t *count;
    json_object_foreach(r->keys, name, count)
    {
        const json_t *value = json_object_get(object, name);
        if ((size_t)json_integer_value(count) != count_keys(value)) {
            json_decref(r->member);
            r->member = json_string(name);
            note(r, "a key twice");
        }
    }
}

/// The same with repairs, after jansson has refused the text for `cause`.
static tr_status parse_repaired(json_t **value, const char *text, size_t length,
                                const json_error_t *cause, tr_error_t *err)
{
    repair_t r = {.flaws = json_object(), .keys = json_object()};
    char *copy = tr_alloc(length + 1);
    json_error_t again;
    memcpy(copy, text, length);
    copy[length] = '\0';
    repair(&r, copy, length);
    bool same = r.out.length == length && memcmp(r.out.data, text, length) == 0;
    *value = json_loadb(r.out.data, r.out.length, JSON_DECODE_ANY, &again);
    tr_status status = TR_OK;
    if (*value == NULL) {
        // A repair moves what follows it.
        status = same ? tr_fail(err, TR_ERR_FORMAT, "malformed JSON at byte %d of the row: %s",
                                cause->position, cause->text)
                      : tr_fail(err, TR_ERR_FORMAT, "malformed JSON: %s", again.text);
    } else if (json_is_object(*value)) {
        note_lost_keys(&r, *value);
        json_object_set(*value, TR_JSON_FLAWS, r.flaws);
    }
    json_decref(r.flaws);
    json_decref(r.keys);
    json_decref(r.member);
    tr_bytes_release(&r.out);
    free(copy);
    return status;
}

tr_status tr_json_row(json_t **row, const char *text, size_t length, tr_error_t *err)
{
    json_error_t cause;
    *row = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &cause);
    if (*row == NULL) {
        TR_TRY(parse_repaired(row, text, length, &cause, err));
    }
    if (!json_is_object(*row)) {
        json_decref(*row);
        *row = NULL;
        return tr_fail(err, TR_ERR_FORMAT, "expected a JSON object with columns");
    }
    return TR_OK;
}

const char *tr_json_flaw(const json_t *row, const char *column)
{
    return json_string_value(json_object_get(json_object_get(row, TR_JSON_FLAWS), column));
}

// Files

tr_status tr_json_parse(json_t **root, const char *text, size_t length, const char *path,
                        tr_error_t *err)
{
    json_error_t cause;
    // A token's text may hold NUL bytes, which Jansson refuses otherwise.
    *root = json_loadb(text, length, JSON_ALLOW_NUL, &cause);
    if (*root == NULL) { // a copy is made of the few that need one
        repair_t r = {0};
        repair(&r, text, length);
        *root = json_loadb(r.out.data, r.out.length, JSON_ALLOW_NUL, &cause);
        tr_bytes_release(&r.out);
    }
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
