/// A leaf's values in a row group, one after the other, page by page.
///
/// Memory is one page and the chunk's dictionary, packed and unpacked, by a budget that all cursors
/// of a group share.
#ifndef TR_DATA_PARQUET_CURSOR_H
#define TR_DATA_PARQUET_CURSOR_H

#include "common/data/parquet/schema.h"
#include "common/data/parquet/values.h"

/// Bytes that grow at a budget's cost. {0} is empty; free(data) frees it.
typedef struct parquet_buffer {
    uint8_t *data;
    size_t capacity;
} parquet_buffer_t;

typedef struct parquet_cursor {
    const parquet_node_t *leaf;
    int descriptor, codec;
    uint64_t at, end;     // of the pages that are left, in the file
    uint64_t values_left; // in the pages that are left
    uint64_t page_left;   // in the page
    size_t *budget;       // bytes that buffers may still grow by
    parquet_buffer_t header, packed, page, words_page, words;
    size_t word_count;
    parquet_runs_t levels, definitions;
    parquet_values_t values;

    bool loaded;           ///< the rest is of the entry that is next
    bool ended;            ///< there is none
    uint32_t level;        ///< its repetition level; 0: a row begins
    uint32_t definition;   ///< its definition level; the leaf's: it has a value
    parquet_value_t value; ///< valid until the next entry is loaded
} parquet_cursor_t;

/// budget: borrowed. release frees the cursor, after a failure too.
void parquet_cursor_begin(parquet_cursor_t *cursor, const parquet_node_t *leaf,
                          const parquet_chunk_t *chunk, int descriptor, size_t *budget);
void parquet_cursor_release(parquet_cursor_t *cursor);

/// Loads the next entry, unless it is loaded. TR_ERR_IO, TR_ERR_FORMAT, TR_ERR_UNSUPPORTED.
tr_status parquet_cursor_load(parquet_cursor_t *cursor, tr_error_t *err);
/// Passes over the entry that is loaded.
void parquet_cursor_pass(parquet_cursor_t *cursor);

#endif
