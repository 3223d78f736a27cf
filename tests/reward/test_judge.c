/// Judges behind messages: kinds by name, options that cannot be used, and scores that are no numbers, in sentences that name the
/// judge.
#include "reward/judge.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tests/support/judging.h"

static const tr_judge_host_t host = {.threads = 1};

/// An entry of the config; options: over the kind's defaults, taken.
static json_t *config_of(const tr_judge_kind_t *kind, json_t *options)
{
    json_t *config = judging_options(kind, options);
    json_object_set_new(config, "kind", json_string(kind->name));
    return config;
}

/// Fails to open: status, and a sentence with the judge's name and `part`. Takes the reference of config.
static void expect_refused(json_t *config, tr_status wanted, const char *part)
{
    tr_error_t err = {0};
    reward_judge_t *judge = NULL;
    cr_assert_eq(reward_judge_new(&judge, "mine", config, &host, &err), wanted, "%s", err.text);
    cr_assert_null(judge);
    cr_assert_eq(strncmp(err.text, "judge 'mine': ", 14), 0, "%s", err.text);
    cr_assert_not_null(strstr(err.text, part), "%s", err.text);
    json_decref(config);
}

/// Fails to score: status, and a sentence with the names of judge and sample. Takes the reference of config.
static void expect_blamed(json_t *config, const char *response, tr_status wanted)
{
    const tr_sample_t sample = {.id = 41, .prompt = "happy ", .response = response};
    tr_error_t err = {0};
    reward_judge_t *judge = NULL;
    float score = NAN;
    cr_assert_eq(reward_judge_new(&judge, "mine", config, &host, &err), TR_OK, "%s", err.text);
    cr_assert_eq(reward_judge_score(judge, &score, &sample, 1, &err), wanted, "%s", err.text);
    cr_assert_not_null(strstr(err.text, "judge 'mine': sample 41: "), "%s", err.text);
    reward_judge_destroy(&judge);
    json_decref(config);
}

Test(judge, a_score_that_no_float_holds_is_an_error_that_names_judge_and_sample)
{
    expect_blamed(config_of(tr_judge_kind_find("words"), json_pack("{s:[[s, f]]}", "words", "big", 3e38)),
                  "big big", TR_ERR_NUMERIC);
    expect_blamed(config_of(tr_judge_kind_find("words"), json_pack("{s:[[s, f], [s, f]]}", "words", "up", 1e308,
                                                       "down", -1e308)),
                  "up up down down", TR_ERR_NUMERIC);
}

Test(judge, an_expression_that_gives_up_names_judge_and_sample, .timeout = 20)
{
    expect_blamed(config_of(tr_judge_kind_find("regex"), json_pack("{s:s}", "pattern", "^(a+)+$")),
                  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", TR_ERR_ARGUMENT);
}

Test(judge, a_kind_that_is_not_served_is_refused_by_name)
{
    expect_refused(json_pack("{s:s}", "kind", "exec"), TR_ERR_UNSUPPORTED, "'exec'");
    expect_refused(json_pack("{s:s}", "kind", "external"), TR_ERR_UNSUPPORTED, "'external'");
    expect_refused(json_pack("{s:s}", "kind", "oracle"), TR_ERR_UNSUPPORTED, "'oracle'");
    expect_refused(json_object(), TR_ERR_PROTOCOL, "kind");
}

Test(judge, options_that_cannot_be_used_are_refused_by_their_key)
{
    json_t *bare = json_pack("{s:s}", "kind", "words"); // a message has every option
    expect_refused(bare, TR_ERR_PROTOCOL,
                   "words: expected words, each with a number, found nothing");
    expect_refused(config_of(tr_judge_kind_find("regex"), json_pack("{s:s}", "pattern", "ab(c")),
                   TR_ERR_ARGUMENT, "regex.pattern: expected a regular expression");
    expect_refused(config_of(&tr_judge_model, json_pack("{s:s}", "model", "/no/such")), TR_ERR_IO,
                   "/no/such");
}
