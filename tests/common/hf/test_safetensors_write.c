/// Writing safetensors files: what is read back, and a disk that is full.
#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/hf/safetensors.h"
#include "tests/support/scratch.h"

static const float FLOATS[6] = {1.0f, -2.5f, 0.0f, 1e-40f, 3e38f, -0.0f};
static const int64_t WIDE[2] = {-1, INT64_MAX};
static const uint8_t BYTES[3] = {1, 2, 255};
static const int32_t NUMBER = -7;

static const tr_safetensors_entry_t ENTRIES[] = {
    {"z.bytes", TR_U8, 1, {3}, BYTES, NULL},     {"matrix", TR_F32, 2, {2, 3}, FLOATS, NULL},
    {"a.number", TR_I32, 0, {0}, &NUMBER, NULL}, {"vector", TR_F32, 1, {4}, FLOATS, NULL},
    {"wide", TR_I64, 1, {2}, WIDE, NULL},        {"nothing", TR_F64, 2, {0, 5}, NULL, NULL},
};
enum { COUNT = sizeof ENTRIES / sizeof *ENTRIES };

static const tr_safetensors_pair_t PAIR = {"format", "\"quoted\"\n\xc3\xa9"};

static void write_ok(const char *path, const tr_safetensors_entry_t *entries, size_t count,
                     const tr_safetensors_pair_t *pair)
{
    tr_error_t err = {0};
    cr_assert_eq(tr_safetensors_write(path, entries, count, pair, &err), TR_OK, "%s", err.text);
}

Test(safetensors_write, what_is_written_is_read_back)
{
    char *folder = scratch_open();
    char *path = tr_format("%s/x.safetensors", folder);
    tr_safetensors_t *file = NULL;
    tr_error_t err = {0};
    float floats[6];
    int64_t wide[2];
    uint8_t bytes[3];
    int32_t number;
    write_ok(path, ENTRIES, COUNT, &PAIR);
    cr_assert_eq(tr_safetensors_open(&file, path, &err), TR_OK, "%s", err.text);
    cr_expect_eq(tr_safetensors_count(file), COUNT);
    cr_assert_eq(tr_safetensors_read(file, "matrix", floats, 2, 3, &err), TR_OK, "%s", err.text);
    cr_expect_arr_eq(floats, FLOATS, sizeof FLOATS);
    cr_assert_eq(tr_safetensors_copy(file, "wide", TR_I64, wide, 2, &err), TR_OK);
    cr_expect_arr_eq(wide, WIDE, sizeof WIDE);
    cr_assert_eq(tr_safetensors_copy(file, "z.bytes", TR_U8, bytes, 3, &err), TR_OK);
    cr_expect_arr_eq(bytes, BYTES, sizeof BYTES);
    cr_assert_eq(tr_safetensors_copy(file, "a.number", TR_I32, &number, 1, &err), TR_OK);
    cr_expect_eq(number, NUMBER);
    cr_expect_eq(tr_safetensors_find(file, "nothing")->rank, 2);
    cr_expect_str_eq(tr_safetensors_metadata(file, "format"), PAIR.value);
    tr_safetensors_close(&file);
    cr_expect_eq(scratch_count(folder), 1, "a temporary file stays");
    free(path);
    scratch_close(&folder);
}

Test(safetensors_write, the_order_of_the_entries_does_not_reach_the_file)
{
    char *folder = scratch_open();
    char *path = tr_format("%s/x.safetensors", folder);
    size_t n, m;
    tr_safetensors_entry_t turned[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        turned[i] = ENTRIES[(i * 5 + 3) % COUNT];
    }
    write_ok(path, ENTRIES, COUNT, &PAIR);
    char *one = scratch_read(path, &n);
    write_ok(path, turned, COUNT, &PAIR);
    char *two = scratch_read(path, &m);
    cr_assert_eq(n, m);
    cr_expect_arr_eq(one, two, n);
    free(two);
    free(one);
    free(path);
    scratch_close(&folder);
}

