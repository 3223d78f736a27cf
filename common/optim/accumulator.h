/// Adds up the gradients of a minibatch's chunks, for each rank those of its shard. Used by
/// optimizer.c; rounds are explained in optimizer.h.
#ifndef TR_OPTIM_ACCUMULATOR_H
#define TR_OPTIM_ACCUMULATOR_H

#include "common/optim/optimizer.h"

typedef struct accumulator accumulator_t;

/// A part of a flat vector.
static inline tr_tensor_t flat_part(tr_tensor_t flat, tr_part_t part)
{
    return tr_tensor_slice(flat, part.first, 1, part.count);
}

/// shards: borrowed; how the vectors are divided. ranks: copied. The caller destroys the
/// accumulator after a failure too.
tr_status accumulator_new(accumulator_t **accumulator, tr_backend_t *backend, tr_queue_t *queue,
                          const tr_shards_t *shards, const tr_ranks_t *ranks, tr_error_t *err);
void accumulator_destroy(accumulator_t **accumulator);

/// As tr_optimizer_round, tr_optimizer_round_end and tr_optimizer_discard.
tr_status accumulator_round(accumulator_t *accumulator, tr_gradient_t **gradient, size_t chunks,
                            tr_error_t *err);
void accumulator_round_end(accumulator_t *accumulator);
void accumulator_discard(accumulator_t *accumulator);

/// The sum over all chunks of all ranks: [shard], valid until the next round. The accumulator is
/// then empty.
tr_tensor_t accumulator_sum(accumulator_t *accumulator);

#endif
