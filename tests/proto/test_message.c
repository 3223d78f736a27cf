// Envelopes as bytes, and messages over a real pair of sockets.
#include <criterion/criterion.h>

#include <czmq.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "proto/endpoint.h"
#include "proto/message.h"
#include "proto/msgpack_json.h"

static tr_error_t err;

#define BYTES(text) (text), sizeof(text) - 1

static tr_message_t *sample(void)
{
    static const float numbers[] = {1.0f, -2.5f, 3e-20f, 4.0f, 5.0f, 6.0f};
    static const size_t shape[] = {2, 3};
    tr_message_t *message = tr_message_new("request");
    tr_message_set_id(message, 4294967297);
    tr_message_set_field(message, "method", json_string("score"));
    tr_message_set_body(message, json_pack("{s:s, s:[i, f], s:n}", "text", "na\xc3\xafve", "list",
                                           -1, 0.5, "nothing"));
    tr_message_add_tensor(message, "numbers", TR_F32, 2, shape, numbers, NULL, NULL);
    tr_message_add_vector(message, "empty", TR_I64, 0, NULL);
    return message;
}

/// The envelope of sample(), owned by the caller.
static char *sample_bytes(size_t *length)
{
    char *bytes;
    tr_message_t *message = sample();
    cr_assert_eq(tr_message_pack(&bytes, length, message, &err), TR_OK, "%s", err.text);
    tr_message_destroy(&message);
    return bytes;
}

static void expect_same(const tr_message_t *a, const tr_message_t *b)
{
    cr_expect_str_eq(tr_message_type(a), tr_message_type(b));
    cr_expect_str_eq(tr_message_method(a), tr_message_method(b));
    cr_expect_eq(tr_message_id(a), tr_message_id(b));
    cr_expect(json_equal(tr_message_body(a), tr_message_body(b)));
    cr_assert_eq(tr_message_tensors(a), tr_message_tensors(b));
    for (size_t i = 0; i < tr_message_tensors(a); i++) {
        tr_view_t x = tr_message_tensor_at(a, i);
        tr_view_t y = tr_message_tensor_at(b, i);
        cr_expect_str_eq(x.name, y.name);
        cr_expect_eq(x.dtype, y.dtype);
        cr_expect_eq(x.dims, y.dims);
        cr_expect_arr_eq(x.shape, y.shape, sizeof x.shape);
        cr_expect_eq(x.bytes, y.bytes);
        cr_expect_eq(memcmp(x.data, y.data, x.bytes), 0);
    }
}

Test(message, what_was_packed_unpacks_equal)
{
    size_t length;
    char *bytes = sample_bytes(&length);
    tr_message_t *message = sample();
    tr_message_t *again;
    cr_assert_eq(tr_message_unpack(&again, bytes, length, &err), TR_OK, "%s", err.text);
    for (size_t i = 0; i < 2; i++) {
        tr_view_t v = tr_message_tensor_at(message, i);
        cr_assert_eq(tr_message_unpack_frame(again, i, v.data, v.bytes, &err), TR_OK, "%s",
                     err.text);
    }
    expect_same(message, again);
    cr_expect_eq((uintptr_t)tr_message_tensor_at(again, 0).data % 16, 0);
    tr_message_destroy(&again);
    tr_message_destroy(&message);
    cr_expect_null(message);
    free(bytes);
}

Test(message, a_cut_envelope_is_refused_wherever_it_is_cut)
{
    size_t length;
    char *bytes = sample_bytes(&length);
    for (size_t cut = 0; cut < length; cut++) {
        tr_message_t *message;
        char *exact = malloc(cut > 0 ? cut : 1); // so that a sanitizer sees a read past its end
        memcpy(exact, bytes, cut);
        cr_expect_eq(tr_message_unpack(&message, exact, cut, &err), TR_ERR_PROTOCOL, "%zu", cut);
        cr_expect_null(message);
        free(exact);
    }
    free(bytes);
}

