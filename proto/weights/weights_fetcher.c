// The reader's end of weights over the network: asks for pieces, and puts them together.
//
// A transfer keeps CREDIT requests under way and marks each piece as wanted, asked for or here.
// Whatever gets lost is asked for again after a silence; a checksum over the whole decides at the
// end. The actor's end is weights_server.c.
#include <czmq.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "proto/body.h"
#include "proto/endpoint.h"
#include "proto/message.h"
#include "proto/weights/weights_server.h"

enum {
    CREDIT = 16,         ///< requests under way
    TICK_MS = 100,       ///< how often `stop` is called at least
    ASK_AGAIN_MS = 2000, ///< after so long without a piece, those under way are taken as lost
    PATIENCE_MS = 10000  ///< after so long the transfer fails
};

struct tr_weights_fetcher {
    char *controller, *keys;
    zsock_t *socket;
    char *address; ///< that the socket is connected to; NULL: none yet
    void *data;    ///< the weights that came last
};

/// Connects at the first transfer: the port is in the description.
tr_weights_fetcher_t *tr_weights_fetcher_new(const char *controller, const char *keys)
{
    tr_weights_fetcher_t *fetcher = tr_calloc(1, sizeof *fetcher);
    fetcher->controller = tr_strdup(controller);
    fetcher->keys = keys != NULL ? tr_strdup(keys) : NULL;
    return fetcher;
}

/// Leaves the fetcher as new, but for the weights that it holds.
static void disconnect(tr_weights_fetcher_t *fetcher)
{
    if (fetcher->socket != NULL) {
        // Requests that are still queued are for nobody.
        zsock_set_linger(fetcher->socket, 0);
        zsock_destroy(&fetcher->socket);
    }
    free(fetcher->address);
    fetcher->address = NULL;
}

/// Frees the weights too, which the caller must have copied.
void tr_weights_fetcher_destroy(tr_weights_fetcher_t **fetcher)
{
    tr_weights_fetcher_t *f = *fetcher;
    if (f == NULL) {
        return;
    }
    disconnect(f);
    free(f->controller);
    free(f->keys);
    free(f->data);
    free(f);
    *fetcher = NULL;
}

/// Connects to this port of the controller's machine, unless the socket is connected there.
static tr_status connect_to(tr_weights_fetcher_t *fetcher, int64_t port, tr_error_t *err)
{
    if (strncmp(fetcher->controller, "tcp://", 6) != 0) {
        return tr_fail(err, TR_ERR_INTERRUPTED,
                       "weights: this process shares no memory with the actor and reaches the "
                       "controller by '%s': a rollout elsewhere needs a TCP address (network.bind)",
                       fetcher->controller);
    }
    // The host of the controller's address with the port of the weights.
    const char *end = strrchr(fetcher->controller, ':');
    char *address = tr_format("%.*s:%lld", (int)(end - fetcher->controller), fetcher->controller,
                              (long long)port);
    // Connected already. An actor that was started again may have another port.
    if (fetcher->address != NULL && strcmp(fetcher->address, address) == 0) {
        free(address);
        return TR_OK;
    }
    disconnect(fetcher);
    fetcher->address = address;
    return tr_endpoint_connect(&fetcher->socket, address, fetcher->keys, NULL, err);
}

// One transfer

typedef enum piece_state { WANTED, ASKED, HERE } piece_state_t;

typedef struct transfer {
    tr_weights_fetcher_t *fetcher;
    int64_t version;
    size_t bytes, pieces;
    unsigned char *states; // [pieces] of piece_state_t, a byte each
    size_t next;           // no piece before it is WANTED
    size_t under_way;      // pieces asked for
    size_t missing;        // pieces not here
    int64_t heard;         // when the last piece came
    int64_t asked;         // when the last piece was asked for
} transfer_t;

/// All pieces are of one size but the last.
static size_t bytes_of(const transfer_t *t, size_t piece)
{
    return piece + 1 < t->pieces ? TR_WEIGHTS_PIECE : t->bytes - piece * TR_WEIGHTS_PIECE;
}

