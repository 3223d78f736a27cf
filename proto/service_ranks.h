/// A role of several processes (ranks): rank 0 is the worker that the controller knows; the others
/// run every handler that it runs, with the same welcome or request, in step with it. For service.c
/// and service_jobs.c.
#ifndef TR_PROTO_SERVICE_RANKS_H
#define TR_PROTO_SERVICE_RANKS_H

#include "common/collective/collective.h"
#include "proto/message.h"

/// Before a handler runs: rank 0 sends the message to the other ranks, which wait for it in
/// service_ranks_receive. Does nothing on other ranks and without a collective (NULL).
tr_status service_ranks_forward(tr_collective_t *collective, const tr_message_t *message,
                                tr_error_t *err);

/// After a handler, on every rank: all must have ended with the same status. A rank that ended
/// otherwise cannot go on from the same state: then all processes of the group end, with a
/// sentence.
void service_ranks_agree(tr_collective_t *collective, tr_status status, const tr_error_t *err);

/// Rank 0, when it is done: the others leave.
void service_ranks_dismiss(tr_collective_t *collective);

/// The other ranks: waits for the next message that rank 0 forwards. *message: owned by the caller,
/// NULL when rank 0 is done.
tr_status service_ranks_receive(tr_message_t **message, tr_collective_t *collective,
                                tr_error_t *err);

#endif
