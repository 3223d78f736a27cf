/// A mixture of experts for the MLP of a layer (Shazeer et al. 2017; Jiang et al. 2024): a router
/// chooses C of E experts for each token, and their outputs are added up by its weights. Beside
/// them may be an expert that all tokens have, times the sigmoid of a gate (Qwen 2) or plain
/// (DeepSeek V3).
///
/// What a router chooses is a function of the bits of its logits, which are the same in a rollout
/// and in the trainer: both choose the same experts.
#include "common/model/pass.h"

bool has_experts(const pass_t *p, size_t segment)
{
    return pass_has(p, segment, TR_WEIGHT_ROUTER);
}

static tr_router_t router_of(const pass_t *p, size_t segment)
{
    const tr_model_config_t *config = &p->model->config;
    tr_router_t router = {.experts = config->experts,
                          .chosen = config->experts_chosen,
                          .normalized = config->router_normalized,
                          .sigmoid = config->router_sigmoid,
                          .scale = (float)config->router_scale,
                          .groups = config->router_groups,
                          .groups_chosen = config->router_groups_chosen};
    if (router.sigmoid) {
        router.bias = tr_tensor_rows(p->model->router_bias, segment - 1, 1);
    }
    return router;
}

/// Rows that experts read and write, and the width of one.
static size_t rows_of(const pass_t *p)
{
    return p->T * p->model->config.experts_chosen;
}

static size_t width_of(const pass_t *p)
{
    return p->model->config.expert_intermediate;
}

/// 0: there is no expert that all tokens have.
static size_t shared_width_of(const pass_t *p)
{
    return p->model->config.shared_intermediate;
}

/// Whether that expert has one.
static bool has_gate(const pass_t *p, size_t segment)
{
    return pass_has(p, segment, TR_WEIGHT_SHARED_GATE);
}

static tr_tensor_t indices(const pass_t *p, size_t rows, size_t columns)
{
    return tr_arena_tensor(p->arena, TR_I32, rows, columns);
}

void experts_tensors(const pass_t *p, layer_activations_t *a)
{
    const tr_model_config_t *config = &p->model->config;
    a->middle_rstd = pass_rstd(p);
    a->router_logits = pass_floats(p, p->T, config->experts);
    a->routes = (tr_routes_t){
        .experts = indices(p, p->T, config->experts_chosen),
        .weights = pass_floats(p, p->T, config->experts_chosen),
        .starts = indices(p, 1, config->experts + 1),
        .tokens = indices(p, 1, rows_of(p)),
        .places = indices(p, p->T, config->experts_chosen),
    };
    a->expert_gate_up = pass_reals(p, rows_of(p), 2 * width_of(p));
    if (shared_width_of(p) > 0) {
        a->shared_gate_up = pass_reals(p, p->T, 2 * shared_width_of(p));
        a->shared_gate = pass_reals(p, p->T, 1);
    }
}

void experts_keep(const pass_t *p, layer_activations_t *a)
{
    const size_t experts = p->model->config.experts;
    a->routes.starts = indices(p, 1, experts + 1);
    a->router_sums = pass_floats(p, 1, experts + 1);
}

static void shared_scratch(const pass_t *p, scratch_t *s, bool backward)
{
    const size_t width = shared_width_of(p);
    s->shared = pass_reals(p, p->T, p->H);
    s->shared_inner = pass_reals(p, p->T, width);
    if (backward) {
        s->dshared_inner = pass_reals(p, p->T, width);
        s->dshared_gate_up = pass_reals(p, p->T, 2 * width);
        s->dshared_gate = pass_reals(p, p->T, 1);
    }
}

void experts_scratch(const pass_t *p, scratch_t *s, bool backward)
{
    const tr_model_config_t *config = &p->model->config;
    s->rows = pass_reals(p, rows_of(p), p->H);
    s->inner = pass_reals(p, rows_of(p), width_of(p));
    s->sum = pass_reals(p, p->T, p->H);
    if (backward) {
        s->drows = pass_reals(p, rows_of(p), p->H);
        s->dinner = pass_reals(p, rows_of(p), width_of(p));
        s->dexpert_gate_up = pass_reals(p, rows_of(p), 2 * width_of(p));
        s->dsum = pass_reals(p, p->T, p->H);
        s->dweights = pass_floats(p, p->T, config->experts_chosen);
        s->dlogits = pass_floats(p, p->T, config->experts);
        s->dlogits_real = pass_reals(p, p->T, config->experts);
    }
    if (shared_width_of(p) > 0) {
        shared_scratch(p, s, backward);
    }
}

