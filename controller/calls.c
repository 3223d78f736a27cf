// Calls: pending requests, what a failure means for each, and the wait for replies.
//
// Apart from proto/broker.h, which delivers one request once: retries, deadlines and the loss of
// state are decisions of a run. A reply is read by its call's take function; a failure goes through
// take_failure, which asks again, waits, or ends the wait.
#include "controller/calls.h"

#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/log.h"

// A tick bounds how late a signal or a deadline is noticed; pauses double up to the maximum.
enum { TICK_MS = 250, PAUSE_FIRST_MS = 100, PAUSE_MAX_MS = 5000 };
/// A silent worker's process has run for at least so many seconds; a younger one is another.
static const double SILENCE_S = 10.0;

/// A call without a reply.
typedef struct pending {
    controller_call_t call;
    tr_message_t *message;
    int64_t id;       // of the request; 0 while it pauses before it is sent again
    int64_t deadline; // INT64_MAX: none
    int64_t ask_at;   // end of the pause
    int64_t pause;    // length of the next one
    uint64_t failures;
    double asked; // tr_clock_seconds, the first time
    bool noted;   // the log says that it is waited for
    double alone; // tr_clock_seconds, when a worker that could take it was registered last
} pending_t;

/// When a role has work: the time in which at least one call to it is open.
typedef struct busy {
    size_t calls;
    double since;
    double seconds;
} busy_t;

struct controller_calls {
    tr_broker_t *broker;
    const volatile sig_atomic_t *stop;
    controller_watch_t watch; // functions NULL: nobody watches
    pending_t **items;        // [count], in any order; pointers stay valid when it grows
    size_t count;
    size_t room;
    busy_t busy[TR_ROLE_COUNT];
    bool asked_to_stop; // by the supervisor
    char *lost;         // a learner whose process is gone, and the reason; NULL: none
};

controller_calls_t *controller_calls_new(tr_broker_t *broker, const volatile sig_atomic_t *stop)
{
    controller_calls_t *calls = tr_calloc(1, sizeof *calls);
    calls->broker = broker;
    calls->stop = stop;
    return calls;
}

void controller_calls_watch(controller_calls_t *calls, const controller_watch_t *watch)
{
    calls->watch = *watch;
}

/// Counts an open call of the role; the first one starts the clock.
static void begin_busy(busy_t *busy)
{
    if (busy->calls++ == 0) {
        busy->since = tr_clock_seconds();
    }
}

/// Counts a closed call; the last one stops the clock.
static void end_busy(busy_t *busy)
{
    if (--busy->calls == 0) {
        busy->seconds += tr_clock_seconds() - busy->since;
    }
}

/// Frees a call that has ended, with or without a reply.
static void release(controller_calls_t *calls, pending_t *pending)
{
    end_busy(&calls->busy[pending->call.role]);
    tr_message_destroy(&pending->message);
    free(pending);
}

/// Ends all calls; late replies to them are dropped by the broker.
static void cancel_all(controller_calls_t *calls)
{
    for (size_t i = 0; i < calls->count; i++) {
        if (calls->items[i]->id != 0) {
            tr_broker_cancel(calls->broker, calls->items[i]->id);
        }
        release(calls, calls->items[i]);
    }
    calls->count = 0;
}

void controller_calls_destroy(controller_calls_t **self)
{
    if (*self != NULL) {
        cancel_all(*self);
        free((*self)->items);
        free((*self)->lost);
        free(*self);
        *self = NULL;
    }
}

/// The deadline of a call that is sent now.
static int64_t deadline_of(const controller_call_t *call)
{
    return call->timeout_s > 0.0 ? tr_clock_ms() + (int64_t)(call->timeout_s * 1000.0) : INT64_MAX;
}

/// Sends a request, for the first time or again.
static void submit(controller_calls_t *calls, pending_t *pending)
{
    const controller_call_t *call = &pending->call;
    // The original stays, to be sent again.
    tr_message_t *message = tr_message_copy(pending->message);
    pending->id = tr_broker_submit(calls->broker, call->role, call->group, call->worker,
                                   call->method, &message);
    if (call->timeout_s > 0.0) {
        tr_dispatch_be_patient(tr_broker_dispatch(calls->broker), pending->id);
    }
    pending->deadline = deadline_of(call);
}

void controller_calls_ask(controller_calls_t *calls, const controller_call_t *call,
                          tr_message_t **message)
{
    pending_t *pending = tr_calloc(1, sizeof *pending);
    pending->call = *call;
    pending->message = *message;
    pending->pause = PAUSE_FIRST_MS;
    pending->asked = pending->alone = tr_clock_seconds();
    *message = NULL;
    // A take function may ask while the list is walked: items are pointers, which growing does not
    // move.
    if (calls->count == calls->room) {
        calls->room = calls->room == 0 ? 16 : 2 * calls->room;
        calls->items = tr_realloc(calls->items, calls->room * sizeof *calls->items);
    }
    calls->items[calls->count++] = pending;
    begin_busy(&calls->busy[call->role]);
    submit(calls, pending);
}

