/// Inside of the optimizer: its state, which optimizer.c and accumulator.c share, and the pure
/// parts of an update.
#ifndef TR_OPTIM_OPTIMIZER_PRIVATE_H
#define TR_OPTIM_OPTIMIZER_PRIVATE_H

#include "common/optim/optimizer.h"
#include "common/optim/tree.h"

/// Everything but parameters, shards and the collective belongs to the optimizer.
struct tr_optimizer {
    tr_backend_t *backend;
    tr_queue_t *queue;
    tr_tensor_t parameters; ///< borrowed: all, or with zero_stage 3 the shard
    tr_parts_t spared;      ///< borrowed: parts of all parameters; none where nothing decays
    const tr_shards_t *shards;
    tr_optimizer_options_t options;
    tr_ranks_t ranks;
    tr_buffer_t *moments;
    tr_tensor_t m, v; ///< [shard]
    tr_buffer_t *squares;
    tr_tensor_t sums; ///< [blocks of the shard] sums of squares
    uint64_t steps;

    // accumulator.c
    tr_tree_t *tree; ///< of the shard
    /// The gradient of this rank's chunk: whole, or the embedding's segment followed by room for
    /// one other. NULL without ranks, as `arrived` is.
    tr_buffer_t *written;
    /// This rank's part of a segment: [ranks, largest part] of each chunk, or its sum.
    tr_buffer_t *arrived;
    tr_gradient_t gradient;
    size_t chunks;  ///< of the current round
    size_t pending; ///< segments of the round that are not exchanged yet
};

/// 1 without a collective, even where the shards are those of several ranks (deploy/memory.c counts
/// the moments of one).
static inline size_t rank_count(const tr_optimizer_t *optimizer)
{
    return tr_collective_size(optimizer->ranks.collective);
}

/// A part of a flat vector.
static inline tr_tensor_t flat_part(tr_tensor_t flat, tr_part_t part)
{
    return tr_tensor_slice(flat, part.first, 1, part.count);
}

/// Allocates the memory in which gradients add up; the caller releases it after a failure too.
tr_status accumulator_allocate(tr_optimizer_t *optimizer, tr_error_t *err);
void accumulator_release(tr_optimizer_t *optimizer);

/// The sum over all chunks of all ranks: [shard], valid until the next round, which starts from 0.
tr_tensor_t accumulator_sum(tr_optimizer_t *optimizer);

/// Clipping by the global norm, as torch.nn.utils.clip_grad_norm_. Pure.
/// norm: written with sqrt(sum of squares), added in double, ascending. squares: [n], the sum of
/// squares of each part of the gradient (the operator sum_squares). scale: written with min(1,
/// max_norm / (norm + 1e-6)), by which AdamW multiplies gradients; 1 when max_norm is 0 (no
/// clipping). TR_ERR_NUMERIC, with the number of the first bad part, when the norm is not finite:
/// such gradients must not be applied.
tr_status tr_clip(float *scale, double *norm, const float *squares, size_t n, double max_norm,
                  tr_error_t *err);

#endif
