/// Generation: what ends a response, what is refused, what is told. What is drawn: test_drawing.c;
/// that log-probs are the trainer's: tests/common/model/test_exact.c.
#include "rollout/decoder.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/text/tokenizer.h"
#include "tests/support/data.h"
#include "tests/support/small.h"

enum { NEW_TOKENS = 24 };
static const int32_t PROMPT[] = {5, 80, 33};

static rollout_request_t request(void)
{
    return (rollout_request_t){.prompt = PROMPT, .length = 3, .prompt_number = 11};
}

static rollout_options_t sampled(void)
{
    return (rollout_options_t){.sampling = {.temperature = 1.0f, .top_k = 0, .top_p = 1.0f},
                               .max_new_tokens = NEW_TOKENS,
                               .seed = 2};
}

/// One response to PROMPT of a small model with these EOS ids.
static rollout_response_t respond(const int32_t *eos, size_t eos_count,
                                  const rollout_options_t *options)
{
    small_t small;
    tr_error_t err = {0};
    tr_model_config_t config = small_config();
    rollout_response_t response;
    rollout_request_t one = request();
    for (config.eos_count = 0; config.eos_count < eos_count; config.eos_count++) {
        config.eos[config.eos_count] = eos[config.eos_count];
    }
    small_open(&small, &config, NULL, 1, false);
    rollout_decoder_t *decoder = rollout_decoder_new(small.model, 4);
    tr_status status = rollout_decode(decoder, &response, &one, 1, options, NULL, NULL, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    rollout_decoder_destroy(&decoder);
    small_close(&small);
    return response;
}

Test(decoder, of_weights_that_are_nan_says_so)
{
    small_t small;
    tr_error_t err = {0};
    const tr_model_config_t config = small_config();
    const rollout_options_t options = sampled();
    const rollout_request_t one = request();
    rollout_response_t response;
    small_open(&small, &config, NULL, 1, false);
    float *weights = small_weights(&small.rig, tr_model_layout(small.model));
    weights[(size_t)PROMPT[1] * config.hidden] = NAN; // in the embedding
    tr_model_write_parameters(small.model, weights);
    rollout_decoder_t *decoder = rollout_decoder_new(small.model, 4);
    cr_expect_eq(rollout_decode(decoder, &response, &one, 1, &options, NULL, NULL, &err),
                 TR_ERR_NUMERIC);
    cr_expect_not_null(strstr(err.text, "not finite"), "%s", err.text);
    rollout_decoder_destroy(&decoder);
    small_close(&small);
}

/// The response that nothing ends but its length.
static rollout_response_t unbounded(void)
{
    rollout_options_t options = sampled();
    rollout_response_t response = respond(NULL, 0, &options);
    cr_assert_eq(response.length, NEW_TOKENS);
    cr_assert_eq(response.finish, TR_FINISH_LENGTH);
    return response;
}

/// Where an id first stands in a response.
static size_t first_place(const rollout_response_t *response, int32_t id)
{
    size_t i = 0;
    while (i < response->length && response->ids[i] != id) {
        i++;
    }
    return i;
}

/// got is the beginning of whole up to and with the first of this id, and ended for this reason.
static void check_cut(rollout_response_t *got, const rollout_response_t *whole, int32_t id,
                      tr_finish_t finish)
{
    cr_assert_eq(got->length, first_place(whole, id) + 1);
    cr_assert_eq(got->finish, finish, "%s", tr_finish_name(got->finish));
    cr_assert_eq(memcmp(got->ids, whole->ids, got->length * sizeof *got->ids), 0);
    check_same(got->logprobs, whole->logprobs, got->length, "logprobs");
    rollout_response_release(got);
}

Test(decoder, a_response_ends_with_the_models_eos)
{
    rollout_response_t whole = unbounded();
    rollout_options_t options = sampled();
    const int32_t eos[] = {96, whole.ids[6]};
    rollout_response_t response = respond(eos, 2, &options);
    check_cut(&response, &whole, whole.ids[6], TR_FINISH_EOS);
    rollout_response_release(&whole);
}

Test(decoder, a_response_ends_with_a_stop_id)
{
    rollout_response_t whole = unbounded();
    rollout_options_t options = sampled();
    const int32_t stops[] = {96, whole.ids[9]};
    options.stop_ids = stops;
    options.stop_count = 2;
    rollout_response_t response = respond(NULL, 0, &options);
    check_cut(&response, &whole, whole.ids[9], TR_FINISH_STOP);
    rollout_response_release(&whole);
}

Test(decoder, ignored_eos_ids_end_nothing)
{
    rollout_response_t whole = unbounded();
    rollout_options_t options = sampled();
    options.ignore_eos = true;
    rollout_response_t response = respond(&whole.ids[6], 1, &options);
    cr_assert_eq(response.length, NEW_TOKENS);
    cr_assert_eq(response.finish, TR_FINISH_LENGTH);
    cr_assert_eq(memcmp(response.ids, whole.ids, NEW_TOKENS * sizeof *whole.ids), 0);
    rollout_response_release(&response);
    options.stop_ids = &whole.ids[9];
    options.stop_count = 1;
    response = respond(&whole.ids[6], 1, &options);
    check_cut(&response, &whole, whole.ids[9], TR_FINISH_STOP);
    rollout_response_release(&whole);
}

Test(decoder, an_end_at_the_last_token_counts_as_that_end)
{
    rollout_response_t whole = unbounded();
    rollout_options_t options = sampled();
    options.max_new_tokens = first_place(&whole, whole.ids[6]) + 1;
    rollout_response_t response = respond(&whole.ids[6], 1, &options);
    check_cut(&response, &whole, whole.ids[6], TR_FINISH_EOS);
    rollout_response_release(&whole);
}

/// A decoder over the small model.
typedef struct bench {
    small_t small;
    rollout_decoder_t *decoder;
} bench_t;

static void bench_open(bench_t *bench, size_t max_batch)
{
    tr_model_config_t config = small_config();
    small_open(&bench->small, &config, NULL, 1, false);
    bench->decoder = rollout_decoder_new(bench->small.model, max_batch);
}

static void bench_close(bench_t *bench)
{
    rollout_decoder_destroy(&bench->decoder);
    small_close(&bench->small);
}

static void decode(bench_t *bench, rollout_response_t *responses, const rollout_request_t *requests,
                   size_t count, const rollout_options_t *options)
{
    tr_error_t err = {0};
    tr_status status =
        rollout_decode(bench->decoder, responses, requests, count, options, NULL, NULL, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
}

Test(decoder, a_response_ends_where_the_positions_end)
{
    bench_t bench;
    bench_open(&bench, 4);
    size_t positions = bench.small.config->max_positions;
    const int32_t *ids = small_ids(&bench.small, positions, 1);
    rollout_options_t options = sampled();
    for (size_t room = 1; room <= NEW_TOKENS + 1; room += 8) {
        rollout_request_t one = {.prompt = ids, .length = positions - room};
        rollout_response_t response;
        decode(&bench, &response, &one, 1, &options);
        cr_assert_eq(response.length, room < NEW_TOKENS ? room : NEW_TOKENS);
        cr_assert_eq(response.finish, TR_FINISH_LENGTH);
        rollout_response_release(&response);
    }
    bench_close(&bench);
}

/// The second of two requests is bad: it fails by its number and leaves nothing behind.
static void check_refused(const int32_t *prompt, size_t length, size_t max_new_tokens,
                          const char *words)
{
    bench_t bench;
    tr_error_t err = {0};
    rollout_options_t options = sampled();
    rollout_request_t requests[2] = {request(),
                                     {.prompt = prompt, .length = length, .prompt_number = 4711}};
    rollout_response_t responses[2];
    bench_open(&bench, 2);
    options.max_new_tokens = max_new_tokens;
    tr_status status =
        rollout_decode(bench.decoder, responses, requests, 2, &options, NULL, NULL, &err);
    cr_assert_eq(status, TR_ERR_ARGUMENT);
    cr_assert_not_null(strstr(err.text, words), "%s", err.text);
    cr_assert_null(responses[0].ids);
    cr_assert_null(responses[1].ids);
    bench_close(&bench);
}

Test(decoder, a_bad_prompt_fails_by_its_number)
{
    int32_t *full = tr_calloc(700, sizeof *full);
    check_refused(full, 0, 4, "prompt 4711 has 0 tokens");
    check_refused(full, 700, 4, "prompt 4711 has 700 tokens; the model takes 1 to 699");
    check_refused((const int32_t[]){1, 97}, 2, 4, "prompt 4711 has token 97");
    check_refused((const int32_t[]){1, -1}, 2, 4, "prompt 4711 has token -1");
    free(full);
}

Test(decoder, no_new_tokens_are_refused)
{
    check_refused(PROMPT, 3, 0, "max_new_tokens");
}

Test(decoder, nothing_to_do_is_done)
{
    bench_t bench;
    rollout_options_t options = sampled();
    rollout_response_t unused;
    rollout_request_t none = request();
    bench_open(&bench, 2);
    decode(&bench, &unused, &none, 0, &options);
    bench_close(&bench);
}

enum { MANY = 9 };

/// What was called back; stops at a number of calls.
typedef struct listener {
    int32_t ids[MANY][NEW_TOKENS];
    size_t heard[MANY];
    size_t calls, stop_at;
} listener_t;

static bool listen(void *context, size_t index, int32_t id)
{
    listener_t *listener = context;
    listener->ids[index][listener->heard[index]++] = id;
    return ++listener->calls != listener->stop_at;
}

static void many_requests(bench_t *bench, rollout_request_t *requests)
{
    for (uint32_t i = 0; i < MANY; i++) {
        requests[i] = (rollout_request_t){.prompt = small_ids(&bench->small, 20 * i + 1, i),
                                          .length = 20 * i + 1,
                                          .prompt_number = i};
    }
}

Test(decoder, each_token_is_told_as_it_is_made)
{
    bench_t bench;
    tr_error_t err = {0};
    rollout_request_t requests[MANY];
    rollout_response_t responses[MANY];
    rollout_options_t options = sampled();
    listener_t listener = {.calls = 0};
    bench_open(&bench, 4);
    many_requests(&bench, requests);
    tr_status status =
        rollout_decode(bench.decoder, responses, requests, MANY, &options, listen, &listener, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    for (size_t i = 0; i < MANY; i++) {
        cr_assert_eq(listener.heard[i], responses[i].length);
        size_t bytes = responses[i].length * sizeof(int32_t);
        cr_assert_eq(memcmp(listener.ids[i], responses[i].ids, bytes), 0);
        rollout_response_release(&responses[i]);
    }
    bench_close(&bench);
}

Test(decoder, interrupted_it_releases_everything_and_works_again)
{
    bench_t bench, fresh;
    rollout_request_t requests[MANY];
    rollout_response_t responses[MANY], expected[MANY];
    rollout_options_t options = sampled();
    options.sampling.top_k = 30;
    bench_open(&bench, 4);
    bench_open(&fresh, 4);
    many_requests(&bench, requests);
    for (size_t stop = 1; stop <= MANY * NEW_TOKENS; stop += 43) {
        tr_error_t err = {0};
        listener_t listener = {.stop_at = stop};
        tr_status status = rollout_decode(bench.decoder, responses, requests, MANY, &options,
                                          listen, &listener, &err);
        cr_assert_eq(status, TR_ERR_INTERRUPTED);
        cr_assert_eq(listener.calls, stop);
        for (size_t i = 0; i < MANY; i++) {
            cr_assert_null(responses[i].ids);
        }
    }
    decode(&bench, responses, requests, MANY, &options);
    decode(&fresh, expected, requests, MANY, &options);
    for (size_t i = 0; i < MANY; i++) {
        cr_assert_eq(responses[i].length, NEW_TOKENS);
        cr_assert_eq(memcmp(responses[i].ids, expected[i].ids, NEW_TOKENS * sizeof(int32_t)), 0);
        check_same(responses[i].raw, expected[i].raw, NEW_TOKENS, "raw");
        rollout_response_release(&responses[i]);
        rollout_response_release(&expected[i]);
    }
    bench_close(&fresh);
    bench_close(&bench);
}

Test(decoder, stories260K_tells_its_story)
{
    static const char *const story =
        "Once upon a time, there was a little girl named Lily. She loved to play outside in the "
        "park. One day, she saw a big, red ball.";
    char *directory = data_require("stories260K");
    small_t small;
    tr_error_t err = {0};
    tr_tokenizer_t *tokenizer = NULL;
    small_open_directory(&small, directory, NULL, 2, false);
    cr_assert_eq(tr_tokenizer_new(&tokenizer, directory, &err), TR_OK, "%s", err.text);
    rollout_decoder_t *decoder = rollout_decoder_new(small.model, 1);
    rollout_request_t one = {.prompt = &small.config->bos, .length = 1};
    rollout_options_t options = {.sampling = {.top_p = 1.0f}, .max_new_tokens = 64};
    rollout_response_t response;
    tr_status status = rollout_decode(decoder, &response, &one, 1, &options, NULL, NULL, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    char *text =
        tr_tokenizer_decode(NULL, tokenizer, response.ids, response.length, TR_DECODE_SKIP_SPECIAL);
    cr_assert_eq(strncmp(text, story, strlen(story)), 0, "%s", text);
    free(text);
    rollout_response_release(&response);
    rollout_decoder_destroy(&decoder);
    tr_tokenizer_destroy(&tokenizer);
    small_close(&small);
    free(directory);
}
