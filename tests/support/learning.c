// Trainers whose step shows their gradient, and gradients by finite differences.
//
// AdamW with beta1 = 0 and an epsilon far above any gradient is plain descent: the step is
// learning_rate * g / epsilon, so with a rate of epsilon the parameters move by exactly -g up to
// rounding. Tests of losses (tests/actor, tests/critic, tests/common/model) use it.
#include "tests/support/learning.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tests/support/fields.h"

/// Unequal, so that an error in ragged offsets shows.
static const size_t lengths[LEARNING_SEQUENCES] = {9, 3, 17, 6, 12};
static const size_t prompts[LEARNING_SEQUENCES] = {4, 1, 3, 5, 2};

/// The small model, made smaller.
tr_model_config_t learning_config(bool scalar)
{
    tr_model_config_t config = small_config();
    // few enough parameters to move each one
    config.vocabulary = 13;
    config.hidden = 6;
    config.intermediate = 5;
    config.heads = 2;
    config.key_value_heads = 1;
    config.head_dim = 4;
    config.max_positions = 24;
    config.scalar_head = scalar;
    return config;
}

tr_sequences_t learning_sequences(small_t *small)
{
    return small_sequences(small, lengths, prompts, LEARNING_SEQUENCES, 5);
}

/// The model moves into the trainer: small.model is NULL from here on.
static void take_trainer(learning_t *learning)
{
    const tr_optimizer_options_t plain = {.beta1 = 0.0, .beta2 = 0.5, .epsilon = LEARNING_PLAIN};
    tr_error_t err = {0};
    tr_status status =
        tr_trainer_new(&learning->trainer, &learning->small.model, &plain, NULL, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    learning->total = learning->small.total;
}

void learning_open(learning_t *learning, const tr_model_config_t *config, size_t threads)
{
    cr_assert(small_open(&learning->small, config, NULL, threads, true));
    take_trainer(learning);
}

void learning_open_directory(learning_t *learning, const char *directory, size_t threads)
{
    cr_assert(small_open_directory(&learning->small, directory, NULL, threads, true));
    take_trainer(learning);
}

void learning_close(learning_t *learning)
{
    tr_trainer_destroy(&learning->trainer);
    small_close(&learning->small);
}

json_t *learning_config_json(const char *directory)
{
    // as the controller sends it: every option of the table
    json_t *optimizer = json_object();
    fields_put_defaults(optimizer, &tr_optimizer_fields);
    json_t *config =
        json_pack("{s:s, s:n, s:i, s:i, s:i, s:i, s:o}", "model", directory, "checkpoint", "eos",
                  -1, "step", 0, "seed", 1, "threads", 1, "optimizer", optimizer);
    fields_put_defaults(config, &tr_sharing_fields);
    return config;
}

tr_train_pass_t learning_walk(size_t chunk, double learning_rate)
{
    // seed and step are fixed: the order of sequences is the same each time
    return (tr_train_pass_t){.epochs = 1,
                             .minibatches = 1,
                             .chunk = chunk,
                             .seed = 3,
                             .step = 1,
                             .temperature = 1.0f,
                             .learning_rate = learning_rate};
}

/// After the update: the model's own, read back to the host.
float *learning_parameters(learning_t *learning)
{
    float *values = rig_memory(&learning->small.rig, learning->total * sizeof *values);
    tr_error_t err = {0};
    tr_status status = tr_model_read_parameters(tr_trainer_model(learning->trainer), values, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    return values;
}

/// The difference quotient at step h.
static double quotient(small_t *model, float *weights, size_t i, float h,
                       learning_objective_fn objective, void *context)
{
    const float middle = weights[i];
    double sides[2];
    for (size_t side = 0; side < 2; side++) {
        // the sums are rounded to float, so the divisor below is their true distance
        weights[i] = side == 0 ? middle - h : middle + h;
        tr_model_write_parameters(model->model, weights);
        sides[side] = objective(context, model);
    }
    weights[i] = middle;
    return (sides[1] - sides[0]) / ((double)(middle + h) - (double)(middle - h));
}

double learning_slope(small_t *model, const float *weights, size_t i,
                      learning_objective_fn objective, void *context)
{
    const float h = 1.0f / 128.0f;
    float *moved = rig_memory(&model->rig, model->total * sizeof *moved);
    memcpy(moved, weights, model->total * sizeof *moved);
    double wide = quotient(model, moved, i, h, objective, context);
    double narrow = quotient(model, moved, i, h / 2.0f, objective, context);
    // the errors of both are c h^2 and c h^2 / 4: this combination cancels them
    return (4.0 * narrow - wide) / 3.0;
}

void learning_check_slopes(learning_t *learning, const tr_model_config_t *config,
                           const float *weights, const float *gradient, size_t count,
                           learning_objective_fn objective, void *context)
{
    small_t model;
    size_t steepest = 0;
    // a second model, so that the trainer's is not moved
    cr_assert(small_open(&model, config, NULL, 1, false));
    for (size_t i = 0; i < learning->total; i++) {
        steepest = fabsf(gradient[i]) > fabsf(gradient[steepest]) ? i : steepest;
    }
    // the tolerance is a share of the largest slope: small ones drown in rounding
    double largest = fabs((double)gradient[steepest]);
    cr_assert_gt(largest, 0.05, "a gradient of %g shows nothing", largest);
    for (size_t k = 0; k <= count; k++) {
        // spread over the layout, so that each tensor has some
        size_t i = k == count ? steepest : k * learning->total / count;
        double slope = learning_slope(&model, weights, i, objective, context);
        cr_expect_float_eq(slope, (double)gradient[i], 5e-3 * largest,
                           "parameter %zu: gradient %g, slope %g", i, (double)gradient[i], slope);
    }
    small_close(&model);
}
