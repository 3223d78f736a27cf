// The rules of dispatch.h on a ROUTER socket: receives, lets time pass, sends, and waits.
//
// All decisions are in dispatch; this file has the socket, the clock and the log. The second half
// is the client behind `troupe status`, which asks a broker of another process.
#include "proto/broker.h"

#include <czmq.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "proto/endpoint.h"

/// Messages that are read before the timers are looked at again.
enum { RECEIVES_A_TURN = 256 };

/// One thread uses it: neither the socket nor the rules have a lock.
struct tr_broker {
    zsock_t *socket;
    zactor_t *auth; ///< checks the keys of peers; NULL: there are none
    tr_dispatch_t *dispatch;
    uint64_t malformed; ///< messages so far
};

/// Binds first: without an address there is nothing that a worker could be told.
tr_status tr_broker_new(tr_broker_t **broker, const char *endpoint, const char *keys,
                        const tr_dispatch_options_t *options, tr_error_t *err)
{
    tr_broker_t *b = tr_calloc(1, sizeof *b);
    *broker = NULL;
    tr_status status = tr_endpoint_bind(&b->socket, &b->auth, endpoint, keys, err);
    // The socket was closed by the bind that failed.
    if (status != TR_OK) {
        free(b);
        return status;
    }
    b->dispatch = tr_dispatch_new(options);
    *broker = b;
    return TR_OK;
}

/// Sends what waits. A message that cannot be sent is lost here, as it may be on the way: dispatch
/// sends it again. A full queue is no closed connection: its peer computes.
static void flush(tr_broker_t *broker)
{
    tr_peer_t peer;
    tr_message_t *message;
    while (tr_dispatch_next_send(&peer, &message, broker->dispatch)) {
        tr_error_t err = {0};
        tr_status status = tr_message_send(broker->socket, &peer, message, &err);
        if (status == TR_ERR_PEER) {
            tr_dispatch_unreachable(broker->dispatch, &peer);
        }
        if (status != TR_OK) {
            tr_log(TR_LOG_DEBUG, "broker", "type=%s \"%s\"", tr_message_type(message), err.text);
        }
        tr_message_destroy(&message);
    }
}

/// Workers are told in order to end at once; one that misses its bye ends by its own patience.
void tr_broker_destroy(tr_broker_t **broker)
{
    tr_broker_t *b = *broker;
    if (b == NULL) {
        return;
    }
    // The socket lingers for a moment when it is closed (tr_wire_init), so that the byes go out.
    tr_dispatch_dismiss(b->dispatch);
    flush(b);
    tr_dispatch_destroy(&b->dispatch);
    char *endpoint = tr_strdup(tr_broker_endpoint(b));
    zsock_destroy(&b->socket);
    zactor_destroy(&b->auth);
    tr_endpoint_forget(endpoint);
    free(endpoint);
    free(b);
    *broker = NULL;
}

const char *tr_broker_endpoint(const tr_broker_t *broker)
{
    // For an address with `:*` the one that the system chose.
    return zsock_endpoint(broker->socket);
}

/// Calls that send nothing go there directly. Those that may queue a message have a function here,
/// which sends it at once.
tr_dispatch_t *tr_broker_dispatch(const tr_broker_t *broker)
{
    return broker->dispatch;
}

int64_t tr_broker_submit(tr_broker_t *broker, tr_role_t role, const char *group, const char *worker,
                         const char *method, tr_message_t **message)
{
    int64_t id =
        tr_dispatch_submit(broker->dispatch, tr_clock_ms(), role, group, worker, method, message);
    flush(broker);
    return id;
}

/// The free credit may have sent another request.
void tr_broker_cancel(tr_broker_t *broker, int64_t id)
{
    tr_dispatch_cancel(broker->dispatch, tr_clock_ms(), id);
    flush(broker);
}

/// Logs the first, the second, the fourth ... only: a peer must not be able to fill a disk.
static void log_malformed(tr_broker_t *broker, const char *text)
{
    uint64_t count = ++broker->malformed;
    if ((count & (count - 1)) == 0) {
        tr_log(TR_LOG_WARN, "broker", "count=%llu \"malformed message: %s\"",
               (unsigned long long)count, text);
    }
}

/// Reads what has arrived, at most RECEIVES_A_TURN messages, so that a flood cannot hold up the
/// timers. A malformed message is counted and answered, if only its sender is known.
static void drain(tr_broker_t *broker)
{
    for (int i = 0; i < RECEIVES_A_TURN; i++) {
        tr_peer_t peer = {0};
        tr_message_t *message;
        tr_error_t err = {0};
        tr_status status = tr_message_receive(&message, &peer, broker->socket, &err);
        if (status == TR_OK) {
            // The time is asked anew for each message: a large one may have taken a while to read.
            tr_dispatch_receive(broker->dispatch, tr_clock_ms(), &peer, &message);
        } else if (status == TR_ERR_PROTOCOL && peer.size > 0) {
            log_malformed(broker, err.text);
            tr_dispatch_garbage(broker->dispatch, tr_clock_ms(), &peer, err.text);
        } else {
            return;
        }
        flush(broker);
    }
}

