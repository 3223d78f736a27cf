/// The gated delta net (Yang et al. 2025), the first half of a layer without attention: one
/// product, a short convolution, unit queries and keys, a state that each token changes, and a
/// gated norm of what is read from it.
#include "common/model/pass.h"

#include <math.h>

bool delta_recurs(const pass_t *p, size_t segment)
{
    return pass_has(p, segment, TR_WEIGHT_DELTA_IN);
}

/// Columns of what the product gives: [channels | gates of the output | of the state].
typedef struct columns {
    size_t channels, read, all;
} columns_t;

static columns_t columns_of(const pass_t *p)
{
    const tr_delta_t *d = &p->model->config.delta;
    const size_t channels = tr_delta_channels(*d), read = d->value_heads * d->value_dim;
    return (columns_t){channels, read, channels + read + 2 * d->value_heads};
}

static tr_pieces_t output_gates(const pass_t *p)
{
    const columns_t c = columns_of(p);
    return (tr_pieces_t){c.channels, c.read, c.read};
}

void delta_tensors(const pass_t *p, layer_activations_t *a)
{
    const size_t heads = p->model->config.delta.value_heads;
    const columns_t c = columns_of(p);
    a->rstd = pass_rstd(p);
    a->mixed = pass_reals(p, p->T, c.all);
    a->gates = pass_floats(p, p->T, 2 * heads);
    a->read = pass_reals(p, p->T, c.read);
    a->read_rstd = pass_floats(p, p->T, heads);
    a->middle = pass_reals(p, p->T, p->H);
}

void delta_scratch(const pass_t *p, delta_scratch_t *s, bool backward)
{
    const tr_delta_t *d = &p->model->config.delta;
    const columns_t c = columns_of(p);
    *s = (delta_scratch_t){
        .convolved = pass_reals(p, p->T, c.channels),
        .qkv = pass_reals(p, p->T, c.channels),
        .unit_rstd = {pass_floats(p, p->T, d->key_heads), pass_floats(p, p->T, d->key_heads)},
        .zeros = pass_reals(p, 1, d->key_dim),
        .normed = pass_reals(p, p->T, c.read),
        .gated = pass_reals(p, p->T, c.read),
    };
    p->ops->zero(p->queue, s->zeros);
    if (backward) {
        s->dmixed = pass_reals(p, p->T, c.all);
        s->dqkv = pass_reals(p, p->T, c.channels);
        s->dgates = pass_floats(p, p->T, 2 * d->value_heads);
        s->dread = pass_reals(p, p->T, c.read);
        s->unused = pass_floats(p, 1, d->key_dim);
    }
}

/// The norm that makes queries (0) or keys (1) unit vectors, x / sqrt(sum(x^2) + 1e-6), as that of
/// a mean; queries are divided by sqrt(K) besides.
static tr_norm_t unit_norm(const pass_t *p, size_t i)
{
    const float n = (float)p->model->config.delta.key_dim;
    return (tr_norm_t){1e-6f / n, i == 0 ? 1.0f / n : 1.0f / sqrtf(n)};
}

/// Queries, keys and values of a->mixed.
static void make_qkv(const pass_t *p, size_t segment, const layer_activations_t *a,
                     const delta_scratch_t *s)
{
    const tr_delta_t *d = &p->model->config.delta;
    p->ops->convolution(p->queue, s->convolved, a->mixed,
                        pass_vector(p, segment, TR_WEIGHT_DELTA_CONVOLUTION), a->kept,
                        &p->batch->ragged);
    p->ops->copy(p->queue, s->qkv, s->convolved); // for the values
    for (size_t i = 0; i < 2; i++) {
        p->ops->group_norm(p->queue, s->qkv, s->unit_rstd[i], s->convolved, s->zeros,
                           i * d->key_heads * d->key_dim, d->key_heads, unit_norm(p, i));
    }
}

/// What the heads read, normed and gated, in s->gated. Its norm's weights are not added to 1.
static void gate_read(const pass_t *p, size_t segment, const layer_activations_t *a,
                      const delta_scratch_t *s)
{
    p->ops->group_norm(p->queue, s->normed, a->read_rstd, a->read,
                       pass_vector(p, segment, TR_WEIGHT_DELTA_NORM), 0,
                       p->model->config.delta.value_heads, (tr_norm_t){p->norm.epsilon, 0.0f});
    p->ops->gate(p->queue, s->gated, s->normed, a->mixed, output_gates(p), TR_GATE_SILU);
}

