/// The estimate of a model's memory against what is asked of the device: never less, and at most 30 % more. Weights, moments,
/// gradients and caches to the byte, as closed forms say.
#include "common/model/memory.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "common/model/trainer.h"
#include "rollout/decoder.h"
#include "tests/support/counting.h"
#include "tests/support/small.h"

static tr_model_config_t shape(size_t vocabulary, size_t hidden, size_t intermediate, size_t layers)
{
    tr_model_config_t config = small_config();
    config.vocabulary = vocabulary;
    config.hidden = hidden;
    config.intermediate = intermediate;
    config.layers = layers;
    config.heads = hidden / 16;
    config.key_value_heads = config.heads / 2;
    config.head_dim = 16;
    return config;
}

/// A wide vocabulary, a deep model, a broad one, a critic, rows that a CPU copies before it multiplies.
static tr_model_config_t shapes(size_t i)
{
    tr_model_config_t config = i == 0   ? shape(32000, 64, 160, 2)
                               : i == 1 ? shape(700, 96, 256, 14)
                               : i == 2 ? shape(2000, 320, 896, 4)
                               : i == 3 ? shape(2000, 192, 512, 5)
                                        : shape(300, 1024, 1024, 1);
    config.tied_embeddings = i == 0;
    config.scalar_head = i == 3;
    return config;
}

enum { SHAPES = 5 };

/// `count` sequences of `length` tokens, `response` of which are learnt.
static tr_sequences_t sequences_of(small_t *small, size_t count, size_t length, size_t response)
{
    size_t *lengths = rig_memory(&small->rig, count * sizeof *lengths);
    size_t *prompts = rig_memory(&small->rig, count * sizeof *prompts);
    for (size_t i = 0; i < count; i++) {
        lengths[i] = length;
        prompts[i] = length - response;
    }
    return small_sequences(small, lengths, prompts, count, 3);
}

static void expect_honest(const char *what, size_t i, size_t estimate, size_t measured)
{
    cr_expect_geq(estimate, measured, "%s %zu: %zu bytes are estimated, %zu were taken", what, i,
                  estimate, measured);
    cr_expect_leq((double)estimate, 1.3 * (double)measured,
                  "%s %zu: %zu bytes are estimated, only %zu were taken", what, i, estimate,
                  measured);
}

static void open_model(small_t *small, const tr_model_config_t *config, tr_model_use_t use)
{
    tr_error_t err = {0};
    cr_assert(rig_open(&small->rig, NULL, 2));
    tr_backend_t *backend = counting_open(&small->rig);
    cr_assert_eq(tr_model_new(&small->model, config, backend, use, &err), TR_OK, "%s", err.text);
    small->config = tr_model_config(small->model);
    small->total = tr_model_layout(small->model)->total;
    tr_model_randomize(small->model, 1);
}

static tr_status flat_loss(void *context, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    (void)context, (void)err;
    for (size_t i = 0; i < chunk->n; i++) {
        dout[i] = -1.0f / (float)chunk->normalizer;
    }
    return TR_OK;
}

// Learners

enum { CHUNK = 4, CHUNKS = 2, LENGTH = 160, RESPONSE = 100 };

/// Two updates, so that the arena has grown and merged.
static void learn(small_t *small, const tr_memory_plan_t *plan, size_t i)
{
    const tr_optimizer_options_t options = {
        .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .clip = 1.0};
    const tr_train_pass_t walk = {.epochs = 2,
                                  .minibatches = 1,
                                  .chunk = CHUNK,
                                  .temperature = 1.0f,
                                  .learning_rate = 1e-4,
                                  .seed = 1};
    tr_sequences_t sequences = sequences_of(small, CHUNK * CHUNKS, LENGTH, RESPONSE);
    const tr_model_config_t config = *small->config;
    tr_trainer_t *trainer;
    tr_train_pass_result_t result;
    tr_error_t err = {0};
    tr_model_recompute(small->model, plan->recompute);
    cr_assert_eq(tr_trainer_new(&trainer, &small->model, &options, NULL, &err), TR_OK, "%s",
                 err.text);
    tr_memory_t memory = tr_memory_of(&config, plan);
    cr_expect_eq(memory.weights + memory.optimizer, counting_now());
    cr_assert_eq(tr_trainer_run_pass(trainer, &sequences, &walk, flat_loss, NULL, &result, &err),
                 TR_OK, "%s", err.text);
    expect_honest(plan->recompute ? "recomputing learner" : "learner", i, tr_memory_sum(&memory),
                  counting_peak() + counting_scratch(&small->rig));
    tr_trainer_destroy(&trainer);
}

