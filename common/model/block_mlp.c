/// The MLP, the second half of a layer: down(activation(gate) * up) (Shazeer 2020), or
/// down(activation(up)).
#include "common/model/pass.h"

void mlp_tensors(const pass_t *p, layer_activations_t *a)
{
    a->middle_rstd = pass_rstd(p);
    a->gate_up = pass_reals(p, p->T, p->U);
}

/// What the MLP reads.
static tr_tensor_t source_of(const pass_t *p, const layer_activations_t *a)
{
    return p->model->config.parallel_residual ? a->input : a->middle;
}

void mlp_activate(const pass_t *p, size_t segment, const layer_activations_t *a, const scratch_t *s)
{
    product_forward(
        p, segment, TR_WEIGHT_GATE_UP, a->gate_up,
        pass_normed(p, segment, TR_WEIGHT_POST_NORM, s->norm, a->middle_rstd, source_of(p, a)));
}

/// y: the MLP's inner rows, [T, F], from [gate | up] or from up.
static void activate(const pass_t *p, tr_tensor_t y, tr_tensor_t gate_up)
{
    const tr_activation_t activation = p->model->config.activation;
    if (p->model->config.ungated) {
        p->ops->gelu(p->queue, y, gate_up, activation == TR_ACTIVATION_GELU);
    } else {
        (activation == TR_ACTIVATION_SILU ? p->ops->swiglu : p->ops->geglu)(p->queue, y, gate_up);
    }
}

static void activate_backward(const pass_t *p, tr_tensor_t dgate_up, tr_tensor_t dy,
                              tr_tensor_t gate_up)
{
    const tr_activation_t activation = p->model->config.activation;
    if (p->model->config.ungated) {
        p->ops->gelu_gradient(p->queue, dgate_up, dy, gate_up, activation == TR_ACTIVATION_GELU);
    } else {
        (activation == TR_ACTIVATION_SILU ? p->ops->swiglu_gradient : p->ops->geglu_gradient)(
            p->queue, dgate_up, dy, gate_up);
    }
}

void mlp_forward(const pass_t *p, size_t segment, const layer_activations_t *a, tr_tensor_t output,
                 const scratch_t *s)
{
    mlp_activate(p, segment, a, s);
    // Not kept: the backward pass computes it again from gate_up, which it needs anyway.
    activate(p, s->mlp, a->gate_up);
    p->ops->copy(p->queue, output, a->middle);
    pass_add_branch(p, segment, TR_WEIGHT_DOWN, TR_WEIGHT_MLP_NORM, output, s->mlp, s->norm);
}

void mlp_backward(const pass_t *p, size_t segment, const layer_activations_t *a, tr_tensor_t dx,
                  tr_tensor_t dy, const tr_gradient_t *gradient, const scratch_t *s)
{

    activate(p, s->mlp, a->gate_up); // recomputed: cheaper than kept
    dy = pass_branch_backward(p, segment, TR_WEIGHT_DOWN, TR_WEIGHT_MLP_NORM, dy, s->mlp, gradient,
                              s);
    product_backward(p, segment, TR_WEIGHT_DOWN, gradient, s->dmlp, dy, s->mlp);
    activate_backward(p, s->dgate_up, s->dmlp, a->gate_up);
    // The norm's output, which the product read, is computed again; its rstd is known.
    tr_tensor_t x =
        pass_normed(p, segment, TR_WEIGHT_POST_NORM, s->norm, s->unused, source_of(p, a));
    product_backward(p, segment, TR_WEIGHT_GATE_UP, gradient, s->dnorm, s->dgate_up, x);
    pass_normed_backward(p, segment, TR_WEIGHT_POST_NORM, dx, s->dnorm, source_of(p, a),
                         a->middle_rstd, gradient);
}
