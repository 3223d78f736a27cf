/// What both halves of a layer do: tensors of the arena, weights by their kind, norms, and what is
/// added to the residual stream.
#include "common/model/pass.h"

#include <math.h>

tr_tensor_t pass_reals(const pass_t *p, size_t rows, size_t columns)
{
    return tr_arena_tensor(p->arena, p->model->backend->real, rows, columns);
}

tr_tensor_t pass_floats(const pass_t *p, size_t rows, size_t columns)
{
    return tr_arena_tensor(p->arena, TR_F32, rows, columns);
}

tr_tensor_t pass_rstd(const pass_t *p)
{
    return pass_floats(p, p->model->config.layer_norm ? 2 : 1, p->T);
}

bool pass_has(const pass_t *p, size_t segment, tr_weight_kind_t kind)
{
    return tr_layout_weight(&p->model->layout, segment, kind)->rows > 0;
}

bool pass_has_layer(const pass_t *p, tr_weight_kind_t kind)
{
    bool has = false;
    for (size_t i = 0; i < p->model->config.layers; i++) {
        has = has || pass_has(p, i + 1, kind);
    }
    return has;
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
    return pass_has(p, 1, TR_WEIGHT_ATTENTION_NORM) || pass_has(p, 1, TR_WEIGHT_MLP_NORM) ||
           p->residual_scale != 1.0f;
}

pass_t pass_of(tr_model_t *model, const tr_batch_t *batch, tr_arena_t *arena)
{
    const tr_model_config_t *config = &model->config;
    pass_t pass = {
        .model = model,
        .ops = model->backend->ops,
        .queue = model->queue,
        .arena = arena,
        .batch = batch,
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
    };
    pass.F = pass_has_layer(&pass, TR_WEIGHT_GATE_UP) ? config->intermediate : 0;
    pass.U = (config->ungated ? 1 : 2) * pass.F;
    if (changes_branches(&pass)) {
        pass.branch = pass_reals(&pass, pass.T, pass.H);
        pass.branch_rstd = pass_rstd(&pass);
    }
    product_scratch(&pass);
    return pass;
}

tr_tensor_t pass_vector(const pass_t *p, size_t segment, tr_weight_kind_t kind)
{
    return parameters_view(&p->model->parameters,
                           tr_layout_weight(&p->model->layout, segment, kind));
}

tr_tensor_t pass_vector_gradient(const pass_t *p, size_t segment, tr_weight_kind_t kind,
                                 const tr_gradient_t *gradient)
{
    return model_vector_gradient(tr_layout_weight(&p->model->layout, segment, kind), gradient,
                                 p->arena);
}

tr_tensor_t pass_normed(const pass_t *p, size_t segment, tr_weight_kind_t kind, tr_tensor_t norm,
                        tr_tensor_t rstd, tr_tensor_t x)
{
    if (!pass_has(p, segment, kind)) {
        return x;
    }
    (p->model->config.layer_norm ? p->ops->layernorm : p->ops->rmsnorm)(
        p->queue, norm, rstd, x, pass_vector(p, segment, kind), p->norm);
    return norm;
}

void pass_normed_backward(const pass_t *p, size_t segment, tr_weight_kind_t kind, tr_tensor_t dx,
                          tr_tensor_t dy, tr_tensor_t x, tr_tensor_t rstd,
                          const tr_gradient_t *gradient)
{
    if (!pass_has(p, segment, kind)) {
        p->ops->add(p->queue, dx, dx, dy);
        return;
    }
    if (p->model->config.layer_norm) {
        p->ops->layernorm_gradient(p->queue, dx, pass_vector_gradient(p, segment, kind, gradient),
                                   dy, x, rstd, pass_vector(p, segment, kind));
        return;
    }
    p->ops->rmsnorm_gradient(p->queue, dx, pass_vector_gradient(p, segment, kind, gradient), dy, x,
                             rstd, pass_vector(p, segment, kind), p->norm);
}

void pass_add_branch(const pass_t *p, size_t segment, tr_weight_kind_t projection,
                     tr_weight_kind_t kind, tr_tensor_t stream, tr_tensor_t x, tr_tensor_t norm)
{
    if (!pass_has(p, segment, kind) && p->residual_scale == 1.0f) {
        product_forward_add(p, segment, projection, stream, x);
        return;
    }
    product_forward(p, segment, projection, p->branch, x);
    tr_tensor_t y = pass_normed(p, segment, kind, norm, p->branch_rstd, p->branch);
    if (p->residual_scale != 1.0f) {
        p->ops->scale(p->queue, y, y, p->residual_scale);
    }
    p->ops->add(p->queue, stream, stream, y);
}

tr_tensor_t pass_branch_backward(const pass_t *p, size_t segment, tr_weight_kind_t projection,
                                 tr_weight_kind_t kind, tr_tensor_t dstream, tr_tensor_t x,
                                 const tr_gradient_t *gradient, const scratch_t *s)
{
    tr_tensor_t dy = dstream;
    if (p->residual_scale != 1.0f) {
        p->ops->scale(p->queue, s->dbranch[0], dy, p->residual_scale);
        dy = s->dbranch[0];
    }
    if (!pass_has(p, segment, kind)) {
        return dy;
    }
    // Computed again: kept, it would be two more tensors a layer.
    product_forward(p, segment, projection, p->branch, x);
    pass_normed(p, segment, kind, s->norm, p->branch_rstd, p->branch);
    p->ops->zero(p->queue, s->dbranch[1]);
    pass_normed_backward(p, segment, kind, s->dbranch[1], dy, p->branch, p->branch_rstd, gradient);
    return s->dbranch[1];
}

scratch_t pass_scratch(const pass_t *p, bool backward)
{
    scratch_t s = {.norm = pass_reals(p, p->T, p->H), .mlp = pass_reals(p, p->T, p->F)};
    if (p->model->config.attention_gate) {
        s.gated = pass_reals(p, p->T, p->Q);
    }
    if (pass_has_layer(p, TR_WEIGHT_DELTA_IN)) {
        delta_scratch(p, &s.delta, backward);
    }
    if (has_latents(p)) {
        latent_scratch(p, &s.latent, backward);
    }
    if (pass_has_layer(p, TR_WEIGHT_ROUTER)) {
        experts_scratch(p, &s, backward);
    }
    if (!backward) {
        return s;
    }
    s.dnorm = pass_reals(p, p->T, p->H);
    s.dmlp = pass_reals(p, p->T, p->F);
    s.dgate_up = pass_reals(p, p->T, p->U);
    s.dattention = pass_reals(p, p->T, p->Q);
    s.dqkv = pass_reals(p, p->T, p->W);
    s.unused = pass_rstd(p);
    if (p->model->config.attention_gate) {
        s.dproduct = pass_reals(p, p->T, p->W + p->Q);
    }
    if (p->model->config.parallel_residual) {
        s.dinput = pass_reals(p, p->T, p->H);
    }
    for (size_t i = 0; i < 2 && changes_branches(p); i++) {
        s.dbranch[i] = pass_reals(p, p->T, p->H);
    }
    return s;
}
