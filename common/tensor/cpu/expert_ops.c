/// Mixtures of experts: the choice of experts, products by expert, sums over a token's experts.
/// Contracts in backend.h.
///
/// Products are those of matmul_ops.c on the rows of one expert at a time, so a row has the bits
/// that it has in any batch.
#include <math.h>
#include <string.h>

#include "common/tensor/cpu/cpu.h"

// Tasks have the arguments that cpu_for gives; none here needs the number of its thread.
#pragma GCC diagnostic ignored "-Wunused-parameter"

enum { GRAIN = 16384 }; // elements below which waking another thread costs more than it saves

static size_t row_grain(size_t columns)
{
    return 1 + GRAIN / (columns + 1);
}

// Routing

typedef struct routing {
    cpu_backend_t *backend;
    tr_router_t router;
    const float *logits;   // [T, E]
    int32_t *experts;      // [T, C]
    float *weights;        // [T, C]
    float *dlogits;        // [T, E]
    const float *dweights; // [T, C]
    const float *pull;     // [E] or NULL
    const float *bias;     // [E] of sigmoids
    float *scratch;        // [threads, 3 E]
} routing_t;

static routing_t routing_of(tr_queue_t *queue, tr_tensor_t logits, const tr_routes_t *routes,
                            tr_router_t router)
{
    const size_t tokens = logits.rows, rows = tokens * router.chosen;
    TR_ASSERT_COLUMNS(logits, router.experts);
    TR_ASSERT_SHAPE(routes->experts, tokens, router.chosen);
    TR_ASSERT_SHAPE(routes->weights, tokens, router.chosen);
    TR_ASSERT_SHAPE(routes->places, tokens, router.chosen);
    TR_ASSERT_COUNT(routes->tokens, rows);
    TR_ASSERT_COUNT(routes->starts, router.experts + 1);
    TR_ASSERT(router.chosen >= 1 && router.chosen <= router.experts, "%zu of %zu experts",
              router.chosen, router.experts);
    if (router.sigmoid) {
        TR_ASSERT_COUNT(router.bias, router.experts);
        TR_ASSERT(router.groups >= 1 && router.experts % router.groups == 0 &&
                      router.groups_chosen <= router.groups,
                  "%zu of %zu groups of %zu experts", router.groups_chosen, router.groups,
                  router.experts);
    }
    return (routing_t){
        .backend = queue->backend,
        .router = router,
        .logits = cpu_f32(logits),
        .experts = cpu_i32(routes->experts),
        .weights = cpu_f32(routes->weights),
        .bias = router.sigmoid ? cpu_f32(router.bias) : NULL,
        .scratch = cpu_scratch(queue->backend, CPU_SLOT_THREAD,
                               queue->backend->threads * 3 * router.experts * sizeof(float)),
    };
}

/// A logit for comparisons: NaN would make the order depend on where it stands.
static float rank_of(float logit)
{
    return logit == logit ? logit : -INFINITY;
}

/// The greatest logit after that of `last` in the order of logits, ties by expert; last -1: of all.
static int32_t next_choice(const float *z, size_t experts, int32_t last)
{
    int32_t best = -1;
    for (int32_t e = 0; e < (int32_t)experts; e++) {
        const float rank = rank_of(z[e]);
        const bool after =
            last < 0 || rank < rank_of(z[last]) || (!(rank > rank_of(z[last])) && e > last);
        if (after && (best < 0 || rank > rank_of(z[best]))) {
            best = e;
        }
    }
    return best;
}

/// experts: [chosen], written, ascending.
static void choose(int32_t *experts, const float *z, const tr_router_t *router)
{
    int32_t last = -1;
    for (size_t k = 0; k < router->chosen; k++) {
        last = next_choice(z, router->experts, last);
        size_t at = k;
        for (; at > 0 && experts[at - 1] > last; at--) {
            experts[at] = experts[at - 1];
        }
        experts[at] = last;
    }
}

/// e^(z - max) of all experts, in e: [E]; returns their sum, a chain in the order of experts.
static float exponentials(const routing_t *r, float *e, const float *z)
{
    float sum = 0.0f;
    r->backend->kernels->softmax(e, z, r->router.experts);
    for (size_t i = 0; i < r->router.experts; i++) {
        sum = sum + e[i];
    }
    return sum;
}

/// The sum of the two greatest of n.
static float group_score(const float *ranks, size_t n)
{
    float best = -INFINITY, second = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        const float rank = rank_of(ranks[i]);
        second = rank > best ? best : rank > second ? rank : second;
        best = rank > best ? rank : best;
    }
    return best + second;
}

