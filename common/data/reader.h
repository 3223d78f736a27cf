/// Stage 1 of data: a file becomes rows of named columns.
///
/// One table (reader.c) has a row for each format of files: which files it takes, by their name or
/// by their first bytes, and the functions that read them. A new format is such functions in a file
/// of their own and a row of the table. Readers know neither kinds of rows (kinds.h) nor tokens.
///
/// A file is opened once, which finds its rows; each is then read when it is needed. So memory
/// follows from the number of rows, not from their size.
#ifndef TR_DATA_READER_H
#define TR_DATA_READER_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

typedef struct tr_reader tr_reader_t;

/// A data file whose rows have been found. What a reader keeps of it begins with this.
typedef struct tr_data_file {
    const tr_reader_t *reader;
    char *path;
    size_t rows;
    uint64_t bytes;    ///< of all rows, as the file has them
    uint64_t checksum; ///< of all rows
} tr_data_file_t;

struct tr_reader {
    const char *suffix; ///< how its files' names end, but for .gz and .zst; NULL: with anything
    const char *magic;  ///< what its files begin with; NULL: with anything
    /// Finds the rows. *file: owned by the caller. TR_ERR_IO, or TR_ERR_FORMAT for a file in which
    /// rows cannot be found.
    tr_status (*open)(tr_data_file_t **file, const char *path, tr_error_t *err);
    /// Reads a row, for several threads at once. row < file->rows. *columns: an object, the
    /// caller's; a column may be flawed (common/text/json.h). TR_ERR_FORMAT for a bad row, without
    /// its place; TR_ERR_IO where the file is no longer what it was when it was opened.
    tr_status (*read)(json_t **columns, const tr_data_file_t *file, size_t row, tr_error_t *err);
    /// Of a row: from 1 (of a file without lines, or with one: the row).
    size_t (*line)(const tr_data_file_t *file, size_t row);
    void (*close)(tr_data_file_t *file);
};

/// The first of readers: [count] that takes the file; NULL if none does. A file that cannot be
/// opened begins with nothing.
const tr_reader_t *tr_reader_find(const tr_reader_t *const *readers, size_t count,
                                  const char *path);

/// Opens a file by the reader of the table that takes it. Errors as its `open`.
tr_status tr_data_file_open(tr_data_file_t **file, const char *path, tr_error_t *err);
void tr_data_file_close(tr_data_file_t **file);

// The readers of the table

/// JSON, plain or packed (unpack.h): JSON Lines, an object a line, or one array of objects. Blank
/// lines are passed over, and so is a byte order mark. Bad rows: malformed JSON, no object,
/// invalid UTF-8. TR_ERR_FORMAT for an array that has no end.
extern const tr_reader_t tr_reader_json;

/// Cells with commas, or tabs, between them, plain or packed: a row of names first, then a row a
/// line, or several where quotes hold line ends. Bad rows: more cells than names. docs/formats.md
/// says what cells become. TR_ERR_FORMAT also for a quote that is never closed.
extern const tr_reader_t tr_reader_csv, tr_reader_tsv;

/// Parquet, by its first bytes or its name. Rows are known from its footer. A row group is unpacked
/// when a row of it is first read, into an unnamed file in $TMPDIR: once, page by page, so that
/// rows are then read in any order and memory does not depend on the size of groups. A column that
/// cannot be read has a flaw in each row (value.h).
extern const tr_reader_t tr_reader_parquet, tr_reader_parquet_named;

#endif
