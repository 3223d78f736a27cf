// The state of the rules and its bookkeeping: lists, workers, requests, the two queues, life cycle.
//
// No rule is here, so that the files with rules (dispatch.c and those that it names) read without
// memory management. Lists are searched from the front: a run has tens of workers and hundreds of
// requests, and order of arrival is what the rules ask for.
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
        .session = (int64_t)((mixed * 0x9e3779b97f4a7c15u) >> 34) + 1,
        .heartbeat_ms = 1000,
        .silence_ms = 10000,
        .resend_ms = 1000,
        .unanswered_ms = 15000,
        .attempts = 3,
    };
}

void tr_event_release(tr_event_t *event)
{
    free(event->worker);
    free(event->group);
    free(event->text);
    tr_message_destroy(&event->message);
    *event = (tr_event_t){0};
}

// Lists

void dispatch_list_push(dispatch_list_t *list, const void *item)
{
    if (list->end == list->room) {
        // First the space of elements that were taken from the front is used again. The memory
        // grows only if half of it is in use, so that an element is moved a constant number of
        // times on average.
        size_t count = list->end - list->first;
        if (count > 0) { // an empty list has no items to point at
            memmove(list->items, (char *)list->items + list->first * list->size,
                    count * list->size);
        }
        list->first = 0;
        list->end = count;
        if (count * 2 >= list->room) {
            list->room = list->room * 2 + 16;
            list->items = tr_realloc(list->items, list->room * list->size);
        }
    }
    memcpy((char *)list->items + list->end++ * list->size, item, list->size);
}

/// The queues are emptied from the front. *item: the caller's.
static bool list_take(dispatch_list_t *list, void *item)
{
    if (list->first == list->end) {
        return false;
    }
    memcpy(item, (char *)list->items + list->first++ * list->size, list->size);
    return true;
}

size_t dispatch_list_count(const dispatch_list_t *list)
{
    return list->end - list->first;
}

static void *pointer_at(const dispatch_list_t *list, size_t index)
{
    return ((void **)list->items)[list->first + index];
}

/// The pointer is in the list. Order is kept: requests are served oldest first.
static void remove_pointer(dispatch_list_t *list, const void *pointer)
{
    void **items = list->items;
    size_t i = list->first;
    while (items[i] != pointer) {
        i++;
    }
    memmove(items + i, items + i + 1, (list->end - i - 1) * sizeof *items);
    list->end--;
}

// Workers

dispatch_worker_t *dispatch_worker_at(const tr_dispatch_t *d, size_t index)
{
    return pointer_at(&d->workers, index);
}

/// The worker with this connection, or NULL: a peer that is not registered.
dispatch_worker_t *dispatch_worker_of_peer(const tr_dispatch_t *d, const tr_peer_t *peer)
{
    for (size_t i = 0; i < dispatch_list_count(&d->workers); i++) {
        dispatch_worker_t *worker = dispatch_worker_at(d, i);
        if (worker->peer.size == peer->size &&
            memcmp(worker->peer.bytes, peer->bytes, peer->size) == 0) {
            return worker;
        }
    }
    return NULL;
}

dispatch_worker_t *dispatch_worker_named(const tr_dispatch_t *d, const char *name)
{
    for (size_t i = 0; i < dispatch_list_count(&d->workers); i++) {
        dispatch_worker_t *worker = dispatch_worker_at(d, i);
        if (strcmp(worker->name, name) == 0) {
            return worker;
        }
    }
    return NULL;
}

/// Its requests must have gone to others, or ended: they would point at freed memory.
void dispatch_worker_remove(tr_dispatch_t *d, dispatch_worker_t *worker)
{
    remove_pointer(&d->workers, worker);
    free(worker->name);
    free(worker->group);
    free(worker->instance);
    free(worker);
}

size_t tr_dispatch_workers(const tr_dispatch_t *d, tr_role_t role, const char *group)
{
    size_t found = 0;
    for (size_t i = 0; i < dispatch_list_count(&d->workers); i++) {
        const dispatch_worker_t *worker = dispatch_worker_at(d, i);
        found += worker->role == role && (group == NULL || strcmp(worker->group, group) == 0);
    }
    return found;
}

// Requests

dispatch_request_t *dispatch_request_at(const tr_dispatch_t *d, size_t index)
{
    return pointer_at(&d->requests, index);
}

