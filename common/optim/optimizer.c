/// AdamW on a rank's shard of the trained parameters, and the norm that clips it. Apart from
/// accumulator.c, which makes a shard's gradient; who has which shard is
/// common/collective/shards.h.
#include "common/optim/optimizer_private.h"

#include <stdlib.h>

// Life cycle

/// Number of sums of squares that a rank has: TR_SUM_BLOCKS for its part of each segment.
static size_t blocks_of(const tr_shards_t *shards, size_t rank)
{
    size_t blocks = 0;
    for (size_t s = 0; s < shards->segments; s++) {
        blocks += TR_SUM_BLOCKS(tr_shards_part(shards, s, rank).count);
    }
    return blocks;
}

/// Both moments in one buffer: in the GPU's memory, or with offload in pinned memory of the host.
static tr_status allocate_moments(tr_optimizer_t *optimizer, size_t bytes, tr_error_t *err)
{
    const tr_ops_t *ops = optimizer->backend->ops;
    bool on_host = optimizer->options.offload && ops->buffer_new_host != NULL;
    return on_host ? ops->buffer_new_host(optimizer->backend, &optimizer->moments, bytes, err)
                   : ops->buffer_new(optimizer->backend, &optimizer->moments, bytes, err);
}

/// Moments, sums of squares and the accumulator, all for this rank's shard.
static tr_status allocate(tr_optimizer_t *optimizer, tr_error_t *err)
{
    const tr_shards_t *shards = optimizer->shards;
    tr_backend_t *backend = optimizer->backend;
    // Everything is of the shard: with N ranks each has about an Nth (ZeRO).
    size_t n = shards->local[shards->segments], blocks = blocks_of(shards, shards->rank);
    TR_TRY(allocate_moments(optimizer, 2 * n * sizeof(float), err));
    TR_TRY(backend->ops->buffer_new(backend, &optimizer->squares, blocks * sizeof(float), err));
    // New buffers are zeroed, which is where AdamW's moments start.
    optimizer->m = (tr_tensor_t){optimizer->moments, 0, TR_F32, 1, n};
    optimizer->v = (tr_tensor_t){optimizer->moments, n * sizeof(float), TR_F32, 1, n};
    optimizer->sums = (tr_tensor_t){optimizer->squares, 0, TR_F32, 1, blocks};
    return accumulator_allocate(optimizer, err);
}

tr_status tr_optimizer_new(tr_optimizer_t **self, tr_backend_t *backend, tr_queue_t *queue,
                           tr_tensor_t parameters, const tr_parts_t *spared,
                           const tr_shards_t *shards, const tr_optimizer_options_t *options,
                           const tr_ranks_t *ranks, tr_error_t *err)
{
    tr_optimizer_t *optimizer = tr_calloc(1, sizeof *optimizer);
    optimizer->backend = backend;
    optimizer->queue = queue;
    optimizer->parameters = parameters;
    // Without decay all parts are alike, and one call updates a segment.
    if (spared != NULL && options->weight_decay > 0.0) {
        optimizer->spared = *spared;
    }
    optimizer->shards = shards;
    optimizer->options = *options;
    optimizer->ranks = *ranks;
    tr_status status = allocate(optimizer, err);
    if (status != TR_OK) {
        tr_optimizer_destroy(&optimizer);
        return status;
    }
    *self = optimizer;
    return TR_OK;
}

void tr_optimizer_destroy(tr_optimizer_t **self)
{
    if (*self != NULL) {
        (*self)->backend->ops->buffer_destroy(&(*self)->moments);
        (*self)->backend->ops->buffer_destroy(&(*self)->squares);
        accumulator_release(*self);
        free(*self);
        *self = NULL;
    }
}

// The step

