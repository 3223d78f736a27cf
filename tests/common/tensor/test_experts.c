/// Mixtures of experts: the choice of experts, products by expert and sums over a token's experts,
/// against formulas in double, finite differences, and the products of one expert at a time.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tests/support/tensors.h"

enum { T = 23, E = 7, C = 3, R = T * C, H = 37, F = 45 };

static tr_routes_t routes_of(rig_t *rig, size_t tokens, size_t chosen)
{
    static const int32_t zeros[T * E];
    return (tr_routes_t){
        .experts = rig_indices(rig, tokens, chosen, zeros),
        .weights = rig_zeros(rig, tokens, chosen),
        .starts = rig_indices(rig, 1, E + 1, zeros),
        .tokens = rig_indices(rig, 1, tokens * chosen, zeros),
        .places = rig_indices(rig, tokens, chosen, zeros),
    };
}

/// Logits of T tokens; expert 4 is never chosen, and some are equal.
static float *logits_of(rig_t *rig)
{
    float *z = rig_random(rig, T * E, 1);
    for (size_t i = 0; i < T * E; i++) {
        z[i] = i % E == 4 ? -9.0f : roundf(6.0f * z[i]) / 2.0f;
    }
    return z;
}

static tr_routes_t route(rig_t *rig, const float *z, size_t tokens, bool normalized)
{
    tr_routes_t routes = routes_of(rig, tokens, C);
    rig->ops->route(rig->queue, &routes, rig_tensor(rig, tokens, E, z),
                    (tr_router_t){.experts = E, .chosen = C, .normalized = normalized});
    return routes;
}

/// Whether expert a is chosen before b.
static bool before(const float *z, size_t a, size_t b)
{
    return z[a] > z[b] || (a < b && z[a] == z[b]);
}

Test(route, takes_the_greatest_logits_and_the_lower_expert_on_a_tie)
{
    for (size_t normalized = 0; normalized < 2; normalized++) {
        rig_t rig;
        rig_open(&rig, NULL, 3);
        const float *z = logits_of(&rig);
        tr_routes_t routes = route(&rig, z, T, normalized != 0);
        const int32_t *experts = rig_read_indices(&rig, routes.experts);
        const float *weights = rig_read(&rig, routes.weights);
        for (size_t t = 0; t < T; t++) {
            const float *row = z + t * E;
            double all = 0.0, chosen = 0.0;
            for (size_t e = 0, at = 0; e < E; e++) {
                size_t better = 0;
                for (size_t other = 0; other < E; other++) {
                    better += before(row, other, e);
                }
                all += exp((double)row[e]);
                if (better < C) {
                    chosen += exp((double)row[e]);
                    cr_assert_eq(experts[t * C + at++], (int32_t)e, "token %zu", t);
                }
            }
            for (size_t k = 0; k < C; k++) {
                const double want =
                    exp((double)row[experts[t * C + k]]) / (normalized != 0 ? chosen : all);
                check_close(weights + t * C + k, &want, 1, 1e-6, "weight");
            }
        }
        rig_close(&rig);
    }
}

Test(route, rows_come_by_expert_and_then_by_token)
{
    rig_t rig;
    rig_open(&rig, NULL, 3);
    tr_routes_t routes = route(&rig, logits_of(&rig), T, true);
    const int32_t *experts = rig_read_indices(&rig, routes.experts),
                  *starts = rig_read_indices(&rig, routes.starts),
                  *tokens = rig_read_indices(&rig, routes.tokens),
                  *places = rig_read_indices(&rig, routes.places);
    int32_t row = 0;
    for (int32_t e = 0; e < E; e++) {
        cr_assert_eq(starts[e], row);
        for (int32_t i = 0; i < R; i++) {
            if (experts[i] == e) {
                cr_assert_eq(places[i], row);
                cr_assert_eq(tokens[row++], i / C);
            }
        }
    }
    cr_assert_eq(starts[E], R);
    cr_assert_eq(starts[4], starts[5], "nobody chose expert 4");
    rig_close(&rig);
}

