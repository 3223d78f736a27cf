// The actor's end of weights over the network: a thread that answers requests for pieces.
//
// It reads the segments of weights.c while the actor trains and publishes: a reader that asks for a
// version that was overwritten gets an error. The reader's end is weights_fetcher.c.
#include "proto/weights/weights_server.h"

#include <czmq.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "proto/body.h"
#include "proto/endpoint.h"
#include "proto/message.h"

/// Requests that are answered before the thread looks whether it shall end.
enum { REQUESTS_A_TURN = 64 };

struct tr_weights_server {
    const tr_weights_publisher_t *publisher;
    zsock_t *socket; ///< used by the thread alone while it runs
    zactor_t *auth;
    zactor_t *thread;
    int64_t port;
};

/// Fills the reply to a request. The piece is copied once, and the copy lent to the message.
static tr_status give(const tr_weights_server_t *server, const tr_message_t *request,
                      tr_message_t *reply, tr_error_t *err)
{
    const json_t *body = tr_message_body(request);
    int64_t version, offset, bytes;
    if (strcmp(tr_message_method(request), "piece") != 0) {
        return tr_fail(err, TR_ERR_UNSUPPORTED, "weights are asked for by 'piece'");
    }
    TR_TRY(tr_body_integer(&version, body, "version", 0, INT64_MAX, "piece", err));
    TR_TRY(tr_body_integer(&offset, body, "offset", 0, INT64_MAX, "piece", err));
    TR_TRY(tr_body_integer(&bytes, body, "bytes", 1, (int64_t)TR_WEIGHTS_PIECE, "piece", err));
    // At most TR_WEIGHTS_PIECE, by the bound above.
    size_t count = (size_t)bytes;
    // Copied out of the segment, since the actor may overwrite it while ZeroMQ sends.
    void *piece = tr_calloc(count, 1);
    tr_status status =
        tr_weights_copy(piece, server->publisher, (uint64_t)version, (size_t)offset, count, err);
    if (status != TR_OK) {
        free(piece);
        return status;
    }
    tr_message_add_tensor(reply, "piece", TR_U8, 1, &count, piece, tr_message_free, NULL);
    return TR_OK;
}

/// Every request that can be read gets an answer, so that the reader does not wait for its silence
/// to pass.
static void answer(const tr_weights_server_t *server, const tr_peer_t *peer,
                   const tr_message_t *request)
{
    tr_error_t err = {0};
    tr_message_t *reply = tr_message_about("reply", tr_message_id(request));
    tr_status status = give(server, request, reply, &err);
    if (status != TR_OK) {
        tr_message_destroy(&reply);
        reply = tr_message_about("error", tr_message_id(request));
        tr_message_set_error(reply, tr_status_name(status), err.text);
    }
    // The version goes back as it came: a reader drops answers that belong to an earlier transfer.
    json_t *version = json_object_get(tr_message_body(request), "version");
    json_object_set(tr_message_body(reply), "version", version);
    if (tr_message_send(server->socket, peer, reply, &err) != TR_OK) { // the reader asks again
        tr_log(TR_LOG_DEBUG, "weights", "\"%s\"", err.text);
    }
    tr_message_destroy(&reply);
}

/// A limited number, so that a reader that asks without end does not keep the thread from ending.
static void answer_some(const tr_weights_server_t *server)
{
    for (int i = 0; i < REQUESTS_A_TURN; i++) {
        tr_peer_t peer = {0};
        tr_message_t *request;
        tr_error_t err = {0};
        tr_status status = tr_message_receive(&request, &peer, server->socket, &err);
        if (status == TR_OK) {
            answer(server, &peer, request);
            tr_message_destroy(&request);
            // Its frames were skipped; the next message is a good one again.
        } else if (status == TR_ERR_PROTOCOL) {
            tr_log(TR_LOG_DEBUG, "weights", "\"malformed request: %s\"", err.text);
        } else {
            return;
        }
    }
}

/// The thread, until something is written to its pipe (zactor_destroy does).
static void serve(zsock_t *pipe, void *context)
{
    const tr_weights_server_t *server = context;
    zmq_pollitem_t items[] = {
        {.socket = zsock_resolve(pipe), .events = ZMQ_POLLIN},
        {.socket = zsock_resolve(server->socket), .events = ZMQ_POLLIN},
    };
    // zactor_new returns on this signal.
    zsock_signal(pipe, 0);
    while (items[0].revents == 0) {
        // Without a timeout: nothing is due by time here.
        if (zmq_poll(items, 2, -1) < 0 && zmq_errno() != EINTR) {
            return;
        }
        answer_some(server);
    }
}

/// Binds here and not on the thread, so that an address in use is an error of the caller.
tr_status tr_weights_server_new(tr_weights_server_t **server,
                                const tr_weights_publisher_t *publisher, const char *endpoint,
                                const char *keys, tr_error_t *err)
{
    tr_weights_server_t *s = tr_calloc(1, sizeof *s);
    *server = NULL;
    s->publisher = publisher;
    tr_status status = tr_endpoint_bind(&s->socket, &s->auth, endpoint, keys, err);
    if (status != TR_OK) {
        free(s);
        return status;
    }
    // The port is in the address as it was bound, also where the system chose it.
    const char *bound = zsock_endpoint(s->socket);
    s->port = strtoll(strrchr(bound, ':') + 1, NULL, 10);
    // Returns when the thread has signalled that it runs. From then on the socket is the thread's.
    s->thread = zactor_new(serve, s);
    TR_ASSERT(s->thread != NULL, "no thread for the weights");
    tr_log(TR_LOG_INFO, "weights", "endpoint=%s \"served to other machines\"", bound);
    *server = s;
    return TR_OK;
}

/// Requests that are still queued stay unanswered.
void tr_weights_server_destroy(tr_weights_server_t **server)
{
    tr_weights_server_t *s = *server;
    if (s == NULL) {
        return;
    }
    // The thread first: it uses the socket.
    zactor_destroy(&s->thread);
    zsock_destroy(&s->socket);
    zactor_destroy(&s->auth);
    free(s);
    *server = NULL;
}

/// The host is left out: a reader knows by which name it reaches this machine, and we do not.
void tr_weights_server_describe(json_t *description, const tr_weights_server_t *server)
{
    json_object_set_new(description, "port", json_integer(server->port));
}
