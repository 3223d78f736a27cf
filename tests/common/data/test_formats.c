/// Data files of each format: the rows that other libraries read of them (tests/golden/data.py),
/// and a sentence for files that are damaged.
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/data/reader.h"
#include "common/text/json.h"
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
        cr_expect_str_eq(found, wanted, "%s: row %zu: %s, not %s", name, i, found, wanted);
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

Test(formats, a_pipe_has_the_rows_of_a_file)
{
    static const char *const files[] = {"rows.json", "rows.jsonl", "rows.jsonl.gz",
                                        "rows.json.zst"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        size_t length;
        char *source = golden(files[i]), *data = scratch_read(source, &length);
        int ends[2];
        tr_data_file_t *file;
        tr_error_t err = {0};
        cr_assert_eq(pipe(ends), 0);
        cr_assert_eq(write(ends[1], data, length), (ssize_t)length); // a pipe holds as much
        close(ends[1]);
        char *path = tr_format("/dev/fd/%d", ends[0]);
        cr_assert_eq(tr_data_file_open(&file, path, &err), TR_OK, "%s", err.text);
        cr_expect_eq(file->rows, 6, "%s: %zu rows", files[i], file->rows);
        tr_data_file_close(&file);
        close(ends[0]);
        free(path);
        free(data);
        free(source);
    }
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

Test(formats, parquet_has_the_rows_that_pyarrow_reads)
{
    static const char *const files[] = {
        "snappy",    "zstd_v2", "gzip_plain", "brotli_pages",     "lz4_v2_pages",
        "plain_old", "delta",   "delta_v2",   "small_dictionary",
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *name = tr_format("parquet_%s.parquet", files[i]);
        expect_rows(name, "parquet_nested.json", NULL);
        free(name);
    }
    static const size_t rows[5] = {1, 2, 3, 4, 5};
    expect_rows("parquet_types.parquet", "parquet_types.json", rows);
    expect_rows("parquet_types_v2.parquet", "parquet_types.json", rows);
    expect_rows("parquet_int96.parquet", "parquet_int96.json", rows);
}

// Damage

Test(formats, a_parquet_file_that_is_none_or_cut_off_is_refused)
{
    expect_text_refused("a.parquet", "version https://git-lfs.github.com/spec/v1\n",
                        "a.parquet: no Parquet file: it does not begin with PAR1");
    expect_cut_refused("parquet_snappy.parquet", 9000, "is cut off");
}

/// A golden file with bits of a byte changed.
static tr_data_file_t *open_changed(const char *name, size_t at, char bits)
{
    size_t length;
    char *source = golden(name), *data = scratch_read(source, &length);
    data[at] = (char)(data[at] ^ bits);
    char *path = scratch_write(folder, name, data, length);
    tr_data_file_t *file;
    tr_error_t err = {0};
    cr_assert_eq(tr_data_file_open(&file, path, &err), TR_OK, "%s", err.text);
    free(path);
    free(data);
    free(source);
    return file;
}

/// The first row's flaw of a column holds these words, and another column is as it was.
static void expect_flaw(const tr_data_file_t *file, const char *column, const char *words)
{
    json_t *columns = NULL;
    tr_error_t err = {0};
    cr_assert_eq(file->reader->read(&columns, file, 0, &err), TR_OK, "%s", err.text);
    const char *flaw = tr_json_flaw(columns, column);
    cr_assert_not_null(flaw, "%s", column);
    cr_expect_not_null(strstr(flaw, words), "%s: %s", column, flaw);
    cr_expect(json_is_null(json_object_get(columns, column)));
    cr_expect_str_eq(json_string_value(json_object_get(columns, "text")), "text of row 0");
    cr_expect_null(tr_json_flaw(columns, "text"));
    json_decref(columns);
}

// Offsets in these golden files, whose first page is at 4 (gzip) and 420 (pyarrow's metadata says
// so): a byte of the compressed values, and the number of the encoding.
Test(formats, a_parquet_column_that_cannot_be_read_spoils_no_other)
{
    tr_data_file_t *file = open_changed("parquet_gzip_plain.parquet", 4 + 150, 1);
    expect_flaw(file, "id", "what cannot be read: a page whose checksum is another");
    tr_data_file_close(&file);
    file = open_changed("parquet_plain_old.parquet", 420 + 10, 0x10);
    expect_flaw(file, "id", "values in encoding 10: write the file anew");
    tr_data_file_close(&file);
}

Test(formats, a_parquet_file_that_changes_after_it_was_opened_is_an_error)
{
    size_t length;
    char *source = golden("parquet_snappy.parquet"), *data = scratch_read(source, &length);
    char *path = scratch_write(folder, "a.parquet", data, length);
    tr_data_file_t *file;
    json_t *columns = NULL;
    tr_error_t err = {0};
    cr_assert_eq(tr_data_file_open(&file, path, &err), TR_OK, "%s", err.text);
    cr_assert_eq(truncate(path, (off_t)length - 1), 0);
    cr_expect_eq(file->reader->read(&columns, file, 0, &err), TR_ERR_IO);
    cr_expect_null(columns);
    tr_data_file_close(&file);
    free(path);
    free(data);
    free(source);
}

/// Each row of the file, at most 100, is an object or a sentence; or else the file is one.
static void expect_rows_or_sentences(const char *path, const char *what)
{
    tr_data_file_t *file = NULL;
    tr_error_t err = {0};
    if (tr_data_file_open(&file, path, &err) != TR_OK) {
        cr_expect_neq(err.text[0], '\0', "%s: no sentence", what);
        return;
    }
    for (size_t i = 0; i < file->rows && i < 100; i++) {
        json_t *columns = NULL;
        tr_error_t bad = {0};
        tr_status status = file->reader->read(&columns, file, i, &bad);
        cr_expect_eq(json_is_object(columns), status == TR_OK, "%s: row %zu", what, i);
        cr_expect_eq(bad.text[0] != '\0', status != TR_OK, "%s: row %zu", what, i);
        json_decref(columns);
    }
    tr_data_file_close(&file);
}

/// A number below the bound, by splitmix64.
static size_t draw(uint64_t *state, size_t bound)
{
    uint64_t x = *state += 0x9E3779B97F4A7C15;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    return (size_t)((x ^ (x >> 31)) % bound);
}

/// Changes data: [length] here and there: its new length.
static size_t damage(char *data, size_t length, uint64_t *state)
{
    static const unsigned char bytes[] = {0, 1, 0x7f, 0x80, 0xff, '"', ',', '\n'};
    for (size_t n = 1 + draw(state, 4); n > 0 && length > 0; n--) {
        size_t at = draw(state, length), kind = draw(state, 6), run = 1 + draw(state, 8);
        run = run < length - at ? run : length - at;
        if (kind == 0) {
            data[at] = (char)(data[at] ^ (1 << draw(state, 8)));
        } else if (kind == 1) {
            data[at] = (char)bytes[draw(state, sizeof bytes)];
        } else if (kind == 2) {
            data[at] = (char)(data[at] + (draw(state, 2) ? 1 : -1));
        } else if (kind == 3) {
            memset(data + at, (char)bytes[draw(state, sizeof bytes)], run);
        } else if (kind == 4) { // a run is lost
            memmove(data + at, data + at + run, length - at - run);
            length -= run;
        } else { // a run comes from elsewhere
            memmove(data + at, data + draw(state, length - run + 1), run);
        }
    }
    return length;
}

Test(formats, a_damaged_file_gives_rows_or_a_sentence, .timeout = 600)
{
    static const char *const files[] = {
        "rows.json",
        "rows_indented.json",
        "rows.jsonl.zst",
        "rows.jsonl.gz",
        "csv_types.csv",
        "csv_quotes.csv",
        "parquet_types.parquet",
        "parquet_types_v2.parquet",
        "parquet_snappy.parquet",
        "parquet_plain_old.parquet",
        "parquet_delta.parquet",
        "parquet_delta_v2.parquet",
        "parquet_lz4_v2_pages.parquet",
        "parquet_brotli_pages.parquet",
        "parquet_zstd_v2.parquet",
        "parquet_small_dictionary.parquet",
    };
    const size_t count = sizeof files / sizeof *files;
    const size_t rounds = getenv("TROUPE_TEST_BRIEF") != NULL ? 25 : 250;
    uint64_t state = 0;
    for (size_t f = 0; f < count; f++) {
        size_t length;
        char *source = golden(files[f]), *data = scratch_read(source, &length);
        char *copy = tr_alloc(length);
        // Half of the damage to a Parquet file goes to its footer, which says where all is.
        const bool footed = strstr(files[f], ".parquet") != NULL;
        const size_t footer = footed ? 8 + (unsigned char)data[length - 8] +
                                           256 * (size_t)(unsigned char)data[length - 7]
                                     : length;
        for (size_t round = 0; round < rounds; round++) {
            size_t from = footed && round % 2 ? length - footer : 0;
            memcpy(copy, data, length);
            size_t kept = damage(copy + from, length - from, &state);
            if (footed) { // so that it is opened
                memcpy(copy + from + kept - 8, data + length - 8, 8);
            }
            char *path = scratch_write(folder, files[f], copy, from + kept);
            char *what = tr_format("%s, round %zu", files[f], round);
            expect_rows_or_sentences(path, what);
            free(what);
            free(path);
        }
        free(copy);
        free(data);
        free(source);
    }
}
