/// The Llama forward and backward pass (Touvron et al. 2023), layer by layer, on a ragged batch of
/// T tokens.
#include <stdlib.h>

#include "common/model/model_private.h"

/// What one layer keeps for its backward pass.
typedef struct layer_activations {
    tr_tensor_t input;       // [T, H] residual stream before attention
    tr_tensor_t rstd;        // [T]
    tr_tensor_t qkv;         // [T, (Hq+2Hk)*D] after rotation
    tr_tensor_t attention;   // [T, Hq*D]
    tr_tensor_t lse;         // [T, Hq]
    tr_tensor_t middle;      // [T, H] residual stream before the MLP
    tr_tensor_t middle_rstd; // [T]
    tr_tensor_t gate_up;     // [T, 2F]
    tr_kv_t kv;
} layer_activations_t;

struct tr_activations {
    tr_batch_t batch;
    bool recompute;          // layers keep their inputs alone, and share the other tensors
    tr_tensor_t output;      // [T, H] residual stream after the last layer
    tr_tensor_t output_rstd; // [T]
    size_t layers;
    layer_activations_t layer[];
};

struct tr_cache {
    tr_backend_t *backend;
    tr_buffer_t *buffer;
    size_t layers;
    tr_kv_t kv[]; // [layers]
};

/// Sizes of the model at hand, so that the layers below read like the paper.
typedef struct pass {
    tr_model_t *model;
    const tr_ops_t *ops;
    tr_queue_t *queue;
    tr_arena_t *arena;
    const tr_batch_t *batch;
    tr_heads_t heads;
    size_t T, H, Q, W, F; // tokens, hidden, query width, qkv width, intermediate
} pass_t;

static pass_t pass_of(tr_model_t *model, const tr_batch_t *batch, tr_arena_t *arena)
{
    const tr_model_config_t *config = &model->config;
    return (pass_t){
        .model = model,
        .ops = model->backend->ops,
        .queue = model->queue,
        .arena = arena,
        .batch = batch,
        .heads = model_heads(model),
        .T = batch->ragged.tokens,
        .H = config->hidden,
        .Q = config->heads * config->head_dim,
        .W = model_qkv_width(model),
        .F = config->intermediate,
    };
}

/// [real]: what has a number an element of a layer.
static tr_tensor_t reals(const pass_t *p, size_t rows, size_t columns)
{
    return tr_arena_tensor(p->arena, p->model->backend->real, rows, columns);
}

/// What has a number a row.
static tr_tensor_t floats(const pass_t *p, size_t rows, size_t columns)
{
    return tr_arena_tensor(p->arena, TR_F32, rows, columns);
}

static tr_tensor_t vector(const pass_t *p, size_t offset)
{
    return model_parameter(p->model, offset, 1, p->H);
}

static layer_activations_t layer_tensors(const pass_t *p)
{
    return (layer_activations_t){
        .rstd = floats(p, 1, p->T),
        .qkv = reals(p, p->T, p->W),
        .attention = reals(p, p->T, p->Q),
        .lse = floats(p, p->T, p->heads.query),
        .middle = reals(p, p->T, p->H),
        .middle_rstd = floats(p, 1, p->T),
        .gate_up = reals(p, p->T, 2 * p->F),
    };
}

static tr_kv_t fresh_kv(const pass_t *p)
{
    size_t floats = p->heads.key_value * p->heads.dim * TR_PAGE;
    return (tr_kv_t){reals(p, p->batch->fresh_pages, floats),
                     reals(p, p->batch->fresh_pages, floats)};
}

