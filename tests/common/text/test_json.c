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

Test(json, what_python_writes_and_jansson_refuses_stands_near_what_it_was)
{
    static const char text[] =
        "{\"model_max_length\": 1000000000000000019884624838656, \"digits\": "
        "12345678901234567890,\n"
        "\"n\": [-9223372036854775809, 1e400, -1E+999, NaN, Infinity, -Infinity, "
        "123456789012345678],\n"
        "\"s\": \"12345678901234567890 NaN \\ud800 \\udc00\\ud83d\\ude00 \\\\ud800\", \"end\": 5}";
    json_t *root;
    tr_error_t err = {0};
    char *path = scratch_write(folder, "a.json", text, strlen(text));
    cr_assert_eq(tr_json_read(&root, path, false, &err), TR_OK, "%s", err.text);
    cr_expect_float_eq(json_number_value(json_object_get(root, "model_max_length")), 1e30, 1e17);
    cr_expect_float_eq(json_number_value(json_object_get(root, "digits")), 12345678901234567890.0,
                       1e7);
    const json_t *list = json_object_get(root, "n");
    cr_expect_float_eq(json_number_value(json_array_get(list, 0)), -9223372036854775809.0, 1e6);
    static const double large[] = {1e308, -1e308, 0, 1e308, -1e308};
    for (size_t i = 0; i < 5; i++) {
        cr_expect_eq(json_number_value(json_array_get(list, i + 1)), large[i], "%zu", i);
    }
    cr_expect(json_is_null(json_array_get(list, 3)));
    cr_expect_eq(json_integer_value(json_array_get(list, 6)), 123456789012345678);
    cr_expect_str_eq(tr_json_string(root, "s", ""),
                     "12345678901234567890 NaN \xEF\xBF\xBD \xEF\xBF\xBD\xF0\x9F\x98\x80 \\ud800");
    cr_expect_eq(json_integer_value(json_object_get(root, "end")), 5);
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

// Python's json.loads takes each of these; the flaws name what it has a value for and jansson not.
Test(json, a_row_is_read_whatever_one_column_holds_and_that_column_is_flawed)
{
    static const struct {
        const char *value, *flaw, *instead; // as JSON
    } cases[] = {
        {"18446744073709551615", "a whole number of more than 64 bits", "1.8446744073709552e+19"},
        {"9223372036854775807", NULL, "9223372036854775807"},
        {"1000000000000000000000", "a whole number of more than 64 bits", "1e+21"},
        {"-1e400", "a number past all reals", "-1e308"},
        {"NaN", "NaN", "null"},
        {"[1, -Infinity]", "-Infinity", "[1, -1e308]"},
        {"{\"a\": [Infinity]}", "Infinity", "{\"a\": [1e308]}"},
        {"\"a\\u0000b\"", "a NUL character", "\"a\\ufffdb\""},
        {"\"\\ud83d\\ude00 \\ud83d\"", "half of a surrogate pair, which is no character",
         "\"\\ud83d\\ude00 \\ufffd\""},
        {"{\"\\udc00\": 2}", NULL, "{\"\\ufffd\": 2}"},
        {"\"NaN \\\\ud800 1e400 {\"", NULL, "\"NaN \\\\ud800 1e400 {\""},
        {"1, \"id\": 2", "the column twice", "2"},
        {"{\"a\": 1, \"b\": {\"a\": 2, \"a\": 3}}", "a key twice", "{\"a\": 1, \"b\": {\"a\": 3}}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *row, *expected = json_loads(cases[i].instead, JSON_DECODE_ANY, NULL);
        tr_error_t err = {0};
        char *text =
            tr_format("{\"prompt\": \"x\", \"id\" : %s, \"last\": [\"y\"]}", cases[i].value);
        cr_assert_eq(tr_json_row(&row, text, strlen(text), &err), TR_OK, "%s", err.text);
        const char *flaw = tr_json_flaw(row, "id");
        cr_expect((flaw == NULL) == (cases[i].flaw == NULL) &&
                      (flaw == NULL || strcmp(flaw, cases[i].flaw) == 0),
                  "%s: %s", text, flaw);
        cr_expect(json_equal(json_object_get(row, "id"), expected), "%s", text);
        cr_expect_str_eq(tr_json_string(row, "prompt", ""), "x");
        cr_expect_null(tr_json_flaw(row, "prompt"), "%s", text);
        cr_expect_null(tr_json_flaw(row, "last"), "%s", text);
        json_decref(expected);
        json_decref(row);
        free(text);
    }
}

Test(json, a_row_that_is_no_json_is_refused_with_and_without_repairs)
{
    static const struct {
        const char *text, *sentence;
    } cases[] = {{"{\"a\": 1", "malformed JSON at byte 7 of the row: "},
                 {"{\"a\": NaN, 1}", "malformed JSON: "},
                 {"{\"a\": \"x\", nan}", "malformed JSON at byte "},
                 {"{\"a\": \"\\u00\"}", "malformed JSON at byte "},
                 {"{\"a\": 01}", "malformed JSON at byte "},
                 {"[NaN]", "expected a JSON object"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *row;
        tr_error_t err = {0};
        cr_expect_eq(tr_json_row(&row, cases[i].text, strlen(cases[i].text), &err), TR_ERR_FORMAT);
        cr_expect_null(row);
        cr_expect_eq(strncmp(err.text, cases[i].sentence, strlen(cases[i].sentence)), 0, "%s",
                     err.text);
    }
}
