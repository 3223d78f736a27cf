/// Which reader takes a file, and what the reader of JSON Lines finds in one.
#include "common/data/reader.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

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

TestSuite(reader, .init = setup, .fini = teardown);

Test(reader, the_first_whose_name_and_beginning_fit_takes_a_file)
{
    const tr_reader_t readers[] = {
        {.suffix = ".csv"},
        {.magic = "PAR1"},
        {.suffix = ".arrow", .magic = "ARROW1"},
    };
    static const struct {
        const char *name, *text;
        int reader; // -1: none
    } cases[] = {
        {"rows.csv", "PAR1", 0},         {"rows", "PAR1....", 1},  {"rows.csv.gz", "PAR", -1},
        {"rows.arrow", "ARROW1\n", 2},   {"rows.arrow", "{}", -1}, {"arrow", "ARROW1", -1},
        {"rows.jsonl", "{\"a\":1}", -1}, {"rows.parquet", "", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = scratch_write(folder, cases[i].name, cases[i].text, strlen(cases[i].text));
        const tr_reader_t *expected = cases[i].reader < 0 ? NULL : &readers[cases[i].reader];
        cr_expect_eq(tr_reader_find(readers, 3, path), expected, "%s, '%s'", cases[i].name,
                     cases[i].text);
        free(path);
    }
    cr_expect_null(tr_reader_find(readers + 1, 2, "/no/such.arrow"));
}

/// What a tr_row_fn was given: the column `a` of each row, or B for a bad one, and the lines.
typedef struct seen {
    char values[8]; // [count]
    size_t lines[8];
    size_t count;
    size_t most;         // rows taken before it fails
    char sentence[1024]; // of the last bad row
} seen_t;

static tr_status take(void *context, json_t *columns, size_t line, tr_error_t *err)
{
    seen_t *seen = context;
    if (seen->count == seen->most) {
        json_decref(columns);
        return tr_fail(err, TR_ERR_ARGUMENT, "enough");
    }
    seen->lines[seen->count] = line;
    seen->values[seen->count++] =
        columns == NULL ? 'B' : json_string_value(json_object_get(columns, "a"))[0];
    if (columns == NULL) {
        snprintf(seen->sentence, sizeof seen->sentence, "%s", err->text);
        *err = (tr_error_t){0};
    }
    json_decref(columns);
    return TR_OK;
}

static seen_t read_file(const char *path, size_t most, tr_status expected)
{
    seen_t seen = {.most = most};
    tr_error_t err = {0};
    cr_assert_eq(tr_reader_read(path, take, &seen, &err), expected, "%s", err.text);
    return seen;
}

static const char LINES[] = "\xEF\xBB\xBF{\"a\": \"x\"}\n"
                            " \t\n"
                            "{\"a\": \"y\", \"a\": \"z\"}\r\n"
                            "[1]\n"
                            "{\"a\": \"w\"}";

static void expect_lines(const seen_t *seen)
{
    static const size_t lines[4] = {1, 3, 4, 5};
    cr_expect_str_eq(seen->values, "xBBw");
    cr_expect_arr_eq(seen->lines, lines, sizeof lines);
}

Test(reader, a_line_is_a_row_good_or_bad)
{
    char *path = scratch_write(folder, "rows.jsonl", LINES, sizeof LINES - 1);
    seen_t seen = read_file(path, 8, TR_OK);
    char *expected = tr_format("%s:4: expected a JSON object with columns", path);
    expect_lines(&seen);
    cr_expect_str_eq(seen.sentence, expected);
    free(expected);
    free(path);
}

Test(reader, a_byte_order_mark_is_passed_over_in_the_first_line_alone)
{
    static const char text[] = "{\"a\": \"x\"}\n\xEF\xBB\xBF{\"a\": \"y\"}\n";
    char *path = scratch_write(folder, "rows.jsonl", text, sizeof text - 1);
    seen_t seen = read_file(path, 8, TR_OK);
    cr_expect_str_eq(seen.values, "xB");
    free(path);
}

Test(reader, gzipped_lines_are_the_same_rows)
{
    char *path = scratch_write(folder, "rows", "", 0);
    gzFile stream = gzopen(path, "wb");
    gzwrite(stream, LINES, sizeof LINES - 1);
    gzclose_w(stream);
    seen_t seen = read_file(path, 8, TR_OK);
    expect_lines(&seen);
    free(path);
}

Test(reader, reading_ends_when_a_row_is_not_taken)
{
    char *path = scratch_write(folder, "rows.jsonl", LINES, sizeof LINES - 1);
    seen_t seen = read_file(path, 2, TR_ERR_ARGUMENT);
    cr_expect_str_eq(seen.values, "xB");
    free(path);
}

Test(reader, an_empty_file_has_no_rows_and_a_missing_one_is_an_error)
{
    char *path = scratch_write(folder, "rows.jsonl", "", 0);
    seen_t seen = read_file(path, 8, TR_OK);
    cr_expect_eq(seen.count, 0);
    read_file("/no/such.jsonl", 8, TR_ERR_IO);
    free(path);
}
