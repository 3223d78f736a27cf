/// Columns of other programs become ours, as their own converters have it, and never by a guess.
#include "common/data/columns.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/data/dataset.h"
#include "common/data/kinds.h"
#include "common/text/json.h"
#include "tests/support/scratch.h"

static tr_rows_options_t options_of(const char *algorithm)
{
    tr_rows_options_t options = {.prompt_column = "prompt", .text_column = "text"};
    options.kinds = strcmp(algorithm, "ppo") == 0 ? TR_ROWS_OF(PROMPTS)
                    : strcmp(algorithm, "sft") == 0
                        ? TR_ROWS_OF(PROMPT_COMPLETION) | TR_ROWS_OF(MESSAGES) | TR_ROWS_OF(TEXT)
                    : strcmp(algorithm, "kto") == 0 ? TR_ROWS_OF(UNPAIRED) | TR_ROWS_OF(LABELLED)
                                                    : TR_ROWS_OF(PAIRS);
    return options;
}

static json_t *row_of(const char *text)
{
    json_t *row;
    tr_error_t err = {0};
    cr_assert_eq(tr_json_row(&row, text, strlen(text), &err), TR_OK, "%s: %s", text, err.text);
    return row;
}

/// All that is wrong with what a form makes.
static tr_status check_row(const json_t *row, tr_error_t *err)
{
    static const char *const ours[] = {"prompt", "completion", "messages", "chosen", "rejected"};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        tr_error_t one = {0};
        tr_column_check(row, ours[i], &one);
        tr_error_join(err, &one);
    }
    return err->status;
}

Test(forms, rows_become_what_the_programs_own_converters_make_of_them)
{
    json_t *golden = json_load_file(TEST_SOURCE_DIR "/tests/golden/forms.json", 0, NULL), *each;
    size_t i;
    cr_assert_gt(json_array_size(json_object_get(golden, "cases")), 25);
    json_array_foreach(json_object_get(golden, "cases"), i, each)
    {
        tr_columns_t columns;
        tr_error_t err = {0};
        const char *name;
        json_t *expected, *row = json_deep_copy(json_object_get(each, "row"));
        const tr_rows_options_t options = options_of(tr_json_string(each, "kinds", ""));
        cr_assert_eq(tr_columns_find(&columns, row, &(tr_columns_given_t){0}, &options, &err),
                     TR_OK, "%s", err.text);
        cr_expect_str_eq(tr_columns_form(&columns), tr_json_string(each, "form", ""));
        tr_columns_apply(row, &columns);
        cr_assert_eq(check_row(row, &err), TR_OK, "case %zu: %s", i, err.text);
        json_object_foreach(json_object_get(each, "columns"), name, expected)
        {
            char *got = json_dumps(json_object_get(row, name), JSON_ENCODE_ANY);
            cr_expect(json_equal(json_object_get(row, name), expected), "case %zu: %s: %s", i, name,
                      got);
            free(got);
        }
        tr_columns_release(&columns);
        json_decref(row);
    }
    json_decref(golden);
}

// LLaMA-Factory's dataset_info.json

static void write_json(const char *directory, const char *name, const json_t *value)
{
    char *path = tr_format("%s/%s", directory, name);
    cr_assert_eq(json_dump_file(value, path, 0), 0);
    free(path);
}

/// The data set `x` of an entry with these rows. directory: a scratch folder.
static tr_dataset_t *open_info(const char *directory, const json_t *entry, const json_t *rows,
                               tr_error_t *err)
{
    tr_dataset_t *dataset;
    json_t *info = json_pack("{s:O}", "x", entry);
    write_json(directory, "dataset_info.json", info);
    write_json(directory, "rows.json", rows);
    json_decref(info);
    char *item = tr_format("{\"dataset_info\": \"%s\", \"name\": \"x\"}", directory);
    tr_dataset_new(&dataset, (const char *const[]){item}, 1, err);
    free(item);
    return dataset;
}

static void expect_row(size_t i, size_t row, const tr_dataset_t *dataset, const json_t *columns)
{
    json_t *read, *expected;
    const char *name;
    tr_error_t err = {0};
    cr_assert_eq(tr_dataset_read(&read, dataset, row, &err), TR_OK, "%s", err.text);
    tr_status status = check_row(read, &err);
    cr_expect_eq(status, json_is_null(columns) ? TR_ERR_FORMAT : TR_OK, "%zu.%zu: %s", i, row,
                 err.text);
    json_object_foreach((json_t *)columns, name, expected)
    {
        char *got = json_dumps(json_object_get(read, name), JSON_ENCODE_ANY);
        cr_expect(json_equal(json_object_get(read, name), expected), "%zu.%zu: %s: %s", i, row,
                  name, got);
        free(got);
    }
    json_decref(read);
}

