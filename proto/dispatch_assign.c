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

bool dispatch_may_answer(const dispatch_worker_t *worker, const dispatch_request_t *r)
{
    return worker->role == r->role && (r->group == NULL || strcmp(r->group, worker->group) == 0) &&
           (r->wanted == NULL || strcmp(r->wanted, worker->name) == 0);
}

/// Of those with credit the one with the fewest requests; the one that came first among equals.
static dispatch_worker_t *least_busy(const tr_dispatch_t *d, const dispatch_request_t *r)
{
    dispatch_worker_t *best = NULL;
    for (size_t i = 0; i < dispatch_list_count(&d->workers); i++) {
        dispatch_worker_t *worker = dispatch_worker_at(d, i);
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
    for (size_t i = 0; i < dispatch_list_count(&d->requests); i++) {
        dispatch_request_t *r = dispatch_request_at(d, i);
        dispatch_worker_t *worker = r->worker == NULL ? least_busy(d, r) : NULL;
        if (worker != NULL) {
            dispatch_request_assign(r, worker);
            r->pause = d->options.resend_ms;
            dispatch_send_request(d, now, r);
        }
    }
}

/// The caller limits the time of an answer and does not count the time that a request waits behind
/// others. It does count the time in which no worker has registered that could take it.
bool tr_dispatch_queued(const tr_dispatch_t *d, int64_t id)
{
    const dispatch_request_t *r = dispatch_request_of(d, id);
    bool queued = false;
    for (size_t i = 0; r != NULL && r->worker == NULL && i < dispatch_list_count(&d->workers);
         i++) {
        queued = queued || dispatch_may_answer(dispatch_worker_at(d, i), r);
    }
    return queued;
}

/// Whether a request whose worker is gone is queued again; otherwise it ends with an ERROR.
/// `counts`: the worker did not leave of its own accord, so the request may be what killed it. A
/// request for a named worker always ends: the state that it relied on is gone with the process.
static bool survives(tr_dispatch_t *d, dispatch_request_t *r, const dispatch_worker_t *worker,
                     const char *why, bool counts)
{
    r->losses += counts;
    if (r->wanted == NULL && r->losses < d->options.attempts) {
        dispatch_request_assign(r, NULL);
        d->counters.reassigned++;
        return true;
    }
    dispatch_emit_error(d, r, worker, TR_ERR_PEER, why);
    dispatch_request_remove(d, r);
    return false;
}

void dispatch_lose(tr_dispatch_t *d, dispatch_worker_t *worker, const char *why, bool counts)
{
    for (size_t i = 0; i < dispatch_list_count(&d->requests);) {
        dispatch_request_t *r = dispatch_request_at(d, i);
        // A request for this worker by name ends with it even if it is still queued.
        bool named = r->wanted != NULL && strcmp(r->wanted, worker->name) == 0;
        bool gone = (r->worker == worker || named) && !survives(d, r, worker, why, counts);
        i += !gone;
    }
    // After the errors, so that the caller has heard of every request before the worker is gone.
    dispatch_emit_worker(d, TR_EVENT_LOST, worker, NULL, why);
    dispatch_worker_remove(d, worker);
}
