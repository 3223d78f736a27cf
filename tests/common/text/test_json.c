/// JSON files of a tokenizer's directory: read, absent, malformed.
#include "common/text/json.h"

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

TestSuite(json, .init = setup, .fini = teardown);

Test(json, values_have_their_type_or_the_fallback)
{
    static const char text[] =
        "{\"name\": \"x\", \"on\": true, \"off\": false, \"nul\": \"\\u0000\"}";
    json_t *root;
    tr_error_t err = {0};
    char *path = scratch_write(folder, "a.json", text, strlen(text));
    cr_assert_eq(tr_json_read(&root, path, false, &err), TR_OK, "%s", err.text);
    cr_expect_str_eq(tr_json_string(root, "name", "y"), "x");
    cr_expect_str_eq(tr_json_string(root, "on", "y"), "y");
    cr_expect_null(tr_json_string(root, "none", NULL));
    cr_expect(tr_json_flag(root, "on", false) && !tr_json_flag(root, "off", true));
    cr_expect(tr_json_flag(root, "name", true) && !tr_json_flag(NULL, "on", false));
    json_decref(root);
    free(path);
}

Test(json, a_file_may_be_absent_where_that_is_allowed)
{
    json_t *root;
    tr_error_t err = {0};
    cr_expect_eq(tr_json_read(&root, "/no/such.json", true, &err), TR_OK);
    cr_expect_null(root);
    cr_expect_eq(tr_json_read(&root, "/no/such.json", false, &err), TR_ERR_IO);
    cr_expect_null(root);
}

Test(json, what_is_no_object_is_named_with_its_place)
{
    static const struct {
        const char *text, *sentence;
    } cases[] = {{"{\n1", ":2: malformed JSON"}, {"[]", ": expected a JSON object"}};
    for (size_t i = 0; i < 2; i++) {
        json_t *root;
        tr_error_t err = {0};
        char *path = scratch_write(folder, "a.json", cases[i].text, strlen(cases[i].text));
        char *expected = tr_format("%s%s", path, cases[i].sentence);
        cr_expect_eq(tr_json_read(&root, path, true, &err), TR_ERR_FORMAT);
        cr_expect_null(root);
        cr_expect_eq(strncmp(err.text, expected, strlen(expected)), 0, "%s", err.text);
        free(expected);
        free(path);
    }
}
