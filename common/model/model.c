/// A model's life cycle, and its parameters as numbers that come and go. Weights from files are in
/// model_load.c, the passes in transformer.c; in which forms a parameter is kept is parameters.c's
/// business.
#include "common/model/model.h"

#include <stdlib.h>
#include <string.h>

#include "common/model/model_private.h"
#include "common/model/rope.h"

enum { PACKED_UNIT = 32 }; // elements: a packed weight begins on a cache line

static const tr_ops_t *ops_of(const tr_model_t *model)
{
    return model->backend->ops;
}

// Life cycle

/// The tables of rotations, once for all positions and layers: RoPE's angles depend on nothing
/// else.
static void write_rope_tables(tr_model_t *model)
{
    const tr_model_config_t *config = &model->config;
    if (model->backend->dry) {
        return; // long contexts have millions of angles
    }
    float *table = tr_calloc(tr_tensor_count(model->rope), sizeof *table);
    for (size_t local = 0; local < (config->rope_local_theta > 0.0 ? 2 : 1); local++) {
        rope_table(table, config, local != 0);
        ops_of(model)->write(model->queue, local != 0 ? model->local_rope : model->rope, table);
    }
    free(table);
}

/// Whether products read the weight: a projection's or the head's, which may be tied to the
/// embedding. A scalar head has an operator of its own.
static bool is_multiplied(const tr_model_t *model, const tr_weight_t *weight)
{
    // The kinds are in this order for it: what products read comes last in the enum. Rows are 0 for
    // a kind that this segment lacks.
    bool projects = weight->rows > 0 && weight->kind >= TR_WEIGHT_QKV;
    return projects || (weight == model->layout.head && !model->config.scalar_head);
}

/// Also of weights that the model lacks: the index is computed from segment and kind.
static size_t linear_count(const tr_model_t *model)
{
    return model->layout.segment_count * TR_WEIGHT_KINDS + 2 * model->layout.adapter_count;
}

/// A linear for each weight of the layout, at the same index.
/// Norms get one too, which nobody asks for: an index needs no table then.
static void make_linears(tr_model_t *model)
{
    const tr_layout_t *layout = &model->layout;
    model->linears = tr_calloc(linear_count(model), sizeof *model->linears);
    const size_t own = layout->segment_count * TR_WEIGHT_KINDS;
    for (size_t i = 0; i < linear_count(model); i++) {
        const tr_adapter_t *adapter = i >= own ? &layout->adapters[(i - own) / 2] : NULL;
        model->linears[i].parameters = &model->parameters;
        model->linears[i].weight = adapter == NULL      ? &layout->weights[i]
                                   : (i - own) % 2 == 0 ? &adapter->a
                                                        : &adapter->b;
    }
    for (size_t s = 0; s < layout->segment_count; s++) {
        static const tr_weight_kind_t biased[][2] = {
            {TR_WEIGHT_QKV, TR_WEIGHT_QKV_BIAS},
            {TR_WEIGHT_OUTPUT, TR_WEIGHT_OUTPUT_BIAS},
            {TR_WEIGHT_GATE_UP, TR_WEIGHT_GATE_UP_BIAS},
            {TR_WEIGHT_DOWN, TR_WEIGHT_DOWN_BIAS},
            {TR_WEIGHT_ROUTER, TR_WEIGHT_ROUTER_BIAS},
            {TR_WEIGHT_EXPERT_GATE_UP, TR_WEIGHT_EXPERT_GATE_UP_BIAS},
            {TR_WEIGHT_EXPERT_DOWN, TR_WEIGHT_EXPERT_DOWN_BIAS},
        };
        for (size_t i = 0; i < sizeof biased / sizeof *biased; i++) {
            const tr_weight_t *bias = tr_layout_weight(layout, s, biased[i][1]);
            model->linears[s * TR_WEIGHT_KINDS + biased[i][0]].bias = bias->rows > 0 ? bias : NULL;
        }
    }
    // Both arrays have the same indices.
    model->head = &model->linears[layout->head - layout->weights];
}

