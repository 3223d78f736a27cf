#include "common/optim/optimizer.h"

#include <stdlib.h>

#include "common/optim/clip.h"
#include "common/optim/tree.h"

struct tr_optimizer {
    tr_backend_t *backend;
    tr_queue_t *queue;
    tr_tensor_t parameters;
    const tr_shards_t *shards;
    tr_optimizer_options_t options;
    tr_ranks_t ranks;
    tr_buffer_t *moments;
    tr_tensor_t m, v; // [shard]
    tr_buffer_t *squares;
    tr_tensor_t sums; // [blocks of the shard] sums of squares
    tr_tree_t *tree;  // of the shard
    uint64_t steps;

    // With ranks:
    tr_buffer_t *
        written; // the gradient of the own chunk: whole, or the embedding's segment and then room for any other
    tr_buffer_t
        *arrived; // the own part of a segment: [ranks, largest part] of each chunk, or its sum
    tr_gradient_t gradient;
    size_t chunks;  // of the round at hand
    size_t pending; // segments of the round that are still to be exchanged
};

// Ranks or none

static size_t size_of(const tr_optimizer_t *optimizer)
{
    return tr_collective_size(optimizer->ranks.collective);
}

/// Whether the gradient exists a segment at a time.
static bool is_windowed(const tr_optimizer_t *optimizer)
{
    return size_of(optimizer) > 1 && optimizer->ranks.zero_stage >= 2;
}

static bool is_exact(const tr_optimizer_t *optimizer)
{
    return optimizer->ranks.gradient_sum == TR_GRADIENT_SUM_TREE;
}

/// Whether chunks add up on their rank until the step, and are exchanged there.
static bool is_late(const tr_optimizer_t *optimizer)
{
    return size_of(optimizer) > 1 && !is_exact(optimizer) && !is_windowed(optimizer);
}

// Life cycle

static size_t shard_size(const tr_optimizer_t *optimizer)
{
    return optimizer->shards->local[optimizer->shards->segments];
}

/// Blocks of squares in a rank's parts of all segments.
static size_t blocks_of(const tr_shards_t *shards, size_t rank)
{
    size_t blocks = 0;
    for (size_t s = 0; s < shards->segments; s++) {
        blocks += TR_SUM_BLOCKS(tr_shards_part(shards, s, rank).count);
    }
    return blocks;
}

static size_t segment_size(const tr_shards_t *shards, size_t segment)
{
    return shards->starts[segment + 1] - shards->starts[segment];
}

/// Elements of `written`.
static size_t gradient_size(const tr_optimizer_t *optimizer)
{
    const tr_shards_t *shards = optimizer->shards;
    size_t largest = 0;
    if (!is_windowed(optimizer)) {
        return shards->starts[shards->segments];
    }
    for (size_t s = 1; s < shards->segments; s++) {
        size_t size = segment_size(shards, s);
        largest = size > largest ? size : largest;
    }
    return segment_size(shards, 0) + largest;
}

static tr_status floats(tr_optimizer_t *optimizer, tr_buffer_t **buffer, size_t count,
                        tr_error_t *err)
{
    return optimizer->backend->ops->buffer_new(optimizer->backend, buffer, count * sizeof(float),
                                               err);
}

static tr_status allocate_moments(tr_optimizer_t *optimizer, size_t bytes, tr_error_t *err)
{
    const tr_ops_t *ops = optimizer->backend->ops;
    bool on_host = optimizer->options.offload && ops->buffer_new_host != NULL;
    return on_host ? ops->buffer_new_host(optimizer->backend, &optimizer->moments, bytes, err)
                   : ops->buffer_new(optimizer->backend, &optimizer->moments, bytes, err);
}

