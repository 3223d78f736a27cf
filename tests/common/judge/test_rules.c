/// The judges that are rules: the scores that TRL, verl, Open-R1, TinyZero, MMLU-Pro, jsonschema
/// and numpy give to nasty answers (tests/golden/rules.py, which runs their own functions), and
/// what is refused.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/judging.h"

/// The score of a golden case; NaN for null.
static tr_status score_case(float *score, const json_t *one, tr_error_t *err)
{
    judging_t judge;
    const json_t *tokens = json_object_get(one, "tokens");
    size_t count = json_array_size(tokens);
    int32_t *ids = tr_calloc(count + 1, sizeof *ids);
    for (size_t i = 0; i < count; i++) {
        ids[i] = (int32_t)json_integer_value(json_array_get(tokens, i));
    }
    const tr_sample_t sample = {
        .id = 41,
        .prompt = "",
        .response = json_string_value(json_object_get(one, "response")),
        .response_ids = ids,
        .response_count = count,
        .columns = json_object_get(one, "columns"),
    };
    judging_open(&judge, tr_judge_kind_find(json_string_value(json_object_get(one, "judge"))),
                 json_deep_copy(json_object_get(one, "options")));
    tr_status status = tr_judge_kind_score(judge.entry.kind, judge.state, score, &sample, 1, err);
    judging_close(&judge);
    free(ids);
    return status;
}

static void expect_case(const json_t *one)
{
    const json_t *expected = json_object_get(one, "score");
    tr_error_t err = {0};
    float score;
    char *text = json_dumps(one, JSON_COMPACT);
    cr_assert_eq(score_case(&score, one, &err), TR_OK, "%.300s: %s", text, err.text);
    if (json_is_null(expected)) {
        cr_expect(isnan(score), "%.300s: %g, not null", text, (double)score);
    } else {
        cr_expect_float_eq((double)score, json_number_value(expected), 1e-6, "%.300s: %g", text,
                           (double)score);
    }
    free(text);
}

Test(rules, scores_are_those_of_the_functions_that_people_train_with)
{
    json_t *cases =
        json_load_file(TEST_SOURCE_DIR "/tests/golden/rules.json", JSON_ALLOW_NUL, NULL);
    cr_assert_gt(json_array_size(cases), 1000);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        expect_case(json_array_get(cases, i));
    }
    json_decref(cases);
}

static void expect_failure(const char *kind, const char *columns, const char *sentence)
{
    json_t *one = json_pack("{s:s, s:{}, s:s, s:[], s:o}", "judge", kind, "options", "response",
                            "5", "tokens", "columns", json_loads(columns, 0, NULL));
    tr_error_t err = {0};
    float score;
    cr_expect_eq(score_case(&score, one, &err), TR_ERR_ARGUMENT);
    cr_expect_str_eq(err.text, sentence);
    json_decref(one);
}

Test(rules, a_column_that_is_not_there_is_named)
{
    expect_failure("exact_answer", "{\"target\": 1, \"nums\": [1]}",
                   "sample 41: the row has no column 'answer' (it has: 'target', 'nums'); null "
                   "says that a row has no answer");
    expect_failure("numeric", "{}",
                   "sample 41: the row has no column 'answer' (it has: none besides the prompt); "
                   "null says that a row has no answer");
    expect_failure("exact_answer", "{\"answer\": [1]}",
                   "sample 41: the column 'answer' is a list: expected a text or a number");
    expect_failure("choice", "{\"answer\": \"red\"}",
                   "sample 41: the column 'answer' names none of 10 options: expected a letter "
                   "from A on, or a number from 0 on");
    expect_failure("countdown", "{\"target\": 1, \"nums\": 1}",
                   "sample 41: expected a number in the column 'target' and a list in 'nums'");
}

static void expect_refused(const char *kind, json_t *options, const char *part)
{
    judging_expect_refused(tr_judge_kind_find(kind), options, TR_ERR_ARGUMENT, part);
}

Test(rules, options_that_cannot_be_are_refused)
{
    expect_refused("overlong", json_object(), "overlong.max_completion_len: expected a length");
    expect_refused("overlong",
                   json_pack("{s:i, s:i}", "max_completion_len", 5, "soft_punish_cache", 6),
                   "soft_punish_cache is above max_completion_len");
    expect_refused("cosine", json_object(), "cosine.max_len: expected a length above 0");
    expect_refused("json", json_pack("{s:s, s:s}", "schema", "{}", "column", "a"),
                   "expected a schema or a column, found both");
}

Test(rules, a_schema_with_a_keyword_that_nothing_looks_at_is_refused)
{
    static const char *const rows[][2] = {
        {"{\"dependentRequired\": {}}", "the keyword 'dependentRequired' is not known here"},
        {"{\"items\": {\"anyOf\": [{\"contains\": 1}]}}", "the keyword 'contains' is not known"},
        {"{\"minimum\": \"1\"}", "minimum: expected a number"},
        {"{\"pattern\": \"(\"}", "pattern: expected a regular expression"},
        {"{\"$ref\": \"#/$defs/none\"}", "$ref: there is no '#/$defs/none' in the schema"},
        {"[]", "a schema is a map, true or false"},
        {"{", "the schema is no JSON"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        expect_refused("json", json_pack("{s:s}", "schema", rows[i][0]), rows[i][1]);
    }
}

/// Nothing that a policy may write takes long or stops a rule: each rule is asked about long
/// texts of what it looks for.
Test(rules, hostile_texts_are_scored, .timeout = 300)
{
    static const char *const kinds[] = {"exact_answer", "numeric", "choice",    "countdown",
                                        "format",       "json",    "repetition"};
    static const char *const pieces[] = {"#### ",       "9,",
                                         "\\boxed{",    "<answer>",
                                         "(",           "[",
                                         "-",           "<think>\n",
                                         "answer: A\n", "\xf0\x9f\x98\x80",
                                         "\n```\n",     "\n</think>\n<answer>\n",
                                         "A "};
    enum { LENGTH = 50000 };
    for (size_t p = 0; p < sizeof pieces / sizeof pieces[0]; p++) {
        char *text = tr_calloc(LENGTH + 32, 1);
        for (size_t at = 0; at < LENGTH; at += strlen(pieces[p])) {
            memcpy(text + at, pieces[p], strlen(pieces[p]));
        }
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
            json_t *one = json_pack("{s:s, s:{}, s:s, s:[], s:{s:i, s:i, s:[i]}}", "judge",
                                    kinds[k], "options", "response", text, "tokens", "columns",
                                    "answer", 5, "target", 5, "nums", 5);
            tr_error_t err = {0};
            float score;
            cr_expect_eq(score_case(&score, one, &err), TR_OK, "%s of '%s': %s", kinds[k],
                         pieces[p], err.text);
            cr_expect(isfinite(score));
            json_decref(one);
        }
        free(text);
    }
}
