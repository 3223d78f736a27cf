// The reader of CSV and TSV, which gives what datasets.load_dataset("csv") does, as that is where
// such files are read for training: pandas' reading of quotes, of missing cells and of types.
//
// A column's type follows from all of its cells, so they are looked through when the file is
// opened, until nothing but texts is left. Next: places.c, which keeps where rows are.
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/data/places.h"
#include "common/data/value.h"
#include "common/text/utf8.h"

/// Of a cell, between two characters.
typedef enum state { BEGINNING, UNQUOTED, QUOTED, BEHIND_QUOTE } state_t;

/// What all cells of a column may be read as.
enum { WHOLE = 1, UNSIGNED = 2, DIGITS = 4, REAL = 8, TRUTH = 16 };

enum { COLUMNS_MOST = 10000 };

typedef struct column {
    char *name;
    unsigned types; // as which all cells can be read; none: texts
    bool missing;   // in some row
} column_t;

typedef struct csv_file {
    tr_places_t places;
    char delimiter;
    state_t state;
    char last; // the character before the next one
    column_t *columns;
    size_t count;
    bool unnamed; // each of the first rows has one cell more than the header
} csv_file_t;

// Finding rows

/// The state behind a character, which is no end of a row.
static state_t after(state_t state, char c, char delimiter)
{
    if (state == QUOTED) {
        return c == '"' ? BEHIND_QUOTE : QUOTED;
    }
    if (c == '"' && state != UNQUOTED) { // the second of two is one in the text
        return QUOTED;
    }
    return c == delimiter ? BEGINNING : UNQUOTED;
}

/// Takes text: [n] to the end of the row that begins or goes on with it: how much.
static size_t take_row(csv_file_t *file, const char *text, size_t n)
{
    size_t at = 0;
    tr_places_take(&file->places, text, 0); // it begins on this line
    for (; at < n; at++) {
        char c = text[at];
        if (file->state != QUOTED && (c == '\n' || c == '\r')) {
            break;
        }
        file->places.line += c == '\r' || (c == '\n' && file->last != '\r');
        file->state = after(file->state, c, file->delimiter);
        file->last = c;
    }
    tr_places_take(&file->places, text, at);
    return at;
}

static tr_status split(tr_places_t *places, const char *text, size_t n, tr_error_t *err)
{
    csv_file_t *file = (csv_file_t *)places;
    for (size_t at = 0; at < n;) {
        if (text[at] == '\n' && file->last == '\r' && !places->begun) { // one end, not two
            tr_places_pass(places, 1);
            file->last = text[at++];
            continue;
        }
        at += take_row(file, text + at, n - at);
        if (at < n) {
            TR_TRY(tr_places_end(places, err));
            tr_places_pass(places, 1);
            places->line++;
            file->state = BEGINNING;
            file->last = text[at++];
        }
    }
    if (n == 0 && file->state == QUOTED) {
        places->line = places->row_line;
        return tr_fail(err, TR_ERR_FORMAT, "a quote of the row that begins here is never closed");
    }
    return n == 0 ? tr_places_end(places, err) : TR_OK;
}

// Cells

/// How much of the text: [n] changes no state.
static size_t run_of(state_t state, char delimiter, const char *text, size_t n)
{
    if (state != QUOTED && state != UNQUOTED) {
        return 0;
    }
    const char *end = memchr(text, state == QUOTED ? '"' : delimiter, n);
    return end != NULL ? (size_t)(end - text) : n;
}

/// The next cell of a row's text: [length], from *at, which moves behind it.
static void next_cell(tr_bytes_t *cell, const csv_file_t *file, const char *text, size_t length,
                      size_t *at)
{
    state_t state = BEGINNING;
    cell->length = 0;
    while (*at < length) {
        size_t run = run_of(state, file->delimiter, text + *at, length - *at);
        tr_bytes_append(cell, text + *at, run);
        *at += run;
        if (*at == length || (text[*at] == file->delimiter && state != QUOTED)) {
            break;
        }
        char c = text[(*at)++];
        if (c != '"' || state == BEHIND_QUOTE) { // the second of two
            tr_bytes_append(cell, &c, 1);
        }
        state = after(state, c, file->delimiter);
    }
    tr_bytes_append(cell, "", 0); // NUL terminated, if it is the first one and empty
}

