// The method `generate`: each key of a request reaches the decoder, and bad requests are refused by
// name.
//
// The oracle is the decoder itself, with the options that the request should have given it; that
// the decoder is right: test_decoder.c, test_drawing.c. Weights that come from an actor:
// tests/proto/weights, tests/process.
#include "rollout/service.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/model/generation.h"
#include "common/tensor/device.h"
#include "proto/responses.h"
#include "proto/weights/weights.h"
#include "rollout/decoder.h"
#include "tests/support/fields.h"

static const char MODEL[] = TEST_SOURCE_DIR "/examples/models/stories";

enum { COUNT = 3, NEW_TOKENS = 80 };
static const int32_t ids[] = {5, 80, 33, 7, 9, 11};
static const int32_t starts[] = {0, 3, 4, 6};
static const int32_t numbers[] = {11, 12, 12};
static const int32_t samples[] = {0, 1, 2};

static rollout_service_t *service;
static tr_service_options_t options;
static tr_error_t err;

static void setup(void)
{
    tr_service_options_init(&options, TR_ROLE_ROLLOUT);
    options.threads = 1;
    options.endpoint = tr_strdup("ipc://nowhere");
    service = rollout_service_new(&options);
}

static void teardown(void)
{
    rollout_service_destroy(&service);
    tr_service_options_release(&options);
}

TestSuite(rollout_service, .init = setup, .fini = teardown, .timeout = 120);

static json_t *config(void)
{
    return json_pack("{s:s, s:i, s:i, s:b, s:i}", "model", MODEL, "eos", -1, "max_batch", 2,
                     "frozen", 1, "threads", 1);
}

static void welcome(void)
{
    json_t *good = config();
    cr_assert_eq(rollout_service_welcome(service, good, &err), TR_OK, "%s", err.text);
    json_decref(good);
}

static tr_message_t *request(void)
{
    tr_message_t *message = tr_message_new("request");
    json_t *body = json_object();
    json_t *asked = json_pack("{s:{s:i, s:s}, s:i, s:f, s:i, s:f, s:f, s:i, s:b, s:[i, i]}",
                              "weights", "version", 0, "checksum", TR_WEIGHTS_FROZEN, "seed", 3,
                              "temperature", 0.75, "top_k", 40, "top_p", 0.875, "min_p", 0.01,
                              "max_new_tokens", NEW_TOKENS, "ignore_eos", 1, "stop_ids", 21, 403);
    fields_put_defaults(body, &tr_generation_fields);
    json_object_update(body, asked);
    json_decref(asked);
    tr_message_set_body(message, body);
    tr_message_add_vector(message, "ids", TR_I32, 6, ids);
    tr_message_add_vector(message, "starts", TR_I32, COUNT + 1, starts);
    tr_message_add_vector(message, "prompt_numbers", TR_I32, COUNT, numbers);
    tr_message_add_vector(message, "samples", TR_I32, COUNT, samples);
    return message;
}

/// What the request above asks for, by hand.
static void decode(rollout_response_t *responses)
{
    static const int32_t stops[] = {21, 403};
    const tr_device_options_t device = {.device = "cpu", .threads = 1};
    const rollout_options_t asked = {
        .sampling = {.temperature = 0.75f, .top_k = 40, .top_p = 0.875f, .min_p = 0.01f},
        .max_new_tokens = NEW_TOKENS,
        .seed = 3,
        .stop_ids = stops,
        .stop_count = 2,
        .ignore_eos = true};
    rollout_request_t requests[COUNT];
    tr_backend_t *backend;
    tr_model_t *model;
    for (size_t i = 0; i < COUNT; i++) {
        requests[i] = (rollout_request_t){.prompt = ids + starts[i],
                                          .length = (size_t)(starts[i + 1] - starts[i]),
                                          .prompt_number = (uint32_t)numbers[i],
                                          .sample = (uint32_t)samples[i]};
    }
    cr_assert_eq(tr_backend_open(&backend, &device, &err), TR_OK, "%s", err.text);
    cr_assert_eq(tr_model_open(&model, MODEL, NULL, backend, TR_MODEL_DECODES, &err), TR_OK, "%s",
                 err.text);
    rollout_decoder_t *decoder = rollout_decoder_new(model, 2);
    cr_assert_eq(rollout_decode(decoder, responses, requests, COUNT, &asked, NULL, NULL, &err),
                 TR_OK, "%s", err.text);
    // The model begins a sentence with 403, after its EOS: neither key can be lost unnoticed.
    cr_assert_eq(responses[0].finish, TR_FINISH_STOP);
    cr_assert_eq(responses[1].finish, TR_FINISH_STOP);
    cr_assert_eq(responses[2].finish, TR_FINISH_LENGTH);
    rollout_decoder_destroy(&decoder);
    tr_model_destroy(&model);
    tr_backend_close(&backend);
}

/// Response i of the reply is what the decoder gave.
static void check_response(const tr_responses_t *all, size_t i, rollout_response_t *expected)
{
    size_t at = (size_t)all->starts[i], length = expected->length;
    cr_assert_eq((size_t)all->starts[i + 1] - at, length, "response %zu", i);
    cr_expect_eq(all->finish[i], (int32_t)expected->finish);
    cr_expect_arr_eq(all->ids + at, expected->ids, length * sizeof *all->ids);
    cr_expect_arr_eq(all->logprobs + at, expected->logprobs, length * sizeof *all->logprobs);
    cr_expect_arr_eq(all->raw + at, expected->raw, length * sizeof *all->raw);
    size_t first = (size_t)all->kept_offsets[at];
    cr_assert_eq((size_t)all->kept_offsets[at + length] - first, expected->kept);
    cr_expect_arr_eq(all->kept_ids + first, expected->kept_ids,
                     expected->kept * sizeof *all->kept_ids);
    for (size_t t = 0; t < length; t++) {
        cr_expect_eq((size_t)all->kept_offsets[at + t + 1] - first, (size_t)expected->kept_ends[t]);
    }
    rollout_response_release(expected);
}