void experts_activate(const pass_t *p, size_t segment, const layer_activations_t *a,
                      const scratch_t *s)
{
    const linear_t *linears = model_linears(p->model, segment);
    tr_tensor_t x =
        pass_normed(p, segment, TR_WEIGHT_POST_NORM, s->norm, a->middle_rstd, a->middle);
    linear_forward(&linears[TR_WEIGHT_ROUTER], a->router_logits, x);
    p->ops->route(p->queue, &a->routes, a->router_logits, router_of(p, segment));
    p->ops->gather_rows(p->queue, s->rows, x, a->routes.tokens);
    linear_forward_experts(&linears[TR_WEIGHT_EXPERT_GATE_UP], a->expert_gate_up, s->rows,
                           a->routes.starts);
    if (shared_width_of(p) > 0) {
        linear_forward(&linears[TR_WEIGHT_SHARED_GATE_UP], a->shared_gate_up, x);
        if (has_gate(p, segment)) {
            linear_forward(&linears[TR_WEIGHT_SHARED_GATE], a->shared_gate, x);
        }
    }
}

/// The output of the expert that all tokens have, before its gate, from what it keeps.
static void finish_shared(const pass_t *p, size_t segment, const layer_activations_t *a,
                          const scratch_t *s)
{
    p->ops->swiglu(p->queue, s->shared_inner, a->shared_gate_up);
    linear_forward(&model_linears(p->model, segment)[TR_WEIGHT_SHARED_DOWN], s->shared,
                   s->shared_inner);
}

/// dnorm += the gradient of what it read.
static void shared_backward(const pass_t *p, size_t segment, const layer_activations_t *a,
                            tr_tensor_t dstream, tr_tensor_t x, const tr_gradient_t *gradient,
                            const scratch_t *s)
{
    const linear_t *linears = model_linears(p->model, segment);
    finish_shared(p, segment, a, s);
    if (has_gate(p, segment)) {
        p->ops->gate_rows_gradient(p->queue, s->shared, s->dshared_gate, dstream, s->shared,
                                   a->shared_gate);
        dstream = s->shared;
    }
    linear_backward(&linears[TR_WEIGHT_SHARED_DOWN], gradient, s->dshared_inner, dstream,
                    s->shared_inner);
    p->ops->swiglu_gradient(p->queue, s->dshared_gate_up, s->dshared_inner, a->shared_gate_up);
    linear_backward(&linears[TR_WEIGHT_SHARED_GATE_UP], gradient, s->dsum, s->dshared_gate_up, x);
    p->ops->add(p->queue, s->dnorm, s->dnorm, s->dsum);
    if (has_gate(p, segment)) {
        linear_backward(&linears[TR_WEIGHT_SHARED_GATE], gradient, s->dsum, s->dshared_gate, x);
        p->ops->add(p->queue, s->dnorm, s->dnorm, s->dsum);
    }
}

static tr_swiglu_t swiglu_of(const pass_t *p)
{
    return (tr_swiglu_t){p->model->config.swiglu_alpha, p->model->config.swiglu_limit};
}

/// s->inner, from what the experts keep.
static void activate_inner(const pass_t *p, const layer_activations_t *a, const scratch_t *s)
{
    if (p->model->config.swiglu_limit > 0.0f) {
        p->ops->swiglu_clamped(p->queue, s->inner, a->expert_gate_up, swiglu_of(p));
    } else {
        p->ops->swiglu(p->queue, s->inner, a->expert_gate_up);
    }
}