Test(safetensors_write, the_bytes_are_those_of_the_format)
{
    const char *header = "{\"__metadata__\":{\"format\":\"pt\"},"
                         "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                         "\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[8,11]}}";
    const tr_safetensors_pair_t pair = {"format", "pt"};
    const tr_safetensors_entry_t entries[] = {{"a", TR_U8, 1, {3}, BYTES, NULL},
                                              {"b", TR_F32, 1, {2}, FLOATS, NULL}};
    char *folder = scratch_open();
    char *path = tr_format("%s/x.safetensors", folder);
    size_t length;
    uint64_t claimed;
    write_ok(path, entries, 2, &pair);
    char *bytes = scratch_read(path, &length);
    memcpy(&claimed, bytes, 8);
    size_t text = strlen(header);
    cr_assert_eq(claimed, (text + 7) / 8 * 8);
    cr_assert_eq(length, 8 + claimed + 11);
    cr_expect_arr_eq(bytes + 8, header, text);
    for (size_t i = text; i < claimed; i++) {
        cr_expect_eq(bytes[8 + i], ' ');
    }
    cr_expect_arr_eq(bytes + 8 + claimed, FLOATS, 8);
    cr_expect_arr_eq(bytes + 8 + claimed + 8, BYTES, 3);
    free(bytes);
    free(path);
    scratch_close(&folder);
}

/// Refused, and the file that stood there is untouched.
static void expect_refused(const tr_safetensors_entry_t *entries, size_t count,
                           const tr_safetensors_pair_t *pair, tr_status status, const char *words)
{
    char *folder = scratch_open();
    char *path = scratch_write(folder, "x.safetensors", "old", 3);
    tr_error_t err = {0};
    cr_expect_eq(tr_safetensors_write(path, entries, count, pair, &err), status);
    cr_expect_not_null(strstr(err.text, words), "'%s' lacks '%s'", err.text, words);
    char *text = scratch_read(path, NULL);
    cr_expect_str_eq(text, "old");
    cr_expect_eq(scratch_count(folder), 1, "a temporary file stays");
    free(text);
    free(path);
    scratch_close(&folder);
}

Test(safetensors_write, what_cannot_be_written_is_named_and_leaves_the_old_file)
{
    const tr_safetensors_entry_t twice[] = {ENTRIES[1], ENTRIES[0], ENTRIES[1]};
    const tr_safetensors_entry_t broken = {"\xff", TR_F32, 1, {2}, FLOATS, NULL};
    const tr_safetensors_entry_t reserved = {"__metadata__", TR_F32, 1, {2}, FLOATS, NULL};
    const tr_safetensors_entry_t deep = {"deep", TR_F32, 9, {1, 1, 1, 1, 1, 1, 1, 1}, FLOATS, NULL};
    const tr_safetensors_pair_t wrong = {"a", "\xff"};
    expect_refused(twice, 3, NULL, TR_ERR_ARGUMENT, "tensor 'matrix' comes twice");
    expect_refused(&broken, 1, NULL, TR_ERR_ARGUMENT, "UTF-8");
    expect_refused(&reserved, 1, NULL, TR_ERR_ARGUMENT, "__metadata__");
    expect_refused(&deep, 1, NULL, TR_ERR_ARGUMENT, "9 dimensions");
    expect_refused(ENTRIES, COUNT, &wrong, TR_ERR_ARGUMENT, "UTF-8");
}

static tr_status read_floats(const void *context, void *out, size_t first, size_t count,
                             tr_error_t *err)
{
    (void)err;
    memcpy(out, (const float *)context + first, count * sizeof(float));
    return TR_OK;
}

