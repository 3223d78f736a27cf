/// A message of the wire: one envelope (a msgpack map) and the raw frames of its tensors. See
/// PROTOCOL.md.
///
/// Daemons use it in their handlers: they read tr_message_body() of the request and the tensors
/// beside it, and fill tr_message_body() of the reply. The body is a jansson object both ways
/// (build it with json_pack or json_object_set_new, read it with body.h); large arrays travel as
/// tensors, never inside the body. A message knows nothing of connections, sessions or roles.
///
/// Everything that arrives is treated as hostile: the envelope is at most TR_ENVELOPE_MAX bytes and
/// nests at most TR_ENVELOPE_DEPTH deep, its counts are checked against the bytes that are there
/// before memory is allocated, and each tensor's frame must have exactly the size that its dtype
/// and shape say. NaN and infinities in a body are errors, as are binary values and strings that
/// are not UTF-8.
///
/// One message belongs to one thread at a time; it may be passed from thread to thread.
///
/// The object is in message.c, the envelope's msgpack in message_codec.c, the frames of a socket in
/// message_socket.c.
#ifndef TR_PROTO_MESSAGE_H
#define TR_PROTO_MESSAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/tensor/tensor.h"

#define TR_PROTOCOL_MAJOR 1
#define TR_PROTOCOL_MINOR 0

enum {
    TR_ENVELOPE_MAX = 1 << 20, ///< bytes
    TR_ENVELOPE_DEPTH = 16,    ///< maps and arrays inside one another, the envelope counted
    TR_ENVELOPE_NODES = 65536, ///< most maps and arrays: a byte each, and a hundred in memory
    TR_MESSAGE_TENSORS = 1024, ///< most tensors in a message
    TR_MESSAGE_NAME = 128,     ///< most bytes in a tensor's name
    TR_MESSAGE_DIMS = 4,       ///< most dimensions of a tensor
    TR_PEER_MAX = 255          ///< most bytes in a ROUTER's name for a peer
};

typedef struct tr_message tr_message_t;

/// A tensor as it lies in a message. data is aligned to 16 bytes and lives as long as the message.
typedef struct tr_view {
    const char *name;
    tr_dtype_t dtype;
    size_t dims;                   ///< 1..TR_MESSAGE_DIMS
    size_t shape[TR_MESSAGE_DIMS]; ///< 0 is allowed; entries past dims are 1
    const void *data;
    size_t bytes;
} tr_view_t;

/// A ROUTER's name for the peer that a message came from or goes to. size 0: a DEALER's only peer.
typedef struct tr_peer {
    uint8_t size;
    uint8_t bytes[TR_PEER_MAX];
} tr_peer_t;

/// Frees memory that a tensor lent to the wire; called once, on any thread.
typedef void (*tr_release_fn)(void *data, void *hint);
/// The release of memory of malloc; hint is not read.
void tr_message_free(void *data, void *hint);

// Life cycle

/// type: "request", "reply", ...; copied. The body is an empty map, there are no tensors.
tr_message_t *tr_message_new(const char *type);
/// As tr_message_new, with the number of a request; 0: none.
tr_message_t *tr_message_about(const char *type, int64_t id);
void tr_message_destroy(tr_message_t **message);

/// A second message with the same envelope and tensors. Tensor bytes and the body are shared, not
/// copied.
tr_message_t *tr_message_copy(const tr_message_t *message);

// Reading

const char *tr_message_type(const tr_message_t *message);

/// The request's number, 0 when there is none.
int64_t tr_message_id(const tr_message_t *message);
void tr_message_set_id(tr_message_t *message, int64_t id);

/// The method of a request, "" when there is none.
const char *tr_message_method(const tr_message_t *message);

/// The body, an object; borrowed. It may be changed until the message is sent or copied.
json_t *tr_message_body(const tr_message_t *message);

/// Replaces the body and takes the reference. NULL, which json_pack returns for a NaN or a string
/// that is not UTF-8, makes the message one that cannot be sent: tr_message_pack says so.
void tr_message_set_body(tr_message_t *message, json_t *body);

