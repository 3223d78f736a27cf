/// The inside of a message, for message*.c alone.
#ifndef TR_PROTO_MESSAGE_PARTS_H
#define TR_PROTO_MESSAGE_PARTS_H

#include <stdatomic.h>
#include <zmq.h>

#include "proto/message.h"

/// The bytes of one tensor, shared by copies of a message and by ZeroMQ while it sends. They are
/// lent (release gives them back) or inside a received frame.
typedef struct message_blob {
    atomic_size_t references;
    void *data;
    tr_release_fn release;
    void *hint;
    bool received;   ///< the bytes are inside frame
    zmq_msg_t frame; ///< closed with the blob
} message_blob_t;

typedef struct message_part {
    tr_view_t view;       ///< name is owned by the part
    message_blob_t *blob; ///< NULL while a received frame is awaited
} message_part_t;

struct tr_message {
    json_t *fields; ///< the envelope without body and tensors
    json_t *body;
    bool broken; ///< set_body got NULL: the caller could not build the body
    char *fault; ///< of a received body; NULL: none
    message_part_t *parts;
    size_t count;
};

/// fields and body are taken.
tr_message_t *message_new(json_t *fields, json_t *body);

/// Bytes of a tensor; false when they do not fit a size_t.
bool message_view_bytes(size_t *bytes, const tr_view_t *view);

/// TR_ERR_PROTOCOL unless a frame of so many bytes is what tensor `index` needs.
tr_status message_check_frame(const tr_message_t *message, size_t index, size_t bytes,
                              tr_error_t *err);

/// With one reference. release: called with the last one; NULL: nothing is to be freed.
message_blob_t *message_blob_new(void *data, tr_release_fn release, void *hint);
/// A copy of the bytes, aligned.
message_blob_t *message_blob_copy(const void *data, size_t bytes);
/// One reference more, returned for convenience.
message_blob_t *message_blob_keep(message_blob_t *blob);
/// One reference less; with the last one the bytes go. NULL is allowed.
void message_blob_drop(message_blob_t *blob);

#endif
