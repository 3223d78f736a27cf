/// Requests to workers and their replies: send several, then wait for all.
///
/// A request is sent again when its worker fails, replies nonsense or is late, as often as its call
/// says; after that the wait goes on or ends with an error. A learner that lost its state, or
/// weights that are gone, end the wait with TR_ERR_VERSION: the run must go back to its last
/// checkpoint. Replies come in any order; `index` places them.
#ifndef CONTROLLER_CALLS_H
#define CONTROLLER_CALLS_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/broker.h"

/// Reads a reply. A failure here counts as a failure of the worker. It may send further calls.
typedef tr_status (*controller_take_fn)(void *context, size_t index, const tr_message_t *reply,
                                        tr_error_t *err);

/// Which worker gets the request, and what is done with the reply. Texts and context are borrowed
/// until the call ends.
typedef struct controller_call {
    tr_role_t role;
    const char *group;  ///< NULL: any of the role
    const char *worker; ///< NULL: any; a name: a learner, whose process holds state
    const char *method;
    double timeout_s; ///< until the reply, without the time in the queue of a busy worker; 0: none
    uint64_t retries; ///< failures after which it is sent again
    bool persists; ///< when the retries are used up, go on asking (with a warning) rather than fail
    controller_take_fn take; ///< NULL: the reply holds nothing
    void *context;
    size_t index;
} controller_call_t;

/// A request that a worker did not answer as it should.
typedef struct controller_failure {
    tr_role_t role;
    const char *worker; ///< "": nobody answered
    const tr_message_t *request;
    uint64_t failures; ///< of this request so far
    bool final;        ///< it is not asked again
} controller_failure_t;

/// Who is told of what a wait meets.
typedef struct controller_watch {
    void *context;
    /// err: the failure's sentence; more may be said in it.
    void (*failed)(void *context, const controller_failure_t *failure, tr_error_t *err);
    /// Several times a second. text: who has been waited for the longest, and for what, since the
    /// time `since` (tr_clock_seconds); NULL: for nobody longer than after_s.
    void (*waits)(void *context, const char *text, double since);
    double after_s;
    /// A worker of this name, or the workers of this group, gave no sign of life for `seconds`.
    void (*mute)(void *context, const char *name, double seconds);
    double absent_s; ///< mute is called when a request has found no worker for so long, and again
} controller_watch_t;

typedef struct controller_calls controller_calls_t;

/// broker: borrowed. stop: counted by a signal handler. 1: a wait goes on as long as workers are at
/// it; 2: it ends. It ends with TR_ERR_INTERRUPTED.
controller_calls_t *controller_calls_new(tr_broker_t *broker, const volatile sig_atomic_t *stop);
void controller_calls_destroy(controller_calls_t **calls);

/// watch: copied; all functions are given. Without it nobody is told.
void controller_calls_watch(controller_calls_t *calls, const controller_watch_t *watch);

/// Sends the request; takes *message (a "request").
void controller_calls_ask(controller_calls_t *calls, const controller_call_t *call,
                          tr_message_t **message);

/// Waits until every call has its reply. After a failure the others are cancelled.
tr_status controller_calls_finish(controller_calls_t *calls, tr_error_t *err);

/// Waits until done(context), whatever else is open; replies must make it true.
tr_status controller_calls_until(controller_calls_t *calls, bool (*done)(const void *context),
                                 const void *context, tr_error_t *err);

/// Seconds in which the role had a request to work on, since the last controller_calls_reset.
double controller_calls_busy(const controller_calls_t *calls, tr_role_t role);
void controller_calls_reset(controller_calls_t *calls);

#endif
