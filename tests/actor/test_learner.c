/// The actor's updates: PPO's objective by finite differences through the model, the proof of exactness, the report.
#include "actor/learner.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "common/base/rng.h"
#include "tests/support/learning.h"

enum { TOKENS = 32 }; // of learning_sequences

/// How far the old log-probs lie from the model's: ratios of 1.49, 1.11, 1, 0.90 and 0.67, away from the bounds 0.8 and 1.2, where
/// the objective has kinks.
static const float distances[] = {-0.4f, -0.1f, 0.0f, 0.1f, 0.4f};

typedef struct rig_ppo {
    learning_t learning;
    tr_model_config_t config;
    float old[TOKENS], exact[TOKENS], advantages[TOKENS];
    actor_experience_t experience;
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
    rig->experience = (actor_experience_t){
        .sequences = learning_sequences(&rig->learning.small),
        .logprobs = rig->old,
        .advantages = rig->advantages,
    };
    tr_ppo_options_init(&rig->options);
}

static void learn(rig_ppo_t *rig, actor_report_t *report, const tr_train_pass_t *walk)
{
    tr_error_t err = {0};
    tr_status status =
        actor_learn_ppo(report, rig->learning.trainer, &rig->experience, &rig->options, walk, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
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
    const float *logprobs = small_response(model, &rig->experience.sequences, 5, 1.0f);
    double sum = 0.0;
    for (size_t i = 0; i < TOKENS; i++) {
        sum += clipped_loss((double)logprobs[i], (double)rig->old[i], (double)rig->advantages[i],
                            rig->options.cliprange);
    }
    return sum / TOKENS;
}

Test(actor_learner, an_update_follows_the_slope_of_the_clipped_objective)
{
    static rig_ppo_t rig;
    actor_report_t report;
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

Test(actor_learner, the_report_is_of_the_clipped_objective_whatever_the_chunk)
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
        actor_report_t report;
        const tr_train_pass_t walk = learning_walk(chunk, 0.0);
        learn(&rig, &report, &walk);
        cr_expect_eq(report.sums.tokens, TOKENS);
        cr_expect_float_eq(report.sums.loss, loss, 1e-4);
        cr_expect_float_eq(report.sums.ratio, ratio, 1e-4);
        cr_expect_float_eq(report.sums.approxkl, approxkl, 1e-4);
        cr_expect_float_eq(report.sums.clipped, clipped, 0.0);
        cr_expect_eq(report.ratio_variance, 0.0, "of a single minibatch");
        cr_expect_eq(report.walk.updates, 1);
    }
    learning_close(&rig.learning);
}

Test(actor_learner, the_mismatch_is_zero_for_exact_log_probs_and_the_difference_for_others)
{
    static rig_ppo_t rig;
    actor_report_t report;
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
    cr_expect_eq(
        actor_learn_ppo(&report, rig.learning.trainer, &rig.experience, &rig.options, &still, &err),
        TR_ERR_NUMERIC);
    cr_expect_eq(report.mismatch, INFINITY);
    learning_close(&rig.learning);
}

Test(actor_learner, only_the_first_update_must_match)
{
    static rig_ppo_t rig;
    actor_report_t report;
    tr_train_pass_t walk = learning_walk(2, LEARNING_PLAIN);
    ppo_open(&rig);
    memcpy(rig.old, rig.exact, sizeof rig.old);
    walk.epochs = 3;
    learn(&rig, &report, &walk);
    cr_expect_eq(report.mismatch, 0.0f);
    cr_expect_gt(report.sums.approxkl, 0.0); // the later ones moved away
    learning_close(&rig.learning);
}

