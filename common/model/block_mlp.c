/// The MLP, the second half of a layer: down(activation(gate) * up) (Shazeer 2020).
#include "common/model/pass.h"

void mlp_tensors(const pass_t *p, layer_activations_t *a)
{
    a->middle_rstd = pass_floats(p, 1, p->T);
    a->gate_up = pass_reals(p, p->T, 2 * p->F);
}

void mlp_activate(const pass_t *p, size_t segment, const layer_activations_t *a, const scratch_t *s)
{
    linear_forward(
        &model_linears(p->model, segment)[TR_WEIGHT_GATE_UP], a->gate_up,
        pass_normed(p, segment, TR_WEIGHT_POST_NORM, s->norm, a->middle_rstd, a->middle));
}

/// The MLP's inner rows from [gate | up].
static void activate(const pass_t *p, tr_tensor_t y, tr_tensor_t gate_up)
{
    (p->model->config.gelu ? p->ops->geglu : p->ops->swiglu)(p->queue, y, gate_up);
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

void mlp_backward(const pass_t *p, size_t segment, const layer_activations_t *a,
                  tr_tensor_t dstream, const tr_gradient_t *gradient, const scratch_t *s)
{
    const tr_ops_t *ops = p->ops;
    const linear_t *linears = model_linears(p->model, segment);

    activate(p, s->mlp, a->gate_up); // recomputed: cheaper than kept
    tr_tensor_t dy = pass_branch_backward(p, segment, TR_WEIGHT_DOWN, TR_WEIGHT_MLP_NORM, dstream,
                                          s->mlp, gradient, s);
    linear_backward(&linears[TR_WEIGHT_DOWN], gradient, s->dmlp, dy, s->mlp);
    (p->model->config.gelu ? ops->geglu_gradient : ops->swiglu_gradient)(p->queue, s->dgate_up,
                                                                         s->dmlp, a->gate_up);
    // The norm's output, which the product read, is computed again; its rstd is known.
    tr_tensor_t x = pass_normed(p, segment, TR_WEIGHT_POST_NORM, s->norm, s->unused, a->middle);
    linear_backward(&linears[TR_WEIGHT_GATE_UP], gradient, s->dnorm, s->dgate_up, x);
    pass_normed_backward(p, segment, TR_WEIGHT_POST_NORM, dstream, s->dnorm, a->middle,
                         a->middle_rstd, gradient);
}
