// Protocol Buffers' wire format: varints, and values of a known length.
#include "common/text/protobuf.h"

#include <string.h>

static bool take_integer(uint64_t *value, tr_message_t *message)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && message->at < message->end; shift += 7) {
        unsigned char byte = (unsigned char)*message->at++;
        *value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            return true;
        }
    }
    return false;
}

bool tr_message_take(tr_field_t *field, tr_message_t *message)
{
    uint64_t key = 0, size = 0;
    *field = (tr_field_t){0};
    if (message->at == message->end) {
        return false;
    }
    bool whole = take_integer(&key, message);
    field->number = key >> 3;
    switch (key & 7) {
    case 0: whole = whole && take_integer(&field->integer, message); break;
    case 1: size = 8; break;
    case 2: whole = whole && take_integer(&size, message); break;
    case 5: size = 4; break;
    default: // a group, or none
        whole = false;
    }
    if (!whole || field->number == 0 || size > (size_t)(message->end - message->at)) {
        message->at = NULL;
        return false;
    }
    if ((key & 7) == 5) {
        memcpy(&field->real, message->at, 4); // little-endian, as all that Troupe runs on
    }
    field->bytes = message->at;
    field->length = (size_t)size;
    message->at += size;
    return true;
}
