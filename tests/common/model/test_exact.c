/// The promise that Troupe is built on: a token's log-probability is the same bits however it is
/// computed. Each law is held on a small random model, on one of each family and, where the data is
/// there, on stories260K.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/rng.h"
#include "common/model/model_private.h"
#include "rollout/decoder.h"
#include "tests/support/data.h"
#include "tests/support/models.h"
#include "tests/support/small.h"

enum { SEQUENCES = 7 };
static const size_t LENGTHS[SEQUENCES] = {40, 2, 17, 97, 16, 33, 5};
static const size_t PROMPTS[SEQUENCES] = {7, 1, 16, 30, 1, 32, 5}; // the last has no response

/// What the laws are held on: a directory, or NULL for the random model, in fp32 or bf16.
typedef struct subject {
    char *directory;
    bool bf16;
    const char *adapter; ///< of the directory's model; NULL: none
} subject_t;

/// Holds the law on each golden model that generates and takes the requests below.
static void hold_on_families(void (*law)(const subject_t *subject), bool bf16)
{
    glob_t models;
    models_find(&models);
    for (size_t i = 0; i < models.gl_pathc; i++) {
        tr_model_config_t config;
        tr_error_t err = {0};
        cr_assert_eq(tr_model_config_load(&config, models.gl_pathv[i], &err), TR_OK, "%s",
                     err.text);
        if (!config.scalar_head && config.max_positions >= 600) {
            law(&(subject_t){.directory = models.gl_pathv[i], .bf16 = bf16});
        }
    }
    globfree(&models);
}

/// Holds the law on golden models with adapters, as families differ in what is adapted.
static void hold_on_adapters(void (*law)(const subject_t *subject), bool bf16)
{
    static const char *const names[] = {"phi3",    "gpt2",        "gpt_neox", "gemma3",
                                        "qwen3_5", "deepseek_v3", "mixtral"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *directory = tr_format(TEST_SOURCE_DIR "/tests/golden/models/%s", names[i]);
        char *adapter = tr_format(TEST_SOURCE_DIR "/tests/golden/lora/%s", names[i]);
        law(&(subject_t){directory, bf16, adapter});
        free(directory);
        free(adapter);
    }
}

/// A law for all subjects.
#define LAW(name)                                                       \
    static void name(const subject_t *subject);                         \
    Test(exact, name)                                                   \
    {                                                                   \
        name(&(subject_t){.bf16 = false});                              \
    }                                                                   \
    Test(exact_bf16, name)                                              \
    {                                                                   \
        name(&(subject_t){.bf16 = true});                               \
    }                                                                   \
    Test(exact_families, name)                                          \
    {                                                                   \
        hold_on_families(name, false);                                  \
    }                                                                   \
    Test(exact_families_bf16, name)                                     \
    {                                                                   \
        hold_on_families(name, true);                                   \
    }                                                                   \
    Test(exact_adapters, name)                                          \
    {                                                                   \
        hold_on_adapters(name, false);                                  \
    }                                                                   \
    Test(exact_adapters_bf16, name)                                     \
    {                                                                   \
        hold_on_adapters(name, true);                                   \
    }                                                                   \
    Test(exact_stories, name)                                           \
    {                                                                   \
        subject_t stories = {.directory = data_require("stories260K")}; \
        name(&stories);                                                 \
        free(stories.directory);                                        \
    }                                                                   \
    static void name(const subject_t *subject)

static bool subject_open(small_t *small, const subject_t *subject, const char *isa, size_t threads,
                         bool learns)
{
    tr_model_config_t config = small_config();
    char name[32];
    if (subject->bf16) {
        snprintf(name, sizeof name, SMALL_BF16 "%s", isa != NULL ? isa : "");
        isa = name;
    }
    return subject->directory == NULL ? small_open(small, &config, isa, threads, learns)
                                      : small_open_adapted(small, subject->directory,
                                                           subject->adapter, isa, threads, learns);
}

static tr_sequences_t the_sequences(small_t *small)
{
    return small_sequences(small, LENGTHS, PROMPTS, SEQUENCES, 3);
}

static size_t tokens_of(const tr_sequences_t *sequences)
{
    return (size_t)sequences->response_starts[sequences->count];
}

