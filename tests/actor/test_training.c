/// Training requests as they come over the wire: what is missing or does not fit is refused, and leaves the learner as it was.
#include "actor/training.h"

#include <criterion/criterion.h>
#include <string.h>

#include "proto/sequences.h"

static tr_learner_t learner;
static const tr_service_options_t one_thread = {.threads = 1};

static void open(bool scalar)
{
    tr_error_t err = {0};
    json_t *config = json_pack("{s:s, s:n, s:i, s:i, s:i, s:{s:f, s:f, s:f, s:f, s:f}}", "model",
                               TEST_SOURCE_DIR "/examples/models/stories", "checkpoint", "step", 0,
                               "seed", 1, "threads", 1, "optimizer", "beta1", 0.9, "beta2", 0.999,
                               "epsilon", 1e-8, "weight_decay", 0.0, "clip", 1.0);
    cr_assert_eq(tr_learner_open(&learner, config, scalar, &one_thread, &err), TR_OK, "%s",
                 err.text);
    json_decref(config);
}

static void teardown(void)
{
    tr_learner_close(&learner);
}

TestSuite(training, .fini = teardown);

typedef tr_status (*train_fn)(tr_learner_t *learner, const tr_message_t *request,
                              tr_message_t *reply, tr_error_t *err);

enum { TOKENS = 8 }; // response tokens of the four sequences below

/// A request of four sequences (two pairs) for step 1; options: JSON, over the walk.
static tr_message_t *request_of(const char *options)
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
    json_t *more = json_loads(options, 0, NULL);
    cr_assert_not_null(more, "%s", options);
    json_object_update(body, more);
    json_decref(more);
    tr_message_set_body(request, body);
    tr_sequences_put(request, &sequences);
    return request;
}

static void add_reals(tr_message_t *request, const char *name, size_t n)
{
    float values[TOKENS + 1];
    for (size_t i = 0; i < n; i++) {
        values[i] = -2.0f;
    }
    tr_message_add_vector(request, name, TR_F32, n, values);
}

/// Asks, frees the request, and returns the answer's metrics, or NULL after a failure.
static json_t *ask(train_fn train, tr_message_t **request, tr_error_t *err)
{
    tr_message_t *reply = tr_message_new("reply");
    tr_status status = train(&learner, *request, reply, err);
    json_t *metrics = json_incref(json_object_get(tr_message_body(reply), "metrics"));
    tr_message_destroy(&reply);
    tr_message_destroy(request);
    cr_assert_eq(status == TR_OK, metrics != NULL, "%s", err->text);
    return metrics;
}

/// Fails with a sentence that has `part`, and the learner still waits for step 1.
static void expect_refused(train_fn train, tr_message_t *request, const char *part)
{
    tr_error_t err = {0};
    cr_expect_null(ask(train, &request, &err));
    cr_expect_not_null(strstr(err.text, part), "'%s' lacks '%s'", err.text, part);
    cr_expect_eq(learner.step, 0);
}

static void expect_learnt(train_fn train, tr_message_t *request, const char *metric)
{
    tr_error_t err = {0};
    json_t *metrics = ask(train, &request, &err);
    cr_assert_not_null(metrics, "%s", err.text);
    cr_expect_not_null(json_object_get(metrics, metric));
    cr_expect_not_null(json_object_get(metrics, "loss"));
    cr_expect_not_null(json_object_get(metrics, "grad_norm"));
    cr_expect_eq(learner.step, 1);
    json_decref(metrics);
}

#define DPO_REST                                                                       \
    "\"beta\": 0.1, \"label_smoothing\": 0.0, \"f_divergence_type\": \"reverse_kl\", " \
    "\"f_alpha_divergence_coef\": 0.5, \"ld_alpha\": 1.0, \"discopop_tau\": 0.05, "    \
    "\"simpo_gamma\": 0.5, \"use_weighting\": false, \"reference_free\": false}"
