/// The inside of a message, for message*.c alone.
#ifndef TR_PROTO_MESSAGE_PARTS_H
#define TR_PROTO_MESSAGE_PARTS_H

#include <zmq.h>

#include "proto/message.h"

/// A tensor and its bytes: a frame of ZeroMQ, which counts the references of copies and of what it
/// is still sending. A part does not move while it lives, because frames must not.
typedef struct message_part {
    tr_view_t view;  ///< name is owned by the part; data is in the frame, NULL while it is awaited
    zmq_msg_t frame; ///< not initialised while it is awaited
} message_part_t;

struct tr_message {
    json_t *fields; ///< the envelope without body and tensors
    json_t *body;
    bool broken;            ///< set_body got NULL: the caller could not build the body
    char *fault;            ///< of a received body; NULL: none
    message_part_t **parts; ///< [count]
    size_t count;
};

/// fields and body are taken.
tr_message_t *message_new(json_t *fields, json_t *body);

/// Bytes of a tensor; false when they do not fit a size_t.
bool message_view_bytes(size_t *bytes, const tr_view_t *view);

/// TR_ERR_PROTOCOL unless a frame of so many bytes is what tensor `index` needs.
tr_status message_check_frame(const tr_message_t *message, size_t index, size_t bytes,
                              tr_error_t *err);

/// Adds a part without bytes; the name is copied.
message_part_t *message_part_add(tr_message_t *message, const tr_view_t *view);
/// Gives it view.bytes bytes, which release(data, hint) frees with the last reference.
void message_part_lend(message_part_t *part, void *data, tr_release_fn release, void *hint);
/// Gives it a copy of the bytes, aligned.
void message_part_copy(message_part_t *part, const void *data);

#endif