LAW(the_size_of_a_chunk_does_not_change_a_logprob)
{
    small_t small;
    subject_open(&small, subject, NULL, 2, false);
    tr_sequences_t sequences = the_sequences(&small);
    float *alone = small_response(&small, &sequences, 1, 0.8f);
    for (size_t chunk = 2; chunk <= SEQUENCES; chunk++) {
        check_same(small_response(&small, &sequences, chunk, 0.8f), alone, tokens_of(&sequences),
                   "in a larger chunk");
    }
    small_close(&small);
}

LAW(neighbours_and_order_do_not_change_a_logprob)
{
    small_t small;
    tr_error_t err = {0};
    subject_open(&small, subject, NULL, 2, false);
    tr_sequences_t sequences = the_sequences(&small);
    float *alone = small_response(&small, &sequences, 1, 1.0f);
    tr_response_pass_t *pass = tr_response_pass_new(small.model);
    for (uint32_t shuffle = 0; shuffle < 8; shuffle++) {
        uint32_t chosen[SEQUENCES];
        float out[256], expected[256];
        size_t count = 1 + shuffle % SEQUENCES;
        tr_rng_permutation(chosen, SEQUENCES, 5, shuffle, 0);
        size_t n = tr_response_select(expected, alone, &sequences, chosen, count);
        tr_status status = tr_response_forward(pass, &sequences, chosen, count, 1.0f,
                                               shuffle % 2 == 0, out, NULL, &err);
        cr_assert_eq(status, TR_OK, "%s", err.text);
        check_same(out, expected, n, "among others");
    }
    tr_response_pass_destroy(&pass);
    small_close(&small);
}

