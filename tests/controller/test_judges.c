/// Judges as the controller asks them: what they are shown, the weighted sum of what they say, and
/// that no order of answers changes a bit.
#include "controller/judges.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "controller/rows.h"
#include "proto/endpoint.h"
#include "proto/score.h"
#include "tests/support/fake_worker.h"
#include "tests/support/scratch.h"

enum { RESPONSES = 37, ROWS = 3, FIRST_ID = 1000 };

static const char ENDPOINT[] = "inproc://judges";
static const char DATA[] =
    "{\"prompt\": \"One day\", \"answer\": 7, \"tags\": [\"a\", \"\\u00e9\"]}\n"
    "{\"prompt\": \"The cat\"}\n"
    "{\"prompt\": \"A dog\", \"answer\": 9}\n";

static tr_broker_t *broker;
static controller_calls_t *calls;
static volatile sig_atomic_t stop;
static char *folder, *path;
static tr_tokenizer_t *tokenizer;
static tr_corpus_t corpus;
static tr_rows_t rows;

static void setup(void)
{
    tr_dispatch_options_t options;
    tr_error_t err = {0};
    tr_wire_init();
    tr_dispatch_options_init(&options);
    options.silence_ms = 600000;
    cr_assert_eq(tr_broker_new(&broker, ENDPOINT, NULL, &options, &err), TR_OK, "%s", err.text);
    calls = controller_calls_new(broker, &stop);
    cr_assert_eq(tr_tokenizer_new(&tokenizer, TEST_SOURCE_DIR "/examples/models/stories", &err),
                 TR_OK, "%s", err.text);
    folder = scratch_open();
    path = scratch_write(folder, "rows.jsonl", DATA, strlen(DATA));
    static char column[] = "prompt";
    const tr_recipe_t recipe = {.data = {.prompts = {&path, 1}, .prompt_column = column}};
    cr_assert_eq(
        controller_rows_open(&corpus, &recipe.data.prompts, &recipe, tokenizer, 100, true, &err),
        TR_OK, "%s", err.text);
    cr_assert_eq(tr_corpus_read(&rows, &corpus, (const uint32_t[]){0, 1, 2}, ROWS, &err), TR_OK,
                 "%s", err.text);
}

static void teardown(void)
{
    tr_rows_release(&rows);
    tr_corpus_release(&corpus);
    free(path);
    scratch_close(&folder);
    tr_tokenizer_destroy(&tokenizer);
    controller_calls_destroy(&calls);
    tr_broker_destroy(&broker);
}

TestSuite(judges, .init = setup, .fini = teardown, .timeout = 60);

// Responses

/// Response i: i % 4 + 1 words.
static char *text_of(size_t i)
{
    static const char *const texts[] = {" slept", " ran home", " saw a bird", " went to the sea"};
    return tr_strdup(texts[i % 4]);
}

typedef struct responses {
    tr_responses_t responses;
    int32_t *ids, *starts, *finish;
    uint32_t rows[RESPONSES];
} responses_t;

static void make_responses(responses_t *made)
{
    *made = (responses_t){.starts = tr_calloc(RESPONSES + 1, sizeof(int32_t)),
                          .finish = tr_calloc(RESPONSES, sizeof(int32_t))};
    for (size_t i = 0; i < RESPONSES; i++) {
        int32_t *ids;
        size_t count;
        tr_error_t err = {0};
        char *text = text_of(i);
        cr_assert_eq(tr_tokenizer_encode(&ids, &count, tokenizer, text, strlen(text),
                                         TR_ENCODE_CONTINUES, &err),
                     TR_OK, "%s", err.text);
        size_t at = (size_t)made->starts[i];
        made->ids = tr_realloc(made->ids, (at + count) * sizeof *ids);
        memcpy(made->ids + at, ids, count * sizeof *ids);
        made->starts[i + 1] = (int32_t)(at + count);
        made->finish[i] = (int32_t)(i % 3);
        made->rows[i] = (uint32_t)(i % ROWS);
        free(ids);
        free(text);
    }
    made->responses = (tr_responses_t){
        .count = RESPONSES, .ids = made->ids, .starts = made->starts, .finish = made->finish};
}