/// ranks: [E], those of groups that are not chosen become the least. scores: [groups] of memory.
static void leave_groups(float *ranks, float *scores, const tr_router_t *router)
{
    const size_t size = router->experts / router->groups;
    bool kept[64] = {false};
    int32_t last = -1;
    for (size_t g = 0; g < router->groups; g++) {
        scores[g] = group_score(ranks + g * size, size);
    }
    for (size_t k = 0; k < router->groups_chosen; k++) {
        last = next_choice(scores, router->groups, last);
        kept[last] = true;
    }
    for (size_t g = 0; g < router->groups; g++) {
        for (size_t i = g * size; i < (g + 1) * size && !kept[g]; i++) {
            ranks[i] = -INFINITY;
        }
    }
}

/// scores: [E], written.
static void sigmoids(const routing_t *r, float *scores, const float *z)
{
    const float one = 1.0f;
    for (size_t i = 0; i < r->router.experts; i++) {
        r->backend->kernels->gate(scores + i, &one, z + i, 1, false);
    }
}

/// The chosen scores' sum; a little more, as in transformers.
static float score_sum(const float *scores, const int32_t *chosen, size_t count)
{
    float sum = 0.0f;
    for (size_t k = 0; k < count; k++) {
        sum = sum + scores[chosen[k]];
    }
    return sum + 1e-20f;
}

static void sigmoid_rows(void *context, size_t first, size_t count, size_t thread)
{
    const routing_t *r = context;
    const size_t experts = r->router.experts, chosen = r->router.chosen;
    float *scores = r->scratch + thread * 3 * experts, *ranks = scores + experts;
    for (size_t t = first; t < first + count; t++) {
        int32_t *to = r->experts + t * chosen;
        float *weights = r->weights + t * chosen;
        sigmoids(r, scores, r->logits + t * experts);
        for (size_t i = 0; i < experts; i++) {
            ranks[i] = scores[i] + r->bias[i];
        }
        leave_groups(ranks, ranks + experts, &r->router);
        choose(to, ranks, &r->router);
        const float sum = r->router.normalized ? score_sum(scores, to, chosen) : 1.0f;
        for (size_t k = 0; k < chosen; k++) {
            weights[k] = scores[to[k]] / sum * r->router.scale;
        }
    }
}

static void route_rows(void *context, size_t first, size_t count, size_t thread)
{
    const routing_t *r = context;
    const size_t experts = r->router.experts, chosen = r->router.chosen;
    float *e = r->scratch + thread * 3 * experts;
    for (size_t t = first; t < first + count; t++) {
        int32_t *to = r->experts + t * chosen;
        float *weights = r->weights + t * chosen;
        choose(to, r->logits + t * experts, &r->router);
        float sum = exponentials(r, e, r->logits + t * experts);
        if (r->router.normalized) {
            sum = 0.0f;
            for (size_t k = 0; k < chosen; k++) {
                sum = sum + e[to[k]];
            }
        }
        for (size_t k = 0; k < chosen; k++) {
            weights[k] = e[to[k]] / sum;
        }
    }
}

/// Rows by expert and token: a counting sort, by one thread, for it is little work.
static void order_rows(const tr_routes_t *routes, size_t tokens, const tr_router_t *router)
{
    const int32_t *experts = cpu_i32(routes->experts);
    int32_t *starts = cpu_i32(routes->starts), *of = cpu_i32(routes->tokens),
            *places = cpu_i32(routes->places);
    const size_t rows = tokens * router->chosen;
    memset(starts, 0, (router->experts + 1) * sizeof *starts);
    for (size_t i = 0; i < rows; i++) {
        starts[experts[i] + 1]++;
    }
    for (size_t e = 0; e < router->experts; e++) {
        starts[e + 1] += starts[e];
    }
    for (size_t i = 0; i < rows; i++) { // starts[e] is now the next row of e
        places[i] = starts[experts[i]]++;
        of[places[i]] = (int32_t)(i / router->chosen);
    }
    memmove(starts + 1, starts, router->experts * sizeof *starts);
    starts[0] = 0;
}

void cpu_route(tr_queue_t *queue, const tr_routes_t *routes, tr_tensor_t logits, tr_router_t router)
{
    routing_t r = routing_of(queue, logits, routes, router);
    cpu_for(queue->backend, logits.rows, row_grain(router.experts * (router.chosen + 4)),
            router.sigmoid ? sigmoid_rows : route_rows, &r);
    if (!queue->backend->base.dry) {
        order_rows(routes, logits.rows, &router);
    }
}

