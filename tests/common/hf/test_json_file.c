/// Small JSON files: what is read, what is refused and where, and values in sentences.
#include "common/hf/json_file.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/scratch.h"

static tr_status read_text(json_t **object, const char *text, size_t limit, tr_error_t *err)
{
    char *folder = scratch_open();
    char *path = scratch_write(folder, "a.json", text, strlen(text));
    tr_status status = tr_json_file_read(object, path, limit, err);
    free(path);
    scratch_close(&folder);
    return status;
}

Test(json_file, an_object_is_read)
{
    json_t *object = NULL;
    tr_error_t err = {0};
    cr_assert_eq(read_text(&object, "{\"a\": [1, 2]}", 100, &err), TR_OK, "%s", err.text);
    cr_expect_eq(json_array_size(json_object_get(object, "a")), 2);
    json_decref(object);
}

Test(json_file, anything_else_is_refused_by_file_and_line)
{
    static const char *const rows[][2] = {
        {"[1]", "expected a JSON object"},
        {"{\"a\": 1,\n\"a\": 2}", "a.json:2: duplicate"},
        {"{\"a\":\n\n}", "a.json:3:"},
        {"{\"a\": 1}", "a.json"}, // longer than the limit
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *object = NULL;
        tr_error_t err = {0};
        cr_expect_neq(read_text(&object, rows[i][0], i < 3 ? 100 : 4, &err), TR_OK);
        cr_expect_not_null(strstr(err.text, rows[i][1]), "'%s' lacks '%s'", err.text, rows[i][1]);
        cr_expect_null(object);
    }
}

Test(json_file, values_are_described_as_json_cut_to_fit)
{
    char out[8];
    json_t *value = json_pack("[s, i]", "abcdefgh", 3);
    cr_expect_str_eq(tr_json_describe(out, sizeof out, value), "[\"abcde");
    cr_expect_str_eq(tr_json_describe(out, sizeof out, NULL), "nothing");
    json_decref(value);
}