Test(safetensors_write, a_disk_that_refuses_is_reported_and_leaves_the_old_file)
{
    enum { LARGE = 300000 }; // past the limit in the middle of the data
    float *data = tr_calloc(LARGE, sizeof *data);
    const tr_safetensors_entry_t plain = {"x", TR_F32, 1, {LARGE}, data, NULL};
    const tr_safetensors_source_t source = {read_floats, data};
    const tr_safetensors_entry_t asked = {"x", TR_F32, 1, {LARGE}, NULL, &source};
    const struct rlimit limit = {400000, 400000};
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    expect_refused(&plain, 1, NULL, TR_ERR_IO, "File too large");
    expect_refused(&asked, 1, NULL, TR_ERR_IO, "File too large");
    free(data);
}

Test(safetensors_write, a_folder_that_is_not_there_is_named)
{
    tr_error_t err = {0};
    cr_expect_eq(tr_safetensors_write("/nonexistent/x", ENTRIES, COUNT, NULL, &err), TR_ERR_IO);
    cr_expect_not_null(strstr(err.text, "/nonexistent/x"), "%s", err.text);
}

static tr_status read_none(const void *context, void *out, size_t first, size_t count,
                           tr_error_t *err)
{
    (void)context, (void)out;
    return first + count < 200001 ? TR_OK : tr_fail(err, TR_ERR_MEMORY, "the device is lost");
}

Test(safetensors_write, values_asked_for_by_pieces_give_the_bytes_of_those_in_memory)
{
    enum { MANY = 200001 };
    char *folder = scratch_open();
    char *path = tr_format("%s/x.safetensors", folder);
    float *data = tr_calloc(MANY, sizeof *data);
    for (size_t i = 0; i < MANY; i++) {
        data[i] = (float)i * 0.37f;
    }
    const tr_safetensors_source_t source = {read_floats, data}, lost = {read_none, NULL};
    const tr_safetensors_entry_t plain[] = {{"x", TR_F32, 1, {MANY}, data, NULL},
                                            {"y", TR_F32, 1, {MANY}, data, NULL}};
    const tr_safetensors_entry_t asked[] = {{"x", TR_F32, 1, {MANY}, NULL, &source},
                                            {"y", TR_F32, 1, {MANY}, NULL, &source}};
    const tr_safetensors_entry_t failing = {"x", TR_F32, 1, {MANY}, NULL, &lost};
    size_t n, m;
    write_ok(path, plain, 2, NULL);
    char *one = scratch_read(path, &n);
    write_ok(path, asked, 2, NULL);
    char *two = scratch_read(path, &m);
    cr_assert_eq(n, m);
    cr_expect_arr_eq(one, two, n);
    expect_refused(&failing, 1, NULL, TR_ERR_MEMORY, "the device is lost");
    free(two);
    free(one);
    free(data);
    free(path);
    scratch_close(&folder);
}

Test(safetensors_write, what_was_forgotten_is_read_again)
{
    enum { MANY = 20000 };
    char *folder = scratch_open();
    char *path = tr_format("%s/x.safetensors", folder);
    float *data = tr_calloc(MANY, sizeof *data);
    const tr_safetensors_info_t *info;
    tr_safetensors_t *file = NULL;
    for (size_t i = 0; i < MANY; i++) {
        data[i] = (float)i;
    }
    const tr_safetensors_entry_t entry = {"x", TR_F32, 1, {MANY}, data, NULL};
    write_ok(path, &entry, 1, NULL);
    cr_assert_eq(tr_safetensors_open(&file, path, NULL), TR_OK);
    cr_assert_eq(tr_safetensors_expect(&info, file, "x", TR_F32, MANY, NULL), TR_OK);
    cr_expect_neq(tr_safetensors_expect(&info, file, "x", TR_F32, MANY + 1, NULL), TR_OK);
    for (size_t i = 0; i < 3; i++) {
        cr_expect_eq(memcmp(info->data, data, MANY * sizeof *data), 0);
        tr_safetensors_forget(info, i, MANY - 2 * i);
    }
    tr_safetensors_close(&file);
    free(data);
    free(path);
    scratch_close(&folder);
}
