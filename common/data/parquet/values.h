/// The encodings of Parquet's pages, decoded value by value: a page of a few bytes may have as many
/// values as it says, so nothing is kept of them. (parquet-format, Encodings.md)
#ifndef TR_DATA_PARQUET_VALUES_H
#define TR_DATA_PARQUET_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/data/parquet/schema.h"
#include "common/data/parquet/thrift.h"
#include "common/text/utf8.h"

/// A value: its bytes, as PLAIN has them (numbers in little endian; a boolean is a byte).
typedef struct parquet_value {
    const uint8_t *data;
    size_t length;
} parquet_value_t;

/// Numbers of `width` bits in runs, of one number or packed: levels, indices, booleans.
typedef struct parquet_runs {
    parquet_input_t input;
    unsigned width;
    uint64_t left;         // of the run
    const uint8_t *packed; // NULL: the run is of one number
    uint64_t bit;          // of the next packed one
    uint32_t number;
} parquet_runs_t;

/// width: at most 32.
void parquet_runs_begin(parquet_runs_t *runs, const uint8_t *data, size_t length, unsigned width);
/// The next number; false where there is none.
bool parquet_runs_next(uint32_t *number, parquet_runs_t *runs);

/// DELTA_BINARY_PACKED: whole numbers by their differences.
typedef struct parquet_deltas {
    parquet_input_t input;
    uint64_t total, left;       // numbers
    uint64_t blocks, miniblock; // miniblocks in a block, and numbers in a miniblock
    const uint8_t *widths;      // of the block's miniblocks that are left
    uint64_t widths_left;
    const uint8_t *packed; // the miniblock
    uint64_t miniblock_left, bit;
    unsigned width;
    uint64_t smallest; // difference of the block
    uint64_t number;
} parquet_deltas_t;

/// The values of a page of one of the encodings.
typedef struct parquet_values {
    int encoding;
    const parquet_node_t *leaf;
    parquet_input_t input; // of PLAIN and BYTE_STREAM_SPLIT, and of texts behind lengths
    uint64_t bit;          // of PLAIN booleans; of BYTE_STREAM_SPLIT the value
    parquet_runs_t runs;   // of indices and booleans
    parquet_deltas_t numbers, lengths; // numbers: or lengths of prefixes
    const parquet_value_t *dictionary; // [words]
    size_t words;
    tr_bytes_t text;     // the value before, of DELTA_BYTE_ARRAY
    uint8_t scratch[32]; // a value that the page has in parts
} parquet_values_t;

/// Begins data: [length], borrowed, of a page whose encoding has parquet.thrift's number. {0}
/// before the first; release frees it. dictionary: [words], borrowed. TR_ERR_FORMAT;
/// TR_ERR_UNSUPPORTED for an encoding that is none of such values.
tr_status parquet_values_begin(parquet_values_t *values, int encoding, const parquet_node_t *leaf,
                               const uint8_t *data, size_t length,
                               const parquet_value_t *dictionary, size_t words, tr_error_t *err);
/// The next value, valid until the one after it. TR_ERR_FORMAT where there is none.
tr_status parquet_values_next(parquet_value_t *value, parquet_values_t *values, tr_error_t *err);
void parquet_values_release(parquet_values_t *values);

#endif