/// Each byte becomes each other value: the envelope is refused in a sentence or read within its
/// bounds.
Test(message, a_changed_byte_is_refused_or_read_and_takes_little_memory)
{
    size_t length, refused = 0, taken = 0;
    unsigned char *bytes = (unsigned char *)sample_bytes(&length);
    for (size_t at = 0; at < length; at++) {
        unsigned char whole = bytes[at];
        for (unsigned value = 0; value < 256; value++) {
            tr_message_t *message;
            bytes[at] = (unsigned char)value;
            err = (tr_error_t){0};
            tr_status status = tr_message_unpack(&message, bytes, length, &err);
            refused += status != TR_OK;
            cr_assert_eq(status, message != NULL ? TR_OK : TR_ERR_PROTOCOL);
            cr_assert(status == TR_OK || err.text[0] != '\0');
            for (size_t i = 0; message != NULL && i < tr_message_tensors(message); i++) {
                tr_view_t view = tr_message_tensor_at(message, i);
                cr_assert(view.dims >= 1 && view.dims <= TR_MESSAGE_DIMS);
            }
            taken = mallinfo2().uordblks > taken ? mallinfo2().uordblks : taken;
            tr_message_destroy(&message);
        }
        bytes[at] = whole;
    }
    cr_expect_gt(refused, 0);
    cr_expect_lt(taken, 16u << 20, "%zu bytes", taken);
    free(bytes);
}

Test(message, five_bytes_that_claim_268_million_elements_are_refused)
{
    static const struct {
        const char *bytes;
        size_t length;
    } rows[] = {{BYTES("\xdd\x0f\xff\xff\xff")}, {BYTES("\xdf\x0f\xff\xff\xff")}};
    for (size_t i = 0; i < 2; i++) {
        tr_message_t *message;
        cr_expect_eq(tr_message_unpack(&message, rows[i].bytes, rows[i].length, &err),
                     TR_ERR_PROTOCOL);
        cr_expect_not_null(strstr(err.text, "claims more"), "%s", err.text);
    }
}

/// Unpacks the envelope that a JSON text describes. *message: the caller's, NULL on failure.
static tr_status unpack_json(tr_message_t **message, const char *text)
{
    json_t *envelope = json_loads(text, 0, NULL);
    char *bytes;
    size_t length;
    cr_assert_not_null(envelope, "%s", text);
    cr_assert_eq(tr_msgpack_from_json(&bytes, &length, envelope, TR_ENVELOPE_MAX, &err), TR_OK);
    err = (tr_error_t){0};
    tr_status status = tr_message_unpack(message, bytes, length, &err);
    free(bytes);
    json_decref(envelope);
    return status;
}

static void expect_refused(const char *envelope, const char *sentence)
{
    tr_message_t *message;
    cr_expect_eq(unpack_json(&message, envelope), TR_ERR_PROTOCOL, "%s", envelope);
    cr_expect_null(message);
    cr_expect_not_null(strstr(err.text, sentence), "'%s' for '%s'", err.text, sentence);
}

#define TENSOR(text) "{\"type\": \"t\", \"tensors\": [" text "]}"

Test(message, envelopes_that_lie_are_refused_in_a_sentence)
{
    expect_refused("[1]", "expected a map");
    expect_refused("{}", "type: expected a string");
    expect_refused("{\"type\": 1}", "type: expected a string");
    expect_refused("{\"type\": \"t\", \"id\": 0}", "id: expected an integer");
    expect_refused("{\"type\": \"t\", \"id\": -1}", "id: expected an integer");
    expect_refused("{\"type\": \"t\", \"id\": \"1\"}", "id: expected an integer");
    expect_refused("{\"type\": \"t\", \"tensors\": {}}", "tensors: expected an array");
    expect_refused(TENSOR("1"), "tensors[0]: expected name");
    expect_refused(TENSOR("{\"name\": \"x\", \"dtype\": \"f33\", \"shape\": [1]}"), "known dtype");
    expect_refused(TENSOR("{\"name\": \"x\", \"dtype\": \"f32\"}"), "shape: expected 1 to 4");
    expect_refused(TENSOR("{\"name\": \"x\", \"dtype\": \"f32\", \"shape\": []}"),
                   "expected 1 to 4");
    expect_refused(TENSOR("{\"name\": \"x\", \"dtype\": \"f32\", \"shape\": [1, 1, 1, 1, 1]}"),
                   "expected 1 to 4");
    expect_refused(TENSOR("{\"name\": \"x\", \"dtype\": \"f32\", \"shape\": [-1]}"), "from 0");
    expect_refused(TENSOR("{\"name\": \"x\", \"dtype\": \"f32\", \"shape\": [1.5]}"), "from 0");
    expect_refused(
        TENSOR("{\"name\": \"x\", \"dtype\": \"f32\", \"shape\": [4611686018427387904]}"),
        "larger than memory");
    expect_refused(
        TENSOR("{\"name\": \"x\", \"dtype\": \"u8\", \"shape\": [4294967296, 4294967296, 0]}"),
        "larger than memory");
    expect_refused(TENSOR("{\"name\": \"x\", \"dtype\": \"u8\", \"shape\": [1]},"
                          "{\"name\": \"x\", \"dtype\": \"u8\", \"shape\": [1]}"),
                   "comes twice");
}

