// The device's part of a decoding pass, and its graphs (CUDA graphs: many kernels, launched at
// once).
//
// A pass over one token of each of a few sequences is many small kernels, whose launches cost more
// than they compute. Separate from decoder.c because that one knows sequences and no device.
// Without graphs (a CPU) this is upload, enqueue and download alone.
#include "rollout/device_pass.h"

#include <stdlib.h>
#include <string.h>

/// Shapes that are remembered; when one more comes, all are dropped.
enum { GRAPHS = 128 };

/// The tensors that the device writes; in the arena.
typedef struct outputs {
    tr_tensor_t tokens, logprobs, raw, counts, ids;
} outputs_t;

/// Everything that selects kernels and their arguments, so that passes of one shape are one graph.
typedef struct shape {
    size_t rows, pages, kept_columns;
    // Its options are arguments of the kernel, which a graph records by value.
    tr_sampling_t sampling;
} shape_t;

/// A shape that has run, and from the second time on its graph.
typedef struct known {
    shape_t shape;
    tr_graph_t *graph;
    outputs_t outputs;
} known_t;

struct rollout_device {
    tr_model_t *model;
    tr_arena_t *arena;
    tr_cache_t *cache;
    int32_t spare, spare_ring, spare_slot; // the pages and the slot that filling rows write to
    known_t known[GRAPHS];
    size_t count;
    size_t generation; // of the arena when the graphs were recorded
};

rollout_device_t *rollout_device_new(tr_model_t *model)
{
    rollout_device_t *device = tr_calloc(1, sizeof *device);
    device->model = model;
    device->arena = tr_arena_new(tr_model_backend(model));
    return device;
}

void rollout_device_forget(rollout_device_t *device)
{
    for (size_t i = 0; i < device->count; i++) {
        if (device->known[i].graph != NULL) {
            tr_model_backend(device->model)->ops->graph_destroy(&device->known[i].graph);
        }
    }
    device->count = 0;
}

void rollout_device_destroy(rollout_device_t **self)
{
    if (*self != NULL) {
        rollout_device_forget(*self);
        tr_arena_destroy(&(*self)->arena);
        free(*self);
        *self = NULL;
    }
}

void rollout_device_use(rollout_device_t *device, tr_cache_t *cache, tr_cache_room_t room)
{
    rollout_device_forget(device);
    device->cache = cache;
    device->spare = (int32_t)room.pages - 1;
    device->spare_ring = (int32_t)room.ring - 1;
    device->spare_slot = (int32_t)room.slots - 1;
}

/// 1, 2, 4, 8, and from there on by 8.
size_t rollout_device_rows(size_t count)
{
    size_t rows = 1;
    // Small steps where a row is a large part of the work, then few shapes: 7 rows may be wasted.
    while (rows < count && rows < 8) {
        rows *= 2;
    }
    return count <= 8 ? rows : (count + 7) / 8 * 8;
}

/// Whether the pass takes one token of each sequence and samples the next of each: the shape that
/// repeats. A pass with parts of prompts hardly ever does.
static bool repeats(const rollout_pass_t *pass)
{
    bool same = pass->samples == pass->count;
    for (size_t i = 0; i < pass->count && same; i++) {
        same = pass->spans[i].length == 1;
    }
    return same;
}

/// The pass filled up to a round number of rows; its arrays have room.
static rollout_pass_t fill(const rollout_device_t *device, const rollout_pass_t *pass)
{
    static const int32_t id = 0;
    const bool ring = pass->spans[0].ring != NULL;
    rollout_pass_t filled = *pass;
    // A copy of the record: the caller's counts stay those of real sequences.
    filled.count = filled.samples = rollout_device_rows(pass->count);
    for (size_t i = pass->count; i < filled.count; i++) {
        // A sequence of one token at position 0, whose page is the spare one.
        filled.spans[i] = (tr_span_t){
            &id, 1, 0, &device->spare, device->spare_slot, ring ? &device->spare_ring : NULL, 1};
        filled.sampled_rows[i] = (int32_t)i;
        filled.uniforms[i] = 0.0f;
    }
    return filled;
}

/// The tensors that the device reads; in the arena.
typedef struct inputs {
    tr_batch_t batch;
    tr_tensor_t rows, uniforms;
} inputs_t;

/// Copies to the device are enqueued; nothing waits.
static inputs_t upload(rollout_device_t *device, const rollout_pass_t *pass)
{
    inputs_t inputs;
    tr_queue_t *queue = tr_model_queue(device->model);
    // Into the arena, in this order in every pass: the addresses must repeat.
    tr_batch_init(&inputs.batch, device->arena, queue, pass->spans, pass->count);
    inputs.rows = tr_arena_indices(device->arena, queue, pass->sampled_rows, pass->samples);
    inputs.uniforms = tr_arena_reals(device->arena, queue, pass->uniforms, pass->samples);
    return inputs;
}

