/// From the recipe's judges to the worker's: the welcome's config, whose group is whose, and
/// requests' bodies.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/recipe/recipe.h"
#include "proto/score.h"
#include "reward/service.h"
#include "tests/support/fields.h"

static const char text[] =
    "name: a\nalgorithm: sample\nsteps: 1\nmodel: m\ndata: {prompts: p.jsonl}\nroles:\n  reward:\n"
    "    - {exec: [sh, judge.sh], workers: 2}\n"
    "    - {words: {happy: 1.0, sad: -0.5}}\n"
    "    - {regex: {pattern: '\\d+', score: 2.0}}\n"
    "    - {length: {target: 4}}\n"
    "    - {length: {min: 2, max: 3, unit: words}}\n"
    "    - {model: some/where, threads: 3, device: 'cuda:1', memory: 2.5, workers: 4}\n"
    "    - {model: some/steps, steps: min, step_separator: ';', name: steps}\n"
    "    - {external: hers, name: her-judge}\n";

/// The welcome's config for one judge of each kind.
static json_t *every_kind(void)
{
    tr_recipe_t *recipe;
    tr_recipe_problems_t problems = {0};
    cr_assert_eq(tr_recipe_parse(&recipe, text, strlen(text), "text", NULL, 0, &problems), TR_OK,
                 "%s", problems.count == 0 ? "" : problems.texts[0]);
    json_t *config = tr_judges_config(&recipe->roles.reward, TR_PRECISION_FP32);
    tr_recipe_destroy(&recipe);
    return config;
}

Test(config, each_group_has_the_settings_of_its_kind)
{
    static const char wanted_text[] =
        "{'judges': {"
        "'exec': {'kind': 'exec'},"
        "'words': {'kind': 'words', 'words': [['happy', 1.0], ['sad', -0.5]]},"
        "'regex': {'kind': 'regex', 'pattern': '\\\\d+', 'score': 2.0},"
        "'length': {'kind': 'length', 'target': 4, 'min': 0, 'max': 0, 'unit': 'tokens'},"
        "'length-2': {'kind': 'length', 'target': 0, 'min': 2, 'max': 3, 'unit': 'words'},"
        "'model': {'kind': 'model', 'model': 'some/where', 'threads': 3, 'device': 'cuda:1',"
        "          'precision': 'fp32', 'memory': 2.5, 'adapter': null, 'chat_template': null, "
        "'steps': 'null', "
        "'step_separator': '\\n'},"
        "'steps': {'kind': 'model', 'model': 'some/steps', 'threads': 0, 'device': 'cpu',"
        "          'precision': 'fp32', 'memory': 0.0, 'adapter': null, 'chat_template': null, "
        "'steps': 'min', "
        "'step_separator': ';'},"
        "'hers': {'kind': 'external'}}}";
    json_t *config = every_kind();
    json_t *wanted = fields_json(wanted_text);
    cr_assert(json_equal(config, wanted));
    json_decref(wanted);
    json_decref(config);
}

static tr_status welcome(reward_service_t **service, tr_service_options_t *options,
                         const char *group, json_t *config, tr_error_t *err)
{
    tr_service_options_init(options, TR_ROLE_REWARD);
    free(options->group);
    options->group = group != NULL ? tr_strdup(group) : NULL;
    *service = reward_service_new(options);
    tr_status status = reward_service_welcome(*service, config, err);
    json_decref(config);
    return status;
}

static void leave(reward_service_t **service, tr_service_options_t *options)
{
    reward_service_destroy(service);
    tr_service_options_release(options);
}

/// Takes the reference of body.
static tr_status ask(reward_service_t *service, json_t *body, tr_message_t *reply, tr_error_t *err)
{
    tr_message_t *request = tr_message_new("request");
    tr_message_set_body(request, body);
    tr_status status = reward_service_score(service, request, reply, err);
    tr_message_destroy(&request);
    return status;
}

/// Two samples as the controller sends them.
static json_t *two_samples(void)
{
    static const int32_t prompt[] = {5, 6}, response[] = {7, 8, 9};
    const tr_sample_t samples[] = {
        {.id = 1,
         .prompt = "say",
         .response = "happy 77",
         .prompt_ids = prompt,
         .prompt_count = 2,
         .response_ids = response,
         .response_count = 3,
         .finish = "eos"},
        {.id = 2, .prompt = "say", .response = "sad", .finish = "length"}};
    json_t *list = json_array();
    json_array_append_new(list, tr_score_sample(&samples[0]));
    json_array_append_new(list, tr_score_sample(&samples[1]));
    return json_pack("{s:o}", "samples", list);
}

