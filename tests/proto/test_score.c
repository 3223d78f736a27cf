/// The bodies of `score`: the keys of the contract, and replies that are refused.
#include <criterion/criterion.h>

#include <math.h>
#include <string.h>

#include "proto/score.h"

static tr_error_t err;

Test(score, a_sample_has_the_keys_of_the_contract)
{
    const int32_t prompt_ids[] = {5, 6};
    const int32_t response_ids[] = {7};
    json_t *columns = json_pack("{s:s}", "answer", "42");
    const tr_sample_t sample = {.id = 9,
                                .prompt = "2 *",
                                .response = " 21",
                                .prompt_ids = prompt_ids,
                                .response_ids = response_ids,
                                .prompt_count = 2,
                                .response_count = 1,
                                .columns = columns,
                                .finish = "eos"};
    json_t *expected =
        json_loads("{\"id\": 9, \"prompt\": \"2 *\", \"response\": \" 21\", \"prompt_ids\": [5, 6],"
                   "\"response_ids\": [7], \"columns\": {\"answer\": \"42\"}, \"finish\": \"eos\"}",
                   0, NULL);
    json_t *map = tr_score_sample(&sample);
    cr_expect(json_equal(map, expected));
    json_decref(map);
    // A prompt that is a conversation travels as such too.
    tr_sample_t chat = sample;
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "2 *");
    chat.messages = messages;
    json_object_set_new(expected, "messages", messages);
    map = tr_score_sample(&chat);
    cr_expect(json_equal(map, expected));
    json_decref(map);
    json_decref(expected);
    json_decref(columns);
}

/// Reads a judge's reply of two scores. *extras: the caller's.
static tr_status read(float *scores, json_t **extras, const char *text)
{
    json_t *body = json_loads(text, 0, NULL);
    cr_assert_not_null(body, "%s", text);
    err = (tr_error_t){0};
    tr_status status = tr_score_reply_read(scores, extras, 2, body, "tact", &err);
    json_decref(body);
    return status;
}

Test(score, a_reply_gives_scores_and_extras)
{
    float scores[2];
    json_t *extras;
    cr_assert_eq(read(scores, &extras, "{\"scores\": [1, -0.5], \"extras\": {\"length\": [3, 4]}}"),
                 TR_OK, "%s", err.text);
    cr_expect_eq(scores[0], 1.0f);
    cr_expect_eq(scores[1], -0.5f);
    cr_expect_eq(json_integer_value(json_array_get(json_object_get(extras, "length"), 1)), 4);
    json_decref(extras);
    static const char *const without[] = {"{\"scores\": [1, 2]}",
                                          "{\"scores\": [1, 2], \"extras\": null}",
                                          "{\"scores\": [1, 2], \"extras\": {}}"};
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(read(scores, &extras, without[i]), TR_OK, "%s", err.text);
        cr_expect_eq(json_object_size(extras), 0);
        json_decref(extras);
    }
}

Test(score, a_bad_reply_is_refused_in_a_sentence_that_names_the_judge)
{
    static const char *const rows[][2] = {
        {"{}", "judge 'tact': reply: scores: expected an array, found nothing"},
        {"{\"scores\": 1}", "judge 'tact': reply: scores: expected an array, found an integer"},
        {"{\"scores\": [1]}", "judge 'tact': reply: scores: expected 2 elements, found 1"},
        {"{\"scores\": [1, 2, 3]}", "judge 'tact': reply: scores: expected 2 elements, found 3"},
        {"{\"scores\": [1, true]}",
         "judge 'tact': reply: scores[1]: expected a finite number, found true"},
        {"{\"scores\": [1, 1e300]}",
         "judge 'tact': reply: scores[1]: expected a finite number, found one that no float holds"},
        {"{\"scores\": [1, 2], \"extras\": [1]}",
         "judge 'tact': reply: extras: expected a map of arrays"},
        {"{\"scores\": [1, 2], \"extras\": {\"n\": [1]}}",
         "judge 'tact': extras: n: expected 2 elements, found 1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        float scores[2];
        json_t *extras;
        cr_expect_eq(read(scores, &extras, rows[i][0]), TR_ERR_PROTOCOL);
        cr_expect_str_eq(err.text, rows[i][1]);
        cr_expect_null(extras);
    }
}

Test(score, a_reply_that_was_written_reads_back)
{
    const float scores[] = {0.1f, -2.0f};
    float again[2];
    json_t *extras;
    json_t *body = tr_score_reply_body(scores, 2, json_pack("{s:[f, f]}", "n", 1.0, 2.0));
    cr_assert_eq(tr_score_reply_read(again, &extras, 2, body, "tact", &err), TR_OK, "%s", err.text);
    cr_expect_arr_eq(again, scores, sizeof scores);
    cr_expect_eq(json_object_size(extras), 1);
    json_decref(extras);
    json_decref(body);
    const float bad[] = {1.0f, INFINITY};
    cr_expect_null(tr_score_reply_body(bad, 2, json_object()));
}

Test(score, null_is_a_nan_both_ways)
{
    const float scores[] = {NAN, 1.5f};
    float again[2];
    json_t *extras;
    json_t *body = tr_score_reply_body(scores, 2, json_pack("{s:[n, f]}", "n", 2.0));
    cr_expect(json_is_null(json_array_get(json_object_get(body, "scores"), 0)));
    cr_assert_eq(tr_score_reply_read(again, &extras, 2, body, "tact", &err), TR_OK, "%s", err.text);
    cr_expect(isnan(again[0]) && again[1] == 1.5f);
    cr_expect(json_is_null(json_array_get(json_object_get(extras, "n"), 0)));
    json_decref(extras);
    json_decref(body);
}
