/// Training requests as they come over the wire: what is missing or does not fit is refused, and
/// leaves the learner as it was.
#include "actor/training.h"

#include <criterion/criterion.h>
#include <string.h>

#include "tests/support/fields.h"
#include "tests/support/learning.h"

static tr_learner_t learner;
static const tr_service_options_t one_thread = {.threads = 1};

static void open(bool scalar)
{
    tr_error_t err = {0};
    json_t *config = learning_config_json(TEST_SOURCE_DIR "/examples/models/stories");
    cr_assert_eq(tr_learner_open(&learner, config, scalar, &one_thread, &err), TR_OK, "%s",
                 err.text);
    json_decref(config);
}

static void teardown(void)
{
    tr_learner_close(&learner);
}

TestSuite(training, .fini = teardown);

enum { TOKENS = 8 }; // response tokens of the four sequences below

/// A request of four sequences (two pairs) for step 1: options: the algorithm's, NULL: none; more:
/// JSON over them and the pass.
static tr_message_t *request_of(const char *method, const tr_fields_t *options, const char *more)
{
    static const int32_t ids[] = {5, 6, 7, 8, 5, 6, 9, 8, 7, 5, 4, 5, 9, 9};
    static const int32_t starts[] = {0, 4, 7, 11, 14}, prompts[] = {2, 2, 1, 1};
    static const int32_t responses[] = {0, 2, 3, 6, 8};
    const tr_sequences_t sequences = {.count = 4,
                                      .ids = ids,
                                      .starts = starts,
                                      .prompt_lengths = prompts,
                                      .response_starts = responses};
    tr_message_t *request = tr_message_new("request");
    json_t *body =
        json_pack("{s:i, s:i, s:i, s:i, s:i, s:f, s:f}", "step", 1, "epochs", 1, "minibatches", 1,
                  "chunk", 2, "seed", 3, "learning_rate", 1e-3, "temperature", 1.0);
    if (options != NULL) {
        fields_put_defaults(body, options);
    }
    json_t *over = json_loads(more, 0, NULL);
    cr_assert_not_null(over, "%s", more);
    json_object_update(body, over);
    json_decref(over);
    tr_message_set_body(request, body);
    tr_message_set_field(request, "method", json_string(method));
    tr_sequences_put(request, &sequences);
    return request;
}

static tr_message_t *dpo(const char *more)
{
    return request_of("train_dpo", &tr_dpo_fields, more);
}

static tr_message_t *sft(const char *more)
{
    return request_of("train_sft", &tr_sft_fields, more);
}

static tr_message_t *reward(const char *more)
{
    return request_of("train_reward", &tr_reward_fields, more);
}

static tr_message_t *with_reals(tr_message_t *request, const char *name, size_t n)
{
    float values[TOKENS + 1];
    for (size_t i = 0; i < n; i++) {
        values[i] = -2.0f;
    }
    tr_message_add_vector(request, name, TR_F32, n, values);
    return request;
}

/// Asks, frees the request, and returns the answer's metrics, or NULL after a failure.
static json_t *ask(tr_message_t *request, tr_error_t *err)
{
    tr_message_t *reply = tr_message_new("reply");
    tr_status status = actor_train(&learner, request, reply, err);
    json_t *metrics = json_incref(json_object_get(tr_message_body(reply), "metrics"));
    tr_message_destroy(&reply);
    tr_message_destroy(&request);
    cr_assert_eq(status == TR_OK, metrics != NULL, "%s", err->text);
    return metrics;
}

/// Fails with a sentence that has `part`, and the learner still waits for step 1.
static void expect_refused(tr_message_t *request, const char *part)
{
    tr_error_t err = {0};
    cr_expect_null(ask(request, &err));
    cr_expect_not_null(strstr(err.text, part), "'%s' lacks '%s'", err.text, part);
    cr_expect_eq(learner.step, 0);
}