/// Removes an answered call; the last one takes its place.
static void forget(controller_calls_t *calls, size_t index)
{
    release(calls, calls->items[index]);
    // The order does not matter: replies find their call by its id.
    calls->items[index] = calls->items[--calls->count];
}

/// The index of the call with this request; calls->count when it has ended.
static size_t find(const controller_calls_t *calls, int64_t id)
{
    size_t i = 0;
    while (i < calls->count && calls->items[i]->id != id) {
        i++;
    }
    return i;
}

/// Whether a failure means that state is lost, so that sending the request again is no help. Judges
/// and references have none; learners and rollouts hold weights of a version.
static bool loses_state(const controller_call_t *call, tr_status status)
{
    return call->role != TR_ROLE_REWARD && call->role != TR_ROLE_REFERENCE &&
           (status == TR_ERR_PEER || status == TR_ERR_VERSION);
}

/// Tells whoever watches.
static void tell_failure(const controller_calls_t *calls, const pending_t *pending,
                         const char *worker, bool final, tr_error_t *err)
{
    const controller_failure_t failure = {.role = pending->call.role,
                                          .worker = worker,
                                          .request = pending->message,
                                          .failures = pending->failures,
                                          .final = final};
    if (calls->watch.failed != NULL) {
        calls->watch.failed(calls->watch.context, &failure, err);
    }
}

/// A call has failed with err: plans the next try, or fails. worker: that failed; "": none.
static tr_status take_failure(const controller_calls_t *calls, pending_t *pending,
                              const char *worker, tr_error_t *err)
{
    const controller_call_t *call = &pending->call;
    pending->id = 0;
    // A late reply to this try is dropped: its id belongs to no call any more.
    pending->failures++;
    if (loses_state(call, err->status)) {
        // One status for every loss of state: run.c goes back to the checkpoint on it.
        err->status = TR_ERR_VERSION;
        return err->status;
    }
    // Out of retries: a call that persists goes on with a warning.
    bool final = pending->failures > call->retries && !call->persists;
    tell_failure(calls, pending, worker, final, err);
    if (final) {
        return err->status;
    }
    tr_log(TR_LOG_WARN, "calls", "role=%s method=%s failures=%llu retries=%llu \"%s\"",
           tr_role_name(call->role), call->method, (unsigned long long)pending->failures,
           (unsigned long long)call->retries, err->text);
    // The pause gives the supervisor time to start the worker again.
    pending->ask_at = tr_clock_ms() + pending->pause;
    pending->pause = 2 * pending->pause < PAUSE_MAX_MS ? 2 * pending->pause : PAUSE_MAX_MS;
    *err = (tr_error_t){0};
    return TR_OK;
}

/// Gives the reply to its call. What the call cannot read is a failure of the worker.
static tr_status take_reply(controller_calls_t *calls, size_t index, const tr_event_t *event,
                            tr_error_t *err)
{
    pending_t *pending = calls->items[index];
    // A copy: take may send calls, and the list then grows.
    const controller_call_t call = pending->call;
    pending->id = 0; // answered; the handler may ask more, which moves the list
    tr_status status =
        call.take == NULL ? TR_OK : call.take(call.context, call.index, event->message, err);
    if (status != TR_OK) {
        // The worker's reply is at fault, so the sentence begins with its name.
        tr_error_prefix(err, "'%s' answered '%s'", event->worker, call.method);
        return take_failure(calls, pending, event->worker, err);
    }
    for (size_t i = 0; i < calls->count; i++) {
        // Found by address: take may have sent calls and moved it.
        if (calls->items[i] == pending) {
            forget(calls, i);
            break;
        }
    }
    return TR_OK;
}

/// Logs a lost worker. A lost learner has lost its state, whether or not a call to it was open.
static void note_lost(controller_calls_t *calls, const tr_event_t *event)
{
    tr_log(TR_LOG_WARN, "workers", "role=%s worker=%s \"lost: %s\"", tr_role_name(event->role),
           event->worker, event->text);
    // It may hang: then a new process must take its place.
    if (event->status == TR_ERR_TIMEOUT && calls->watch.mute != NULL) {
        calls->watch.mute(calls->watch.context, event->worker, SILENCE_S);
    }
    if (event->role == TR_ROLE_ACTOR || event->role == TR_ROLE_CRITIC) {
        free(calls->lost);
        calls->lost = tr_format("'%s' %s", event->worker, event->text);
    }
}

