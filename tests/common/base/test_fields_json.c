/// Tables of fields as bodies of messages: everything that travels comes back, and whatever is
/// missing or out of range is refused by its key.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/every_kind.h"

/// The body of a record whose fields all differ from their defaults; a new reference.
static json_t *full_body(void)
{
    every_kind_t record;
    json_t *body = json_object();
    every_kind_fill(&record);
    tr_fields_to_json(body, &record, &every_kind_fields);
    tr_fields_release(&record, &every_kind_fields);
    return body;
}

Test(fields_json, a_body_has_every_field_that_travels_under_the_last_part_of_its_name)
{
    static const char wanted_text[] =
        "{'text': 't\xC3\xA9xt', 'none': 'some', 'device': 'cuda:1', 'directory': 'e', 'model': "
        "'n',"
        " 'separator': ';', 'deep': 'up', 'whole': 1000, 'bound': 1, 'required': 12, 'real': 0.1,"
        " 'scale': 0.75, 'cold': -1.5e-7, 'wide': 0.3333333333333333, 'truth': false,"
        " 'colour': 'green', 'shape': 'square', 'several': ['c', 'a'], 'reals': [0.5, -1.0, 1e300],"
        " 'devices': ['cuda:0', 'cuda:2'], 'program': ['sh', '-c'],"
        " 'files': ['a b.jsonl', 'c.jsonl'], 'ids': [0, 2147483647],"
        " 'words': [['good day', 0.1], ['bad', -2.0]]}"; // and not `secret`
    json_t *body = full_body(), *wanted = fields_json(wanted_text);
    cr_expect(json_equal(body, wanted));
    json_decref(wanted);
    json_decref(body);
}

Test(fields_json, what_is_sent_comes_back)
{
    json_t *body = full_body(), *again = json_object();
    every_kind_t sent, got;
    tr_error_t err = {0};
    every_kind_fill(&sent);
    cr_assert_eq(tr_fields_from_json(&got, &every_kind_fields, body, "body", &err), TR_OK, "%s",
                 err.text);
    for (size_t i = 0; i < every_kind_fields.count; i++) {
        const tr_field_t *field = &every_kind_fields.items[i];
        if (!field->local) {
            cr_expect(tr_field_equal(&sent, &got, field), "%s", field->name);
        }
    }
    cr_expect_eq(got.secret, 7U, "what does not travel has its default");
    tr_fields_to_json(again, &got, &every_kind_fields);
    cr_expect(json_equal(body, again));
    tr_fields_release(&sent, &every_kind_fields);
    tr_fields_release(&got, &every_kind_fields);
    json_decref(again);
    json_decref(body);
}

Test(fields_json, defaults_come_back_and_numbers_stand_for_null)
{
    json_t *body = json_object();
    every_kind_t sent, got;
    tr_error_t err = {0};
    tr_fields_init(&sent, &every_kind_fields);
    tr_fields_to_json(body, &sent, &every_kind_fields);
    cr_expect(json_is_null(json_object_get(body, "none")));
    cr_expect_eq(json_integer_value(json_object_get(body, "bound")), 0);
    cr_expect_eq(json_real_value(json_object_get(body, "scale")), 1.0);
    cr_expect_str_eq(json_string_value(json_object_get(body, "separator")), "\n");
    cr_assert_eq(tr_fields_from_json(&got, &every_kind_fields, body, "body", &err), TR_OK, "%s",
                 err.text);
    for (size_t i = 0; i < every_kind_fields.count; i++) {
        cr_expect(tr_field_equal(&sent, &got, &every_kind_fields.items[i]), "%s",
                  every_kind_fields.items[i].name);
    }
    tr_fields_release(&sent, &every_kind_fields);
    tr_fields_release(&got, &every_kind_fields);
    json_decref(body);
}

/// The body is refused, in a sentence that begins with place and key.
static void expect_refused(const json_t *body, const char *key, const char *found)
{
    every_kind_t record;
    tr_error_t err = {0};
    char *start = tr_format("train: %s: expected ", key);
    char *end = tr_format(", found %s", found);
    cr_expect_eq(tr_fields_from_json(&record, &every_kind_fields, body, "train", &err),
                 TR_ERR_PROTOCOL, "%s: %s", key, found);
    cr_expect_eq(strncmp(err.text, start, strlen(start)), 0, "'%s' does not begin with '%s'",
                 err.text, start);
    cr_expect_not_null(strstr(err.text, end), "'%s' lacks '%s'", err.text, end);
    tr_fields_release(&record, &every_kind_fields); // as whoever reads a message does
    free(end);
    free(start);
}