Test(route, nan_is_the_least_and_every_expert_is_chosen_once)
{
    rig_t rig;
    rig_open(&rig, NULL, 1);
    const float z[] = {NAN, 1.0f, NAN, -INFINITY, 2.0f, NAN, NAN};
    tr_routes_t routes = routes_of(&rig, 1, 4);
    rig.ops->route(rig.queue, &routes, rig_tensor(&rig, 1, E, z),
                   (tr_router_t){.experts = E, .chosen = 4, .normalized = true});
    const int32_t *experts = rig_read_indices(&rig, routes.experts);
    const int32_t want[] = {0, 1, 2, 4};
    cr_assert_eq(memcmp(experts, want, sizeof want), 0);
    rig_close(&rig);
}

Test(route, a_token_s_choice_does_not_depend_on_the_others)
{
    rig_t rig;
    rig_open(&rig, NULL, 3);
    const float *z = logits_of(&rig);
    tr_routes_t all = route(&rig, z, T, false);
    for (size_t t = 0; t < T; t += 5) {
        tr_routes_t one = route(&rig, z + t * E, 1, false);
        cr_assert_eq(memcmp(rig_read_indices(&rig, one.experts),
                            rig_read_indices(&rig, all.experts) + t * C, C * sizeof(int32_t)),
                     0);
        check_same(rig_read(&rig, one.weights), rig_read(&rig, all.weights) + t * C, C, "weights");
    }
    rig_close(&rig);
}

/// sum(dw w) + sum(pull p) of one token, in double.
static double route_loss(const double *z, const int32_t *experts, const float *dw,
                         const float *pull, bool normalized)
{
    double all = 0.0, chosen = 0.0, loss = 0.0;
    for (size_t e = 0; e < E; e++) {
        all += exp(z[e]);
    }
    for (size_t k = 0; k < C; k++) {
        chosen += exp(z[experts[k]]);
    }
    for (size_t k = 0; k < C; k++) {
        loss += (double)dw[k] * exp(z[experts[k]]) / (normalized ? chosen : all);
    }
    for (size_t e = 0; e < E; e++) {
        loss += (double)pull[e] * exp(z[e]) / all;
    }
    return loss;
}

static float *route_gradient(rig_t *rig, bool normalized, bool pulls)
{
    const float *z = logits_of(rig);
    tr_routes_t routes = route(rig, z, T, normalized);
    tr_tensor_t d = rig_zeros(rig, T, E);
    tr_tensor_t pull = pulls ? rig_tensor(rig, 1, E, rig_random(rig, E, 3)) : (tr_tensor_t){0};
    rig->ops->route_gradient(rig->queue, d, rig_tensor(rig, T, C, rig_random(rig, R, 2)), pull,
                             rig_tensor(rig, T, E, z), &routes,
                             (tr_router_t){.experts = E, .chosen = C, .normalized = normalized});
    return rig_read(rig, d);
}

Test(route, gradient_equals_finite_differences)
{
    static const float none[E];
    for (size_t kind = 0; kind < 4; kind++) {
        const bool normalized = kind % 2 != 0, pulls = kind >= 2;
        rig_t rig;
        rig_open(&rig, NULL, 3);
        const float *z = logits_of(&rig), *dw = rig_random(&rig, R, 2);
        const float *pull = pulls ? rig_random(&rig, E, 3) : none;
        const int32_t *experts = rig_read_indices(&rig, route(&rig, z, T, normalized).experts);
        const float *got = route_gradient(&rig, normalized, pulls);
        for (size_t t = 0; t < T; t++) {
            double point[E];
            for (size_t e = 0; e < E; e++) {
                point[e] = (double)z[t * E + e];
            }
            for (size_t e = 0; e < E; e++) {
                const double keep = point[e], h = 1e-5;
                point[e] = keep + h;
                double want = route_loss(point, experts + t * C, dw + t * C, pull, normalized);
                point[e] = keep - h;
                want -= route_loss(point, experts + t * C, dw + t * C, pull, normalized);
                want /= 2 * h;
                point[e] = keep;
                check_close(got + t * E + e, &want, 1, 1e-6, "dlogits");
            }
        }
        rig_close(&rig);
    }
}

