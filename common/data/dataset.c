// Files joined to one list of rows: which file a row is in, and which rows were left out. reader.h
// says how a file is read; corpus.h what becomes of a row.
#include "common/data/dataset.h"

#include <stdlib.h>
#include <xxhash.h>

#include "common/data/columns.h"
#include "common/data/kinds.h"
#include "common/data/mixture.h"
#include "common/data/reader.h"
#include "common/data/source.h"

struct tr_dataset {
    tr_data_file_t **files; // [count]
    tr_source_t *sources;   // [count]
    tr_columns_t *columns;  // [count] how their rows become ours
    size_t count;
    size_t found; // rows of all files
    size_t size;  // rows that are not left out
    /// [size] their numbers among all that were found; NULL: none is left out
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

tr_status tr_dataset_new(tr_dataset_t **dataset, const char *const *files, size_t count,
                         tr_error_t *err)
{
    *dataset = NULL;
    if (count == 0) {
        // The recipe's checks ask for files already; this one is for other callers.
        return tr_fail(err, TR_ERR_ARGUMENT, "no data files were given; name at least one");
    }
    tr_dataset_t *made = tr_calloc(1, sizeof *made);
    made->files = tr_calloc(count, sizeof(tr_data_file_t *));
    made->sources = tr_calloc(count + 1, sizeof *made->sources);
    made->columns = tr_calloc(count, sizeof *made->columns);
    tr_status status = TR_OK;
    for (; made->count < count; made->count++) {
        tr_source_init(&made->sources[made->count], files[made->count]);
        const char *path = made->sources[made->count].path;
        TR_TRY_GOTO(tr_data_file_open(&made->files[made->count], path, err), done);
        if (made->files[made->count]->rows == 0) {
            made->count++; // it is closed with the others
            status = tr_fail(err, TR_ERR_FORMAT, "%s: the file has no rows", path);
            goto done;
        }
        made->found += made->files[made->count]->rows;
    }
    made->size = made->found;
    if (made->found > UINT32_MAX) {
        status = tr_fail(err, TR_ERR_ARGUMENT, "%zu rows: a run takes at most 2^32", made->found);
        goto done;
    }
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
        tr_data_file_close(&(*dataset)->files[i]);
        tr_columns_release(&(*dataset)->columns[i]);
    }
    // one more than its files, where the last could not be opened
    for (size_t i = 0; (*dataset)->sources != NULL && i <= (*dataset)->count; i++) {
        tr_source_release(&(*dataset)->sources[i]);
    }
    free((*dataset)->sources);
    free((*dataset)->columns);
    json_decref((*dataset)->first);
    free((*dataset)->files);
    free((*dataset)->kept);
    free(*dataset);
    *dataset = NULL;
}

/// The same of one file, by its own first row.
static tr_status recognise(tr_dataset_t *dataset, size_t index, const json_t *names,
                           const tr_rows_options_t *options, tr_error_t *err)
{
    const tr_data_file_t *file = dataset->files[index];
    json_t *first = NULL;
    for (size_t row = 0; row < file->rows && first == NULL; row++) {
        tr_error_t bad = {0};
        file->reader->read(&first, file, row, &bad);
    }
    if (first == NULL) {
        return TR_OK;
    }
    tr_columns_release(&dataset->columns[index]);
    tr_status status = tr_columns_find(&dataset->columns[index], first, names, options, err);
    json_decref(first);
    return status == TR_OK ? TR_OK : tr_error_prefix(err, "%s", file->path);
}

tr_status tr_dataset_recognise(tr_dataset_t *dataset, const tr_rows_options_t *options,
                               tr_error_t *err)
{
    tr_status status = TR_OK;
    for (size_t i = 0; i < dataset->count && status == TR_OK; i++) {
        json_t *own = dataset->sources[i].columns;
        json_t *names = options->columns != NULL ? json_loads(options->columns, 0, NULL)
                        : own != NULL            ? json_object()
                                                 : NULL;
        if (own != NULL) { // a file's own names go before those of all
            json_object_update(names, own);
        }
        status = recognise(dataset, i, names, options, err);
        json_decref(names);
    }
    read_first(dataset);
    return status;
}

const char *tr_dataset_form(const tr_dataset_t *dataset)
{
    return tr_columns_form(&dataset->columns[0]);
}

size_t tr_dataset_size(const tr_dataset_t *dataset)
{
    return dataset->size;
}

uint64_t tr_dataset_bytes(const tr_dataset_t *dataset)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < dataset->count; i++) {
        bytes += dataset->files[i]->bytes;
    }
    return bytes;
}

uint64_t tr_dataset_checksum(const tr_dataset_t *dataset)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < dataset->count; i++) {
        uint64_t own = dataset->files[i]->checksum;
        sum = XXH3_64bits_withSeed(&own, sizeof own, sum);
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

/// The number of a row's file; the row becomes its number in that.
static size_t file_of(const tr_dataset_t *dataset, size_t *row)
{
    TR_ASSERT(*row < dataset->size, "row %zu of %zu", *row, dataset->size);
    *row = dataset->kept != NULL ? dataset->kept[*row] : *row;
    size_t file = 0;
    while (*row >= dataset->files[file]->rows) {
        *row -= dataset->files[file++]->rows;
    }
    return file;
}

tr_status tr_dataset_read(json_t **columns, const tr_dataset_t *dataset, size_t row,
                          tr_error_t *err)
{
    size_t at = row, number = file_of(dataset, &at);
    const tr_data_file_t *file = dataset->files[number];
    *columns = NULL;
    tr_status status = file->reader->read(columns, file, at, err);
    if (status == TR_OK && tr_columns_apply(*columns, &dataset->columns[number], err) != TR_OK) {
        json_decref(*columns);
        *columns = NULL;
        status = err->status;
    }
    if (status != TR_OK) {
        return tr_error_prefix(err, "%s:%zu", file->path, file->reader->line(file, at));
    }
    return TR_OK;
}

char *tr_dataset_place(const tr_dataset_t *dataset, size_t row)
{
    const tr_data_file_t *file = dataset->files[file_of(dataset, &row)];
    return tr_format("%s:%zu", file->path, file->reader->line(file, row));
}

/// Rows of each file that are not left out. counts: [dataset->count].
static void count_rows(size_t *counts, const tr_dataset_t *dataset)
{
    for (size_t row = 0; row < dataset->size; row++) {
        size_t at = row;
        counts[file_of(dataset, &at)]++;
    }
}

tr_status tr_dataset_mix(uint32_t **rows, size_t *count, const tr_dataset_t *dataset,
                         tr_error_t *err)
{
    bool weighted = false;
    double *weights = tr_calloc(dataset->count, sizeof *weights);
    size_t *counts = tr_calloc(2 * dataset->count, sizeof *counts);
    size_t *takes = counts + dataset->count;
    for (size_t i = 0; i < dataset->count; i++) {
        weighted = weighted || dataset->sources[i].weight > 0;
        weights[i] = dataset->sources[i].weight > 0 ? dataset->sources[i].weight : 1;
    }
    *rows = NULL;
    tr_status status = TR_OK;
    if (weighted) {
        count_rows(counts, dataset);
        *count = tr_mixture_takes(takes, counts, weights, dataset->count);
        if (*count == SIZE_MAX) {
            status = tr_fail(err, TR_ERR_ARGUMENT,
                             "the weights of the data files make an epoch of more than 2^32 rows");
        } else {
            *rows = tr_alloc((*count + 1) * sizeof **rows);
            tr_mixture(*rows, takes, counts, dataset->count);
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
