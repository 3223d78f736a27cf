/// Every metric that a training request is answered with, against PyTorch and transformers:
/// requests with learning rate 0, from tests/golden/training.py.
#include "actor/training.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/fields.h"
#include "tests/support/learning.h"

enum { SEQUENCES = 6, MOST = 64 };

/// Copies an array of numbers. Returns how many.
static size_t numbers(double *values, const json_t *array)
{
    size_t n = json_array_size(array);
    cr_assert_leq(n, (size_t)MOST);
    for (size_t i = 0; i < n; i++) {
        values[i] = json_number_value(json_array_get(array, i));
    }
    return n;
}

/// Puts the case's ids, prompts and responses into the request.
static void put_sequences(tr_message_t *request, const json_t *test)
{
    double ids[MOST], prompts[MOST], responses[MOST];
    int32_t flat[MOST], prompt_lengths[SEQUENCES],
        starts[SEQUENCES + 1] = {0}, response_starts[SEQUENCES + 1] = {0};
    size_t n = numbers(ids, json_object_get(test, "ids"));
    size_t count = numbers(prompts, json_object_get(test, "prompts"));
    numbers(responses, json_object_get(test, "responses"));
    for (size_t i = 0; i < n; i++) {
        flat[i] = (int32_t)ids[i];
    }
    for (size_t i = 0; i < count; i++) {
        prompt_lengths[i] = (int32_t)prompts[i];
        response_starts[i + 1] = response_starts[i] + (int32_t)responses[i];
        starts[i + 1] = starts[i] + (int32_t)(prompts[i] + responses[i]);
    }
    const tr_sequences_t sequences = {.count = count,
                                      .ids = flat,
                                      .starts = starts,
                                      .prompt_lengths = prompt_lengths,
                                      .response_starts = response_starts};
    tr_sequences_put(request, &sequences);
}

/// Puts the case's tensors into the request: classes and labels are integers.
static void put_tensors(tr_message_t *request, json_t *tensors)
{
    const char *name;
    json_t *array;
    json_object_foreach(tensors, name, array)
    {
        double values[MOST];
        float reals[MOST];
        int32_t wholes[MOST];
        size_t n = numbers(values, array);
        for (size_t i = 0; i < n; i++) {
            reals[i] = (float)values[i];
            wholes[i] = (int32_t)values[i];
        }
        if (strcmp(name, "desirable") == 0 || strcmp(name, "labels") == 0) {
            tr_message_add_vector(request, name, TR_I32, n, wholes);
        } else {
            tr_message_add_vector(request, name, TR_F32, n, reals);
        }
    }
}

/// The request of a case: the method's options by their defaults, with the case's over them.
static tr_message_t *request_of(const json_t *test, const tr_fields_t *fields)
{
    tr_message_t *request = tr_message_new("request");
    json_t *body = json_pack("{s:i, s:i, s:i, s:i, s:f, s:f}", "step", 1, "epochs", 1,
                             "minibatches", 1, "seed", 3, "learning_rate", 0.0, "temperature", 1.0);
    if (fields != NULL) {
        fields_put_defaults(body, fields);
    }
    json_object_update(body, json_object_get(test, "options"));
    tr_message_set_body(request, body);
    tr_message_set_field(request, "method", json_incref(json_object_get(test, "method")));
    put_sequences(request, test);
    put_tensors(request, json_object_get(test, "tensors"));
    return request;
}

/// Each expected metric is among the answer's, [sum, weight]. PPO's mismatch alone is not expected:
/// it says that these log-probs are not a rollout's.
static void expect_metrics(const char *name, const json_t *metrics, json_t *expected)
{
    const char *metric;
    json_t *value;
    json_object_foreach(expected, metric, value)
    {
        const json_t *tally = json_object_get(metrics, metric);
        cr_assert_eq(json_array_size(tally), 2U, "%s: no %s", name, metric);
        double mean = json_number_value(json_array_get(tally, 0)) /
                      json_number_value(json_array_get(tally, 1));
        double right = json_number_value(value);
        cr_expect(fabs(mean - right) <= 1e-4 * fabs(right) + 1e-6, "%s: %s is %.9g, expected %.9g",
                  name, metric, mean, right);
    }
    size_t unexpected = json_object_get(metrics, "exact/logprob_mismatch") != NULL;
    cr_expect_eq(json_object_size(metrics), json_object_size(expected) + unexpected, "%s", name);
}

static void run_case(const json_t *test, const tr_fields_t *fields, bool scalar)
{
    static const tr_service_options_t one_thread = {.threads = 1};
    tr_learner_t learner = {0};
    tr_error_t err = {0};
    const char *name = json_string_value(json_object_get(test, "name"));
    char *directory =
        tr_format("%s/%s", TEST_SOURCE_DIR, json_string_value(json_object_get(test, "model")));
    json_t *config = learning_config_json(directory);
    cr_assert_eq(tr_learner_open(&learner, config, scalar, &one_thread, &err), TR_OK, "%s: %s",
                 name, err.text);
    tr_message_t *request = request_of(test, fields), *reply = tr_message_new("reply");
    cr_assert_eq(actor_train(&learner, request, reply, &err), TR_OK, "%s: %s", name, err.text);
    expect_metrics(name, json_object_get(tr_message_body(reply), "metrics"),
                   json_object_get(test, "metrics"));
    tr_message_destroy(&reply);
    tr_message_destroy(&request);
    tr_learner_close(&learner);
    json_decref(config);
    free(directory);
}

/// Runs the golden file's cases of one method.
static void run_method(const char *method, const tr_fields_t *fields, bool scalar)
{
    json_t *root = json_load_file(TEST_SOURCE_DIR "/tests/golden/training.json", 0, NULL);
    json_t *cases = json_object_get(root, "cases"), *test;
    size_t i, ran = 0;
    json_array_foreach(cases, i, test)
    {
        if (strcmp(json_string_value(json_object_get(test, "method")), method) == 0) {
            run_case(test, fields, scalar);
            ran++;
        }
    }
    cr_expect_gt(ran, 0U);
    json_decref(root);
}

Test(training_golden, ppo_answers_with_the_metrics_of_its_formulae)
{
    run_method("train", &tr_ppo_fields, false);
}

Test(training_golden, sft_answers_with_the_metrics_of_its_formulae)
{
    run_method("train_sft", &tr_sft_fields, false);
}

Test(training_golden, dpo_answers_with_the_metrics_of_its_formulae)
{
    run_method("train_dpo", &tr_dpo_fields, false);
}

Test(training_golden, kto_answers_with_the_metrics_of_its_formulae)
{
    run_method("train_kto", &tr_kto_fields, false);
}

Test(training_golden, reward_models_answer_with_the_metrics_of_their_formulae)
{
    run_method("train_reward", &tr_reward_fields, true);
}

Test(training_golden, process_reward_models_answer_with_the_metrics_of_their_formulae)
{
    run_method("train_steps", NULL, true);
}
