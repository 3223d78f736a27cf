// Files joined to one list of rows: which file a row is in, and which rows were left out. reader.h
// says how a file is read; corpus.h what becomes of a row.
#include "common/data/dataset.h"

#include <stdlib.h>
#include <xxhash.h>

#include "common/base/rng.h"
#include "common/data/columns.h"
#include "common/data/kinds.h"
#include "common/data/mixture.h"
#include "common/data/reader.h"
#include "common/data/source.h"

/// A file, and how its rows become ours.
typedef struct part {
    tr_data_file_t *file;
    tr_columns_t columns;
    size_t source; // its number
} part_t;

struct tr_dataset {
    tr_source_t *sources; // [source_count]
    size_t source_count;
    part_t *parts; // [count] the files of each source, one after the other
    size_t count;
    size_t found; // rows of all files
    size_t size;  // rows that are taken, each once or more
    /// [size] their numbers among all that were found; NULL: each is taken once
    uint32_t *kept;
    json_t *first; // the first row that can be read, or NULL
};

/// The first row that can be read. Bad ones are named by who reads them all.
static void read_first(tr_dataset_t *dataset)
{
    json_decref(dataset->first);
    dataset->first = NULL;
    for (size_t row = 0; row < dataset->size && dataset->first == NULL; row++) {
        tr_error_t bad = {0};
        tr_dataset_read(&dataset->first, dataset, row, &bad);
    }
}

static tr_status open_part(tr_dataset_t *dataset, size_t source, const char *path, tr_error_t *err)
{
    dataset->parts = tr_realloc(dataset->parts, (dataset->count + 1) * sizeof *dataset->parts);
    part_t *part = &dataset->parts[dataset->count];
    *part = (part_t){.source = source};
    TR_TRY(tr_data_file_open(&part->file, path, err));
    dataset->count++;
    dataset->found += part->file->rows;
    return part->file->rows > 0 ? TR_OK
                                : tr_fail(err, TR_ERR_FORMAT, "%s: the file has no rows", path);
}

static tr_status open_source(tr_dataset_t *dataset, const char *item, tr_error_t *err)
{
    size_t number = dataset->source_count++;
    tr_source_t *source = &dataset->sources[number];
    TR_TRY(tr_source_open(source, item, err));
    for (size_t i = 0; i < source->count; i++) {
        TR_TRY(open_part(dataset, number, source->paths[i], err));
    }
    return dataset->found <= UINT32_MAX
               ? TR_OK
               : tr_fail(err, TR_ERR_ARGUMENT, "%zu rows: a run takes at most 2^32",
                         dataset->found);
}

/// Rows of a source's files.
static size_t rows_of(const tr_dataset_t *dataset, size_t source)
{
    size_t rows = 0;
    for (size_t i = 0; i < dataset->count; i++) {
        rows += dataset->parts[i].source == source ? dataset->parts[i].file->rows : 0;
    }
    return rows;
}

/// The rows of a source, from `first` on, that its samples are: drawn once, the same in each run;
/// each row before any a second time. kept: written; how many.
static size_t draw(uint32_t *kept, size_t first, size_t rows, size_t samples)
{
    TR_ASSERT(rows > 0, "a file without rows");
    uint32_t *order = tr_alloc(rows * sizeof *order);
    uint8_t *takes = tr_calloc(rows, sizeof *takes);
    size_t whole = samples / rows, count = 0;
    tr_rng_permutation(order, rows, 0, 0, 0);
    for (size_t i = 0; i < samples % rows; i++) {
        takes[order[i]] = 1;
    }
    for (size_t row = 0; row < rows; row++) { // in the order of the files
        for (size_t i = 0; i < whole + takes[row]; i++) {
            kept[count++] = (uint32_t)(first + row);
        }
    }
    free(takes);
    free(order);
    return count;
}

/// Takes as many rows as the sources say.
static tr_status take_samples(tr_dataset_t *dataset, tr_error_t *err)
{
    bool drawn = false;
    size_t size = 0, first = 0;
    for (size_t i = 0; i < dataset->source_count; i++) {
        size_t samples = dataset->sources[i].samples;
        drawn = drawn || samples > 0;
        size += samples > 0 ? samples : rows_of(dataset, i);
    }
    dataset->size = size;
    if (!drawn || size > UINT32_MAX) {
        return !drawn ? TR_OK
                      : tr_fail(err, TR_ERR_ARGUMENT, "%zu rows: a run takes at most 2^32", size);
    }
    dataset->kept = tr_alloc((size + 1) * sizeof *dataset->kept);
    size = 0;
    for (size_t i = 0; i < dataset->source_count; i++) {
        size_t rows = rows_of(dataset, i), samples = dataset->sources[i].samples;
        size += draw(dataset->kept + size, first, rows, samples > 0 ? samples : rows);
        first += rows;
    }
    return TR_OK;
}