/// Logs a worker that has registered.
static void note_joined(const tr_event_t *event)
{
    tr_log(TR_LOG_INFO, "workers", "role=%s worker=%s group=%s \"joined\"",
           tr_role_name(event->role), event->worker, event->group);
}

/// Whether no worker can ever get the request, because it cannot be packed into a message.
static bool hopeless(const tr_event_t *event)
{
    return event->worker[0] == '\0' && event->status == TR_ERR_ARGUMENT;
}

/// Handles one event of the broker. Replies to calls that have ended are ignored.
static tr_status take_event(controller_calls_t *calls, const tr_event_t *event, tr_error_t *err)
{
    size_t index = find(calls, event->id);
    switch (event->type) {
    case TR_EVENT_JOINED: note_joined(event); return TR_OK;
    case TR_EVENT_LOST: note_lost(calls, event); return TR_OK;
    case TR_EVENT_STOP: return tr_fail(err, TR_ERR_INTERRUPTED, "the run was asked to stop");
    case TR_EVENT_REPLY: return index < calls->count ? take_reply(calls, index, event, err) : TR_OK;
    // From a worker, or from the broker when no worker could be reached.
    case TR_EVENT_ERROR:
        if (index == calls->count) {
            return TR_OK;
        }
        tr_fail(err, event->status, "%s", event->text);
        // A request that cannot be packed fails the run at once: every try would end alike.
        return hopeless(event) ? err->status
                               : take_failure(calls, calls->items[index], event->worker, err);
    }
    return TR_OK;
}

/// The name of the worker that has the request; "": none has it.
static const char *holder_of(const controller_calls_t *calls, const pending_t *pending)
{
    const char *name = tr_dispatch_holder(tr_broker_dispatch(calls->broker), pending->id);
    return name != NULL ? name : "";
}

/// The group of the workers that may take the call; a learner's is its name.
static const char *group_of(const controller_call_t *call)
{
    return call->group != NULL ? call->group : tr_role_name(call->role);
}

/// Who is waited for, and for what: "judge-0: score". Owned by the caller (free).
static char *describe(const controller_calls_t *calls, const pending_t *pending)
{
    const controller_call_t *call = &pending->call;
    const char *holder = holder_of(calls, pending);
    size_t workers =
        tr_dispatch_workers(tr_broker_dispatch(calls->broker), call->role, call->group);
    if (holder[0] != '\0') {
        return tr_format("%s: %s", holder, call->method);
    }
    return tr_format("a worker of '%s' (%s): %s", group_of(call),
                     pending->id == 0 ? "one failed"
                     : workers > 0    ? "all are busy"
                                      : "none is registered",
                     call->method);
}

/// Tells whoever watches what the wait is for.
static void tell_wait(const controller_calls_t *calls)
{
    pending_t *oldest = NULL;
    if (calls->watch.waits == NULL) {
        return;
    }
    for (size_t i = 0; i < calls->count; i++) {
        oldest =
            oldest == NULL || calls->items[i]->asked < oldest->asked ? calls->items[i] : oldest;
    }
    if (oldest == NULL || tr_clock_seconds() - oldest->asked < calls->watch.after_s) {
        calls->watch.waits(calls->watch.context, NULL, 0.0);
        return;
    }
    char *text = describe(calls, oldest);
    if (!oldest->noted) {
        tr_log(TR_LOG_INFO, "calls", "\"waits for %s\"", text);
        oldest->noted = true;
    }
    calls->watch.waits(calls->watch.context, text, oldest->asked);
    free(text);
}

/// Tells of calls for which no worker has registered.
static void tell_absence(const controller_calls_t *calls, pending_t *pending)
{
    const controller_call_t *call = &pending->call;
    double now = tr_clock_seconds();
    if (tr_dispatch_workers(tr_broker_dispatch(calls->broker), call->role, call->group) > 0) {
        pending->alone = now;
    } else if (calls->watch.mute != NULL && now - pending->alone >= calls->watch.absent_s) {
        calls->watch.mute(calls->watch.context, group_of(call), calls->watch.absent_s);
        pending->alone = now;
    }
}