Test(actor_learner, ratio_var_is_the_variance_of_the_minibatches_mean_ratios)
{
    static rig_ppo_t rig;
    uint32_t order[LEARNING_SEQUENCES];
    double means[3] = {0.0, 0.0, 0.0}, mean = 0.0, variance = 0.0;
    tr_train_pass_t walk = learning_walk(1, 0.0);
    ppo_open(&rig);
    walk.minibatches = 3; // of 1, 1 and 3 sequences
    tr_rng_permutation(order, LEARNING_SEQUENCES, walk.seed, walk.step, 0);
    for (size_t m = 0; m < 3; m++) {
        size_t tokens = 0;
        for (size_t s = m; s < (m < 2 ? m + 1 : LEARNING_SEQUENCES); s++) {
            const int32_t *starts = rig.experience.sequences.response_starts + order[s];
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
        actor_report_t report;
        learn(&rig, &report, &walk);
        cr_expect_float_eq(report.ratio_variance, variance, 1e-6 * variance + 1e-7);
    }
    learning_close(&rig.learning);
}

Test(actor_learner, the_temperature_is_that_of_the_distribution_sampled_from)
{
    static rig_ppo_t rig;
    actor_report_t report;
    tr_train_pass_t walk = learning_walk(2, 0.0);
    small_t model;
    ppo_open(&rig);
    cr_assert(small_open(&model, &rig.config, NULL, 1, false));
    memcpy(rig.old, small_response(&model, &rig.experience.sequences, 5, 0.7f), sizeof rig.old);
    small_close(&model);
    walk.temperature = 0.7f;
    learn(&rig, &report, &walk);
    cr_expect_eq(report.mismatch, 0.0f);
    walk.temperature = 1.0f;
    learn(&rig, &report, &walk);
    cr_expect_gt(report.mismatch, 1e-3f);
    learning_close(&rig.learning);
}

static const tr_sft_options_t PLAIN = {.loss_type = TR_SFT_NLL};
static const tr_sft_options_t SMOOTH = {.loss_type = TR_SFT_NLL, .label_smoothing_factor = 0.3};

typedef struct sft_case {
    const tr_sequences_t *sequences;
    const tr_sft_options_t *options;
} sft_case_t;

/// The mean of -log p, smoothed over the vocabulary, in double from whole passes.
static double mean_loss(void *context, small_t *model)
{
    const sft_case_t *c = context;
    const double smoothing = c->options->label_smoothing_factor;
    tr_error_t err = {0};
    tr_response_pass_t *pass = tr_response_pass_new(model->model);
    float logprobs[TOKENS];
    tr_token_facts_t facts[TOKENS];
    double sum = 0.0;
    cr_assert_eq(tr_response_forward_all(pass, c->sequences, LEARNING_SEQUENCES, 1.0f, logprobs,
                                         facts, &err),
                 TR_OK, "%s", err.text);
    for (size_t i = 0; i < TOKENS; i++) {
        sum -= (1.0 - smoothing) * (double)logprobs[i] + smoothing * (double)facts[i].mean;
    }
    tr_response_pass_destroy(&pass);
    return sum / TOKENS;
}

static void check_sft(const tr_sft_options_t *options)
{
    const tr_model_config_t config = learning_config(false);
    const tr_train_pass_t walk = learning_walk(2, LEARNING_PLAIN);
    learning_t learning;
    small_t model;
    actor_sft_report_t report;
    tr_error_t err = {0};
    learning_open(&learning, &config, 1);
    tr_sequences_t sequences = learning_sequences(&learning.small);
    sft_case_t c = {&sequences, options};
    float *before = learning_parameters(&learning);
    tr_status status =
        actor_learn_sft(&report, learning.trainer, &sequences, NULL, options, &walk, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    float *gradient = learning_parameters(&learning);
    for (size_t i = 0; i < learning.total; i++) {
        gradient[i] = before[i] - gradient[i];
    }
    learning_check_slopes(&learning, &config, before, gradient, 24, mean_loss, &c);
    cr_assert(small_open(&model, &config, NULL, 1, false));
    cr_expect_float_eq(report.sums.loss / TOKENS, mean_loss(&c, &model), 1e-6);
    cr_expect_eq(report.sums.tokens, TOKENS);
    small_close(&model);
    learning_close(&learning);
}

/// Every other response token counts.
static void every_other(float *mask)
{
    for (size_t i = 0; i < TOKENS; i++) {
        mask[i] = i % 2 == 0 ? 1.0f : 0.0f;
    }
}

static double mean_likelihood_of_every_other(void *context, small_t *model)
{
    const tr_sequences_t *sequences = context;
    const float *logprobs = small_response(model, sequences, 5, 1.0f);
    double sum = 0.0;
    size_t n = 0;
    for (size_t i = 0; i < TOKENS; i += 2, n++) {
        sum -= (double)logprobs[i];
    }
    return sum / (double)n;
}

Test(actor_learner, masked_tokens_are_not_learnt)
{
    const tr_model_config_t config = learning_config(false);
    tr_train_pass_t walk = learning_walk(2, LEARNING_PLAIN);
    float mask[TOKENS];
    learning_t learning;
    small_t model;
    actor_sft_report_t report;
    tr_error_t err = {0};
    every_other(mask);
    learning_open(&learning, &config, 1);
    tr_sequences_t sequences = learning_sequences(&learning.small);
    float *before = learning_parameters(&learning);
    tr_status status =
        actor_learn_sft(&report, learning.trainer, &sequences, mask, &PLAIN, &walk, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    float *gradient = learning_parameters(&learning);
    for (size_t i = 0; i < learning.total; i++) {
        gradient[i] = before[i] - gradient[i];
    }
    learning_check_slopes(&learning, &config, before, gradient, 24, mean_likelihood_of_every_other,
                          &sequences);
    cr_assert(small_open(&model, &config, NULL, 1, false));
    cr_expect_eq(report.sums.tokens, (TOKENS + 1) / 2);
    cr_expect_float_eq(report.sums.loss / (double)report.sums.tokens,
                       mean_likelihood_of_every_other(&sequences, &model), 1e-6);
    walk.minibatches = 2;
    cr_expect_eq(actor_learn_sft(&report, learning.trainer, &sequences, mask, &PLAIN, &walk, &err),
                 TR_ERR_ARGUMENT);
    small_close(&model);
    learning_close(&learning);
}

Test(actor_learner, sft_follows_the_slope_of_the_mean_negative_log_likelihood)
{
    check_sft(&PLAIN);
}

Test(actor_learner, sft_with_smoothed_labels_follows_the_slope_of_its_loss)
{
    check_sft(&SMOOTH);
}

/// The loss that a walk reports, and the parameters after it.
static double noisy(learning_t *learning, const tr_train_pass_t *walk, float **parameters)
{
    actor_sft_report_t report;
    tr_error_t err = {0};
    tr_sequences_t sequences = learning_sequences(&learning->small);
    tr_status status =
        actor_learn_sft(&report, learning->trainer, &sequences, NULL, &PLAIN, walk, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    *parameters = learning_parameters(learning);
    return report.sums.loss;
}

Test(actor_learner, noise_on_embeddings_is_learnt_with_and_never_measured_with)
{
    const tr_model_config_t config = learning_config(false);
    double losses[5];
    for (size_t i = 0; i < 5; i++) {
        learning_t learning;
        float *parameters;
        tr_train_pass_t walk = learning_walk(2, 0.0);
        walk.neftune_noise_alpha = i == 0 ? 0.0 : 5.0;
        walk.evaluate = i == 1;
        walk.step += i == 3 ? 1 : 0;
        walk.seed += i == 4 ? 1 : 0;
        learning_open(&learning, &config, 1);
        losses[i] = noisy(&learning, &walk, &parameters);
        learning_close(&learning);
    }
    cr_expect_eq(losses[1], losses[0]); // evaluating, without
    for (size_t i = 2; i < 5; i++) {    // another noise for another step and seed
        for (size_t k = 0; k < i; k++) {
            cr_expect_gt(fabs(losses[i] - losses[k]), k == 1 ? 0.0 : 1e-4, "%zu and %zu", i, k);
        }
    }
}

Test(actor_learner, noise_on_embeddings_depends_on_no_thread_nor_recomputation)
{
    const tr_model_config_t config = learning_config(false);
    learning_t first;
    float *want;
    tr_train_pass_t walk = learning_walk(2, 1e-3 * LEARNING_PLAIN);
    walk.neftune_noise_alpha = 5.0;
    learning_open(&first, &config, 1);
    noisy(&first, &walk, &want);
    for (size_t threads = 2; threads <= 3; threads++) {
        learning_t other;
        float *got;
        learning_open(&other, &config, threads);
        tr_model_recompute(tr_trainer_model(other.trainer), threads == 3);
        noisy(&other, &walk, &got);
        check_same(got, want, first.total, "parameters");
        learning_close(&other);
    }
    learning_close(&first);
}
