/// The forward and the backward pass, layer by layer, on a ragged batch of T tokens: the page that
/// reads like the paper (Touvron et al. 2023). Weights come from the layout by their kind; how each
/// is stored is linear.c's and parameters.c's business, and what operators compute is in
/// common/tensor/backend.h. Heads are in response.c.
#include <math.h>
#include <stdlib.h>

#include "common/model/model_private.h"

/// What one layer keeps for its backward pass.
typedef struct layer_activations {
    tr_tensor_t input; // [T, H] residual stream before attention
    tr_tensor_t rstd;  // [T]
    tr_tensor_t raw;   // [T, (Hq+2Hk)*D] before the norms of queries and keys; qkv without them
    tr_tensor_t qk_rstd[2]; // [T, groups] of these norms
    tr_tensor_t qkv;        // [T, (Hq+2Hk)*D] after rotation
    tr_tensor_t attention;  // [T, Hq*D]
    tr_tensor_t lse;        // [T, Hq]
    // Both norms are computed again from the stream and rstd is kept: [T] floats instead of [T, H].
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
    // One allocation that later passes use again; what the tensors are in is the arena.
    layer_activations_t layer[];
};

struct tr_cache {
    tr_backend_t *backend;
    tr_buffer_t *buffer;
    // Keys and values of all sequences that are being decoded, in pages (Kwon et al. 2023,
    // PagedAttention).
    tr_kv_t kv[]; // [layers]
};

/// The model and its batch, with the sizes that shapes below are made of.
typedef struct pass {
    tr_model_t *model;
    const tr_ops_t *ops;
    tr_queue_t *queue;
    tr_arena_t *arena;
    const tr_batch_t *batch;
    tr_heads_t heads; // of a layer: heads_of
    tr_norm_t norm;
    float embedding_scale, residual_scale, logit_scale; // 1: none
    // Where what is added to the residual stream is normed or scaled before: what is added, [T, H],
    // and the norm's rstd, [T].
    tr_tensor_t branch, branch_rstd;
    size_t T, H, Q, W, F; // tokens, hidden, query width, qkv width, intermediate
} pass_t;

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

static bool has(const pass_t *p, size_t segment, tr_weight_kind_t kind)
{
    return tr_layout_weight(&p->model->layout, segment, kind)->rows > 0;
}

/// A factor of the config, where 0 stands for none.
static float factor_of(double factor)
{
    return factor > 0.0 ? (float)factor : 1.0f;
}

/// Whether what attention and MLP add to the residual stream is normed or scaled before. All layers
/// are alike.
static bool changes_branches(const pass_t *p)
{
    return has(p, 1, TR_WEIGHT_ATTENTION_NORM) || has(p, 1, TR_WEIGHT_MLP_NORM) ||
           p->residual_scale != 1.0f;
}

static pass_t pass_of(tr_model_t *model, const tr_batch_t *batch, tr_arena_t *arena)
{
    const tr_model_config_t *config = &model->config;
    pass_t pass = {
        .model = model,
        .ops = model->backend->ops,
        .queue = model->queue,
        .arena = arena,
        .batch = batch,
        .heads = {.query = config->heads,
                  .key_value = config->key_value_heads,
                  .dim = config->head_dim,
                  .scale = (float)config->attention_scale,
                  .cap = config->attention_cap},
        .norm = {config->rms_epsilon, config->norm_offset},
        .embedding_scale = config->embedding_root ? sqrtf((float)config->hidden)
                                                  : factor_of(config->embedding_scale),
        .residual_scale = factor_of(config->residual_scale),
        // A scalar head is no language model's: its values are not divided.
        .logit_scale = config->scalar_head ? 1.0f : 1.0f / factor_of(config->logit_divisor),
        .T = batch->ragged.tokens,
        .H = config->hidden,
        .Q = config->heads * config->head_dim,
        .W = (config->heads + 2 * config->key_value_heads) * config->head_dim,
        .F = config->intermediate,
    };
    if (changes_branches(&pass)) {
        pass.branch = reals(&pass, pass.T, pass.H);
        pass.branch_rstd = floats(&pass, 1, pass.T);
    }
    return pass;
}