/// The gradient by a token's logits of the chosen experts' weights, sigmoids.
static void sigmoid_slopes(const routing_t *r, size_t t, float *dz, float *scores, float mean)
{
    const size_t experts = r->router.experts, chosen = r->router.chosen;
    const int32_t *of = r->experts + t * chosen;
    sigmoids(r, scores, r->logits + t * experts);
    const float sum = r->router.normalized ? score_sum(scores, of, chosen) : 1.0f;
    memset(dz, 0, experts * sizeof *dz);
    for (size_t k = 0; k < chosen; k++) {
        const float s = scores[of[k]], d = r->dweights[t * chosen + k] * r->router.scale;
        dz[of[k]] = (r->router.normalized ? d - mean : d) / sum * (s * (1.0f - s));
    }
}

/// With p = softmax(z): dz = p (g - sum(p g)), where g is dweights of the chosen and 0 of others.
/// Normalized: the same of the weights, which are a softmax over the chosen.
static void slope_rows(void *context, size_t first, size_t count, size_t thread)
{
    const routing_t *r = context;
    const size_t experts = r->router.experts, chosen = r->router.chosen;
    float *p = r->scratch + thread * 3 * experts;
    for (size_t t = first; t < first + count; t++) {
        const int32_t *of = r->experts + t * chosen;
        const float *w = r->weights + t * chosen, *dw = r->dweights + t * chosen;
        float *dz = r->dlogits + t * experts, mean = 0.0f, pulled = 0.0f;
        const float sum = exponentials(r, p, r->logits + t * experts);
        for (size_t k = 0; k < chosen; k++) {
            mean = mean + w[k] * dw[k];
        }
        for (size_t i = 0; i < experts; i++) {
            p[i] = p[i] / sum;
            pulled = pulled + (r->pull != NULL ? p[i] * r->pull[i] : 0.0f);
        }
        if (r->router.sigmoid) {
            sigmoid_slopes(r, t, dz, p + experts, mean);
        } else {
            for (size_t i = 0; i < experts; i++) {
                dz[i] = r->router.normalized ? 0.0f : p[i] * (0.0f - mean);
            }
            for (size_t k = 0; k < chosen; k++) {
                dz[of[k]] = w[k] * (dw[k] - mean);
            }
        }
        for (size_t i = 0; r->pull != NULL && i < experts; i++) {
            dz[i] = dz[i] + p[i] * (r->pull[i] - pulled);
        }
    }
}

void cpu_route_gradient(tr_queue_t *queue, tr_tensor_t dlogits, tr_tensor_t dweights,
                        tr_tensor_t pull, tr_tensor_t logits, const tr_routes_t *routes,
                        tr_router_t router)
{
    routing_t r = routing_of(queue, logits, routes, router);
    TR_ASSERT_SHAPE(dlogits, logits.rows, router.experts);
    TR_ASSERT_SHAPE(dweights, logits.rows, router.chosen);
    r.dlogits = cpu_f32(dlogits);
    r.dweights = cpu_f32(dweights);
    if (pull.buffer != NULL) {
        TR_ASSERT_COUNT(pull, router.experts);
        r.pull = cpu_f32(pull);
    }
    cpu_for(queue->backend, logits.rows, row_grain(8 * router.experts), slope_rows, &r);
}

typedef struct facts {
    const cpu_kernels_t *kernels;
    float *facts;
    const float *logits;
    size_t experts;
} facts_t;

static void fact_rows(void *context, size_t first, size_t count, size_t thread)
{
    const facts_t *f = context;
    for (size_t t = first; t < first + count; t++) {
        float *to = f->facts + t * (f->experts + 1);
        const cpu_softmax_t row = f->kernels->softmax(to, f->logits + t * f->experts, f->experts);
        f->kernels->divide(to, row.sum, f->experts);
        to[f->experts] = row.entropy;
    }
}

void cpu_router_facts(tr_queue_t *queue, tr_tensor_t facts, tr_tensor_t logits)
{
    facts_t f = {queue->backend->kernels, cpu_f32(facts), cpu_f32(logits), logits.columns};
    TR_ASSERT_SHAPE(facts, logits.rows, logits.columns + 1);
    cpu_for(queue->backend, logits.rows, row_grain(4 * logits.columns), fact_rows, &f);
}

// Products by expert

