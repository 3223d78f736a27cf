// Columns are looked at as the files have them, tokens as the algorithm reads the rows.
#include "deploy/data_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text/json.h"
#include "common/text/utf8.h"

enum { BINS = 65 }; // by powers of two

typedef struct lengths {
    size_t count, sum, shortest, longest;
    size_t bins[BINS];
} lengths_t;

static void add_length(lengths_t *lengths, size_t length)
{
    size_t bin = 0;
    for (size_t left = length; left > 0; left >>= 1) {
        bin++;
    }
    lengths->shortest =
        lengths->count == 0 || length < lengths->shortest ? length : lengths->shortest;
    lengths->longest = length > lengths->longest ? length : lengths->longest;
    lengths->count++;
    lengths->sum += length;
    lengths->bins[bin]++;
}

/// A row that cannot be used.
static void print_bad(size_t *bad, const tr_error_t *err)
{
    if ((*bad)++ < TR_SURVEY_MISTAKES) {
        printf("%s\n", err->text);
    }
}

static void print_bad_count(size_t bad, size_t rows)
{
    if (bad > 0) {
        printf("%zu of %zu rows are bad: such a row ends a run, or is left out "
               "(data.on_bad_row: drop)\n",
               bad, rows);
    }
}

// Columns

enum { TYPES = 7 };
static const char *const TYPE_NAMES[TYPES] = {"text",        "messages", "list", "object",
                                              "truth value", "number",   "null"};
enum { A_TEXT, MESSAGES, A_LIST, AN_OBJECT, A_TRUTH_VALUE, A_NUMBER, A_NULL };

typedef struct column {
    char *name; ///< owned
    size_t types[TYPES], flawed;
    lengths_t characters;
} column_t;

typedef struct columns {
    json_t *names; ///< name -> index
    column_t *items;
    size_t count;
} columns_t;

static int type_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_STRING: return A_TEXT;
    case JSON_ARRAY: return tr_chat_is_conversation(value) ? MESSAGES : A_LIST;
    case JSON_OBJECT: return AN_OBJECT;
    case JSON_TRUE:
    case JSON_FALSE: return A_TRUTH_VALUE;
    case JSON_INTEGER:
    case JSON_REAL: return A_NUMBER;
    case JSON_NULL: break;
    }
    return A_NULL;
}

/// Characters of a text, or of all texts in a value.
static size_t characters_of(const json_t *value)
{
    size_t count = 0, i;
    const char *key;
    json_t *item;
    const char *text = json_string_value(value);
    for (size_t k = 0; text != NULL && k < json_string_length(value); k++) {
        count += ((unsigned char)text[k] & 0xC0) != 0x80; // where a character begins
    }
    json_object_foreach((json_t *)value, key, item)
    {
        count += strcmp(key, "role") == 0 || strcmp(key, "from") == 0 ? 0 : characters_of(item);
    }
    json_array_foreach(value, i, item)
    {
        count += characters_of(item);
    }
    return count;
}

static column_t *find_column(columns_t *columns, const char *name)
{
    json_t *index = json_object_get(columns->names, name);
    if (index == NULL) {
        columns->items = tr_realloc(columns->items, (columns->count + 1) * sizeof *columns->items);
        columns->items[columns->count] = (column_t){.name = tr_strdup(name)};
        index = json_integer((json_int_t)columns->count++);
        json_object_set_new(columns->names, name, index);
    }
    return &columns->items[json_integer_value(index)];
}

static void add_row(columns_t *columns, const json_t *row)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)row, name, value)
    {
        if (strcmp(name, TR_JSON_FLAWS) == 0) {
            continue;
        }
        column_t *column = find_column(columns, name);
        int type = type_of(value);
        column->types[type]++;
        column->flawed += tr_json_flaw(row, name) != NULL;
        if (type < A_TRUTH_VALUE) {
            add_length(&column->characters, characters_of(value));
        }
    }
}

/// "text", "text, number (2)": each type that is not the first, with how often.
static char *types_of(const column_t *column)
{
    tr_bytes_t text = {0};
    tr_bytes_append(&text, "", 0);
    for (size_t i = 0; i < A_NULL; i++) {
        if (column->types[i] > 0) {
            char *type = text.length == 0
                             ? tr_strdup(TYPE_NAMES[i])
                             : tr_format(", %s (%zu)", TYPE_NAMES[i], column->types[i]);
            tr_bytes_append(&text, type, strlen(type));
            free(type);
        }
    }
    return text.data;
}

static void print_columns(const columns_t *columns)
{
    printf("%-24s %8s %8s  %-20s characters: least, mean, most\n", "column", "rows", "null",
           "type");
    for (size_t n = 0; n < columns->count; n++) {
        const column_t *column = &columns->items[n];
        const lengths_t *length = &column->characters;
        size_t rows = 0;
        for (size_t i = 0; i < TYPES; i++) {
            rows += column->types[i];
        }
        char *types = types_of(column);
        printf("%-24s %8zu %8zu  %-20s", column->name, rows, column->types[A_NULL], types);
        if (length->count > 0) {
            printf(" %zu, %.1f, %zu", length->shortest, (double)length->sum / (double)length->count,
                   length->longest);
        }
        if (column->flawed > 0) { // NaN, half of a surrogate pair, ...
            printf("  %zu flawed", column->flawed);
        }
        printf("\n");
        free(types);
    }
}

