/// Typed getters of message bodies: bounds, and sentences that name the key.
#include <criterion/criterion.h>

#include <float.h>
#include <math.h>
#include <string.h>

#include "proto/body.h"

static json_t *body;
static tr_error_t err;

static void setup(void)
{
    body = json_loads(
        "{\"text\": \"word\", \"nothing\": \"\", \"seven\": 7, \"half\": 0.5, \"yes\": true,"
        "\"null\": null, \"map\": {\"a\": 1}, \"ids\": [0, 2147483647], \"reals\": [1, 0.25, "
        "-3e38],"
        "\"mixed\": [1, \"2\"], \"huge\": [4e38], \"negative\": [-1], \"wide\": [2147483648]}",
        0, NULL);
    cr_assert_not_null(body);
}

static void teardown(void)
{
    json_decref(body);
}

TestSuite(body, .init = setup, .fini = teardown);

static void refused(tr_status status, const char *text)
{
    cr_expect_eq(status, TR_ERR_PROTOCOL);
    cr_expect_str_eq(err.text, text);
}

Test(body, getters_give_what_is_there)
{
    const char *text;
    int64_t integer;
    double real;
    bool yes;
    json_t *value;
    cr_expect_eq(tr_body_string(&text, body, "text", "w", &err), TR_OK);
    cr_expect_str_eq(text, "word");
    cr_expect_eq(tr_body_string(&text, body, "nothing", "w", &err), TR_OK);
    cr_expect_str_eq(text, "");
    cr_expect_eq(tr_body_integer(&integer, body, "seven", 7, 7, "w", &err), TR_OK);
    cr_expect_eq(integer, 7);
    cr_expect_eq(tr_body_real(&real, body, "half", "w", &err), TR_OK);
    cr_expect_eq(real, 0.5);
    cr_expect_eq(tr_body_real(&real, body, "seven", "w", &err), TR_OK, "integers are reals too");
    cr_expect_eq(real, 7.0);
    cr_expect_eq(tr_body_bool(&yes, body, "yes", "w", &err), TR_OK);
    cr_expect(yes);
    cr_expect_eq(tr_body_object(&value, body, "map", "w", &err), TR_OK);
    cr_expect_eq(json_object_size(value), 1);
    cr_expect_eq(tr_body_array(&value, body, "mixed", 2, "w", &err), TR_OK);
    cr_expect_eq(json_array_size(value), 2);
}

Test(body, another_type_or_nothing_is_refused_by_name)
{
    const char *text;
    int64_t integer;
    double real;
    bool yes;
    json_t *value;
    refused(tr_body_string(&text, body, "seven", "request 'x'", &err),
            "request 'x': seven: expected a string, found an integer");
    refused(tr_body_string(&text, body, "none", "w", &err),
            "w: none: expected a string, found nothing");
    refused(tr_body_string(&text, NULL, "none", "w", &err),
            "w: none: expected a string, found nothing");
    refused(tr_body_integer(&integer, body, "half", 0, 9, "w", &err),
            "w: half: expected an integer, found a number");
    refused(tr_body_integer(&integer, body, "null", 0, 9, "w", &err),
            "w: null: expected an integer, found null");
    refused(tr_body_real(&real, body, "text", "w", &err),
            "w: text: expected a number, found a string");
    refused(tr_body_bool(&yes, body, "seven", "w", &err),
            "w: seven: expected true or false, found an integer");
    refused(tr_body_object(&value, body, "ids", "w", &err),
            "w: ids: expected a map, found an array");
    refused(tr_body_array(&value, body, "map", 9, "w", &err),
            "w: map: expected an array, found a map");
}

Test(body, bounds_hold_at_both_ends)
{
    int64_t integer;
    json_t *value;
    refused(tr_body_integer(&integer, body, "seven", 8, 9, "w", &err),
            "w: seven: expected an integer from 8 to 9, found 7");
    refused(tr_body_integer(&integer, body, "seven", 1, 6, "w", &err),
            "w: seven: expected an integer from 1 to 6, found 7");
    refused(tr_body_array(&value, body, "reals", 2, "w", &err),
            "w: reals: expected at most 2 elements, found 3");
}

Test(body, numbers_fit_their_type_or_are_refused_by_index)
{
    float reals[3];
    int32_t ids[2];
    cr_expect_eq(tr_body_floats(reals, 3, body, "reals", "w", &err), TR_OK);
    cr_expect_eq(reals[0], 1.0f);
    cr_expect_eq(reals[1], 0.25f);
    cr_expect_eq(reals[2], -3e38f);
    cr_expect_eq(tr_body_ids(ids, 2, body, "ids", "w", &err), TR_OK);
    cr_expect_eq(ids[1], INT32_MAX);
    refused(tr_body_floats(reals, 2, body, "reals", "w", &err),
            "w: reals: expected 2 elements, found 3");
    refused(tr_body_floats(reals, 2, body, "mixed", "w", &err),
            "w: mixed[1]: expected a finite number, found a string");
    refused(tr_body_floats(reals, 1, body, "huge", "w", &err),
            "w: huge[0]: expected a finite number, found one that no float holds");
    refused(tr_body_ids(ids, 1, body, "negative", "w", &err),
            "w: negative[0]: expected an integer from 0 to 2^31 - 1");
    refused(tr_body_ids(ids, 1, body, "wide", "w", &err),
            "w: wide[0]: expected an integer from 0 to 2^31 - 1");
    refused(tr_body_ids(ids, 2, body, "mixed", "w", &err),
            "w: mixed[1]: expected an integer from 0 to 2^31 - 1");
    refused(tr_body_ids(ids, 1, body, "ids", "w", &err), "w: ids: expected 1 elements, found 2");
}

Test(body, arrays_written_read_back_bit_for_bit)
{
    const float reals[] = {0.1f, -0.0f, FLT_MIN / 8.0f, FLT_MAX};
    const int32_t ids[] = {0, 1, INT32_MAX};
    float reals_again[4];
    int32_t ids_again[3];
    json_t *object = json_pack("{s:o, s:o}", "reals", tr_body_from_floats(reals, 4), "ids",
                               tr_body_from_ids(ids, 3));
    cr_expect_eq(tr_body_floats(reals_again, 4, object, "reals", "w", &err), TR_OK);
    cr_expect_eq(tr_body_ids(ids_again, 3, object, "ids", "w", &err), TR_OK);
    cr_expect_arr_eq(reals_again, reals, sizeof reals);
    cr_expect_arr_eq(ids_again, ids, sizeof ids);
    json_decref(object);
    const float bad[] = {1.0f, nanf("")};
    cr_expect_null(tr_body_from_floats(bad, 2));
}
