/// Attention, the first half of a layer (Vaswani et al. 2017): queries, keys and values, their
/// norms and rotation, and what the heads read of the pages of keys and values.
#include "common/model/pass.h"

tr_heads_t attention_heads(const pass_t *p, size_t segment)
{
    const tr_model_config_t *config = &p->model->config;
    return (tr_heads_t){
        .query = config->heads,
        .key_value = config->key_value_heads,
        .dim = config->head_dim,
        .scale = (float)config->attention_scale,
        .cap = config->attention_cap,
        .window = tr_layer_set_has(&config->sliding, segment - 1) ? config->window : 0,
    };
}

/// Groups of columns that a norm of queries (0) or keys (1) makes unit: heads, or all of them as
/// one. 0: there is no such norm.
static size_t qk_groups(const pass_t *p, size_t i)
{
    const size_t heads = i == 0 ? p->model->config.heads : p->model->config.key_value_heads;
    const tr_qk_norm_t norm = p->model->config.qk_norm;
    return norm == TR_QK_NORM_NONE ? 0 : norm == TR_QK_NORM_HEAD ? heads : 1;
}

void attention_tensors(const pass_t *p, layer_activations_t *a)
{
    a->rstd = pass_rstd(p);
    a->qkv = pass_reals(p, p->T, p->W);
    a->attention = pass_reals(p, p->T, p->Q);
    a->lse = pass_floats(p, p->T, p->model->config.heads);
    a->middle = pass_reals(p, p->T, p->H);
    a->raw = a->qkv;
    if (qk_groups(p, 0) > 0) {
        a->raw = pass_reals(p, p->T, p->W);
        a->qk_rstd[0] = pass_floats(p, p->T, qk_groups(p, 0));
        a->qk_rstd[1] = pass_floats(p, p->T, qk_groups(p, 1));
    }
    a->product = p->model->config.attention_gate ? pass_reals(p, p->T, p->W + p->Q) : a->raw;
}

tr_kv_t attention_fresh_kv(const pass_t *p)
{
    const tr_model_config_t *config = &p->model->config;
    const size_t numbers = config->key_value_heads * config->head_dim * TR_PAGE;
    return (tr_kv_t){pass_reals(p, p->batch->fresh_pages, numbers),
                     pass_reals(p, p->batch->fresh_pages, numbers)};
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
        p->ops->group_norm(p->queue, a->qkv, a->qk_rstd[i], a->raw, pass_vector(p, segment, kind),
                           i == 0 ? 0 : p->Q, qk_groups(p, i), p->norm);
    }
}

static void norm_heads_backward(const pass_t *p, size_t segment, const layer_activations_t *a,
                                tr_tensor_t dqkv, const tr_gradient_t *gradient)
{
    for (size_t i = 0; i < 2 && qk_groups(p, 0) > 0; i++) {
        const tr_weight_kind_t kind = i == 0 ? TR_WEIGHT_QUERY_NORM : TR_WEIGHT_KEY_NORM;
        p->ops->group_norm_gradient(
            p->queue, dqkv, pass_vector_gradient(p, segment, kind, gradient), a->raw, a->qk_rstd[i],
            pass_vector(p, segment, kind), i == 0 ? 0 : p->Q, qk_groups(p, i), p->norm);
    }
}

// Gates: a row of the product has each query head followed by its gate, then keys and values.

static tr_pieces_t gates_of(const pass_t *p)
{
    const size_t dim = p->model->config.head_dim;
    return (tr_pieces_t){dim, 2 * dim, dim};
}

/// Queries, keys and values side by side in qkv from where they stand in the product; or back.
static void gather_heads(const pass_t *p, tr_tensor_t qkv, tr_tensor_t product, bool inverse)
{
    const size_t dim = p->model->config.head_dim, rest = p->W - p->Q;
    const tr_pieces_t dense[] = {{0, dim, dim}, {p->Q, rest, rest}};
    const tr_pieces_t apart[] = {{0, 2 * dim, dim}, {2 * p->Q, rest, rest}};
    for (size_t i = 0; i < 2; i++) {
        const size_t count = i == 0 ? p->model->config.heads : 1;
        if (inverse) {
            p->ops->copy_pieces(p->queue, product, apart[i], qkv, dense[i], count);
        } else {
            p->ops->copy_pieces(p->queue, qkv, dense[i], product, apart[i], count);
        }
    }
}

/// What the output's product reads: attention, or what the gates let through, in s->gated.
static tr_tensor_t gated(const pass_t *p, const layer_activations_t *a, const scratch_t *s)
{
    if (!p->model->config.attention_gate) {
        return a->attention;
    }
    p->ops->gate(p->queue, s->gated, a->attention, a->product, gates_of(p), TR_GATE_SIGMOID);
    return s->gated;
}

