/// AdamW over the flat vector of a model's trained parameters, by one process or by the ranks of a
/// collective.
///
/// A minibatch is cut into chunks of sequences. Each chunk's gradient is one vector, and the
/// vectors add up in a tree of fixed shape (tree.h), so neither threads nor ranks change a bit.
/// With N ranks, N chunks make a round, one a rank: afterwards each rank holds its shard
/// (common/collective/shards.h) of each of them, adds these to its tree in their order, keeps the
/// moments of its shard alone, and updates that part of the parameters, which go to all
/// (Rajbhandari et al. 2020, "ZeRO"). Memory of a rank beside the parameters, for P of them: one
/// process 2P moments and P a level of the tree; N ranks these divided by N, and a gradient of P
/// (zero_stage 1) or of the largest segment (2, 3).
#ifndef TR_OPTIM_OPTIMIZER_H
#define TR_OPTIM_OPTIMIZER_H

#include "common/collective/collective.h"
#include "common/collective/shards.h"
#include "common/optim/options.h"
#include "common/tensor/gradient.h"

/// How the work is divided.
typedef struct tr_ranks {
    tr_collective_t *collective; ///< borrowed; NULL: one process does all, and the rest is not read
    /// Sharded are: 1 moments; 2 also gradients, sent while the backward pass runs; 3 parameters
    /// too.
    unsigned zero_stage;
    tr_gradient_sum_t gradient_sum;
} tr_ranks_t;

typedef struct tr_optimizer tr_optimizer_t;

/// parameters: f32 vector (or bf16, rounded stochastically: backend.h, adamw), updated in place by
/// tr_optimizer_step; the whole, or with zero_stage 3 this rank's shard. spared: the parts of the
/// whole vector without weight decay; NULL: none. These and shards must outlive the optimizer;
/// ranks is copied.
tr_status tr_optimizer_new(tr_optimizer_t **optimizer, tr_backend_t *backend, tr_queue_t *queue,
                           tr_tensor_t parameters, const tr_parts_t *spared,
                           const tr_shards_t *shards, const tr_optimizer_options_t *options,
                           const tr_ranks_t *ranks, tr_error_t *err);
void tr_optimizer_destroy(tr_optimizer_t **optimizer);

/// Begins a round of `chunks` chunks, at most one a rank: rank r's gradient, if r < chunks, goes to
/// *gradient, which is zeroed and the optimizer's own. All ranks call it and, when that gradient is
/// written, tr_optimizer_round_end.
tr_status tr_optimizer_round(tr_optimizer_t *optimizer, tr_gradient_t **gradient, size_t chunks,
                             tr_error_t *err);
void tr_optimizer_round_end(tr_optimizer_t *optimizer);

/// Discards the chunks since the last step: for a caller that fails between two of them.
void tr_optimizer_discard(tr_optimizer_t *optimizer);

/// Completes the sum of the tree, clips, updates the parameters, clears the gradient. *norm: the
/// global norm before clipping. A norm that is not finite fails with TR_ERR_NUMERIC, on all ranks,
/// and changes neither parameters nor moments nor the number of updates; the gradient is cleared
/// too.
tr_status tr_optimizer_step(tr_optimizer_t *optimizer, double learning_rate, double *norm,
                            tr_error_t *err);

/// Updates so far.
uint64_t tr_optimizer_steps(const tr_optimizer_t *optimizer);

/// First and second moment of this rank's shard, for a checkpoint. To restore one, write them and
/// resume with the number of updates that they have seen.
tr_tensor_t tr_optimizer_first_moment(const tr_optimizer_t *optimizer);
tr_tensor_t tr_optimizer_second_moment(const tr_optimizer_t *optimizer);
void tr_optimizer_resume(tr_optimizer_t *optimizer, uint64_t steps);

#endif