void delta_forward(const pass_t *p, size_t segment, const layer_activations_t *a,
                   const scratch_t *s)
{
    const tr_ops_t *ops = p->ops;
    const columns_t c = columns_of(p);
    product_forward(p, segment, TR_WEIGHT_DELTA_IN, a->mixed,
                    pass_normed(p, segment, TR_WEIGHT_INPUT_NORM, s->norm, a->rstd, a->input));
    make_qkv(p, segment, a, &s->delta);
    ops->delta_gates(p->queue, a->gates, a->mixed, c.channels + c.read,
                     pass_vector(p, segment, TR_WEIGHT_DELTA_SCALE),
                     pass_vector(p, segment, TR_WEIGHT_DELTA_SHIFT));
    ops->delta(p->queue, a->read, s->delta.qkv, a->gates, a->kept, &p->batch->ragged,
               p->model->config.delta);
    gate_read(p, segment, a, &s->delta);
    ops->copy(p->queue, a->middle, a->input);
    pass_add_branch(p, segment, TR_WEIGHT_DELTA_OUT, TR_WEIGHT_ATTENTION_NORM, a->middle,
                    s->delta.gated, s->norm);
}

/// From d->dread, the gradient of what is read and gated, to that of the product: d->dmixed.
static void mixed_backward(const pass_t *p, size_t segment, const layer_activations_t *a,
                           const tr_gradient_t *gradient, const delta_scratch_t *d)
{
    const tr_ops_t *ops = p->ops;
    const tr_delta_t shape = p->model->config.delta;
    const columns_t c = columns_of(p);
    ops->gate_gradient(p->queue, d->dread, d->dmixed, d->dread, d->normed, a->mixed,
                       output_gates(p), TR_GATE_SILU);
    ops->group_norm_gradient(p->queue, d->dread,
                             pass_vector_gradient(p, segment, TR_WEIGHT_DELTA_NORM, gradient),
                             a->read, a->read_rstd, pass_vector(p, segment, TR_WEIGHT_DELTA_NORM),
                             0, shape.value_heads, (tr_norm_t){p->norm.epsilon, 0.0f});
    ops->delta_gradient(p->queue, d->dqkv, d->dgates, d->dread, d->qkv, a->gates, &p->batch->ragged,
                        shape);
    for (size_t i = 0; i < 2; i++) {
        ops->group_norm_gradient(p->queue, d->dqkv, d->unused, d->convolved, d->unit_rstd[i],
                                 d->zeros, i * shape.key_heads * shape.key_dim, shape.key_heads,
                                 unit_norm(p, i));
    }
    ops->convolution_gradient(
        p->queue, d->dmixed,
        pass_vector_gradient(p, segment, TR_WEIGHT_DELTA_CONVOLUTION, gradient), d->dqkv, a->mixed,
        pass_vector(p, segment, TR_WEIGHT_DELTA_CONVOLUTION), &p->batch->ragged);
    ops->delta_gates_gradient(
        p->queue, d->dmixed, pass_vector_gradient(p, segment, TR_WEIGHT_DELTA_SCALE, gradient),
        pass_vector_gradient(p, segment, TR_WEIGHT_DELTA_SHIFT, gradient), d->dgates, a->mixed,
        c.channels + c.read, pass_vector(p, segment, TR_WEIGHT_DELTA_SCALE),
        pass_vector(p, segment, TR_WEIGHT_DELTA_SHIFT));
}

void delta_backward(const pass_t *p, size_t segment, const layer_activations_t *a, tr_tensor_t dx,
                    tr_tensor_t dy, const tr_gradient_t *gradient, const scratch_t *s)
{
    // Computed again: kept, they would be five more tensors a layer.
    make_qkv(p, segment, a, &s->delta);
    gate_read(p, segment, a, &s->delta);
    dy = pass_branch_backward(p, segment, TR_WEIGHT_DELTA_OUT, TR_WEIGHT_ATTENTION_NORM, dy,
                              s->delta.gated, gradient, s);
    product_backward(p, segment, TR_WEIGHT_DELTA_OUT, gradient, s->delta.dread, dy, s->delta.gated);
    mixed_backward(p, segment, a, gradient, &s->delta);
    tr_tensor_t x = pass_normed(p, segment, TR_WEIGHT_INPUT_NORM, s->norm, s->unused, a->input);
    product_backward(p, segment, TR_WEIGHT_DELTA_IN, gradient, s->dnorm, s->delta.dmixed, x);
    pass_normed_backward(p, segment, TR_WEIGHT_INPUT_NORM, dx, s->dnorm, a->input, a->rstd,
                         gradient);
}