/// One buffer for the packed form of all weights that products read: its size, then each one's
/// place in it.
static tr_status allocate_packed(tr_model_t *model, tr_error_t *err)
{
    const tr_dtype_t dtype = model->backend->weights;
    size_t total = 0;
    for (size_t i = 0; i < linear_count(model); i++) {
        linear_t *linear = &model->linears[i];
        if (is_multiplied(model, linear->weight)) {
            // Packed forms are padded to whole tiles, so they are larger than rows times columns.
            // The buffer is set below: how large it must be is known only after the last weight.
            linear->packed = linear_packed_form(linear);
            linear->packed.offset = total * tr_dtype_size(dtype);
            const size_t count = tr_tensor_count(linear->packed);
            total += (count + PACKED_UNIT - 1) / PACKED_UNIT * PACKED_UNIT;
        }
    }
    TR_TRY(ops_of(model)->buffer_new(model->backend, &model->packed, total * tr_dtype_size(dtype),
                                     err));
    for (size_t i = 0; i < linear_count(model); i++) {
        linear_t *linear = &model->linears[i];
        // Norms and the input embedding are never packed: linear_read gives them as they are
        // stored.
        linear->packed.buffer = linear->packed.columns > 0 ? model->packed : NULL;
    }
    return TR_OK;
}

/// Of zeros; who loads weights writes them.
static tr_status allocate_router_bias(tr_model_t *model, tr_error_t *err)
{
    const size_t layers = model->config.layers, experts = model->config.experts;
    if (!model->config.router_sigmoid) {
        return TR_OK;
    }
    TR_TRY(ops_of(model)->buffer_new(model->backend, &model->router_buffer,
                                     layers * experts * sizeof(float), err));
    model->router_bias = (tr_tensor_t){model->router_buffer, 0, TR_F32, layers, experts};
    model->router_biases = tr_calloc(layers * experts, sizeof(float));
    return TR_OK;
}

/// Everything on the device: parameters in the form that the model's use asks for, the table of
/// rotations, and for decoding on a CPU the packed weights.
static tr_status allocate(tr_model_t *model, tr_collective_t *collective, tr_error_t *err)
{
    const tr_ops_t *ops = ops_of(model);
    const tr_model_config_t *config = &model->config;
    // Small updates vanish in bf16, which has 8 bits of precision: who learns keeps the parameters
    // in f32, or rounds stochastically (TR_MODEL_LEARNS_ROUNDED).
    const tr_dtype_t dtype = model->use == TR_MODEL_LEARNS ? TR_F32 : model->backend->weights;
    // The queue first: everything else is written through it.
    TR_TRY(ops->queue_new(model->backend, &model->queue, err));
    TR_TRY(parameters_init(&model->parameters, &model->layout, model->backend, model->queue, dtype,
                           collective, err));
    const size_t tables = config->rope_local_theta > 0.0 ? 2 : 1;
    const size_t rope = config->max_positions * rope_dim(config) * sizeof(float);
    TR_TRY(ops->buffer_new(model->backend, &model->rope_buffer, tables * rope, err));
    model->rope =
        (tr_tensor_t){model->rope_buffer, 0, TR_F32, config->max_positions, rope_dim(config)};
    model->local_rope = model->rope;
    model->local_rope.offset = (tables - 1) * rope;
    TR_TRY(allocate_router_bias(model, err));
    // A GPU has no pack: its products read weights as they are stored.
    return model->use == TR_MODEL_DECODES && ops->pack != NULL ? allocate_packed(model, err)
                                                               : TR_OK;
}