/// Log-probs of all response tokens, of a policy opened so.
static float *logprobs_with(small_t *small, bool learn)
{
    tr_sequences_t sequences = the_sequences(small);
    tr_error_t err = {0};
    if (!learn) {
        return small_response(small, &sequences, 3, 0.7f);
    }
    uint32_t all[SEQUENCES] = {0, 1, 2, 3, 4, 5, 6};
    float *out = rig_memory(&small->rig, tokens_of(&sequences) * sizeof *out);
    tr_response_pass_t *pass = tr_response_pass_new(small->model);
    tr_status status =
        tr_response_forward(pass, &sequences, all, SEQUENCES, 0.7f, true, out, NULL, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    tr_response_pass_destroy(&pass);
    return out;
}

LAW(threads_instruction_sets_and_learning_do_not_change_a_logprob)
{
    small_t plain;
    subject_open(&plain, subject, "generic", 1, false);
    float *expected = logprobs_with(&plain, false);
    for (size_t i = 0; i < RIG_ISAS; i++) {
        for (size_t threads = i == 0 ? 3 : 1; threads <= 3; threads++) { // generic is slow
            small_t small;
            if (!subject_open(&small, subject, rig_isas[i], threads, true)) {
                continue;
            }
            size_t n = 0;
            for (size_t s = 0; s < SEQUENCES; s++) {
                n += LENGTHS[s] - PROMPTS[s];
            }
            check_same(logprobs_with(&small, false), expected, n, rig_isas[i]);
            check_same(logprobs_with(&small, true), expected, n, rig_isas[i]);
            small_close(&small);
        }
    }
    small_close(&plain);
}

static float *gradient_with(small_t *small)
{
    tr_sequences_t sequences = the_sequences(small);
    return small_gradient(small, &sequences, small_factors(small, &sequences), 0.7f);
}

LAW(threads_and_instruction_sets_do_not_change_a_gradient)
{
    small_t plain;
    subject_open(&plain, subject, "generic", 1, true);
    float *expected = gradient_with(&plain);
    for (size_t i = 0; i < RIG_ISAS; i++) {
        for (size_t threads = i == 0 ? 3 : 1; threads <= 3; threads++) { // generic is slow
            small_t small;
            if (subject_open(&small, subject, rig_isas[i], threads, true)) {
                check_same(gradient_with(&small), expected, small.total, rig_isas[i]);
                small_close(&small);
            }
        }
    }
    small_close(&plain);
}

/// With a scalar head, in fp32 or bf16.
static bool critic_open(small_t *small, bool bf16, const char *isa, size_t threads)
{
    tr_model_config_t config = small_config();
    char name[32];
    config.scalar_head = true;
    snprintf(name, sizeof name, "%s%s", bf16 ? SMALL_BF16 : "", isa);
    return small_open(small, &config, name, threads, true);
}

static void check_critic(bool bf16)
{
    small_t plain;
    critic_open(&plain, bf16, "generic", 1);
    tr_sequences_t sequences = the_sequences(&plain);
    float *values = small_response(&plain, &sequences, 1, 1.0f);
    float *gradient = gradient_with(&plain);
    for (size_t i = 0; i < RIG_ISAS; i++) {
        for (size_t threads = i == 0 ? 3 : 1; threads <= 3; threads++) { // generic is slow
            small_t small;
            if (critic_open(&small, bf16, rig_isas[i], threads)) {
                tr_sequences_t again = the_sequences(&small);
                check_same(small_response(&small, &again, SEQUENCES, 1.0f), values,
                           tokens_of(&again), rig_isas[i]);
                check_same(gradient_with(&small), gradient, small.total, rig_isas[i]);
                small_close(&small);
            }
        }
    }
    small_close(&plain);
}

Test(exact, a_critics_values_and_gradients_are_the_same_bits_everywhere)
{
    check_critic(false);
}

Test(exact_bf16, a_critics_values_and_gradients_are_the_same_bits_everywhere)
{
    check_critic(true);
}

/// The sequences again through the paged cache, `piece` tokens of each a pass (0: 1 to 24 by
/// chance), pages scattered. hidden: [tokens, H], in the rig's memory.
static float *hidden_in_pieces(small_t *small, const tr_sequences_t *sequences, size_t piece)
{
    enum { ROW = 8 }; // pages of a sequence
    const size_t most = piece > 0 ? piece : 24;
    const tr_cache_room_t of_one = tr_cache_room_of(small->config, (size_t)ROW * TR_PAGE, most);
    const tr_cache_room_t room = {SEQUENCES * ROW, SEQUENCES * of_one.ring, SEQUENCES};
    tr_error_t err = {0};
    tr_cache_t *cache = NULL;
    tr_arena_t *arena = tr_arena_new(small->rig.backend);
    tr_queue_t *queue = tr_model_queue(small->model);
    size_t H = small->config->hidden;
    uint32_t scattered[SEQUENCES * ROW];
    int32_t pages[SEQUENCES * ROW], rings[SEQUENCES * ROW];
    size_t done[SEQUENCES] = {0};
    float *out = rig_memory(&small->rig, (size_t)sequences->starts[SEQUENCES] * H * sizeof *out);
    tr_rng_permutation(scattered, SEQUENCES * ROW, 8, 0, 0);
    for (size_t i = 0; i < SEQUENCES * ROW; i++) {
        pages[i] = (int32_t)scattered[i];
    }
    // Of a ring every page is used, in an order by chance.
    tr_rng_permutation(scattered, (uint32_t)room.ring, 9, 0, 0);
    for (size_t i = 0; i < room.ring; i++) {
        rings[i] = (int32_t)scattered[i];
    }
    cr_assert_eq(tr_cache_new(&cache, small->model, room, &err), TR_OK, "%s", err.text);
    for (uint32_t turn = 0;; turn++) {
        tr_span_t spans[SEQUENCES];
        float *place[SEQUENCES];
        size_t count = 0;
        for (size_t s = 0; s < SEQUENCES; s++) {
            float chance = tr_rng_uniform(8, TR_RNG_SHUFFLE, turn, (uint32_t)s, 0);
            size_t take = piece > 0 ? piece : 1 + (size_t)(chance * 24.0f);
            size_t left = LENGTHS[s] - done[s];
            if (left > 0) {
                size_t start = (size_t)sequences->starts[s] + done[s];
                take = take < left ? take : left;
                spans[count] = (tr_span_t){
                    sequences->ids + start,  take,       done[s], pages + s * ROW, (int32_t)s,
                    rings + s * of_one.ring, of_one.ring};
                if (of_one.ring == 0) {
                    spans[count].ring = NULL;
                }
                place[count++] = out + start * H;
                done[s] += take;
            }
        }
        if (count == 0) {
            break;
        }
        tr_batch_t batch;
        tr_arena_reset(arena);
        tr_batch_init(&batch, arena, queue, spans, count);
        tr_tensor_t hidden = tr_model_decode(small->model, cache, &batch, arena);
        size_t row = 0;
        for (size_t i = 0; i < count; row += spans[i++].length) {
            small->rig.ops->read(queue, place[i], tr_tensor_rows(hidden, row, spans[i].length));
        }
        cr_assert_eq(small->rig.ops->queue_wait(queue, &err), TR_OK, "%s", err.text);
    }
    tr_cache_destroy(&cache);
    tr_arena_destroy(&arena);
    return out;
}

LAW(the_paged_cache_in_any_pieces_gives_the_bits_of_one_full_pass)
{
    static const size_t pieces[] = {1, 2, 5, 15, 16, 17, 64, 0};
    for (size_t i = 0; i < RIG_ISAS; i++) {
        small_t small;
        if (!subject_open(&small, subject, rig_isas[i], 1 + i, false)) {
            continue;
        }
        tr_sequences_t sequences = the_sequences(&small);
        for (size_t j = 0; j < sizeof pieces / sizeof pieces[0]; j++) {
            float *got = hidden_in_pieces(&small, &sequences, pieces[j]);
            for (size_t s = 0; s < SEQUENCES; s++) {
                size_t start = (size_t)sequences.starts[s], H = small.config->hidden;
                float *whole = small_hidden(&small, sequences.ids + start, LENGTHS[s]);
                check_same(got + start * H, whole, LENGTHS[s] * H, "hidden rows");
            }
        }
        small_close(&small);
    }
}

enum { REQUESTS = 12, NEW_TOKENS = 30, LONG = 565 };

/// Prompts of many lengths, one of them longer than a pass takes at once, and than what layers with
/// a window keep, where the model's positions allow that.
static void make_requests(small_t *small, rollout_request_t *requests)
{
    static const size_t lengths[REQUESTS] = {3, 1, 16, 17, LONG, 40, 2, 5, 31, 100, 15, 8};
    const size_t room = small->config->max_positions - NEW_TOKENS;
    for (uint32_t i = 0; i < REQUESTS; i++) {
        uint32_t prompt = i / 2 * 2 == i ? i : i - 1; // two samples of each prompt
        const size_t length = lengths[prompt] < room ? lengths[prompt] : room;
        requests[i] = (rollout_request_t){.prompt = small_ids(small, length, prompt),
                                          .length = length,
                                          .prompt_number = prompt,
                                          .sample = i % 2};
    }
}

static void decode(small_t *small, rollout_response_t *responses, const rollout_request_t *requests,
                   size_t max_batch, tr_sampling_t sampling)
{
    tr_error_t err = {0};
    rollout_decoder_t *decoder = rollout_decoder_new(small->model, max_batch);
    rollout_options_t options = {
        .sampling = sampling, .max_new_tokens = NEW_TOKENS, .seed = 4, .ignore_eos = true};
    tr_status status =
        rollout_decode(decoder, responses, requests, REQUESTS, &options, NULL, NULL, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    rollout_decoder_destroy(&decoder);
}

static void release(rollout_response_t *responses)
{
    for (size_t i = 0; i < REQUESTS; i++) {
        rollout_response_release(&responses[i]);
    }
}

static void check_same_response(const rollout_response_t *got, const rollout_response_t *want)
{
    cr_assert_eq(got->length, want->length);
    cr_assert_eq(got->kept, want->kept);
    cr_assert_eq(got->finish, want->finish);
    size_t bytes = want->length * sizeof(int32_t);
    cr_assert_eq(memcmp(got->ids, want->ids, bytes), 0, "ids");
    cr_assert_eq(memcmp(got->kept_ends, want->kept_ends, bytes), 0, "kept_ends");
    cr_assert(want->kept == 0 ||
                  memcmp(got->kept_ids, want->kept_ids, want->kept * sizeof(int32_t)) == 0,
              "kept_ids");
    check_same(got->logprobs, want->logprobs, want->length, "logprobs");
    check_same(got->raw, want->raw, want->length, "raw");
}

static const tr_sampling_t samplings[] = {
    {1.0f, 0, 1.0f, 0.0f}, {0.7f, 0, 1.0f, 0.0f},  {0.7f, 20, 1.0f, 0.0f},
    {1.3f, 0, 0.8f, 0.0f}, {0.9f, 40, 0.9f, 0.0f}, {0.0f, 0, 1.0f, 0.0f},
};

LAW(what_is_said_does_not_depend_on_the_batch_or_the_order_of_requests)
{
    static const size_t batches[] = {1, 3, 64};
    small_t small;
    subject_open(&small, subject, NULL, 2, false);
    rollout_request_t requests[REQUESTS], shuffled[REQUESTS];
    make_requests(&small, requests);
    for (size_t k = 0; k < sizeof samplings / sizeof samplings[0]; k++) {
        rollout_response_t expected[REQUESTS], got[REQUESTS];
        decode(&small, expected, requests, 5, samplings[k]);
        for (uint32_t j = 0; j < 3; j++) {
            uint32_t order[REQUESTS];
            tr_rng_permutation(order, REQUESTS, 6, j, 0);
            for (size_t i = 0; i < REQUESTS; i++) {
                shuffled[i] = requests[order[i]];
            }
            decode(&small, got, shuffled, batches[j], samplings[k]);
            for (size_t i = 0; i < REQUESTS; i++) {
                check_same_response(&got[i], &expected[order[i]]);
            }
            release(got);
        }
        release(expected);
    }
    small_close(&small);
}

/// Prompts and responses as the trainer takes them; logprobs and raw: concatenated.
static tr_sequences_t join(small_t *small, const rollout_request_t *requests,
                           const rollout_response_t *responses, float **logprobs, float **raw)
{
    size_t lengths[REQUESTS], prompts[REQUESTS], kept = 0;
    for (size_t i = 0; i < REQUESTS; i++) {
        prompts[i] = requests[i].length;
        lengths[i] = prompts[i] + responses[i].length;
        kept += responses[i].kept;
    }
    tr_sequences_t sequences = small_sequences(small, lengths, prompts, REQUESTS, 0);
    size_t tokens = tokens_of(&sequences);
    int32_t *ids = rig_memory(&small->rig, (size_t)sequences.starts[REQUESTS] * sizeof *ids);
    int32_t *kept_offsets = rig_memory(&small->rig, (tokens + 1) * sizeof *kept_offsets);
    int32_t *kept_ids = rig_memory(&small->rig, kept * sizeof *kept_ids);
    *logprobs = rig_memory(&small->rig, tokens * sizeof **logprobs);
    *raw = rig_memory(&small->rig, tokens * sizeof **raw);
    int32_t filled = 0;
    for (size_t i = 0; i < REQUESTS; i++) {
        const rollout_response_t *r = &responses[i];
        size_t at = (size_t)sequences.response_starts[i];
        int32_t *sequence = ids + sequences.starts[i];
        memcpy(sequence, requests[i].prompt, prompts[i] * sizeof *ids);
        memcpy(sequence + prompts[i], r->ids, r->length * sizeof *ids);
        memcpy(*logprobs + at, r->logprobs, r->length * sizeof **logprobs);
        memcpy(*raw + at, r->raw, r->length * sizeof **raw);
        for (size_t t = 0; t < r->length; t++) {
            kept_offsets[at + t + 1] = filled + r->kept_ends[t];
        }
        if (r->kept > 0) {
            memcpy(kept_ids + filled, r->kept_ids, r->kept * sizeof *kept_ids);
        }
        filled += (int32_t)r->kept;
    }
    sequences.ids = ids;
    sequences.kept_offsets = kept_offsets;
    sequences.kept_ids = kept_ids;
    return sequences;
}

/// Decodes with the widest instruction set and one thread, learns with isa and two, and compares.
static void check_on_policy(const subject_t *subject, const char *isa, tr_sampling_t sampling)
{
    small_t rollout, actor;
    rollout_request_t requests[REQUESTS];
    rollout_response_t responses[REQUESTS];
    float *logprobs, *raw;
    subject_open(&rollout, subject, NULL, 1, false);
    subject_open(&actor, subject, isa, 2, true);
    make_requests(&rollout, requests);
    decode(&rollout, responses, requests, 5, sampling);
    tr_sequences_t sequences = join(&rollout, requests, responses, &logprobs, &raw);
    size_t tokens = tokens_of(&sequences);
    cr_assert_eq(tokens, REQUESTS * NEW_TOKENS);
    bool truncates = sampling.top_k > 0 || sampling.top_p < 1.0f;
    cr_assert_eq(sequences.kept_offsets[tokens] > 0, truncates);
    if (sampling.temperature > 0.0f) {
        check_same(small_response(&actor, &sequences, 4, sampling.temperature), logprobs, tokens,
                   "log-probs of the distribution sampled from");
    }
    sequences.kept_offsets = NULL;
    check_same(small_response(&actor, &sequences, 5, 1.0f), raw, tokens, "raw log-probs");
    release(responses);
    small_close(&actor);
    small_close(&rollout);
}

LAW(the_actor_computes_the_bits_that_the_rollout_reported)
{
    for (size_t k = 0; k < sizeof samplings / sizeof samplings[0]; k++) {
        check_on_policy(subject, k == 4 ? "generic" : NULL, samplings[k]); // slow: once
    }
}

// Routing: what routers choose, seen where the operator is called.

/// A row a token and layer with experts: the layer, the router's logits, the experts in the order
/// in which their outputs are added, their weights.
typedef struct choices {
    int32_t *rows; // [count][width]
    size_t count, width;
} choices_t;

static struct {
    tr_ops_t ops; // the backend's, with `route` in between
    const tr_ops_t *real;
    const tr_model_t *model;
    size_t calls;
    choices_t *choices;
} spy;

/// Layers with experts of a model.
static size_t routers_of(const tr_model_config_t *config)
{
    size_t count = 0;
    for (size_t i = 0; config->experts > 0 && i < config->layers; i++) {
        count += !tr_layer_set_has(&config->dense, i);
    }
    return count;
}

static void spied_route(tr_queue_t *queue, const tr_routes_t *routes, tr_tensor_t logits,
                        tr_router_t router)
{
    tr_error_t err = {0};
    choices_t *choices = spy.choices;
    const size_t E = router.experts, C = router.chosen, T = logits.rows;
    const tr_tensor_t parts[] = {logits, routes->experts, routes->weights};
    const size_t columns[] = {E, C, C};
    spy.real->route(queue, routes, logits, router);
    choices->width = 1 + E + 2 * C;
    choices->rows =
        tr_realloc(choices->rows, (choices->count + T) * choices->width * sizeof *choices->rows);
    int32_t *rows = choices->rows + choices->count * choices->width;
    for (size_t t = 0; t < T; t++) {
        int32_t *to = rows + t * choices->width;
        *to++ = (int32_t)(spy.calls % routers_of(&spy.model->config));
        for (size_t i = 0; i < 3; to += columns[i++]) {
            spy.real->read(queue, to, tr_tensor_rows(parts[i], t, 1));
        }
    }
    cr_assert_eq(spy.real->queue_wait(queue, &err), TR_OK, "%s", err.text);
    choices->count += T;
    spy.calls++;
}

static void spy_begin(small_t *small, choices_t *choices)
{
    spy.real = small->rig.backend->ops;
    spy.ops = *spy.real;
    spy.ops.route = spied_route;
    spy.model = small->model;
    spy.calls = 0;
    spy.choices = choices;
    small->rig.backend->ops = &spy.ops;
}

static void spy_end(small_t *small)
{
    small->rig.backend->ops = spy.real;
}

/// The logits of each expert with an odd number become those of the one before it.
static void tie_experts(small_t *small)
{
    tr_error_t err = {0};
    tr_model_t *model = small->model;
    const size_t experts = small->config->experts;
    float *values = rig_memory(&small->rig, small->total * sizeof *values);
    cr_assert_eq(tr_model_read_parameters(model, values, &err), TR_OK, "%s", err.text);
    for (size_t i = 0; i < model->layout.count; i++) {
        const tr_parameter_t *parameter = &model->layout.parameters[i];
        const tr_weight_kind_t kind = parameter->weight->kind;
        const size_t width = parameter->rows * parameter->columns / experts;
        for (size_t e = 1;
             (kind == TR_WEIGHT_ROUTER || kind == TR_WEIGHT_ROUTER_BIAS) && e < experts; e += 2) {
            float *row = values + parameter->offset + e * width;
            memcpy(row, row - width, width * sizeof *row);
        }
    }
    tr_model_write_parameters(model, values);
    if (model->router_biases != NULL) { // of the choice alone
        small->rig.ops->zero(model->queue, model->router_bias);
    }
}

/// With experts tied in twos the lower comes first, so an odd one is never chosen without it. (Of
/// routers with groups the two may be in different ones.)
static void expect_lower_first(const choices_t *choices, const tr_model_config_t *config)
{
    const size_t E = config->experts, C = config->experts_chosen;
    for (size_t i = 0; i < choices->count && !config->router_sigmoid; i++) {
        const int32_t *logits = choices->rows + i * choices->width + 1, *experts = logits + E;
        for (size_t k = 0; k < C; k++) {
            const int32_t e = experts[k];
            cr_assert_eq(logits[e], logits[e / 2 * 2], "the two are not tied");
            cr_assert(e % 2 == 0 || (k > 0 && experts[k - 1] == e - 1), "expert %d alone", e);
        }
    }
}

static size_t compared_bytes; // of a row

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, compared_bytes);
}

