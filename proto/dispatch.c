// The rules for messages and for time.
//
// The controller's calls come first, then one function for each type of message that a worker may
// send (the table `takers`), then messages that anyone may send, then what becomes due with time.
// Registration is in dispatch_register.c, the choice of a worker in dispatch_assign.c. Every
// function only changes the state and appends to two queues, sends and events; broker.c empties
// them.
#include "proto/dispatch.h"

#include <stdlib.h>
#include <string.h>

#include "proto/dispatch_state.h"

/// Pauses between two sendings of a request double up to this.
enum { PAUSE_MAX_MS = 60000 };

// The controller submits and cancels

/// Whether the envelope can be packed; otherwise the request ends here, with an ERROR. Packing is
/// tried now because a later failure would look like a lost message, and be repeated for ever.
static bool sendable(tr_dispatch_t *d, dispatch_request_t *r)
{
    char *bytes;
    size_t length;
    tr_error_t err = {0};
    if (tr_message_pack(&bytes, &length, r->message, &err) == TR_OK) {
        free(bytes);
        return true;
    }
    // Through the same queue as any failure, so the caller needs no second path.
    dispatch_emit_error(d, r, NULL, err.status, err.text);
    dispatch_request_remove(d, r);
    return false;
}

int64_t tr_dispatch_submit(tr_dispatch_t *d, int64_t now, tr_role_t role, const char *group,
                           const char *worker, const char *method, tr_message_t **message)
{
    dispatch_request_t *r = tr_calloc(1, sizeof *r);
    // The session makes ids unique over restarts of the controller: an answer to a request of an
    // earlier controller can then never be taken for one of ours.
    int64_t id = d->options.session << TR_REQUEST_BITS | ++d->issued;
    r->id = id;
    r->role = role;
    r->group = group != NULL ? tr_strdup(group) : NULL;
    r->wanted = worker != NULL ? tr_strdup(worker) : NULL;
    r->submitted = now;
    r->message = *message;
    *message = NULL;
    tr_message_set_field(r->message, "type", json_string("request"));
    tr_message_set_field(r->message, "method", json_string(method));
    tr_message_set_id(r->message, id);
    TAILQ_INSERT_TAIL(&d->requests, r, link);
    // In the list first: a request that fails is removed from there, like any other.
    if (sendable(d, r)) {
        dispatch_schedule(d, now);
    }
    return id;
}

/// An id that is not known was refused by submit.
void tr_dispatch_be_patient(tr_dispatch_t *d, int64_t id)
{
    dispatch_request_t *r = dispatch_request_of(d, id);
    if (r != NULL) {
        r->patient = true;
    }
}

/// An id that is not known is no mistake: the answer may have come just before.
void tr_dispatch_cancel(tr_dispatch_t *d, int64_t now, int64_t id)
{
    dispatch_request_t *r = dispatch_request_of(d, id);
    if (r != NULL) {
        // Late, and silent until now: the next request must not excuse it anew.
        if (r->worker != NULL) {
            r->worker->overdue = true;
        }
        // The worker is not told and computes on. Its credit is free at once; its late answer is
        // confirmed and dropped like any other.
        dispatch_request_remove(d, r);
        dispatch_schedule(d, now);
    }
}

// Messages of registered workers. Each function may take *message: then it sets it to NULL.

/// Answered, so that the worker can tell a quiet controller from a dead one.
static void take_heartbeat(tr_dispatch_t *d, int64_t now, dispatch_worker_t *worker,
                           tr_message_t **message)
{
    (void)now, (void)message;
    dispatch_post(d, &worker->peer, tr_message_new("heartbeat"));
}

/// From the first sending until this, a request is sent again soon, since it may be lost on the
/// way; from here on only after unanswered_ms, since it may be computed for long.
static void take_ack(tr_dispatch_t *d, int64_t now, dispatch_worker_t *worker,
                     tr_message_t **message)
{
    dispatch_request_t *r = dispatch_request_of(d, tr_message_id(*message));
    // An ack counts from the worker that has the request, and once: a repeated one must not put off
    // the next sending.
    if (r != NULL && r->worker == worker && !r->acknowledged) {
        r->acknowledged = true;
        r->pause = d->options.unanswered_ms;
        r->resend_at = now + r->pause;
    }
}