// Routers of sigmoids: 12 experts in 4 groups, of which 2 are chosen, and 3 experts in them

enum { SE = 12, GROUPS = 4, SIZE = SE / GROUPS };

static tr_router_t sigmoid_router(rig_t *rig, bool normalized)
{
    return (tr_router_t){.experts = SE,
                         .chosen = C,
                         .normalized = normalized,
                         .sigmoid = true,
                         .scale = 1.75f,
                         .groups = GROUPS,
                         .groups_chosen = 2,
                         .bias = rig_tensor(rig, 1, SE, rig_random(rig, SE, 8))};
}

static tr_routes_t sigmoid_route(rig_t *rig, const float *z, bool normalized)
{
    static const int32_t zeros[T * SE];
    const tr_routes_t routes = {
        .experts = rig_indices(rig, T, C, zeros),
        .weights = rig_zeros(rig, T, C),
        .starts = rig_indices(rig, 1, SE + 1, zeros),
        .tokens = rig_indices(rig, 1, R, zeros),
        .places = rig_indices(rig, T, C, zeros),
    };
    rig->ops->route(rig->queue, &routes, rig_tensor(rig, T, SE, z),
                    sigmoid_router(rig, normalized));
    return routes;
}

static double sigmoid(double z)
{
    return 1.0 / (1.0 + exp(-z));
}

/// The two greatest of a group of three.
static double group_score(const double *ranks)
{
    const double least = fmin(ranks[0], fmin(ranks[1], ranks[2]));
    return ranks[0] + ranks[1] + ranks[2] - least;
}

/// Whether the expert is one of the C greatest in the two groups that add up to most.
static bool is_chosen(const double ranks[SE], size_t expert)
{
    size_t better = 0, groups[GROUPS];
    for (size_t g = 0; g < GROUPS; g++) {
        groups[g] = 0;
        for (size_t other = 0; other < GROUPS; other++) {
            groups[g] += group_score(ranks + other * SIZE) > group_score(ranks + g * SIZE);
        }
    }
    for (size_t e = 0; e < SE; e++) {
        better += groups[e / SIZE] < 2 && ranks[e] > ranks[expert];
    }
    return groups[expert / SIZE] < 2 && better < C;
}

Test(route, sigmoids_with_a_bias_choose_within_the_best_groups)
{
    for (size_t normalized = 0; normalized < 2; normalized++) {
        rig_t rig;
        rig_open(&rig, NULL, 3);
        const float *z = rig_random(&rig, T * SE, 7), *bias = rig_random(&rig, SE, 8);
        const tr_routes_t routes = sigmoid_route(&rig, z, normalized != 0);
        const int32_t *experts = rig_read_indices(&rig, routes.experts);
        const float *weights = rig_read(&rig, routes.weights);
        for (size_t t = 0; t < T; t++) {
            double ranks[SE], sum = 0.0;
            for (size_t e = 0; e < SE; e++) {
                ranks[e] = sigmoid((double)z[t * SE + e]) + (double)bias[e];
            }
            for (size_t e = 0, at = 0; e < SE; e++) {
                if (is_chosen(ranks, e)) {
                    cr_assert_eq(experts[t * C + at++], (int32_t)e, "token %zu", t);
                    sum += sigmoid((double)z[t * SE + e]);
                }
            }
            for (size_t k = 0; k < C; k++) {
                const double want = 1.75 * sigmoid((double)z[t * SE + (size_t)experts[t * C + k]]) /
                                    (normalized != 0 ? sum : 1.0);
                check_close(weights + t * C + k, &want, 1, 1e-6, "weight");
            }
        }
        rig_close(&rig);
    }
}