/// Rows of one expert. A dry backend has no starts to read: all rows are one expert's there, which
/// needs the most scratch memory.
typedef struct share {
    size_t first, rows;
} share_t;

static share_t share_of(const tr_queue_t *queue, tr_tensor_t starts, size_t expert, size_t rows)
{
    if (queue->backend->base.dry) {
        return (share_t){0, expert == 0 ? rows : 0};
    }
    const int32_t *at = cpu_i32(starts) + expert;
    TR_ASSERT(at[0] >= 0 && at[0] <= at[1] && (size_t)at[1] <= rows, "rows %d..%d of %zu", at[0],
              at[1], rows);
    return (share_t){(size_t)at[0], (size_t)(at[1] - at[0])};
}

static size_t experts_of(tr_tensor_t starts)
{
    return tr_tensor_count(starts) - 1;
}

/// An expert's part of what is there for all, one after another.
static tr_tensor_t part_of(tr_tensor_t all, tr_tensor_t starts, size_t expert)
{
    const size_t rows = all.rows / experts_of(starts);
    TR_ASSERT(rows * experts_of(starts) == all.rows, "%zu rows of %zu experts", all.rows,
              experts_of(starts));
    return tr_tensor_rows(all, expert * rows, rows);
}

void cpu_expert_matmul(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t weight,
                       tr_tensor_t starts)
{
    TR_ASSERT_ROWS(y, x.rows);
    for (size_t e = 0; e < experts_of(starts); e++) {
        const share_t s = share_of(queue, starts, e, x.rows);
        if (s.rows > 0) {
            cpu_matmul_run(queue->backend, cpu_f32(y) + s.first * y.columns, y.columns,
                           cpu_f32(x) + s.first * x.columns, x.columns, part_of(weight, starts, e),
                           s.rows, y.columns, x.columns, CPU_WRITE);
        }
    }
}

void cpu_expert_input_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dy,
                               tr_tensor_t weight, tr_tensor_t starts)
{
    TR_ASSERT_ROWS(dx, dy.rows);
    TR_ASSERT_SHAPE(weight, experts_of(starts) * dy.columns, dx.columns);
    for (size_t e = 0; e < experts_of(starts); e++) {
        const share_t s = share_of(queue, starts, e, dy.rows);
        if (s.rows > 0) {
            cpu_input_gradient_run(queue->backend, cpu_f32(dx) + s.first * dx.columns,
                                   cpu_f32(dy) + s.first * dy.columns, dy.columns,
                                   part_of(weight, starts, e), s.rows);
        }
    }
}

void cpu_expert_weight_gradient(tr_queue_t *queue, tr_tensor_t dw, tr_tensor_t dy, tr_tensor_t x,
                                tr_tensor_t starts)
{
    TR_ASSERT_ROWS(dy, x.rows);
    TR_ASSERT_SHAPE(dw, experts_of(starts) * dy.columns, x.columns);
    for (size_t e = 0; e < experts_of(starts); e++) {
        const share_t s = share_of(queue, starts, e, x.rows);
        if (s.rows > 0) {
            cpu_weight_gradient_run(
                queue->backend, cpu_f32(part_of(dw, starts, e)), cpu_f32(dy) + s.first * dy.columns,
                dy.columns, cpu_f32(x) + s.first * x.columns, s.rows, dy.columns, x.columns);
        }
    }
}

// Biases by expert

typedef struct biases {
    const cpu_kernels_t *kernels;
    float *y;       // [R, n], or dbias: [E, n]
    const float *x; // bias: [E, n], or dy: [R, n]
    const int32_t *starts;
    size_t n;
} biases_t;

static biases_t biases_of(tr_queue_t *queue, tr_tensor_t rows, tr_tensor_t bias, tr_tensor_t starts)
{
    TR_ASSERT_COUNT(bias, experts_of(starts) * rows.columns);
    return (biases_t){
        .kernels = queue->backend->kernels, .starts = cpu_i32(starts), .n = rows.columns};
}

static void add_biases(void *context, size_t first, size_t count, size_t thread)
{
    const biases_t *b = context;
    for (size_t e = first; e < first + count; e++) {
        for (size_t r = (size_t)b->starts[e]; r < (size_t)b->starts[e + 1]; r++) {
            b->kernels->add(b->y + r * b->n, b->y + r * b->n, b->x + e * b->n, b->n);
        }
    }
}

