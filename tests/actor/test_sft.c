/// Supervised fine-tuning in the actor: the loss's slope by finite differences through the model,
/// masks, noise on embeddings.
#include "actor/training.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tests/support/learning.h"
#include "tests/support/tensors.h"

enum { TOKENS = 32 }; // of learning_sequences

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
    actor_sft_t report = {.options = options};
    tr_error_t err = {0};
    learning_open(&learning, &config, 1);
    tr_sequences_t sequences = learning_sequences(&learning.small);
    sft_case_t c = {&sequences, options};
    float *before = learning_parameters(&learning);
    tr_status status = actor_learn_sft(&report, learning.trainer, &sequences, &walk, &err);
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

Test(actor_sft, masked_tokens_are_not_learnt)
{
    const tr_model_config_t config = learning_config(false);
    tr_train_pass_t walk = learning_walk(2, LEARNING_PLAIN);
    float mask[TOKENS];
    learning_t learning;
    small_t model;
    actor_sft_t report = {.options = &PLAIN, .mask = mask};
    tr_error_t err = {0};
    every_other(mask);
    learning_open(&learning, &config, 1);
    tr_sequences_t sequences = learning_sequences(&learning.small);
    float *before = learning_parameters(&learning);
    tr_status status = actor_learn_sft(&report, learning.trainer, &sequences, &walk, &err);
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
    cr_expect_eq(actor_learn_sft(&report, learning.trainer, &sequences, &walk, &err),
                 TR_ERR_ARGUMENT);
    small_close(&model);
    learning_close(&learning);
}

Test(actor_sft, an_update_follows_the_slope_of_the_mean_negative_log_likelihood)
{
    check_sft(&PLAIN);
}

Test(actor_sft, an_update_with_smoothed_labels_follows_the_slope_of_its_loss)
{
    check_sft(&SMOOTH);
}

/// The loss that a pass with noise alpha reports, and the parameters after it.
static double noisy(learning_t *learning, const tr_train_pass_t *walk, double alpha,
                    float **parameters)
{
    const tr_sft_options_t options = {.loss_type = TR_SFT_NLL, .neftune_noise_alpha = alpha};
    actor_sft_t report = {.options = &options};
    tr_error_t err = {0};
    tr_sequences_t sequences = learning_sequences(&learning->small);
    tr_status status = actor_learn_sft(&report, learning->trainer, &sequences, walk, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    *parameters = learning_parameters(learning);
    return report.sums.loss;
}

Test(actor_sft, noise_on_embeddings_is_learnt_with_and_never_measured_with)
{
    const tr_model_config_t config = learning_config(false);
    double losses[5];
    for (size_t i = 0; i < 5; i++) {
        learning_t learning;
        float *parameters;
        tr_train_pass_t walk = learning_walk(2, 0.0);
        walk.evaluate = i == 1;
        walk.step += i == 3 ? 1 : 0;
        walk.seed += i == 4 ? 1 : 0;
        learning_open(&learning, &config, 1);
        losses[i] = noisy(&learning, &walk, i == 0 ? 0.0 : 5.0, &parameters);
        learning_close(&learning);
    }
    cr_expect_eq(losses[1], losses[0]); // evaluating, without
    for (size_t i = 2; i < 5; i++) {    // another noise for another step and seed
        for (size_t k = 0; k < i; k++) {
            cr_expect_gt(fabs(losses[i] - losses[k]), k == 1 ? 0.0 : 1e-4, "%zu and %zu", i, k);
        }
    }
}

Test(actor_sft, noise_on_embeddings_depends_on_no_thread_nor_recomputation)
{
    const tr_model_config_t config = learning_config(false);
    learning_t first;
    float *want;
    const tr_train_pass_t walk = learning_walk(2, 1e-3 * LEARNING_PLAIN);
    learning_open(&first, &config, 1);
    noisy(&first, &walk, 5.0, &want);
    for (size_t threads = 2; threads <= 3; threads++) {
        learning_t other;
        float *got;
        learning_open(&other, &config, threads);
        tr_model_recompute(tr_trainer_model(other.trainer), threads == 3);
        noisy(&other, &walk, 5.0, &got);
        check_same(got, want, first.total, "parameters");
        learning_close(&other);
    }
    learning_close(&first);
}