static float *sigmoid_gradient(rig_t *rig, bool normalized)
{
    const float *z = rig_random(rig, T * SE, 7);
    const tr_routes_t routes = sigmoid_route(rig, z, normalized);
    tr_tensor_t d = rig_zeros(rig, T, SE);
    rig->ops->route_gradient(rig->queue, d, rig_tensor(rig, T, C, rig_random(rig, R, 2)),
                             (tr_tensor_t){0}, rig_tensor(rig, T, SE, z), &routes,
                             sigmoid_router(rig, normalized));
    return rig_read(rig, d);
}

/// The sum of dw w of one token, in double.
static double sigmoid_loss(const double *z, const int32_t *experts, const float *dw,
                           bool normalized)
{
    double sum = 0.0, loss = 0.0;
    for (size_t k = 0; k < C; k++) {
        sum += sigmoid(z[experts[k]]);
        loss += 1.75 * (double)dw[k] * sigmoid(z[experts[k]]);
    }
    return normalized ? loss / sum : loss;
}

Test(route, gradient_of_sigmoids_equals_finite_differences)
{
    for (size_t normalized = 0; normalized < 2; normalized++) {
        rig_t rig;
        rig_open(&rig, NULL, 3);
        const float *z = rig_random(&rig, T * SE, 7), *dw = rig_random(&rig, R, 2);
        const tr_routes_t routes = sigmoid_route(&rig, z, normalized != 0);
        const int32_t *experts = rig_read_indices(&rig, routes.experts);
        const float *got = sigmoid_gradient(&rig, normalized != 0);
        for (size_t i = 0; i < (size_t)T * SE; i++) {
            const size_t t = i / SE;
            double point[SE], want = 0.0;
            for (size_t e = 0; e < SE; e++) {
                point[e] = (double)z[t * SE + e];
            }
            for (int side = 1; side >= -1; side -= 2) {
                point[i % SE] = (double)z[i] + side * 1e-5;
                want += side * sigmoid_loss(point, experts + t * C, dw + t * C, normalized != 0);
            }
            want /= 2e-5;
            check_close(got + i, &want, 1, 1e-6, "dlogits");
        }
        rig_close(&rig);
    }
}

/// All that one form computes: choices, products and sums, and their gradients.
static float *everything(rig_t *rig, bool packed, size_t *count)
{
    const tr_ops_t *ops = rig->ops;
    tr_queue_t *queue = rig->queue;
    tr_routes_t routes = route(rig, logits_of(rig), T, false);
    tr_tensor_t x = rig_tensor(rig, T, H, rig_random(rig, T * H, 4)),
                w = rig_tensor(rig, E * F, H, rig_random(rig, E * F * H, 5)), read = w;
    tr_tensor_t rows = rig_zeros(rig, R, H), y = rig_zeros(rig, R, F), out = rig_zeros(rig, T, F);
    tr_tensor_t dy = rig_zeros(rig, R, F), dweights = rig_zeros(rig, T, C),
                dx = rig_zeros(rig, R, H),
                dw = rig_tensor(rig, E * F, H, rig_random(rig, E * F * H, 6));
    if (packed) {
        read = rig_zeros(rig, E, ops->packed_count(TR_F32, F, H));
        for (size_t e = 0; e < E; e++) {
            ops->pack(queue, tr_tensor_rows(read, e, 1), tr_tensor_rows(w, e * F, F));
        }
    }
    ops->gather_rows(queue, rows, x, routes.tokens);
    ops->expert_matmul(queue, y, rows, read, routes.starts);
    ops->combine(queue, out, y, routes.weights, routes.places);
    ops->combine_gradient(queue, dy, dweights, out, y, routes.weights, routes.places);
    ops->expert_weight_gradient(queue, dw, dy, rows, routes.starts);
    ops->expert_input_gradient(queue, dx, dy, w, routes.starts);
    ops->combine(queue, x, dx, (tr_tensor_t){0}, routes.places);
    const tr_tensor_t parts[] = {y, out, dy, dweights, dw, dx, x};
    *count = 0;
    float *all = rig_memory(rig, (2 * R * F + T * F + R + E * F * H + R * H + T * H) * sizeof *all);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        memcpy(all + *count, rig_read(rig, parts[i]), tr_tensor_bytes(parts[i]));
        *count += tr_tensor_count(parts[i]);
    }
    return all;
}