/// A request that cannot be sent now is repeated after the silence, as one that got lost. The id is
/// the number of the piece, from 1, so that an answer finds its place.
static void ask(transfer_t *t, size_t piece)
{
    tr_error_t err = {0};
    json_int_t offset = (json_int_t)piece * (json_int_t)TR_WEIGHTS_PIECE;
    tr_message_t *request = tr_message_about("request", (int64_t)piece + 1);
    tr_message_set_field(request, "method", json_string("piece"));
    tr_message_set_body(request,
                        json_pack("{s:I, s:I, s:I}", "version", (json_int_t)t->version, "offset",
                                  offset, "bytes", (json_int_t)bytes_of(t, piece)));
    if (tr_message_send(t->fetcher->socket, NULL, request, &err) != TR_OK) {
        tr_log(TR_LOG_DEBUG, "weights", "\"%s\"", err.text);
    }
    tr_message_destroy(&request);
    t->states[piece] = ASKED;
    t->under_way++;
    t->asked = tr_clock_ms();
}

/// Fills up the credit, in order.
static void ask_more(transfer_t *t)
{
    for (; t->next < t->pieces && t->under_way < CREDIT; t->next++) {
        if (t->states[t->next] == WANTED) {
            ask(t, t->next);
        }
    }
}

/// Everything under way is wanted once more. A late answer to the first request still counts if the
/// piece was asked for again by then; the second answer is dropped.
static void ask_again(transfer_t *t)
{
    for (size_t i = 0; i < t->pieces; i++) {
        t->states[i] = t->states[i] == ASKED ? WANTED : t->states[i];
    }
    t->under_way = 0;
    t->next = 0;
}

/// A reply or an error. An answer to no piece that is asked for belongs to an earlier transfer, or
/// is a second one.
static tr_status take(transfer_t *t, const tr_message_t *message, tr_error_t *err)
{
    const json_t *body = tr_message_body(message);
    // An id of 0 becomes the largest number, which is no piece.
    size_t piece = (size_t)tr_message_id(message) - 1;
    tr_view_t view;
    if (piece >= t->pieces || t->states[piece] != ASKED ||
        json_integer_value(json_object_get(body, "version")) != t->version) {
        return TR_OK;
    }
    // Such as: the actor has overwritten the version. No other piece of it would come either.
    if (strcmp(tr_message_type(message), "error") == 0) {
        const char *text = json_string_value(json_object_get(body, "text"));
        return tr_fail(err, TR_ERR_VERSION, "the actor at '%s': %s", t->fetcher->address,
                       text != NULL ? text : "no reason was given");
    }
    TR_TRY(tr_message_expect_tensor(&view, message, "piece", TR_U8, bytes_of(t, piece), err));
    memcpy((char *)t->fetcher->data + piece * TR_WEIGHTS_PIECE, view.data, view.bytes);
    t->states[piece] = HERE;
    t->under_way--;
    t->missing--;
    t->heard = tr_clock_ms();
    return TR_OK;
}

/// Reads what has arrived.
static tr_status take_all(transfer_t *t, tr_error_t *err)
{
    for (;;) {
        tr_message_t *message;
        tr_status status = tr_message_receive(&message, NULL, t->fetcher->socket, err);
        if (status == TR_ERR_TIMEOUT) {
            // Nothing more is there, which is no failure.
            *err = (tr_error_t){0};
            return TR_OK;
        }
        TR_TRY(status);
        status = take(t, message, err);
        tr_message_destroy(&message);
        TR_TRY(status);
    }
}