/// names: the metrics of the answer, each [sum, weight], with NULL at the end.
static void expect_metrics(const json_t *metrics, const char *const *names)
{
    size_t count = 0;
    for (; names[count] != NULL; count++) {
        const json_t *entry = json_object_get(metrics, names[count]);
        cr_expect_eq(json_array_size(entry), 2U, "%s", names[count]);
        cr_expect(json_number_value(json_array_get(entry, 1)) > 0.0, "%s", names[count]);
    }
    cr_expect_eq(json_object_size(metrics), count, "there are others");
}

static void expect_learnt(tr_message_t *request, const char *const *names)
{
    tr_error_t err = {0};
    json_t *metrics = ask(request, &err);
    cr_assert_not_null(metrics, "%s", err.text);
    expect_metrics(metrics, names);
    cr_expect_eq(learner.step, 1);
    json_decref(metrics);
}

#define CLASSES                                                                              \
    "rewards/chosen", "rewards/rejected", "logps/chosen", "logps/rejected", "logits/chosen", \
        "logits/rejected", "entropy"

Test(training, a_ppo_request_is_learnt_or_refused_whole)
{
    static const char *const names[] = {"policy/epochs",          "policy/approxkl_avg",
                                        "policy/clipfrac_avg",    "policy/entropy_avg",
                                        "loss/policy_avg",        "val/ratio",
                                        "val/ratio_var",          "grad_norm/actor",
                                        "exact/logprob_mismatch", NULL};
    open(false);
    expect_refused(request_of("train", NULL, "{}"), "num_ppo_epochs");
    tr_message_t *request = request_of("train", &tr_ppo_fields, "{}");
    expect_refused(with_reals(request, "logprobs", TOKENS), "advantages");
    request = request_of("train", &tr_ppo_fields, "{\"cliprange\": 0}");
    expect_refused(with_reals(with_reals(request, "logprobs", TOKENS), "advantages", TOKENS),
                   "train: cliprange: expected a positive number, found 0");
    expect_refused(request_of("train", &tr_ppo_fields, "{\"evaluate\": true, \"step\": 0}"),
                   "nothing to evaluate");
    request = request_of("train", &tr_ppo_fields, "{}");
    expect_learnt(with_reals(with_reals(request, "logprobs", TOKENS), "advantages", TOKENS), names);
}

Test(training, a_dpo_request_is_learnt_or_refused_whole)
{
    static const char *const names[] = {"loss",
                                        "grad_norm",
                                        CLASSES,
                                        "rewards/accuracies",
                                        "rewards/margins",
                                        "mean_token_accuracy",
                                        NULL};
    open(false);
    expect_refused(request_of("train_dpo", NULL, "{}"), "beta");
    expect_refused(dpo("{\"loss_type\": [\"kto\"]}"), "loss_type: expected 'sigmoid'");
    expect_refused(dpo("{\"loss_type\": []}"), "loss_type: expected 'sigmoid'");
    expect_refused(dpo("{}"), "reference");
    expect_refused(with_reals(dpo("{}"), "reference", TOKENS - 1), "reference");
    expect_refused(reward("{}"), "learns a policy");
    expect_refused(with_reals(dpo("{\"step\": 2}"), "reference", TOKENS), "step 1");
    expect_learnt(with_reals(dpo("{}"), "reference", TOKENS), names);
}

Test(training, a_dpo_request_without_a_loss_that_reads_it_brings_no_reference)
{
    static const char *const names[] = {"loss",
                                        "grad_norm",
                                        CLASSES,
                                        "rewards/accuracies",
                                        "rewards/margins",
                                        "mean_token_accuracy",
                                        "nll_loss",
                                        NULL};
    open(false);
    expect_learnt(dpo("{\"loss_type\": [\"cpo\", \"sft\"], \"loss_weights\": [1.0, 0.5]}"), names);
}