Test(experts, every_form_gives_the_same_bits)
{
    rig_t plain;
    size_t count, same;
    rig_open(&plain, "generic", 1);
    const float *want = everything(&plain, false, &count);
    for (size_t i = 0; i < RIG_ISAS; i++) {
        for (size_t kind = 0; kind < 4; kind++) {
            rig_t rig;
            if (rig_open(&rig, rig_isas[i], kind % 2 == 0 ? 1 : 3)) {
                check_same(everything(&rig, kind >= 2, &same), want, count, "experts");
                cr_assert_eq(same, count);
                for (size_t k = 0; k < 2; k++) {
                    for (size_t p = 0; p < 2; p++) {
                        check_same(route_gradient(&rig, k != 0, p != 0),
                                   route_gradient(&plain, k != 0, p != 0), T * E, "dlogits");
                    }
                    check_same(sigmoid_gradient(&rig, k != 0), sigmoid_gradient(&plain, k != 0),
                               T * SE, "dlogits of sigmoids");
                }
                rig_close(&rig);
            }
        }
    }
    rig_close(&plain);
}

/// The product of each token with each of its experts by itself, and the sum in double.
Test(experts, equal_the_products_of_one_expert_at_a_time)
{
    rig_t rig;
    size_t count;
    rig_open(&rig, NULL, 2);
    const float *got = everything(&rig, false, &count), *out = got + R * F;
    tr_routes_t routes = route(&rig, logits_of(&rig), T, false);
    const int32_t *experts = rig_read_indices(&rig, routes.experts),
                  *places = rig_read_indices(&rig, routes.places);
    const float *weights = rig_read(&rig, routes.weights);
    tr_tensor_t x = rig_tensor(&rig, T, H, rig_random(&rig, T * H, 4)),
                w = rig_tensor(&rig, E * F, H, rig_random(&rig, E * F * H, 5)),
                y = rig_zeros(&rig, 1, F);
    for (size_t t = 0; t < T; t++) {
        double sum[F] = {0};
        for (size_t k = t * C; k < (t + 1) * C; k++) {
            rig.ops->matmul(rig.queue, y, tr_tensor_rows(x, t, 1),
                            tr_tensor_rows(w, (size_t)experts[k] * F, F), false);
            const float *one = rig_read(&rig, y);
            check_same(got + places[k] * F, one, F, "row");
            for (size_t i = 0; i < F; i++) {
                sum[i] += (double)weights[k] * (double)one[i];
            }
        }
        check_close(out + t * F, sum, F, 1e-6, "sum");
    }
    rig_close(&rig);
}