void cpu_expert_bias(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t bias, tr_tensor_t starts)
{
    biases_t b = biases_of(queue, y, bias, starts);
    b.y = cpu_f32(y);
    b.x = cpu_widened(queue->backend, CPU_SLOT_VECTOR, bias);
    cpu_for(queue->backend, experts_of(starts), row_grain(tr_tensor_count(y) / experts_of(starts)),
            add_biases, &b);
}

static void sum_biases(void *context, size_t first, size_t count, size_t thread)
{
    const biases_t *b = context;
    for (size_t e = first; e < first + count; e++) {
        for (size_t r = (size_t)b->starts[e]; r < (size_t)b->starts[e + 1]; r++) {
            b->kernels->add(b->y + e * b->n, b->y + e * b->n, b->x + r * b->n, b->n);
        }
    }
}

void cpu_expert_bias_gradient(tr_queue_t *queue, tr_tensor_t dbias, tr_tensor_t dy,
                              tr_tensor_t starts)
{
    biases_t b = biases_of(queue, dy, dbias, starts);
    b.y = cpu_f32(dbias);
    b.x = cpu_f32(dy);
    cpu_for(queue->backend, experts_of(starts), row_grain(tr_tensor_count(dy) / experts_of(starts)),
            sum_biases, &b);
}

// SwiGLU with bounds

typedef struct clamped {
    const cpu_kernels_t *kernels;
    float *y;
    const float *dy, *gate_up;
    size_t n;
    tr_swiglu_t options;
} clamped_t;

static void clamped_rows(void *context, size_t first, size_t count, size_t thread)
{
    const clamped_t *c = context;
    c->kernels->swiglu_clamped(c->y + first * c->n, c->gate_up + first * 2 * c->n, count, c->n,
                               c->options);
}

void cpu_swiglu_clamped(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t gate_up, tr_swiglu_t options)
{
    clamped_t c = {.kernels = queue->backend->kernels,
                   .y = cpu_f32(y),
                   .gate_up = cpu_f32(gate_up),
                   .n = y.columns,
                   .options = options};
    TR_ASSERT_SHAPE(gate_up, y.rows, 2 * y.columns);
    cpu_for(queue->backend, y.rows, row_grain(4 * c.n), clamped_rows, &c);
}

static void clamped_slopes(void *context, size_t first, size_t count, size_t thread)
{
    const clamped_t *c = context;
    c->kernels->swiglu_clamped_gradient(c->y + first * 2 * c->n, c->dy + first * c->n,
                                        c->gate_up + first * 2 * c->n, count, c->n, c->options);
}

void cpu_swiglu_clamped_gradient(tr_queue_t *queue, tr_tensor_t dgate_up, tr_tensor_t dy,
                                 tr_tensor_t gate_up, tr_swiglu_t options)
{
    clamped_t c = {.kernels = queue->backend->kernels,
                   .y = cpu_f32(dgate_up),
                   .dy = cpu_f32(dy),
                   .gate_up = cpu_f32(gate_up),
                   .n = dy.columns,
                   .options = options};
    TR_ASSERT_SHAPE(gate_up, dy.rows, 2 * dy.columns);
    TR_ASSERT_SHAPE(dgate_up, dy.rows, 2 * dy.columns);
    cpu_for(queue->backend, dy.rows, row_grain(8 * c.n), clamped_slopes, &c);
}

// Sums over a token's experts

typedef struct sums {
    const cpu_kernels_t *kernels;
    float *y, *dweights;   // y: [T, n], or dx: [R, n]
    const float *x, *dy;   // [R, n], [T, n]
    const float *weights;  // [T, chosen] or NULL
    const int32_t *places; // [T, chosen]
    size_t chosen, n;
} sums_t;

static void combine_rows(void *context, size_t first, size_t count, size_t thread)
{
    const sums_t *s = context;
    const float one = 1.0f;
    for (size_t t = first; t < first + count; t++) {
        float *y = s->y + t * s->n;
        memset(y, 0, s->n * sizeof *y);
        for (size_t i = t * s->chosen; i < (t + 1) * s->chosen; i++) {
            s->kernels->weighted_rows(y, s->weights != NULL ? s->weights + i : &one,
                                      s->x + (size_t)s->places[i] * s->n, s->n, 1, s->n);
        }
    }
}

