// Messages through ZeroMQ sockets: one frame for the peer (ROUTER only), the envelope, the tensors.
//
// Separate from the codec because only this file knows ZeroMQ. Tensors are neither copied when they
// are sent nor, if aligned, when they are received. Sending and receiving never wait.
#include <czmq.h>
#include <stdlib.h>
#include <string.h>

#include "proto/message_parts.h"

/// Gives the part a received frame: as it lies if it is aligned to 16 bytes, as message.h promises,
/// else a copy.
static void take_frame(message_part_t *part, zmq_msg_t *frame)
{
    void *data = zmq_msg_data(frame);
    // ZeroMQ keeps short frames inside zmq_msg_t itself, where moving the struct moves the bytes.
    if (zmq_msg_size(frame) < 64 || (uintptr_t)data % 16 != 0) {
        message_part_copy(part, data);
        return;
    }
    zmq_msg_init(&part->frame);
    // No byte is copied: the frame keeps the buffer that ZeroMQ has received into.
    zmq_msg_move(&part->frame, frame);
    part->view.data = zmq_msg_data(&part->frame);
}

/// Takes the frame, also when it fails. more: another frame of the message follows.
static tr_status send_frame(void *socket, zmq_msg_t *frame, bool more, tr_error_t *err)
{
    while (zmq_msg_send(frame, socket, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)) < 0) {
        if (zmq_errno() != EINTR) {
            // A full queue (EAGAIN) or a peer that is gone (EHOSTUNREACH); only the first frame can
            // fail so.
            int code = zmq_errno();
            zmq_msg_close(frame);
            return tr_fail(err, code == EHOSTUNREACH ? TR_ERR_PEER : TR_ERR_IO,
                           "message was not sent: %s", zmq_strerror(code));
        }
    }
    return TR_OK;
}

/// For the peer's name and the envelope, which are short.
static tr_status send_copy(void *socket, const void *data, size_t bytes, bool more, tr_error_t *err)
{
    zmq_msg_t frame;
    zmq_msg_init_size(&frame, bytes);
    memcpy(zmq_msg_data(&frame), data, bytes);
    return send_frame(socket, &frame, more, err);
}

/// Takes one more reference to the bytes; ZeroMQ gives it back on a thread of its own.
static tr_status send_tensor(void *socket, message_part_t *part, bool more, tr_error_t *err)
{
    zmq_msg_t frame;
    zmq_msg_init(&frame);
    zmq_msg_copy(&frame, &part->frame);
    return send_frame(socket, &frame, more, err);
}

/// ZeroMQ queues the frames and sends them in its own thread; success means queued.
tr_status tr_message_send(void *socket, const tr_peer_t *peer, const tr_message_t *message,
                          tr_error_t *err)
{
    char *bytes;
    size_t length;
    void *handle = zsock_resolve(socket);
    // All checks before the first frame: a message must be sent whole or not at all.
    TR_TRY(tr_message_pack(&bytes, &length, message, err));
    tr_status status = peer != NULL ? send_copy(handle, peer->bytes, peer->size, true, err) : TR_OK;
    if (status == TR_OK) {
        status = send_copy(handle, bytes, length, message->count > 0, err);
    }
    for (size_t i = 0; status == TR_OK && i < message->count; i++) {
        status = send_tensor(handle, message->parts[i], i + 1 < message->count, err);
    }
    free(bytes);
    return status;
}

/// Reads one frame. TR_ERR_TIMEOUT when none is there, which for any but the first of a message
/// cannot be: ZeroMQ delivers messages whole.
static tr_status receive_frame(zmq_msg_t *frame, void *socket, tr_error_t *err)
{
    zmq_msg_init(frame);
    while (zmq_msg_recv(frame, socket, ZMQ_DONTWAIT) < 0) {
        int code = zmq_errno();
        if (code != EINTR) {
            zmq_msg_close(frame);
            return tr_fail(err, code == EAGAIN ? TR_ERR_TIMEOUT : TR_ERR_IO, "receiving: %s",
                           zmq_strerror(code));
        }
    }
    return TR_OK;
}

/// The remaining frames of a malformed message: the next one that is read must be another
/// message's.
static void skip_rest(void *socket, bool more)
{
    zmq_msg_t frame;
    while (more && receive_frame(&frame, socket, NULL) == TR_OK) {
        more = zmq_msg_more(&frame) != 0;
        zmq_msg_close(&frame);
    }
}

/// Reads the frames of the tensors. *more: whether a frame of this message is unread, before and
/// after. A peer that sends more frames than its envelope names, or fewer, has a message of another
/// length in mind: it is refused whole.
static tr_status receive_tensors(tr_message_t *message, void *socket, bool *more, tr_error_t *err)
{
    size_t index = 0;
    while (*more) {
        zmq_msg_t frame;
        TR_TRY(receive_frame(&frame, socket, err));
        *more = zmq_msg_more(&frame) != 0;
        tr_status status = message_check_frame(message, index, zmq_msg_size(&frame), err);
        if (status == TR_OK) {
            take_frame(message->parts[index++], &frame);
        }
        zmq_msg_close(&frame);
        TR_TRY(status);
    }
    if (index < message->count) {
        return tr_fail(err, TR_ERR_PROTOCOL, "tensor '%s': its frame is missing",
                       message->parts[index]->view.name);
    }
    return TR_OK;
}

/// The first frame at a ROUTER, which the socket puts there: who sent the message.
static tr_status receive_peer(tr_peer_t *peer, void *socket, bool *more, tr_error_t *err)
{
    zmq_msg_t frame;
    TR_TRY(receive_frame(&frame, socket, err));
    size_t size = zmq_msg_size(&frame);
    TR_ASSERT(size <= TR_PEER_MAX, "a routing id of %zu bytes", size);
    peer->size = (uint8_t)size;
    memcpy(peer->bytes, zmq_msg_data(&frame), size);
    // A peer's frame alone is an empty message, which only foreign programs send.
    *more = zmq_msg_more(&frame) != 0;
    zmq_msg_close(&frame);
    return *more ? TR_OK : tr_fail(err, TR_ERR_PROTOCOL, "envelope: the message is empty");
}

/// The caller learns the peer even of a malformed message, in order to answer it.
tr_status tr_message_receive(tr_message_t **message, tr_peer_t *peer, void *socket, tr_error_t *err)
{
    void *handle = zsock_resolve(socket);
    zmq_msg_t envelope;
    bool more = false;
    *message = NULL;
    // A ROUTER puts the sender's name before the message; a DEALER has one peer and does not.
    if (peer != NULL) {
        TR_TRY(receive_peer(peer, handle, &more, err));
    }
    TR_TRY(receive_frame(&envelope, handle, err));
    more = zmq_msg_more(&envelope) != 0;
    tr_status status =
        tr_message_unpack(message, zmq_msg_data(&envelope), zmq_msg_size(&envelope), err);
    zmq_msg_close(&envelope);
    if (status == TR_OK) {
        status = receive_tensors(*message, handle, &more, err);
    }
    // Does nothing after a success: `more` is false then.
    skip_rest(handle, more);
    if (status != TR_OK) {
        tr_message_destroy(message);
        // A missing frame after the first one is a broken message. As a timeout it would tell the
        // caller that no message was there.
        status = status == TR_ERR_TIMEOUT ? TR_ERR_PROTOCOL : status;
    }
    return status;
}
