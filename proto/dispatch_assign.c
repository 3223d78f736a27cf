// Which worker gets a request, and what becomes of a request whose worker is lost.
//
// The lowest of the rules, used by registration (dispatch_register.c) and by messages and time
// (dispatch.c): it knows workers and requests (dispatch_state.h) and no types of messages.
#include <string.h>

#include "proto/dispatch_state.h"

/// Used for the first sending and for all repetitions.
void dispatch_send_request(tr_dispatch_t *d, int64_t now, dispatch_request_t *r)
{
    // A copy: the original stays until the answer is there. Bodies and tensors are shared.
    d->counters.resent += r->sent > 0;
    r->sent++;
    r->resend_at = now + r->pause;
    dispatch_post(d, &r->worker->peer, tr_message_copy(r->message));
}

/// Whether it has credit is asked elsewhere: an answer also counts from a worker that is full.
bool dispatch_may_answer(const dispatch_worker_t *worker, const dispatch_request_t *r)
{
    return worker->role == r->role && (r->group == NULL || strcmp(r->group, worker->group) == 0) &&
           (r->wanted == NULL || strcmp(r->wanted, worker->name) == 0);
}

/// Of those with credit the one with the fewest requests; the one that came first among equals.
static dispatch_worker_t *least_busy(const tr_dispatch_t *d, const dispatch_request_t *r)
{
    dispatch_worker_t *best = NULL;
    for (dispatch_worker_t *worker = TAILQ_FIRST(&d->workers); worker != NULL;
         worker = TAILQ_NEXT(worker, link)) {
        bool free = dispatch_may_answer(worker, r) && worker->outstanding < worker->credit;
        if (free && (best == NULL || worker->outstanding < best->outstanding)) {
            best = worker;
        }
    }
    return best;
}

/// Called after every change that may free credit, add a worker or add a request.
void dispatch_schedule(tr_dispatch_t *d, int64_t now)
{
    // In order of submission, past requests that find nobody: those behind them may be for another
    // role or group.
    for (dispatch_request_t *r = TAILQ_FIRST(&d->requests); r != NULL; r = TAILQ_NEXT(r, link)) {
        dispatch_worker_t *worker = r->worker == NULL ? least_busy(d, r) : NULL;
        if (worker != NULL) {
            dispatch_request_assign(r, worker);
            r->pause = d->options.resend_ms;
            dispatch_send_request(d, now, r);
        }
    }
}

const char *tr_dispatch_holder(const tr_dispatch_t *d, int64_t id)
{
    const dispatch_request_t *r = dispatch_request_of(d, id);
    return r != NULL && r->worker != NULL ? r->worker->name : NULL;
}

/// The caller limits the time of an answer and does not count the time that a request waits behind
/// others. It does count the time in which no worker has registered that could take it.
bool tr_dispatch_queued(const tr_dispatch_t *d, int64_t id)
{
    const dispatch_request_t *r = dispatch_request_of(d, id);
    const dispatch_worker_t *w = TAILQ_FIRST(&d->workers);
    while (r != NULL && w != NULL && !dispatch_may_answer(w, r)) {
        w = TAILQ_NEXT(w, link);
    }
    return r != NULL && r->worker == NULL && w != NULL;
}

/// A request whose worker is gone is queued again, or ends with an ERROR and is freed. `counts`:
/// the worker did not leave of its own accord, so the request may be what killed it. A request for
/// a named worker always ends: the state that it relied on is gone with the process. Others
/// survive, because any worker of the group gives the same answer.
static void requeue_or_end(tr_dispatch_t *d, dispatch_request_t *r, const dispatch_worker_t *worker,
                           const char *why, bool counts)
{
    r->losses += counts;
    if (r->wanted == NULL && r->losses < d->options.attempts) {
        dispatch_request_assign(r, NULL);
        d->counters.reassigned++;
        return;
    }
    dispatch_emit_error(d, r, worker, TR_ERR_PEER, why);
    dispatch_request_remove(d, r);
}

/// For silence, a bye, and a successor of the same name alike.
tr_event_t *dispatch_lose(tr_dispatch_t *d, dispatch_worker_t *worker, const char *why, bool counts)
{
    for (dispatch_request_t *r = TAILQ_FIRST(&d->requests), *next; r != NULL; r = next) {
        // Before r is freed, as it is when it ends here.
        next = TAILQ_NEXT(r, link);
        // A request for this worker by name ends with it even if it is still queued.
        bool named = r->wanted != NULL && strcmp(r->wanted, worker->name) == 0;
        if (r->worker == worker || named) {
            requeue_or_end(d, r, worker, why, counts);
        }
    }
    // After the errors, so that the caller has heard of every request before the worker is gone.
    tr_event_t *event = dispatch_emit_worker(d, TR_EVENT_LOST, worker, NULL, why);
    dispatch_worker_remove(d, worker);
    return event;
}