#define DPO "{\"losses\": {\"sigmoid\": 1.0}, " DPO_REST
#define SFT_REST(type, smoothing)                                               \
    "{\"loss_type\": \"" type "\", \"label_smoothing_factor\": " smoothing ", " \
    "\"neftune_noise_alpha\": 5.0"
#define SFT(type, smoothing) SFT_REST(type, smoothing) "}"
#define KTO                                                               \
    "{\"loss_type\": \"kto\", \"beta\": 0.1, \"desirable_weight\": 1.0, " \
    "\"undesirable_weight\": 1.0}"

Test(training, a_dpo_request_is_learnt_or_refused_whole)
{
    open(false);
    expect_refused(actor_train_dpo, request_of("{}"), "losses");
    expect_refused(actor_train_dpo, request_of("{\"losses\": {\"kto\": 1.0}, " DPO_REST),
                   "unknown loss 'kto'");
    expect_refused(actor_train_dpo, request_of(DPO), "reference");
    tr_message_t *request = request_of(DPO);
    add_reals(request, "reference", TOKENS - 1);
    expect_refused(actor_train_dpo, request, "reference");
    expect_refused(actor_train_reward, request_of("{\"center_rewards_coefficient\": 0.0}"),
                   "learns a policy");
    request = request_of(DPO);
    json_object_set_new(tr_message_body(request), "step", json_integer(2));
    add_reals(request, "reference", TOKENS);
    expect_refused(actor_train_dpo, request, "step 1");
    request = request_of(DPO);
    add_reals(request, "reference", TOKENS);
    expect_learnt(actor_train_dpo, request, "rewards/margins");
}

Test(training, a_kto_request_is_learnt_or_refused_whole)
{
    static const int32_t labels[2] = {1, 0};
    open(false);
    tr_message_t *request = request_of(KTO);
    add_reals(request, "reference", TOKENS);
    expect_refused(actor_train_kto, request, "desirable");
    request = request_of(KTO);
    add_reals(request, "reference", TOKENS);
    tr_message_add_vector(request, "desirable", TR_I32, 2, labels);
    expect_learnt(actor_train_kto, request, "kl");
}

Test(training, a_reward_request_is_learnt_or_refused_whole)
{
    open(true);
    expect_refused(actor_train_sft, request_of(SFT("nll", "0.1")), "reward model");
    expect_refused(actor_train_reward, request_of("{}"), "center_rewards_coefficient");
    tr_message_t *request = request_of("{\"center_rewards_coefficient\": 0.0}");
    add_reals(request, "margins", 3);
    expect_refused(actor_train_reward, request, "margins");
    request = request_of("{\"center_rewards_coefficient\": 0.0}");
    add_reals(request, "margins", 2);
    expect_learnt(actor_train_reward, request, "accuracy");
}

Test(training, an_sft_request_is_learnt_or_refused_whole)
{
    open(false);
    expect_refused(actor_train_sft, request_of("{\"loss_type\": \"nll\"}"),
                   "label_smoothing_factor");
    expect_refused(actor_train_sft, request_of(SFT("dft", "0.1")), "0.1 with loss_type 'dft'");
    expect_refused(actor_train_sft, request_of(SFT("nll", "1.0")), "1 with loss_type 'nll'");
    expect_learnt(actor_train_sft, request_of(SFT("nll", "0.1")), "mean_token_accuracy");
}

Test(training, what_evaluates_leaves_the_step_and_has_no_gradient)
{
    open(false);
    tr_error_t err = {0};
    tr_message_t *request = request_of(SFT_REST("nll", "0.1") ", \"evaluate\": true, \"step\": 0}");
    json_t *metrics = ask(actor_train_sft, &request, &err);
    cr_assert_not_null(metrics, "%s", err.text);
    cr_expect_null(json_object_get(metrics, "grad_norm"));
    cr_expect_eq(learner.step, 0);
    json_decref(metrics);
    expect_refused(actor_train_sft, request_of(SFT("ce", "0.0")), "unknown loss 'ce'");
    expect_refused(actor_train_ppo, request_of("{\"evaluate\": true, \"step\": 0}"),
                   "nothing to evaluate");
}