/// Of loss = sum(dout out), out = sum of weight times row: by the formula.
Test(experts, gradients_equal_the_formulas)
{
    rig_t rig;
    size_t count;
    rig_open(&rig, NULL, 2);
    const float *y = everything(&rig, false, &count), *dout = y + R * F, *dy = dout + T * F,
                *dweights = dy + R * F, *dw = dweights + R, *dx = dw + E * F * H, *sum = dx + R * H;
    tr_routes_t routes = route(&rig, logits_of(&rig), T, false);
    const int32_t *places = rig_read_indices(&rig, routes.places),
                  *tokens = rig_read_indices(&rig, routes.tokens),
                  *starts = rig_read_indices(&rig, routes.starts);
    const float *weights = rig_read(&rig, routes.weights), *x = rig_random(&rig, T * H, 4),
                *w = rig_random(&rig, E * F * H, 5), *start = rig_random(&rig, E * F * H, 6);
    for (size_t i = 0; i < R; i++) {
        double dot = 0.0;
        for (size_t j = 0; j < F; j++) {
            const double d = (double)dout[i / C * F + j], want = d * (double)weights[i];
            check_close(dy + places[i] * F + j, &want, 1, 1e-6, "dy");
            dot += d * (double)y[(size_t)places[i] * F + j];
        }
        check_close(dweights + i, &dot, 1, 1e-5, "dweights");
    }
    for (size_t e = 0; e < E; e++) {
        for (size_t i = 0; i < F * H; i += 11) {
            double want = (double)start[e * F * H + i];
            for (int32_t r = starts[e]; r < starts[e + 1]; r++) {
                want += (double)dy[r * F + (int32_t)(i / H)] *
                        (double)x[tokens[r] * H + (int32_t)(i % H)];
            }
            check_close(dw + e * F * H + i, &want, 1, 1e-5, "dw");
        }
        for (int32_t r = starts[e]; r < starts[e + 1]; r++) {
            double want[H] = {0};
            for (size_t i = 0; i < F * H; i++) {
                want[i % H] += (double)dy[r * F + (int32_t)(i / H)] * (double)w[e * F * H + i];
            }
            check_close(dx + r * H, want, H, 1e-5, "dx");
        }
    }
    for (size_t i = 0; i < T * H; i++) {
        double want = 0.0;
        for (size_t k = 0; k < C; k++) {
            want += (double)dx[places[i / H * C + k] * H + (int32_t)(i % H)];
        }
        check_close(sum + i, &want, 1, 1e-5, "sum over experts");
    }
    rig_close(&rig);
}

/// y, and dx and dgates of sum(dy y), by the formula.
Test(gate_rows, and_its_gradient_equal_the_formula)
{
    rig_t rig;
    rig_open(&rig, NULL, 2);
    const float *x = rig_random(&rig, T * H, 1), *gates = rig_random(&rig, T, 2),
                *dy = rig_random(&rig, T * H, 3);
    tr_tensor_t tx = rig_tensor(&rig, T, H, x), tg = rig_tensor(&rig, T, 1, gates),
                y = rig_zeros(&rig, T, H), dgates = rig_zeros(&rig, T, 1);
    rig.ops->gate_rows(rig.queue, y, tx, tg);
    rig.ops->gate_rows_gradient(rig.queue, tx, dgates, rig_tensor(&rig, T, H, dy), tx, tg);
    const float *got = rig_read(&rig, y), *dx = rig_read(&rig, tx), *dg = rig_read(&rig, dgates);
    for (size_t t = 0; t < T; t++) {
        const double s = 1.0 / (1.0 + exp(-(double)gates[t]));
        double slope = 0.0;
        for (size_t i = t * H; i < (t + 1) * H; i++) {
            const double want = (double)x[i] * s, back = (double)dy[i] * s;
            check_close(got + i, &want, 1, 1e-6, "y");
            check_close(dx + i, &back, 1, 1e-6, "dx");
            slope += (double)dy[i] * (double)x[i] * s * (1.0 - s);
        }
        check_close(dg + t, &slope, 1, 1e-6, "dgates");
    }
    rig_close(&rig);
}