/// The part of a layer that the backward pass reads: a holds input and receives the rest.
static void layer_activate(const pass_t *p, size_t index, const layer_activations_t *a,
                           tr_tensor_t norm)
{
    const tr_ops_t *ops = p->ops;
    tr_queue_t *queue = p->queue;
    const layer_t *layer = &p->model->layers[index];
    const tr_layer_layout_t *at = &p->model->layout.layers[index];
    const tr_ragged_t *ragged = &p->batch->ragged;
    float epsilon = p->model->config.rms_epsilon;

    ops->rmsnorm(queue, norm, a->rstd, a->input, vector(p, at->input_norm), epsilon);
    ops->matmul(queue, a->qkv, norm, layer->qkv, false);
    ops->rope(queue, a->qkv, ragged->positions, p->model->rope, p->heads, false);
    ops->kv_store(queue, a->kv, a->qkv, ragged, p->heads);
    ops->attention(queue, a->attention, a->lse, a->qkv, a->kv, ragged, p->heads);
    ops->copy(queue, a->middle, a->input);
    ops->matmul(queue, a->middle, a->attention, layer->output, true);

    ops->rmsnorm(queue, norm, a->middle_rstd, a->middle, vector(p, at->post_norm), epsilon);
    ops->matmul(queue, a->gate_up, norm, layer->gate_up, false);
}

/// output = input + attention + MLP.
static void layer_forward(const pass_t *p, size_t index, const layer_activations_t *a,
                          tr_tensor_t norm, tr_tensor_t mlp, tr_tensor_t output)
{
    layer_activate(p, index, a, norm);
    p->ops->swiglu(p->queue, mlp, a->gate_up);
    p->ops->copy(p->queue, output, a->middle);
    p->ops->matmul(p->queue, output, mlp, p->model->layers[index].down, true);
}

/// All layers over the caches in kv (or fresh ones when NULL); saved as in tr_model_forward.
static tr_tensor_t run(tr_model_t *model, const tr_kv_t *kv, const tr_batch_t *batch,
                       tr_arena_t *arena, tr_activations_t *saved)
{
    pass_t p = pass_of(model, batch, arena);
    bool keep = saved != NULL && !saved->recompute; // each layer has tensors of its own
    tr_tensor_t norm = reals(&p, p.T, p.H);
    tr_tensor_t mlp = reals(&p, p.T, p.F);
    tr_tensor_t stream = reals(&p, p.T, p.H);
    tr_tensor_t other = saved == NULL ? reals(&p, p.T, p.H) : stream;
    layer_activations_t a = !keep ? layer_tensors(&p) : (layer_activations_t){0};
    tr_kv_t own = kv == NULL ? fresh_kv(&p) : (tr_kv_t){0}; // shared: backward reads qkv

    model_gather(model, 0);
    p.ops->embedding(p.queue, stream,
                     model_parameter(model, model->layout.embedding, model->config.vocabulary, p.H),
                     batch->ids);
    if (batch->noise.buffer != NULL) {
        tr_tensor_t noise = reals(&p, p.T, p.H);
        p.ops->cast(p.queue, noise, batch->noise);
        p.ops->add(p.queue, stream, stream, noise);
    }
    for (size_t i = 0; i < model->config.layers; i++) {
        model_gather(model, i + 1);
        if (keep) {
            a = layer_tensors(&p);
        }
        if (saved != NULL) {
            other = reals(&p, p.T, p.H);
        }
        a.kv = kv == NULL ? own : kv[i];
        a.input = stream;
        layer_forward(&p, i, &a, norm, mlp, other);
        if (saved != NULL) {
            saved->layer[i] = a;
        }
        tr_tensor_t swap = stream;
        stream = other;
        other = swap;
    }
    model_gather(model, model->config.layers + 1);
    tr_tensor_t rstd = floats(&p, 1, p.T);
    p.ops->rmsnorm(p.queue, norm, rstd, stream, vector(&p, model->layout.final_norm),
                   model->config.rms_epsilon);
    if (saved != NULL) {
        saved->output = stream;
        saved->output_rstd = rstd;
    }
    return norm;
}

