/// Weights for readers on other machines: the actor sends pieces of its segments (weights.h) over
/// ZeroMQ.
///
/// A reader sends requests `piece` {version, offset, bytes} and keeps a few of them under way, so
/// that neither side queues more than those. A piece that gets lost is asked for again; the whole
/// is accepted by its checksum. Readers ask at their own pace, come and go, and delay nobody: the
/// actor does not wait for them, and keeps no state of any. Both ends hold keys as the controller's
/// socket demands them (endpoint.h).
#ifndef TR_PROTO_WEIGHTS_SERVER_H
#define TR_PROTO_WEIGHTS_SERVER_H

#include "proto/weights/weights.h"

#define TR_WEIGHTS_PIECE ((size_t)1 << 20) ///< bytes that one request may ask for, as readers do

typedef struct tr_weights_server tr_weights_server_t;

/// Serves publisher, borrowed until destroy, on a thread of its own. endpoint:
/// "tcp://ADDRESS:PORT", or ":*" for any free port. keys: those of the controller, or NULL
/// (proto/endpoint.h).
tr_status tr_weights_server_new(tr_weights_server_t **server,
                                const tr_weights_publisher_t *publisher, const char *endpoint,
                                const char *keys, tr_error_t *err);
void tr_weights_server_destroy(tr_weights_server_t **server);

/// Adds "port" to a description (weights.h): where readers elsewhere get the bytes, on the
/// controller's machine.
void tr_weights_server_describe(json_t *description, const tr_weights_server_t *server);

typedef struct tr_weights_fetcher tr_weights_fetcher_t;

/// controller: the address by which this process reaches the controller, on whose machine the actor
/// is. keys: as for that address.
tr_weights_fetcher_t *tr_weights_fetcher_new(const char *controller, const char *keys);
void tr_weights_fetcher_destroy(tr_weights_fetcher_t **fetcher);

/// The `bytes` bytes of the version that the description names: *data, valid until the next call
/// with this fetcher. TR_ERR_INTERRUPTED, with the reason, where another worker may succeed: stop
/// returned true, no piece came for 10 seconds, another checksum came, no port is named, or the
/// controller is not reached by TCP. TR_ERR_VERSION: the actor has another version, or the weights
/// another size. TR_ERR_PROTOCOL: a bad description.
tr_status tr_weights_fetch(const void **data, size_t bytes, tr_weights_fetcher_t *fetcher,
                           const json_t *description, bool (*stop)(void), tr_error_t *err);

#endif
