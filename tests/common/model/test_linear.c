/// A product and its gradients by plain loops, from a weight as it is stored and from its packed
/// form; a frozen weight.
#include "common/model/linear.h"

#include <criterion/criterion.h>
#include <math.h>

#include "common/model/model_private.h"
#include "tests/support/small.h"

enum { T = 5 };

/// A linear of a small model, with its weight on the host.
typedef struct subject {
    small_t small;
    const linear_t *linear;
    const float *weight; // [N, K]
    size_t n, k;
} subject_t;

static bool trains_nothing_here(void *context, const tr_weight_t *weight)
{
    (void)context;
    return weight->kind != TR_WEIGHT_DOWN;
}

static void subject_open(subject_t *subject, tr_model_use_t use)
{
    static const tr_selection_t selection = {trains_nothing_here, NULL};
    const tr_model_options_t options = {.use = use, .trained = &selection};
    const tr_model_config_t config = small_config();
    small_t *small = &subject->small;
    tr_error_t err = {0};
    cr_assert(rig_open(&small->rig, NULL, 2));
    cr_assert_eq(tr_model_new_with(&small->model, &config, small->rig.backend, &options, &err),
                 TR_OK, "%s", err.text);
}

/// Of the last layer: QKV, which is trained, or DOWN, which is not.
static void subject_take(subject_t *subject, tr_weight_kind_t kind)
{
    small_t *small = &subject->small;
    const tr_layout_t *layout = tr_model_layout(small->model);
    const tr_weight_t *weight = tr_layout_weight(layout, layout->segment_count - 2, kind);
    const float *all = small_weights(&small->rig, layout);
    tr_model_write_parameters(small->model, all);
    subject->linear = &model_linears(small->model, weight->segment)[kind];
    subject->n = weight->rows;
    subject->k = weight->columns;
    for (size_t i = 0; i < layout->count; i++) {
        if (layout->parameters[i].weight == weight) {
            subject->weight = all + layout->parameters[i].offset;
            break; // the first of those that are one matrix
        }
    }
}

static void check_forward(subject_t *subject, bool adds)
{
    rig_t *rig = &subject->small.rig;
    const float *x = rig_random(rig, T * subject->k, 1),
                *before = rig_random(rig, T * subject->n, 2);
    double *expected = rig_memory(rig, T * subject->n * sizeof *expected);
    for (size_t t = 0; t < T; t++) {
        for (size_t i = 0; i < subject->n; i++) {
            double sum = adds ? (double)before[t * subject->n + i] : 0.0;
            for (size_t j = 0; j < subject->k; j++) {
                sum += (double)x[t * subject->k + j] * (double)subject->weight[i * subject->k + j];
            }
            expected[t * subject->n + i] = sum;
        }
    }
    tr_tensor_t y = rig_tensor(rig, T, subject->n, before);
    tr_tensor_t rows = rig_tensor(rig, T, subject->k, x);
    if (adds) {
        linear_forward_add(subject->linear, y, rows);
    } else {
        linear_forward(subject->linear, y, rows);
    }
    check_close(rig_read(rig, y), expected, T * subject->n, 1e-5, adds ? "y + x W^T" : "x W^T");
}

Test(linear, products_are_those_of_the_stored_weight_packed_or_not)
{
    static const tr_model_use_t uses[] = {TR_MODEL_LEARNS, TR_MODEL_READS, TR_MODEL_DECODES};
    for (size_t u = 0; u < 3; u++) {
        subject_t subject;
        subject_open(&subject, uses[u]);
        for (size_t i = 0; i < 2; i++) {
            subject_take(&subject, i == 0 ? TR_WEIGHT_QKV : TR_WEIGHT_DOWN);
            cr_expect_eq(subject.linear->packed.buffer != NULL, uses[u] == TR_MODEL_DECODES);
            check_forward(&subject, false);
            check_forward(&subject, true);
        }
        small_close(&subject.small);
    }
}

Test(linear, gradients_are_sums_of_products_and_a_frozen_weight_gets_none)
{
    subject_t subject;
    subject_open(&subject, TR_MODEL_LEARNS);
    for (size_t f = 0; f < 2; f++) {
        subject_take(&subject, f == 0 ? TR_WEIGHT_QKV : TR_WEIGHT_DOWN);
        rig_t *rig = &subject.small.rig;
        const size_t n = subject.n, k = subject.k,
                     total = tr_model_layout(subject.small.model)->flat[TR_TRAINED].total;
        const float *x = rig_random(rig, T * k, 1), *dy = rig_random(rig, T * n, 2);
        double *dx = rig_memory(rig, T * k * sizeof *dx), *dw = rig_memory(rig, total * sizeof *dw);
        double *place = dw + (f == 0 ? subject.linear->weight->place : 0);
        for (size_t t = 0; t < T; t++) {
            for (size_t i = 0; i < n; i++) {
                for (size_t j = 0; j < k; j++) {
                    double d = (double)dy[t * n + i];
                    dx[t * k + j] += d * (double)subject.weight[i * k + j];
                    place[i * k + j] += f == 0 ? d * (double)x[t * k + j] : 0.0;
                }
            }
        }
        tr_tensor_t got_dx = rig_zeros(rig, T, k), flat = rig_zeros(rig, 1, total);
        const tr_gradient_t gradient = tr_gradient_whole(flat);
        tr_tensor_t rows = rig_tensor(rig, T, k, x), slopes = rig_tensor(rig, T, n, dy);
        linear_backward(subject.linear, &gradient, got_dx, slopes, rows);
        check_close(rig_read(rig, got_dx), dx, T * k, 1e-5, "dx");
        check_close(rig_read(rig, flat), dw, total, 1e-5, "the whole gradient");
    }
    small_close(&subject.small);
}