static void release_responses(responses_t *made)
{
    free(made->ids);
    free(made->starts);
    free(made->finish);
}

// Judges

/// The score of a sample: a fraction that adds up with rounding, so that an order of additions
/// would show.
static float score_of(int64_t id, float scale)
{
    return scale / (float)(id - FIRST_ID + 3);
}

typedef struct critic {
    float scale;
    const char *manner; // "": honest
    json_t *samples;    // all that it was shown, in order of arrival
} critic_t;

/// Extras: `even` for a request whose first sample is even, `length` always.
static json_t *extras_of(const json_t *samples)
{
    json_t *extras = json_object(), *lengths = json_array(), *evens = json_array();
    size_t i;
    json_t *sample;
    json_array_foreach((json_t *)(uintptr_t)samples, i, sample)
    {
        int64_t id = json_integer_value(json_object_get(sample, "id"));
        const char *response = json_string_value(json_object_get(sample, "response"));
        json_array_append_new(lengths, json_real((double)strlen(response)));
        json_array_append_new(evens, json_integer(id % 2 == 0));
    }
    bool given = json_integer_value(json_object_get(json_array_get(samples, 0), "id")) % 32 == 8;
    json_object_set_new(extras, "length", lengths);
    if (given) {
        json_object_set(extras, "even", evens);
    }
    json_decref(evens);
    return extras;
}

static fake_act_t judge(void *context, size_t nth, const tr_message_t *request, tr_message_t *reply)
{
    critic_t *critic = context;
    json_t *samples = json_object_get(tr_message_body(request), "samples"), *sample;
    json_t *scores = json_array();
    size_t i;
    json_array_extend(critic->samples, samples);
    json_array_foreach(samples, i, sample)
    {
        int64_t id = json_integer_value(json_object_get(sample, "id"));
        json_array_append_new(scores, json_real((double)score_of(id, critic->scale)));
    }
    if (strcmp(critic->manner, "short") == 0 && nth == 0) {
        json_array_remove(scores, 0);
    }
    if (strcmp(critic->manner, "words") == 0) {
        json_array_set_new(scores, 0, json_string("splendid"));
    }
    // "nulls": null for every id that is a multiple of 3, "null": for all.
    for (i = 0; i < json_array_size(scores); i++) {
        int64_t id = json_integer_value(json_object_get(json_array_get(samples, i), "id"));
        if (strcmp(critic->manner, "null") == 0 ||
            (strcmp(critic->manner, "nulls") == 0 && id % 3 == 0)) {
            json_array_set_new(scores, i, json_null());
        }
    }
    tr_message_set_body(reply,
                        json_pack("{s:o, s:o}", "scores", scores, "extras", extras_of(samples)));
    return FAKE_REPLY;
}

static char good_name[] = "good", other_name[] = "other", group_name[] = "elsewhere";
static tr_external_judge_t elsewhere = {group_name};

/// Two judges; the second is an external one that registers under another group.
static void name_judges(tr_judge_t judges[2])
{
    judges[0] = (tr_judge_t){.kind = tr_judge_kind_find("words"),
                             .name = good_name,
                             .weight = 0.7,
                             .retries = 2,
                             .on_failure = TR_ON_FAILURE_FAIL};
    judges[1] = judges[0];
    judges[1].kind = &tr_judge_external;
    judges[1].name = other_name;
    judges[1].options = &elsewhere;
    judges[1].weight = -0.3;
}

