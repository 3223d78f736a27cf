/// Rows of JSONL files, the errors of bad ones, and the order of batches.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "common/base/file.h"
#include "common/data/dataset.h"

/// A file that holds `length` bytes. The path: owned by the caller, who also unlinks it.
static char *file_with(const char *text, size_t length)
{
    char *path = tr_strdup("/tmp/troupe-test-dataset-XXXXXX");
    int descriptor = mkstemp(path);
    cr_assert_geq(descriptor, 0);
    cr_assert_eq(write(descriptor, text, length), (ssize_t)length);
    close(descriptor);
    return path;
}

static tr_dataset_t *open_text(const char *text, const char *required)
{
    char *path = file_with(text, strlen(text));
    tr_dataset_t *dataset = NULL;
    tr_error_t err = {0};
    tr_status status = tr_dataset_new(&dataset, (const char *const[]){path}, 1, false, &err);
    unlink(path);
    free(path);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    if (required != NULL) {
        cr_assert_eq(tr_dataset_require(dataset, required, &err), TR_OK, "%s", err.text);
    }
    return dataset;
}

/// Opening bytes fails, and the message is "path:" and then what is expected.
static void expect_bad(const char *text, size_t length, const char *expected)
{
    char *path = file_with(text, length);
    tr_dataset_t *dataset = NULL;
    tr_error_t err = {0};
    tr_status status = tr_dataset_new(&dataset, (const char *const[]){path}, 1, false, &err);
    if (status == TR_OK) {
        status = tr_dataset_require(dataset, "prompt", &err);
        status = status == TR_OK ? tr_dataset_verdict(dataset, &err) : status;
    } else {
        cr_assert_null(dataset);
    }
    cr_assert_eq(status, TR_ERR_FORMAT);
    tr_dataset_destroy(&dataset);
    cr_assert_eq(strncmp(err.text, path, strlen(path)), 0, "%s", err.text);
    cr_assert_eq(strncmp(err.text + strlen(path), expected, strlen(expected)), 0, "'%s' lacks '%s'",
                 err.text, expected);
    unlink(path);
    free(path);
}

Test(dataset, rows_of_all_files_come_in_order)
{
    const char *first = "{\"prompt\": \"one\"}\n\n{\"prompt\": \"two\"}\r\n";
    const char *second = "\xEF\xBB\xBF{\"prompt\": \"thr\\u00e9e\"}";
    char *paths[2] = {file_with(first, strlen(first)), file_with(second, strlen(second))};
    tr_dataset_t *dataset = NULL;
    tr_error_t err = {0};
    cr_assert_eq(tr_dataset_new(&dataset, (const char *const *)paths, 2, false, &err), TR_OK, "%s",
                 err.text);
    cr_assert_eq(tr_dataset_size(dataset), 3U);
    cr_assert_str_eq(json_string_value(tr_dataset_value(dataset, 0, "prompt")), "one");
    cr_assert_str_eq(json_string_value(tr_dataset_value(dataset, 1, "prompt")), "two");
    cr_assert_str_eq(json_string_value(tr_dataset_value(dataset, 2, "prompt")), "thr\xC3\xA9"
                                                                                "e");
    char *place = tr_dataset_place(dataset, 1);
    char *wanted = tr_format("%s:3", paths[0]);
    cr_assert_str_eq(place, wanted);
    free(place);
    free(wanted);
    for (size_t i = 0; i < 2; i++) {
        unlink(paths[i]);
        free(paths[i]);
    }
    tr_dataset_destroy(&dataset);
    tr_dataset_destroy(&dataset);
}

Test(dataset, other_columns_are_kept_as_compact_json)
{
    tr_dataset_t *dataset =
        open_text("{\"z\": [1, 2.5, null], \"prompt\": \"p\", \"a\": {\"k\": \"\xC3\xA9\"}}\n"
                  "{\"prompt\": \"q\"}\n",
                  "prompt");
    char *extras = tr_dataset_extras(dataset, 0, "prompt");
    char *none = tr_dataset_extras(dataset, 1, "prompt");
    char *all = tr_dataset_extras(dataset, 1, NULL);
    cr_assert_str_eq(extras, "{\"z\":[1,2.5,null],\"a\":{\"k\":\"\xC3\xA9\"}}");
    cr_assert_str_eq(none, "{}");
    cr_assert_str_eq(all, "{\"prompt\":\"q\"}");
    cr_assert_str_eq(json_string_value(tr_dataset_value(dataset, 0, "prompt")),
                     "p"); // leaving it out did not remove it
    cr_assert_null(json_string_value(tr_dataset_value(dataset, 0, "z")));
    cr_assert_null(json_string_value(tr_dataset_value(dataset, 1, "a")));
    free(extras);
    free(none);
    free(all);
    tr_dataset_destroy(&dataset);
}