Test(fields_json, each_field_that_is_missing_is_named)
{
    for (size_t i = 0; i < every_kind_fields.count; i++) {
        const char *name = every_kind_fields.items[i].name;
        const char *key = strcmp(name, "section.deep") == 0 ? "deep" : name;
        json_t *body = full_body();
        if (json_object_del(body, key) == 0) {
            expect_refused(body, key, "nothing");
        } else {
            cr_expect_str_eq(key, "secret");
        }
        json_decref(body);
    }
}

Test(fields_json, each_bad_value_is_refused_by_its_key)
{
    static const struct {
        const char *key;
        const char *values[12]; // JSON
    } rows[] = {
        {"text", {"null", "\"\"", "5", "true", "[]", "{}", "[\"a\"]"}},
        {"none", {"\"\"", "5", "false", "[]"}},
        {"device", {"\"gpu\"", "\"\"", "null", "\"cuda:x\"", "0"}},
        {"separator", {"\"\"", "null"}},
        {"whole", {"0", "1001", "-1", "1.0", "\"1\"", "null", "true", "[1]"}},
        {"bound", {"1001", "-1", "0.0", "null", "\"null\""}},
        {"required", {"-1", "1000000001", "null"}},
        {"real", {"-0.1", "1.1", "null", "\"0.5\"", "true", "[0.5]"}},
        {"scale", {"0", "0.0", "1.5", "null"}},
        {"truth", {"null", "0", "1", "\"true\"", "[]"}},
        {"colour", {"\"null\"", "\"pink\"", "\"\"", "0", "null", "[\"red\"]"}},
        {"shape", {"null", "\"oval\"", "0"}},
        {"several", {"\"a\"", "[]", "[\"d\"]", "[\"a\", \"a\"]", "[0]", "[null]", "null", "{}"}},
        {"reals", {"1.0", "[\"1.0\"]", "[null]", "null", "{}"}},
        {"devices", {"\"cpu\"", "[1]", "[\"cpu\", null]", "null", "{}"}},
        {"files", {"\"a\"", "[1]", "null"}},
        {"ids", {"1", "[-1]", "[2147483648]", "[1.0]", "[\"1\"]", "null", "[null]"}},
        {"words",
         {"null", "{\"a\": 1}", "[[\"a\"]]", "[[\"\", 1]]", "[[1, 1]]", "[[\"a\", \"1\"]]",
          "[\"a\"]", "\"a\""}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t k = 0; k < 12 && rows[i].values[k] != NULL; k++) {
            json_t *body = full_body();
            json_t *value = json_loads(rows[i].values[k], JSON_DECODE_ANY, NULL);
            cr_assert_not_null(value);
            json_object_set_new(body, rows[i].key, value);
            expect_refused(body, rows[i].key, rows[i].values[k]);
            json_decref(body);
        }
    }
}

Test(fields_json, more_numbers_and_choices_than_a_field_holds_are_refused)
{
    json_t *body = full_body(), *reals = json_array(), *names = json_array();
    every_kind_t record;
    tr_error_t err = {0};
    for (size_t i = 0; i <= TR_CHOICES_LIMIT; i++) {
        json_array_append_new(reals, json_real(0.5));
        json_array_append_new(names, json_string("a"));
    }
    json_object_set_new(body, "reals", reals);
    expect_refused(body, "reals", "[0.5, 0.5");
    json_array_remove(reals, 0);
    cr_expect_eq(tr_fields_from_json(&record, &every_kind_fields, body, "train", &err), TR_OK, "%s",
                 err.text);
    cr_expect_eq(record.reals.count, (size_t)TR_CHOICES_LIMIT);
    tr_fields_release(&record, &every_kind_fields);
    json_object_set_new(body, "several", names);
    expect_refused(body, "several", "[\"a\", \"a\"");
    json_decref(body);
}

Test(fields_json, what_the_table_does_not_know_is_passed_over)
{
    json_t *body = full_body();
    every_kind_t record;
    tr_error_t err = {0};
    json_object_set_new(body, "of another table", json_null());
    cr_expect_eq(tr_fields_from_json(&record, &every_kind_fields, body, "train", &err), TR_OK, "%s",
                 err.text);
    tr_fields_release(&record, &every_kind_fields);
    json_decref(body);
}
