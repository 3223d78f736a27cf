/// How the gradients of chunks become one sum on the rank that updates with it. Apart from
/// optimizer.c, which knows AdamW and no chunk. There are three ways:
///
///   - one process: each chunk's gradient is a leaf of the tree (tree.h);
///   - ranks, exact: a round gives each rank its shard of every rank's chunk, and these are the
///     leaves, in the order of chunks, so that any number of ranks gives the bits of one process;
///   - ranks by all_reduce: the library adds, and a rank has one sum. With whole gradients
///     (zero_stage 1) chunks add up on their rank until the step, and are sent once ("late").
///
/// From zero_stage 2 on a rank has no whole gradient: the backward pass writes a segment, which is
/// sent as soon as it is complete, and the next one takes its place ("windowed"). Next: tree.c.
#include "common/optim/optimizer_private.h"

#include <stdlib.h>

/// Whether sums are those of the tree, not of the library.
static bool is_exact(const tr_optimizer_t *self)
{
    return self->ranks.gradient_sum == TR_GRADIENT_SUM_TREE;
}

/// Whether one segment at a time is in memory.
static bool is_windowed(const tr_optimizer_t *self)
{
    return rank_count(self) > 1 && self->ranks.zero_stage >= 2;
}

/// Whether chunks add up on their rank until the step.
static bool is_late(const tr_optimizer_t *self)
{
    return rank_count(self) > 1 && !is_exact(self) && !is_windowed(self);
}

// Life cycle

static size_t segment_size(const tr_shards_t *shards, size_t segment)
{
    return shards->starts[segment + 1] - shards->starts[segment];
}

/// Elements of `written`: all, or the embedding and the largest other segment.
static size_t written_size(const tr_optimizer_t *self)
{
    const tr_shards_t *shards = self->shards;
    size_t largest = 0;
    if (!is_windowed(self)) {
        return shards->starts[shards->segments];
    }
    for (size_t s = 1; s < shards->segments; s++) {
        size_t size = segment_size(shards, s);
        largest = size > largest ? size : largest;
    }
    // The embedding's gradient is complete last (it may also be the head), so it has room of its
    // own.
    return segment_size(shards, 0) + largest;
}

tr_status accumulator_allocate(tr_optimizer_t *self, tr_error_t *err)
{
    const tr_shards_t *shards = self->shards;
    tr_backend_t *backend = self->backend;
    self->tree = tr_tree_new(backend, self->queue, shards->local[shards->segments]);
    if (rank_count(self) == 1) {
        return TR_OK;
    }
    // An exact round receives a part from each rank's chunk before any is added.
    size_t rows = is_exact(self) ? rank_count(self) : 1;
    TR_TRY(
        backend->ops->buffer_new(backend, &self->written, written_size(self) * sizeof(float), err));
    return backend->ops->buffer_new(backend, &self->arrived, rows * shards->largest * sizeof(float),
                                    err);
}

void accumulator_release(tr_optimizer_t *self)
{
    self->backend->ops->buffer_destroy(&self->written);
    self->backend->ops->buffer_destroy(&self->arrived);
    tr_tree_destroy(&self->tree);
}

// Exchange

/// `written` seen as the flat vector, with `element` of it at `place` of the buffer: the backward
/// pass writes a segment as if all were there.
static tr_tensor_t window(const tr_optimizer_t *self, size_t element, size_t place)
{
    size_t n = self->shards->starts[self->shards->segments];
    // May wrap below 0: offsets are added to again before they are used (gradient.h).
    return (tr_tensor_t){self->written, (place - element) * sizeof(float), TR_F32, 1, n};
}

/// Zeroes a segment: the backward pass adds to it.
static void clear(const tr_optimizer_t *self, size_t segment, tr_tensor_t flat)
{
    const tr_shards_t *shards = self->shards;
    const tr_part_t whole = {shards->starts[segment], segment_size(shards, segment)};
    self->backend->ops->zero(self->queue, flat_part(flat, whole));
}

/// Points `rest` to the zeroed room behind the embedding, for the next segment.
static void open_window(tr_optimizer_t *self, size_t segment)
{
    const tr_shards_t *shards = self->shards;
    self->gradient.rest = window(self, shards->starts[segment], segment_size(shards, 0));
    clear(self, segment, self->gradient.rest);
}