Test(memory, a_learner_takes_what_is_estimated)
{
    for (size_t i = 0; i < 2 * SHAPES; i++) {
        const tr_model_config_t config = shapes(i / 2);
        const tr_memory_plan_t plan = {
            .use = TR_MODEL_LEARNS,
            .real = TR_F32,
            .threads = 2,
            .recompute = i % 2 == 1,
            .chunks = CHUNKS,
            .pass = {.sequences = CHUNK,
                     .tokens = CHUNK * LENGTH,
                     .longest = LENGTH,
                     .answers = CHUNK * RESPONSE,
                     .learns = true},
        };
        small_t small;
        open_model(&small, &config, TR_MODEL_LEARNS);
        learn(&small, &plan, i / 2);
        small_close(&small);
    }
}

// References and rollouts

Test(memory, a_reference_takes_what_is_estimated)
{
    for (size_t i = 0; i < SHAPES; i++) {
        const tr_model_config_t config = shapes(i);
        const tr_memory_plan_t plan = {.use = TR_MODEL_READS,
                                       .real = TR_F32,
                                       .threads = 2,
                                       .pass = {.sequences = CHUNK,
                                                .tokens = CHUNK * LENGTH,
                                                .longest = LENGTH,
                                                .answers = CHUNK * RESPONSE}};
        small_t small;
        open_model(&small, &config, TR_MODEL_READS);
        tr_sequences_t sequences = sequences_of(&small, CHUNK * CHUNKS, LENGTH, RESPONSE);
        small_response(&small, &sequences, CHUNK, 1.0f);
        tr_memory_t memory = tr_memory_of(&config, &plan);
        expect_honest("reference", i, tr_memory_sum(&memory),
                      counting_peak() + counting_scratch(&small.rig));
        small_close(&small);
    }
}

enum { RUNNING = 24, PROMPT = 60, NEW = 40 };

