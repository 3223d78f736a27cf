// The state of the rules and its bookkeeping: workers, requests, the two queues, life cycle.
//
// No rule is here, so that the files with rules (dispatch.c and those that it names) read without
// memory management. Lists are the C library's (sys/queue.h) and are searched from the front: a run
// has tens of workers and hundreds of requests, and order of arrival is what the rules ask for.
#include "proto/dispatch_state.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void tr_dispatch_options_init(tr_dispatch_options_t *options)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    // Another number than those of the run's earlier controllers: time, nanoseconds and process
    // number, spread over all bits by multiplications.
    uint64_t mixed =
        ((uint64_t)now.tv_sec * 1000000007u) ^ (uint64_t)now.tv_nsec ^ ((uint64_t)getpid() << 15);
    *options = (tr_dispatch_options_t){
        .session = (int64_t)((mixed * 0x9e3779b97f4a7c15u) >> 40) % TR_SESSION_MAX + 1,
        .heartbeat_ms = 1000,
        .silence_ms = 10000,
        .resend_ms = 1000,
        .unanswered_ms = 15000,
        .attempts = 3,
    };
}

/// Leaves an empty event, so that releasing it twice does no harm. A caller that keeps the message
/// sets it to NULL first.
void tr_event_release(tr_event_t *event)
{
    free(event->worker);
    free(event->group);
    free(event->text);
    tr_message_destroy(&event->message);
    *event = (tr_event_t){0};
}

// Workers

/// The worker with this connection, or NULL: a peer that is not registered.
dispatch_worker_t *dispatch_worker_of_peer(const tr_dispatch_t *d, const tr_peer_t *peer)
{
    for (dispatch_worker_t *worker = TAILQ_FIRST(&d->workers); worker != NULL;
         worker = TAILQ_NEXT(worker, link)) {
        if (worker->peer.size == peer->size &&
            memcmp(worker->peer.bytes, peer->bytes, peer->size) == 0) {
            return worker;
        }
    }
    return NULL;
}

/// NULL: nobody has registered under this name, or it was lost. Names are unique: a second process
/// takes the first one's place.
dispatch_worker_t *dispatch_worker_named(const tr_dispatch_t *d, const char *name)
{
    for (dispatch_worker_t *worker = TAILQ_FIRST(&d->workers); worker != NULL;
         worker = TAILQ_NEXT(worker, link)) {
        if (strcmp(worker->name, name) == 0) {
            return worker;
        }
    }
    return NULL;
}

void dispatch_worker_heard(dispatch_worker_t *worker, int64_t now)
{
    worker->heard = now;
    worker->closed = false;
    worker->overdue = false;
}

/// Its requests must have gone to others, or ended: they would point at freed memory.
void dispatch_worker_remove(tr_dispatch_t *d, dispatch_worker_t *worker)
{
    TAILQ_REMOVE(&d->workers, worker, link);
    // Kept beside the list for the limit on registrations.
    d->worker_count--;
    free(worker->name);
    free(worker->group);
    free(worker->instance);
    free(worker);
}

/// Counted on demand: it is asked for a sentence or a test, never in the loop of messages.
size_t tr_dispatch_workers(const tr_dispatch_t *d, tr_role_t role, const char *group)
{
    size_t found = 0;
    for (const dispatch_worker_t *worker = TAILQ_FIRST(&d->workers); worker != NULL;
         worker = TAILQ_NEXT(worker, link)) {
        found += worker->role == role && (group == NULL || strcmp(worker->group, group) == 0);
    }
    return found;
}

// Requests

/// NULL: answered, cancelled or never submitted.
dispatch_request_t *dispatch_request_of(const tr_dispatch_t *d, int64_t id)
{
    for (dispatch_request_t *request = TAILQ_FIRST(&d->requests); request != NULL;
         request = TAILQ_NEXT(request, link)) {
        if (request->id == id) {
            return request;
        }
    }
    return NULL;
}

/// The only place that changes `outstanding`, so it always is the number of requests with this
/// worker. Another worker has to acknowledge the request anew.
void dispatch_request_assign(dispatch_request_t *request, dispatch_worker_t *worker)
{
    if (request->worker != NULL) {
        request->worker->outstanding--;
    }
    if (worker != NULL) {
        worker->outstanding++;
    }
    request->worker = worker;
    request->acknowledged = false;
}

/// Answered, failed or cancelled. What was sent of it may still be on the way: its tensors are
/// freed when ZeroMQ is done with them too.
void dispatch_request_remove(tr_dispatch_t *d, dispatch_request_t *request)
{
    // Gives the credit back.
    dispatch_request_assign(request, NULL);
    TAILQ_REMOVE(&d->requests, request, link);
    tr_message_destroy(&request->message);
    free(request->group);
    free(request->wanted);
    free(request);
}

// The two queues

/// peer is copied: the worker may be gone when the message is sent.
void dispatch_post(tr_dispatch_t *d, const tr_peer_t *peer, tr_message_t *message)
{
    dispatch_send_t *send = tr_alloc(sizeof *send);
    *send = (dispatch_send_t){.peer = *peer, .message = message};
    // Sent by the broker after the rules have run, never from within them: they stay free of
    // sockets.
    STAILQ_INSERT_TAIL(&d->sends, send, link);
}

/// An error of the protocol, or about a request; it does not end the connection.
void dispatch_post_error(tr_dispatch_t *d, const tr_peer_t *peer, int64_t id, const char *code,
                         const char *text)
{
    tr_message_t *message = tr_message_about("error", id);
    tr_message_set_error(message, code, text);
    dispatch_post(d, peer, message);
}

