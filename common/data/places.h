/// Rows of a text file: where each is, and a hash that tells whether it still is the row that was
/// found. For readers of text (json.c, csv.c), which say where rows begin and end.
///
/// The file is looked through once, block by block, so memory does not depend on the length of a
/// row; a row is then read from its place.
#ifndef TR_DATA_PLACES_H
#define TR_DATA_PLACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <xxhash.h>

#include "common/data/reader.h"

/// Where a row is. 24 bytes: there may be many millions.
typedef struct tr_place {
    uint64_t offset;
    uint64_t line; ///< on which it begins, from 1
    uint32_t length;
    uint32_t hash;
} tr_place_t;

/// A format's own state follows it. {.descriptor = -1} is empty.
typedef struct tr_places {
    tr_data_file_t base;
    int descriptor;
    const char *white;  ///< of what characters blank rows are, which are passed over
    tr_place_t *places; // [base.rows]
    size_t capacity;

    // While rows are looked for
    uint64_t offset; ///< of the next byte
    uint64_t line;   ///< from 1; whoever splits counts it
    bool begun;      ///< a row has begun, at:
    uint64_t row_offset, row_line, row_length;
    bool blank; ///< nothing but `white` is in it
    XXH3_state_t *hash;
} tr_places_t;

/// Splits the next n bytes of the file by the functions below; none at its end. The sentence of a
/// failure gets the file's name and line.
typedef tr_status tr_places_split_t(tr_places_t *file, const char *text, size_t n, tr_error_t *err);

/// Opens a file, packed or not (unpack.h), and finds its rows; a byte order mark is passed over.
/// release is the caller's, after a failure too.
tr_status tr_places_open(tr_places_t *file, const char *path, tr_places_split_t *split,
                         tr_error_t *err);
void tr_places_release(tr_places_t *file);

/// The next bytes: [n] are no row's.
void tr_places_pass(tr_places_t *file, size_t n);
/// The next bytes, text: [n], are the row's that has begun, or that begins with them.
void tr_places_take(tr_places_t *file, const char *text, size_t n);
/// Ends the row that has begun, if one has; a blank one is no row.
tr_status tr_places_end(tr_places_t *file, tr_error_t *err);

/// Reads a row, for several threads at once. *text: [*length], the caller's (free), after a failure
/// too. TR_ERR_IO where the row is no longer what was found.
tr_status tr_places_read(char **text, size_t *length, const tr_places_t *file, size_t row,
                         tr_error_t *err);

#endif