/// Makes the body {"code": code, "text": text}; bytes of text that are not UTF-8 become '?'.
void tr_message_set_error(tr_message_t *message, const char *code, const char *text);

/// Why the body of a received message could not be read ("body.scores[3]: NaN is not allowed"),
/// else NULL. The body is then empty and the rest of the message is good, so that its sender can be
/// told.
const char *tr_message_fault(const tr_message_t *message);

/// Sets any envelope key other than "body" and "tensors". Takes the reference of value.
void tr_message_set_field(tr_message_t *message, const char *key, json_t *value);
// Tensors

size_t tr_message_tensors(const tr_message_t *message);
/// index < tr_message_tensors(message).
tr_view_t tr_message_tensor_at(const tr_message_t *message, size_t index);
/// False when there is none of that name.
bool tr_message_tensor(tr_view_t *view, const tr_message_t *message, const char *name);
/// As tr_message_tensor, but a missing name, another dtype, or a number of elements other than
/// count (SIZE_MAX: any) is TR_ERR_PROTOCOL with a sentence.
tr_status tr_message_expect_tensor(tr_view_t *view, const tr_message_t *message, const char *name,
                                   tr_dtype_t dtype, size_t count, tr_error_t *err);
/// The offsets at which `count` ragged parts of another tensor begin: i32 [count + 1] from 0 to
/// `end`, each at least `least` above the one before. *offsets: in the message. TR_ERR_PROTOCOL.
tr_status tr_message_expect_offsets(const int32_t **offsets, const tr_message_t *message,
                                    const char *name, size_t count, size_t end, int32_t least,
                                    tr_error_t *err);

/// Adds a tensor; shape: [dims]. release NULL: the bytes are copied now. Otherwise they are lent
/// (data not NULL) and must not change, and release(data, hint) is called when the last copy has
/// been sent, perhaps on a thread of ZeroMQ. Our own mistakes (a name twice, too many, dims out of
/// range) are assertions.
void tr_message_add_tensor(tr_message_t *message, const char *name, tr_dtype_t dtype, size_t dims,
                           const size_t *shape, const void *data, tr_release_fn release,
                           void *hint);
/// A vector of count elements, copied.
void tr_message_add_vector(tr_message_t *message, const char *name, tr_dtype_t dtype, size_t count,
                           const void *data);

// The wire's form, for proto/ and its tests

/// The envelope as msgpack. *bytes: owned by the caller (free). Fails with TR_ERR_ARGUMENT when it
/// would be longer than TR_ENVELOPE_MAX or holds a NaN.
tr_status tr_message_pack(char **bytes, size_t *length, const tr_message_t *message,
                          tr_error_t *err);

/// Reads an envelope. Its tensors have no data yet: tr_message_unpack_frame gives it, once for each
/// of tr_message_tensors(*message). TR_ERR_PROTOCOL with a sentence for anything that PROTOCOL.md
/// forbids; *message is then NULL.
tr_status tr_message_unpack(tr_message_t **message, const void *bytes, size_t length,
                            tr_error_t *err);
/// Copies the bytes of tensor `index`, for messages that did not come from a socket. Fails when the
/// size is wrong.
tr_status tr_message_unpack_frame(tr_message_t *message, size_t index, const void *data,
                                  size_t bytes, tr_error_t *err);

/// Sends through a ZeroMQ socket (zsock_t * or void *), to `peer` through a ROUTER, NULL through a
/// DEALER. Never waits: TR_ERR_PEER when the peer is gone, TR_ERR_IO when its queue is full. The
/// message stays the caller's.
tr_status tr_message_send(void *socket, const tr_peer_t *peer, const tr_message_t *message,
                          tr_error_t *err);

/// Receives one message without waiting. peer (NULL for a DEALER) is written even when the rest is
/// malformed. TR_ERR_TIMEOUT when none is there; TR_ERR_PROTOCOL, with its frames consumed, for a
/// malformed one.
tr_status tr_message_receive(tr_message_t **message, tr_peer_t *peer, void *socket,
                             tr_error_t *err);

#endif
