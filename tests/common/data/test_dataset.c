/// Rows of files, one after the other, and the sentences about bad ones.
#include "common/data/dataset.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/scratch.h"

static char *folder;

static void setup(void)
{
    folder = scratch_open();
}

static void teardown(void)
{
    scratch_close(&folder);
}

TestSuite(dataset, .init = setup, .fini = teardown);

/// The file rows.jsonl of the folder, anew. *path: the caller's, where it is not NULL.
static tr_dataset_t *open_text(char **path, const char *text, size_t length)
{
    tr_dataset_t *dataset = NULL;
    tr_error_t err = {0};
    char *own = scratch_write(folder, "rows.jsonl", text, length);
    cr_assert_eq(tr_dataset_new(&dataset, (const char *const[]){own}, 1, &err), TR_OK, "%s",
                 err.text);
    if (path != NULL) {
        *path = own;
    } else {
        free(own);
    }
    return dataset;
}

/// The column `prompt` of a row is a text, this one.
static void expect_prompt(const tr_dataset_t *dataset, size_t row, const char *expected)
{
    json_t *columns;
    tr_error_t err = {0};
    cr_assert_eq(tr_dataset_read(&columns, dataset, row, &err), TR_OK, "%s", err.text);
    cr_expect_str_eq(json_string_value(json_object_get(columns, "prompt")), expected);
    json_decref(columns);
}

static void expect_place(const tr_dataset_t *dataset, size_t row, const char *path, int line)
{
    char *place = tr_dataset_place(dataset, row), *expected = tr_format("%s:%d", path, line);
    cr_expect_str_eq(place, expected);
    free(expected);
    free(place);
}

Test(dataset, rows_of_all_files_come_in_order)
{
    static const char first[] = "{\"prompt\": \"one\"}\n\n{\"prompt\": \"two\"}\r\n";
    static const char second[] = "\xEF\xBB\xBF{\"prompt\": \"thr\\u00e9e\"}";
    char *paths[2] = {scratch_write(folder, "a", first, sizeof first - 1),
                      scratch_write(folder, "b", second, sizeof second - 1)};
    tr_dataset_t *dataset = NULL;
    tr_error_t err = {0};
    cr_assert_eq(tr_dataset_new(&dataset, (const char *const *)paths, 2, &err), TR_OK, "%s",
                 err.text);
    cr_assert_eq(tr_dataset_size(dataset), 3U);
    expect_prompt(dataset, 0, "one");
    expect_prompt(dataset, 1, "two");
    expect_prompt(dataset, 2,
                  "thr\xC3\xA9"
                  "e");
    expect_place(dataset, 1, paths[0], 3);
    expect_place(dataset, 2, paths[1], 1);
    free(paths[0]);
    free(paths[1]);
    tr_dataset_destroy(&dataset);
    tr_dataset_destroy(&dataset);
}

Test(dataset, the_first_row_that_can_be_read_says_which_columns_there_are)
{
    static const char text[] = "{\"text\": \n{\"prompt\": 1}\n{\"text\": 1}\n";
    tr_dataset_t *dataset = open_text(NULL, text, sizeof text - 1);
    cr_expect(tr_dataset_has(dataset, "prompt"));
    cr_expect_not(tr_dataset_has(dataset, "text"));
    tr_dataset_destroy(&dataset);
}