tr_status tr_model_new_with(tr_model_t **self, const tr_model_config_t *config,
                            tr_backend_t *backend, const tr_model_options_t *options,
                            tr_error_t *err)
{
    tr_model_t *model = tr_calloc(1, sizeof *model);
    model->config = *config;
    model->backend = backend;
    // Before anything can fail: tr_model_destroy frees what is there, whatever that is.
    model->use = options->use;
    tr_layout_init(&model->layout, config);
    tr_status status = TR_OK;
    if (options->lora != NULL && options->lora->r > 0) {
        tr_lora_copy(&model->lora, options->lora);
        status = tr_layout_adapt(&model->layout, options->lora, err);
    } else {
        tr_layout_select(&model->layout, options->trained);
    }
    if (status == TR_OK) {
        make_linears(model);
        status = allocate(model, options->collective, err);
    }
    if (status != TR_OK) {
        tr_model_destroy(&model);
        return status;
    }
    write_rope_tables(model);
    *self = model;
    return TR_OK;
}

tr_status tr_model_new(tr_model_t **self, const tr_model_config_t *config, tr_backend_t *backend,
                       tr_model_use_t use, tr_error_t *err)
{
    return tr_model_new_with(self, config, backend, &(tr_model_options_t){.use = use}, err);
}

void tr_model_destroy(tr_model_t **self)
{
    tr_model_t *model = *self;
    if (model == NULL) {
        return;
    }
    // Buffers before the queue that reads and writes them.
    ops_of(model)->buffer_destroy(&model->rope_buffer);
    ops_of(model)->buffer_destroy(&model->router_buffer);
    ops_of(model)->buffer_destroy(&model->packed);
    parameters_release(&model->parameters);
    ops_of(model)->queue_destroy(&model->queue);
    tr_layout_release(&model->layout);
    tr_lora_release(&model->lora);
    free(model->linears);
    free(model->router_biases);
    free(model);
    *self = NULL;
}

// Parameters as numbers

/// What passes read, made anew from the parameters; frozen: from those too.
static void repack(tr_model_t *model, bool frozen)
{
    // First the copies that passes read, then the packed forms, which are made from them.
    parameters_changed(&model->parameters);
    for (size_t i = 0; model->packed != NULL && i < linear_count(model); i++) {
        const linear_t *linear = &model->linears[i];
        if (linear->packed.buffer != NULL && (frozen || linear->weight->trained)) {
            linear_pack(linear);
        }
    }
}

/// After loading, after an update.
void tr_model_repack(tr_model_t *model)
{
    repack(model, true);
}

void tr_model_write_parameters(tr_model_t *model, const float *values)
{
    for (size_t i = 0; i < model->layout.count; i++) {
        const tr_parameter_t *parameter = &model->layout.parameters[i];
        parameters_write(&model->parameters, parameter->weight->trained, values + parameter->offset,
                         parameter->place, parameter->rows * parameter->columns);
    }
    tr_model_repack(model);
}

tr_status tr_model_read_parameters(const tr_model_t *model, float *values, tr_error_t *err)
{
    for (size_t i = 0; i < model->layout.count; i++) {
        const tr_parameter_t *parameter = &model->layout.parameters[i];
        // Frozen and trained parameters are in two vectors; values has them in the file's order.
        TR_TRY(parameters_read(&model->parameters, parameter->weight->trained,
                               values + parameter->offset, parameter->place,
                               parameter->rows * parameter->columns, err));
    }
    return TR_OK;
}

// Weights for others

/// The trained vector, of a model that is not sharded.
static const flat_memory_t *whole(const tr_model_t *model)
{
    const flat_memory_t *trained = &model->parameters.flat[TR_TRAINED];
    TR_ASSERT(trained->sharding == NULL, "weights of a model that is sharded");
    return trained;
}

size_t tr_model_weight_bytes(const tr_model_t *model)
{
    return model->layout.flat[TR_TRAINED].total * tr_dtype_size(model->backend->weights);
}

void tr_model_write_weights(tr_model_t *model, const void *weights)
{
    // A learner has f32 parameters beside what it publishes, which this would leave behind.
    TR_ASSERT(!model_learns(model), "weights taken by a model that learns its own");
    ops_of(model)->write(model->queue, whole(model)->weights, weights);
    repack(model, false);
}

