/// The controller's side of the wire: workers come and go, requests are answered.
///
/// The controller submits requests to a role. The broker queues them until a worker of that role
/// has credit, sends, resends and reassigns them, and returns exactly one REPLY or ERROR for each,
/// in any order: callers place results by id.
///
/// A request without a named worker survives the loss of workers: it goes to another of its role
/// and group, or waits for one. After `attempts` losses it ends with an ERROR, for it may be what
/// kills them. A request for a named worker ends with that worker's process, with the status
/// TR_ERR_PEER, since the state that it relied on (weights, optimizer) is gone.
///
/// One thread. The rules are in dispatch.h, without sockets or clock; this is dispatch on a ROUTER.
#ifndef TR_PROTO_BROKER_H
#define TR_PROTO_BROKER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "proto/dispatch.h"
#include "proto/message.h"
#include "proto/role.h"

typedef struct tr_broker tr_broker_t;

/// Binds endpoint; keys as in tr_endpoint_bind. options: see dispatch.h, borrowed for the call.
tr_status tr_broker_new(tr_broker_t **broker, const char *endpoint, const char *keys,
                        const tr_dispatch_options_t *options, tr_error_t *err);

/// Sends `bye` to every worker and closes. Queued requests are dropped.
void tr_broker_destroy(tr_broker_t **broker);

/// The address bound, with the real port when ":*" was asked for.
const char *tr_broker_endpoint(const tr_broker_t *broker);

/// The rules, borrowed: what is set and asked there needs no socket (configs, the note, workers,
/// the status).
tr_dispatch_t *tr_broker_dispatch(const tr_broker_t *broker);

/// Queues a request and returns its id (> 0), unique over the sessions of a run. group NULL: any of
/// the role. worker NULL: any worker. Takes *message (type "request", no id yet): body and tensors
/// as the caller filled them.
int64_t tr_broker_submit(tr_broker_t *broker, tr_role_t role, const char *group, const char *worker,
                         const char *method, tr_message_t **message);

/// Forgets a request: its reply will be dropped. Does nothing when it is answered already.
void tr_broker_cancel(tr_broker_t *broker, int64_t id);

/// Serves the network for at most timeout_ms (0: only what has arrived) or until there is an event.
/// Returns TR_OK and *event, to be released by tr_event_release, or TR_ERR_TIMEOUT when nothing
/// happened or a signal came (err is untouched). Must be called at least every heartbeat, or
/// workers believe that the controller is gone.
tr_status tr_broker_poll(tr_event_t *event, tr_broker_t *broker, int timeout_ms, tr_error_t *err);

/// A client, in another process than the broker: asks for its status, as `troupe status` does.
/// *status: a new reference. Waits at most timeout_ms.
tr_status tr_broker_ask_status(json_t **status, const char *endpoint, const char *keys,
                               int timeout_ms, tr_error_t *err);

#endif