/// The names are copied: the worker may be freed before the caller sees the event.
tr_event_t *dispatch_emit(tr_dispatch_t *d, tr_event_type_t type, tr_role_t role,
                          const dispatch_worker_t *worker)
{
    dispatch_event_t *queued = tr_alloc(sizeof *queued);
    *queued = (dispatch_event_t){.event = {
                                     .type = type,
                                     .role = role,
                                     .worker = tr_strdup(worker != NULL ? worker->name : ""),
                                     .group = tr_strdup(worker != NULL ? worker->group : ""),
                                 }};
    STAILQ_INSERT_TAIL(&d->events, queued, link);
    return &queued->event;
}

/// JOINED comes before the worker gets a request, LOST after the errors of its requests.
tr_event_t *dispatch_emit_worker(tr_dispatch_t *d, tr_event_type_t type,
                                 const dispatch_worker_t *worker, tr_message_t *message,
                                 const char *text)
{
    tr_event_t *event = dispatch_emit(d, type, worker->role, worker);
    event->message = message;
    event->text = text != NULL ? tr_format("%s worker '%s' %s", tr_role_name(worker->role),
                                           worker->name, text)
                               : NULL;
    return event;
}

/// Does not remove the request: the caller does, after it has read what it needs of it.
void dispatch_emit_error(tr_dispatch_t *d, const dispatch_request_t *request,
                         const dispatch_worker_t *worker, tr_status status, const char *text)
{
    tr_event_t *event = dispatch_emit(d, TR_EVENT_ERROR, request->role, worker);
    // Without a worker the sentence names the one that was asked for.
    const char *name = worker != NULL            ? worker->name
                       : request->wanted != NULL ? request->wanted
                                                 : "any";
    event->id = request->id;
    event->status = status;
    event->text = tr_format("%s worker '%s': %s: %s", tr_role_name(request->role), name,
                            tr_message_method(request->message), text);
    d->counters.errors++;
}

/// The names of the event are those of the worker that answered, which need not be the one that has
/// the request now.
void dispatch_emit_reply(tr_dispatch_t *d, const dispatch_request_t *request,
                         const dispatch_worker_t *worker, tr_message_t *message)
{
    tr_event_t *event = dispatch_emit(d, TR_EVENT_REPLY, request->role, worker);
    event->id = request->id;
    event->message = message;
    d->counters.replies++;
}

/// In the order of posting. Messages to one peer must not overtake each other: a welcome comes
/// before the first request.
bool tr_dispatch_next_send(tr_peer_t *peer, tr_message_t **message, tr_dispatch_t *d)
{
    dispatch_send_t *send = STAILQ_FIRST(&d->sends);
    if (send == NULL) {
        return false;
    }
    STAILQ_REMOVE_HEAD(&d->sends, link);
    *peer = send->peer;
    // Owned by the caller from now on.
    *message = send->message;
    free(send);
    return true;
}

/// In the order in which things happened.
bool tr_dispatch_next_event(tr_event_t *event, tr_dispatch_t *d)
{
    dispatch_event_t *queued = STAILQ_FIRST(&d->events);
    if (queued == NULL) {
        return false;
    }
    STAILQ_REMOVE_HEAD(&d->events, link);
    *event = queued->event;
    free(queued);
    return true;
}

// Life cycle

/// The session is a part of each request's id (dispatch.h).
tr_dispatch_t *tr_dispatch_new(const tr_dispatch_options_t *options)
{
    TR_ASSERT(options->session > 0 && options->session <= TR_SESSION_MAX, "session %lld",
              (long long)options->session);
    tr_dispatch_t *d = tr_calloc(1, sizeof *d);
    d->options = *options;
    // The options are borrowed for the call; the strings must live longer.
    d->stop_token = options->stop_token != NULL ? tr_strdup(options->stop_token) : NULL;
    d->token = options->token != NULL ? tr_strdup(options->token) : NULL;
    TAILQ_INIT(&d->workers);
    TAILQ_INIT(&d->requests);
    STAILQ_INIT(&d->sends);
    STAILQ_INIT(&d->events);
    return d;
}

/// Open requests end without an event: the caller is leaving.
void tr_dispatch_destroy(tr_dispatch_t **dispatch)
{
    tr_dispatch_t *d = *dispatch;
    tr_peer_t peer;
    tr_message_t *message;
    tr_event_t event;
    if (d == NULL) {
        return;
    }
    // Requests before workers: removing a request corrects the count of its worker.
    for (dispatch_request_t *r = TAILQ_FIRST(&d->requests), *next; r != NULL; r = next) {
        next = TAILQ_NEXT(r, link);
        dispatch_request_remove(d, r);
    }
    for (dispatch_worker_t *w = TAILQ_FIRST(&d->workers), *next; w != NULL; w = next) {
        next = TAILQ_NEXT(w, link);
        dispatch_worker_remove(d, w);
    }
    while (tr_dispatch_next_send(&peer, &message, d)) {
        tr_message_destroy(&message);
    }
    while (tr_dispatch_next_event(&event, d)) {
        tr_event_release(&event);
    }
    // A role without a config has NULL, which json_decref ignores.
    for (size_t i = 0; i < TR_ROLE_COUNT; i++) {
        json_decref(d->config[i]);
    }
    json_decref(d->note);
    free(d->stop_token);
    free(d->token);
    free(d);
    *dispatch = NULL;
}

/// Read when a welcome is made. Workers that are registered hear of it only if they register again.
void tr_dispatch_set_config(tr_dispatch_t *d, tr_role_t role, json_t *config)
{
    json_decref(d->config[role]);
    d->config[role] = config;
}

/// Shown by `troupe status` and read by nothing else.
void tr_dispatch_set_note(tr_dispatch_t *d, json_t *note)
{
    json_decref(d->note);
    d->note = note;
}