/// Milliseconds to wait: until the caller's end or the rules' next deadline, whichever is sooner.
static long wait_ms(const tr_broker_t *broker, int64_t end)
{
    int64_t now = tr_clock_ms();
    // INT64_MAX when nothing is due: then the caller's end decides.
    int64_t deadline = tr_dispatch_deadline(broker->dispatch);
    int64_t until = deadline < end ? deadline : end;
    return until > now ? (long)(until - now) : 0;
}

/// The controller calls this in a loop and computes little in between, so that heartbeats are
/// answered in time.
tr_status tr_broker_poll(tr_event_t *event, tr_broker_t *broker, int timeout_ms, tr_error_t *err)
{
    // Returns at the first event. The caller polls again for the next one.
    int64_t end = tr_clock_ms() + timeout_ms;
    for (;;) {
        // First the messages, then the timers: a caller that did not poll for long finds in the
        // socket what proves that the workers live, and must not declare them lost before.
        drain(broker);
        tr_dispatch_tick(broker->dispatch, tr_clock_ms());
        flush(broker);
        if (tr_dispatch_next_event(event, broker->dispatch)) {
            return TR_OK;
        }
        if (tr_clock_ms() >= end) {
            return TR_ERR_TIMEOUT;
        }
        zmq_pollitem_t item = {.socket = zsock_resolve(broker->socket), .events = ZMQ_POLLIN};
        if (zmq_poll(&item, 1, wait_ms(broker, end)) < 0) {
            // A signal, such as one that ends the run: the caller looks at once.
            return errno == EINTR ? TR_ERR_TIMEOUT
                                  : tr_fail(err, TR_ERR_IO, "waiting for messages: %s",
                                            zmq_strerror(zmq_errno()));
        }
    }
}

// The client of `troupe status`

/// Waits until the socket is ready for events (ZMQ_POLLIN, ZMQ_POLLOUT), at most until end.
static tr_status wait_for(zsock_t *socket, short events, int64_t end, const char *endpoint,
                          tr_error_t *err)
{
    zmq_pollitem_t item = {.socket = zsock_resolve(socket), .events = events};
    while ((item.revents & events) == 0) {
        int64_t left = end - tr_clock_ms();
        if (left <= 0) {
            return tr_fail(err, TR_ERR_TIMEOUT, "no controller answered at '%s'", endpoint);
        }
        if (zmq_poll(&item, 1, (long)left) < 0 && errno != EINTR) {
            return tr_fail(err, TR_ERR_IO, "waiting for messages: %s", zmq_strerror(zmq_errno()));
        }
    }
    return TR_OK;
}

/// *status: the body of the answer, a new reference; an error message becomes our error. The socket
/// connects in its own time, so even sending may have to wait.
static tr_status ask(json_t **status, zsock_t *socket, const char *endpoint, int64_t end,
                     tr_error_t *err)
{
    tr_message_t *question = tr_message_new("status"), *answer;
    tr_status result = wait_for(socket, ZMQ_POLLOUT, end, endpoint, err);
    if (result == TR_OK) {
        result = tr_message_send(socket, NULL, question, err);
    }
    tr_message_destroy(&question);
    TR_TRY(result);
    // An answer that is lost is not asked for again: the user may repeat the command.
    TR_TRY(wait_for(socket, ZMQ_POLLIN, end, endpoint, err));
    TR_TRY(tr_message_receive(&answer, NULL, socket, err));
    const char *text = json_string_value(json_object_get(tr_message_body(answer), "text"));
    // A controller of another version may not know the question, and says so.
    if (strcmp(tr_message_type(answer), "status") != 0) {
        result = tr_fail(err, TR_ERR_PEER, "the controller answered: %s",
                         text != NULL ? text : tr_message_type(answer));
    } else {
        *status = json_incref(tr_message_body(answer));
    }
    tr_message_destroy(&answer);
    return result;
}

/// A question and an answer over a connection of its own; the broker does not register the asker.
/// One deadline covers connecting, asking and waiting.
tr_status tr_broker_ask_status(json_t **status, const char *endpoint, const char *keys,
                               int timeout_ms, tr_error_t *err)
{
    zsock_t *socket;
    int64_t end = tr_clock_ms() + timeout_ms;
    *status = NULL;
    TR_TRY(tr_endpoint_connect(&socket, endpoint, keys, NULL, err));
    tr_status result = ask(status, socket, endpoint, end, err);
    zsock_set_linger(socket, 0); // a question that nobody answered is not kept for later
    zsock_destroy(&socket);
    return result;
}
