// samples.jsonl: what the policy says, readable as JSON whatever bytes it says.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "controller/lines.h"
#include "controller/samples.h"
#include "tests/support/scratch.h"

static tr_error_t err;
static char *folder;
static char *path;
static controller_appender_t *samples;

static void open_samples(void)
{
    folder = scratch_open();
    path = tr_format("%s/samples.jsonl", folder);
    cr_assert_eq(controller_lines_open(&samples, path, 0, &err), TR_OK, "%s", err.text);
}

static void close_samples(void)
{
    controller_appender_destroy(&samples);
    controller_appender_destroy(&samples);
    free(path);
    scratch_close(&folder);
}

static tr_status append(uint64_t step, const char *prompt, const char *response, double score)
{
    const controller_sample_t sample = {step,  NULL,  prompt, response, strlen(response),
                                        score, "eos", NULL};
    return controller_samples_append(samples, &sample, &err);
}

static void expect_file(const char *expected)
{
    char *text = scratch_read(path, NULL);
    cr_assert_str_eq(text, expected);
    free(text);
}

Test(samples, a_line_has_its_five_keys_in_this_order, .init = open_samples, .fini = close_samples)
{
    cr_assert_eq(append(10, "Once", " upon a \"time\"\n", 1.5), TR_OK, "%s", err.text);
    expect_file("{\"step\": 10, \"prompt\": \"Once\", \"response\": \" upon a \\\"time\\\"\\n\", "
                "\"score\": 1.5, \"finish\": \"eos\"}\n");
}

Test(samples, a_conversation_comes_last, .init = open_samples, .fini = close_samples)
{
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "Hi.");
    const controller_sample_t sample = {1, NULL, "p", "r", 1, 0, "eos", messages};
    cr_assert_eq(controller_samples_append(samples, &sample, &err), TR_OK, "%s", err.text);
    expect_file("{\"step\": 1, \"prompt\": \"p\", \"response\": \"r\", \"score\": 0, "
                "\"finish\": \"eos\", \"messages\": [{\"role\": \"user\", \"content\": "
                "\"Hi.\"}]}\n");
    json_decref(messages);
}

Test(samples, empty_texts_are_texts, .init = open_samples, .fini = close_samples)
{
    cr_assert_eq(append(1, "", "", -0.1), TR_OK, "%s", err.text);
    expect_file("{\"step\": 1, \"prompt\": \"\", \"response\": \"\", \"score\": -0.1, "
                "\"finish\": \"eos\"}\n");
}

/// "EF BF BD" is U+FFFD; E2 82 is the start of a character of three bytes.
Test(samples, invalid_utf8_becomes_replacement_characters_and_a_nul_is_kept, .init = open_samples,
     .fini = close_samples)
{
    static const char SAID[] = "a\xFF"
                               "b\xE2\x82"
                               "c\0d\xC3\xA9\xE2\x82";
    const controller_sample_t sample = {1, NULL, "p", SAID, sizeof SAID - 1, 0, "eos", NULL};
    cr_assert_eq(controller_samples_append(samples, &sample, &err), TR_OK, "%s", err.text);
    char *text = scratch_read(path, NULL);
    json_t *line = json_loads(text, JSON_ALLOW_NUL, NULL);
    cr_assert_not_null(line, "%s", text);
    static const char EXPECTED[] = "a\xEF\xBF\xBD"
                                   "b\xEF\xBF\xBD"
                                   "c\0d\xC3\xA9\xEF\xBF\xBD";
    const json_t *response = json_object_get(line, "response");
    cr_assert_eq(json_string_length(response), sizeof EXPECTED - 1);
    cr_assert_eq(memcmp(json_string_value(response), EXPECTED, sizeof EXPECTED - 1), 0);
    json_decref(line);
    free(text);
}

Test(samples, what_holds_a_nul_is_read_again_by_a_run_that_goes_on, .init = open_samples,
     .fini = close_samples)
{
    const controller_sample_t sample = {1, NULL, "p", "\0", 1, 0, "eos", NULL};
    cr_assert_eq(controller_samples_append(samples, &sample, &err), TR_OK);
    char *before = scratch_read(path, NULL);
    cr_assert_eq(append(2, "p", "q", 0), TR_OK);
    controller_appender_destroy(&samples);
    cr_assert_eq(controller_lines_open(&samples, path, 1, &err), TR_OK, "%s", err.text);
    expect_file(before);
    free(before);
}

Test(samples, all_lines_of_the_last_step_stay, .init = open_samples, .fini = close_samples)
{
    static const uint64_t STEPS[] = {10, 10, 20, 20, 30};
    for (size_t i = 0; i < sizeof STEPS / sizeof *STEPS; i++) {
        cr_assert_eq(append(STEPS[i], "p", "r", 1), TR_OK);
    }
    cr_assert_eq(controller_appender_sync(samples, &err), TR_OK, "%s", err.text);
    controller_appender_destroy(&samples);
    cr_assert_eq(controller_lines_open(&samples, path, 25, &err), TR_OK, "%s", err.text);
    cr_assert_eq(append(40, "p", "r", 1), TR_OK);
    char *text = scratch_read(path, NULL);
    const char *line = text;
    for (size_t i = 0; i < 5; i++) {
        static const char *const STARTS[] = {"{\"step\": 10,", "{\"step\": 10,", "{\"step\": 20,",
                                             "{\"step\": 20,", "{\"step\": 40,"};
        cr_assert_eq(strncmp(line, STARTS[i], strlen(STARTS[i])), 0, "%s", line);
        line = strchr(line, '\n') + 1;
    }
    cr_assert_eq(*line, '\0');
    free(text);
}

Test(samples, a_missing_score_is_null, .init = open_samples, .fini = close_samples)
{
    cr_assert_eq(append(3, "p", "r", (double)NAN), TR_OK);
    char *text = scratch_read(path, NULL);
    cr_expect_not_null(strstr(text, "\"score\": null"), "%s", text);
    free(text);
}

Test(samples, an_infinite_score_is_refused_and_nothing_is_written, .init = open_samples,
     .fini = close_samples)
{
    cr_assert_eq(append(3, "p", "r", (double)INFINITY), TR_ERR_NUMERIC);
    expect_file("");
}