tr_status tr_dataset_new(tr_dataset_t **dataset, const char *const *files, size_t count,
                         tr_error_t *err)
{
    *dataset = NULL;
    if (count == 0) {
        // The recipe's checks ask for files already; this one is for other callers.
        return tr_fail(err, TR_ERR_ARGUMENT, "no data files were given; name at least one");
    }
    tr_dataset_t *made = tr_calloc(1, sizeof *made);
    made->sources = tr_calloc(count, sizeof *made->sources);
    tr_status status = TR_OK;
    for (size_t i = 0; i < count && status == TR_OK; i++) {
        status = open_source(made, files[i], err);
    }
    TR_TRY_GOTO(status, done);
    TR_TRY_GOTO(take_samples(made, err), done);
    read_first(made);
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
    for (size_t i = 0; i < (*dataset)->count; i++) {
        tr_data_file_close(&(*dataset)->parts[i].file);
        tr_columns_release(&(*dataset)->parts[i].columns);
    }
    for (size_t i = 0; i < (*dataset)->source_count; i++) {
        tr_source_release(&(*dataset)->sources[i]);
    }
    free((*dataset)->sources);
    free((*dataset)->parts);
    json_decref((*dataset)->first);
    free((*dataset)->kept);
    free(*dataset);
    *dataset = NULL;
}

/// Of one file, by its own first row.
static tr_status recognise(part_t *part, const tr_columns_given_t *given,
                           const tr_rows_options_t *options, tr_error_t *err)
{
    const tr_data_file_t *file = part->file;
    json_t *first = NULL;
    for (size_t row = 0; row < file->rows && first == NULL; row++) {
        tr_error_t bad = {0};
        file->reader->read(&first, file, row, &bad);
    }
    if (first == NULL) {
        return TR_OK;
    }
    tr_columns_release(&part->columns);
    tr_status status = tr_columns_find(&part->columns, first, given, options, err);
    json_decref(first);
    return status == TR_OK ? TR_OK : tr_error_prefix(err, "%s", file->path);
}

/// The names of all files; NULL: none are given. A new reference.
static tr_status read_names(json_t **names, const tr_rows_options_t *options, tr_error_t *err)
{
    *names = options->columns != NULL ? json_loads(options->columns, 0, NULL) : NULL;
    if (options->columns == NULL || json_is_object(*names)) {
        return TR_OK;
    }
    json_decref(*names);
    *names = NULL;
    return tr_fail(err, TR_ERR_ARGUMENT,
                   "data.columns: expected a JSON object such as {\"prompt\": \"question\"}, found "
                   "'%s'",
                   options->columns);
}

tr_status tr_dataset_recognise(tr_dataset_t *dataset, const tr_rows_options_t *options,
                               tr_error_t *err)
{
    json_t *names;
    tr_status status = TR_OK;
    TR_TRY(read_names(&names, options, err));
    for (size_t i = 0; i < dataset->count && status == TR_OK; i++) {
        part_t *part = &dataset->parts[i];
        tr_columns_given_t given = dataset->sources[part->source].given;
        json_t *own = given.names;
        given.names = names != NULL ? json_copy(names) : own != NULL ? json_object() : NULL;
        if (own != NULL) { // a file's own names go before those of all
            json_object_update(given.names, own);
        }
        status = recognise(part, &given, options, err);
        json_decref(given.names);
    }
    json_decref(names);
    read_first(dataset);
    return status;
}

const char *tr_dataset_form(const tr_dataset_t *dataset)
{
    return tr_columns_form(&dataset->parts[0].columns);
}

size_t tr_dataset_size(const tr_dataset_t *dataset)
{
    return dataset->size;
}

uint64_t tr_dataset_bytes(const tr_dataset_t *dataset)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < dataset->count; i++) {
        bytes += dataset->parts[i].file->bytes;
    }
    return bytes;
}