/// The open request that worker may answer, else NULL: then the answer is late or a repetition, and
/// is counted. A worker whose request was reassigned may still answer it; the first answer counts,
/// for it is the same wherever it is computed.
static dispatch_request_t *answered(tr_dispatch_t *d, const dispatch_worker_t *worker, int64_t id)
{
    dispatch_request_t *r = dispatch_request_of(d, id);
    if (r != NULL && r->sent > 0 && dispatch_may_answer(worker, r)) {
        return r;
    }
    d->counters.late++;
    return NULL;
}

/// The one answer of a request, if it still waits for one.
static void take_reply(tr_dispatch_t *d, int64_t now, dispatch_worker_t *worker,
                       tr_message_t **message)
{
    int64_t id = tr_message_id(*message);
    dispatch_request_t *r = answered(d, worker, id);
    // Also for an answer that is dropped: the worker keeps it until it hears `done`.
    dispatch_post(d, &worker->peer, tr_message_about("done", id));
    if (r == NULL) {
        return;
    }
    // A body that breaks the rules (a NaN among scores) is an answer all the same, and it failed.
    const char *fault = tr_message_fault(*message);
    if (fault != NULL) {
        dispatch_emit_error(d, r, worker, TR_ERR_PROTOCOL, fault);
    } else {
        dispatch_emit_reply(d, r, worker, *message);
        *message = NULL;
    }
    dispatch_request_remove(d, r);
    dispatch_schedule(d, now);
}

/// The status that a code names. Other programs may send codes that are not in our table.
static tr_status status_of_code(const char *code)
{
    for (int status = TR_ERR_ARGUMENT; status >= TR_ERR_INTERRUPTED; status--) {
        if (strcmp(tr_status_name((tr_status)status), code) == 0) {
            return (tr_status)status;
        }
    }
    return TR_ERR_PEER;
}

/// A worker could not do what a request asks: the caller gets the sentence, and the request is not
/// given to another worker, which would fail alike.
static void take_error(tr_dispatch_t *d, int64_t now, dispatch_worker_t *worker,
                       tr_message_t **message)
{
    int64_t id = tr_message_id(*message);
    // Without an id it answers no request. An error is never answered with an error.
    if (id == 0) {
        return;
    }
    dispatch_request_t *r = answered(d, worker, id);
    dispatch_post(d, &worker->peer, tr_message_about("done", id));
    if (r == NULL) {
        return;
    }
    const char *code = json_string_value(json_object_get(tr_message_body(*message), "code"));
    const char *text = json_string_value(json_object_get(tr_message_body(*message), "text"));
    dispatch_emit_error(d, r, worker, status_of_code(code != NULL ? code : ""),
                        text != NULL ? text : "failed without saying why");
    dispatch_request_remove(d, r);
    dispatch_schedule(d, now);
}

/// A worker leaves. Its requests go to others, as when it is lost, but at once.
static void take_bye(tr_dispatch_t *d, int64_t now, dispatch_worker_t *worker,
                     tr_message_t **message)
{
    const char *text = json_string_value(json_object_get(tr_message_body(*message), "text"));
    // With a reason it left because of a failure, which may be the fault of a request that it had.
    char *why = text != NULL ? tr_format("left: %s", text) : tr_strdup("left");
    dispatch_lose(d, worker, why, text != NULL);
    free(why);
    dispatch_schedule(d, now);
}

/// Messages that only registered workers may send.
static const struct {
    const char *type;
    void (*take)(tr_dispatch_t *, int64_t, dispatch_worker_t *, tr_message_t **);
} takers[] = {{"heartbeat", take_heartbeat},
              {"ack", take_ack},
              {"reply", take_reply},
              {"error", take_error},
              {"bye", take_bye}};