static tr_status allocate(tr_optimizer_t *optimizer, tr_error_t *err)
{
    size_t n = shard_size(optimizer), ranks = size_of(optimizer);
    size_t blocks = blocks_of(optimizer->shards, optimizer->shards->rank);
    TR_TRY(allocate_moments(optimizer, 2 * n * sizeof(float), err));
    TR_TRY(floats(optimizer, &optimizer->squares, blocks, err));
    if (ranks > 1) {
        TR_TRY(floats(optimizer, &optimizer->written, gradient_size(optimizer), err));
        size_t rows = is_exact(optimizer) ? ranks : 1;
        TR_TRY(floats(optimizer, &optimizer->arrived, rows * optimizer->shards->largest, err));
    }
    optimizer->m = (tr_tensor_t){optimizer->moments, 0, TR_F32, 1, n};
    optimizer->v = (tr_tensor_t){optimizer->moments, n * sizeof(float), TR_F32, 1, n};
    optimizer->sums = (tr_tensor_t){optimizer->squares, 0, TR_F32, 1, blocks};
    return TR_OK;
}

tr_status tr_optimizer_new(tr_optimizer_t **self, tr_backend_t *backend, tr_queue_t *queue,
                           tr_tensor_t parameters, const tr_shards_t *shards,
                           const tr_optimizer_options_t *options, const tr_ranks_t *ranks,
                           tr_error_t *err)
{
    tr_optimizer_t *optimizer = tr_calloc(1, sizeof *optimizer);
    optimizer->backend = backend;
    optimizer->queue = queue;
    optimizer->parameters = parameters;
    optimizer->shards = shards;
    optimizer->options = *options;
    optimizer->ranks = *ranks;
    tr_status status = allocate(optimizer, err);
    if (status != TR_OK) {
        tr_optimizer_destroy(&optimizer);
        return status;
    }
    optimizer->tree = tr_tree_new(backend, queue, shard_size(optimizer));
    *self = optimizer;
    return TR_OK;
}

void tr_optimizer_destroy(tr_optimizer_t **self)
{
    tr_optimizer_t *optimizer = *self;
    if (optimizer == NULL) {
        return;
    }
    tr_buffer_t **const buffers[] = {&optimizer->moments, &optimizer->squares, &optimizer->written,
                                     &optimizer->arrived};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        optimizer->backend->ops->buffer_destroy(buffers[i]);
    }
    tr_tree_destroy(&optimizer->tree);
    free(optimizer);
    *self = NULL;
}

// A round

static tr_tensor_t slice(tr_tensor_t flat, tr_part_t part)
{
    flat.offset += part.first * tr_dtype_size(flat.dtype);
    flat.rows = 1;
    flat.columns = part.count;
    return flat;
}

/// The own part of a segment as it stands in a vector of the shard's size.
static tr_part_t in_shard(const tr_shards_t *shards, size_t segment)
{
    size_t first = shards->local[segment];
    return (tr_part_t){first, shards->local[segment + 1] - first};
}

/// `written` as the flat vector, with an element of it at a place of the buffer.
static tr_tensor_t window(const tr_optimizer_t *optimizer, size_t element, size_t place)
{
    size_t n = optimizer->shards->starts[optimizer->shards->segments];
    return (tr_tensor_t){optimizer->written, (place - element) * sizeof(float), TR_F32, 1, n};
}

static void clear(const tr_optimizer_t *optimizer, size_t segment, tr_tensor_t flat)
{
    const tr_shards_t *shards = optimizer->shards;
    const tr_part_t whole = {shards->starts[segment], segment_size(shards, segment)};
    optimizer->backend->ops->zero(optimizer->queue, slice(flat, whole));
}

/// rest becomes the zeroed room for a segment behind the embedding.
static void open_window(tr_optimizer_t *optimizer, size_t segment)
{
    const tr_shards_t *shards = optimizer->shards;
    optimizer->gradient.rest = window(optimizer, shards->starts[segment], segment_size(shards, 0));
    clear(optimizer, segment, optimizer->gradient.rest);
}

/// Each rank gets its part of each chunk's gradient of the segment, and its tree these in their order.
static void exchange(tr_optimizer_t *optimizer, size_t segment, tr_tensor_t flat)
{
    const tr_shards_t *shards = optimizer->shards;
    tr_tensor_t *sent = tr_calloc(2 * shards->ranks, sizeof *sent),
                *received = sent + shards->ranks;
    const tr_part_t own = in_shard(shards, segment);
    for (size_t r = 0; r < shards->ranks; r++) {
        if (shards->rank < optimizer->chunks) {
            sent[r] = slice(flat, tr_shards_part(shards, segment, r));
        }
        if (r < optimizer->chunks) {
            received[r] = (tr_tensor_t){optimizer->arrived, r * shards->largest * sizeof(float),
                                        TR_F32, 1, own.count};
        }
    }
    tr_collective_t *collective = optimizer->ranks.collective;
    collective->ops->exchange(collective, optimizer->backend, optimizer->queue, received, sent);
    if (own.count > 0) {
        tr_tree_push(optimizer->tree, own.first, received, optimizer->chunks);
    }
    free(sent);
}

