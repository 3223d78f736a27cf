/// The forward and the backward pass, layer by layer, on a ragged batch of T tokens: the page that
/// reads like the paper (Touvron et al. 2023). Weights come from the layout by their kind; how each
/// is stored is linear.c's and parameters.c's business, and what operators compute is in
/// common/tensor/backend.h. The halves of a layer (pass.h) are in block_attention.c,
/// block_latent.c or block_delta.c and block_mlp.c or block_experts.c, heads in response.c.
#include <stdlib.h>

#include "common/model/pass.h"

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

/// Tokens become rows of the residual stream, with their positions where these are learnt, and with
/// noise where the caller wants it.
static void embed(const pass_t *p, tr_tensor_t stream)
{
    p->ops->gather_rows(p->queue, stream, embedding_table(p), p->batch->ids);
    if (p->embedding_scale != 1.0f) {
        p->ops->scale(p->queue, stream, stream, p->embedding_scale);
    }
    if (pass_has(p, 0, TR_WEIGHT_POSITIONS)) {
        tr_tensor_t rows = pass_reals(p, p->T, p->H);
        p->ops->gather_rows(p->queue, rows, pass_vector(p, 0, TR_WEIGHT_POSITIONS),
                            p->batch->ragged.positions);
        p->ops->add(p->queue, stream, stream, rows);
    }
    if (p->batch->noise.buffer != NULL) {
        tr_tensor_t noise = pass_reals(p, p->T, p->H);
        p->ops->cast(p->queue, noise, p->batch->noise);
        p->ops->add(p->queue, stream, stream, noise);
    }
}

/// What a layer keeps, by its halves' kinds; segment 0: what any layer may keep, where all share
/// it.
static layer_activations_t layer_tensors(const pass_t *p, size_t segment)
{
    layer_activations_t a = {0};
    if (segment == 0 ? pass_has_layer(p, TR_WEIGHT_DELTA_IN) : delta_recurs(p, segment)) {
        delta_tensors(p, &a);
    }
    if (segment == 0 || !delta_recurs(p, segment)) {
        (has_latents(p) ? latent_tensors : attention_tensors)(p, &a);
    }
    if (segment == 0 ? p->F > 0 : !has_experts(p, segment)) {
        mlp_tensors(p, &a);
    }
    if (segment == 0 ? pass_has_layer(p, TR_WEIGHT_ROUTER) : has_experts(p, segment)) {
        experts_tensors(p, &a);
    }
    return a;
}

static void first_half(const pass_t *p, size_t segment, const layer_activations_t *a,
                       const scratch_t *s)
{
    (delta_recurs(p, segment) ? delta_forward
     : has_latents(p)         ? latent_forward
                              : attention_forward)(p, segment, a, s);
}

static void second_half(const pass_t *p, size_t segment, const layer_activations_t *a,
                        tr_tensor_t output, const scratch_t *s)
{
    (has_experts(p, segment) ? experts_forward : mlp_forward)(p, segment, a, output, s);
}