/// A norm's weight.
static tr_tensor_t vector(const pass_t *p, size_t segment, tr_weight_kind_t kind)
{
    return parameters_view(&p->model->parameters,
                           tr_layout_weight(&p->model->layout, segment, kind));
}

/// [H] where a norm's gradient is added.
static tr_tensor_t vector_gradient(const pass_t *p, size_t segment, tr_weight_kind_t kind,
                                   const tr_gradient_t *gradient)
{
    return model_vector_gradient(tr_layout_weight(&p->model->layout, segment, kind), gradient,
                                 p->arena);
}

static tr_tensor_t embedding_table(const pass_t *p)
{
    return parameters_view(&p->model->parameters,
                           tr_layout_weight(&p->model->layout, 0, TR_WEIGHT_EMBEDDING));
}

/// The segment of the final norm and what follows it.
static size_t last_segment(const tr_model_t *model)
{
    return model->layout.segment_count - 1;
}

/// How the heads of a layer attend.
static tr_heads_t heads_of(const pass_t *p, size_t segment)
{
    const tr_model_config_t *config = &p->model->config;
    tr_heads_t heads = p->heads;
    heads.window = tr_layer_set_has(&config->sliding, segment - 1) ? config->window : 0;
    return heads;
}

/// Groups of columns that a norm of queries (0) or keys (1) makes unit: heads, or all of them as
/// one. 0: there is no such norm.
static size_t qk_groups(const pass_t *p, size_t i)
{
    const size_t heads = i == 0 ? p->heads.query : p->heads.key_value;
    const tr_qk_norm_t norm = p->model->config.qk_norm;
    return norm == TR_QK_NORM_NONE ? 0 : norm == TR_QK_NORM_HEAD ? heads : 1;
}

static layer_activations_t layer_tensors(const pass_t *p)
{
    layer_activations_t a = {
        .rstd = floats(p, 1, p->T),
        .qkv = reals(p, p->T, p->W),
        .attention = reals(p, p->T, p->Q),
        .lse = floats(p, p->T, p->heads.query),
        .middle = reals(p, p->T, p->H),
        .middle_rstd = floats(p, 1, p->T),
        .gate_up = reals(p, p->T, 2 * p->F),
    };
    a.raw = a.qkv;
    if (qk_groups(p, 0) > 0) {
        a.raw = reals(p, p->T, p->W);
        a.qk_rstd[0] = floats(p, p->T, qk_groups(p, 0));
        a.qk_rstd[1] = floats(p, p->T, qk_groups(p, 1));
    }
    return a;
}

/// Keys and values of a batch of whole sequences: pages that the batch numbered itself.
static tr_kv_t fresh_kv(const pass_t *p)
{
    size_t floats = p->heads.key_value * p->heads.dim * TR_PAGE;
    return (tr_kv_t){reals(p, p->batch->fresh_pages, floats),
                     reals(p, p->batch->fresh_pages, floats)};
}

/// x, or what the layer's norm of this kind makes of it, in `norm`.
static tr_tensor_t normed(const pass_t *p, size_t segment, tr_weight_kind_t kind, tr_tensor_t norm,
                          tr_tensor_t rstd, tr_tensor_t x)
{
    if (!has(p, segment, kind)) {
        return x;
    }
    p->ops->rmsnorm(p->queue, norm, rstd, x, vector(p, segment, kind), p->norm);
    return norm;
}

/// dx += the gradient of `normed`, given dy.
static void normed_backward(const pass_t *p, size_t segment, tr_weight_kind_t kind, tr_tensor_t dx,
                            tr_tensor_t dy, tr_tensor_t x, tr_tensor_t rstd,
                            const tr_gradient_t *gradient)
{
    if (!has(p, segment, kind)) {
        p->ops->add(p->queue, dx, dx, dy);
        return;
    }
    p->ops->rmsnorm_gradient(p->queue, dx, vector_gradient(p, segment, kind, gradient), dy, x, rstd,
                             vector(p, segment, kind), p->norm);
}

