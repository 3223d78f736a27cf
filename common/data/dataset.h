/// The rows of a run's files, in memory, and the order in which training takes them.
///
/// A row has named columns, as a JSON object. Files are read in the order given (reader.h). A bad
/// row is a mistake that names file, line and column, and an error once all rows were looked at;
/// or, where the caller wants that, it is dropped with a warning that names them, and counted. It
/// is never left out in silence.
#ifndef TR_DATA_DATASET_H
#define TR_DATA_DATASET_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

typedef struct tr_dataset tr_dataset_t;

// Life cycle

/// Reads paths: [count], count >= 1. drop: whether bad rows (malformed JSON, no object, invalid
/// UTF-8) are dropped for good. *dataset: owned by the caller; NULL on failure. TR_ERR_IO, and
/// TR_ERR_FORMAT for a file without rows, or where all of them are bad, as tr_dataset_verdict.
tr_status tr_dataset_new(tr_dataset_t **dataset, const char *const *paths, size_t count, bool drop,
                         tr_error_t *err);
void tr_dataset_destroy(tr_dataset_t **dataset);

// Bad rows

/// Demands of every row a column that is a text or a list (of messages), and not empty: `prompt`,
/// say. Fails as tr_dataset_compact.
tr_status tr_dataset_require(tr_dataset_t *dataset, const char *column, tr_error_t *err);

/// The row is bad for the reason in err, which gets its file and line and is empty afterwards. The
/// row stays until tr_dataset_compact.
void tr_dataset_refuse(tr_dataset_t *dataset, size_t row, tr_error_t *err);

/// Takes the refused rows out; later rows move up. TR_ERR_FORMAT, or as tr_dataset_verdict, when
/// none is left.
tr_status tr_dataset_compact(tr_dataset_t *dataset, tr_error_t *err);

/// Once all rows were looked at: fails with the first mistake, "file:line: column: what is wrong",
/// and the number of the others, where a row was bad and none may be dropped.
tr_status tr_dataset_verdict(const tr_dataset_t *dataset, tr_error_t *err);

/// The first mistakes, at most TR_DATASET_MISTAKES, as sentences: [the result]. Borrowed.
enum { TR_DATASET_MISTAKES = 10 };
size_t tr_dataset_mistakes(const char *const **sentences, const tr_dataset_t *dataset);

/// How many rows were bad.
size_t tr_dataset_dropped(const tr_dataset_t *dataset);

// Rows

size_t tr_dataset_size(const tr_dataset_t *dataset);

/// Whether the first row has the column: it decides for all (kinds.h).
bool tr_dataset_has(const tr_dataset_t *dataset, const char *column);

/// The column's value, of any type; NULL where the row has none. Borrowed. Texts are valid UTF-8
/// without NUL. row < size.
const json_t *tr_dataset_value(const tr_dataset_t *dataset, size_t row, const char *column);

/// All columns but `except` (NULL: all) as one compact JSON object, in the file's order; "{}" when
/// there are no others. Owned by the caller (free). row < size.
char *tr_dataset_extras(const tr_dataset_t *dataset, size_t row, const char *except);

/// "file:line" of a row, for messages. Owned by the caller (free).
char *tr_dataset_place(const tr_dataset_t *dataset, size_t row);

// Order

/// How training takes rows 0..size - 1: epochs follow each other, each a permutation of its own, in
/// batches of which the last of an epoch may be smaller.
typedef struct tr_order {
    size_t size;    ///< at least 1
    size_t batch;   ///< at least 1
    uint64_t seed;  ///< of the permutations
    bool shuffle;   ///< else every epoch is ascending
    bool drop_last; ///< a smaller last batch is left out; batch <= size
    size_t least;   ///< a last batch of fewer rows joins the one before it; at most size
} tr_order_t;

/// Steps of an epoch.
uint64_t tr_order_steps(const tr_order_t *order);

/// Rows that the first `steps` steps take, over all epochs.
uint64_t tr_order_taken(const tr_order_t *order, uint64_t steps);

/// The rows of step `step` (from 0): a pure function of its arguments. rows: [batch + least], of
/// which as many are written as it returns.
size_t tr_order_batch(uint32_t *rows, const tr_order_t *order, uint64_t step);

#endif