tr_tensor_t tr_model_forward(tr_model_t *model, const tr_batch_t *batch, tr_arena_t *arena,
                             tr_activations_t **saved)
{
    if (saved == NULL) {
        return run(model, NULL, batch, arena, NULL);
    }
    size_t layers = model->config.layers;
    if (*saved == NULL) {
        *saved = tr_calloc(1, sizeof **saved + layers * sizeof(layer_activations_t));
    }
    TR_ASSERT((*saved)->layers == 0 || (*saved)->layers == layers, "activations of another model");
    (*saved)->batch = *batch;
    (*saved)->layers = layers;
    (*saved)->recompute = model->recompute;
    return run(model, NULL, batch, arena, *saved);
}

void tr_activations_destroy(tr_activations_t **activations)
{
    free(*activations);
    *activations = NULL;
}

tr_tensor_t tr_model_decode(tr_model_t *model, tr_cache_t *cache, const tr_batch_t *batch,
                            tr_arena_t *arena)
{
    return run(model, cache->kv, batch, arena, NULL);
}

/// Scratch gradients, shared by all layers.
typedef struct scratch {
    tr_tensor_t norm, dnorm; // [T, H]
    tr_tensor_t mlp, dmlp;   // [T, F]
    tr_tensor_t dgate_up;    // [T, 2F]
    tr_tensor_t dattention;  // [T, Hq*D]
    tr_tensor_t dqkv;        // [T, (Hq+2Hk)*D]
    tr_tensor_t unused;      // [T] rstd again
} scratch_t;

static tr_tensor_t part(tr_tensor_t gradient, size_t offset, tr_tensor_t weight)
{
    return tr_flat_matrix(gradient, offset, weight.rows, weight.columns);
}

/// dstream: gradient of the layer's output on entry, of its input on return.
static void layer_backward(const pass_t *p, size_t index, const layer_activations_t *a,
                           tr_tensor_t dstream, tr_tensor_t gradient, const scratch_t *s)
{
    const tr_ops_t *ops = p->ops;
    tr_queue_t *queue = p->queue;
    const layer_t *layer = &p->model->layers[index];
    const tr_layer_layout_t *at = &p->model->layout.layers[index];
    const tr_ragged_t *ragged = &p->batch->ragged;
    float epsilon = p->model->config.rms_epsilon;
    tr_tensor_t input_norm = vector(p, at->input_norm);
    tr_tensor_t post_norm = vector(p, at->post_norm);

    ops->swiglu(queue, s->mlp, a->gate_up); // recomputed: cheaper than kept
    ops->matmul_weight_gradient(queue, part(gradient, at->down, layer->down), dstream, s->mlp);
    ops->matmul_input_gradient(queue, s->dmlp, dstream, layer->down);
    ops->swiglu_gradient(queue, s->dgate_up, s->dmlp, a->gate_up);
    ops->rmsnorm(queue, s->norm, s->unused, a->middle, post_norm, epsilon);
    ops->matmul_weight_gradient(queue, part(gradient, at->gate_up, layer->gate_up), s->dgate_up,
                                s->norm);
    ops->matmul_input_gradient(queue, s->dnorm, s->dgate_up, layer->gate_up);
    ops->rmsnorm_gradient(queue, dstream, tr_flat_matrix(gradient, at->post_norm, 1, p->H),
                          s->dnorm, a->middle, a->middle_rstd, post_norm);

    ops->matmul_weight_gradient(queue, part(gradient, at->output, layer->output), dstream,
                                a->attention);
    ops->matmul_input_gradient(queue, s->dattention, dstream, layer->output);
    ops->attention_gradient(queue, s->dqkv, s->dattention, a->attention, a->lse, a->qkv, ragged,
                            p->heads);
    ops->rope(queue, s->dqkv, ragged->positions, p->model->rope, p->heads, true);
    ops->rmsnorm(queue, s->norm, s->unused, a->input, input_norm, epsilon);
    ops->matmul_weight_gradient(queue, part(gradient, at->qkv, layer->qkv), s->dqkv, s->norm);
    ops->matmul_input_gradient(queue, s->dnorm, s->dqkv, layer->qkv);
    ops->rmsnorm_gradient(queue, dstream, tr_flat_matrix(gradient, at->input_norm, 1, p->H),
                          s->dnorm, a->input, a->rstd, input_norm);
}