/// Enqueues the model and the sampling. Without samples (only parts of prompts) the cache is all
/// that is needed.
static outputs_t enqueue(rollout_device_t *device, const inputs_t *inputs, size_t samples,
                         size_t kept_columns, const tr_sampling_t *sampling)
{
    tr_model_t *model = device->model;
    tr_arena_t *arena = device->arena;
    const tr_backend_t *backend = tr_model_backend(model);
    const tr_model_config_t *config = tr_model_config(model);
    tr_queue_t *queue = tr_model_queue(model);
    outputs_t outputs = {0};
    // Writes the keys and values of all tokens of the pass into the cache.
    tr_tensor_t hidden = tr_model_decode(model, device->cache, &inputs->batch, arena);
    if (samples == 0) {
        return outputs;
    }
    // The head runs over the sampled rows alone: logits of other rows would be computed for
    // nothing.
    tr_tensor_t gathered = tr_arena_tensor(arena, backend->real, samples, config->hidden);
    outputs = (outputs_t){
        .tokens = tr_arena_tensor(arena, TR_I32, 1, samples),
        .logprobs = tr_arena_tensor(arena, TR_F32, 1, samples),
        .raw = tr_arena_tensor(arena, TR_F32, 1, samples),
        .counts = tr_arena_tensor(arena, TR_I32, 1, samples),
        .ids = tr_arena_tensor(arena, TR_I32, samples, kept_columns),
    };
    backend->ops->gather_rows(queue, gathered, hidden, inputs->rows);
    backend->ops->sample(queue, outputs.tokens, outputs.logprobs, outputs.raw, outputs.counts,
                         outputs.ids, gathered, tr_model_head(model), config->vocabulary,
                         inputs->uniforms, *sampling);
    return outputs;
}

/// Member by member: shape_t has padding, which memcmp would compare too; tr_sampling_t has none.
static bool same_shape(const shape_t *a, const shape_t *b)
{
    return a->rows == b->rows && a->pages == b->pages && a->kept_columns == b->kept_columns &&
           memcmp(&a->sampling, &b->sampling, sizeof a->sampling) == 0;
}

/// NULL: the shape has not run yet.
static known_t *find(rollout_device_t *device, const shape_t *shape)
{
    for (size_t i = 0; i < device->count; i++) {
        if (same_shape(&device->known[i].shape, shape)) {
            return &device->known[i];
        }
    }
    return NULL;
}

/// As enqueue, by the shape's graph. A shape runs as it is for the first time, because the device
/// may then allocate or load what cannot be recorded; the second time it is recorded, and launched.
static outputs_t enqueue_graph(rollout_device_t *device, const inputs_t *inputs,
                               const shape_t *shape)
{
    const tr_ops_t *ops = tr_model_backend(device->model)->ops;
    tr_queue_t *queue = tr_model_queue(device->model);
    known_t *known = find(device, shape);
    if (known != NULL && known->graph == NULL) {
        // Recording runs nothing: operators that are enqueued in between become the graph.
        ops->graph_begin(queue);
        known->outputs =
            enqueue(device, inputs, shape->rows, shape->kept_columns, &shape->sampling);
        known->graph = ops->graph_end(queue);
    }
    if (known != NULL && known->graph != NULL && ops->graph_run(queue, known->graph)) {
        return known->outputs;
    }
    // A graph that cannot run is stale, and so are the others; or the table is full.
    if (known != NULL || device->count == GRAPHS) {
        rollout_device_forget(device);
    }
    // Its first run: remembered, so that the second one is recorded.
    device->known[device->count++] = (known_t){.shape = *shape};
    return enqueue(device, inputs, shape->rows, shape->kept_columns, &shape->sampling);
}

/// The first n numbers of a vector, or rows of a matrix.
static tr_tensor_t first(tr_tensor_t tensor, size_t n)
{
    // Tensors of one row are vectors here; the device wrote to more than the caller wants.
    *(tensor.rows == 1 ? &tensor.columns : &tensor.rows) = n;
    return tensor;
}

/// Waits for the device. Samples of filling rows are left out.
static tr_status download(const rollout_device_t *device, rollout_drawn_t *drawn,
                          const outputs_t *outputs, size_t samples, tr_error_t *err)
{
    const tr_ops_t *ops = tr_model_backend(device->model)->ops;
    tr_queue_t *queue = tr_model_queue(device->model);
    // Not by first(): with one sample it is a matrix of one row all the same.
    tr_tensor_t ids = outputs->ids;
    ids.rows = samples;
    ops->read(queue, drawn->tokens, first(outputs->tokens, samples));
    ops->read(queue, drawn->logprobs, first(outputs->logprobs, samples));
    ops->read(queue, drawn->raw, first(outputs->raw, samples));
    ops->read(queue, drawn->kept_counts, first(outputs->counts, samples));
    ops->read(queue, drawn->kept_ids, ids);
    return ops->queue_wait(queue, err);
}

tr_status rollout_device_run(rollout_device_t *device, rollout_drawn_t *drawn,
                             const rollout_pass_t *pass, const tr_sampling_t *sampling,
                             tr_error_t *err)
{
    const tr_ops_t *ops = tr_model_backend(device->model)->ops;
    // Parts of prompts have a new shape every time: recording them would never pay.
    const bool by_graph = ops->graph_begin != NULL && repeats(pass);
    const rollout_pass_t whole = by_graph ? fill(device, pass) : *pass;
    outputs_t outputs;
    // Every pass makes the same tensors in the same order, so they have the same addresses, which
    // the graphs rely on. When the arena had to grow, its generation tells.
    tr_arena_reset(device->arena);
    inputs_t inputs = upload(device, &whole);
    if (device->generation != tr_arena_generation(device->arena)) {
        rollout_device_forget(device);
        device->generation = tr_arena_generation(device->arena);
    }
    if (by_graph) {
        const shape_t shape = {whole.samples, inputs.batch.ragged.max_pages, drawn->kept_columns,
                               *sampling};
        // The real length differs from pass to pass; a graph needs a bound that the shape decides.
        inputs.batch.ragged.longest = shape.pages * TR_PAGE;
        outputs = enqueue_graph(device, &inputs, &shape);
    } else {
        outputs = enqueue(device, &inputs, whole.samples, drawn->kept_columns, sampling);
    }
    // Without samples nobody waits here: the next pass is enqueued behind this one.
    return pass->samples > 0 ? download(device, drawn, &outputs, pass->samples, err) : TR_OK;
}