static void inner_backward(const pass_t *p, const layer_activations_t *a, const scratch_t *s)
{
    if (p->model->config.swiglu_limit > 0.0f) {
        p->ops->swiglu_clamped_gradient(p->queue, s->dexpert_gate_up, s->dinner, a->expert_gate_up,
                                        swiglu_of(p));
    } else {
        p->ops->swiglu_gradient(p->queue, s->dexpert_gate_up, s->dinner, a->expert_gate_up);
    }
}

/// The experts' outputs, in rows, from what they keep.
static void finish_rows(const pass_t *p, size_t segment, const layer_activations_t *a,
                        tr_tensor_t rows, const scratch_t *s)
{
    activate_inner(p, a, s);
    linear_forward_experts(&model_linears(p->model, segment)[TR_WEIGHT_EXPERT_DOWN], rows, s->inner,
                           a->routes.starts);
}

void experts_forward(const pass_t *p, size_t segment, const layer_activations_t *a,
                     tr_tensor_t output, const scratch_t *s)
{
    experts_activate(p, segment, a, s);
    if (a->router_sums.buffer != NULL) {
        p->ops->router_facts(p->queue, s->router_facts, a->router_logits);
        p->ops->zero(p->queue, a->router_sums);
        p->ops->bias_gradient(p->queue, a->router_sums, s->router_facts); // sums of columns
    }
    finish_rows(p, segment, a, s->rows, s);
    p->ops->combine(p->queue, s->sum, s->rows, a->routes.weights, a->routes.places);
    if (shared_width_of(p) > 0) {
        finish_shared(p, segment, a, s);
        if (has_gate(p, segment)) {
            p->ops->gate_rows(p->queue, s->shared, s->shared, a->shared_gate);
        }
        p->ops->add(p->queue, s->sum, s->sum, s->shared);
    }
    p->ops->add(p->queue, output, a->middle, s->sum);
}

/// dx: [T, H], written with the gradient of what the router read, given dweights.
static void router_backward(const pass_t *p, size_t segment, const layer_activations_t *a,
                            tr_tensor_t dx, tr_tensor_t x, const tr_gradient_t *gradient,
                            const scratch_t *s)
{
    p->ops->route_gradient(p->queue, s->dlogits, s->dweights, p->pull, a->router_logits, &a->routes,
                           router_of(p, segment));
    p->ops->cast(p->queue, s->dlogits_real, s->dlogits);
    linear_backward(&model_linears(p->model, segment)[TR_WEIGHT_ROUTER], gradient, dx,
                    s->dlogits_real, x);
}

void experts_backward(const pass_t *p, size_t segment, const layer_activations_t *a, tr_tensor_t dx,
                      tr_tensor_t dy, const tr_gradient_t *gradient, const scratch_t *s)
{
    const linear_t *linears = model_linears(p->model, segment);
    const tr_routes_t *routes = &a->routes;
    // Computed again rather than kept: a token's rows are as many as its experts.
    finish_rows(p, segment, a, s->drows, s);
    p->ops->combine_gradient(p->queue, s->drows, s->dweights, dy, s->drows, routes->weights,
                             routes->places);
    linear_backward_experts(&linears[TR_WEIGHT_EXPERT_DOWN], gradient, s->dinner, s->drows,
                            s->inner, routes->starts);
    inner_backward(p, a, s);
    tr_tensor_t x = pass_normed(p, segment, TR_WEIGHT_POST_NORM, s->norm, s->unused, a->middle);
    p->ops->gather_rows(p->queue, s->rows, x, routes->tokens);
    linear_backward_experts(&linears[TR_WEIGHT_EXPERT_GATE_UP], gradient, s->drows,
                            s->dexpert_gate_up, s->rows, routes->starts);
    p->ops->combine(p->queue, s->dnorm, s->drows, (tr_tensor_t){0}, routes->places);
    router_backward(p, segment, a, s->dsum, x, gradient, s);
    p->ops->add(p->queue, s->dnorm, s->dnorm, s->dsum);
    if (shared_width_of(p) > 0) {
        shared_backward(p, segment, a, dy, x, gradient, s);
    }
    pass_normed_backward(p, segment, TR_WEIGHT_POST_NORM, dx, s->dnorm, a->middle, a->middle_rstd,
                         gradient);
}