Test(service, each_group_judges_by_its_own_entry)
{
    static const struct {
        const char *group;
        float scores[2];
    } rows[] = {{"words", {1.0f, -0.5f}},
                {"regex", {2.0f, 0.0f}},
                {"length", {0.75f, 0.0f}},
                {"length-2", {1.0f, 0.0f}}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        reward_service_t *service;
        tr_service_options_t options;
        tr_error_t err = {0};
        float scores[2] = {0};
        json_t *extras = NULL;
        cr_assert_eq(welcome(&service, &options, rows[i].group, every_kind(), &err), TR_OK, "%s",
                     err.text);
        tr_message_t *reply = tr_message_new("reply");
        cr_assert_eq(ask(service, two_samples(), reply, &err), TR_OK, "%s", err.text);
        cr_assert_eq(
            tr_score_reply_read(scores, &extras, 2, tr_message_body(reply), rows[i].group, &err),
            TR_OK, "%s", err.text);
        cr_expect_eq(scores[0], rows[i].scores[0], "%s: %g", rows[i].group, (double)scores[0]);
        cr_expect_eq(scores[1], rows[i].scores[1], "%s: %g", rows[i].group, (double)scores[1]);
        cr_expect_eq(json_object_size(extras), 0);
        json_decref(extras);
        tr_message_destroy(&reply);
        leave(&service, &options);
    }
}

Test(service, the_next_session_may_bring_another_judge)
{
    reward_service_t *service;
    tr_service_options_t options;
    tr_error_t err = {0};
    cr_assert_eq(welcome(&service, &options, "words", every_kind(), &err), TR_OK, "%s", err.text);
    json_t *config = json_pack("{s:{s:{s:s, s:s, s:f}}}", "judges", "words", "kind", "regex",
                               "pattern", ".", "score", 9.0);
    cr_assert_eq(reward_service_welcome(service, config, &err), TR_OK, "%s", err.text);
    tr_message_t *reply = tr_message_new("reply");
    cr_assert_eq(ask(service, two_samples(), reply, &err), TR_OK, "%s", err.text);
    const json_t *scores = json_object_get(tr_message_body(reply), "scores");
    cr_assert_eq(json_number_value(json_array_get(scores, 0)), 9.0);
    tr_message_destroy(&reply);
    json_decref(config);
    leave(&service, &options);
}

Test(service, a_welcome_that_cannot_be_followed_says_why)
{
    static const struct {
        const char *group;
        tr_status status;
        const char *part;
    } rows[] = {{"wrods", TR_ERR_ARGUMENT, "no judge 'wrods'"},
                {"wrods", TR_ERR_ARGUMENT, "'words'"}, // those that are there
                {NULL, TR_ERR_ARGUMENT, "no judge 'reward'"},
                {"exec", TR_ERR_UNSUPPORTED, "judge 'exec': kind 'exec' is not served"},
                {"model", TR_ERR_IO, "judge 'model': "}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        reward_service_t *service;
        tr_service_options_t options;
        tr_error_t err = {0};
        cr_expect_eq(welcome(&service, &options, rows[i].group, every_kind(), &err), rows[i].status,
                     "%s", err.text);
        cr_expect_not_null(strstr(err.text, rows[i].part), "%s", err.text);
        leave(&service, &options);
    }
    reward_service_t *service;
    tr_service_options_t options;
    tr_error_t err = {0};
    cr_expect_eq(welcome(&service, &options, "words", json_object(), &err), TR_ERR_PROTOCOL);
    cr_expect_not_null(strstr(err.text, "judges"), "%s", err.text);
    leave(&service, &options);
}

Test(service, a_malformed_sample_is_named_by_its_place_and_key)
{
    static const char *const keys[] = {"id",           "prompt",  "response", "prompt_ids",
                                       "response_ids", "columns", "finish"};
    reward_service_t *service;
    tr_service_options_t options;
    tr_error_t err = {0};
    cr_assert_eq(welcome(&service, &options, "words", every_kind(), &err), TR_OK, "%s", err.text);
    tr_message_t *reply = tr_message_new("reply");
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char wanted[64];
        json_t *body = two_samples();
        json_t *sample = json_array_get(json_object_get(body, "samples"), 1);
        json_object_set_new(sample, keys[i], json_true());
        cr_expect_eq(ask(service, body, reply, &err), TR_ERR_PROTOCOL, "%s", keys[i]);
        snprintf(wanted, sizeof wanted, "samples[1]: %s: expected", keys[i]);
        cr_expect_not_null(strstr(err.text, wanted), "%s", err.text);
    }
    cr_expect_eq(ask(service, json_object(), reply, &err), TR_ERR_PROTOCOL);
    cr_expect_eq(ask(service, json_pack("{s:[i]}", "samples", 3), reply, &err), TR_ERR_PROTOCOL);
    tr_message_destroy(&reply);
    leave(&service, &options);
}
