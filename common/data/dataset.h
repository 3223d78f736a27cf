/// The rows of a run's files, one after the other, each read when it is asked for.
///
/// A row has named columns, as a JSON object. Files come in the order given (reader.h). What may
/// be wrong with a row beside its JSON is not known here (survey.h).
#ifndef TR_DATA_DATASET_H
#define TR_DATA_DATASET_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

typedef struct tr_dataset tr_dataset_t;
typedef struct tr_rows_options tr_rows_options_t;

/// Finds the rows of files: [count], count >= 1, each an item as source.h has it. *dataset: owned
/// by the caller; NULL on failure. TR_ERR_IO, and TR_ERR_FORMAT for a file without rows.
tr_status tr_dataset_new(tr_dataset_t **dataset, const char *const *files, size_t count,
                         tr_error_t *err);
void tr_dataset_destroy(tr_dataset_t **dataset);

/// Finds how the rows of each file become ours (columns.h), as options->columns and their first
/// rows say. Before any row is read, or anew. TR_ERR_ARGUMENT, with the file.
tr_status tr_dataset_recognise(tr_dataset_t *dataset, const tr_rows_options_t *options,
                               tr_error_t *err);

/// What the form of the first file is called (tr_columns_form).
const char *tr_dataset_form(const tr_dataset_t *dataset);

size_t tr_dataset_size(const tr_dataset_t *dataset);

/// Of all rows in the files: as many bytes, and a checksum of them in their order.
uint64_t tr_dataset_bytes(const tr_dataset_t *dataset);
uint64_t tr_dataset_checksum(const tr_dataset_t *dataset);

/// Whether the first row that can be read has the column: it decides for all (kinds.h).
bool tr_dataset_has(const tr_dataset_t *dataset, const char *column);

/// The columns of that row, "a, b", for sentences. Owned by the caller (free).
char *tr_dataset_columns(const tr_dataset_t *dataset);

/// The list of objects in the only row, which are the rows that were meant: {"data": [...]}. NULL:
/// there is no such column, or there are other lists and objects.
const char *tr_dataset_nested(const tr_dataset_t *dataset);

/// Reads a row, for several threads at once. row < size. *columns: an object, the caller's, with
/// our columns, of which some may be spoilt (columns.h); texts in it are valid UTF-8 without NUL.
/// TR_ERR_FORMAT for a bad row, and TR_ERR_IO where a file is not what it was, as "file:line: ...".
tr_status tr_dataset_read(json_t **columns, const tr_dataset_t *dataset, size_t row,
                          tr_error_t *err);

/// "file:line" of a row, for messages. Owned by the caller (free).
char *tr_dataset_place(const tr_dataset_t *dataset, size_t row);

/// An epoch of files with weights (mixture.h): *rows: [*count], owned by the caller (free); NULL
/// where no file has a weight. A file without one has weight 1. TR_ERR_ARGUMENT: it is too long.
tr_status tr_dataset_mix(uint32_t **rows, size_t *count, const tr_dataset_t *dataset,
                         tr_error_t *err);

/// Leaves rows: [count], ascending, out for good: later ones move up.
void tr_dataset_leave_out(tr_dataset_t *dataset, const uint32_t *rows, size_t count);

#endif
