// The rows of a run's files in memory: what was read, which rows are bad, and the order of batches.
//
// A row that is refused stays in its place until tr_dataset_compact, so that the caller's loop over
// rows keeps its numbers. reader.c reads the files; kinds.c says which columns are wanted.
#include "common/data/dataset.h"

#include <stdlib.h>

#include "common/base/log.h"
#include "common/base/rng.h"
#include "common/data/reader.h"

typedef struct row {
    json_t *columns; // an object
    uint32_t file;   // index into paths
    uint32_t line;   // from 1
    bool refused;    // to be taken out
} row_t;

struct tr_dataset {
    char **paths; // [path_count] of the files so far: rows that are read are the last one's
    size_t path_count;
    row_t *rows; // [size]
    size_t size;
    size_t capacity;
    bool drop; // bad rows
    size_t dropped;
    // the first of them, owned, where they are not to be dropped
    char *mistakes[TR_DATASET_MISTAKES];
    tr_status first; // the first one's
};

// Reading

/// A bad line or row, whose failure in err has its place already.
static void take_bad(tr_dataset_t *dataset, tr_error_t *err)
{
    if (dataset->drop) {
        tr_log(TR_LOG_WARN, "data", "\"dropped: %s\"", err->text);
    } else if (dataset->dropped < TR_DATASET_MISTAKES) {
        dataset->mistakes[dataset->dropped] = tr_strdup(err->text);
        dataset->first = dataset->dropped == 0 ? err->status : dataset->first;
    }
    // The caller's sink is empty again: a later failure must not be mixed up with this row.
    *err = (tr_error_t){0};
    dataset->dropped++;
}

/// A tr_row_fn.
static tr_status take_row(void *context, json_t *columns, size_t line, tr_error_t *err)
{
    tr_dataset_t *dataset = context;
    if (columns == NULL) {
        take_bad(dataset, err);
        return TR_OK;
    }
    // How many rows a file has is not known before its end, since a gzipped one tells no length.
    if (dataset->size == dataset->capacity) {
        dataset->capacity = dataset->capacity == 0 ? 256 : dataset->capacity * 2;
        dataset->rows = tr_realloc(dataset->rows, dataset->capacity * sizeof *dataset->rows);
    }
    dataset->rows[dataset->size++] =
        (row_t){columns, (uint32_t)dataset->path_count - 1, (uint32_t)line, false};
    return TR_OK;
}

static tr_status read_file(tr_dataset_t *dataset, const char *path, tr_error_t *err)
{
    size_t before = dataset->size;
    dataset->paths[dataset->path_count++] = tr_strdup(path);
    TR_TRY(tr_reader_read(path, take_row, dataset, err));
    // A file that had bad rows only is not told apart from an empty one: neither gives anything to
    // train on. What was dropped has been logged.
    if (dataset->size == before) {
        TR_TRY(tr_dataset_verdict(dataset, err));
        return tr_fail(err, TR_ERR_FORMAT, "%s: the file has no rows", path);
    }
    return TR_OK;
}

tr_status tr_dataset_new(tr_dataset_t **dataset, const char *const *paths, size_t count, bool drop,
                         tr_error_t *err)
{
    *dataset = NULL;
    if (count == 0) {
        // The recipe's checks ask for files already; this one is for other callers.
        return tr_fail(err, TR_ERR_ARGUMENT, "no data files were given; name at least one");
    }
    tr_dataset_t *made = tr_calloc(1, sizeof *made);
    made->paths = tr_calloc(count, sizeof *made->paths);
    made->drop = drop;
    tr_status status = TR_OK;
    for (size_t i = 0; i < count; i++) {
        TR_TRY_GOTO(read_file(made, paths[i], err), done);
    }
    *dataset = made;
    made = NULL;
done:
    tr_dataset_destroy(&made);
    return status;
}

