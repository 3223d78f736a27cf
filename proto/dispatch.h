/// The broker's rules as a pure state machine: messages and the time go in, messages and events come out.
///
/// No sockets, no clock: tests lose, repeat and delay messages by hand. broker.c puts it on a ROUTER.
/// The loop around it: receive or tick, then take every send and every event.
#ifndef TR_PROTO_DISPATCH_H
#define TR_PROTO_DISPATCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "proto/message.h"
#include "proto/role.h"

typedef struct tr_dispatch tr_dispatch_t;

typedef struct tr_dispatch_options {
    int64_t
        session; ///< 1..2^31-1, another for each start of a controller: the upper half of request ids
    int64_t heartbeat_ms; ///< how often workers say that they live; default 1000
    int64_t
        silence_ms; ///< a worker not heard for so long is lost; default 10000; a worker may ask for more
    int64_t
        resend_ms; ///< an unacknowledged request is sent again after this; doubles; default 1000
    int64_t
        unanswered_ms; ///< an acknowledged, unanswered request is sent again after this; doubles; default 15000
    size_t attempts; ///< workers that may be lost over one request before it is an error; default 3
    const char *stop_token; ///< what `stop` must carry; NULL: nobody may stop the run by message
} tr_dispatch_options_t;

/// Defaults; the session is made from the time and the process number.
void tr_dispatch_options_init(tr_dispatch_options_t *options);

typedef enum tr_event_type {
    TR_EVENT_JOINED, ///< a worker registered; its earlier process, if any, was LOST before
    TR_EVENT_LOST, ///< a worker left, fell silent, or was replaced by a new process; text says which
    TR_EVENT_REPLY, ///< message holds body and tensors
    TR_EVENT_ERROR, ///< the request failed: status and text, which names the worker and the method
    TR_EVENT_STOP   ///< the supervisor asks the run to end
} tr_event_type_t;

typedef struct tr_event {
    tr_event_type_t type;
    tr_role_t role;
    char *worker; ///< its name; "" for an error without a worker and for STOP
    char *group;
    int64_t id;            ///< of the request; 0 for JOINED, LOST, STOP
    tr_message_t *message; ///< REPLY: the reply; JOINED: the registration (capabilities); else NULL
    tr_status status;      ///< ERROR: what kind of failure
    char *text;            ///< ERROR, LOST: one sentence
} tr_event_t;

void tr_event_release(tr_event_t *event);

tr_dispatch_t *tr_dispatch_new(const tr_dispatch_options_t *options);
void tr_dispatch_destroy(tr_dispatch_t **dispatch);

// Inputs. now: milliseconds on any clock that never goes back.

/// As tr_broker_submit. A message that cannot be packed is an ERROR event at once.
int64_t tr_dispatch_submit(tr_dispatch_t *dispatch, int64_t now, tr_role_t role, const char *group,
                           const char *worker, const char *method, tr_message_t **message);
void tr_dispatch_cancel(tr_dispatch_t *dispatch, int64_t now, int64_t id);

/// Takes *message.
void tr_dispatch_receive(tr_dispatch_t *dispatch, int64_t now, const tr_peer_t *peer,
                         tr_message_t **message);

/// A malformed message came from peer: counted, and answered with an error.
void tr_dispatch_garbage(tr_dispatch_t *dispatch, int64_t now, const tr_peer_t *peer,
                         const char *text);

/// Lets time pass: resends, losses.
void tr_dispatch_tick(tr_dispatch_t *dispatch, int64_t now);

/// `bye` to every worker.
void tr_dispatch_dismiss(tr_dispatch_t *dispatch);

// Outputs.

/// The next message to send; false when there is none. *message: owned by the caller.
bool tr_dispatch_next_send(tr_peer_t *peer, tr_message_t **message, tr_dispatch_t *dispatch);
/// The next event; false when there is none.
bool tr_dispatch_next_event(tr_event_t *event, tr_dispatch_t *dispatch);
/// When tick must be called at the latest, on the clock of `now`.
int64_t tr_dispatch_deadline(const tr_dispatch_t *dispatch);

// State.

void tr_dispatch_set_config(tr_dispatch_t *dispatch, tr_role_t role, json_t *config);
void tr_dispatch_set_note(tr_dispatch_t *dispatch, json_t *note);
size_t tr_dispatch_workers(const tr_dispatch_t *dispatch, tr_role_t role, const char *group);
size_t tr_dispatch_pending(const tr_dispatch_t *dispatch);
/// As tr_broker_queued.
bool tr_dispatch_queued(const tr_dispatch_t *dispatch, int64_t id);

/// {"session", "run", "workers": [{"name", "role", "group", "state": "idle" | "busy", "silent_ms", "credit",
/// "outstanding": [{"id", "method", "age_ms", "acknowledged", "sent"}]}], "queues": [{"role", "group", "worker", "depth",
/// "oldest_ms"}], "counters": {...}}; a new reference.
json_t *tr_dispatch_status(const tr_dispatch_t *dispatch, int64_t now);

#endif
