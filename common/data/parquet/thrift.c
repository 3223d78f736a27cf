// Thrift's compact protocol: fields are (difference of ids, type) in a byte, numbers are varints.
#include "common/data/parquet/thrift.h"

enum { TRUE = 1, FALSE = 2, BYTE = 3, INT16 = 4, INT32 = 5, INT64 = 6 };
enum { DOUBLE = 7, BINARY = 8, LIST = 9, SET = 10, MAP = 11, STRUCT = 12 };

// Metadata nests some five levels.
enum { DEEPEST = 32 };

static uint64_t fail(parquet_input_t *input)
{
    input->bad = true;
    input->at = input->end;
    return 0;
}

static uint8_t byte(parquet_input_t *input)
{
    return input->at < input->end ? *input->at++ : (uint8_t)fail(input);
}

static const uint8_t *take(parquet_input_t *input, uint64_t length)
{
    const uint8_t *data = input->at;
    if (length > (size_t)(input->end - input->at)) {
        fail(input);
    } else {
        input->at += length;
    }
    return data;
}

uint64_t parquet_varint(parquet_input_t *input)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t next = byte(input);
        value |= (uint64_t)(next & 0x7f) << shift;
        if (next < 0x80) {
            return value;
        }
    }
    return fail(input);
}

int64_t parquet_zigzag(parquet_input_t *input)
{
    uint64_t value = parquet_varint(input);
    return (int64_t)((value >> 1) ^ (0 - (value & 1)));
}

bool parquet_next_field(parquet_input_t *input, parquet_field_t *field)
{
    uint8_t head = byte(input);
    if (head == 0 || input->bad) {
        return false;
    }
    int64_t id = head >> 4 != 0 ? field->id + (head >> 4) : parquet_zigzag(input);
    *field = (parquet_field_t){id & 0xffff, head & 15};
    return !input->bad;
}

int64_t parquet_read_int(parquet_input_t *input, const parquet_field_t *field)
{
    if (field->type == BYTE) {
        return (int8_t)byte(input);
    }
    bool number = field->type == INT16 || field->type == INT32 || field->type == INT64;
    return number ? parquet_zigzag(input) : (int64_t)fail(input);
}

bool parquet_read_bool(parquet_input_t *input, const parquet_field_t *field)
{
    if (field->type != TRUE && field->type != FALSE) {
        fail(input);
    }
    return field->type == TRUE;
}

const uint8_t *parquet_read_bytes(parquet_input_t *input, const parquet_field_t *field,
                                  size_t *length)
{
    *length = field->type == BINARY ? parquet_varint(input) : fail(input);
    const uint8_t *data = take(input, *length);
    *length = input->bad ? 0 : *length;
    return data;
}

/// The head of a list: how many elements, of which type.
static size_t list_head(parquet_input_t *input, unsigned *type)
{
    uint8_t head = byte(input);
    uint64_t count = head >> 4 == 15 ? parquet_varint(input) : head >> 4;
    *type = head & 15;
    // An element has a byte at least.
    return count <= (size_t)(input->end - input->at) ? (size_t)count : (size_t)fail(input);
}

size_t parquet_read_structs(parquet_input_t *input, const parquet_field_t *field)
{
    unsigned type = STRUCT;
    size_t count = field->type == LIST ? list_head(input, &type) : (size_t)fail(input);
    return type == STRUCT || count == 0 ? count : (size_t)fail(input);
}

bool parquet_enter_struct(parquet_input_t *input, const parquet_field_t *field)
{
    if (field->type != STRUCT) {
        fail(input);
    }
    return field->type == STRUCT;
}

static void skip_value(parquet_input_t *input, unsigned type, bool in_list, unsigned depth);

static void skip_struct(parquet_input_t *input, unsigned depth)
{
    for (parquet_field_t field = {0}; parquet_next_field(input, &field);) {
        skip_value(input, field.type, false, depth);
    }
}

static void skip_list(parquet_input_t *input, unsigned depth)
{
    unsigned type;
    size_t count = list_head(input, &type);
    for (size_t i = 0; i < count && !input->bad; i++) {
        skip_value(input, type, true, depth);
    }
}

static void skip_map(parquet_input_t *input, unsigned depth)
{
    uint64_t count = parquet_varint(input);
    uint8_t types = count > 0 ? byte(input) : 0;
    for (uint64_t i = 0; i < count && !input->bad; i++) {
        skip_value(input, types >> 4, true, depth);
        skip_value(input, types & 15, true, depth);
    }
}

/// A truth value is in the head of a field, and a byte in a list.
static void skip_value(parquet_input_t *input, unsigned type, bool in_list, unsigned depth)
{
    if (depth == DEEPEST) {
        fail(input);
        return;
    }
    switch (type) {
    case TRUE:
    case FALSE: take(input, in_list); break;
    case BYTE: take(input, 1); break;
    case INT16:
    case INT32:
    case INT64: parquet_varint(input); break;
    case DOUBLE: take(input, 8); break;
    case BINARY: take(input, parquet_varint(input)); break;
    case LIST:
    case SET: skip_list(input, depth + 1); break;
    case MAP: skip_map(input, depth + 1); break;
    case STRUCT: skip_struct(input, depth + 1); break;
    default: fail(input);
    }
}

void parquet_skip(parquet_input_t *input, const parquet_field_t *field)
{
    skip_value(input, field->type, false, 0);
}