/// stream += W x, normed and scaled where the model has that; norm: scratch.
static void add_branch(const pass_t *p, size_t segment, tr_weight_kind_t projection,
                       tr_weight_kind_t kind, tr_tensor_t stream, tr_tensor_t x, tr_tensor_t norm)
{
    const linear_t *linear = &model_linears(p->model, segment)[projection];
    if (!has(p, segment, kind) && p->residual_scale == 1.0f) {
        linear_forward_add(linear, stream, x);
        return;
    }
    linear_forward(linear, p->branch, x);
    tr_tensor_t y = normed(p, segment, kind, norm, p->branch_rstd, p->branch);
    if (p->residual_scale != 1.0f) {
        p->ops->scale(p->queue, y, y, p->residual_scale);
    }
    p->ops->add(p->queue, stream, stream, y);
}

/// The norms of queries and keys, which stand side by side in a row.
static void norm_heads(const pass_t *p, size_t segment, const layer_activations_t *a)
{
    if (qk_groups(p, 0) == 0) {
        return;
    }
    p->ops->copy(p->queue, a->qkv, a->raw); // for the values
    for (size_t i = 0; i < 2; i++) {
        const tr_weight_kind_t kind = i == 0 ? TR_WEIGHT_QUERY_NORM : TR_WEIGHT_KEY_NORM;
        p->ops->group_norm(p->queue, a->qkv, a->qk_rstd[i], a->raw, vector(p, segment, kind),
                           i == 0 ? 0 : p->Q, qk_groups(p, i), p->norm);
    }
}

static void norm_heads_backward(const pass_t *p, size_t segment, const layer_activations_t *a,
                                tr_tensor_t dqkv, const tr_gradient_t *gradient)
{
    for (size_t i = 0; i < 2 && qk_groups(p, 0) > 0; i++) {
        const tr_weight_kind_t kind = i == 0 ? TR_WEIGHT_QUERY_NORM : TR_WEIGHT_KEY_NORM;
        p->ops->group_norm_gradient(p->queue, dqkv, vector_gradient(p, segment, kind, gradient),
                                    a->raw, a->qk_rstd[i], vector(p, segment, kind),
                                    i == 0 ? 0 : p->Q, qk_groups(p, i), p->norm);
    }
}

/// Turns queries and keys by their positions, or back.
static void rotate(const pass_t *p, size_t segment, tr_tensor_t qkv, bool inverse)
{
    const tr_model_config_t *config = &p->model->config;
    const bool local = tr_layer_set_has(&config->sliding, segment - 1);
    if (!tr_layer_set_has(&config->unrotated, segment - 1)) {
        p->ops->rope(p->queue, qkv, p->batch->ragged.positions,
                     local ? p->model->local_rope : p->model->rope, p->heads, inverse);
    }
}

/// The part of a layer that the backward pass reads: a holds input and receives the rest.
static void layer_activate(const pass_t *p, size_t segment, const layer_activations_t *a,
                           tr_tensor_t norm)
{
    const tr_ops_t *ops = p->ops;
    tr_queue_t *queue = p->queue;
    const linear_t *linears = model_linears(p->model, segment);
    const tr_ragged_t *ragged = &p->batch->ragged;
    const tr_heads_t heads = heads_of(p, segment);

    linear_forward(&linears[TR_WEIGHT_QKV], a->raw,
                   normed(p, segment, TR_WEIGHT_INPUT_NORM, norm, a->rstd, a->input));
    norm_heads(p, segment, a);
    rotate(p, segment, a->qkv, false);
    // After the rotation: cached keys are never rotated again.
    ops->kv_store(queue, a->kv, a->qkv, ragged, heads);
    ops->attention(queue, a->attention, a->lse, a->qkv, a->kv, ragged, heads);
    // The input is kept for the backward pass, so the sum goes into another tensor.
    ops->copy(queue, a->middle, a->input);
    add_branch(p, segment, TR_WEIGHT_OUTPUT, TR_WEIGHT_ATTENTION_NORM, a->middle, a->attention,
               norm);

    linear_forward(&linears[TR_WEIGHT_GATE_UP], a->gate_up,
                   normed(p, segment, TR_WEIGHT_POST_NORM, norm, a->middle_rstd, a->middle));
}

/// The MLP's inner rows from [gate | up].
static void activate(const pass_t *p, tr_tensor_t y, tr_tensor_t gate_up)
{
    (p->model->config.gelu ? p->ops->geglu : p->ops->swiglu)(p->queue, y, gate_up);
}