Test(dataset, a_bad_row_is_named_by_file_line_and_column)
{
    static const struct {
        const char *row;
        const char *expected;
    } cases[] = {
        {"{\"prompt\": \"x\"", ":2: malformed JSON"},
        {"{\"prompt\": \"x\"} {}", ":2: malformed JSON"},
        {"{\"prompt\": \"x\", \"prompt\": \"y\"}", ":2: malformed JSON"},
        {"{\"prompt\": \"a\\u0000b\"}", ":2: malformed JSON"},
        {"{\"prompt\": \"\\ud800\"}", ":2: malformed JSON"},
        {"[\"x\"]", ":2: expected a JSON object"},
        {"{\"text\": \"x\"}", ":2: prompt: the column is missing"},
        {"{\"prompt\": \"\"}", ":2: prompt: the text is empty"},
        {"{\"prompt\": 7}", ":2: prompt: expected a text or a list of messages, found a number"},
        {"{\"prompt\": null}", ":2: prompt: expected a text or a list of messages, found null"},
        {"{\"prompt\": {\"role\": \"user\"}}",
         ":2: prompt: expected a text or a list of messages, found an object"},
        {"{\"prompt\": []}", ":2: prompt: the list is empty"},
        {"{\"prompt\": \"a\xC3(\"}", ":2: invalid UTF-8 at byte 14 of the line (0xC3)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = tr_format("{\"prompt\": \"fine\"}\n%s\n", cases[i].row);
        expect_bad(text, strlen(text), cases[i].expected);
        free(text);
    }
    expect_bad("\0\n", 2, ":1: malformed JSON");
    expect_bad("\n \n", 3, ": the file has no rows");
    expect_bad("", 0, ": the file has no rows");
}

Test(dataset, a_missing_file_is_named)
{
    tr_dataset_t *dataset = NULL;
    tr_error_t err = {0};
    cr_assert_eq(tr_dataset_new(&dataset, (const char *const[]){"/no/such.jsonl"}, 1, false, &err),
                 TR_ERR_IO);
    cr_assert_not_null(strstr(err.text, "/no/such.jsonl"), "%s", err.text);
    cr_assert_eq(tr_dataset_new(&dataset, NULL, 0, false, &err), TR_ERR_ARGUMENT);
}

Test(dataset, columns_may_be_demanded_later)
{
    tr_dataset_t *dataset =
        open_text("{\"prompt\": \"p\", \"completion\": \"c\"}\n{\"prompt\": \"q\"}\n", NULL);
    tr_error_t err = {0};
    cr_assert(tr_dataset_has(dataset, "completion"));
    cr_assert_not(tr_dataset_has(dataset, "text"));
    cr_assert_eq(tr_dataset_require(dataset, "prompt", &err), TR_OK);
    cr_assert_eq(tr_dataset_require(dataset, "completion", &err), TR_OK, "one row is left");
    cr_assert_eq(tr_dataset_verdict(dataset, &err), TR_ERR_FORMAT);
    cr_assert_not_null(strstr(err.text, ":2: completion: the column is missing"), "%s", err.text);
    tr_dataset_destroy(&dataset);
}

Test(dataset, gzipped_files_are_read_as_they_are)
{
    char *path = tr_strdup("/tmp/troupe-test-dataset-XXXXXX");
    close(mkstemp(path));
    gzFile stream = gzopen(path, "wb");
    for (int i = 0; i < 1000; i++) {
        gzprintf(stream, "{\"text\": \"row %d\"}\n", i);
    }
    gzclose_w(stream);
    tr_dataset_t *dataset = NULL;
    tr_error_t err = {0};
    cr_assert_eq(tr_dataset_new(&dataset, (const char *const[]){path}, 1, false, &err), TR_OK, "%s",
                 err.text);
    cr_assert_eq(tr_dataset_size(dataset), 1000);
    cr_assert_str_eq(json_string_value(tr_dataset_value(dataset, 999, "text")), "row 999");
    tr_dataset_destroy(&dataset);
    cr_assert_eq(truncate(path, 500), 0);
    cr_assert_eq(tr_dataset_new(&dataset, (const char *const[]){path}, 1, true, &err), TR_ERR_IO);
    cr_assert_not_null(strstr(err.text, path), "%s", err.text);
    unlink(path);
    free(path);
}

Test(dataset, bad_rows_are_dropped_and_counted_where_asked)
{
    const char *text = "{\"text\": \"a\"}\n{\"text\": \n{\"txt\": 1}\n{\"text\": \"b\"}\n[]\n"
                       "{\"text\": \"c\"}\n";
    char *path = file_with(text, strlen(text));
    tr_dataset_t *dataset = NULL;
    tr_error_t err = {0};
    cr_assert_eq(tr_dataset_new(&dataset, (const char *const[]){path}, 1, true, &err), TR_OK, "%s",
                 err.text);
    cr_assert_eq(tr_dataset_require(dataset, "text", &err), TR_OK, "%s", err.text);
    cr_assert_eq(tr_dataset_size(dataset), 3);
    cr_assert_eq(tr_dataset_dropped(dataset), 3);
    tr_fail(&err, TR_ERR_ARGUMENT, "text: I do not like it");
    tr_dataset_refuse(dataset, 1, &err);
    cr_assert_eq(err.status, TR_OK);
    cr_assert_eq(tr_dataset_compact(dataset, &err), TR_OK);
    cr_assert_eq(tr_dataset_size(dataset), 2);
    cr_assert_str_eq(json_string_value(tr_dataset_value(dataset, 1, "text")), "c");
    char *place = tr_dataset_place(dataset, 1);
    cr_assert_not_null(strstr(place, ":6"), "%s", place);
    free(place);
    cr_assert_eq(tr_dataset_require(dataset, "prompt", &err), TR_ERR_FORMAT);
    cr_assert_not_null(strstr(err.text, "all 6 rows"), "%s", err.text);
    tr_dataset_destroy(&dataset);
    unlink(path);
    free(path);
}

Test(dataset, every_mistake_is_listed_to_a_bound_and_all_are_counted)
{
    // every row but the first is bad, in one of two ways
    char *text = tr_strdup("{\"text\": \"a\"}\n");
    for (int i = 1; i < 14; i++) {
        char *longer = tr_format("%s%s", text, i % 2 ? "{\"txt\": \"b\"}\n" : "[]\n");
        free(text);
        text = longer;
    }
    char *path = file_with(text, strlen(text)), *last = tr_format("%s:6: text: ", path);
    tr_dataset_t *dataset = NULL;
    const char *const *mistakes;
    tr_error_t err = {0};
    cr_assert_eq(tr_dataset_new(&dataset, (const char *const[]){path}, 1, false, &err), TR_OK, "%s",
                 err.text);
    cr_assert_eq(tr_dataset_require(dataset, "text", &err), TR_OK, "%s", err.text);
    cr_expect_eq(tr_dataset_size(dataset), 1);
    cr_expect_eq(tr_dataset_dropped(dataset), 13);
    cr_assert_eq(tr_dataset_mistakes(&mistakes, dataset), TR_DATASET_MISTAKES);
    // first what is no object, lines 3 to 13, then what lacks the column: 2, 4, 6 and 8
    cr_expect_not_null(strstr(mistakes[0], ":3: "), "%s", mistakes[0]);
    cr_expect_not_null(strstr(mistakes[5], ":13: "), "%s", mistakes[5]);
    cr_expect_eq(strncmp(mistakes[8], last, strlen(last)), 0, "%s", mistakes[8]);
    cr_assert_eq(tr_dataset_verdict(dataset, &err), TR_ERR_FORMAT);
    cr_expect_eq(strncmp(err.text, mistakes[0], strlen(mistakes[0])), 0, "%s", err.text);
    cr_expect_not_null(strstr(err.text, "(and 12 more bad rows)"), "%s", err.text);
    tr_dataset_destroy(&dataset);
    unlink(path);
    free(last);
    free(path);
    free(text);
}

static tr_order_t seven_rows(uint64_t seed, size_t batch, bool drop_last)
{
    return (tr_order_t){7, batch, seed, .shuffle = true, .drop_last = drop_last};
}

/// Twenty epochs, in which no row comes twice; each takes `taken` rows in `steps` steps.
static void expect_epochs(bool drop_last, uint64_t steps, size_t taken)
{
    const tr_order_t order = seven_rows(5, 2, drop_last);
    cr_assert_eq(tr_order_steps(&order), steps);
    for (uint64_t step = 0, all = 0; step < 20 * steps;) {
        unsigned seen = 0;
        for (uint64_t s = 0; s < steps; s++, step++) {
            uint32_t rows[2];
            size_t count = tr_order_batch(rows, &order, step);
            for (size_t i = 0; i < count; i++) {
                cr_assert_lt(rows[i], 7U);
                cr_assert_eq(seen & (1U << rows[i]), 0U, "row %u twice", rows[i]);
                seen |= 1U << rows[i];
            }
            all += count;
            cr_assert_eq(tr_order_taken(&order, step + 1), all);
        }
        cr_assert_eq((size_t)__builtin_popcount(seen), taken);
    }
}

// PyTorch's DataLoader on 7 rows in batches of 2, without drop_last and with it.
Test(order, an_epoch_takes_every_row_once_or_leaves_out_what_fills_no_batch)
{
    expect_epochs(false, 4, 7);
    expect_epochs(true, 3, 6);
}

// KTO's: seven rows in batches of three and, as one row alone has none to meet, four.
Test(order, a_last_batch_that_is_too_small_joins_the_one_before)
{
    const tr_order_t order = {.size = 7, .batch = 3, .least = 2};
    const tr_order_t enough = {.size = 8, .batch = 3, .least = 2};
    uint32_t rows[5];
    cr_assert_eq(tr_order_steps(&order), 2);
    cr_assert_eq(tr_order_batch(rows, &order, 0), 3);
    cr_assert_eq(tr_order_batch(rows, &order, 3), 4);
    cr_assert(rows[0] == 3 && rows[3] == 6);
    cr_assert_eq(tr_order_taken(&order, 3), 10);
    cr_assert_eq(tr_order_steps(&enough), 3);
    cr_assert_eq(tr_order_batch(rows, &enough, 2), 2);
}

Test(order, depends_on_seed_and_epoch_only)
{
    const tr_order_t whole = seven_rows(1, 7, true), other = seven_rows(2, 7, true),
                     parts = seven_rows(1, 3, false);
    uint32_t a[7], b[7];
    tr_order_batch(a, &whole, 0);
    tr_order_batch(b, &whole, 1);
    cr_assert_neq(memcmp(a, b, sizeof a), 0);
    tr_order_batch(b, &other, 0);
    cr_assert_neq(memcmp(a, b, sizeof a), 0);
    tr_order_batch(b, &whole, 0);
    cr_assert_eq(memcmp(a, b, sizeof a), 0);
    // The second batch of three continues the first epoch's order, and the third ends it.
    cr_assert_eq(tr_order_batch(b, &parts, 1), 3);
    cr_assert_eq(memcmp(a + 3, b, 3 * sizeof *b), 0);
    cr_assert_eq(tr_order_batch(b, &parts, 2), 1);
    cr_assert_eq(a[6], b[0]);
}

Test(order, without_shuffling_rows_come_as_in_the_files)
{
    tr_order_t order = {.size = 7, .batch = 3, .seed = 9};
    uint32_t rows[3];
    cr_assert_eq(tr_order_batch(rows, &order, 1), 3);
    cr_assert(rows[0] == 3 && rows[1] == 4 && rows[2] == 5);
    cr_assert_eq(tr_order_batch(rows, &order, 2), 1);
    cr_assert_eq(rows[0], 6);
    order.drop_last = true;
    cr_assert_eq(tr_order_batch(rows, &order, 2), 3);
    cr_assert(rows[0] == 0 && rows[1] == 1 && rows[2] == 2);
}

Test(dataset, the_openings_of_the_examples_are_prompts)
{
    tr_dataset_t *dataset = NULL;
    tr_error_t err = {0};
    const char *path = TEST_SOURCE_DIR "/examples/data/openings.jsonl";
    cr_assert_eq(tr_dataset_new(&dataset, &path, 1, false, &err), TR_OK, "%s", err.text);
    cr_assert_geq(tr_dataset_size(dataset), 300U);
    cr_assert_not_null(json_string_value(tr_dataset_value(dataset, 0, "hero")));
    tr_dataset_destroy(&dataset);
}
