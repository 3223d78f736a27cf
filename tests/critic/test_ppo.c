/// The critic's updates: the clipped value loss by finite differences through the model, and its
/// report.
#include "critic/ppo.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tests/support/learning.h"

enum { TOKENS = 32 }; // of learning_sequences

/// How far the old values lie from the model's, away from the bounds at 0.2.
static const float distances[] = {-0.5f, -0.1f, 0.0f, 0.1f, 0.5f};

typedef struct rig_value {
    learning_t learning;
    tr_model_config_t config;
    float old[TOKENS], exact[TOKENS], returns[TOKENS];
    tr_sequences_t sequences;
    tr_ppo_options_t options;
} rig_value_t;

static void value_open(rig_value_t *rig)
{
    small_t model;
    *rig = (rig_value_t){.config = learning_config(true)};
    cr_assert(small_open(&model, &rig->config, NULL, 1, false));
    tr_sequences_t sequences = learning_sequences(&model);
    cr_assert_eq(sequences.response_starts[LEARNING_SEQUENCES], TOKENS);
    memcpy(rig->exact, small_response(&model, &sequences, 2, 1.0f), sizeof rig->exact);
    const float *factors = small_factors(&model, &sequences);
    for (size_t i = 0; i < TOKENS; i++) {
        rig->old[i] = rig->exact[i] + distances[i % 5];
        rig->returns[i] = rig->exact[i] + 3.0f * factors[i];
    }
    small_close(&model);
    learning_open(&rig->learning, &rig->config, 1);
    rig->sequences = learning_sequences(&rig->learning.small);
    tr_fields_init(&rig->options, &tr_ppo_fields);
    rig->options.vf_coef = 0.5;
}

static void learn(rig_value_t *rig, critic_ppo_t *report, const tr_train_pass_t *walk)
{
    tr_error_t err = {0};
    *report = (critic_ppo_t){.options = &rig->options, .values = rig->old, .returns = rig->returns};
    tr_status status = critic_learn_ppo(report, rig->learning.trainer, &rig->sequences, walk, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
}

/// TRL's loss of a value: half the larger of both squares.
static double value_loss(double value, double old, double target, double range, bool *clipped)
{
    double bounded = fmin(fmax(value, old - range), old + range);
    double free = (value - target) * (value - target);
    double held = (bounded - target) * (bounded - target);
    *clipped = held > free;
    return 0.5 * fmax(free, held);
}

static double mean_loss(const rig_value_t *rig, const float *values, double *clipped)
{
    double sum = 0.0;
    *clipped = 0.0;
    for (size_t i = 0; i < TOKENS; i++) {
        bool one;
        sum += value_loss((double)values[i], (double)rig->old[i], (double)rig->returns[i],
                          rig->options.cliprange_value, &one);
        *clipped += one ? 1.0 : 0.0;
    }
    return sum / TOKENS;
}

static double objective(void *context, small_t *model)
{
    const rig_value_t *rig = context;
    double clipped;
    const float *values = small_response(model, &rig->sequences, 5, 1.0f);
    return rig->options.vf_coef * mean_loss(rig, values, &clipped);
}

Test(critic_ppo, an_update_follows_the_slope_of_the_clipped_value_loss)
{
    static rig_value_t rig;
    critic_ppo_t report;
    const tr_train_pass_t walk = learning_walk(2, LEARNING_PLAIN);
    value_open(&rig);
    float *before = learning_parameters(&rig.learning);
    learn(&rig, &report, &walk);
    float *gradient = learning_parameters(&rig.learning);
    for (size_t i = 0; i < rig.learning.total; i++) {
        gradient[i] = before[i] - gradient[i];
    }
    learning_check_slopes(&rig.learning, &rig.config, before, gradient, 24, objective, &rig);
    learning_close(&rig.learning);
}

Test(critic_ppo, the_report_is_of_the_loss_without_its_coefficient_whatever_the_chunk)
{
    static rig_value_t rig;
    double clipped;
    value_open(&rig);
    double loss = mean_loss(&rig, rig.exact, &clipped);
    cr_assert_gt(clipped, 2.0);
    cr_assert_lt(clipped, TOKENS - 2.0);
    for (size_t chunk = 1; chunk <= LEARNING_SEQUENCES; chunk++) {
        critic_ppo_t report;
        const tr_train_pass_t walk = learning_walk(chunk, 0.0);
        learn(&rig, &report, &walk);
        cr_expect_eq(report.sums.tokens, TOKENS);
        cr_expect_float_eq(report.sums.loss / TOKENS, loss, 1e-5 * loss);
        cr_expect_float_eq(report.sums.clipped, clipped, 0.0);
        cr_expect_eq(report.result.updates, 1);
    }
    learning_close(&rig.learning);
}

Test(critic_ppo, updates_come_closer_to_the_returns)
{
    static rig_value_t rig;
    critic_ppo_t first, last;
    tr_train_pass_t walk = learning_walk(2, 0.02 * LEARNING_PLAIN);
    value_open(&rig);
    rig.options.cliprange_value = 100.0;
    learn(&rig, &first, &walk);
    walk.epochs = 20;
    learn(&rig, &last, &walk);
    walk.epochs = 1;
    learn(&rig, &last, &walk);
    cr_expect_lt(last.sums.loss, 0.9 * first.sums.loss);
    learning_close(&rig.learning);
}
