// Files joined to one list of rows: which file a row is in, and which rows were left out. reader.h
// says how a file is read; corpus.h what becomes of a row.
#include "common/data/dataset.h"

#include <stdlib.h>
#include <xxhash.h>

#include "common/data/reader.h"

struct tr_dataset {
    tr_data_file_t **files; // [count]
    size_t count;
    size_t found; // rows of all files
    size_t size;  // rows that are not left out
    /// [size] their numbers among all that were found; NULL: none is left out
    uint32_t *kept;
    json_t *first; // the first row that can be read, or NULL
};

tr_status tr_dataset_new(tr_dataset_t **dataset, const char *const *paths, size_t count,
                         tr_error_t *err)
{
    *dataset = NULL;
    if (count == 0) {
        // The recipe's checks ask for files already; this one is for other callers.
        return tr_fail(err, TR_ERR_ARGUMENT, "no data files were given; name at least one");
    }
    tr_dataset_t *made = tr_calloc(1, sizeof *made);
    made->files = tr_calloc(count, sizeof(tr_data_file_t *));
    tr_status status = TR_OK;
    for (; made->count < count; made->count++) {
        const char *path = paths[made->count];
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
    // Bad rows are named by who reads them all.
    for (size_t row = 0; row < made->size && made->first == NULL; row++) {
        tr_error_t bad = {0};
        tr_dataset_read(&made->first, made, row, &bad);
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
    for (size_t i = 0; i < (*dataset)->count; i++) {
        tr_data_file_close(&(*dataset)->files[i]);
    }
    json_decref((*dataset)->first);
    free((*dataset)->files);
    free((*dataset)->kept);
    free(*dataset);
    *dataset = NULL;
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

/// The file of a row, which becomes its number in the file.
static const tr_data_file_t *file_of(const tr_dataset_t *dataset, size_t *row)
{
    TR_ASSERT(*row < dataset->size, "row %zu of %zu", *row, dataset->size);
    *row = dataset->kept != NULL ? dataset->kept[*row] : *row;
    size_t file = 0;
    while (*row >= dataset->files[file]->rows) {
        *row -= dataset->files[file++]->rows;
    }
    return dataset->files[file];
}

tr_status tr_dataset_read(json_t **columns, const tr_dataset_t *dataset, size_t row,
                          tr_error_t *err)
{
    size_t at = row;
    const tr_data_file_t *file = file_of(dataset, &at);
    *columns = NULL;
    if (file->reader->read(columns, file, at, err) != TR_OK) {
        return tr_error_prefix(err, "%s:%zu", file->path, file->reader->line(file, at));
    }
    return TR_OK;
}

char *tr_dataset_place(const tr_dataset_t *dataset, size_t row)
{
    const tr_data_file_t *file = file_of(dataset, &row);
    return tr_format("%s:%zu", file->path, file->reader->line(file, row));
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