void tr_dataset_destroy(tr_dataset_t **dataset)
{
    if (*dataset == NULL) {
        return;
    }
    for (size_t i = 0; i < (*dataset)->size; i++) {
        json_decref((*dataset)->rows[i].columns);
    }
    for (size_t i = 0; i < (*dataset)->path_count; i++) {
        free((*dataset)->paths[i]);
    }
    for (size_t i = 0; i < TR_DATASET_MISTAKES; i++) {
        free((*dataset)->mistakes[i]);
    }
    free((*dataset)->rows);
    free((*dataset)->paths);
    free(*dataset);
    *dataset = NULL;
}

/// The type of a value, for sentences.
static const char *type_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "a list";
    case JSON_STRING: return "a text";
    case JSON_INTEGER:
    case JSON_REAL: return "a number";
    case JSON_TRUE:
    case JSON_FALSE: return "a truth value";
    case JSON_NULL: return "null";
    }
    return "something else";
}

/// What makes a column unusable for a kind of rows, in the order in which a person would find it:
/// it is missing, it is of another type, it is empty.
static tr_status require_row(const tr_dataset_t *dataset, const row_t *row, const char *column,
                             tr_error_t *err)
{
    const char *path = dataset->paths[row->file];
    const json_t *value = json_object_get(row->columns, column);
    if (value == NULL) {
        return tr_fail(err, TR_ERR_FORMAT, "%s:%u: %s: the column is missing", path, row->line,
                       column);
    }
    if (!json_is_string(value) && !json_is_array(value)) {
        return tr_fail(err, TR_ERR_FORMAT,
                       "%s:%u: %s: expected a text or a list of messages, found %s", path,
                       row->line, column, type_of(value));
    }
    // Jansson gives 0 for the length of what is no string, and for the size of what is no list: one
    // of the two is always 0.
    if (json_string_length(value) == 0 && json_array_size(value) == 0) {
        return tr_fail(err, TR_ERR_FORMAT, "%s:%u: %s: the %s is empty", path, row->line, column,
                       json_is_string(value) ? "text" : "list");
    }
    return TR_OK;
}

// Bad rows

tr_status tr_dataset_require(tr_dataset_t *dataset, const char *column, tr_error_t *err)
{
    // All rows are looked at before the first is taken out, so that every bad one is named.
    for (size_t i = 0; i < dataset->size; i++) {
        if (require_row(dataset, &dataset->rows[i], column, err) != TR_OK) {
            take_bad(dataset, err);
            dataset->rows[i].refused = true;
        }
    }
    return tr_dataset_compact(dataset, err);
}

void tr_dataset_refuse(tr_dataset_t *dataset, size_t row, tr_error_t *err)
{
    char *place = tr_dataset_place(dataset, row);
    tr_error_prefix(err, "%s", place);
    free(place);
    take_bad(dataset, err);
    dataset->rows[row].refused = true;
}

tr_status tr_dataset_compact(tr_dataset_t *dataset, tr_error_t *err)
{
    size_t kept = 0; // rows so far, and where the next one goes
    for (size_t i = 0; i < dataset->size; i++) {
        if (dataset->rows[i].refused) {
            // The values go at once: they are most of a data set's memory.
            json_decref(dataset->rows[i].columns);
        } else {
            dataset->rows[kept++] = dataset->rows[i];
        }
    }
    dataset->size = kept;
    if (kept == 0) {
        TR_TRY(tr_dataset_verdict(dataset, err));
        return tr_fail(err, TR_ERR_FORMAT, "%s: all %zu rows are bad and were dropped",
                       dataset->paths[0], dataset->dropped);
    }
    return TR_OK;
}

tr_status tr_dataset_verdict(const tr_dataset_t *dataset, tr_error_t *err)
{
    const char *first = dataset->mistakes[0];
    if (first == NULL) {
        return TR_OK;
    }
    return dataset->dropped == 1 ? tr_fail(err, dataset->first, "%s", first)
                                 : tr_fail(err, dataset->first, "%s (and %zu more bad rows)", first,
                                           dataset->dropped - 1);
}