tr_status tr_model_read_weights(const tr_model_t *model, void *weights, tr_error_t *err)
{
    ops_of(model)->read(model->queue, weights, whole(model)->weights);
    return ops_of(model)->queue_wait(model->queue, err);
}

tr_status tr_model_export_weights(const tr_model_t *model, tr_device_memory_t *memory,
                                  tr_error_t *err)
{
    // The other process reads the memory without this queue: what was enqueued must be done.
    TR_TRY(ops_of(model)->queue_wait(model->queue, err));
    return ops_of(model)->buffer_export(memory, whole(model)->weights.buffer, err);
}

/// Passes read this buffer from now on, and the old one goes.
static void adopt(flat_memory_t *trained, const tr_ops_t *ops, tr_buffer_t **buffer)
{
    // Its own memory is freed: one copy of the weights on the GPU serves both processes.
    ops->buffer_destroy(&trained->buffer);
    trained->buffer = *buffer;
    trained->values.buffer = trained->weights.buffer = *buffer;
    *buffer = NULL;
}

/// On one GPU this model's trained vector becomes the other process's memory, and a new version
/// costs nothing; from another GPU it is copied over.
tr_status tr_model_import_weights(tr_model_t *model, const tr_device_memory_t *memory, bool *moved,
                                  tr_error_t *err)
{
    const tr_ops_t *ops = ops_of(model);
    // The frozen vector stays this process's own: it never changes.
    flat_memory_t *trained = &model->parameters.flat[TR_TRAINED];
    tr_buffer_t *buffer;
    bool here;
    *moved = false;
    // The usual case, from the second version on: nothing moves.
    if (model->imports && memcmp(&model->imported, memory, sizeof *memory) == 0) {
        return TR_OK; // the same place, which holds the new version
    }
    TR_ASSERT(!model_learns(model) && model->packed == NULL, "weights of another process");
    TR_TRY(ops->buffer_import(model->backend, &buffer, memory, tr_model_weight_bytes(model), &here,
                              err));
    if (here) {
        adopt(trained, ops, &buffer);
        // What the next version's place is compared with.
        model->imported = *memory;
        model->imports = *moved = true;
        return TR_OK;
    }
    // This model keeps its own memory, so the next version is copied again.
    tr_tensor_t from = trained->weights; // on another GPU: copied once
    from.buffer = buffer;
    ops->copy(model->queue, trained->weights, from);
    tr_status status = ops->queue_wait(model->queue, err);
    ops->buffer_destroy(&buffer);
    return status;
}

// What it is

tr_tensor_t tr_model_trained(const tr_model_t *model)
{
    return model->parameters.flat[TR_TRAINED].values;
}

tr_head_t tr_model_head(const tr_model_t *model)
{
    return (tr_head_t){linear_read(model->head), model->config.logit_cap};
}

void tr_model_leave_adapter(tr_model_t *model, bool leave)
{
    model->leaves_adapter = leave;
}

const tr_lora_t *tr_model_lora(const tr_model_t *model)
{
    return model->lora.r > 0 ? &model->lora : NULL;
}

void tr_model_recompute(tr_model_t *model, bool recompute)
{
    model->recompute = recompute;
}

const tr_model_config_t *tr_model_config(const tr_model_t *model)
{
    return &model->config;
}

void tr_model_set_scores(tr_model_t *model, double mean, double deviation)
{
    model->config.score_mean = mean;
    model->config.score_std = deviation;
}

tr_status tr_model_align(tr_model_t *model, int32_t eos, tr_error_t *err)
{
    return tr_model_config_align(&model->config, eos, err);
}

const tr_layout_t *tr_model_layout(const tr_model_t *model)
{
    return &model->layout;
}

tr_backend_t *tr_model_backend(const tr_model_t *model)
{
    return model->backend;
}

tr_queue_t *tr_model_queue(const tr_model_t *model)
{
    return model->queue;
}
