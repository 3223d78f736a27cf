// Bytes are written by hand from the msgpack specification
// (github.com/msgpack/msgpack/blob/master/spec.md).
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include "proto/message.h"
#include "proto/msgpack_json.h"

static tr_error_t fault;
static tr_error_t err;

static tr_status decode(json_t **value, const void *bytes, size_t length, const char *tolerant)
{
    err = (tr_error_t){0};
    return tr_msgpack_to_json(value, bytes, length, tolerant, &fault, &err);
}

#define BYTES(text) (text), sizeof(text) - 1

typedef struct row {
    const char *bytes;
    size_t length;
    const char *json; ///< what the specification says they mean
} row_t;

Test(msgpack_json, reads_each_format_of_the_specification)
{
    static const row_t rows[] = {
        {BYTES("\x00"), "0"},
        {BYTES("\x7f"), "127"},
        {BYTES("\xe0"), "-32"},
        {BYTES("\xff"), "-1"},
        {BYTES("\xcc\xff"), "255"},
        {BYTES("\xcd\xff\xff"), "65535"},
        {BYTES("\xce\xff\xff\xff\xff"), "4294967295"},
        {BYTES("\xcf\x7f\xff\xff\xff\xff\xff\xff\xff"), "9223372036854775807"},
        {BYTES("\xd0\x80"), "-128"},
        {BYTES("\xd1\x80\x00"), "-32768"},
        {BYTES("\xd2\x80\x00\x00\x00"), "-2147483648"},
        {BYTES("\xd3\x80\x00\x00\x00\x00\x00\x00\x00"), "-9223372036854775808"},
        {BYTES("\xd0\x7f"), "127"},
        {BYTES("\xca\x3f\xc0\x00\x00"), "1.5"},
        {BYTES("\xcb\xbf\xe0\x00\x00\x00\x00\x00\x00"), "-0.5"},
        {BYTES("\xc0"), "null"},
        {BYTES("\xc2"), "false"},
        {BYTES("\xc3"), "true"},
        {BYTES("\xa0"), "\"\""},
        {BYTES("\xa3"
               "abc"),
         "\"abc\""},
        {BYTES("\xd9\x02\xc3\xa9"), "\"\xc3\xa9\""},
        {BYTES("\xda\x00\x01z"), "\"z\""},
        {BYTES("\xdb\x00\x00\x00\x01z"), "\"z\""},
        {BYTES("\x90"), "[]"},
        {BYTES("\x92\x01\xc3"), "[1, true]"},
        {BYTES("\xdc\x00\x02\x01\x02"), "[1, 2]"},
        {BYTES("\xdd\x00\x00\x00\x01\xc0"), "[null]"},
        {BYTES("\x80"), "{}"},
        {BYTES("\x81\xa1k\x91\x05"), "{\"k\": [5]}"},
        {BYTES("\xde\x00\x01\xd9\x01k\x01"), "{\"k\": 1}"},
        {BYTES("\xdf\x00\x00\x00\x01\xa1k\x01"), "{\"k\": 1}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *value;
        json_t *expected = json_loads(rows[i].json, JSON_DECODE_ANY, NULL);
        cr_assert_not_null(expected);
        cr_assert_eq(decode(&value, rows[i].bytes, rows[i].length, NULL), TR_OK, "%s: %s",
                     rows[i].json, err.text);
        cr_expect(json_equal(value, expected), "%s", rows[i].json);
        json_decref(value);
        json_decref(expected);
    }
}

/// Every value is refused when it is cut anywhere, and when anything follows it.
Test(msgpack_json, a_value_must_fill_its_bytes_exactly)
{
    static const char whole[] = "\x83\xa1"
                                "a\x93\x01\xcd\x01\x00\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00\xd9\x01"
                                "b\xda\x00\x02hi\xa1"
                                "c\xde\x00\x01\xa1"
                                "d\xd3\x00\x00\x00\x00\x00\x00\x00\x01";
    json_t *value;
    cr_assert_eq(decode(&value, BYTES(whole), NULL), TR_OK, "%s", err.text);
    json_decref(value);
    for (size_t length = 0; length < sizeof whole - 1; length++) {
        char *exact =
            malloc(length > 0 ? length : 1); // so that a sanitizer sees a read past its end
        memcpy(exact, whole, length);
        cr_expect_eq(decode(&value, exact, length, NULL), TR_ERR_PROTOCOL, "%zu bytes", length);
        cr_expect_null(value);
        free(exact);
    }
    cr_expect_eq(decode(&value, whole, sizeof whole, NULL), TR_ERR_PROTOCOL); // its final zero too
}

Test(msgpack_json, refuses_what_the_protocol_forbids_and_says_where)
{
    static const struct {
        const char *bytes;
        size_t length;
        const char *text;
    } rows[] = {
        {BYTES("\x81\xa1s\x91\xca\x7f\xc0\x00\x00"), "s[0]: NaN"},
        {BYTES("\x81\xa1s\x92\x01\xcb\xff\xf0\x00\x00\x00\x00\x00\x00"), "s[1]: infinity"},
        {BYTES("\x81\xa1s\xc4\x01x"), "s: binary"},
        {BYTES("\x81\xa1s\xc7\x01\x05x"), "s: binary"},
        {BYTES("\x81\xa1s\xd4\x05x"), "s: binary"},
        {BYTES("\x81\xa1s\xd8\x05xxxxxxxxxxxxxxxx"), "s: binary"},
        {BYTES("\x81\xa1s\xa1\xff"), "s: the string is not UTF-8"},
        {BYTES("\x81\xa1s\xcf\x80\x00\x00\x00\x00\x00\x00\x00"), "s: the integer is larger"},
        {BYTES("\x81\xa1s\xc1"), "s: byte 0xc1"},
        {BYTES("\x81\x01\x01"), "a key is not a string"},
        {BYTES("\x81\xa1\x00\x01"), "a key holds a zero byte"},
        {BYTES("\x82\xa1s\x01\xa1s\x02"), "s: the key comes twice"},
        {BYTES("\x81\xa3\n\xff\"\x01"), "??\": the key is not UTF-8"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *value;
        cr_expect_eq(decode(&value, rows[i].bytes, rows[i].length, NULL), TR_ERR_PROTOCOL, "%s",
                     rows[i].text);
        cr_expect_not_null(strstr(err.text, rows[i].text), "'%s' for '%s'", err.text, rows[i].text);
    }
}

Test(msgpack_json, a_claim_larger_than_the_message_takes_no_memory)
{
    static const row_t rows[] = {
        {BYTES("\xdd\x0f\xff\xff\xff"), "array of 268 million"},
        {BYTES("\xdd\xff\xff\xff\xff"), "array of 4 thousand million"},
        {BYTES("\xdf\xff\xff\xff\xff"), "map"},
        {BYTES("\xdb\xff\xff\xff\xff"), "string"},
        {BYTES("\xc6\xff\xff\xff\xff"), "binary"},
        {BYTES("\xc9\xff\xff\xff\xff"), "extension"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *value;
        cr_expect_eq(decode(&value, rows[i].bytes, rows[i].length, NULL), TR_ERR_PROTOCOL, "%s",
                     rows[i].json);
        cr_expect(strstr(err.text, "claims more") != NULL || strstr(err.text, "larger") != NULL,
                  "%s", err.text);
    }
}

/// depth arrays inside one another.
static json_t *nest(size_t depth)
{
    json_t *value = json_integer(1);
    for (size_t i = 0; i < depth; i++) {
        json_t *outer = json_array();
        json_array_append_new(outer, value);
        value = outer;
    }
    return value;
}

Test(msgpack_json, nesting_is_bounded_both_ways)
{
    char bytes[TR_ENVELOPE_DEPTH + 2];
    json_t *value;
    memset(bytes, '\x91', sizeof bytes); // arrays of one element
    bytes[TR_ENVELOPE_DEPTH] = 1;
    cr_assert_eq(decode(&value, bytes, TR_ENVELOPE_DEPTH + 1, NULL), TR_OK, "%s", err.text);
    json_decref(value);
    bytes[TR_ENVELOPE_DEPTH] = '\x91';
    bytes[TR_ENVELOPE_DEPTH + 1] = 1;
    cr_assert_eq(decode(&value, bytes, TR_ENVELOPE_DEPTH + 2, NULL), TR_ERR_PROTOCOL);
    char *packed;
    size_t length;
    for (size_t extra = 0; extra < 2; extra++) {
        value = nest(TR_ENVELOPE_DEPTH + extra);
        tr_status status = tr_msgpack_from_json(&packed, &length, value, TR_ENVELOPE_MAX, &err);
        cr_assert_eq(status, extra == 0 ? TR_OK : TR_ERR_ARGUMENT);
        if (status == TR_OK) {
            free(packed);
        }
        json_decref(value);
    }
}

Test(msgpack_json, the_number_of_maps_and_arrays_is_bounded_both_ways)
{
    size_t length = 5 + TR_ENVELOPE_NODES;
    unsigned char *bytes = malloc(length);
    const unsigned char head[5] = {0xdd, 0x00, 0x01, 0x00, 0x00}; // an array of 65536
    memcpy(bytes, head, sizeof head);
    memset(bytes + 5, 0x90, TR_ENVELOPE_NODES); // empty arrays
    json_t *value;
    cr_assert_eq(decode(&value, bytes, length, NULL), TR_ERR_PROTOCOL);
    cr_assert_not_null(strstr(err.text, "too many"), "%s", err.text);
    bytes[length - 1] = 0xc0; // one fewer
    cr_assert_eq(decode(&value, bytes, length, NULL), TR_OK, "%s", err.text);
    char *packed;
    size_t size;
    cr_assert_eq(tr_msgpack_from_json(&packed, &size, value, TR_ENVELOPE_MAX, &err), TR_OK);
    cr_assert_eq(size, length);
    cr_assert_eq(memcmp(packed, bytes, length), 0);
    free(packed);
    json_array_append_new(value, json_array());
    cr_assert_eq(tr_msgpack_from_json(&packed, &size, value, TR_ENVELOPE_MAX, &err),
                 TR_ERR_ARGUMENT);
    json_decref(value);
    free(bytes);
}

Test(msgpack_json, what_was_written_reads_back_equal)
{
    static const char text[] =
        "{\"a\": [0, -1, 127, 128, -32, -33, 255, 256, 65535, 65536, -32769, 4294967296,"
        "9223372036854775807, -9223372036854775808], \"b\": [0.1, -1e308, 5e-324, 1.0],"
        "\"c\": {\"\": null, \"\\u00e9\": [true, false]}, \"d\": \"nul \\u0000 inside\"}";
    json_t *value = json_loads(text, JSON_ALLOW_NUL, NULL);
    json_t *again;
    char *bytes;
    size_t length;
    cr_assert_not_null(value);
    cr_assert_eq(tr_msgpack_from_json(&bytes, &length, value, TR_ENVELOPE_MAX, &err), TR_OK);
    cr_assert_eq(decode(&again, bytes, length, NULL), TR_OK, "%s", err.text);
    cr_expect(json_equal(value, again));
    json_decref(again);
    free(bytes);
    cr_expect_eq(tr_msgpack_from_json(&bytes, &length, value, 10, &err), TR_ERR_ARGUMENT);
    json_decref(value);
}

Test(msgpack_json, bad_contents_of_the_tolerated_entry_are_noted_and_left_out)
{
    static const char bytes[] = "\x83\xa4type\xa1x\xa4"
                                "body\x81\xa1s\x92\x01\xca\x7f\xc0\x00\x00\xa2id\x05";
    json_t *value;
    cr_assert_eq(decode(&value, BYTES(bytes), "body"), TR_OK, "%s", err.text);
    cr_expect_str_eq(fault.text, "body.s[1]: NaN is not allowed");
    cr_expect_null(json_object_get(value, "body"));
    cr_expect_eq(json_integer_value(json_object_get(value, "id")), 5);
    json_decref(value);
    cr_assert_eq(decode(&value, BYTES(bytes), "other"), TR_ERR_PROTOCOL);
    cr_assert_eq(decode(&value, bytes, sizeof bytes - 4, "body"), TR_ERR_PROTOCOL, "its form");
}