size_t tr_dataset_mistakes(const char *const **sentences, const tr_dataset_t *dataset)
{
    size_t count = dataset->drop ? 0 : dataset->dropped;
    *sentences = (const char *const *)dataset->mistakes;
    return count < TR_DATASET_MISTAKES ? count : TR_DATASET_MISTAKES;
}

// Rows

size_t tr_dataset_dropped(const tr_dataset_t *dataset)
{
    return dataset->dropped;
}

size_t tr_dataset_size(const tr_dataset_t *dataset)
{
    return dataset->size;
}

static const row_t *row_at(const tr_dataset_t *dataset, size_t row)
{
    TR_ASSERT(row < dataset->size, "row %zu of %zu", row, dataset->size);
    return &dataset->rows[row];
}

bool tr_dataset_has(const tr_dataset_t *dataset, const char *column)
{
    // The first row speaks for all: tr_dataset_require then names each row that differs.
    return dataset->size > 0 && json_object_get(dataset->rows[0].columns, column) != NULL;
}

const json_t *tr_dataset_value(const tr_dataset_t *dataset, size_t row, const char *column)
{
    return json_object_get(row_at(dataset, row)->columns, column);
}

char *tr_dataset_extras(const tr_dataset_t *dataset, size_t row, const char *except)
{
    // A shallow copy: the values are shared, and the row keeps its column.
    json_t *others = json_copy(row_at(dataset, row)->columns);
    TR_ASSERT(others != NULL, "out of memory");
    if (except != NULL) {
        json_object_del(others, except); // it fails for a row without the column, which is fine
    }
    char *text = json_dumps(others, JSON_COMPACT);
    json_decref(others);
    TR_ASSERT(text != NULL, "out of memory");
    return text;
}

char *tr_dataset_place(const tr_dataset_t *dataset, size_t row)
{
    const row_t *at = row_at(dataset, row);
    return tr_format("%s:%u", dataset->paths[at->file], at->line);
}

// Order

/// The permutations of minibatches are drawn by the same generator from the same seed, with a
/// second number that counts passes. This one they never reach, so that no epoch repeats one of
/// theirs.
static const uint32_t EPOCH_PASS = UINT32_MAX;

uint64_t tr_order_steps(const tr_order_t *order)
{
    const size_t rest = order->size % order->batch;
    return order->size / order->batch + (rest > 0 && !order->drop_last && rest >= order->least);
}

uint64_t tr_order_taken(const tr_order_t *order, uint64_t steps)
{
    const uint64_t epoch = tr_order_steps(order);
    const uint64_t rows = order->drop_last ? epoch * order->batch : order->size;
    // Within an epoch all batches but the last are full.
    return steps / epoch * rows + steps % epoch * order->batch;
}

size_t tr_order_batch(uint32_t *rows, const tr_order_t *order, uint64_t step)
{
    // Everything follows from the step's number, so that a run that is resumed at step n takes the
    // rows that it would have taken.
    const uint64_t steps = tr_order_steps(order);
    const size_t first = (size_t)(step % steps) * order->batch;
    const bool ends = step % steps == steps - 1 && !order->drop_last;
    const size_t count = ends ? order->size - first : order->batch;
    uint32_t *permutation = NULL;
    if (order->shuffle) {
        // The whole permutation, for each step: a checkpoint then has no order to hold.
        permutation = tr_alloc(order->size * sizeof *permutation);
        tr_rng_permutation(permutation, order->size, order->seed, (uint32_t)(step / steps),
                           EPOCH_PASS);
    }
    for (size_t i = 0; i < count; i++) {
        rows[i] = permutation != NULL ? permutation[first + i] : (uint32_t)(first + i);
    }
    free(permutation);
    return count;
}
