/// The worker's daemon: everything that an actor, critic, reference, reward or rollout process does
/// besides its work. PROTOCOL.md is the contract; this is the worker's half of it.
///
/// tr_service_run connects, registers, and answers requests until it is told to leave. Sockets,
/// heartbeats, acknowledgements and the cache of replies are on the caller's thread; handlers run
/// one at a time on a thread of their own, so a handler may compute for minutes and the controller
/// still hears heartbeats. When the controller stays silent the service reconnects with a growing
/// pause and registers again; replies that were not confirmed are kept and sent when they are asked
/// for again.
///
/// service.c implements the protocol, service_jobs.c runs the handlers, service_ranks.c shares
/// requests with other ranks, service_options.c reads the command line, service_signals.c catches
/// signals.
///
///     static tr_status echo(void *context, const tr_message_t *request, tr_message_t *reply,
///                           tr_error_t *err)
///     {
///         tr_message_set_body(reply, json_deep_copy(tr_message_body(request)));
///         return TR_OK;
///     }
///
///     int main(int argc, char **argv)
///     {
///         static const tr_method_t methods[] = {{"echo", echo}};
///         tr_service_options_t options;
///         tr_error_t err = {0};
///         tr_service_options_init(&options, TR_ROLE_REWARD);
///         tr_service_parse(&options, argc, argv, "answers what it is asked");
///         tr_status status = tr_service_run(&options, methods, 1, NULL, &err);
///         tr_service_options_release(&options);
///         return tr_status_report(status, &err);
///     }
#ifndef TR_PROTO_SERVICE_H
#define TR_PROTO_SERVICE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/log.h"
#include "common/base/status.h"
#include "common/collective/collective.h"
#include "proto/message.h"
#include "proto/role.h"

/// Answers one request: reads its body and tensors, fills reply's body and tensors. A status other
/// than TR_OK becomes an error reply with err's text, reply is discarded, and the daemon goes on.
/// TR_ERR_INTERRUPTED is not replied: the worker says that it leaves, so that the request goes to
/// another one, and, unless it was asked to leave, registers again after five seconds, then after
/// pauses that double, up to forty.
typedef tr_status (*tr_handler_fn)(void *context, const tr_message_t *request, tr_message_t *reply,
                                   tr_error_t *err);

typedef struct tr_method {
    const char *name;
    tr_handler_fn handle;
} tr_method_t;

/// Called on the handlers' thread, before any request, with the `config` map of each welcome that
/// begins a session (not when the same controller is found again). A failure ends tr_service_run
/// with it.
typedef tr_status (*tr_welcome_fn)(void *context, const json_t *config, tr_error_t *err);

typedef struct tr_service_options {
    tr_role_t role;
    char *name;     ///< unique in the run; default "ROLE-PID"
    char *group;    ///< which pool of the role, such as which judge; default the role's name
    char *endpoint; ///< address of the controller; --connect, else $TROUPE_ENDPOINT
    char *token;    ///< shows that the run has started this worker; $TROUPE_TOKEN, or NULL
    char *keys;     ///< directory of CURVE keys or NULL; --keys, else $TROUPE_KEYS
    char *config;   ///< --config FILE or NULL: a JSON object, laid over each welcome's config
    size_t threads; ///< --threads; 0: one per processor
    /// --ranks: processes that serve as this worker, started together by mpirun; default 1.
    size_t ranks;
    /// --gpus: the ranks compute on a GPU each, and communicate by NCCL; default false: by MPI.
    bool gpus;
    tr_collective_t *collective; ///< the group of the ranks; NULL: one process
    size_t credit;         ///< requests taken at once, one computing, the rest queued; default 2
    double patience;       ///< seconds without a controller before the service gives up; default 60
    tr_log_level_t level;  ///< --log-level
    tr_welcome_fn welcome; ///< or NULL
} tr_service_options_t;

/// Defaults, and name, group, endpoint, token, keys and level from $TROUPE_NAME, $TROUPE_GROUP,
/// $TROUPE_ENDPOINT, $TROUPE_TOKEN, $TROUPE_KEYS and $TROUPE_LOG_LEVEL.
void tr_service_options_init(tr_service_options_t *options, tr_role_t role);
void tr_service_options_release(tr_service_options_t *options);

/// Reads the common command line (--connect, --name, --group, --keys, --config, --threads, --ranks,
/// --gpus, --role, --log-level, --version, --help) over the environment, and starts the log.
/// purpose: one line for --help. As argp does, it exits by itself after --help and --version, and
/// with code 64 and a sentence after a mistake.
void tr_service_parse(tr_service_options_t *options, int argc, char **argv, const char *purpose);

/// Joins the other ranks where there are several, by MPI or NCCL; after tr_service_parse. The
/// release of the options leaves the group, on every rank.
tr_status tr_service_join(tr_service_options_t *options, tr_error_t *err);

/// Serves methods: [count]. Returns TR_OK after SIGTERM, SIGINT or the controller's `bye` (the
/// request being computed is finished and answered first; a second SIGINT ends the process at once
/// with code 130), TR_ERR_TIMEOUT when no controller was heard for `patience` seconds,
/// TR_ERR_VERSION or TR_ERR_PEER when it refused us. Unknown methods get an error reply.
///
/// With ranks, all call it: rank 0 serves, and the others run each welcome and each handler with
/// it, in the same order and with the same message; their replies are dropped.
tr_status tr_service_run(const tr_service_options_t *options, const tr_method_t *methods,
                         size_t count, void *context, tr_error_t *err);

/// True once a signal or the controller asked to leave: a handler that computes for long may fail
/// early with TR_ERR_INTERRUPTED; its request then goes to another worker.
bool tr_service_stopping(void);

#endif