/// NULL: answered, cancelled or never submitted.
dispatch_request_t *dispatch_request_of(const tr_dispatch_t *d, int64_t id)
{
    for (size_t i = 0; i < dispatch_list_count(&d->requests); i++) {
        dispatch_request_t *request = dispatch_request_at(d, i);
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

void dispatch_request_remove(tr_dispatch_t *d, dispatch_request_t *request)
{
    dispatch_request_assign(request, NULL);
    remove_pointer(&d->requests, request);
    tr_message_destroy(&request->message);
    free(request->group);
    free(request->wanted);
    free(request);
}

size_t tr_dispatch_pending(const tr_dispatch_t *d)
{
    return dispatch_list_count(&d->requests);
}

// The two queues

/// peer is copied: the worker may be gone when the message is sent.
void dispatch_post(tr_dispatch_t *d, const tr_peer_t *peer, tr_message_t *message)
{
    dispatch_send_t send = {.peer = *peer, .message = message};
    dispatch_list_push(&d->sends, &send);
}

void dispatch_post_error(tr_dispatch_t *d, const tr_peer_t *peer, int64_t id, const char *code,
                         const char *text)
{
    tr_message_t *message = tr_message_new("error");
    if (id > 0) {
        tr_message_set_id(message, id);
    }
    tr_message_set_error(message, code, text);
    dispatch_post(d, peer, message);
}

/// worker: NULL for an event without one.
static tr_event_t event_about(tr_event_type_t type, tr_role_t role, const dispatch_worker_t *worker)
{
    return (tr_event_t){.type = type,
                        .role = role,
                        .worker = tr_strdup(worker != NULL ? worker->name : ""),
                        .group = tr_strdup(worker != NULL ? worker->group : "")};
}

void dispatch_emit_worker(tr_dispatch_t *d, tr_event_type_t type, const dispatch_worker_t *worker,
                          tr_message_t *message, const char *text)
{
    // Strings are copied: the worker is freed before the caller sees the event, where it is LOST.
    tr_event_t event = event_about(type, worker->role, worker);
    event.message = message;
    event.text = text != NULL ? tr_format("%s worker '%s' %s", tr_role_name(worker->role),
                                          worker->name, text)
                              : NULL;
    dispatch_list_push(&d->events, &event);
}

void dispatch_emit_error(tr_dispatch_t *d, const dispatch_request_t *request,
                         const dispatch_worker_t *worker, tr_status status, const char *text)
{
    tr_event_t event = event_about(TR_EVENT_ERROR, request->role, worker);
    // Without a worker the sentence names the one that was asked for.
    const char *name = worker != NULL            ? worker->name
                       : request->wanted != NULL ? request->wanted
                                                 : "any";
    event.id = request->id;
    event.status = status;
    event.text = tr_format("%s worker '%s': %s: %s", tr_role_name(request->role), name,
                           tr_message_method(request->message), text);
    d->counters.errors++;
    dispatch_list_push(&d->events, &event);
}

void dispatch_emit_reply(tr_dispatch_t *d, const dispatch_request_t *request,
                         const dispatch_worker_t *worker, tr_message_t *message)
{
    tr_event_t event = event_about(TR_EVENT_REPLY, request->role, worker);
    event.id = request->id;
    event.message = message;
    d->counters.replies++;
    dispatch_list_push(&d->events, &event);
}

bool tr_dispatch_next_send(tr_peer_t *peer, tr_message_t **message, tr_dispatch_t *d)
{
    dispatch_send_t send;
    if (!list_take(&d->sends, &send)) {
        return false;
    }
    *peer = send.peer;
    *message = send.message;
    return true;
}

bool tr_dispatch_next_event(tr_event_t *event, tr_dispatch_t *d)
{
    return list_take(&d->events, event);
}

// Life cycle

tr_dispatch_t *tr_dispatch_new(const tr_dispatch_options_t *options)
{
    TR_ASSERT(options->session > 0 && options->session <= INT32_MAX, "session %lld",
              (long long)options->session);
    tr_dispatch_t *d = tr_calloc(1, sizeof *d);
    d->options = *options;
    // The options are borrowed for the call; the string must live longer.
    d->stop_token = options->stop_token != NULL ? tr_strdup(options->stop_token) : NULL;
    d->workers.size = sizeof(dispatch_worker_t *);
    d->requests.size = sizeof(dispatch_request_t *);
    d->sends.size = sizeof(dispatch_send_t);
    d->events.size = sizeof(tr_event_t);
    return d;
}

void tr_dispatch_destroy(tr_dispatch_t **dispatch)
{
    tr_dispatch_t *d = *dispatch;
    dispatch_send_t send;
    tr_event_t event;
    if (d == NULL) {
        return;
    }
    // Requests before workers: removing a request corrects the count of its worker.
    while (dispatch_list_count(&d->requests) > 0) {
        dispatch_request_remove(d, dispatch_request_at(d, 0));
    }
    while (dispatch_list_count(&d->workers) > 0) {
        dispatch_worker_remove(d, dispatch_worker_at(d, 0));
    }
    while (list_take(&d->sends, &send)) {
        tr_message_destroy(&send.message);
    }
    while (list_take(&d->events, &event)) {
        tr_event_release(&event);
    }
    // A role without a config has NULL, which json_decref ignores.
    for (size_t i = 0; i < TR_ROLE_COUNT; i++) {
        json_decref(d->config[i]);
    }
    json_decref(d->note);
    free(d->workers.items);
    free(d->requests.items);
    free(d->sends.items);
    free(d->events.items);
    free(d->stop_token);
    free(d);
    *dispatch = NULL;
}

void tr_dispatch_set_config(tr_dispatch_t *d, tr_role_t role, json_t *config)
{
    json_decref(d->config[role]);
    d->config[role] = config;
}

void tr_dispatch_set_note(tr_dispatch_t *d, json_t *note)
{
    json_decref(d->note);
    d->note = note;
}