Test(message, an_envelope_longer_than_the_limit_is_refused_both_ways)
{
    char *text = malloc(TR_ENVELOPE_MAX + 1);
    memset(text, 'a', TR_ENVELOPE_MAX);
    text[TR_ENVELOPE_MAX] = '\0';
    tr_message_t *message = tr_message_new("t");
    tr_message_set_body(message, json_pack("{s:s}", "x", text));
    char *bytes;
    size_t length;
    cr_expect_eq(tr_message_pack(&bytes, &length, message, &err), TR_ERR_ARGUMENT);
    tr_message_destroy(&message);
    cr_expect_eq(tr_message_unpack(&message, text, TR_ENVELOPE_MAX + 1, &err), TR_ERR_PROTOCOL);
    free(text);
}

Test(message, unknown_keys_harm_nothing)
{
    tr_message_t *message;
    cr_assert_eq(unpack_json(&message, "{\"type\": \"t\", \"later\": [1, {\"a\": null}]}"), TR_OK,
                 "%s", err.text);
    cr_expect_eq(json_object_size(tr_message_body(message)), 0);
    cr_expect_eq(tr_message_id(message), 0);
    tr_message_destroy(&message);
}

Test(message, a_body_that_cannot_be_read_leaves_type_and_id)
{
    tr_message_t *message;
    static const char bytes[] = "\x83\xa4type\xa5reply\xa2id\x07\xa4"
                                "body\x81\xa6scores\x91\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00";
    cr_assert_eq(tr_message_unpack(&message, BYTES(bytes), &err), TR_OK, "%s", err.text);
    cr_expect_eq(tr_message_id(message), 7);
    cr_expect_str_eq(tr_message_fault(message), "body.scores[0]: NaN is not allowed");
    cr_expect_eq(json_object_size(tr_message_body(message)), 0);
    tr_message_destroy(&message);
    cr_assert_eq(unpack_json(&message, "{\"type\": \"reply\", \"body\": [1]}"), TR_OK);
    cr_expect_str_eq(tr_message_fault(message), "body: expected a map");
    tr_message_destroy(&message);
}

Test(message, a_body_that_cannot_be_sent_says_so)
{
    tr_message_t *message = tr_message_new("reply");
    char *bytes;
    size_t length;
    tr_message_set_body(message, json_pack("{s:f}", "x", strtod("inf", NULL)));
    cr_expect_eq(tr_message_pack(&bytes, &length, message, &err), TR_ERR_ARGUMENT);
    cr_expect_not_null(strstr(err.text, "not finite"), "%s", err.text);
    tr_message_set_error(message, "io", "bad \xff byte"); // an error's text is made sendable
    cr_assert_eq(tr_message_pack(&bytes, &length, message, &err), TR_OK, "%s", err.text);
    cr_expect_str_eq(json_string_value(json_object_get(tr_message_body(message), "text")),
                     "bad ? byte");
    free(bytes);
    tr_message_destroy(&message);
}

Test(message, a_frame_of_another_size_than_its_shape_is_refused)
{
    static const char data[64];
    tr_message_t *message;
    cr_assert_eq(
        unpack_json(&message, TENSOR("{\"name\": \"x\", \"dtype\": \"f32\", \"shape\": [3]}")),
        TR_OK);
    for (size_t bytes = 0; bytes < 24; bytes++) {
        if (bytes != 12) {
            cr_expect_eq(tr_message_unpack_frame(message, 0, data, bytes, &err), TR_ERR_PROTOCOL);
        }
    }
    cr_expect_eq(tr_message_unpack_frame(message, 1, data, 12, &err), TR_ERR_PROTOCOL);
    cr_expect_eq(tr_message_unpack_frame(message, 0, data, 12, &err), TR_OK);
    tr_view_t view;
    cr_expect_eq(tr_message_expect_tensor(&view, message, "x", TR_F32, 3, &err), TR_OK);
    cr_expect_eq(tr_message_expect_tensor(&view, message, "x", TR_F32, 4, &err), TR_ERR_PROTOCOL);
    cr_expect_eq(tr_message_expect_tensor(&view, message, "x", TR_I32, 3, &err), TR_ERR_PROTOCOL);
    cr_expect_eq(tr_message_expect_tensor(&view, message, "y", TR_F32, 3, &err), TR_ERR_PROTOCOL);
    tr_message_destroy(&message);
}