static void complete(tr_gradient_t *gradient, size_t segment)
{
    if (gradient->complete != NULL) {
        gradient->complete(gradient, segment);
    }
}

void tr_model_backward(tr_model_t *model, tr_activations_t *saved, tr_tensor_t dhidden,
                       tr_gradient_t *gradient, tr_arena_t *arena)
{
    TR_ASSERT(model_learns(model), "backward through a model that was not made to learn");
    pass_t p = pass_of(model, &saved->batch, arena);
    scratch_t s = {
        .norm = reals(&p, p.T, p.H),
        .dnorm = reals(&p, p.T, p.H),
        .mlp = reals(&p, p.T, p.F),
        .dmlp = reals(&p, p.T, p.F),
        .dgate_up = reals(&p, p.T, 2 * p.F),
        .dattention = reals(&p, p.T, p.Q),
        .dqkv = reals(&p, p.T, p.W),
        .unused = floats(&p, 1, p.T),
    };
    tr_tensor_t dstream = reals(&p, p.T, p.H);
    p.ops->zero(p.queue, dstream);
    p.ops->rmsnorm_gradient(
        p.queue, dstream, tr_flat_matrix(gradient->rest, model->layout.final_norm, 1, p.H), dhidden,
        saved->output, saved->output_rstd, vector(&p, model->layout.final_norm));
    complete(gradient, saved->layers + 1);
    for (size_t i = saved->layers; i-- > 0;) {
        model_gather(model, i + 1);
        if (saved->recompute && i + 1 < saved->layers) { // the last layer's are still there
            layer_activate(&p, i, &saved->layer[i], s.norm);
        }
        layer_backward(&p, i, &saved->layer[i], dstream, gradient->rest, &s);
        complete(gradient, i + 1);
    }
    p.ops->embedding_gradient(
        p.queue,
        tr_flat_matrix(gradient->embedding, model->layout.embedding, model->config.vocabulary, p.H),
        dstream, saved->batch.ids);
    complete(gradient, 0);
}

void tr_model_attend_forward(tr_model_t *model)
{
    for (size_t s = 0; s < model->layout.segment_count; s++) {
        model_gather(model, s);
    }
}

void tr_model_attend_backward(tr_model_t *model, tr_gradient_t *gradient)
{
    size_t layers = model->config.layers;
    complete(gradient, layers + 1);
    for (size_t s = layers; s > 0; s--) {
        model_gather(model, s);
        complete(gradient, s);
    }
    complete(gradient, 0);
}

tr_status tr_cache_new(tr_cache_t **self, const tr_model_t *model, size_t pages, tr_error_t *err)
{
    size_t layers = model->config.layers;
    size_t row = model->config.key_value_heads * model->config.head_dim * TR_PAGE;
    tr_cache_t *cache = tr_calloc(1, sizeof *cache + layers * sizeof *cache->kv);
    cache->backend = model->backend;
    cache->layers = layers;
    const tr_dtype_t real = model->backend->real;
    size_t bytes = pages * row * tr_dtype_size(real);
    tr_status status =
        model->backend->ops->buffer_new(model->backend, &cache->buffer, 2 * layers * bytes, err);
    if (status != TR_OK) {
        free(cache);
        return status;
    }
    for (size_t i = 0; i < layers; i++) {
        cache->kv[i].keys = (tr_tensor_t){cache->buffer, 2 * i * bytes, real, pages, row};
        cache->kv[i].values = (tr_tensor_t){cache->buffer, (2 * i + 1) * bytes, real, pages, row};
    }
    *self = cache;
    return TR_OK;
}

void tr_cache_destroy(tr_cache_t **self)
{
    if (*self != NULL) {
        (*self)->backend->ops->buffer_destroy(&(*self)->buffer);
        free(*self);
        *self = NULL;
    }
}