/// row: NULL while types are looked for.
typedef void take_cell_t(column_t *column, json_t *row, const tr_bytes_t *cell);

/// Calls `take` with each cell of a row. TR_ERR_FORMAT for more than there are columns.
static tr_status each_cell(const csv_file_t *file, json_t *row, const char *text, size_t length,
                           take_cell_t *take, tr_error_t *err)
{
    tr_bytes_t cell = {0};
    size_t at = 0, count = 0;
    for (bool more = true; more; at++) {
        next_cell(&cell, file, text, length, &at);
        if (count < file->count) {
            take(&file->columns[count], row, &cell);
        }
        count++;
        more = at < length;
    }
    cell.length = 0;
    for (size_t i = count; i < file->count; i++) {
        take(&file->columns[i], row, &cell);
    }
    tr_bytes_release(&cell);
    if (count <= file->count) {
        return TR_OK;
    }
    const char *delimiter = file->delimiter == '\t' ? "\\t" : ",";
    return file->unnamed && count == file->count + 1
               ? tr_fail(err, TR_ERR_FORMAT,
                         "%zu cells where the header has %zu, as in each row: the header lacks a "
                         "name, or the rows end in a '%s' too many",
                         count, file->count, delimiter)
               : tr_fail(err, TR_ERR_FORMAT,
                         "%zu cells where the header has %zu: a text with a '%s' needs quotes",
                         count, file->count, delimiter);
}

static size_t count_cells(const csv_file_t *file, const char *text, size_t length)
{
    tr_bytes_t cell = {0};
    size_t count = 0;
    for (size_t at = 0; at <= length; at++) {
        next_cell(&cell, file, text, length, &at);
        count++;
    }
    tr_bytes_release(&cell);
    return count;
}

