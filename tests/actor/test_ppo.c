/// PPO in the actor: the objective's slope by finite differences through the model, the proof of
/// exactness, the report.
#include "actor/training.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "common/base/rng.h"
#include "tests/support/learning.h"

enum { TOKENS = 32 }; // of learning_sequences

/// How far the old log-probs lie from the model's: ratios of 1.49, 1.11, 1, 0.90 and 0.67, away
/// from the bounds 0.8 and 1.2, where the objective has kinks.
static const float distances[] = {-0.4f, -0.1f, 0.0f, 0.1f, 0.4f};

typedef struct rig_ppo {
    learning_t learning;
    tr_model_config_t config;
    float old[TOKENS], exact[TOKENS], advantages[TOKENS];
    tr_sequences_t sequences;
    tr_ppo_options_t options;
} rig_ppo_t;

static void ppo_open(rig_ppo_t *rig)
{
    small_t model;
    *rig = (rig_ppo_t){.config = learning_config(false)};
    cr_assert(small_open(&model, &rig->config, NULL, 1, false));
    tr_sequences_t sequences = learning_sequences(&model);
    cr_assert_eq(sequences.response_starts[LEARNING_SEQUENCES], TOKENS);
    memcpy(rig->exact, small_response(&model, &sequences, 2, 1.0f), sizeof rig->exact);
    memcpy(rig->advantages, small_factors(&model, &sequences), sizeof rig->advantages);
    small_close(&model);
    for (size_t i = 0; i < TOKENS; i++) {
        rig->old[i] = rig->exact[i] + distances[i % 5];
    }
    learning_open(&rig->learning, &rig->config, 1);
    rig->sequences = learning_sequences(&rig->learning.small);
    tr_fields_init(&rig->options, &tr_ppo_fields);
}

static tr_status try_learn(rig_ppo_t *rig, actor_ppo_t *report, const tr_train_pass_t *walk,
                           tr_error_t *err)
{
    *report = (actor_ppo_t){
        .options = &rig->options, .logprobs = rig->old, .advantages = rig->advantages};
    return actor_learn_ppo(report, rig->learning.trainer, &rig->sequences, walk, err);
}

static void learn(rig_ppo_t *rig, actor_ppo_t *report, const tr_train_pass_t *walk)
{
    tr_error_t err = {0};
    cr_assert_eq(try_learn(rig, report, walk, &err), TR_OK, "%s", err.text);
}

/// Schulman et al. 2017, eq. 7, as a loss: the mean over tokens of max(-A r, -A clip(r)).
static double clipped_loss(double logprob, double old, double advantage, double range)
{
    double ratio = exp(logprob - old);
    double clipped = fmin(fmax(ratio, 1.0 - range), 1.0 + range);
    return fmax(-advantage * ratio, -advantage * clipped);
}

static double objective(void *context, small_t *model)
{
    const rig_ppo_t *rig = context;
    const float *logprobs = small_response(model, &rig->sequences, 5, 1.0f);
    double sum = 0.0;
    for (size_t i = 0; i < TOKENS; i++) {
        sum += clipped_loss((double)logprobs[i], (double)rig->old[i], (double)rig->advantages[i],
                            rig->options.cliprange);
    }
    return sum / TOKENS;
}

Test(actor_ppo, an_update_follows_the_slope_of_the_clipped_objective)
{
    static rig_ppo_t rig;
    actor_ppo_t report;
    const tr_train_pass_t walk = learning_walk(2, LEARNING_PLAIN);
    ppo_open(&rig);
    float *before = learning_parameters(&rig.learning);
    learn(&rig, &report, &walk);
    float *gradient = learning_parameters(&rig.learning);
    for (size_t i = 0; i < rig.learning.total; i++) {
        gradient[i] = before[i] - gradient[i];
    }
    learning_check_slopes(&rig.learning, &rig.config, before, gradient, 24, objective, &rig);
    learning_close(&rig.learning);
}

