/// The state of the broker's rules: workers, requests, and queues of messages and events that wait
/// to be taken. For dispatch*.c alone.
#ifndef TR_PROTO_DISPATCH_STATE_H
#define TR_PROTO_DISPATCH_STATE_H

#include <sys/queue.h>

#include "proto/dispatch.h"

typedef struct dispatch_worker {
    TAILQ_ENTRY(dispatch_worker) link;
    tr_peer_t peer;
    tr_role_t role;
    char *name;
    char *group;
    char *instance;     ///< tells processes of one name apart; "": it gave none
    int64_t silence_ms; ///< how long it may be silent
    int64_t heard;      ///< when its last message came
    int64_t excused;    ///< until when its silence is no sign of anything
    int64_t probed;     ///< when its connection was last tried
    bool overdue;       ///< since its last message a request of it was cancelled
    bool closed;        ///< since its last message one could not be sent to it
    size_t credit;      ///< requests that it takes at once
    size_t outstanding; ///< requests that it has
} dispatch_worker_t;

typedef struct dispatch_request {
    TAILQ_ENTRY(dispatch_request) link;
    int64_t id;
    tr_role_t role;
    char *group;  ///< NULL: any
    char *wanted; ///< name of the only worker that may answer; NULL: any
    tr_message_t *message;
    dispatch_worker_t *worker; ///< that has it; NULL while queued
    int64_t submitted;
    int64_t resend_at;
    int64_t pause; ///< between the last sending and the next; doubles
    bool acknowledged;
    bool patient;  ///< its worker may be silent: the caller limits its time
    size_t sent;   ///< times
    size_t losses; ///< workers lost while they had it
} dispatch_request_t;

typedef struct dispatch_send {
    STAILQ_ENTRY(dispatch_send) link;
    tr_peer_t peer;
    tr_message_t *message;
} dispatch_send_t;

typedef struct dispatch_event {
    STAILQ_ENTRY(dispatch_event) link;
    tr_event_t event;
} dispatch_event_t;

typedef struct dispatch_counters {
    int64_t replies, errors, resent, reassigned, late, garbage, refused, unregistered;
} dispatch_counters_t;

struct tr_dispatch {
    tr_dispatch_options_t options;
    char *token;
    char *stop_token;
    int64_t issued; ///< requests so far
    json_t *config[TR_ROLE_COUNT];
    json_t *note;
    TAILQ_HEAD(, dispatch_worker) workers;   ///< in order of arrival
    TAILQ_HEAD(, dispatch_request) requests; ///< in order of submission
    size_t worker_count;
    STAILQ_HEAD(, dispatch_send) sends;
    STAILQ_HEAD(, dispatch_event) events;
    dispatch_counters_t counters;
};

dispatch_worker_t *dispatch_worker_of_peer(const tr_dispatch_t *d, const tr_peer_t *peer);
dispatch_worker_t *dispatch_worker_named(const tr_dispatch_t *d, const char *name);
/// A message of it has come.
void dispatch_worker_heard(dispatch_worker_t *worker, int64_t now);
/// Takes it from the list and frees it.
void dispatch_worker_remove(tr_dispatch_t *d, dispatch_worker_t *worker);

dispatch_request_t *dispatch_request_of(const tr_dispatch_t *d, int64_t id);
void dispatch_request_remove(tr_dispatch_t *d, dispatch_request_t *request);
/// Gives the request to a worker, or to none (NULL), and keeps the workers' counts right.
void dispatch_request_assign(dispatch_request_t *request, dispatch_worker_t *worker);

/// Whether role, group and name allow this worker to answer the request.
bool dispatch_may_answer(const dispatch_worker_t *worker, const dispatch_request_t *request);
/// Sends the request to its worker; the next sending is due after its pause.
void dispatch_send_request(tr_dispatch_t *d, int64_t now, dispatch_request_t *request);
/// Gives queued requests, oldest first, to workers that have credit.
void dispatch_schedule(tr_dispatch_t *d, int64_t now);
/// The worker is gone, and is freed: its requests are queued again or become errors. why: follows
/// its name in a sentence; counts: it did not leave of its own accord. Returns the event, to be
/// filled.
tr_event_t *dispatch_lose(tr_dispatch_t *d, dispatch_worker_t *worker, const char *why,
                          bool counts);
/// A `register` message came from peer.
void dispatch_register(tr_dispatch_t *d, int64_t now, const tr_peer_t *peer, tr_message_t *message);

/// Queues a message for peer; takes message.
void dispatch_post(tr_dispatch_t *d, const tr_peer_t *peer, tr_message_t *message);
/// Queues an error message; id 0: none.
void dispatch_post_error(tr_dispatch_t *d, const tr_peer_t *peer, int64_t id, const char *code,
                         const char *text);

/// Queues an event, with copies of the worker's names (NULL: ""), and returns it to be filled.
tr_event_t *dispatch_emit(tr_dispatch_t *d, tr_event_type_t type, tr_role_t role,
                          const dispatch_worker_t *worker);
/// Queues an event about a worker; text may be NULL. Takes message. Returns the event.
tr_event_t *dispatch_emit_worker(tr_dispatch_t *d, tr_event_type_t type,
                                 const dispatch_worker_t *worker, tr_message_t *message,
                                 const char *text);
/// Queues the ERROR of a request, text prefixed with who and what; worker may be NULL.
void dispatch_emit_error(tr_dispatch_t *d, const dispatch_request_t *request,
                         const dispatch_worker_t *worker, tr_status status, const char *text);
/// Queues the REPLY of a request; takes message.
void dispatch_emit_reply(tr_dispatch_t *d, const dispatch_request_t *request,
                         const dispatch_worker_t *worker, tr_message_t *message);

#endif