/// output = input + attention + MLP.
static void layer_forward(const pass_t *p, size_t segment, const layer_activations_t *a,
                          tr_tensor_t norm, tr_tensor_t mlp, tr_tensor_t output)
{
    layer_activate(p, segment, a, norm);
    // Not kept: the backward pass computes it again from gate_up, which it needs anyway.
    activate(p, mlp, a->gate_up);
    p->ops->copy(p->queue, output, a->middle);
    add_branch(p, segment, TR_WEIGHT_DOWN, TR_WEIGHT_MLP_NORM, output, mlp, norm);
}

/// Tokens become rows of the residual stream, with noise where the caller wants it.
static void embed(const pass_t *p, tr_tensor_t stream)
{
    p->ops->gather_rows(p->queue, stream, embedding_table(p), p->batch->ids);
    if (p->embedding_scale != 1.0f) {
        p->ops->scale(p->queue, stream, stream, p->embedding_scale);
    }
    if (p->batch->noise.buffer != NULL) {
        tr_tensor_t noise = reals(p, p->T, p->H);
        p->ops->cast(p->queue, noise, p->batch->noise);
        p->ops->add(p->queue, stream, stream, noise);
    }
}

/// All layers over the caches in kv (or fresh ones when NULL); saved as in tr_model_forward.
static tr_tensor_t run(tr_model_t *model, const tr_kv_t *kv, const tr_batch_t *batch,
                       tr_arena_t *arena, tr_activations_t *saved)
{
    pass_t p = pass_of(model, batch, arena);
    // Three ways to hold activations: none kept (one set and two streams that swap), all kept, or
    // each layer's input alone.
    bool keep = saved != NULL && !saved->recompute; // each layer has tensors of its own
    tr_tensor_t norm = reals(&p, p.T, p.H);
    tr_tensor_t mlp = reals(&p, p.T, p.F);
    tr_tensor_t stream = reals(&p, p.T, p.H);
    tr_tensor_t other = saved == NULL ? reals(&p, p.T, p.H) : stream;
    layer_activations_t a = !keep ? layer_tensors(&p) : (layer_activations_t){0};
    tr_kv_t own = kv == NULL ? fresh_kv(&p) : (tr_kv_t){0}; // shared: backward reads qkv

    // A segment before it is read: of shared parameters only one layer is there at a time.
    parameters_gather(&model->parameters, 0);
    embed(&p, stream);
    for (size_t i = 0; i < model->config.layers; i++) {
        parameters_gather(&model->parameters, i + 1);
        if (keep) {
            a = layer_tensors(&p);
        }
        if (saved != NULL) {
            other = reals(&p, p.T, p.H);
        }
        a.kv = kv == NULL ? own : kv[i];
        a.input = stream;
        layer_forward(&p, i + 1, &a, norm, mlp, other);
        if (saved != NULL) {
            saved->layer[i] = a;
        }
        // This layer's output is the next one's input; with `saved` the old input stays in its
        // layer's record.
        tr_tensor_t swap = stream;
        stream = other;
        other = swap;
    }
    parameters_gather(&model->parameters, last_segment(model));
    tr_tensor_t rstd = floats(&p, 1, p.T);
    normed(&p, last_segment(model), TR_WEIGHT_FINAL_NORM, norm, rstd, stream);
    if (p.logit_scale != 1.0f) { // logits are linear in these rows
        p.ops->scale(p.queue, norm, norm, p.logit_scale);
    }
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
    // By value: the caller's batch may be gone when the backward pass runs, its tensors are not.
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
    // Nothing is kept: nobody learns while decoding.
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
    tr_tensor_t dbranch[2];  // [T, H] where branches are normed or scaled
} scratch_t;