Test(actor_ppo, the_report_is_of_the_clipped_objective_whatever_the_chunk)
{
    static rig_ppo_t rig;
    ppo_open(&rig);
    double loss = 0.0, ratio = 0.0, approxkl = 0.0, clipped = 0.0;
    for (size_t i = 0; i < TOKENS; i++) {
        double difference = (double)rig.exact[i] - (double)rig.old[i];
        bool outside = exp(difference) * (rig.advantages[i] > 0.0f ? 1.0 : -1.0) >
                       (rig.advantages[i] > 0.0f ? 1.2 : -0.8);
        loss +=
            clipped_loss((double)rig.exact[i], (double)rig.old[i], (double)rig.advantages[i], 0.2);
        ratio += exp(difference);
        approxkl += 0.5 * difference * difference;
        clipped += outside ? 1.0 : 0.0;
    }
    cr_assert_gt(clipped, 3.0);
    cr_assert_lt(clipped, TOKENS - 3.0);
    for (size_t chunk = 1; chunk <= LEARNING_SEQUENCES; chunk++) {
        actor_ppo_t report;
        const tr_train_pass_t walk = learning_walk(chunk, 0.0);
        learn(&rig, &report, &walk);
        cr_expect_eq(report.sums.tokens, TOKENS);
        cr_expect_float_eq(report.sums.loss, loss, 1e-4);
        cr_expect_float_eq(report.sums.ratio, ratio, 1e-4);
        cr_expect_float_eq(report.sums.approxkl, approxkl, 1e-4);
        cr_expect_float_eq(report.sums.clipped, clipped, 0.0);
        cr_expect_eq(report.ratio_variance, 0.0, "of a single minibatch");
        cr_expect_eq(report.result.updates, 1);
    }
    learning_close(&rig.learning);
}

Test(actor_ppo, the_mismatch_is_zero_for_exact_log_probs_and_the_difference_for_others)
{
    static rig_ppo_t rig;
    actor_ppo_t report;
    const tr_train_pass_t still = learning_walk(2, 0.0);
    ppo_open(&rig);
    memcpy(rig.old, rig.exact, sizeof rig.old);
    learn(&rig, &report, &still);
    cr_expect_eq(report.mismatch, 0.0f);
    cr_expect_eq(report.sums.ratio, TOKENS);
    cr_expect_eq(report.sums.approxkl, 0.0);
    for (size_t i = 0; i < TOKENS; i += 7) {
        memcpy(rig.old, rig.exact, sizeof rig.old);
        rig.old[i] = nextafterf(rig.exact[i], -100.0f); // one bit of one token
        learn(&rig, &report, &still);
        cr_expect_eq(report.mismatch, rig.exact[i] - rig.old[i]);
        cr_expect_gt(report.mismatch, 0.0f);
    }
    rig.old[3] = NAN; // nothing is learnt from it
    tr_error_t err = {0};
    cr_expect_eq(try_learn(&rig, &report, &still, &err), TR_ERR_NUMERIC);
    cr_expect_eq(report.mismatch, INFINITY);
    learning_close(&rig.learning);
}

Test(actor_ppo, only_the_first_update_must_match)
{
    static rig_ppo_t rig;
    actor_ppo_t report;
    tr_train_pass_t walk = learning_walk(2, LEARNING_PLAIN);
    ppo_open(&rig);
    memcpy(rig.old, rig.exact, sizeof rig.old);
    walk.epochs = 3;
    learn(&rig, &report, &walk);
    cr_expect_eq(report.mismatch, 0.0f);
    cr_expect_gt(report.sums.approxkl, 0.0); // the later ones moved away
    learning_close(&rig.learning);
}