/// Until every piece is here, `stop` returns true, or nothing has come for PATIENCE_MS.
static tr_status run(transfer_t *t, bool (*stop)(void), tr_error_t *err)
{
    zmq_pollitem_t item = {.socket = zsock_resolve(t->fetcher->socket), .events = ZMQ_POLLIN};
    t->heard = tr_clock_ms();
    while (t->missing > 0) {
        ask_more(t);
        if (zmq_poll(&item, 1, TICK_MS) < 0 && zmq_errno() != EINTR) {
            return tr_fail(err, TR_ERR_IO, "waiting for weights: %s", zmq_strerror(zmq_errno()));
        }
        TR_TRY(take_all(t, err));
        int64_t now = tr_clock_ms();
        if (stop()) {
            return tr_fail(err, TR_ERR_INTERRUPTED, "asked to leave while weights were fetched");
        }
        if (now - t->heard > PATIENCE_MS) {
            return tr_fail(
                err, TR_ERR_INTERRUPTED,
                "no weights came from '%s' for %d seconds (%zu of %zu MiB are missing; is "
                "the port open? network.weights_port fixes it)",
                t->fetcher->address, PATIENCE_MS / 1000, t->missing, t->pieces);
        }
        // Both: the requests that were just repeated deserve as much time as the first ones.
        if (now - t->heard > ASK_AGAIN_MS && now - t->asked > ASK_AGAIN_MS) {
            ask_again(t);
        }
    }
    return TR_OK;
}

/// Another checksum means that pieces of two versions came, or damaged ones: another try may help.
static tr_status expect_checksum(const void *data, size_t bytes, const json_t *description,
                                 tr_error_t *err)
{
    const char *wanted;
    char found[17];
    TR_TRY(tr_body_string(&wanted, description, "checksum", "weights", err));
    snprintf(found, sizeof found, "%016llx", (unsigned long long)XXH3_64bits(data, bytes));
    return strcmp(wanted, found) == 0
               ? TR_OK
               : tr_fail(err, TR_ERR_INTERRUPTED, "weights: checksum %s came, expected %.40s",
                         found, wanted);
}

/// The memory is kept for the next version, which has the same size.
tr_status tr_weights_fetch(const void **data, size_t bytes, tr_weights_fetcher_t *fetcher,
                           const json_t *description, bool (*stop)(void), tr_error_t *err)
{
    int64_t version, port;
    TR_TRY(tr_body_integer(&version, description, "version", 0, INT64_MAX, "weights", err));
    TR_TRY(tr_weights_expect_bytes(description, bytes, err));
    // The controller counts external rollouts; where there are none, the actor opens no port.
    if (json_object_get(description, "port") == NULL) {
        return tr_fail(
            err, TR_ERR_INTERRUPTED,
            "weights: this process shares no memory with the actor, which serves none to "
            "other machines (rollouts elsewhere need network.bind: tcp://..., and to be counted "
            "in roles.rollout.external)");
    }
    TR_TRY(tr_body_integer(&port, description, "port", 1, 65535, "weights", err));
    TR_TRY(connect_to(fetcher, port, err));
    // The size is our model's, checked above: a peer cannot choose how much is allocated.
    fetcher->data = tr_realloc(fetcher->data, bytes);
    size_t pieces = (bytes + TR_WEIGHTS_PIECE - 1) / TR_WEIGHTS_PIECE;
    transfer_t transfer = {.fetcher = fetcher,
                           .version = version,
                           .bytes = bytes,
                           .pieces = pieces,
                           .missing = pieces,
                           .states = tr_calloc(pieces, 1)};
    // For the log: how long a rollout elsewhere waits for weights.
    double began = tr_clock_seconds();
    tr_status status = run(&transfer, stop, err);
    free(transfer.states);
    TR_TRY(status);
    // Over the whole, in the order of the model: pieces may have come in any.
    TR_TRY(expect_checksum(fetcher->data, bytes, description, err));
    tr_log(TR_LOG_INFO, "weights", "version=%lld bytes=%zu seconds=%.3f from=%s \"fetched\"",
           (long long)version, bytes, tr_clock_seconds() - began, fetcher->address);
    *data = fetcher->data;
    return TR_OK;
}