/// A session of both judges; hold as in fake_worker_t; parts: how many pieces the responses come
/// in.
static tr_status hold_session(float *scores, controller_record_t *record, critic_t critics[2],
                              size_t hold, size_t parts, tr_error_t *err)
{
    tr_judge_t judges[2];
    name_judges(judges);
    const tr_judges_t list = {judges, 2};
    responses_t made;
    fake_worker_t workers[2] = {
        {.role = TR_ROLE_REWARD,
         .name = "good-0",
         .group = good_name,
         .answer = judge,
         .context = &critics[0],
         .hold = hold},
        {.role = TR_ROLE_REWARD,
         .name = "other-0",
         .group = group_name,
         .answer = judge,
         .context = &critics[1],
         .hold = hold},
    };
    make_responses(&made);
    controller_judges_t *session = controller_judges_new(&list, tokenizer, calls);
    for (size_t j = 0; j < 2; j++) {
        critics[j].samples = json_array();
        fake_start(&workers[j], ENDPOINT);
    }
    controller_judges_begin(session, &rows, RESPONSES, FIRST_ID);
    for (size_t p = parts; p-- > 0;) { // the last part first: parts come in any order
        size_t first = p * RESPONSES / parts, end = (p + 1) * RESPONSES / parts;
        int32_t *starts = tr_calloc(end - first + 1, sizeof *starts);
        for (size_t i = first; i <= end; i++) {
            starts[i - first] = made.starts[i] - made.starts[first];
        }
        const tr_responses_t part = {.count = end - first,
                                     .ids = made.ids + made.starts[first],
                                     .starts = starts,
                                     .finish = made.finish + first};
        controller_judges_ask(session, first, &part, made.rows + first);
        free(starts);
    }
    tr_status status = controller_calls_finish(calls, err);
    for (size_t j = 0; j < 2; j++) {
        fake_stop(&workers[j]);
    }
    if (status == TR_OK) {
        controller_judges_scores(session, scores);
        status = controller_judges_report(session, record, err);
    }
    controller_judges_destroy(&session);
    release_responses(&made);
    return status;
}

static void end_session(controller_record_t *record, critic_t critics[2])
{
    controller_record_release(record);
    json_decref(critics[0].samples);
    json_decref(critics[1].samples);
}

Test(judges, a_score_is_the_weighted_sum_of_the_judges)
{
    critic_t critics[2] = {{1.0f, "", NULL}, {5.0f, "", NULL}};
    controller_record_t record;
    float scores[RESPONSES];
    tr_error_t err = {0};
    controller_record_init(&record, 1);
    tr_status status = hold_session(scores, &record, critics, 0, 1, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    double mean = 0.0;
    for (size_t i = 0; i < RESPONSES; i++) {
        int64_t id = FIRST_ID + (int64_t)i;
        float expected =
            (float)(0.7 * (double)score_of(id, 1.0f) - 0.3 * (double)score_of(id, 5.0f));
        cr_expect_eq(scores[i], expected, "response %zu: %g, not %g", i, (double)scores[i],
                     (double)expected);
        mean += (double)score_of(id, 5.0f) / RESPONSES;
    }
    cr_expect_float_eq(*controller_record_find(&record, "rewards/other/mean"), mean, 1e-6);
    cr_expect_gt(*controller_record_find(&record, "rewards/good/std"), 0.0);
    end_session(&record, critics);
}

/// As TRL: rewards = (rewards_per_func * weights).nansum(dim=1), mean and std of what is no NaN.
Test(judges, null_is_left_out_of_the_sum_and_counted)
{
    critic_t critics[2] = {{1.0f, "", NULL}, {5.0f, "nulls", NULL}};
    controller_record_t record;
    float scores[RESPONSES];
    tr_error_t err = {0};
    double mean = 0.0, nulls = 0.0;
    controller_record_init(&record, 1);
    cr_assert_eq(hold_session(scores, &record, critics, 0, 1, &err), TR_OK, "%s", err.text);
    for (size_t i = 0; i < RESPONSES; i++) {
        int64_t id = FIRST_ID + (int64_t)i;
        double other = id % 3 == 0 ? 0.0 : (double)score_of(id, 5.0f);
        cr_expect_eq(scores[i], (float)(0.7 * (double)score_of(id, 1.0f) - 0.3 * other), "%zu", i);
        nulls += id % 3 == 0;
        mean += other;
    }
    cr_expect_eq(*controller_record_find(&record, "rewards/other/unscored"), nulls);
    cr_expect_float_eq(*controller_record_find(&record, "rewards/other/mean"),
                       mean / (RESPONSES - nulls), 1e-6);
    cr_expect_null(controller_record_find(&record, "rewards/good/unscored"));
    end_session(&record, critics);
}

Test(judges, a_response_that_nobody_can_score_has_no_score)
{
    critic_t critics[2] = {{1.0f, "null", NULL}, {5.0f, "nulls", NULL}};
    controller_record_t record;
    float scores[RESPONSES];
    tr_error_t err = {0};
    controller_record_init(&record, 1);
    cr_assert_eq(hold_session(scores, &record, critics, 0, 1, &err), TR_OK, "%s", err.text);
    for (size_t i = 0; i < RESPONSES; i++) {
        cr_expect_eq(isnan(scores[i]) != 0, (FIRST_ID + i) % 3 == 0, "%zu", i);
    }
    // a mean of nothing is no metric
    cr_expect_null(controller_record_find(&record, "rewards/good/mean"));
    cr_expect_eq(*controller_record_find(&record, "rewards/good/unscored"), RESPONSES);
    end_session(&record, critics);
}

/// The record's metrics in order, with all their digits; owned by the caller.
static char *print(const controller_record_t *record)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    for (size_t i = 0; i < record->count; i++) {
        fprintf(out, "%s=%a\n", record->items[i].name, record->items[i].value);
    }
    fclose(out);
    return text;
}

