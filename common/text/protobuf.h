/// Messages of Protocol Buffers as bytes: a row of fields, each a key (number and kind) and its
/// value. What a field means is its reader's business.
#ifndef TR_TEXT_PROTOBUF_H
#define TR_TEXT_PROTOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// Bytes that are still to be read.
typedef struct tr_message {
    const char *at, *end;
} tr_message_t;

typedef struct tr_field {
    uint64_t number, integer;
    const char *bytes; ///< of a message or a text: [length]
    size_t length;
    float real;
} tr_field_t;

/// Takes the next field. False at the end, and, with message->at NULL, where the bytes are no
/// message.
bool tr_message_take(tr_field_t *field, tr_message_t *message);

#endif