/// Sends each rank its part of this rank's gradient of the segment, and adds the parts that arrive
/// to the tree, in the order of chunks. Ranks without a chunk send nothing.
static void exchange(tr_optimizer_t *self, size_t segment, tr_tensor_t flat)
{
    const tr_shards_t *shards = self->shards;
    tr_tensor_t *sent = tr_calloc(2 * shards->ranks, sizeof *sent),
                *received = sent + shards->ranks;
    const tr_part_t own = tr_shards_own(shards, segment);
    for (size_t r = 0; r < shards->ranks; r++) {
        // The last round of a minibatch may have fewer chunks than ranks.
        if (shards->rank < self->chunks) {
            sent[r] = flat_part(flat, tr_shards_part(shards, segment, r));
        }
        if (r < self->chunks) {
            received[r] = (tr_tensor_t){self->arrived, r * shards->largest * sizeof(float), TR_F32,
                                        1, own.count};
        }
    }
    tr_collective_t *collective = self->ranks.collective;
    collective->ops->exchange(collective, self->backend, self->queue, received, sent);
    if (own.count > 0) {
        tr_tree_push(self->tree, own.first, received, self->chunks);
    }
    free(sent);
}

/// Gives each rank its part of the sum of all ranks' gradients of the segment.
static void reduce(tr_optimizer_t *self, size_t segment, tr_tensor_t flat)
{
    const tr_shards_t *shards = self->shards;
    tr_tensor_t *parts = tr_calloc(shards->ranks, sizeof *parts);
    const tr_part_t own = tr_shards_own(shards, segment);
    const tr_tensor_t sum = {self->arrived, 0, TR_F32, 1, own.count};
    for (size_t r = 0; r < shards->ranks; r++) {
        parts[r] = flat_part(flat, tr_shards_part(shards, segment, r));
    }
    tr_collective_t *collective = self->ranks.collective;
    collective->ops->reduce(collective, self->backend, self->queue, sum, parts);
    if (own.count > 0) {
        tr_tree_add(self->tree, own.first, sum);
    }
    free(parts);
}

/// Exchanges the last pending segment, from where this rank's gradient is.
static void absorb(tr_optimizer_t *self)
{
    size_t segment = --self->pending;
    tr_tensor_t flat = segment == 0 ? self->gradient.embedding : self->gradient.rest;
    if (is_exact(self)) {
        exchange(self, segment, flat);
    } else {
        reduce(self, segment, flat);
    }
    // Its room is free again: the backward pass goes from the last segment to the first.
    if (is_windowed(self) && segment > 1) {
        open_window(self, segment - 1);
    }
}

/// Exchanges all that is pending; the tree has then grown by the round's leaves.
static void absorb_all(tr_optimizer_t *self)
{
    while (self->pending > 0) {
        absorb(self);
    }
    if (is_exact(self)) {
        tr_tree_grow(self->tree, self->chunks);
    } else if (tr_tree_count(self->tree) == 0) {
        tr_tree_grow(self->tree, 1);
    }
}

/// Called by the backward pass when a segment is complete (common/tensor/gradient.h).
static void segment_complete(tr_gradient_t *gradient, size_t segment)
{
    tr_optimizer_t *self = gradient->context;
    TR_ASSERT(segment + 1 == self->pending, "segment %zu is complete before %zu", segment,
              self->pending - 1);
    absorb(self);
}

// A round

/// Prepares room for this rank's gradient: zeroed, except for late sums, which continue those of
/// the round before.
static void open_gradient(tr_optimizer_t *self)
{
    const tr_shards_t *shards = self->shards;
    // Embedding and rest are the same vector where all of it is there.
    self->gradient = tr_gradient_whole(window(self, 0, 0));
    if (is_windowed(self)) {
        self->gradient.complete = segment_complete;
        self->gradient.context = self;
        clear(self, 0, self->gradient.embedding);
        if (shards->segments > 1) {
            open_window(self, shards->segments - 1);
        }
    } else if (!is_late(self) || self->pending == 0) {
        self->backend->ops->zero(self->queue, self->gradient.rest);
    }
}

tr_status tr_optimizer_round(tr_optimizer_t *self, tr_gradient_t **gradient, size_t chunks,
                             tr_error_t *err)
{
    *gradient = &self->gradient;
    if (rank_count(self) == 1) {
        // Without ranks the backward pass writes into the tree itself.
        tr_tensor_t leaf;
        TR_TRY(tr_tree_leaf(self->tree, &leaf, err));
        self->gradient = tr_gradient_whole(leaf);
        return TR_OK;
    }
    // Memory first: once segments are under way, nothing may fail on one rank alone.
    TR_TRY(tr_tree_reserve(self->tree, chunks, err));
    open_gradient(self);
    self->chunks = chunks;
    self->pending = self->shards->segments;
    return TR_OK;
}

void tr_optimizer_round_end(tr_optimizer_t *self)
{
    if (rank_count(self) > 1 && !is_late(self)) {
        absorb_all(self);
    }
}

void tr_optimizer_discard(tr_optimizer_t *self)
{
    tr_tree_clear(self->tree);
    self->pending = 0;
}

tr_tensor_t accumulator_sum(tr_optimizer_t *self)
{
    if (is_late(self)) {
        absorb_all(self);
    }
    return tr_tree_sum(self->tree);
}