/// Sends paused calls again, and fails late ones.
static tr_status pass_time(controller_calls_t *calls, tr_error_t *err)
{
    // One clock reading a round, so that all calls are judged by the same time.
    int64_t now = tr_clock_ms();
    for (size_t i = 0; i < calls->count; i++) {
        pending_t *pending = calls->items[i];
        const controller_call_t *call = &pending->call;
        tell_absence(calls, pending);
        // Three states: pausing, queued for a busy worker (its time does not count yet), at a
        // worker.
        if (pending->id == 0 && now >= pending->ask_at) {
            submit(calls, pending);
        } else if (tr_dispatch_queued(tr_broker_dispatch(calls->broker), pending->id)) {
            pending->deadline = deadline_of(call);
        } else if (pending->id != 0 && now >= pending->deadline) {
            int64_t id = pending->id;
            tr_fail(
                err, TR_ERR_TIMEOUT, "%s '%s' did not answer '%s' in %g seconds (%zu registered)",
                tr_role_name(call->role), call->group != NULL ? call->group : "any", call->method,
                call->timeout_s,
                tr_dispatch_workers(tr_broker_dispatch(calls->broker), call->role, call->group));
            tr_status status = take_failure(calls, pending, holder_of(calls, pending), err);
            tr_broker_cancel(calls->broker, id);
            TR_TRY(status);
        }
    }
    return TR_OK;
}

/// Whether the wait ends because the run is to stop: at once if a second signal says so, or if a
/// call is not being worked on and may never be, since nobody starts workers any more.
static bool stops(const controller_calls_t *calls)
{
    bool now = *calls->stop > 1 || calls->asked_to_stop;
    for (size_t i = 0; i < calls->count && *calls->stop && !now; i++) {
        const pending_t *pending = calls->items[i];
        const controller_call_t *call = &pending->call;
        now = pending->id == 0 ||
              tr_dispatch_workers(tr_broker_dispatch(calls->broker), call->role, call->group) == 0;
    }
    return now;
}

/// One round of the wait: an event or a tick, then what time has changed.
static tr_status turn(controller_calls_t *calls, tr_error_t *err)
{
    tr_event_t event;
    // A timeout is no failure here: the tick is for deadlines and signals.
    tr_status status = tr_broker_poll(&event, calls->broker, TICK_MS, err);
    // A stop comes before everything else, whatever has arrived.
    if (stops(calls)) {
        if (status == TR_OK) {
            tr_event_release(&event);
        }
        return tr_fail(err, TR_ERR_INTERRUPTED, "the run was asked to stop");
    }
    if (status == TR_OK) {
        status = take_event(calls, &event, err);
        tr_event_release(&event);
    } else if (status == TR_ERR_TIMEOUT) {
        status = TR_OK;
    }
    TR_TRY(status);
    tell_wait(calls);
    // After the event, whatever it was: what the learner answered before it died has been taken.
    if (calls->lost != NULL) {
        return tr_fail(err, TR_ERR_VERSION, "%s", calls->lost);
    }
    return pass_time(calls, err);
}

/// Reads, after a failure, the events that have arrived already: a loss that ended this wait must
/// not end the next one too.
static void settle(controller_calls_t *calls)
{
    tr_event_t event;
    tr_error_t ignored = {0};
    while (!calls->asked_to_stop && tr_broker_poll(&event, calls->broker, 0, &ignored) == TR_OK) {
        // A stop must survive to the next wait.
        calls->asked_to_stop = event.type == TR_EVENT_STOP;
        // Replies and errors are of cancelled calls, so only the workers' comings and goings count.
        if (event.type == TR_EVENT_JOINED) {
            note_joined(&event);
        } else if (event.type == TR_EVENT_LOST) {
            note_lost(calls, &event);
        }
        tr_event_release(&event);
    }
    free(calls->lost);
    calls->lost = NULL;
}

tr_status controller_calls_until(controller_calls_t *calls, bool (*done)(const void *context),
                                 const void *context, tr_error_t *err)
{
    tr_status status = TR_OK;
    while (!done(context) && status == TR_OK) {
        status = turn(calls, err);
    }
    if (status != TR_OK) {
        // Their workers may go on computing; what they answer finds no call.
        cancel_all(calls);
        settle(calls);
    }
    tell_wait(calls);
    return status;
}

static bool all_answered(const void *context)
{
    const controller_calls_t *calls = context;
    return calls->count == 0;
}

tr_status controller_calls_finish(controller_calls_t *calls, tr_error_t *err)
{
    return controller_calls_until(calls, all_answered, calls, err);
}

double controller_calls_busy(const controller_calls_t *calls, tr_role_t role)
{
    const busy_t *busy = &calls->busy[role];
    // An open call counts up to now.
    return busy->seconds + (busy->calls > 0 ? tr_clock_seconds() - busy->since : 0.0);
}

void controller_calls_reset(controller_calls_t *calls)
{
    // A role is busy or idle as a whole: the busy time of two judges at once counts once.
    for (size_t role = 0; role < TR_ROLE_COUNT; role++) {
        calls->busy[role].seconds = 0.0;
        // Calls that are open now count from here on.
        calls->busy[role].since = tr_clock_seconds();
    }
}