static void sort(const choices_t *choices)
{
    compared_bytes = choices->width * sizeof *choices->rows;
    qsort(choices->rows, choices->count, compared_bytes, by_bytes);
}

/// Each row of `some` is one of `all`, as often.
static void expect_among(const choices_t *some, const choices_t *all)
{
    cr_assert_eq(some->width, all->width);
    sort(some);
    sort(all);
    size_t j = 0;
    for (size_t i = 0; i < some->count; i++, j++) {
        const int32_t *row = some->rows + i * some->width;
        while (j < all->count && by_bytes(all->rows + j * all->width, row) < 0) {
            j++;
        }
        cr_assert(j < all->count && by_bytes(all->rows + j * all->width, row) == 0,
                  "the trainer chooses other experts for a token in layer %d", row[0]);
    }
}

static void check_choices(const subject_t *subject, bool ties)
{
    small_t rollout, actor;
    rollout_request_t requests[REQUESTS];
    rollout_response_t responses[REQUESTS];
    choices_t generated = {0}, trained = {0};
    float *logprobs, *raw;
    subject_open(&rollout, subject, NULL, 1, false);
    subject_open(&actor, subject, NULL, 2, true);
    if (ties) {
        tie_experts(&rollout);
        tie_experts(&actor);
    }
    make_requests(&rollout, requests);
    spy_begin(&rollout, &generated);
    decode(&rollout, responses, requests, 5, samplings[0]);
    spy_end(&rollout);
    tr_sequences_t sequences = join(&rollout, requests, responses, &logprobs, &raw);
    spy_begin(&actor, &trained);
    small_response(&actor, &sequences, 4, 1.0f);
    spy_end(&actor);
    // A response's last token goes through the trainer alone.
    const size_t all = (size_t)sequences.starts[REQUESTS] * routers_of(actor.config);
    cr_assert_eq(trained.count, all);
    cr_assert_eq(generated.count, all - REQUESTS * routers_of(actor.config));
    if (ties) {
        expect_lower_first(&generated, rollout.config);
    }
    expect_among(&generated, &trained);
    free(generated.rows);
    free(trained.rows);
    release(responses);
    small_close(&actor);
    small_close(&rollout);
}

static void the_trainers_experts_are_the_rollouts(const subject_t *subject)
{
    tr_model_config_t config;
    tr_error_t err = {0};
    cr_assert_eq(tr_model_config_load(&config, subject->directory, &err), TR_OK, "%s", err.text);
    for (size_t ties = 0; ties < 2 && config.experts > 0; ties++) {
        check_choices(subject, ties != 0);
    }
}

Test(exact_families, the_trainers_experts_are_the_rollouts)
{
    hold_on_families(the_trainers_experts_are_the_rollouts, false);
}

Test(exact_families_bf16, the_trainers_experts_are_the_rollouts)
{
    hold_on_families(the_trainers_experts_are_the_rollouts, true);
}
