// The reader of JSON: of JSON Lines, an object a line, of objects over several lines, and of files
// that are one array of objects. The first character that is no white space tells arrays: no line
// of columns begins with '['. The end of the first line tells whether its object goes on behind it.
//
// Arrays and objects are split without being parsed: at commas and brackets that stand in no string
// and no other bracket. Next: places.c, which keeps where rows are.
#include <stdlib.h>
#include <string.h>

#include "common/data/places.h"
#include "common/text/json.h"
#include "common/text/utf8.h"

/// Where the text that has been split ends.
typedef enum state {
    BEFORE,
    IN_FIRST_LINE,
    IN_LINES,
    IN_OBJECTS,
    IN_EMPTY_ARRAY,
    IN_ARRAY,
    BEHIND_ARRAY
} state_t;

typedef struct json_file {
    tr_places_t places;
    state_t state;
    size_t depth; // brackets that are open in the element
    bool in_string, escaped;
    char last; // of the first line, but for white space
} json_file_t;

// Finding rows

static tr_status split_lines(tr_places_t *file, const char *text, size_t n, tr_error_t *err)
{
    for (size_t at = 0; at < n;) {
        const char *stop = memchr(text + at, '\n', n - at);
        size_t length = stop != NULL ? (size_t)(stop - text) - at : n - at;
        tr_places_take(file, text + at, length);
        at += length;
        if (stop != NULL) {
            TR_TRY(tr_places_end(file, err));
            tr_places_pass(file, 1);
            file->line++;
            at++;
        }
    }
    return TR_OK;
}

/// Passes over white space: how much.
static size_t pass_space(tr_places_t *file, const char *text, size_t n)
{
    size_t at = 0;
    while (at < n && text[at] != '\0' && strchr(file->white, text[at]) != NULL) {
        file->line += text[at++] == '\n';
    }
    tr_places_pass(file, at);
    return at;
}

/// Whether the character ends the element; else it is one of it.
static bool ends_element(json_file_t *file, char c)
{
    if (file->in_string) {
        file->in_string = file->escaped || c != '"';
        file->escaped = !file->escaped && c == '\\';
        return false;
    }
    file->in_string = c == '"';
    if (file->depth == 0) {
        file->depth = c == '[' || c == '{';
        return c == ',' || c == ']';
    }
    file->depth += (size_t)(c == '[' || c == '{');
    file->depth -= (size_t)(c == ']' || c == '}');
    return false;
}

/// Takes the first line: how much. The object goes on behind it where a bracket is open and it ends
/// as a line of such an object does; a line of JSON Lines that was cut off hardly does.
static size_t take_first_line(json_file_t *file, const char *text, size_t n)
{
    size_t at = 0;
    tr_places_take(&file->places, text, 0);
    for (; at < n && text[at] != '\n'; at++) {
        ends_element(file, text[at]);
        file->last = strchr(file->places.white, text[at]) != NULL ? file->last : text[at];
    }
    tr_places_take(&file->places, text, at);
    if (at < n) {
        bool open = file->depth > 0 && !file->in_string && strchr("{[,", file->last) != NULL;
        file->state = open ? IN_OBJECTS : IN_LINES;
    }
    return at;
}

/// Takes text: [n] of an object to its end: how much.
static size_t take_object(json_file_t *file, const char *text, size_t n)
{
    size_t at = 0;
    tr_places_take(&file->places, text, 0);
    do {
        ends_element(file, text[at]);
        file->places.line += text[at++] == '\n';
    } while (at < n && file->depth > 0);
    tr_places_take(&file->places, text, at);
    return at;
}

/// Objects, one behind the other, of as many lines as each has.
static tr_status split_objects(json_file_t *file, const char *text, size_t n, tr_error_t *err)
{
    tr_places_t *places = &file->places;
    for (size_t at = 0;;) {
        at += places->begun ? 0 : pass_space(places, text + at, n - at);
        if (at == n) {
            return TR_OK;
        }
        if (!places->begun && text[at] != '{') {
            return tr_fail(err, TR_ERR_FORMAT, "malformed JSON: '%c' where an object is expected",
                           text[at]);
        }
        at += take_object(file, text + at, n - at);
        if (file->depth == 0 && !file->in_string) {
            TR_TRY(tr_places_end(places, err));
        }
    }
}

/// Takes text: [n], which an element begins with or goes on with, to the element's end: how much.
static size_t take_element(json_file_t *file, const char *text, size_t n)
{
    size_t at = 0;
    tr_places_take(&file->places, text, 0); // it begins on this line
    while (at < n && !ends_element(file, text[at])) {
        file->places.line += text[at++] == '\n';
    }
    tr_places_take(&file->places, text, at);
    return at;
}