Test(rollout_service, every_key_of_a_request_reaches_the_decoder)
{
    rollout_response_t expected[COUNT];
    tr_responses_t all;
    welcome();
    decode(expected);
    tr_message_t *message = request(), *reply = tr_message_new("reply");
    cr_assert_eq(rollout_service_generate(service, message, reply, &err), TR_OK, "%s", err.text);
    cr_assert_eq(tr_responses_take(&all, COUNT, 1 << 20, true, reply, &err), TR_OK, "%s", err.text);
    for (size_t i = 0; i < COUNT; i++) {
        check_response(&all, i, &expected[i]);
    }
    const json_t *body = tr_message_body(reply);
    cr_expect_str_eq(json_string_value(json_object_get(body, "checksum")), TR_WEIGHTS_FROZEN);
    cr_expect_eq(json_integer_value(json_object_get(body, "version")), 0);
    tr_message_destroy(&message);
    tr_message_destroy(&reply);
}

Test(rollout_service, without_truncation_there_are_no_kept_ids)
{
    tr_responses_t all;
    welcome();
    tr_message_t *message = request(), *reply = tr_message_new("reply");
    json_object_set_new(tr_message_body(message), "top_k", json_integer(0));
    json_object_set_new(tr_message_body(message), "top_p", json_real(1.0));
    json_object_set_new(tr_message_body(message), "min_p", json_real(0.0));
    cr_assert_eq(rollout_service_generate(service, message, reply, &err), TR_OK, "%s", err.text);
    cr_expect_eq(tr_responses_take(&all, COUNT, 1 << 20, false, reply, &err), TR_OK, "%s",
                 err.text);
    tr_message_destroy(&message);
    tr_message_destroy(&reply);
}

/// The request fails, with this in its sentence. Takes message.
static void expect_refused(tr_message_t *message, tr_status status, const char *part)
{
    tr_message_t *reply = tr_message_new("reply");
    cr_expect_eq(rollout_service_generate(service, message, reply, &err), status, "%s", err.text);
    cr_expect_not_null(strstr(err.text, part), "'%s' lacks '%s'", err.text, part);
    tr_message_destroy(&message);
    tr_message_destroy(&reply);
}

Test(rollout_service, a_request_before_the_welcome_is_refused)
{
    expect_refused(request(), TR_ERR_PROTOCOL, "before the welcome");
}

/// A request without the key is refused by its name.
static void expect_missed(const char *key)
{
    tr_message_t *message = request();
    cr_assert_eq(json_object_del(tr_message_body(message), key), 0, "%s", key);
    expect_refused(message, TR_ERR_PROTOCOL, key);
}

Test(rollout_service, each_key_and_tensor_of_a_request_is_required_or_refused_by_name)
{
    static const char *const keys[] = {"weights", "seed", "ignore_eos"};
    welcome();
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        expect_missed(keys[i]);
    }
    for (size_t i = 0; i < tr_generation_fields.count; i++) {
        if (!tr_generation_fields.items[i].local) {
            expect_missed(tr_generation_fields.items[i].name);
        }
    }
    tr_message_t *message = request();
    json_object_set_new(tr_message_body(message), "top_p", json_real(1.5));
    expect_refused(message, TR_ERR_PROTOCOL, "top_p: expected a number above 0 and at most 1");
    message = tr_message_new("request");
    tr_message_t *whole = request();
    tr_message_set_body(message, json_incref(tr_message_body(whole)));
    tr_message_destroy(&whole);
    expect_refused(message, TR_ERR_PROTOCOL, "'prompt_numbers'");
}

Test(rollout_service, prompts_out_of_order_are_refused)
{
    static const int32_t falling[] = {0, 4, 3, 6};
    welcome();
    tr_message_t *whole = request(), *message = tr_message_new("request");
    tr_message_set_body(message, json_incref(tr_message_body(whole)));
    tr_message_add_vector(message, "ids", TR_I32, 6, ids);
    tr_message_add_vector(message, "starts", TR_I32, COUNT + 1, falling);
    tr_message_add_vector(message, "prompt_numbers", TR_I32, COUNT, numbers);
    tr_message_add_vector(message, "samples", TR_I32, COUNT, samples);
    tr_message_destroy(&whole);
    expect_refused(message, TR_ERR_PROTOCOL, "'starts'");
}

Test(rollout_service, weights_of_an_unknown_kind_are_refused)
{
    welcome();
    tr_message_t *message = request();
    json_t *weights = json_object_get(tr_message_body(message), "weights");
    json_object_set_new(weights, "checksum", json_string("0123456789abcdef"));
    cr_expect_neq(rollout_service_generate(service, message, message, &err), TR_OK);
    tr_message_destroy(&message);
}

Test(rollout_service, each_key_of_the_welcome_is_required_by_name)
{
    static const char *const keys[] = {"model", "eos", "max_batch", "frozen", "threads"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *bad = config();
        json_object_del(bad, keys[i]);
        cr_expect_eq(rollout_service_welcome(service, bad, &err), TR_ERR_PROTOCOL);
        cr_expect_not_null(strstr(err.text, keys[i]), "%s", err.text);
        json_decref(bad);
    }
    expect_refused(request(), TR_ERR_PROTOCOL, "before the welcome");
}
