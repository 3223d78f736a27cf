#include <string.h>

#include "proto/dispatch_state.h"

void dispatch_send_request(tr_dispatch_t *d, int64_t now, dispatch_request_t *r)
{
    d->counters.resent += r->sent > 0;
    r->sent++;
    r->resend_at = now + r->pause;
    dispatch_post(d, &r->at->peer, tr_message_copy(r->message));
}

bool dispatch_may_answer(const dispatch_worker_t *worker, const dispatch_request_t *r)
{
    return worker->role == r->role && (r->group == NULL || strcmp(r->group, worker->group) == 0) &&
           (r->wanted == NULL || strcmp(r->wanted, worker->name) == 0);
}

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

void dispatch_schedule(tr_dispatch_t *d, int64_t now)
{
    for (size_t i = 0; i < dispatch_list_count(&d->requests); i++) {
        dispatch_request_t *r = dispatch_request_at(d, i);
        dispatch_worker_t *worker = r->at == NULL ? least_busy(d, r) : NULL;
        if (worker != NULL) {
            dispatch_request_place(r, worker);
            r->pause = d->options.resend_ms;
            dispatch_send_request(d, now, r);
        }
    }
}

bool tr_dispatch_queued(const tr_dispatch_t *d, int64_t id)
{
    const dispatch_request_t *r = dispatch_request_of(d, id);
    bool queued = false;
    for (size_t i = 0; r != NULL && r->at == NULL && i < dispatch_list_count(&d->workers); i++) {
        queued = queued || dispatch_may_answer(dispatch_worker_at(d, i), r);
    }
    return queued;
}

/// What becomes of a request whose worker is gone; `counts`: the worker did not leave of its own accord.
static bool survives(tr_dispatch_t *d, dispatch_request_t *r, const dispatch_worker_t *worker,
                     const char *why, bool counts)
{
    r->losses += counts;
    if (r->wanted == NULL && r->losses < d->options.attempts) {
        dispatch_request_place(r, NULL);
        d->counters.reassigned++;
        return true;
    }
    dispatch_tell_error(d, r, worker, TR_ERR_PEER, why);
    dispatch_request_remove(d, r);
    return false;
}

void dispatch_lose(tr_dispatch_t *d, dispatch_worker_t *worker, const char *why, bool counts)
{
    for (size_t i = 0; i < dispatch_list_count(&d->requests);) {
        dispatch_request_t *r = dispatch_request_at(d, i);
        bool named = r->wanted != NULL && strcmp(r->wanted, worker->name) == 0;
        bool gone = (r->at == worker || named) && !survives(d, r, worker, why, counts);
        i += !gone;
    }
    dispatch_tell_worker(d, TR_EVENT_LOST, worker, NULL, why);
    dispatch_worker_remove(d, worker);
}