/// What pandas takes for no value.
static bool is_missing(const tr_bytes_t *cell)
{
    static const char *const MISSING[] = {
        "",     "#N/A",   "#N/A N/A", "#NA",  "-1.#IND", "-1.#QNAN", "-NaN",
        "-nan", "1.#IND", "1.#QNAN",  "<NA>", "N/A",     "NA",       "NULL",
        "NaN",  "None",   "n/a",      "nan",  "null",
    };
    for (size_t i = 0; i < sizeof MISSING / sizeof *MISSING; i++) {
        if (cell->length == strlen(MISSING[i]) &&
            memcmp(cell->data, MISSING[i], cell->length) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_truth(bool *value, const char *text)
{
    static const char *const WORDS[] = {"True", "TRUE", "true", "False", "FALSE", "false"};
    for (size_t i = 0; i < 6; i++) {
        if (strcmp(text, WORDS[i]) == 0) {
            *value = i < 3;
            return true;
        }
    }
    return false;
}

/// Whether the text, between white space, is of these characters: strtod and its kin take more
/// (hexadecimal, nan(1)).
static bool is_of(const char *text, const char *characters)
{
    text += strspn(text, " \t");
    size_t n = strspn(text, characters);
    return n > 0 && text[n + strspn(text + n, " \t")] == '\0';
}

static bool is_space(const char *text)
{
    return text[strspn(text, " \t")] == '\0';
}

/// *fits: whether the value does.
static bool is_whole(int64_t *value, bool *fits, const char *text)
{
    char *end;
    errno = 0;
    *value = strtoll(text, &end, 10);
    *fits = errno == 0;
    return is_of(text, "+-0123456789") && is_space(end);
}

static bool is_unsigned(uint64_t *value, const char *text)
{
    char *end;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return errno == 0 && is_of(text, "+0123456789") && is_space(end);
}

static bool is_real(double *value, const char *text)
{
    const char *word = text + (*text == '-' || *text == '+');
    if (strcasecmp(word, "inf") == 0 || strcasecmp(word, "infinity") == 0) {
        *value = *text == '-' ? -INFINITY : INFINITY;
        return true;
    }
    char *end;
    *value = strtod(text, &end);
    return is_of(text, "+-.0123456789eE") && is_space(end);
}

/// As what the cell can be read.
static unsigned types_of(const tr_bytes_t *cell)
{
    int64_t whole;
    uint64_t natural;
    double real;
    bool truth, fits;
    const char *text = cell->data;
    if (strlen(text) != cell->length) {
        return 0;
    }
    bool digits = is_whole(&whole, &fits, text);
    return (digits ? DIGITS : 0) | (digits && fits ? WHOLE : 0) |
           (is_unsigned(&natural, text) ? UNSIGNED : 0) | (is_real(&real, text) ? REAL : 0) |
           (is_truth(&truth, text) ? TRUTH : 0);
}

// Columns

static void note_types(column_t *column, json_t *row, const tr_bytes_t *cell)
{
    (void)row;
    if (is_missing(cell)) {
        column->missing = true;
    } else if (column->types != 0) {
        column->types &= types_of(cell);
    }
}

/// The one type that a column has; 0: text. As pandas: whole numbers cannot be missing, so with
/// missing ones they are reals; those that fit neither 64 bits with a sign nor without are texts.
static unsigned settled(const column_t *column)
{
    unsigned types = column->types;
    if (types & TRUTH) {
        return TRUTH;
    }
    if ((types & DIGITS) && !(types & (WHOLE | UNSIGNED))) {
        return 0;
    }
    if (!column->missing && (types & (WHOLE | UNSIGNED))) {
        return types & WHOLE ? WHOLE : UNSIGNED;
    }
    return types & REAL;
}

static bool has_open_types(const csv_file_t *file)
{
    size_t i = 0;
    while (i < file->count && file->columns[i].types == 0) {
        i++;
    }
    return i < file->count;
}

/// Rows that are bad are named when they are read.
static tr_status find_types(csv_file_t *file, tr_error_t *err)
{
    enum { FIRST = 100 };
    file->unnamed = file->places.base.rows > 1;
    for (size_t row = 0; row < file->places.base.rows && (has_open_types(file) || row < FIRST);
         row++) {
        char *text;
        size_t length;
        tr_status status = tr_places_read(&text, &length, &file->places, row, err);
        if (status == TR_OK) {
            tr_error_t bad = {0};
            each_cell(file, NULL, text, length, note_types, &bad);
            file->unnamed = file->unnamed &&
                            (row >= FIRST || count_cells(file, text, length) == file->count + 1);
        }
        free(text);
        TR_TRY(status);
    }
    for (size_t i = 0; i < file->count; i++) {
        file->columns[i].types = settled(&file->columns[i]);
    }
    return TR_OK;
}

static bool has_column(const csv_file_t *file, const char *name)
{
    size_t i = 0;
    while (i < file->count && strcmp(file->columns[i].name, name) != 0) {
        i++;
    }
    return i < file->count;
}

/// As pandas names those that have no name, or the same as one before.
static tr_status add_column(csv_file_t *file, const tr_bytes_t *cell, tr_error_t *err)
{
    if (file->count == COLUMNS_MOST) {
        return tr_fail(err, TR_ERR_FORMAT, "more than %d columns", COLUMNS_MOST);
    }
    if (tr_utf8_valid(cell->data, cell->length) < cell->length ||
        strlen(cell->data) != cell->length) {
        return tr_fail(err, TR_ERR_FORMAT, "the name of column %zu is no text in UTF-8",
                       file->count + 1);
    }
    char *name = cell->length > 0 ? tr_strdup(cell->data) : tr_format("Unnamed: %zu", file->count);
    for (size_t i = 1; has_column(file, name); i++) {
        free(name);
        name = tr_format("%s.%zu", cell->data, i);
    }
    file->columns = tr_realloc(file->columns, (file->count + 1) * sizeof *file->columns);
    file->columns[file->count++] =
        (column_t){name, WHOLE | UNSIGNED | DIGITS | REAL | TRUTH, false};
    return TR_OK;
}

/// The first row names the columns, and is none of the rows.
static tr_status take_header(csv_file_t *file, tr_error_t *err)
{
    tr_places_t *places = &file->places;
    char *text;
    size_t length, at = 0;
    tr_status status = tr_places_read(&text, &length, places, 0, err);
    tr_bytes_t cell = {0};
    for (bool more = true; status == TR_OK && more; at++) {
        next_cell(&cell, file, text, length, &at);
        more = at < length;
        status = add_column(file, &cell, err);
    }
    tr_bytes_release(&cell);
    free(text);
    if (status == TR_OK && file->count == 1 && strpbrk(file->columns[0].name, ";\t|,") != NULL) {
        status = tr_fail(err, TR_ERR_FORMAT,
                         "the header is one name, '%s': names and cells stand between commas, in "
                         ".tsv files between tabs",
                         file->columns[0].name);
    }
    places->base.rows--;
    memmove(places->places, places->places + 1, places->base.rows * sizeof *places->places);
    return status;
}

// The reader

static void csv_close(tr_data_file_t *base)
{
    csv_file_t *file = (csv_file_t *)base;
    for (size_t i = 0; i < file->count; i++) {
        free(file->columns[i].name);
    }
    free(file->columns);
    tr_places_release(&file->places);
    free(file);
}

static tr_status find_all(csv_file_t *file, const char *path, tr_error_t *err)
{
    TR_TRY(tr_places_open(&file->places, path, split, err));
    if (file->places.base.rows == 0) {
        return TR_OK;
    }
    tr_status status = take_header(file, err);
    status = status == TR_OK ? find_types(file, err) : status;
    return status == TR_OK ? TR_OK : tr_error_prefix(err, "%s", path);
}

static tr_status open_delimited(tr_data_file_t **base, const char *path, char delimiter,
                                const char *white, tr_error_t *err)
{
    csv_file_t *file = tr_calloc(1, sizeof *file);
    file->places.descriptor = -1;
    file->places.white = white;
    file->delimiter = delimiter;
    tr_status status = find_all(file, path, err);
    if (status != TR_OK) {
        csv_close(&file->places.base);
        return status;
    }
    *base = &file->places.base;
    return TR_OK;
}

static tr_status csv_open(tr_data_file_t **base, const char *path, tr_error_t *err)
{
    return open_delimited(base, path, ',', " \t", err);
}

static tr_status tsv_open(tr_data_file_t **base, const char *path, tr_error_t *err)
{
    return open_delimited(base, path, '\t', " ", err);
}

static size_t csv_line(const tr_data_file_t *base, size_t row)
{
    return (size_t)((const csv_file_t *)base)->places.places[row].line;
}

static json_t *value_of(unsigned type, const tr_bytes_t *cell, const char **flaw)
{
    int64_t whole = 0;
    uint64_t natural = 0;
    double real = 0;
    bool truth = false, fits;
    switch (type) {
    case WHOLE: is_whole(&whole, &fits, cell->data); return json_integer(whole);
    case UNSIGNED: is_unsigned(&natural, cell->data); return tr_value_unsigned(natural, flaw);
    case REAL: is_real(&real, cell->data); return tr_value_real(real, flaw);
    case TRUTH: is_truth(&truth, cell->data); return json_boolean(truth);
    default: return tr_value_text(cell->data, cell->length, flaw);
    }
}

static void put_cell(column_t *column, json_t *row, const tr_bytes_t *cell)
{
    const char *flaw = NULL;
    json_t *value = is_missing(cell) ? json_null() : value_of(column->types, cell, &flaw);
    tr_value_put(row, column->name, value, flaw);
}

static tr_status csv_read(json_t **columns, const tr_data_file_t *base, size_t row, tr_error_t *err)
{
    const csv_file_t *file = (const csv_file_t *)base;
    char *text;
    size_t length;
    *columns = json_object();
    tr_status status = tr_places_read(&text, &length, &file->places, row, err);
    status = status == TR_OK ? each_cell(file, *columns, text, length, put_cell, err) : status;
    free(text);
    if (status != TR_OK) {
        json_decref(*columns);
        *columns = NULL;
    }
    return status;
}

const tr_reader_t tr_reader_csv = {
    .suffix = ".csv",
    .open = csv_open,
    .read = csv_read,
    .line = csv_line,
    .close = csv_close,
};

const tr_reader_t tr_reader_tsv = {
    .suffix = ".tsv",
    .open = tsv_open,
    .read = csv_read,
    .line = csv_line,
    .close = csv_close,
};