tr_status data_report_columns(const tr_dataset_t *dataset, tr_error_t *err)
{
    columns_t columns = {.names = json_object()};
    size_t bad = 0, size = tr_dataset_size(dataset);
    tr_status status = TR_OK;
    for (size_t row = 0; row < size && status != TR_ERR_IO; row++) {
        json_t *read;
        tr_error_t one = {0};
        status = tr_dataset_read(&read, dataset, row, &one);
        if (status == TR_OK) {
            add_row(&columns, read);
            json_decref(read);
        } else if (status == TR_ERR_IO) {
            *err = one;
        } else {
            print_bad(&bad, &one);
        }
    }
    if (status != TR_ERR_IO) {
        print_bad_count(bad, size);
        print_columns(&columns);
    }
    for (size_t i = 0; i < columns.count; i++) {
        free(columns.items[i].name);
    }
    json_decref(columns.names);
    free(columns.items);
    return status == TR_ERR_IO ? status : TR_OK;
}

// Tokens

typedef struct tokens {
    lengths_t prompts, wholes;
    size_t cut; ///< sequences that are longer than the limit
    size_t bad;
} tokens_t;

/// Tokens first..end-1 as text, special ones too.
static void print_tokens(const tr_corpus_t *corpus, const char *what, const tr_sequence_t *sequence,
                         size_t first, size_t end)
{
    if (first < end) {
        size_t length;
        char *text = tr_tokenizer_decode(&length, corpus->encoder.tokenizer, sequence->ids + first,
                                         end - first, first > 0 ? TR_DECODE_CONTINUES : 0);
        printf("[%s: %zu tokens]\n", what, end - first);
        fwrite(text, 1, length, stdout);
        printf("\n");
        free(text);
    }
}

static void print_row(const tr_corpus_t *corpus, size_t row, const tr_sequence_t *sequences)
{
    static const char *const SIDES[2] = {"chosen", "rejected"};
    char *place = tr_dataset_place(corpus->dataset, row);
    size_t count = tr_kind_sequences(corpus->kind);
    printf("--- %s ---\n", place);
    for (size_t i = 0; i < count; i++) {
        const tr_sequence_t *s = &sequences[i];
        print_tokens(corpus, "prompt", s, 0, s->prompt);
        print_tokens(corpus, count == 2 ? SIDES[i] : "learnt", s, s->prompt, s->length);
    }
    free(place);
}

static void add_sequences(tokens_t *tokens, const tr_corpus_t *corpus,
                          const tr_sequence_t *sequences)
{
    for (size_t i = 0; i < tr_kind_sequences(corpus->kind); i++) {
        add_length(&tokens->prompts, sequences[i].prompt);
        add_length(&tokens->wholes, sequences[i].length);
        tokens->cut += sequences[i].length > corpus->options.limit;
    }
}

static tr_status read_row(tokens_t *tokens, tr_corpus_t *corpus, size_t row, bool shown,
                          tr_error_t *err)
{
    tr_sequence_t sequences[2] = {{0}};
    json_t *columns;
    tr_status status = tr_dataset_read(&columns, corpus->dataset, row, err);
    if (status == TR_OK) {
        status = tr_kind_read(sequences, &corpus->encoder, corpus->kind, corpus->dataset, columns,
                              &corpus->options, err);
        json_decref(columns);
        if (status != TR_OK) {
            char *place = tr_dataset_place(corpus->dataset, row);
            tr_error_prefix(err, "%s", place);
            free(place);
        }
    }
    if (status == TR_OK) {
        add_sequences(tokens, corpus, sequences);
        if (shown) {
            print_row(corpus, row, sequences);
        }
    }
    tr_sequence_release(&sequences[0]);
    tr_sequence_release(&sequences[1]);
    return status;
}

static void print_lengths(const char *what, const lengths_t *lengths)
{
    if (lengths->count == 0 || lengths->longest == 0) {
        return;
    }
    printf("\n%s: %zu to %zu tokens, %.1f on average\n", what, lengths->shortest, lengths->longest,
           (double)lengths->sum / (double)lengths->count);
    for (size_t bin = 0; bin < BINS; bin++) {
        size_t first = bin == 0 ? 0 : (size_t)1 << (bin - 1);
        if (lengths->bins[bin] > 0) {
            printf("%8zu..%-8zu %zu\n", first, bin < 2 ? first : 2 * first - 1, lengths->bins[bin]);
        }
    }
}

tr_status data_report_tokens(tr_corpus_t *corpus, size_t shown, tr_error_t *err)
{
    tokens_t tokens = {0};
    size_t size = tr_dataset_size(corpus->dataset);
    for (size_t row = 0; row < size; row++) {
        tr_error_t one = {0};
        tr_status status = read_row(&tokens, corpus, row, row < shown, &one);
        if (status == TR_ERR_IO) {
            *err = one;
            return status;
        }
        if (status != TR_OK) {
            print_bad(&tokens.bad, &one);
        }
    }
    print_bad_count(tokens.bad, size);
    print_lengths("prompts", &tokens.prompts);
    if (tokens.wholes.sum > tokens.prompts.sum) {
        print_lengths("rows with their prompts", &tokens.wholes);
    }
    if (tokens.cut > 0) {
        printf("\n%zu are longer than %zu tokens (%s), and are cut to that\n", tokens.cut,
               corpus->options.limit, corpus->options.limit_key);
    }
    return TR_OK;
}
