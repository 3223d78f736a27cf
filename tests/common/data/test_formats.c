/// Data files of each format: the rows that other libraries read of them (tests/golden/data.py),
/// and a sentence for files that are damaged.
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/data/reader.h"
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

TestSuite(formats, .init = setup, .fini = teardown);

static char *golden(const char *name)
{
    return tr_format("%s/tests/golden/data/%s", TEST_SOURCE_DIR, name);
}

/// The rows of a golden file are those of an array in another, and lie on these lines: [rows];
/// NULL: on any.
static void expect_rows(const char *name, const char *rows, const size_t *lines)
{
    char *path = golden(name), *expected_path = golden(rows);
    json_t *expected = json_load_file(expected_path, 0, NULL);
    cr_assert(json_is_array(expected), "%s", expected_path);
    tr_data_file_t *file;
    tr_error_t err = {0};
    cr_assert_eq(tr_data_file_open(&file, path, &err), TR_OK, "%s", err.text);
    cr_assert_eq(file->rows, json_array_size(expected), "%s: %zu rows", name, file->rows);
    // Backwards: no row may need the one before it.
    for (size_t i = file->rows; i-- > 0;) {
        json_t *columns = NULL;
        cr_assert_eq(file->reader->read(&columns, file, i, &err), TR_OK, "%s: row %zu: %s", name, i,
                     err.text);
        json_object_del(columns, "\001flaws");
        char *found = json_dumps(columns, JSON_SORT_KEYS);
        char *wanted = json_dumps(json_array_get(expected, i), JSON_SORT_KEYS);
        cr_expect_str_eq(found, wanted, "%s: row %zu", name, i);
        if (lines != NULL) {
            cr_expect_eq(file->reader->line(file, i), lines[i], "%s: row %zu: line %zu", name, i,
                         file->reader->line(file, i));
        }
        free(found);
        free(wanted);
        json_decref(columns);
    }
    tr_data_file_close(&file);
    json_decref(expected);
    free(expected_path);
    free(path);
}

/// Opening the file fails with a sentence that holds its name and these words.
static void expect_refused(const char *path, const char *words)
{
    tr_data_file_t *file = NULL;
    tr_error_t err = {0};
    cr_assert_neq(tr_data_file_open(&file, path, &err), TR_OK, "%s: not refused", words);
    cr_expect_not_null(strstr(err.text, path), "%s", err.text);
    cr_expect_not_null(strstr(err.text, words), "'%s', not '%s'", err.text, words);
}

static void expect_text_refused(const char *name, const char *text, const char *words)
{
    char *path = scratch_write(folder, name, text, strlen(text));
    expect_refused(path, words);
    free(path);
}

/// A golden file without what stands behind its first bytes.
static void expect_cut_refused(const char *name, size_t bytes, const char *words)
{
    size_t length;
    char *source = golden(name), *data = scratch_read(source, &length);
    char *path = scratch_write(folder, name, data, bytes);
    cr_assert_lt(bytes, length);
    expect_refused(path, words);
    free(path);
    free(data);
    free(source);
}

Test(formats, an_array_of_objects_is_rows)
{
    static const size_t indented[6] = {3, 8, 23, 41, 46, 51}, row[6] = {1, 2, 3, 4, 5, 6};
    expect_rows("rows.json", "rows.json", row);
    expect_rows("rows_indented.json", "rows.json", indented);
    expect_rows("rows_crlf.json", "rows.json", NULL);
}

Test(formats, packed_files_have_the_rows_of_the_unpacked)
{
    static const size_t line[6] = {1, 2, 3, 4, 5, 6};
    expect_rows("rows.jsonl.gz", "rows.json", line);
    expect_rows("rows.jsonl.zst", "rows.json", line);
    expect_rows("rows.json.zst", "rows.json", line);
}

Test(formats, packed_files_that_are_cut_off_are_refused)
{
    expect_cut_refused("rows.jsonl.zst", 200, "unexpected end of file");
    expect_cut_refused("rows.jsonl.zst", 8, "unexpected end of file");
    expect_cut_refused("rows.jsonl.gz", 200, "unexpected end of file");
}

Test(formats, an_array_without_end_is_refused_by_the_line_of_its_last_row)
{
    expect_text_refused("a.json", "[{\"a\": 1},\n{\"a\": 2},\n\n {\"a\":\n", "a.json:4: malformed");
    expect_text_refused("a.json", "[\n", "does not end");
    expect_text_refused("a.json", "[{\"a\": \"}]\n", "does not end");
    expect_text_refused("a.json", "[{\"a\": 1}\n,]", "a.json:2: malformed JSON: ']'");
    expect_text_refused("a.json", "[,{\"a\": 1}]", "malformed JSON: ','");
    expect_text_refused("a.json", "[{\"a\": 1}]\n]", "a.json:2: malformed JSON: text behind");
}

Test(formats, an_element_that_is_no_object_is_a_bad_row)
{
    static const char text[] = "[{\"a\": \"]\"}, 1, {\"a\": 2]}, {\"a\" 1}, {}]";
    char *path = scratch_write(folder, "a.json", text, sizeof text - 1);
    tr_data_file_t *file;
    tr_error_t err = {0};
    cr_assert_eq(tr_data_file_open(&file, path, &err), TR_OK, "%s", err.text);
    cr_assert_eq(file->rows, 5);
    for (size_t i = 0; i < 5; i++) {
        json_t *columns = NULL;
        tr_status status = file->reader->read(&columns, file, i, &err);
        cr_expect_eq(status, i % 4 == 0 ? TR_OK : TR_ERR_FORMAT, "row %zu: %s", i, err.text);
        json_decref(columns);
    }
    tr_data_file_close(&file);
    char *empty = scratch_write(folder, "b.json", " [ ]", 4);
    cr_assert_eq(tr_data_file_open(&file, empty, &err), TR_OK, "%s", err.text);
    cr_expect_eq(file->rows, 0);
    tr_data_file_close(&file);
    free(empty);
    free(path);
}

Test(formats, csv_has_the_rows_that_datasets_reads)
{
    static const size_t quotes[5] = {3, 8, 9, 10, 11}, returns[2] = {2, 4};
    expect_rows("csv_types.csv", "csv_types.json", (const size_t[]){2, 3, 4});
    expect_rows("csv_missing.csv", "csv_missing.json", (const size_t[]){2, 3, 4, 5});
    expect_rows("csv_quotes.csv", "csv_quotes.json", quotes);
    expect_rows("csv_returns.csv", "csv_returns.json", returns);
    expect_rows("csv_tabs.tsv", "csv_tabs.json", (const size_t[]){2, 3, 4});
}

Test(formats, csv_with_an_open_quote_or_a_cell_too_many_is_named)
{
    expect_text_refused("a.csv", "a,b\n1,\"x\ny\n2,z\n", "a.csv:2: a quote of the row");
    expect_text_refused("a.csv", "a,\xFF\n1,2\n", "the name of column 2 is no text in UTF-8");
    char *path = scratch_write(folder, "a.csv", "a,b\n1,2\n1,2,3\n", 14);
    tr_data_file_t *file;
    json_t *columns;
    tr_error_t err = {0};
    cr_assert_eq(tr_data_file_open(&file, path, &err), TR_OK, "%s", err.text);
    cr_assert_eq(file->rows, 2);
    cr_expect_eq(file->reader->read(&columns, file, 1, &err), TR_ERR_FORMAT);
    cr_expect_not_null(strstr(err.text, "3 cells where the header has 2"), "%s", err.text);
    tr_data_file_close(&file);
    free(path);
}