void cpu_combine(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t weights,
                 tr_tensor_t places)
{
    sums_t s = {.kernels = queue->backend->kernels,
                .y = cpu_f32(y),
                .x = cpu_f32(x),
                .weights = weights.buffer != NULL ? cpu_f32(weights) : NULL,
                .places = cpu_i32(places),
                .chosen = places.columns,
                .n = y.columns};
    TR_ASSERT_ROWS(y, places.rows);
    TR_ASSERT_SHAPE(x, tr_tensor_count(places), y.columns);
    cpu_for(queue->backend, y.rows, row_grain(s.chosen * s.n), combine_rows, &s);
}

/// The product before the row is replaced, since dx may be x.
static void divide_rows(void *context, size_t first, size_t count, size_t thread)
{
    const sums_t *s = context;
    for (size_t i = first; i < first + count; i++) {
        const float *dy = s->dy + i / s->chosen * s->n;
        const size_t at = (size_t)s->places[i] * s->n;
        s->dweights[i] = s->kernels->dot(dy, s->x + at, s->n);
        s->kernels->scale(s->y + at, dy, s->weights[i], s->n);
    }
}

void cpu_combine_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dweights, tr_tensor_t dy,
                          tr_tensor_t x, tr_tensor_t weights, tr_tensor_t places)
{
    sums_t s = {.kernels = queue->backend->kernels,
                .y = cpu_f32(dx),
                .dweights = cpu_f32(dweights),
                .x = cpu_f32(x),
                .dy = cpu_f32(dy),
                .weights = cpu_f32(weights),
                .places = cpu_i32(places),
                .chosen = places.columns,
                .n = dy.columns};
    TR_ASSERT_ROWS(dy, places.rows);
    TR_ASSERT_SHAPE(x, tr_tensor_count(places), dy.columns);
    TR_ASSERT_SHAPE(dx, x.rows, x.columns);
    TR_ASSERT_COUNT(weights, x.rows);
    TR_ASSERT_COUNT(dweights, x.rows);
    cpu_for(queue->backend, x.rows, row_grain(2 * s.n), divide_rows, &s);
}

// A gate for each row

typedef struct row_gates {
    const cpu_kernels_t *kernels;
    float *y, *dgates;
    const float *x, *dy, *gates;
    size_t n;
} row_gates_t;

static float sigmoid_of(const row_gates_t *g, size_t row)
{
    const float one = 1.0f;
    float sigmoid;
    g->kernels->gate(&sigmoid, &one, g->gates + row, 1, false);
    return sigmoid;
}

static void gate_rows(void *context, size_t first, size_t count, size_t thread)
{
    const row_gates_t *g = context;
    for (size_t t = first; t < first + count; t++) {
        g->kernels->scale(g->y + t * g->n, g->x + t * g->n, sigmoid_of(g, t), g->n);
    }
}

void cpu_gate_rows(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t gates)
{
    row_gates_t g = {.kernels = queue->backend->kernels,
                     .y = cpu_f32(y),
                     .x = cpu_f32(x),
                     .gates = cpu_f32(gates),
                     .n = y.columns};
    TR_ASSERT_SHAPE(x, y.rows, y.columns);
    TR_ASSERT_SHAPE(gates, y.rows, 1);
    cpu_for(queue->backend, y.rows, row_grain(g.n), gate_rows, &g);
}

/// The product before the row is replaced, since dx may be x.
static void gate_row_slopes(void *context, size_t first, size_t count, size_t thread)
{
    const row_gates_t *g = context;
    for (size_t t = first; t < first + count; t++) {
        const float sigmoid = sigmoid_of(g, t), *dy = g->dy + t * g->n;
        const float dot = g->kernels->dot(dy, g->x + t * g->n, g->n);
        g->dgates[t] = dot * (sigmoid * (1.0f - sigmoid));
        g->kernels->scale(g->y + t * g->n, dy, sigmoid, g->n);
    }
}

void cpu_gate_rows_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dgates, tr_tensor_t dy,
                            tr_tensor_t x, tr_tensor_t gates)
{
    row_gates_t g = {.kernels = queue->backend->kernels,
                     .y = cpu_f32(dx),
                     .dgates = cpu_f32(dgates),
                     .x = cpu_f32(x),
                     .dy = cpu_f32(dy),
                     .gates = cpu_f32(gates),
                     .n = dy.columns};
    TR_ASSERT_SHAPE(x, dy.rows, dy.columns);
    TR_ASSERT_SHAPE(dx, dy.rows, dy.columns);
    TR_ASSERT_SHAPE(gates, dy.rows, 1);
    TR_ASSERT_SHAPE(dgates, dy.rows, 1);
    cpu_for(queue->backend, dy.rows, row_grain(2 * g.n), gate_row_slopes, &g);
}