/// Turns queries and keys by their positions, or back.
static void rotate(const pass_t *p, size_t segment, tr_tensor_t qkv, bool inverse)
{
    const tr_model_config_t *config = &p->model->config;
    const bool local = tr_layer_set_has(&config->sliding, segment - 1);
    if (!tr_layer_set_has(&config->unrotated, segment - 1)) {
        p->ops->rope(p->queue, qkv, p->batch->ragged.positions,
                     local ? p->model->local_rope : p->model->rope, attention_heads(p, segment),
                     inverse);
    }
}

void attention_forward(const pass_t *p, size_t segment, const layer_activations_t *a,
                       const scratch_t *s)
{
    const tr_ops_t *ops = p->ops;
    tr_queue_t *queue = p->queue;
    const tr_heads_t heads = attention_heads(p, segment);
    tr_ragged_t ragged = p->batch->ragged;
    ragged.pages = heads.window > 0 ? p->batch->ring : ragged.pages;

    product_forward(p, segment, TR_WEIGHT_QKV, a->product,
                    pass_normed(p, segment, TR_WEIGHT_INPUT_NORM, s->norm, a->rstd, a->input));
    if (p->model->config.attention_gate) {
        gather_heads(p, a->raw, a->product, false);
    }
    norm_heads(p, segment, a);
    rotate(p, segment, a->qkv, false);
    // After the rotation: cached keys are never rotated again.
    ops->kv_store(queue, a->kv, a->qkv, &ragged, heads);
    ops->attention(queue, a->attention, a->lse, a->qkv, a->kv, &ragged, heads);
    if (pass_has(p, segment, TR_WEIGHT_SINKS)) {
        ops->sink(queue, a->attention, a->lse, pass_vector(p, segment, TR_WEIGHT_SINKS));
    }
    // The input is kept for the backward pass, so the sum goes into another tensor.
    ops->copy(queue, a->middle, a->input);
    pass_add_branch(p, segment, TR_WEIGHT_OUTPUT, TR_WEIGHT_ATTENTION_NORM, a->middle,
                    gated(p, a, s), s->norm);
}

/// The gradient of the heads' sinks, given that of what they let through. That of the rest is then
/// attention's, from the lse that has the sink in it.
static void sinks_backward(const pass_t *p, size_t segment, const layer_activations_t *a,
                           const tr_gradient_t *gradient, const scratch_t *s)
{
    if (pass_has(p, segment, TR_WEIGHT_SINKS)) {
        p->ops->sink_gradient(p->queue, pass_vector_gradient(p, segment, TR_WEIGHT_SINKS, gradient),
                              s->dattention, a->attention, a->lse,
                              pass_vector(p, segment, TR_WEIGHT_SINKS));
    }
}

void attention_backward(const pass_t *p, size_t segment, const layer_activations_t *a,
                        tr_tensor_t dx, tr_tensor_t dy, const tr_gradient_t *gradient,
                        const scratch_t *s)
{
    const tr_ops_t *ops = p->ops;
    tr_queue_t *queue = p->queue;

    const bool gates = p->model->config.attention_gate;
    tr_tensor_t y = gated(p, a, s);
    dy = pass_branch_backward(p, segment, TR_WEIGHT_OUTPUT, TR_WEIGHT_ATTENTION_NORM, dy, y,
                              gradient, s);
    product_backward(p, segment, TR_WEIGHT_OUTPUT, gradient, s->dattention, dy, y);
    if (gates) {
        ops->gate_gradient(queue, s->dattention, s->dproduct, s->dattention, a->attention,
                           a->product, gates_of(p), TR_GATE_SIGMOID);
    }
    sinks_backward(p, segment, a, gradient, s);
    // The probabilities are computed again from lse (Dao et al. 2022, FlashAttention).
    ops->attention_gradient(queue, s->dqkv, s->dattention, a->attention, a->lse, a->qkv,
                            &p->batch->ragged, attention_heads(p, segment));
    // The transpose of a rotation is the rotation back.
    rotate(p, segment, s->dqkv, true);
    norm_heads_backward(p, segment, a, s->dqkv, gradient);
    if (gates) {
        gather_heads(p, s->dqkv, s->dproduct, true);
    }
    tr_tensor_t x = pass_normed(p, segment, TR_WEIGHT_INPUT_NORM, s->norm, s->unused, a->input);
    product_backward(p, segment, TR_WEIGHT_QKV, gradient, s->dnorm, gates ? s->dproduct : s->dqkv,
                     x);
    pass_normed_backward(p, segment, TR_WEIGHT_INPUT_NORM, dx, s->dnorm, a->input, a->rstd,
                         gradient);
}