/// sums: [blocks of all ranks], rank after rank; squares: the same, written in the order of the
/// flat vector, so that the norm does not depend on the number of ranks.
static void order_squares(float *squares, const float *sums, const tr_shards_t *shards)
{
    // `gather` brought the sums rank after rank; in the flat vector ranks alternate, segment by
    // segment.
    // next[r]: where rank r's sums continue.
    size_t *next = tr_calloc(shards->ranks, sizeof *next);
    for (size_t r = 1; r < shards->ranks; r++) {
        next[r] = next[r - 1] + blocks_of(shards, r - 1);
    }
    for (size_t s = 0; s < shards->segments; s++) {
        for (size_t r = 0; r < shards->ranks; r++) {
            size_t blocks = TR_SUM_BLOCKS(tr_shards_part(shards, s, r).count);
            for (size_t i = 0; i < blocks; i++) {
                *squares++ = sums[next[r]++];
            }
        }
    }
    free(next);
}

/// Reads the sums of squares of this rank's blocks to the host.
static tr_status own_squares(float *sums, const tr_optimizer_t *optimizer, tr_tensor_t gradient,
                             tr_error_t *err)
{
    const tr_ops_t *ops = optimizer->backend->ops;
    size_t at = 0;
    for (size_t s = 0; s < optimizer->shards->segments; s++) {
        const tr_part_t part = tr_shards_own(optimizer->shards, s);
        const tr_part_t blocks = {at, TR_SUM_BLOCKS(part.count)};
        // One call a segment: a rank's parts lie side by side in the shard, but blocks start anew
        // with each segment, as they do in the whole vector. A small segment may leave a rank
        // without a part.
        if (part.count > 0) {
            ops->sum_squares(optimizer->queue, flat_part(optimizer->sums, blocks),
                             flat_part(gradient, part));
        }
        at += blocks.count;
    }
    // The only place of an update where the host waits for the device: the scale depends on the
    // norm.
    ops->read(optimizer->queue, sums, optimizer->sums);
    return ops->queue_wait(optimizer->queue, err);
}

/// *scale: of the gradient, from the norm over all ranks. All ranks compute the same.
static tr_status clip(float *scale, double *norm, const tr_optimizer_t *optimizer,
                      tr_tensor_t gradient, tr_error_t *err)
{
    const tr_shards_t *shards = optimizer->shards;
    tr_collective_t *collective = optimizer->ranks.collective;
    size_t *starts = tr_calloc(shards->ranks + 1, sizeof *starts);
    for (size_t r = 0; r < shards->ranks; r++) {
        starts[r + 1] = starts[r] + blocks_of(shards, r) * sizeof(float);
    }
    size_t blocks = starts[shards->ranks] / sizeof(float);
    // As they arrive, rank after rank, and as they are added.
    float *sums = tr_calloc(2 * blocks, sizeof *sums), *squares = sums + blocks;
    tr_status status;
    TR_TRY_GOTO(own_squares(sums + starts[shards->rank] / sizeof(float), optimizer, gradient, err),
                done);
    // Every rank needs all sums: the norm is of the whole gradient.
    if (shards->ranks > 1) {
        collective->ops->gather(collective, sums, starts);
    }
    order_squares(squares, sums, shards);
    // Every rank has the same sums in the same order, so all decide alike, also to fail.
    status = tr_clip(scale, norm, squares, blocks, optimizer->options.clip, err);
    if (status != TR_OK) {
        tr_error_prefix(err, "update %llu (lower the learning rate?)",
                        (unsigned long long)optimizer->steps + 1);
    }
done:
    free(sums);
    free(starts);
    return status;
}

/// How many elements from `at` on decay alike; *decay: set to 0 where they are spared.
static size_t run_from(double *decay, const tr_parts_t *spared, size_t at)
{
    for (size_t i = 0; i < spared->count; i++) {
        const tr_part_t part = spared->items[i];
        if (at < part.first) {
            return part.first - at;
        }
        if (at < part.first + part.count) {
            *decay = 0.0;
            return part.first + part.count - at;
        }
    }
    return SIZE_MAX;
}