Test(forms, an_entry_of_dataset_info_json_is_read_as_llama_factory_reads_it)
{
    json_t *golden = json_load_file(TEST_SOURCE_DIR "/tests/golden/forms.json", 0, NULL), *each;
    size_t i;
    cr_assert_gt(json_array_size(json_object_get(golden, "infos")), 10);
    json_array_foreach(json_object_get(golden, "infos"), i, each)
    {
        char *directory = scratch_open();
        const json_t *rows = json_object_get(each, "rows");
        tr_error_t err = {0};
        const tr_rows_options_t options = options_of(tr_json_string(each, "kinds", ""));
        tr_dataset_t *dataset = open_info(directory, json_object_get(each, "entry"), rows, &err);
        cr_assert_not_null(dataset, "%s", err.text);
        cr_assert_eq(tr_dataset_recognise(dataset, &options, &err), TR_OK, "%zu: %s", i, err.text);
        cr_expect_null(tr_kind_missing(tr_kind_of(dataset, &options), dataset, &options));
        for (size_t row = 0; row < json_array_size(rows); row++) {
            expect_row(i, row, dataset, json_array_get(json_object_get(each, "columns"), row));
        }
        tr_dataset_destroy(&dataset);
        scratch_close(&directory);
    }
    json_decref(golden);
}

Test(forms, what_an_entry_cannot_have_is_said)
{
    static const struct {
        const char *entry, *sentence;
    } cases[] = {
        {"{\"hf_hub_url\": \"a/b\"}", "hf_hub_url: data sets are read from this disk: download "
                                      "it, and write file_name instead"},
        {"{\"script_url\": \"a\", \"file_name\": \"rows.json\"}",
         "script_url: data sets are read from this disk: download it, and write file_name instead"},
        {"{}", "file_name: expected the name of a file"},
        {"{\"file_name\": \"rows.json\", \"formatting\": \"mine\"}",
         "formatting: expected alpaca, sharegpt or openai, found 'mine'"},
        {"{\"file_name\": \"rows.json\", \"split\": \"test\"}",
         "split: a file has one, train, found 'test'"},
        {"{\"file_name\": \"rows.json\", \"num_samples\": 0}",
         "num_samples: expected a whole number above 0"},
        {"{\"file_name\": \"rows.json\", \"columns\": {\"images\": \"images\"}}",
         "columns: images are not read: texts are"},
        {"{\"file_name\": \"rows.json\", \"columns\": {\"answer\": \"a\"}}",
         "columns: expected names of columns for prompt, query, response, history, messages, "
         "system, tools, chosen, rejected, kto_tag, found 'answer'"},
        {"{\"file_name\": \"rows.json\", \"formatting\": \"sharegpt\", \"tags\": {\"tag\": \"a\"}}",
         "tags: expected texts for role_tag, content_tag, user_tag, assistant_tag, "
         "observation_tag, function_tag, system_tag, found 'tag'"},
    };
    json_t *rows = json_pack("[{s:s}]", "instruction", "i");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *directory = scratch_open();
        tr_error_t err = {0};
        json_t *entry = json_loads(cases[i].entry, 0, NULL);
        cr_expect_null(open_info(directory, entry, rows, &err));
        char *expected = tr_format("%s/dataset_info.json: x: %s", directory, cases[i].sentence);
        cr_expect_str_eq(err.text, expected);
        free(expected);
        json_decref(entry);
        scratch_close(&directory);
    }
    json_decref(rows);
}

/// How often each of ten rows is taken.
static void count_samples(size_t counts[10], int samples)
{
    char *directory = scratch_open();
    tr_error_t err = {0};
    json_t *rows = json_array();
    json_t *entry = json_pack("{s:s, s:i}", "file_name", "rows.json", "num_samples", samples);
    for (int i = 0; i < 10; i++) {
        json_array_append_new(rows, json_pack("{s:i}", "i", i));
    }
    memset(counts, 0, 10 * sizeof *counts);
    tr_dataset_t *dataset = open_info(directory, entry, rows, &err);
    cr_assert_not_null(dataset, "%s", err.text);
    cr_expect_eq(tr_dataset_size(dataset), (size_t)samples);
    for (size_t row = 0; row < tr_dataset_size(dataset); row++) {
        json_t *read;
        cr_assert_eq(tr_dataset_read(&read, dataset, row, &err), TR_OK, "%s", err.text);
        counts[json_integer_value(json_object_get(read, "i"))]++;
        json_decref(read);
    }
    tr_dataset_destroy(&dataset);
    json_decref(rows);
    json_decref(entry);
    scratch_close(&directory);
}