Test(judges, neither_the_order_of_answers_nor_that_of_parts_changes_a_bit)
{
    static const size_t manners[][2] = {{0, 1}, {3, 1}, {0, 2}, {4, 4}, {0, RESPONSES}};
    char *first = NULL;
    for (size_t m = 0; m < sizeof manners / sizeof *manners; m++) {
        critic_t critics[2] = {{1.0f, "", NULL}, {5.0f, "", NULL}};
        controller_record_t record;
        float scores[RESPONSES];
        tr_error_t err = {0};
        controller_record_init(&record, 1);
        tr_status status =
            hold_session(scores, &record, critics, manners[m][0], manners[m][1], &err);
        cr_assert_eq(status, TR_OK, "%s", err.text);
        for (size_t i = 0; i < RESPONSES; i++) {
            int64_t id = FIRST_ID + (int64_t)i;
            cr_expect_eq(scores[i], (float)(0.7 * (double)score_of(id, 1.0f) -
                                            0.3 * (double)score_of(id, 5.0f)));
        }
        // `even` is given by request, whose cut depends on the parts.
        if (manners[m][1] == 1) {
            char *printed = print(&record);
            first = first == NULL ? tr_strdup(printed) : first;
            cr_expect_str_eq(printed, first);
            free(printed);
        }
        end_session(&record, critics);
    }
    free(first);
}

Test(judges, extras_are_averaged_over_the_responses_for_which_they_were_given)
{
    critic_t critics[2] = {{1.0f, "", NULL}, {5.0f, "", NULL}};
    controller_record_t record;
    float scores[RESPONSES];
    tr_error_t err = {0};
    size_t length = 0;
    controller_record_init(&record, 1);
    cr_assert_eq(hold_session(scores, &record, critics, 0, 1, &err), TR_OK, "%s", err.text);
    for (size_t i = 0; i < RESPONSES; i++) {
        char *text = text_of(i);
        length += strlen(text);
        free(text);
    }
    cr_expect_float_eq(*controller_record_find(&record, "judge/good/length"),
                       (double)length / RESPONSES, 1e-12);
    // Requests begin at 1000, 1016 and 1032: the first and the last give `even`, of 16 and 5
    // responses.
    const double *even = controller_record_find(&record, "judge/other/even");
    cr_assert_not_null(even);
    cr_expect_float_eq(*even, (8.0 + 3.0) / (16.0 + 5.0), 1e-12);
    end_session(&record, critics);
}