/// Each rank gets its part of the sum of all ranks' gradients of the segment.
static void reduce(tr_optimizer_t *optimizer, size_t segment, tr_tensor_t flat)
{
    const tr_shards_t *shards = optimizer->shards;
    tr_tensor_t *parts = tr_calloc(shards->ranks, sizeof *parts);
    const tr_part_t own = in_shard(shards, segment);
    const tr_tensor_t sum = {optimizer->arrived, 0, TR_F32, 1, own.count};
    for (size_t r = 0; r < shards->ranks; r++) {
        parts[r] = slice(flat, tr_shards_part(shards, segment, r));
    }
    tr_collective_t *collective = optimizer->ranks.collective;
    collective->ops->reduce(collective, optimizer->backend, optimizer->queue, sum, parts);
    if (own.count > 0) {
        tr_tree_add(optimizer->tree, own.first, sum, tr_tree_count(optimizer->tree) == 0);
    }
    free(parts);
}

/// The last pending segment is on its way, from where the own chunk's gradient stands.
static void absorb(tr_optimizer_t *optimizer)
{
    size_t segment = --optimizer->pending;
    tr_tensor_t flat = segment == 0 ? optimizer->gradient.embedding : optimizer->gradient.rest;
    if (is_exact(optimizer)) {
        exchange(optimizer, segment, flat);
    } else {
        reduce(optimizer, segment, flat);
    }
    if (is_windowed(optimizer) && segment > 1) {
        open_window(optimizer, segment - 1);
    }
}

/// All that is pending; then the tree has grown.
static void absorb_all(tr_optimizer_t *optimizer)
{
    while (optimizer->pending > 0) {
        absorb(optimizer);
    }
    if (is_exact(optimizer)) {
        tr_tree_grow(optimizer->tree, optimizer->chunks);
    } else if (tr_tree_count(optimizer->tree) == 0) {
        tr_tree_grow(optimizer->tree, 1);
    }
}

/// The backward pass says so.
static void segment_complete(tr_gradient_t *gradient, size_t segment)
{
    tr_optimizer_t *optimizer = gradient->context;
    TR_ASSERT(segment + 1 == optimizer->pending, "segment %zu is complete before %zu", segment,
              optimizer->pending - 1);
    absorb(optimizer);
}

static void open_gradient(tr_optimizer_t *optimizer)
{
    const tr_shards_t *shards = optimizer->shards;
    optimizer->gradient = tr_gradient_whole(window(optimizer, 0, 0));
    if (is_windowed(optimizer)) {
        optimizer->gradient.complete = segment_complete;
        optimizer->gradient.context = optimizer;
        clear(optimizer, 0, optimizer->gradient.embedding);
        if (shards->segments > 1) {
            open_window(optimizer, shards->segments - 1);
        }
    } else if (!is_late(optimizer) || optimizer->pending == 0) { // the first round of late sums
        optimizer->backend->ops->zero(optimizer->queue, optimizer->gradient.rest);
    }
}

tr_status tr_optimizer_round(tr_optimizer_t *optimizer, tr_gradient_t **gradient, size_t chunks,
                             tr_error_t *err)
{
    *gradient = &optimizer->gradient;
    if (size_of(optimizer) == 1) {
        tr_tensor_t leaf;
        TR_TRY(tr_tree_leaf(optimizer->tree, &leaf, err));
        optimizer->gradient = tr_gradient_whole(leaf);
        return TR_OK;
    }
    TR_TRY(tr_tree_reserve(optimizer->tree, chunks, err));
    open_gradient(optimizer);
    optimizer->chunks = chunks;
    optimizer->pending = optimizer->shards->segments;
    return TR_OK;
}