static void count_release(void *data, void *count)
{
    free(data);
    ++*(int *)count;
}

Test(message, a_lent_tensor_is_released_once_after_its_last_copy)
{
    const size_t shape[] = {4};
    int released = 0;
    tr_message_t *message = tr_message_new("t");
    tr_message_add_tensor(message, "x", TR_U8, 1, shape, calloc(4, 1), count_release, &released);
    tr_message_t *copy = tr_message_copy(message);
    tr_message_destroy(&message);
    tr_message_destroy(&message); // again does nothing
    cr_expect_eq(released, 0);
    cr_expect_eq(tr_message_tensor_at(copy, 0).bytes, 4);
    tr_message_destroy(&copy);
    cr_expect_eq(released, 1);
}

// Over sockets

static zsock_t *left, *right;

static void connect_pair(void)
{
    tr_wire_init();
    left = zsock_new_pair("@inproc://test-message");
    right = zsock_new_pair(">inproc://test-message");
}

static void close_pair(void)
{
    zsock_destroy(&left);
    zsock_destroy(&right);
}

TestSuite(message_socket, .init = connect_pair, .fini = close_pair, .timeout = 30);

Test(message_socket, what_was_sent_arrives_equal)
{
    tr_message_t *message = sample();
    tr_message_t *again;
    cr_assert_eq(tr_message_receive(&again, NULL, right, &err), TR_ERR_TIMEOUT);
    for (int i = 0; i < 2; i++) { // sending leaves the message whole
        cr_assert_eq(tr_message_send(left, NULL, message, &err), TR_OK, "%s", err.text);
        cr_assert_eq(tr_message_receive(&again, NULL, right, &err), TR_OK, "%s", err.text);
        expect_same(message, again);
        tr_message_destroy(&again);
    }
    tr_message_destroy(&message);
}

Test(message_socket, malformed_messages_are_consumed_whole)
{
    static const char one[] = "\x82\xa4type\xa1t\xa7tensors\x91\x83\xa4name\xa1x\xa5"
                              "dtype\xa2u8\xa5shape\x91\x02";
    tr_message_t *message;
    zmsg_t *wrong[5] = {zmsg_new(), zmsg_new(), zmsg_new(), zmsg_new(), zmsg_new()};
    zmsg_addmem(wrong[0], "", 0);           // no envelope
    zmsg_addmem(wrong[1], BYTES("\xc1xy")); // no msgpack
    zmsg_addmem(wrong[1], BYTES("more"));
    zmsg_addmem(wrong[2], BYTES(one)); // its frame is missing
    zmsg_addmem(wrong[3], BYTES(one)); // its frame is short
    zmsg_addmem(wrong[3], BYTES("1"));
    zmsg_addmem(wrong[4], BYTES(one)); // a frame too many
    zmsg_addmem(wrong[4], BYTES("12"));
    zmsg_addmem(wrong[4], BYTES("12"));
    for (size_t i = 0; i < 5; i++) {
        cr_assert_eq(zmsg_send(&wrong[i], left), 0);
        cr_expect_eq(tr_message_receive(&message, NULL, right, &err), TR_ERR_PROTOCOL, "%zu", i);
        cr_expect_null(message);
        cr_expect_eq(tr_message_receive(&message, NULL, right, &err), TR_ERR_TIMEOUT, "%zu", i);
    }
    zmsg_t *good = zmsg_new();
    zmsg_addmem(good, BYTES(one));
    zmsg_addmem(good, BYTES("12"));
    cr_assert_eq(zmsg_send(&good, left), 0);
    cr_assert_eq(tr_message_receive(&message, NULL, right, &err), TR_OK, "%s", err.text);
    cr_expect_eq(memcmp(tr_message_tensor_at(message, 0).data, "12", 2), 0);
    tr_message_destroy(&message);
}