static tr_status split_array(json_file_t *file, const char *text, size_t n, tr_error_t *err)
{
    tr_places_t *places = &file->places;
    for (size_t at = 0;;) {
        at += places->begun ? 0 : pass_space(places, text + at, n - at);
        if (at == n) {
            return TR_OK;
        }
        if (file->state == BEHIND_ARRAY) {
            return tr_fail(err, TR_ERR_FORMAT, "malformed JSON: text behind the array's end");
        }
        at += take_element(file, text + at, n - at);
        if (at == n) {
            return TR_OK;
        }
        bool last = text[at] == ']';
        if (places->row_length == 0 && !(last && file->state == IN_EMPTY_ARRAY)) {
            return tr_fail(err, TR_ERR_FORMAT, "malformed JSON: '%c' where a row is expected",
                           text[at]);
        }
        TR_TRY(tr_places_end(places, err));
        tr_places_pass(places, 1);
        at++;
        file->state = last ? BEHIND_ARRAY : IN_ARRAY;
    }
}

static tr_status at_end(json_file_t *file, tr_error_t *err)
{
    tr_places_t *places = &file->places;
    if (file->state == IN_OBJECTS && places->begun) {
        places->line = places->row_line;
        return tr_fail(err, TR_ERR_FORMAT,
                       "malformed JSON: the object that begins here does not end: the file is cut "
                       "off, or a quote or bracket is missing");
    }
    if (file->state == IN_EMPTY_ARRAY || file->state == IN_ARRAY) {
        places->line = places->begun ? places->row_line : places->line;
        return tr_fail(err, TR_ERR_FORMAT,
                       "malformed JSON: the array of rows does not end: the file is cut off, or a "
                       "quote or bracket is missing");
    }
    return tr_places_end(places, err);
}

static tr_status split(tr_places_t *places, const char *text, size_t n, tr_error_t *err)
{
    json_file_t *file = (json_file_t *)places;
    if (n == 0) {
        return at_end(file, err);
    }
    size_t at = 0;
    if (file->state == BEFORE) {
        at = pass_space(places, text, n);
        if (at == n) {
            return TR_OK;
        }
        file->state = text[at] == '[' ? IN_EMPTY_ARRAY : IN_FIRST_LINE;
        size_t bracket = file->state == IN_EMPTY_ARRAY;
        tr_places_pass(places, bracket);
        at += bracket;
    }
    at += file->state == IN_FIRST_LINE ? take_first_line(file, text + at, n - at) : 0;
    switch (file->state) {
    case IN_FIRST_LINE: return TR_OK;
    case IN_LINES: return split_lines(places, text + at, n - at, err);
    case IN_OBJECTS: return split_objects(file, text + at, n - at, err);
    default: return split_array(file, text + at, n - at, err);
    }
}

static void json_close(tr_data_file_t *base)
{
    tr_places_release((tr_places_t *)base);
    free(base);
}

static tr_status json_open(tr_data_file_t **base, const char *path, tr_error_t *err)
{
    json_file_t *file = tr_calloc(1, sizeof *file);
    file->places.descriptor = -1;
    file->places.white = " \t\r\n";
    tr_status status = tr_places_open(&file->places, path, split, err);
    if (status != TR_OK) {
        json_close(&file->places.base);
        return status;
    }
    *base = &file->places.base;
    return TR_OK;
}

/// Of an array that stands on one line, the number of the row says more.
static size_t json_line(const tr_data_file_t *base, size_t row)
{
    const json_file_t *file = (const json_file_t *)base;
    const tr_place_t *places = file->places.places;
    bool one_line = file->state == BEHIND_ARRAY && places[0].line == places[base->rows - 1].line;
    return one_line ? row + 1 : (size_t)places[row].line;
}

// Reading a row

/// *columns: an object, the caller's; NULL on failure.
static tr_status parse(json_t **columns, const char *text, size_t length, tr_error_t *err)
{
    size_t valid = tr_utf8_valid(text, length);
    *columns = NULL;
    if (valid < length) { // before Jansson, whose sentence would not name the byte
        return tr_fail(err, TR_ERR_FORMAT, "invalid UTF-8 at byte %zu of the row (0x%02X)",
                       valid + 1, (unsigned char)text[valid]);
    }
    return tr_json_row(columns, text, length, err);
}

static tr_status json_read(json_t **columns, const tr_data_file_t *base, size_t row,
                           tr_error_t *err)
{
    char *text;
    size_t length;
    tr_status status = tr_places_read(&text, &length, (const tr_places_t *)base, row, err);
    status = status == TR_OK ? parse(columns, text, length, err) : status;
    free(text);
    return status;
}

const tr_reader_t tr_reader_json = {
    .open = json_open,
    .read = json_read,
    .line = json_line,
    .close = json_close,
};