Test(forms, num_samples_takes_rows_that_are_drawn_and_each_before_any_again)
{
    size_t few[10], again[10], many[10], taken = 0;
    count_samples(few, 4);
    count_samples(again, 4);
    count_samples(many, 23);
    for (size_t i = 0; i < 10; i++) {
        taken += few[i];
        cr_expect_leq(few[i], 1);
        cr_expect_eq(few[i], again[i]);
        cr_expect(many[i] == 2 || many[i] == 3);
    }
    cr_expect_eq(taken, 4);
    cr_expect(few[0] + few[1] + few[2] + few[3] < 4, "the first rows are no sample");
}

/// How a file with this row is read; NULL: it is refused.
static void expect_form(const char *algorithm, const char *first, const char *form,
                        const char *sentence)
{
    tr_columns_t columns;
    tr_error_t err = {0};
    json_t *row = row_of(first);
    const tr_rows_options_t options = options_of(algorithm);
    tr_status status = tr_columns_find(&columns, row, &(tr_columns_given_t){0}, &options, &err);
    cr_expect_eq(status, form != NULL ? TR_OK : TR_ERR_ARGUMENT, "%s: %s", first, err.text);
    cr_expect_str_eq(form != NULL ? tr_columns_form(&columns) : err.text,
                     form != NULL ? form : sentence);
    tr_columns_release(&columns);
    json_decref(row);
}

#define TALK "[{\"role\": \"user\", \"content\": \"a\"}]"

Test(forms, our_columns_go_before_all_others)
{
    expect_form("sft", "{\"prompt\": 1, \"completion\": 1, \"instruction\": 1}", "TRL", NULL);
    expect_form("sft", "{\"text\": 1, \"instruction\": 1, \"input\": 1, \"output\": 1}", "TRL",
                NULL);
    expect_form("dpo", "{\"text\": 1, \"instruction\": 1, \"chosen\": 1, \"rejected\": 1}",
                "alpaca", NULL);
    expect_form("sft", "{\"messages\": " TALK ", \"label\": true, \"rejected_response\": 1}", "TRL",
                NULL);
    expect_form("kto", "{\"chosen\": " TALK ", \"rejected\": " TALK "}", "TRL", NULL);
    expect_form("sft", "{\"question\": 1, \"answer\": 1}", "TRL", NULL);
}

Test(forms, two_readings_are_refused_with_what_to_write)
{
    expect_form("sft", "{\"instruction\": 1, \"conversations\": 1}", NULL,
                "the columns may be read as alpaca or as ShareGPT's conversations: data.columns: "
                "{conversations: null} takes the first, {instruction: null} the other");
    expect_form("dpo", "{\"messages\": 1, \"rejected_response\": 1, \"rejected_messages\": 1}",
                NULL,
                "the columns may be read as messages and rejected_response or as messages and "
                "rejected_messages: data.columns: {rejected_messages: null} takes the first, "
                "{rejected_response: null} the other");
}

/// The row after names: an object.
static json_t *renamed(const char *text, const char *names, const char *algorithm, tr_error_t *err)
{
    tr_columns_t columns;
    json_t *row = row_of(text), *given = json_loads(names, 0, NULL);
    const tr_rows_options_t options = options_of(algorithm);
    tr_status status =
        tr_columns_find(&columns, row, &(tr_columns_given_t){.names = given}, &options, err);
    if (status == TR_OK) {
        tr_columns_apply(row, &columns);
        status = check_row(row, err);
    }
    tr_columns_release(&columns);
    json_decref(given);
    if (status != TR_OK) {
        json_decref(row);
        return NULL;
    }
    return row;
}