Test(training, a_kto_request_is_learnt_or_refused_whole)
{
    static const int32_t labels[2] = {1, 0};
    static const char *const names[] = {"loss", "grad_norm", "kl", CLASSES, NULL};
    open(false);
    tr_message_t *request = request_of("train_kto", &tr_kto_fields, "{}");
    expect_refused(with_reals(request, "reference", TOKENS), "desirable");
    request = request_of("train_kto", &tr_kto_fields, "{}");
    tr_message_add_vector(request, "desirable", TR_I32, 2, labels);
    expect_learnt(with_reals(request, "reference", TOKENS), names);
}

Test(training, a_reward_request_is_learnt_or_refused_whole)
{
    static const char *const names[] = {"loss",       "grad_norm",   "accuracy",
                                        "margin",     "mean_reward", "mean_squared_reward",
                                        "min_reward", "max_reward",  NULL};
    open(true);
    expect_refused(sft("{\"label_smoothing_factor\": 0.1}"), "reward model");
    expect_refused(request_of("train_reward", NULL, "{}"), "center_rewards_coefficient");
    expect_refused(with_reals(reward("{}"), "margins", 3), "margins");
    expect_learnt(with_reals(reward("{}"), "margins", 2), names);
}

Test(training, a_steps_request_is_learnt_or_refused_whole)
{
    static const int32_t labels[TOKENS] = {-1, 1, 0, -1, -1, 1, -1, 0};
    static const char *const names[] = {"loss", "grad_norm", "accuracy", "mean_step_score", NULL};
    open(true);
    expect_refused(request_of("train_steps", NULL, "{}"), "labels");
    tr_message_t *request = request_of("train_steps", NULL, "{}");
    tr_message_add_vector(request, "labels", TR_I32, TOKENS, labels);
    expect_learnt(request, names);
}

Test(training, an_sft_request_is_learnt_or_refused_whole)
{
    static const char *const names[] = {"loss", "grad_norm", "entropy", "mean_token_accuracy",
                                        NULL};
    open(false);
    expect_refused(request_of("train_sft", NULL, "{\"loss_type\": \"nll\"}"),
                   "label_smoothing_factor");
    expect_refused(sft("{\"loss_type\": \"dft\", \"label_smoothing_factor\": 0.1}"),
                   "0.1 with loss_type 'dft'");
    expect_refused(sft("{\"label_smoothing_factor\": 1.0}"), "label_smoothing_factor: expected");
    expect_refused(sft("{\"loss_type\": \"ce\"}"), "loss_type: expected 'nll' or 'dft'");
    expect_learnt(sft("{\"label_smoothing_factor\": 0.1, \"neftune_noise_alpha\": 5.0}"), names);
}

Test(training, a_step_without_an_epoch_counts_and_needs_no_sequences)
{
    open(false);
    tr_message_t *request = tr_message_new("request");
    json_t *body =
        json_pack("{s:i, s:i, s:i, s:i, s:i, s:f, s:f}", "step", 1, "epochs", 0, "minibatches", 1,
                  "chunk", 2, "seed", 3, "learning_rate", 1e-3, "temperature", 1.0);
    tr_message_set_body(request, body);
    tr_message_set_field(request, "method", json_string("train_dpo"));
    expect_learnt(request, (const char *const[]){NULL});
}

Test(training, what_evaluates_leaves_the_step_and_has_no_gradient)
{
    static const char *const names[] = {"loss", "entropy", "mean_token_accuracy", NULL};
    open(false);
    tr_error_t err = {0};
    json_t *metrics = ask(sft("{\"evaluate\": true, \"step\": 0}"), &err);
    cr_assert_not_null(metrics, "%s", err.text);
    expect_metrics(metrics, names);
    cr_expect_eq(learner.step, 0);
    json_decref(metrics);
}

Test(training, a_method_that_no_algorithm_has_is_refused)
{
    open(false);
    expect_refused(request_of("train_all", &tr_ppo_fields, "{}"), "'train_all' trains nothing");
}