/// False for a type that is not in the table.
static bool take_from_worker(tr_dispatch_t *d, int64_t now, const tr_peer_t *peer,
                             tr_message_t **message)
{
    dispatch_worker_t *worker = dispatch_worker_of_peer(d, peer);
    // First the type, then the sender: an unknown type is reported as such to strangers too.
    for (size_t i = 0; i < sizeof takers / sizeof takers[0]; i++) {
        if (strcmp(takers[i].type, tr_message_type(*message)) != 0) {
            continue;
        }
        if (worker != NULL) {
            takers[i].take(d, now, worker, message);
        } else if (takers[i].take != take_bye) {
            // Not registered, or declared lost meanwhile: the peer learns it and registers again.
            // After a bye there is nobody to tell.
            d->counters.unregistered++;
            dispatch_post_error(d, peer, 0, "unregistered", "register first");
        }
        return true;
    }
    return false;
}

// Messages that need no registration

/// Answered to any peer that may connect: `troupe status` does not register.
static void take_status(tr_dispatch_t *d, int64_t now, const tr_peer_t *peer)
{
    tr_message_t *answer = tr_message_new("status");
    tr_message_set_body(answer, tr_dispatch_status(d, now));
    dispatch_post(d, peer, answer);
}

/// Anyone who may connect can send this, hence the token. The run ends by the event, not here.
static void take_stop(tr_dispatch_t *d, const tr_peer_t *peer, const tr_message_t *message)
{
    const char *token = json_string_value(json_object_get(tr_message_body(message), "token"));
    if (d->stop_token == NULL || token == NULL || strcmp(token, d->stop_token) != 0) {
        dispatch_post_error(d, peer, 0, "argument", "stop: the token is not this run's");
        return;
    }
    dispatch_emit(d, TR_EVENT_STOP, TR_ROLE_ACTOR, NULL); // of no worker: the role is not read
    dispatch_post(d, peer, tr_message_new("stopping"));
}

/// The only entry of well-formed messages. Unknown types are answered with an error, so that the
/// author of a worker sees the mistake; the connection goes on.
void tr_dispatch_receive(tr_dispatch_t *d, int64_t now, const tr_peer_t *peer,
                         tr_message_t **message)
{
    const char *type = tr_message_type(*message);
    dispatch_worker_t *worker = dispatch_worker_of_peer(d, peer);
    // Any message proves that its sender lives, whatever it says.
    if (worker != NULL) {
        dispatch_worker_heard(worker, now);
    }
    if (strcmp(type, "register") == 0) {
        dispatch_register(d, now, peer, *message);
    } else if (strcmp(type, "status") == 0) {
        take_status(d, now, peer);
    } else if (strcmp(type, "stop") == 0) {
        take_stop(d, peer, *message);
    } else if (!take_from_worker(d, now, peer, message)) {
        // A newer minor version may have types of messages that we do not know.
        d->counters.garbage++;
        dispatch_post_error(d, peer, tr_message_id(*message), "unsupported",
                            "this type of message is not known");
    }
    tr_message_destroy(message);
}

/// Even a malformed message shows that its sender lives. It is not lost for it, so that one bad
/// reply does not end a judge.
void tr_dispatch_garbage(tr_dispatch_t *d, int64_t now, const tr_peer_t *peer, const char *text)
{
    dispatch_worker_t *worker = dispatch_worker_of_peer(d, peer);
    if (worker != NULL) {
        dispatch_worker_heard(worker, now);
    }
    d->counters.garbage++;
    dispatch_post_error(d, peer, 0, "protocol", text);
}

/// It may come over a new connection: until then the usual limits of silence hold for it.
void tr_dispatch_unreachable(tr_dispatch_t *d, const tr_peer_t *peer)
{
    dispatch_worker_t *worker = dispatch_worker_of_peer(d, peer);
    if (worker != NULL) {
        worker->closed = true;
    }
}

// Time passes

