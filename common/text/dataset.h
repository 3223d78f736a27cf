/// Rows of JSONL files in memory, and the order in which training sees them.
///
/// A row is a JSON object on a line of its own. A prompt file has a `prompt` column (a string); every other column
/// travels with the row to the judges. Files are read in the order given; blank lines are passed over. A bad
/// row is an error that names file, line and column, never a row left out in silence.
#ifndef TR_TEXT_DATASET_H
#define TR_TEXT_DATASET_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

typedef struct tr_dataset tr_dataset_t;

// Life cycle

/// Reads paths: [count], count >= 1. required: a column that must be a non-empty string in every row ("prompt",
/// "text"); NULL asks for none yet. *dataset: owned by the caller; NULL on failure.
/// TR_ERR_IO; TR_ERR_FORMAT as "file:line: column: what is wrong" (malformed JSON, not an object, invalid UTF-8,
/// a missing, empty or non-string column) or for a file without rows.
tr_status tr_dataset_new(tr_dataset_t **dataset, const char *const *paths, size_t count,
                         const char *required, tr_error_t *err);
void tr_dataset_destroy(tr_dataset_t **dataset);

/// Demands one more column of every row, with the same errors: for SFT, `text`, or `prompt` and `completion`.
tr_status tr_dataset_require(const tr_dataset_t *dataset, const char *column, tr_error_t *err);

// Rows

size_t tr_dataset_size(const tr_dataset_t *dataset);

/// Does the first row have the column? (Which of the SFT formats is this?)
_Bool tr_dataset_has(const tr_dataset_t *dataset, const char *column);

/// The text of a string column, the data set's, valid UTF-8 without NUL; NULL where the row has none or it is not
/// a string. row < size.
const char *tr_dataset_string(const tr_dataset_t *dataset, size_t row, const char *column);

/// All columns but `except` (NULL: all) as one compact JSON object, in the file's order; "{}" when there are no
/// others. Owned by the caller (free). row < size.
char *tr_dataset_extras(const tr_dataset_t *dataset, size_t row, const char *except);

/// "file:line" of a row, for messages. Owned by the caller (free).
char *tr_dataset_place(const tr_dataset_t *dataset, size_t row);

// Order

/// rows: [batch], written with the rows of step `step` (from 0): a pure function of its arguments. Epochs follow
/// each other, each a permutation of its own (file order if not shuffle); size / batch steps an epoch, the rest
/// of the epoch is dropped. TR_ERR_ARGUMENT when batch is 0 or larger than the data set.
tr_status tr_dataset_batch(uint32_t *rows, const tr_dataset_t *dataset, uint64_t seed,
                           uint64_t step, size_t batch, _Bool shuffle, tr_error_t *err);

#endif