/// AdamW on this rank's part of a segment.
static void update_segment(const tr_optimizer_t *optimizer, size_t segment, tr_tensor_t gradient,
                           tr_adamw_t options)
{
    const tr_shards_t *shards = optimizer->shards;
    const tr_part_t own = tr_shards_own(shards, segment);
    // Moments and gradient are always the shard, so they have one place and parameters may have
    // another.
    bool sharded = rank_count(optimizer) > 1 && optimizer->ranks.zero_stage >= 3;
    const tr_part_t part = tr_shards_part(shards, segment, shards->rank);
    // With zero_stage 3 parameters are the shard, else the whole vector.
    const tr_part_t place = sharded ? own : part;
    const double decay = options.weight_decay;
    for (size_t done = 0, n; done < own.count; done += n) {
        // The place in the whole vector, by which stochastic rounding draws its numbers.
        options.first = part.first + done;
        options.weight_decay = decay;
        n = run_from(&options.weight_decay, &optimizer->spared, options.first);
        n = n < own.count - done ? n : own.count - done;
        const tr_part_t run = {own.first + done, n}, weights = {place.first + done, n};
        optimizer->backend->ops->adamw(optimizer->queue, flat_part(optimizer->parameters, weights),
                                       flat_part(optimizer->m, run), flat_part(optimizer->v, run),
                                       flat_part(gradient, run), options);
    }
}

/// Sends this rank's updated parameters of a segment to all, and receives the others'.
static void share_segment(const tr_optimizer_t *optimizer, size_t segment)
{
    const tr_shards_t *shards = optimizer->shards;
    tr_collective_t *collective = optimizer->ranks.collective;
    tr_tensor_t *parts = tr_calloc(shards->ranks, sizeof *parts);
    for (size_t r = 0; r < shards->ranks; r++) {
        parts[r] = flat_part(optimizer->parameters, tr_shards_part(shards, segment, r));
    }
    // In place: this rank's part is updated, the others' parts are overwritten.
    collective->ops->share(collective, optimizer->backend, optimizer->queue, parts);
    free(parts);
}

/// Updates all segments; each is shared as soon as it is updated.
static void update(const tr_optimizer_t *optimizer, double learning_rate, float scale,
                   tr_tensor_t gradient)
{
    const tr_optimizer_options_t *options = &optimizer->options;
    // The scheduler's rate of this step, in place of the options' peak.
    const tr_adamw_t adamw = {.learning_rate = learning_rate,
                              .beta1 = options->beta1,
                              .beta2 = options->beta2,
                              .epsilon = options->epsilon,
                              .weight_decay = options->weight_decay,
                              .scale = scale,
                              .step = optimizer->steps,
                              .seed = options->seed};
    for (size_t s = 0; s < optimizer->shards->segments; s++) {
        update_segment(optimizer, s, gradient, adamw);
        // With zero_stage 3 the forward pass gathers a layer when it needs it
        // (common/model/sharding.c).
        if (rank_count(optimizer) > 1 && optimizer->ranks.zero_stage < 3) {
            share_segment(optimizer, s);
        }
    }
}

tr_status tr_optimizer_step(tr_optimizer_t *optimizer, double learning_rate, double *norm,
                            tr_error_t *err)
{
    float scale;
    // The accumulator is empty afterwards, also where the norm is not finite and nothing is
    // updated.
    tr_tensor_t gradient = accumulator_sum(optimizer);
    TR_TRY(clip(&scale, norm, optimizer, gradient, err));
    // Counted from 1: AdamW's bias correction divides by 1 - beta^step.
    optimizer->steps++;
    update(optimizer, learning_rate, scale, gradient);
    return TR_OK;
}

uint64_t tr_optimizer_steps(const tr_optimizer_t *optimizer)
{
    return optimizer->steps;
}

tr_tensor_t tr_optimizer_first_moment(const tr_optimizer_t *optimizer)
{
    return optimizer->m;
}

tr_tensor_t tr_optimizer_second_moment(const tr_optimizer_t *optimizer)
{
    return optimizer->v;
}

/// The number of updates is part of the state: bias correction and stochastic rounding depend on
/// it.
void tr_optimizer_resume(tr_optimizer_t *optimizer, uint64_t steps)
{
    optimizer->steps = steps;
}