/// All layers over their caches (or fresh ones when NULL); saved as in tr_model_forward.
static tr_tensor_t run(tr_model_t *model, const layer_cache_t *caches, const tr_batch_t *batch,
                       tr_arena_t *arena, tr_activations_t *saved)
{
    pass_t p = pass_of(model, batch, arena);
    // Three ways to hold activations: none kept (one set and two streams that swap), all kept, or
    // each layer's input alone.
    bool keep = saved != NULL && !saved->recompute; // each layer has tensors of its own
    scratch_t s = pass_scratch(&p, false);
    if (saved != NULL && pass_has_layer(&p, TR_WEIGHT_ROUTER)) {
        s.router_facts = pass_floats(&p, p.T, model->config.experts + 1);
    }
    tr_tensor_t stream = pass_reals(&p, p.T, p.H);
    tr_tensor_t other = saved == NULL ? pass_reals(&p, p.T, p.H) : stream;
    layer_activations_t a = !keep ? layer_tensors(&p, 0) : (layer_activations_t){0};
    layer_cache_t own = {0}; // shared: the backward pass reads qkv, and computes states again
    if (caches == NULL) {
        own.kv = attention_fresh_kv(&p);
    }

    // A segment before it is read: of shared parameters only one layer is there at a time.
    parameters_gather(&model->parameters, 0);
    embed(&p, stream);
    for (size_t i = 0; i < model->config.layers; i++) {
        parameters_gather(&model->parameters, i + 1);
        if (keep) {
            a = layer_tensors(&p, i + 1);
        }
        if (saved != NULL) {
            other = pass_reals(&p, p.T, p.H);
        }
        a.kv = caches == NULL ? own.kv : caches[i].kv;
        a.kept = caches == NULL ? own.kept : caches[i].kept;
        a.router_sums = (tr_tensor_t){0}; // another layer's, where they share
        if (saved != NULL && has_experts(&p, i + 1)) {
            experts_keep(&p, &a);
        }
        a.input = stream;
        first_half(&p, i + 1, &a, &s);
        second_half(&p, i + 1, &a, other, &s);
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
    tr_tensor_t rstd = pass_rstd(&p);
    pass_normed(&p, last_segment(model), TR_WEIGHT_FINAL_NORM, s.norm, rstd, stream);
    if (p.logit_scale != 1.0f) { // logits are linear in these rows
        p.ops->scale(p.queue, s.norm, s.norm, p.logit_scale);
    }
    if (saved != NULL) {
        saved->output = stream;
        saved->output_rstd = rstd;
    }
    return s.norm;
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
    (*saved)->pull = (tr_tensor_t){0};
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
    return run(model, cache->layers, batch, arena, NULL);
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

typedef void half_backward_fn(const pass_t *p, size_t segment, const layer_activations_t *a,
                              tr_tensor_t dx, tr_tensor_t dy, const tr_gradient_t *gradient,
                              const scratch_t *s);

/// dstream: gradient of the layer's output on entry, of its input on return.
static void layer_backward(const pass_t *p, size_t segment, const layer_activations_t *a,
                           tr_tensor_t dstream, const tr_gradient_t *gradient, const scratch_t *s)
{
    half_backward_fn *const first = delta_recurs(p, segment) ? delta_backward
                                    : has_latents(p)         ? latent_backward
                                                             : attention_backward;
    half_backward_fn *const mlp = has_experts(p, segment) ? experts_backward : mlp_backward;
    if (!p->model->config.parallel_residual) {
        mlp(p, segment, a, dstream, dstream, gradient, s);
        first(p, segment, a, dstream, dstream, gradient, s);
        return;
    }
    // What the MLP gives to the input is no gradient of what attention adds.
    p->ops->zero(p->queue, s->dinput);
    mlp(p, segment, a, s->dinput, dstream, gradient, s);
    first(p, segment, a, dstream, dstream, gradient, s);
    p->ops->add(p->queue, dstream, dstream, s->dinput);
}

/// The gradients of what the embedding is made of.
static void embed_backward(const pass_t *p, tr_tensor_t dstream, const tr_gradient_t *gradient)
{
    const tr_layout_t *layout = &p->model->layout;
    const tr_weight_t *embedding = tr_layout_weight(layout, 0, TR_WEIGHT_EMBEDDING);
    const tr_weight_t *positions = tr_layout_weight(layout, 0, TR_WEIGHT_POSITIONS);
    if (positions->rows > 0 && positions->trained) {
        p->ops->embedding_gradient(p->queue, tr_weight_gradient(positions, gradient), dstream,
                                   p->batch->ragged.positions);
    }
    if (!embedding->trained) {
        return;
    }
    if (p->embedding_scale != 1.0f) {
        p->ops->scale(p->queue, dstream, dstream, p->embedding_scale);
    }
    p->ops->embedding_gradient(p->queue, tr_weight_gradient(embedding, gradient), dstream,
                               p->batch->ids);
}

void tr_model_backward(tr_model_t *model, tr_activations_t *saved, tr_tensor_t dhidden,
                       tr_gradient_t *gradient, tr_arena_t *arena)
{
    TR_ASSERT(model_learns(model), "backward through a model that was not made to learn");
    pass_t p = pass_of(model, &saved->batch, arena);
    p.pull = saved->pull;
    const scratch_t s = pass_scratch(&p, true);
    const size_t last = last_segment(model), lowest = lowest_trained(model);
    tr_tensor_t dstream = pass_reals(&p, p.T, p.H);
    p.ops->zero(p.queue, dstream);
    if (p.logit_scale != 1.0f) {
        tr_tensor_t scaled = pass_reals(&p, p.T, p.H); // dhidden is the caller's
        p.ops->scale(p.queue, scaled, dhidden, p.logit_scale);
        dhidden = scaled;
    }
    pass_normed_backward(&p, last, TR_WEIGHT_FINAL_NORM, dstream, dhidden, saved->output,
                         saved->output_rstd, gradient);
    complete(gradient, last);
    for (size_t segment = last - 1; segment > 0; segment--) {
        const layer_activations_t *a = &saved->layer[segment - 1];
        if (segment >= lowest) {
            parameters_gather(&model->parameters, segment);
            if (saved->recompute && segment + 1 < last) { // the last layer's are still there
                first_half(&p, segment, a, &s);
                (has_experts(&p, segment) ? experts_activate : mlp_activate)(&p, segment, a, &s);
            }
            layer_backward(&p, segment, a, dstream, gradient, &s);
        }
        complete(gradient, segment);
    }
    // What is left in dstream is the gradient of the embedded tokens. Of a tied embedding it is
    // added to the head's.
    embed_backward(&p, dstream, gradient);
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