uint64_t tr_dataset_checksum(const tr_dataset_t *dataset)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < dataset->count; i++) {
        uint64_t own = dataset->parts[i].file->checksum;
        sum = XXH3_64bits_withSeed(&own, sizeof own, sum);
    }
    for (size_t i = 0; i < dataset->source_count; i++) {
        sum ^= dataset->sources[i].checksum;
    }
    return sum;
}

bool tr_dataset_has(const tr_dataset_t *dataset, const char *column)
{
    return json_object_get(dataset->first, column) != NULL;
}

char *tr_dataset_columns(const tr_dataset_t *dataset)
{
    return tr_columns_list(dataset->first);
}

const char *tr_dataset_nested(const tr_dataset_t *dataset)
{
    const char *column, *found = NULL;
    json_t *value;
    size_t others = 0;
    json_object_foreach(dataset->first, column, value)
    {
        if (json_is_object(json_array_get(value, 0)) && found == NULL) {
            found = column;
        } else {
            others += json_is_array(value) || json_is_object(value);
        }
    }
    return dataset->size == 1 && others == 0 ? found : NULL;
}

/// The file of a row; the row becomes its number in that.
static const part_t *part_of(const tr_dataset_t *dataset, size_t *row)
{
    TR_ASSERT(*row < dataset->size, "row %zu of %zu", *row, dataset->size);
    *row = dataset->kept != NULL ? dataset->kept[*row] : *row;
    const part_t *part = dataset->parts;
    while (*row >= part->file->rows) {
        *row -= part++->file->rows;
    }
    return part;
}

tr_status tr_dataset_read(json_t **columns, const tr_dataset_t *dataset, size_t row,
                          tr_error_t *err)
{
    const part_t *part = part_of(dataset, &row);
    const tr_data_file_t *file = part->file;
    *columns = NULL;
    tr_status status = file->reader->read(columns, file, row, err);
    if (status != TR_OK) {
        return tr_error_prefix(err, "%s:%zu", file->path, file->reader->line(file, row));
    }
    tr_columns_apply(*columns, &part->columns);
    return TR_OK;
}

char *tr_dataset_place(const tr_dataset_t *dataset, size_t row)
{
    const tr_data_file_t *file = part_of(dataset, &row)->file;
    return tr_format("%s:%zu", file->path, file->reader->line(file, row));
}

/// Rows of each source that are not left out. counts: [source_count].
static void count_rows(size_t *counts, const tr_dataset_t *dataset)
{
    for (size_t row = 0; row < dataset->size; row++) {
        size_t at = row;
        counts[part_of(dataset, &at)->source]++;
    }
}

tr_status tr_dataset_mix(uint32_t **rows, size_t *count, const tr_dataset_t *dataset,
                         tr_error_t *err)
{
    bool weighted = false;
    double *weights = tr_calloc(dataset->source_count, sizeof *weights);
    size_t *counts = tr_calloc(2 * dataset->source_count, sizeof *counts);
    size_t *takes = counts + dataset->source_count;
    for (size_t i = 0; i < dataset->source_count; i++) {
        weighted = weighted || dataset->sources[i].weight > 0;
        weights[i] = dataset->sources[i].weight > 0 ? dataset->sources[i].weight : 1;
    }
    *rows = NULL;
    tr_status status = TR_OK;
    if (weighted) {
        count_rows(counts, dataset);
        *count = tr_mixture_takes(takes, counts, weights, dataset->source_count);
        if (*count == SIZE_MAX) {
            status = tr_fail(err, TR_ERR_ARGUMENT,
                             "the weights of the data files make an epoch of more than 2^32 rows");
        } else {
            *rows = tr_alloc((*count + 1) * sizeof **rows);
            tr_mixture(*rows, takes, counts, dataset->source_count);
        }
    }
    free(counts);
    free(weights);
    return status;
}

void tr_dataset_leave_out(tr_dataset_t *dataset, const uint32_t *rows, size_t count)
{
    uint32_t *kept = tr_alloc((dataset->size - count + 1) * sizeof *kept);
    size_t size = 0;
    for (size_t row = 0, out = 0; row < dataset->size; row++) {
        if (out < count && rows[out] == row) {
            out++;
        } else {
            kept[size++] = dataset->kept != NULL ? dataset->kept[row] : (uint32_t)row;
        }
    }
    free(dataset->kept);
    dataset->kept = kept;
    dataset->size = size;
}
