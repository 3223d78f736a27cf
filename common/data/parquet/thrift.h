/// Thrift's compact protocol, as far as Parquet's metadata has it: read from memory, nothing kept.
///
///     for (parquet_field_t field = {0}; parquet_next_field(input, &field);) {
///         switch (field.id) {
///         case 1: rows = parquet_read_int(input, &field); break;
///         default: parquet_skip(input, &field);
///         }
///     }
///
/// What is malformed sets `bad`: from then on there are no fields, and numbers are 0. So it is
/// asked once, at the end. (github.com/apache/thrift, doc/specs/thrift-compact-protocol.md)
#ifndef TR_DATA_PARQUET_THRIFT_H
#define TR_DATA_PARQUET_THRIFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct parquet_input {
    const uint8_t *at, *end;
    bool bad; ///< malformed, or cut off
} parquet_input_t;

/// {0} stands before a struct's first.
typedef struct parquet_field {
    int64_t id;
    unsigned type;
} parquet_field_t;

/// Whether the struct has another field, whose value must then be read or skipped.
bool parquet_next_field(parquet_input_t *input, parquet_field_t *field);

/// The value of a field; another type than asked for is bad.
int64_t parquet_read_int(parquet_input_t *input, const parquet_field_t *field);
bool parquet_read_bool(parquet_input_t *input, const parquet_field_t *field);
/// *length bytes, borrowed from the input.
const uint8_t *parquet_read_bytes(parquet_input_t *input, const parquet_field_t *field,
                                  size_t *length);
/// A list of structs, whose fields follow element by element: how many. Never more than the input
/// has bytes.
size_t parquet_read_structs(parquet_input_t *input, const parquet_field_t *field);
/// Whether the field is a struct, whose fields follow.
bool parquet_enter_struct(parquet_input_t *input, const parquet_field_t *field);
void parquet_skip(parquet_input_t *input, const parquet_field_t *field);

/// Parts of it, which the encodings of values use too.
uint64_t parquet_varint(parquet_input_t *input);
int64_t parquet_zigzag(parquet_input_t *input);

#endif