/// y, and dgate and dup of sum(dy y), by the formula of gpt-oss in double.
Test(swiglu_clamped, and_its_gradient_equal_the_formula)
{
    rig_t rig;
    rig_open(&rig, NULL, 2);
    const tr_swiglu_t options = {1.702f, 0.75f}; // a quarter of the numbers is beyond
    const float *x = rig_random(&rig, T * 2 * F, 1), *dy = rig_random(&rig, T * F, 2);
    tr_tensor_t gate_up = rig_tensor(&rig, T, 2 * F, x), y = rig_zeros(&rig, T, F),
                d = rig_zeros(&rig, T, 2 * F);
    rig.ops->swiglu_clamped(rig.queue, y, gate_up, options);
    rig.ops->swiglu_clamped_gradient(rig.queue, d, rig_tensor(&rig, T, F, dy), gate_up, options);
    const float *got = rig_read(&rig, y), *slopes = rig_read(&rig, d);
    const double alpha = (double)options.alpha, limit = (double)options.limit;
    size_t beyond = 0;
    for (size_t i = 0; i < T * F; i++) {
        const size_t at = i / F * 2 * F + i % F;
        const double gate = (double)x[at], up = (double)x[at + F];
        const double g = fmin(gate, limit), u = fmax(-limit, fmin(up, limit));
        const double s = 1.0 / (1.0 + exp(-alpha * g)), back = (double)dy[i];
        const double want[] = {
            (u + 1.0) * g * s,
            gate > limit ? 0.0 : back * (u + 1.0) * s * (1.0 + alpha * g * (1.0 - s)),
            fabs(up) > limit ? 0.0 : back * g * s,
        };
        check_close(got + i, &want[0], 1, 1e-6, "y");
        check_close(slopes + at, &want[1], 1, 1e-6, "dgate");
        check_close(slopes + at + F, &want[2], 1, 1e-6, "dup");
        beyond += gate > limit || fabs(up) > limit;
    }
    cr_expect_gt(beyond, 10);
    rig_close(&rig);
}

/// Rows get the bias of their expert, whose gradient is the sum over its rows; expert 4 has none.
Test(expert_bias, and_its_gradient_are_those_of_each_expert)
{
    rig_t rig;
    rig_open(&rig, NULL, 3);
    tr_routes_t routes = route(&rig, logits_of(&rig), T, false);
    const int32_t *starts = rig_read_indices(&rig, routes.starts);
    const float *x = rig_random(&rig, R * H, 2), *bias = rig_random(&rig, E * H, 3),
                *before = rig_random(&rig, E * H, 4);
    tr_tensor_t y = rig_tensor(&rig, R, H, x), dbias = rig_tensor(&rig, E, H, before);
    rig.ops->expert_bias_gradient(rig.queue, dbias, y, routes.starts);
    rig.ops->expert_bias(rig.queue, y, rig_tensor(&rig, E, H, bias), routes.starts);
    const float *got = rig_read(&rig, y), *sums = rig_read(&rig, dbias);
    for (size_t i = 0; i < E * H; i++) {
        double want = (double)before[i];
        for (int32_t r = starts[i / H]; r < starts[i / H + 1]; r++) {
            const size_t at = (size_t)r * H + i % H;
            const double sum = (double)x[at] + (double)bias[i];
            want += (double)x[at];
            check_close(got + at, &sum, 1, 1e-6, "y");
        }
        check_close(sums + i, &want, 1, 1e-5, "dbias");
    }
    rig_close(&rig);
}

Test(router_facts, are_the_softmax_and_its_entropy)
{
    rig_t rig;
    rig_open(&rig, NULL, 3);
    const float *z = logits_of(&rig);
    tr_tensor_t facts = rig_zeros(&rig, T, E + 1);
    rig.ops->router_facts(rig.queue, facts, rig_tensor(&rig, T, E, z));
    const float *got = rig_read(&rig, facts);
    for (size_t t = 0; t < T; t++) {
        double want[E + 1] = {0}, sum = 0.0;
        for (size_t e = 0; e < E; e++) {
            sum += exp((double)z[t * E + e]);
        }
        for (size_t e = 0; e < E; e++) {
            want[e] = exp((double)z[t * E + e]) / sum;
            want[E] -= want[e] * log(want[e]);
        }
        check_close(got + t * (E + 1), want, E + 1, 1e-6, "facts");
    }
    rig_close(&rig);
}