/// RUNNING responses of NEW tokens each.
static void decode(small_t *small)
{
    rollout_request_t requests[RUNNING];
    rollout_response_t responses[RUNNING];
    const rollout_options_t options = {.sampling = {.temperature = 1.0f, .top_k = 5, .top_p = 1.0f},
                                       .max_new_tokens = NEW,
                                       .seed = 1,
                                       .ignore_eos = true};
    tr_error_t err = {0};
    const int32_t *ids = small_ids(small, PROMPT, 4);
    for (uint32_t r = 0; r < RUNNING; r++) {
        requests[r] = (rollout_request_t){.prompt = ids, .length = PROMPT, .sample = r};
    }
    rollout_decoder_t *decoder = rollout_decoder_new(small->model, RUNNING);
    tr_status status =
        rollout_decode(decoder, responses, requests, RUNNING, &options, NULL, NULL, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    for (uint32_t r = 0; r < RUNNING; r++) {
        rollout_response_release(&responses[r]);
    }
    rollout_decoder_destroy(&decoder);
}

Test(memory, a_rollout_takes_what_is_estimated)
{
    for (size_t i = 0; i < SHAPES; i++) {
        const tr_model_config_t config = shapes(i);
        if (config.scalar_head) {
            continue; // says no words
        }
        const tr_memory_plan_t plan = {.use = TR_MODEL_DECODES,
                                       .real = TR_F32,
                                       .threads = 2,
                                       .pages = tr_memory_pages(RUNNING, PROMPT + NEW),
                                       .pass = {.sequences = RUNNING,
                                                .tokens = ROLLOUT_PASS_TOKENS + RUNNING,
                                                .longest = PROMPT + NEW,
                                                .answers = RUNNING,
                                                .kept = 5}};
        small_t small;
        open_model(&small, &config, TR_MODEL_DECODES);
        decode(&small);
        tr_memory_t memory = tr_memory_of(&config, &plan);
        expect_honest("rollout", i, tr_memory_sum(&memory),
                      counting_peak() + counting_scratch(&small.rig));
        small_close(&small);
    }
}

// Closed forms

Test(memory, weights_and_state_are_counted_to_the_byte)
{
    const tr_model_config_t config = {.vocabulary = 10,
                                      .hidden = 4,
                                      .intermediate = 6,
                                      .layers = 1,
                                      .heads = 2,
                                      .key_value_heads = 1,
                                      .head_dim = 2,
                                      .max_positions = 8};
    const size_t n = 10 * 4 + 4 + (4 + 2 + 2) * 4 + 4 * 4 + 4 + 12 * 4 + 4 * 6 + 4 + 10 * 4;
    const size_t rope = 8 * 2 * 4;
    tr_memory_plan_t plan = {.use = TR_MODEL_LEARNS, .real = TR_BF16, .chunks = 1};
    cr_expect_eq(tr_memory_of(&config, &plan).weights, 2 * n + 4 * n + rope);
    cr_expect_eq(tr_memory_of(&config, &plan).optimizer,
                 8 * n + 3 * 4); // a block of squares a segment
    plan.host_moments = true;
    cr_expect_eq(tr_memory_of(&config, &plan).optimizer, (size_t)3 * 4);
    plan.use = TR_MODEL_LEARNS_ROUNDED;
    cr_expect_eq(tr_memory_of(&config, &plan).weights, 2 * n + rope);
    cr_expect_eq(tr_memory_of(&config, &plan).gradient, 4 * n);
    plan.real = TR_F32;
    cr_expect_eq(tr_memory_of(&config, &plan).weights, 4 * n + rope);
    plan.use = TR_MODEL_DECODES;
    plan.real = TR_BF16;
    plan.pages = tr_memory_pages(3, 17);
    cr_expect_eq(plan.pages, 6);
    cr_expect_eq(tr_memory_of(&config, &plan).weights, 2 * n + rope);
    cr_expect_eq(tr_memory_of(&config, &plan).cache, (size_t)2 * 7 * 16 * 2 * 2);
    cr_expect_eq(tr_memory_of(&config, &plan).optimizer, 0);
    cr_expect_eq(tr_memory_of(&config, &plan).gradient, 0);
}

/// Chunk i goes on top of the sums that i's binary digits say.
Test(memory, gradients_have_a_vector_a_level_of_the_tree)
{
    static const size_t levels[] = {0, 1, 2, 2, 3, 3, 3, 3, 4};
    const tr_model_config_t config = small_config();
    tr_memory_plan_t plan = {.use = TR_MODEL_LEARNS, .real = TR_F32, .chunks = 1};
    size_t one = tr_memory_of(&config, &plan).gradient;
    for (size_t chunks = 1; chunks < sizeof levels / sizeof levels[0]; chunks++) {
        plan.chunks = chunks;
        cr_expect_eq(tr_memory_of(&config, &plan).gradient, levels[chunks] * one, "%zu", chunks);
    }
}

/// One layer: the embedding, the layer and the rest are segments of two parts, each of whole blocks of 4096 floats.
Test(memory, ranks_share_what_zero_says)
{
    const tr_model_config_t config = {.vocabulary = 4096,
                                      .hidden = 4,
                                      .intermediate = 1024,
                                      .layers = 1,
                                      .heads = 2,
                                      .key_value_heads = 1,
                                      .head_dim = 2,
                                      .max_positions = 8};
    const size_t embedding = 4096 * 4, layer = 4 + (4 + 2 + 2) * 4 + 4 * 4 + 4 + 3 * 1024 * 4;
    const size_t rest = 4 + 4096 * 4, all = embedding + layer + rest, rope = 8 * 2;
    // Of 4, 4 and 5 blocks rank 0 has 2 each, and rank 1 what is left: less, but 7 squares and the largest part.
    const size_t shard = 6 * 4096, largest = rest - 2 * 4096;
    tr_memory_plan_t plan = {.use = TR_MODEL_LEARNS, .real = TR_F32, .chunks = 1, .ranks = 2};
    for (plan.zero_stage = 1; plan.zero_stage <= 3; plan.zero_stage++) {
        tr_memory_t memory = tr_memory_of(&config, &plan);
        size_t written = plan.zero_stage == 1 ? all : embedding + rest;
        size_t kept = plan.zero_stage == 3 ? shard + all : all;
        cr_expect_eq(memory.weights, (kept + rope) * 4, "stage %zu", plan.zero_stage);
        cr_expect_eq(memory.optimizer, (2 * shard + 7) * 4, "stage %zu", plan.zero_stage);
        cr_expect_eq(memory.gradient, (shard + written + 2 * largest) * 4, "stage %zu",
                     plan.zero_stage);
    }
}

Test(memory, checkpointing_takes_less_and_bf16_half)
{
    const tr_model_config_t config = shapes(1);
    tr_memory_plan_t plan = {
        .use = TR_MODEL_LEARNS,
        .real = TR_F32,
        .chunks = 1,
        .pass = {.sequences = 8, .tokens = 8 * 500, .longest = 500, .answers = 800, .learns = true},
    };
    size_t whole = tr_memory_of(&config, &plan).activations;
    plan.recompute = true;
    cr_expect_lt(tr_memory_of(&config, &plan).activations, whole / 2);
    plan.recompute = false;
    plan.real = TR_BF16;
    cr_expect_lt(tr_memory_of(&config, &plan).activations, whole * 3 / 4);
}
