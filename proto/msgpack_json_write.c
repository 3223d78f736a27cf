// The writer of msgpack, on msgpack-c: jansson values of our own, so the only failures are limits.
//
// It refuses what the reader of the other side (msgpack_json.c) would refuse for its size: a
// sentence here is better than a message that comes back as malformed.
#include <msgpack.h>

#include "proto/message.h"
#include "proto/msgpack_json.h"

typedef struct writer {
    msgpack_packer packer;
    size_t depth; ///< maps and arrays around the value
    size_t nodes; ///< maps and arrays so far
    tr_error_t *err;
} writer_t;

static tr_status write_value(writer_t *w, const json_t *value);

/// With its length, so that a zero byte inside is no end.
static void write_string(writer_t *w, const char *text, size_t length)
{
    msgpack_pack_str(&w->packer, length);
    msgpack_pack_str_body(&w->packer, text, length);
}

/// A map or an array begins; w->depth falls again when it ends.
static tr_status enter(writer_t *w)
{
    if (w->depth++ == TR_ENVELOPE_DEPTH) {
        return tr_fail(w->err, TR_ERR_ARGUMENT, "message nests deeper than %d",
                       (int)TR_ENVELOPE_DEPTH);
    }
    // A hundred bytes of memory each at the other side (message.h).
    if (++w->nodes > TR_ENVELOPE_NODES) {
        return tr_fail(w->err, TR_ERR_ARGUMENT,
                       "message holds more than %d maps and arrays (split the request)",
                       (int)TR_ENVELOPE_NODES);
    }
    return TR_OK;
}

static tr_status write_map(writer_t *w, const json_t *map)
{
    json_t *object = (json_t *)(uintptr_t)map; // jansson iterates over non-const objects only
    TR_TRY(enter(w));
    msgpack_pack_map(&w->packer, json_object_size(map));
    for (void *i = json_object_iter(object); i != NULL; i = json_object_iter_next(object, i)) {
        write_string(w, json_object_iter_key(i), json_object_iter_key_len(i));
        TR_TRY(write_value(w, json_object_iter_value(i)));
    }
    w->depth--;
    return TR_OK;
}

/// Numbers stay as they are: long arrays belong into tensors (message.h).
static tr_status write_array(writer_t *w, const json_t *array)
{
    TR_TRY(enter(w));
    msgpack_pack_array(&w->packer, json_array_size(array));
    for (size_t i = 0; i < json_array_size(array); i++) {
        TR_TRY(write_value(w, json_array_get(array, i)));
    }
    w->depth--;
    return TR_OK;
}

/// A NaN cannot come: jansson refuses to make one.
static tr_status write_value(writer_t *w, const json_t *value)
{
    msgpack_packer *pk = &w->packer;
    switch (json_typeof(value)) {
    case JSON_OBJECT: return write_map(w, value);
    case JSON_ARRAY: return write_array(w, value);
    case JSON_STRING:
        write_string(w, json_string_value(value), json_string_length(value));
        return TR_OK;
    // msgpack-c picks the shortest form of an integer; reals are always 64 bits.
    case JSON_INTEGER: msgpack_pack_int64(pk, json_integer_value(value)); return TR_OK;
    case JSON_REAL: msgpack_pack_double(pk, json_real_value(value)); return TR_OK;
    case JSON_TRUE: msgpack_pack_true(pk); return TR_OK;
    case JSON_FALSE: msgpack_pack_false(pk); return TR_OK;
    default: msgpack_pack_nil(pk); return TR_OK;
    }
}

/// Whole or not at all: after a failure nothing is left to be freed.
tr_status tr_msgpack_from_json(char **bytes, size_t *length, const json_t *value, size_t most,
                               tr_error_t *err)
{
    // msgpack-c is trusted here, unlike in the reader: the value is ours and already in memory.
    msgpack_sbuffer buffer;
    writer_t writer = {.err = err};
    msgpack_sbuffer_init(&buffer);
    msgpack_packer_init(&writer.packer, &buffer, msgpack_sbuffer_write);
    tr_status status = write_value(&writer, value);
    // Known only at the end: the buffer grows as msgpack-c writes.
    if (status == TR_OK && buffer.size > most) {
        status = tr_fail(err, TR_ERR_ARGUMENT,
                         "message of %zu bytes is longer than the %zu that an envelope may have "
                         "(move arrays into tensors, or split the request)",
                         buffer.size, most);
    }
    if (status != TR_OK) {
        msgpack_sbuffer_destroy(&buffer);
        return status;
    }
    *length = buffer.size;
    // The buffer was allocated by malloc, so the caller frees it as any other.
    *bytes = msgpack_sbuffer_release(&buffer);
    return TR_OK;
}
