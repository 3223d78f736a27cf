/// Which reader takes a file, and what the reader of JSON Lines finds in one.
#include "common/data/reader.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

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
    static const tr_reader_t csv = {.suffix = ".csv"}, parquet = {.magic = "PAR1"},
                             arrow = {.suffix = ".arrow", .magic = "ARROW1"};
    const tr_reader_t *const readers[] = {&csv, &parquet, &arrow};
    static const struct {
        const char *name, *text;
        int reader; // -1: none
    } cases[] = {
        {"rows.csv", "PAR1", 0},         {"rows", "PAR1....", 1},  {"rows.csv.gz", "PAR", 0},
        {"rows.arrow", "ARROW1\n", 2},   {"rows.arrow", "{}", -1}, {"arrow", "ARROW1", -1},
        {"rows.jsonl", "{\"a\":1}", -1}, {"rows.parquet", "", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = scratch_write(folder, cases[i].name, cases[i].text, strlen(cases[i].text));
        const tr_reader_t *expected = cases[i].reader < 0 ? NULL : readers[cases[i].reader];
        cr_expect_eq(tr_reader_find(readers, 3, path), expected, "%s, '%s'", cases[i].name,
                     cases[i].text);
        free(path);
    }
    cr_expect_null(tr_reader_find(readers + 1, 2, "/no/such.arrow"));
}

static const char LINES[] = "\xEF\xBB\xBF{\"a\": \"x\"}\n"
                            " \t\n"
                            "{\"a\": \"y\" \"a\": \"z\"}\r\n"
                            "[1]\n"
                            "{\"a\": \"w\"}";

static tr_data_file_t *open_file(const char *path)
{
    tr_data_file_t *file;
    tr_error_t err = {0};
    cr_assert_eq(tr_data_file_open(&file, path, &err), TR_OK, "%s", err.text);
    return file;
}

/// Row after row: the column `a`, or B for a bad one. lines: of each.
static void expect_rows(const tr_data_file_t *file, const char *values, const size_t *lines)
{
    cr_assert_eq(file->rows, strlen(values));
    for (size_t i = 0; i < file->rows; i++) {
        json_t *columns;
        tr_error_t err = {0};
        tr_status status = file->reader->read(&columns, file, i, &err);
        cr_expect_eq(status, values[i] == 'B' ? TR_ERR_FORMAT : TR_OK, "row %zu: %s", i, err.text);
        if (status == TR_OK) {
            cr_expect_eq(json_string_value(json_object_get(columns, "a"))[0], values[i]);
            json_decref(columns);
        }
        cr_expect_eq(file->reader->line(file, i), lines[i], "row %zu", i);
    }
}

static const size_t LINE_NUMBERS[4] = {1, 3, 4, 5};

Test(reader, a_line_is_a_row_good_or_bad)
{
    char *path = scratch_write(folder, "rows.jsonl", LINES, sizeof LINES - 1);
    tr_data_file_t *file = open_file(path);
    expect_rows(file, "xBBw", LINE_NUMBERS);
    tr_data_file_close(&file);
    cr_expect_null(file);
    free(path);
}

Test(reader, a_byte_order_mark_is_passed_over_in_the_first_line_alone)
{
    static const char text[] = "{\"a\": \"x\"}\n\xEF\xBB\xBF{\"a\": \"y\"}\n";
    char *path = scratch_write(folder, "rows.jsonl", text, sizeof text - 1);
    tr_data_file_t *file = open_file(path);
    expect_rows(file, "xB", (const size_t[]){1, 2});
    tr_data_file_close(&file);
    free(path);
}

Test(reader, objects_may_go_on_over_several_lines)
{
    static const char text[] = "\n{\r\n  \"a\": \"x\",\n \"b\": [\n\"}{\\\"\"]\n}{\"a\": \"y\"}\n\n"
                               "{\"a\":\n\"z\"}\n{\"b\"}";
    char *path = scratch_write(folder, "rows.json", text, sizeof text - 1);
    tr_data_file_t *file = open_file(path);
    expect_rows(file, "xyzB", (const size_t[]){2, 6, 8, 10});
    tr_data_file_close(&file);
    free(path);
}

/// A file that cannot be opened, and what is said of it.
static void expect_refused(const char *text, size_t length, tr_status status, const char *sentence)
{
    tr_data_file_t *file;
    tr_error_t err = {0};
    char *path = scratch_write(folder, "rows", text, length);
    cr_expect_eq(tr_data_file_open(&file, path, &err), status);
    cr_expect_not_null(strstr(err.text, sentence), "%s", err.text);
    free(path);
}

Test(reader, what_is_no_file_of_rows_is_said)
{
    expect_refused("{\n \"a\": 1\n", 11, TR_ERR_FORMAT, "rows:1: malformed JSON: the object that");
    expect_refused("{\n}, {}", 7, TR_ERR_FORMAT, "rows:2: malformed JSON: ',' where an object is");
    expect_refused("PK\003\004", 4, TR_ERR_UNSUPPORTED, "rows' is a zip archive");
    expect_refused("BZh91AY", 7, TR_ERR_UNSUPPORTED, "rows' is packed by bzip2, which is not read");
    expect_refused("\xFD"
                   "7zXZ",
                   5, TR_ERR_UNSUPPORTED, "rows' is packed by xz");
    expect_refused("ARROW1\0\0", 8, TR_ERR_UNSUPPORTED, "rows' is an Arrow file");
    expect_refused("\xFF\xFE{\0}\0", 6, TR_ERR_UNSUPPORTED, "rows' is text in UTF-16");
}

