/// The broker's rules as a pure state machine: messages and the time go in, messages and events
/// come out. PROTOCOL.md is the contract; this is the controller's half of it.
///
/// There are no sockets and no clock here, so that tests can lose, repeat and delay messages by
/// hand. broker.c runs it on a ROUTER. The loop around it: receive or tick, then take every message
/// to send and every event.
///
/// dispatch.c reads messages and time, dispatch_register.c registrations; dispatch_assign.c decides
/// which worker gets a request; dispatch_state.c stores all of it; dispatch_status.c prints it.
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

/// A request's id is below 2^53, so that it is exact as a double too: the session's 24 bits above
/// 29 that count the requests, 100 a second for two months.
enum { TR_REQUEST_BITS = 29, TR_SESSION_MAX = (1 << 24) - 1 };

typedef struct tr_dispatch_options {
    /// 1..TR_SESSION_MAX, another for each start of a controller: the upper bits of request ids.
    int64_t session;
    int64_t heartbeat_ms; ///< how often workers send a heartbeat; default 1000
    /// A worker that was not heard for so long is lost; default 10000. A worker may ask for more.
    int64_t silence_ms;
    /// An unacknowledged request is sent again after this, then after twice as long; default 1000.
    int64_t resend_ms;
    /// The same for a request that was acknowledged and not answered; default 15000.
    int64_t unanswered_ms;
    size_t attempts; ///< workers that may be lost over one request before it fails; default 3
    /// Of the workers that this run started, in the roles that it has once (actor, critic,
    /// reference); NULL: anyone may take these under the role's name.
    const char *token;
    const char *stop_token; ///< expected in a `stop` message; NULL: no message ends the run
} tr_dispatch_options_t;

/// Defaults. The session is made from the time and the process number.
void tr_dispatch_options_init(tr_dispatch_options_t *options);

typedef enum tr_event_type {
    TR_EVENT_JOINED, ///< a worker registered; its earlier process, if any, was LOST before
    TR_EVENT_LOST,   ///< a worker left, was silent, or was replaced by a new process; see text
    TR_EVENT_REPLY,  ///< message holds body and tensors
    TR_EVENT_ERROR,  ///< the request failed: status and text, which names the worker and the method
    TR_EVENT_STOP    ///< a `stop` message with the right token came
} tr_event_type_t;

typedef struct tr_event {
    tr_event_type_t type;
    tr_role_t role;
    char *worker; ///< name; "" for STOP and for an ERROR of a request that no worker had
    char *group;
    int64_t id;            ///< of the request; 0 for JOINED, LOST, STOP
    tr_message_t *message; ///< REPLY: the reply; JOINED: the registration (capabilities); else NULL
    tr_status status;      ///< ERROR: what kind of failure; LOST: TR_ERR_TIMEOUT if it hangs
    char *text;            ///< ERROR, LOST: one sentence
} tr_event_t;

void tr_event_release(tr_event_t *event);

tr_dispatch_t *tr_dispatch_new(const tr_dispatch_options_t *options);
void tr_dispatch_destroy(tr_dispatch_t **dispatch);

// Inputs. now: milliseconds on any clock that never goes back.

/// As tr_broker_submit. A message that cannot be packed becomes an ERROR event at once.
int64_t tr_dispatch_submit(tr_dispatch_t *dispatch, int64_t now, tr_role_t role, const char *group,
                           const char *worker, const char *method, tr_message_t **message);
/// The caller limits the time of this request, by cancelling it: until then the worker that has it
/// owes no sign of life, and it is not sent again, as long as the worker's connection is open.
void tr_dispatch_be_patient(tr_dispatch_t *dispatch, int64_t id);
void tr_dispatch_cancel(tr_dispatch_t *dispatch, int64_t now, int64_t id);

/// Takes *message.
void tr_dispatch_receive(tr_dispatch_t *dispatch, int64_t now, const tr_peer_t *peer,
                         tr_message_t **message);

/// A malformed message came from peer: it is counted, and answered with an error.
void tr_dispatch_garbage(tr_dispatch_t *dispatch, int64_t now, const tr_peer_t *peer,
                         const char *text);

/// A message could not be sent to peer: its connection is closed.
void tr_dispatch_unreachable(tr_dispatch_t *dispatch, const tr_peer_t *peer);

/// Declares silent workers lost and sends again what is due.
void tr_dispatch_tick(tr_dispatch_t *dispatch, int64_t now);

/// Queues a `bye` to every worker.
void tr_dispatch_dismiss(tr_dispatch_t *dispatch);

// Outputs.

/// The next message to send; false when there is none. *message: owned by the caller.
bool tr_dispatch_next_send(tr_peer_t *peer, tr_message_t **message, tr_dispatch_t *dispatch);
/// The next event; false when there is none.
bool tr_dispatch_next_event(tr_event_t *event, tr_dispatch_t *dispatch);
/// When tick must be called at the latest, on the clock of `now`. INT64_MAX: nothing is due.
int64_t tr_dispatch_deadline(const tr_dispatch_t *dispatch);

// State.

/// The `config` of later welcomes of this role, an object. Takes the reference.
void tr_dispatch_set_config(tr_dispatch_t *dispatch, tr_role_t role, json_t *config);
/// A map for the key "run" of status messages (step, phase, ...). Takes the reference.
void tr_dispatch_set_note(tr_dispatch_t *dispatch, json_t *note);
/// How many workers of role (and group, unless NULL) are registered.
size_t tr_dispatch_workers(const tr_dispatch_t *dispatch, tr_role_t role, const char *group);
/// The name of the worker that has the request; NULL: nobody has it. Valid until the next input.
const char *tr_dispatch_holder(const tr_dispatch_t *dispatch, int64_t id);
/// Whether a request waits behind others: no worker has it, and some that are registered could.
bool tr_dispatch_queued(const tr_dispatch_t *dispatch, int64_t id);

/// The body of a status message, as PROTOCOL.md shows it: session, run (the note), workers with
/// their outstanding requests, queues, counters. A new reference.
json_t *tr_dispatch_status(const tr_dispatch_t *dispatch, int64_t now);

#endif
