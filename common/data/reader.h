/// Stage 1 of data: a file becomes rows of named columns.
///
/// One table (reader.c) has a row for each format of files: which files it takes, by their name or
/// by their first bytes, and the function that reads them. A new format is such a function in a
/// file of its own and a row of the table. Readers know neither kinds of rows (kinds.h) nor tokens.
#ifndef TR_DATA_READER_H
#define TR_DATA_READER_H

#include <jansson.h>
#include <stddef.h>

#include "common/base/status.h"

/// Takes a row that a reader found. columns: an object, the callee's from now on; NULL for a bad
/// row, whose sentence in err begins with its place, "file:line: ". line: from 1 (of a file without
/// lines: the row). Anything but TR_OK ends the reading and is returned by the reader.
typedef tr_status (*tr_row_fn)(void *context, json_t *columns, size_t line, tr_error_t *err);

typedef struct tr_reader {
    const char *suffix; ///< how the names of its files end; NULL: with anything
    const char *magic;  ///< what its files begin with; NULL: with anything
    /// Hands all rows of a file to `take`, in order. TR_ERR_IO, or what `take` returned.
    tr_status (*read)(const char *path, tr_row_fn take, void *context, tr_error_t *err);
} tr_reader_t;

/// The first of readers: [count] that takes the file; NULL if none does. A file that cannot be
/// opened begins with nothing.
const tr_reader_t *tr_reader_find(const tr_reader_t *readers, size_t count, const char *path);

/// Reads a file by the reader of the table that takes it.
tr_status tr_reader_read(const char *path, tr_row_fn take, void *context, tr_error_t *err);

// The readers of the table

/// JSON Lines, plain or gzipped: a JSON object a line; blank lines are passed over, and so is a
/// byte order mark. Bad rows: malformed JSON, a column that comes twice, no object, invalid UTF-8.
tr_status tr_read_jsonl(const char *path, tr_row_fn take, void *context, tr_error_t *err);

#endif