Test(actor_ppo, ratio_var_is_the_variance_of_the_minibatches_mean_ratios)
{
    static rig_ppo_t rig;
    static const size_t starts_of[] = {0, 1, 3, LEARNING_SEQUENCES};
    uint32_t order[LEARNING_SEQUENCES];
    double means[3] = {0.0, 0.0, 0.0}, mean = 0.0, variance = 0.0;
    tr_train_pass_t walk = learning_walk(1, 0.0);
    ppo_open(&rig);
    walk.minibatches = 3; // of 1, 2 and 2 sequences
    tr_rng_permutation(order, LEARNING_SEQUENCES, walk.seed, walk.step, 0);
    for (size_t m = 0; m < 3; m++) {
        size_t tokens = 0;
        for (size_t s = starts_of[m]; s < starts_of[m + 1]; s++) {
            const int32_t *starts = rig.sequences.response_starts + order[s];
            for (int32_t i = starts[0]; i < starts[1]; i++, tokens++) {
                means[m] += exp((double)rig.exact[i] - (double)rig.old[i]);
            }
        }
        means[m] /= (double)tokens;
        mean += means[m] / 3.0;
    }
    for (size_t m = 0; m < 3; m++) {
        variance += (means[m] - mean) * (means[m] - mean) / 2.0;
    }
    cr_assert_gt(variance, 1e-4);
    for (walk.chunk = 1; walk.chunk < 5; walk.chunk++) {
        actor_ppo_t report;
        learn(&rig, &report, &walk);
        cr_expect_float_eq(report.ratio_variance, variance, 1e-6 * variance + 1e-7);
    }
    learning_close(&rig.learning);
}

Test(actor_ppo, epochs_end_after_one_that_moved_the_policy_further_than_target_kl)
{
    static rig_ppo_t rig;
    actor_ppo_t report;
    tr_train_pass_t pass = learning_walk(2, 0.0); // nothing moves: every epoch has one approxkl
    double kl = 0.0;
    ppo_open(&rig);
    for (size_t i = 0; i < TOKENS; i++) {
        double distance = (double)rig.exact[i] - (double)rig.old[i];
        kl += 0.5 * distance * distance / TOKENS;
    }
    pass.epochs = 4;
    rig.options.target_kl = 0.99 * kl;
    learn(&rig, &report, &pass);
    cr_expect_eq(report.result.epochs, 1);
    rig.options.target_kl = 1.01 * kl;
    learn(&rig, &report, &pass);
    cr_expect_eq(report.result.epochs, 4);
    rig.options.target_kl = 0.0; // off
    learn(&rig, &report, &pass);
    cr_expect_eq(report.result.epochs, 4);
    learning_close(&rig.learning);
}

/// From the same weights and exact log-probs each time, with updates: the first epoch's KL is 0,
/// the second's is not.
static void learn_moving(rig_ppo_t *rig, actor_ppo_t *report, size_t epochs, double target_kl)
{
    tr_train_pass_t pass = learning_walk(2, 0.05 * LEARNING_PLAIN);
    ppo_open(rig);
    memcpy(rig->old, rig->exact, sizeof rig->old);
    pass.epochs = epochs;
    rig->options.target_kl = target_kl;
    learn(rig, report, &pass);
    learning_close(&rig->learning);
}

Test(actor_ppo, each_epoch_is_measured_by_its_own_tokens_for_target_kl)
{
    static rig_ppo_t rig;
    actor_ppo_t report;
    learn_moving(&rig, &report, 2, 0.0);
    double second = report.sums.approxkl / TOKENS;
    cr_assert_gt(second, 1e-9);
    learn_moving(&rig, &report, 3, 0.99 * second);
    cr_expect_eq(report.result.epochs, 2);
    learn_moving(&rig, &report, 3, 1.01 * second);
    cr_expect_eq(report.result.epochs, 3);
}

Test(actor_ppo, the_temperature_is_that_of_the_distribution_sampled_from)
{
    static rig_ppo_t rig;
    actor_ppo_t report;
    tr_train_pass_t walk = learning_walk(2, 0.0);
    small_t model;
    ppo_open(&rig);
    cr_assert(small_open(&model, &rig.config, NULL, 1, false));
    memcpy(rig.old, small_response(&model, &rig.sequences, 5, 0.7f), sizeof rig.old);
    small_close(&model);
    walk.temperature = 0.7f;
    learn(&rig, &report, &walk);
    cr_expect_eq(report.mismatch, 0.0f);
    walk.temperature = 1.0f;
    learn(&rig, &report, &walk);
    cr_expect_gt(report.mismatch, 1e-3f);
    learning_close(&rig.learning);
}