Test(judges, judges_see_each_response_once_with_its_prompt_and_columns)
{
    static const char *const prompts[ROWS] = {"One day", "The cat", "A dog"};
    static const char *const finishes[] = {"eos", "stop", "length"};
    critic_t critics[2] = {{1.0f, "", NULL}, {5.0f, "", NULL}};
    controller_record_t record;
    float scores[RESPONSES];
    tr_error_t err = {0};
    bool seen[RESPONSES] = {false};
    size_t n;
    json_t *sample;
    controller_record_init(&record, 1);
    cr_assert_eq(hold_session(scores, &record, critics, 0, 2, &err), TR_OK, "%s", err.text);
    cr_assert_eq(json_array_size(critics[1].samples), RESPONSES);
    json_array_foreach(critics[0].samples, n, sample)
    {
        size_t i = (size_t)(json_integer_value(json_object_get(sample, "id")) - FIRST_ID);
        cr_assert_lt(i, (size_t)RESPONSES);
        cr_expect_not(seen[i]);
        seen[i] = true;
        char *text = text_of(i);
        cr_expect_str_eq(json_string_value(json_object_get(sample, "response")), text);
        cr_expect_str_eq(json_string_value(json_object_get(sample, "prompt")), prompts[i % ROWS]);
        cr_expect_str_eq(json_string_value(json_object_get(sample, "finish")), finishes[i % 3]);
        json_t *columns = json_object_get(sample, "columns");
        cr_expect_eq(json_object_size(columns), i % ROWS == 0 ? 2 : i % ROWS == 1 ? 0 : 1);
        cr_expect_eq(json_integer_value(json_object_get(columns, "answer")), i % ROWS == 0   ? 7
                                                                             : i % ROWS == 1 ? 0
                                                                                             : 9);
        cr_expect_eq(json_array_size(json_object_get(sample, "prompt_ids")),
                     rows.sequences[i % ROWS].prompt);
        cr_expect_gt(json_array_size(json_object_get(sample, "response_ids")), 0);
        free(text);
    }
    cr_expect_eq(n, RESPONSES);
    end_session(&record, critics);
}

Test(judges, an_answer_with_a_missing_score_is_asked_again)
{
    critic_t critics[2] = {{1.0f, "", NULL}, {5.0f, "short", NULL}};
    controller_record_t record;
    float scores[RESPONSES];
    tr_error_t err = {0};
    controller_record_init(&record, 1);
    cr_assert_eq(hold_session(scores, &record, critics, 0, 1, &err), TR_OK, "%s", err.text);
    cr_expect_eq(json_array_size(critics[1].samples), RESPONSES + 16);
    for (size_t i = 0; i < RESPONSES; i++) {
        int64_t id = FIRST_ID + (int64_t)i;
        cr_expect_eq(scores[i],
                     (float)(0.7 * (double)score_of(id, 1.0f) - 0.3 * (double)score_of(id, 5.0f)));
    }
    end_session(&record, critics);
}

Test(judges, a_judge_that_never_scores_ends_the_wait_by_its_name)
{
    critic_t critics[2] = {{1.0f, "", NULL}, {5.0f, "words", NULL}};
    controller_record_t record;
    float scores[RESPONSES];
    tr_error_t err = {0};
    controller_record_init(&record, 1);
    cr_expect_eq(hold_session(scores, &record, critics, 0, 1, &err), TR_ERR_PROTOCOL);
    cr_expect_not_null(strstr(err.text, "judge 'other'"), "%s", err.text);
    cr_expect_not_null(strstr(err.text, "'other-0'"), "%s", err.text);
    end_session(&record, critics);
}

Test(judges, a_step_forgets_the_one_before)
{
    critic_t critic = {1.0f, "", json_array()};
    tr_judge_t judges[2];
    responses_t made;
    float scores[RESPONSES];
    tr_error_t err = {0};
    name_judges(judges);
    const tr_judges_t list = {judges, 1};
    fake_worker_t worker = {.role = TR_ROLE_REWARD,
                            .name = "good-0",
                            .group = good_name,
                            .answer = judge,
                            .context = &critic};
    controller_judges_t *session = controller_judges_new(&list, tokenizer, calls);
    make_responses(&made);
    fake_start(&worker, ENDPOINT);
    for (int64_t step = 0; step < 3; step++) {
        controller_judges_begin(session, &rows, RESPONSES, FIRST_ID + step * 10);
        controller_judges_ask(session, 0, &made.responses, made.rows);
        cr_assert_eq(controller_calls_finish(calls, &err), TR_OK, "%s", err.text);
        controller_judges_scores(session, scores);
        cr_expect_eq(scores[4], (float)(0.7 * (double)score_of(FIRST_ID + step * 10 + 4, 1.0f)));
    }
    fake_stop(&worker);
    controller_judges_destroy(&session);
    release_responses(&made);
    json_decref(critic.samples);
}
