/// Questions to workers and their answers: ask several, then wait for all.
///
/// A call is asked again when its worker fails, answers nonsense or is late, as often as it says;
/// then it waits on or ends the wait with an error. A learner that lost its state, or weights that
/// are gone, end the wait with TR_ERR_VERSION: the run must go back to its last checkpoint. Answers
/// come in any order; `index` places them.
#ifndef CONTROLLER_CALLS_H
#define CONTROLLER_CALLS_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/broker.h"

/// Reads an answer. A failure is the answer's fault: it counts as one of the worker. May ask
/// further calls.
typedef tr_status (*controller_take_fn)(void *context, size_t index, const tr_message_t *reply,
                                        tr_error_t *err);

/// Whom to ask, and what happens to the answer. Texts and context are borrowed until the call ends.
typedef struct controller_call {
    tr_role_t role;
    const char *group;  ///< NULL: any of the role
    const char *worker; ///< NULL: any; a name: a learner, whose loss loses its state
    const char *method;
    double timeout_s; ///< to the answer, not counting the queue before busy workers; 0: none
    uint64_t retries; ///< failures after which it is asked again
    bool persists; ///< when the retries are used up, go on asking (with a warning) rather than fail
    controller_take_fn take; ///< NULL: the answer says nothing
    void *context;
    size_t index;
} controller_call_t;

typedef struct controller_calls controller_calls_t;

/// broker: borrowed. stop: set by a signal handler; ends the wait with TR_ERR_INTERRUPTED.
controller_calls_t *controller_calls_new(tr_broker_t *broker, const volatile sig_atomic_t *stop);
void controller_calls_destroy(controller_calls_t **calls);

/// Asks; takes *message (a "request").
void controller_calls_ask(controller_calls_t *calls, const controller_call_t *call,
                          tr_message_t **message);

/// Waits until every call is answered. After a failure the others are cancelled.
tr_status controller_calls_finish(controller_calls_t *calls, tr_error_t *err);

/// Waits until done(context) says so, whatever else is unanswered; done must come true by answers.
tr_status controller_calls_until(controller_calls_t *calls, bool (*done)(const void *context),
                                 const void *context, tr_error_t *err);

/// Seconds in which the role had something to do, since the last controller_calls_reset.
double controller_calls_busy(const controller_calls_t *calls, tr_role_t role);
void controller_calls_reset(controller_calls_t *calls);

#endif