/// The gradient of W x in add_branch, given that of the stream.
static tr_tensor_t branch_backward(const pass_t *p, size_t segment, tr_weight_kind_t projection,
                                   tr_weight_kind_t kind, tr_tensor_t dstream, tr_tensor_t x,
                                   const tr_gradient_t *gradient, const scratch_t *s)
{
    tr_tensor_t dy = dstream;
    if (p->residual_scale != 1.0f) {
        p->ops->scale(p->queue, s->dbranch[0], dy, p->residual_scale);
        dy = s->dbranch[0];
    }
    if (!has(p, segment, kind)) {
        return dy;
    }
    // Computed again: kept, it would be two more tensors a layer.
    linear_forward(&model_linears(p->model, segment)[projection], p->branch, x);
    normed(p, segment, kind, s->norm, p->branch_rstd, p->branch);
    p->ops->zero(p->queue, s->dbranch[1]);
    normed_backward(p, segment, kind, s->dbranch[1], dy, p->branch, p->branch_rstd, gradient);
    return s->dbranch[1];
}

/// dstream: gradient of the layer's output on entry, of its input on return. Operators run in the
/// reverse order of the forward pass, each weight's gradient before that of what it multiplied.
static void layer_backward(const pass_t *p, size_t segment, const layer_activations_t *a,
                           tr_tensor_t dstream, const tr_gradient_t *gradient, const scratch_t *s)
{
    const tr_ops_t *ops = p->ops;
    tr_queue_t *queue = p->queue;
    const linear_t *linears = model_linears(p->model, segment);

    activate(p, s->mlp, a->gate_up); // recomputed: cheaper than kept
    tr_tensor_t dy = branch_backward(p, segment, TR_WEIGHT_DOWN, TR_WEIGHT_MLP_NORM, dstream,
                                     s->mlp, gradient, s);
    linear_backward(&linears[TR_WEIGHT_DOWN], gradient, s->dmlp, dy, s->mlp);
    (p->model->config.gelu ? ops->geglu_gradient : ops->swiglu_gradient)(queue, s->dgate_up,
                                                                         s->dmlp, a->gate_up);
    // The norm's output, which the product read, is computed again; its rstd is known.
    tr_tensor_t x = normed(p, segment, TR_WEIGHT_POST_NORM, s->norm, s->unused, a->middle);
    linear_backward(&linears[TR_WEIGHT_GATE_UP], gradient, s->dnorm, s->dgate_up, x);
    normed_backward(p, segment, TR_WEIGHT_POST_NORM, dstream, s->dnorm, a->middle, a->middle_rstd,
                    gradient);

    dy = branch_backward(p, segment, TR_WEIGHT_OUTPUT, TR_WEIGHT_ATTENTION_NORM, dstream,
                         a->attention, gradient, s);
    linear_backward(&linears[TR_WEIGHT_OUTPUT], gradient, s->dattention, dy, a->attention);
    // The probabilities are computed again from lse (Dao et al. 2022, FlashAttention).
    ops->attention_gradient(queue, s->dqkv, s->dattention, a->attention, a->lse, a->qkv,
                            &p->batch->ragged, heads_of(p, segment));
    // The transpose of a rotation is the rotation back.
    rotate(p, segment, s->dqkv, true);
    norm_heads_backward(p, segment, a, s->dqkv, gradient);
    x = normed(p, segment, TR_WEIGHT_INPUT_NORM, s->norm, s->unused, a->input);
    linear_backward(&linears[TR_WEIGHT_QKV], gradient, s->dnorm, s->dqkv, x);
    normed_backward(p, segment, TR_WEIGHT_INPUT_NORM, dstream, s->dnorm, a->input, a->rstd,
                    gradient);
}

/// Tells whoever holds the gradient that a segment has all its parts, so that it can be sent or
/// added up while the pass goes on.
static void complete(tr_gradient_t *gradient, size_t segment)
{
    if (gradient->complete != NULL) {
        gradient->complete(gradient, segment);
    }
}

/// The first segment with a trained weight: below it no gradient is wanted, and the backward pass
/// ends there.
static size_t lowest_trained(const tr_model_t *model)
{
    const size_t *starts = model->layout.flat[TR_TRAINED].segments;
    size_t segment = 0;
    // starts counts trained elements: 0 as long as all before it are frozen.
    while (segment < last_segment(model) && starts[segment + 1] == 0) {
        segment++;
    }
    return segment;
}