/// Whether its worker may compute it without a word. ZeroMQ loses no message of an open connection,
/// and a process that dies closes it.
static bool is_left_alone(const dispatch_request_t *r)
{
    return r->patient && r->worker != NULL && !r->worker->closed && !r->worker->overdue;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t probe_at(const tr_dispatch_t *d, const dispatch_worker_t *worker)
{
    return later(worker->heard, worker->probed) + d->options.heartbeat_ms;
}

static int64_t lost_at(const dispatch_worker_t *worker)
{
    return later(worker->heard, worker->excused) + worker->silence_ms;
}

/// A judge with one thread says nothing while it computes. That its connection is open shows when
/// something is sent over it.
static void excuse_silence(tr_dispatch_t *d, int64_t now)
{
    for (dispatch_request_t *r = TAILQ_FIRST(&d->requests); r != NULL; r = TAILQ_NEXT(r, link)) {
        if (!is_left_alone(r)) {
            continue;
        }
        r->worker->excused = now;
        if (now >= probe_at(d, r->worker)) {
            r->worker->probed = now;
            dispatch_post(d, &r->worker->peer, tr_message_new("heartbeat"));
        }
    }
}

/// Workers that were not heard for longer than they may be silent.
static void lose_silent(tr_dispatch_t *d, int64_t now)
{
    for (dispatch_worker_t *worker = TAILQ_FIRST(&d->workers), *next; worker != NULL;
         worker = next) {
        next = TAILQ_NEXT(worker, link); // losing a worker frees it
        if (now >= lost_at(worker)) {
            char *why = tr_format("was silent for %lld ms", (long long)(now - worker->heard));
            // One that is silent on an open connection hangs; a closed one is of a process that is
            // gone, and another may be about to register.
            tr_status status = worker->closed ? TR_ERR_PEER : TR_ERR_TIMEOUT;
            dispatch_lose(d, worker, why, true)->status = status;
            free(why);
        }
    }
}

/// Called often and at least at tr_dispatch_deadline. Nothing depends on how often: all that is due
/// by `now` happens.
void tr_dispatch_tick(tr_dispatch_t *d, int64_t now)
{
    excuse_silence(d, now);
    // First the losses: a request of a lost worker must not be sent to it once more, and is free
    // for the schedule below.
    lose_silent(d, now);
    for (dispatch_request_t *r = TAILQ_FIRST(&d->requests); r != NULL; r = TAILQ_NEXT(r, link)) {
        if (r->worker != NULL && !is_left_alone(r) && now >= r->resend_at) {
            r->pause = r->pause * 2 < PAUSE_MAX_MS ? r->pause * 2 : PAUSE_MAX_MS;
            dispatch_send_request(d, now, r);
        }
    }
    dispatch_schedule(d, now);
}

/// The earliest of the times at which a worker is lost, or a request or a probe is sent.
int64_t tr_dispatch_deadline(const tr_dispatch_t *d)
{
    int64_t deadline = INT64_MAX;
    for (const dispatch_worker_t *worker = TAILQ_FIRST(&d->workers); worker != NULL;
         worker = TAILQ_NEXT(worker, link)) {
        deadline = lost_at(worker) < deadline ? lost_at(worker) : deadline;
    }
    for (const dispatch_request_t *r = TAILQ_FIRST(&d->requests); r != NULL;
         r = TAILQ_NEXT(r, link)) {
        int64_t at = is_left_alone(r)    ? probe_at(d, r->worker)
                     : r->worker != NULL ? r->resend_at
                                         : INT64_MAX;
        deadline = at < deadline ? at : deadline;
    }
    return deadline;
}

/// The workers stay in the list: the run is over and nothing is decided any more.
void tr_dispatch_dismiss(tr_dispatch_t *d)
{
    for (dispatch_worker_t *w = TAILQ_FIRST(&d->workers); w != NULL; w = TAILQ_NEXT(w, link)) {
        dispatch_post(d, &w->peer, tr_message_new("bye"));
    }
}