Test(forms, names_of_the_recipe_are_columns_paths_or_nothing)
{
    static const char row[] = "{\"question\": \"q\", \"prompt\": \"p\", \"reward_model\": "
                              "{\"ground_truth\": {\"a\": 4}}, "
                              "\"a.b\": 5, \"id\": NaN, \"instruction\": 1}";
    tr_error_t err = {0};
    json_t *r = renamed(row,
                        "{\"prompt\": \"question\", \"answer\": \"reward_model.ground_truth.a\", "
                        "\"question\": \"prompt\", \"dot\": \"a.b\", \"number\": \"id\", "
                        "\"instruction\": null}",
                        "ppo", &err);
    cr_assert_not_null(r, "%s", err.text);
    cr_expect_str_eq(tr_json_string(r, "prompt", ""), "q");
    cr_expect_str_eq(tr_json_string(r, "question", ""), "p");
    cr_expect_eq(json_integer_value(json_object_get(r, "answer")), 4);
    cr_expect_eq(json_integer_value(json_object_get(r, "dot")), 5);
    cr_expect_str_eq(tr_json_flaw(r, "number"), "NaN");
    cr_expect_null(json_object_get(r, "instruction"));
    cr_expect_str_eq(tr_column_shown(r, "prompt"), "question (prompt)");
    cr_expect_str_eq(tr_column_shown(r, "id"), "id");
    tr_columns_strip(r);
    cr_expect_eq(json_object_size(r), 8); // six of the file, less one, and three
    json_decref(r);
    // a form's columns may have other names too
    r = renamed("{\"ask\": \"i\", \"say\": \"o\"}",
                "{\"instruction\": \"ask\", \"output\": \"say\"}", "sft", &err);
    cr_assert_not_null(r, "%s", err.text);
    cr_expect_eq(json_array_size(json_object_get(r, "completion")), 1);
    json_decref(r);
}

Test(forms, a_name_that_the_first_row_has_not_is_refused)
{
    tr_error_t err = {0};
    cr_expect_null(renamed("{\"a\": NaN, \"b\": {}}", "{\"prompt\": \"b.c\"}", "ppo", &err));
    cr_expect_str_eq(err.text,
                     "data.columns: prompt: the first row has no column 'b.c'; it has a, b");
    err = (tr_error_t){0};
    cr_expect_null(renamed("{\"a\": 1}", "{\"prompt\": 3}", "ppo", &err));
    cr_expect_str_eq(err.text, "data.columns: prompt: expected the name of a column, or null");
}

Test(forms, what_is_wrong_with_a_row_is_said_of_its_own_column)
{
    static const struct {
        const char *row, *sentence;
    } cases[] = {
        {"{\"instruction\": 1}", "instruction: expected a text"},
        {"{\"instruction\": \"\\ud800\", \"output\": \"o\"}",
         "instruction: found half of a surrogate pair, which is no character"},
        {"{\"instruction\": \"i\", \"system\": 1}", "system: expected a text"},
        {"{\"instruction\": \"i\", \"history\": 1}", "history: expected a list of pairs of texts"},
        {"{\"instruction\": \"i\", \"history\": [[\"a\", \"b\"], [\"a\"]]}",
         "history[1]: expected a list of two texts"},
        {"{\"conversations\": \"a\"}", "conversations: expected a list of messages"},
        {"{\"conversations\": [{\"from\": \"me\", \"value\": \"a\"}]}",
         "conversations[0]: from: expected human, gpt, function_call, observation or system, found "
         "'me'"},
        {"{\"conversations\": [{\"from\": \"gpt\", \"value\": null}]}",
         "conversations[0]: value: expected a text"},
        {"{\"conversations\": [{\"from\": \"function_call\", \"value\": \"f()\"}]}",
         "conversations[0]: value: expected the JSON of {name, arguments}, or of a list of them"},
        {"{\"conversation\": [{\"human\": \"a\"}]}", "conversation[0]: assistant: expected a text"},
        {"{\"instruction\": 1, \"system\": 2, \"history\": [3], \"output\": \"\\u0000\"}",
         "instruction: expected a text; system: expected a text; history[0]: expected a list of "
         "two "
         "texts; output: found a NUL character"},
        {"{\"conversations\": [{\"from\": \"me\"}, {\"from\": \"gpt\"}]}",
         "conversations[0]: from: expected human, gpt, function_call, observation or system, found "
         "'me'; conversations[1]: value: expected a text"},
        {"{\"messages\": [{\"role\": \"tool_call\", \"content\": \"f()\"}]}",
         "messages[0]: content: expected the JSON of {name, arguments}, or of a list of them"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tr_error_t err = {0};
        cr_expect_null(renamed(cases[i].row, "{}", "sft", &err));
        cr_expect_str_eq(err.text, cases[i].sentence);
    }
}