Test(dataset, a_bad_row_is_named_by_file_and_line)
{
    static const struct {
        const char *row, *expected;
    } cases[] = {
        {"{\"prompt\": \"x\"", "malformed JSON"},
        {"{\"prompt\": \"x\"} {}", "malformed JSON"},
        {"{\"prompt\": \"x\tNaN\", \"a\": NaN}", "malformed JSON"},
        {"[\"x\"]", "expected a JSON object"},
        {"{\"prompt\": \"a\xC3(\"}", "invalid UTF-8 at byte 14 of the row (0xC3)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path, *text = tr_format("{\"prompt\": \"fine\"}\n%s\n", cases[i].row);
        tr_dataset_t *dataset = open_text(&path, text, strlen(text));
        json_t *columns;
        tr_error_t err = {0};
        cr_expect_eq(tr_dataset_read(&columns, dataset, 1, &err), TR_ERR_FORMAT);
        char *expected = tr_format("%s:2: %s", path, cases[i].expected);
        cr_expect_eq(strncmp(err.text, expected, strlen(expected)), 0, "%s", err.text);
        free(expected);
        tr_dataset_destroy(&dataset);
        free(path);
        free(text);
    }
}

Test(dataset, a_missing_file_and_an_empty_one_are_named)
{
    tr_dataset_t *dataset = NULL;
    tr_error_t err = {0};
    cr_assert_eq(tr_dataset_new(&dataset, (const char *const[]){"/no/such.jsonl"}, 1, &err),
                 TR_ERR_IO);
    cr_expect_not_null(strstr(err.text, "/no/such.jsonl"), "%s", err.text);
    err = (tr_error_t){0};
    char *path = scratch_write(folder, "rows.jsonl", "\n \n", 3);
    char *expected = tr_format("%s: the file has no rows", path);
    cr_assert_eq(tr_dataset_new(&dataset, (const char *const[]){path}, 1, &err), TR_ERR_FORMAT);
    cr_expect_str_eq(err.text, expected);
    cr_expect_null(dataset);
    cr_assert_eq(tr_dataset_new(&dataset, NULL, 0, &err), TR_ERR_ARGUMENT);
    free(expected);
    free(path);
}

Test(dataset, later_rows_move_up_where_some_are_left_out)
{
    static const char text[] = "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n{\"prompt\": \"c\"}\n"
                               "{\"prompt\": \"d\"}\n{\"prompt\": \"e\"}\n";
    char *path;
    tr_dataset_t *dataset = open_text(&path, text, sizeof text - 1);
    tr_dataset_leave_out(dataset, (const uint32_t[]){1, 4}, 2);
    cr_assert_eq(tr_dataset_size(dataset), 3);
    expect_prompt(dataset, 1, "c");
    expect_prompt(dataset, 2, "d");
    tr_dataset_leave_out(dataset, (const uint32_t[]){0}, 1);
    cr_assert_eq(tr_dataset_size(dataset), 2);
    expect_prompt(dataset, 0, "c");
    expect_place(dataset, 1, path, 4);
    tr_dataset_destroy(&dataset);
    free(path);
}

/// The checksum of rows.jsonl.
static uint64_t checksum_of(const char *text)
{
    tr_dataset_t *dataset = open_text(NULL, text, strlen(text));
    uint64_t sum = tr_dataset_checksum(dataset);
    tr_dataset_destroy(&dataset);
    return sum;
}

Test(dataset, the_checksum_is_of_rows_and_their_order)
{
    uint64_t sum = checksum_of("{\"a\": 1}\n{\"b\": 2}\n");
    cr_expect_eq(checksum_of("{\"a\": 1}\n\n{\"b\": 2}"), sum);
    cr_expect_neq(checksum_of("{\"b\": 2}\n{\"a\": 1}\n"), sum);
    cr_expect_neq(checksum_of("{\"a\": 1}\n{\"b\": 3}\n"), sum);
    cr_expect_neq(checksum_of("{\"a\": 1}\n"), sum);
}

Test(dataset, the_openings_of_the_examples_are_prompts)
{
    tr_dataset_t *dataset = NULL;
    tr_error_t err = {0};
    const char *path = TEST_SOURCE_DIR "/examples/data/openings.jsonl";
    cr_assert_eq(tr_dataset_new(&dataset, &path, 1, &err), TR_OK, "%s", err.text);
    cr_assert_geq(tr_dataset_size(dataset), 300U);
    cr_assert(tr_dataset_has(dataset, "hero"));
    tr_dataset_destroy(&dataset);
}