static scratch_t scratch_tensors(const pass_t *p)
{
    scratch_t s = {
        .norm = reals(p, p->T, p->H),
        .dnorm = reals(p, p->T, p->H),
        .mlp = reals(p, p->T, p->F),
        .dmlp = reals(p, p->T, p->F),
        .dgate_up = reals(p, p->T, 2 * p->F),
        .dattention = reals(p, p->T, p->Q),
        .dqkv = reals(p, p->T, p->W),
        .unused = floats(p, 1, p->T),
    };
    for (size_t i = 0; i < 2 && changes_branches(p); i++) {
        s.dbranch[i] = reals(p, p->T, p->H);
    }
    return s;
}

void tr_model_backward(tr_model_t *model, tr_activations_t *saved, tr_tensor_t dhidden,
                       tr_gradient_t *gradient, tr_arena_t *arena)
{
    TR_ASSERT(model_learns(model), "backward through a model that was not made to learn");
    const pass_t p = pass_of(model, &saved->batch, arena);
    const scratch_t s = scratch_tensors(&p);
    const size_t last = last_segment(model), lowest = lowest_trained(model);
    tr_tensor_t dstream = reals(&p, p.T, p.H);
    p.ops->zero(p.queue, dstream);
    if (p.logit_scale != 1.0f) {
        tr_tensor_t scaled = reals(&p, p.T, p.H); // dhidden is the caller's
        p.ops->scale(p.queue, scaled, dhidden, p.logit_scale);
        dhidden = scaled;
    }
    normed_backward(&p, last, TR_WEIGHT_FINAL_NORM, dstream, dhidden, saved->output,
                    saved->output_rstd, gradient);
    complete(gradient, last);
    for (size_t segment = last - 1; segment > 0; segment--) {
        const layer_activations_t *a = &saved->layer[segment - 1];
        if (segment >= lowest) {
            parameters_gather(&model->parameters, segment);
            if (saved->recompute && segment + 1 < last) { // the last layer's are still there
                layer_activate(&p, segment, a, s.norm);
            }
            layer_backward(&p, segment, a, dstream, gradient, &s);
        }
        complete(gradient, segment);
    }
    // What is left in dstream is the gradient of the embedded tokens. Of a tied embedding it is
    // added to the head's.
    const tr_weight_t *embedding = tr_layout_weight(&model->layout, 0, TR_WEIGHT_EMBEDDING);
    if (embedding->trained) {
        if (p.embedding_scale != 1.0f) {
            p.ops->scale(p.queue, dstream, dstream, p.embedding_scale);
        }
        p.ops->embedding_gradient(p.queue, tr_weight_gradient(embedding, gradient), dstream,
                                  saved->batch.ids);
    }
    complete(gradient, 0);
}

void model_idle_forward(tr_model_t *model)
{
    // The same segments in the same order as in `run`: a gather needs all ranks.
    for (size_t s = 0; s <= last_segment(model); s++) {
        parameters_gather(&model->parameters, s);
    }
}

/// Gathers what tr_model_backward gathers, in its order.
void model_idle_backward(tr_model_t *model, tr_gradient_t *gradient)
{
    const size_t last = last_segment(model), lowest = lowest_trained(model);
    complete(gradient, last);
    for (size_t s = last - 1; s > 0; s--) {
        if (s >= lowest) {
            parameters_gather(&model->parameters, s);
        }
        complete(gradient, s);
    }
    complete(gradient, 0);
}

tr_tensor_t model_vector_gradient(const tr_weight_t *weight, const tr_gradient_t *gradient,
                                  tr_arena_t *arena)
{
    tr_tensor_t place = tr_weight_gradient(weight, gradient);
    return place.buffer != NULL ? place
                                : tr_arena_tensor(arena, TR_F32, weight->rows, weight->columns);
}

tr_status tr_cache_new(tr_cache_t **self, const tr_model_t *model, size_t pages, tr_error_t *err)
{
    size_t layers = model->config.layers;
    size_t row = model->config.key_value_heads * model->config.head_dim * TR_PAGE;
    tr_cache_t *cache = tr_calloc(1, sizeof *cache + layers * sizeof *cache->kv);
    cache->backend = model->backend;
    const tr_dtype_t real = model->backend->real;
    // Of the keys, or of the values, of one layer.
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