void tr_optimizer_round_end(tr_optimizer_t *optimizer)
{
    if (size_of(optimizer) > 1 && !is_late(optimizer)) {
        absorb_all(optimizer);
    }
}

void tr_optimizer_discard(tr_optimizer_t *optimizer)
{
    tr_tree_clear(optimizer->tree);
    optimizer->pending = 0;
}

// The step

/// sums: [blocks of all ranks], rank after rank, are written; squares: the same in the order of the flat vector.
static void order_squares(float *squares, const float *sums, const tr_shards_t *shards)
{
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

/// The sums of squares of this rank's blocks, on the host.
static tr_status own_squares(float *sums, const tr_optimizer_t *optimizer, tr_tensor_t gradient,
                             tr_error_t *err)
{
    const tr_ops_t *ops = optimizer->backend->ops;
    size_t at = 0;
    for (size_t s = 0; s < optimizer->shards->segments; s++) {
        const tr_part_t part = in_shard(optimizer->shards, s);
        const tr_part_t blocks = {at, TR_SUM_BLOCKS(part.count)};
        if (part.count > 0) {
            ops->sum_squares(optimizer->queue, slice(optimizer->sums, blocks),
                             slice(gradient, part));
        }
        at += blocks.count;
    }
    ops->read(optimizer->queue, sums, optimizer->sums);
    return ops->queue_wait(optimizer->queue, err);
}

/// *scale: of the gradient, from the norm over all ranks.
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
    float *sums = tr_calloc(2 * blocks, sizeof *sums), *squares = sums + blocks;
    tr_status status;
    TR_TRY_GOTO(own_squares(sums + starts[shards->rank] / sizeof(float), optimizer, gradient, err),
                done);
    if (shards->ranks > 1) {
        collective->ops->gather(collective, sums, starts);
    }
    order_squares(squares, sums, shards);
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

static void update_segment(const tr_optimizer_t *optimizer, size_t segment, tr_tensor_t gradient,
                           tr_adamw_t options)
{
    const tr_shards_t *shards = optimizer->shards;
    const tr_part_t own = in_shard(shards, segment);
    bool sharded = size_of(optimizer) > 1 && optimizer->ranks.zero_stage >= 3;
    const tr_part_t part = tr_shards_part(shards, segment, shards->rank);
    const tr_part_t place = sharded ? own : part;
    options.first = part.first;
    if (own.count > 0) {
        optimizer->backend->ops->adamw(optimizer->queue, slice(optimizer->parameters, place),
                                       slice(optimizer->m, own), slice(optimizer->v, own),
                                       slice(gradient, own), options);
    }
}

/// The parameters of a segment, to all ranks.
static void share_segment(const tr_optimizer_t *optimizer, size_t segment)
{
    const tr_shards_t *shards = optimizer->shards;
    tr_collective_t *collective = optimizer->ranks.collective;
    tr_tensor_t *parts = tr_calloc(shards->ranks, sizeof *parts);
    for (size_t r = 0; r < shards->ranks; r++) {
        parts[r] = slice(optimizer->parameters, tr_shards_part(shards, segment, r));
    }
    collective->ops->share(collective, optimizer->backend, optimizer->queue, parts);
    free(parts);
}

static void update(const tr_optimizer_t *optimizer, double learning_rate, float scale,
                   tr_tensor_t gradient)
{
    const tr_optimizer_options_t *options = &optimizer->options;
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
        if (size_of(optimizer) > 1 && optimizer->ranks.zero_stage < 3) {
            share_segment(optimizer, s);
        }
    }
}

tr_status tr_optimizer_step(tr_optimizer_t *optimizer, double learning_rate, double *norm,
                            tr_error_t *err)
{
    float scale;
    if (is_late(optimizer)) {
        absorb_all(optimizer);
    }
    tr_tensor_t gradient = tr_tree_sum(optimizer->tree);
    TR_TRY(clip(&scale, norm, optimizer, gradient, err));
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

void tr_optimizer_resume(tr_optimizer_t *optimizer, uint64_t steps)
{
    optimizer->steps = steps;
}