static char *gzip(const char *name, const char *text, size_t length)
{
    char *path = scratch_write(folder, name, "", 0);
    gzFile stream = gzopen(path, "wb");
    gzwrite(stream, text, (unsigned)length);
    gzclose_w(stream);
    return path;
}

Test(reader, gzipped_lines_are_the_same_rows)
{
    char *path = gzip("rows", LINES, sizeof LINES - 1);
    char *plain = scratch_write(folder, "plain", LINES, sizeof LINES - 1);
    tr_data_file_t *file = open_file(path), *same = open_file(plain);
    expect_rows(file, "xBBw", LINE_NUMBERS);
    cr_expect_eq(file->checksum, same->checksum);
    tr_data_file_close(&file);
    tr_data_file_close(&same);
    free(plain);
    free(path);
}

Test(reader, gzipped_bytes_that_were_cut_off_are_an_error)
{
    tr_data_file_t *file;
    tr_error_t err = {0};
    char *text = tr_alloc(100000);
    for (size_t i = 0; i < 100000; i++) { // nothing that gets much shorter
        text[i] = (char)('!' + i * i % 89);
    }
    char *path = gzip("rows", text, 100000);
    cr_assert_eq(truncate(path, 200), 0);
    cr_expect_eq(tr_data_file_open(&file, path, &err), TR_ERR_IO);
    char *expected = tr_format("cannot read '%s' to its end: unexpected end of file", path);
    cr_expect_str_eq(err.text, expected);
    free(expected);
    free(path);
    free(text);
}

Test(reader, frames_that_zstd_passes_over_may_come_first)
{
    static const char row[] =
        "{\"a\": \"x\"}\n"; // as pzstd has it: a frame with the next one's size
    char packed[200] = "\x50\x2A\x4D\x18\x04\0\0\0size";
    size_t n = 12 + ZSTD_compress(packed + 12, sizeof packed - 12, row, sizeof row - 1, 1);
    char *path = scratch_write(folder, "rows", packed, n);
    tr_data_file_t *file = open_file(path);
    expect_rows(file, "x", (const size_t[]){1});
    tr_data_file_close(&file);
    free(path);
}

// Three mebibytes in all, so that lines lie across the blocks in which a file is read, and one of
// them is longer than a block.
Test(reader, lines_may_be_longer_than_a_block_and_lie_across_two)
{
    enum { ROWS = 5, LONGEST = 1500000 };
    static const size_t lengths[ROWS] = {700000, 600000, LONGEST, 3, 400000};
    char *path = tr_format("%s/rows", folder), *text = tr_alloc(LONGEST + 1);
    FILE *out = fopen(path, "w");
    for (size_t i = 0; i < ROWS; i++) {
        memset(text, 'a' + (int)i, lengths[i]);
        text[lengths[i]] = '\0';
        fprintf(out, "%s{\"a\": \"%s\"}\n", i == 3 ? "\n\n" : "", text);
    }
    fclose(out);
    tr_data_file_t *file = open_file(path);
    expect_rows(file, "abcde", (const size_t[]){1, 2, 3, 6, 7});
    for (size_t i = 0; i < ROWS; i++) {
        json_t *columns;
        tr_error_t err = {0};
        cr_assert_eq(file->reader->read(&columns, file, i, &err), TR_OK);
        cr_expect_eq(json_string_length(json_object_get(columns, "a")), lengths[i]);
        json_decref(columns);
    }
    tr_data_file_close(&file);
    free(text);
    free(path);
}

Test(reader, a_row_that_changes_after_it_was_found_is_an_error)
{
    static const char text[] = "{\"a\": \"x\"}\n{\"a\": \"y\"}\n";
    char *path = scratch_write(folder, "rows.jsonl", text, sizeof text - 1);
    tr_data_file_t *file = open_file(path);
    FILE *out = fopen(path, "r+");
    fseek(out, (long)sizeof text - 1 - 4, SEEK_SET);
    fputc('z', out); // the second row's value
    fclose(out);
    json_t *columns;
    tr_error_t err = {0};
    cr_assert_eq(file->reader->read(&columns, file, 0, &err), TR_OK, "%s", err.text);
    json_decref(columns);
    cr_expect_eq(file->reader->read(&columns, file, 1, &err), TR_ERR_IO);
    cr_assert_eq(truncate(path, 0), 0);
    cr_expect_eq(file->reader->read(&columns, file, 0, &err), TR_ERR_IO);
    tr_data_file_close(&file);
    free(path);
}

Test(reader, an_empty_file_has_no_rows_and_a_missing_one_is_an_error)
{
    char *path = scratch_write(folder, "rows.jsonl", "", 0);
    tr_data_file_t *file = open_file(path);
    tr_error_t err = {0};
    cr_expect_eq(file->rows, 0);
    tr_data_file_close(&file);
    cr_expect_eq(tr_data_file_open(&file, "/no/such.jsonl", &err), TR_ERR_IO);
    cr_expect_eq(tr_data_file_open(&file, folder, &err), TR_ERR_IO);
    free(path);
}
