/// Whole models on a GPU: in f32 the CPU's bits from end to end; in bf16 the promise that a
/// rollout's log-probability is the trainer's. The GPU is the emulated one unless
/// TROUPE_CUDA_MODULE names a real one's module.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/model/trainer.h"
#include "rollout/decoder.h"
#include "tests/support/models.h"
#include "tests/support/small.h"

enum { SEQUENCES = 5, PROMPTS = 5, NEW_TOKENS = 30 };
static const size_t LENGTHS[SEQUENCES] = {40, 2, 17, 71, 16};
static const size_t PROMPT_LENGTHS[SEQUENCES] = {7, 1, 16, 30, 1};

/// Head sizes that are multiples of nothing (0), or of 16 (1); gated delta nets beside gated
/// attention (2).
static tr_model_config_t configs(size_t which)
{
    tr_model_config_t config = small_config();
    if (which == 2) {
        tr_error_t err = {0};
        const char *directory = TEST_SOURCE_DIR "/tests/golden/models/qwen3_5";
        cr_assert_eq(tr_model_config_load(&config, directory, &err), TR_OK, "%s", err.text);
        config.eos_count = 0;
    }
    if (which == 1) {
        config.hidden = 32;
        config.heads = 4;
        config.key_value_heads = 2;
        config.head_dim = 16;
        config.intermediate = 48;
        config.tied_embeddings = true;
    }
    return config;
}

static tr_sequences_t the_sequences(small_t *small)
{
    return small_sequences(small, LENGTHS, PROMPT_LENGTHS, SEQUENCES, 3);
}

static size_t tokens_of(const tr_sequences_t *sequences)
{
    return (size_t)sequences->response_starts[sequences->count];
}

Test(cuda_model, logprobs_and_gradients_in_f32_are_the_cpu_s)
{
    for (size_t i = 0; i < 2; i++) {
        small_t cpu, gpu;
        const tr_model_config_t config = configs(i);
        small_open(&gpu, &config, SMALL_GPU, 1, true);
        small_open(&cpu, &config, NULL, 1, true);
        tr_sequences_t here = the_sequences(&cpu), there = the_sequences(&gpu);
        check_same(small_response(&gpu, &there, 2, 0.8f), small_response(&cpu, &here, 2, 0.8f),
                   tokens_of(&here), "log-probs");
        float *factors = small_factors(&cpu, &here);
        check_same(small_gradient(&gpu, &there, factors, 0.8f),
                   small_gradient(&cpu, &here, factors, 0.8f), cpu.total, "gradient");
        small_close(&gpu);
        small_close(&cpu);
    }
}

/// Log-probs or values and their gradients of a golden model; adapter: its, or NULL.
static void check_family(const char *directory, const char *adapter)
{
    small_t cpu, gpu;
    small_open_adapted(&gpu, directory, adapter, SMALL_GPU, 1, true);
    small_open_adapted(&cpu, directory, adapter, NULL, 1, true);
    const size_t lengths[] = {40, 1}, prompts[] = {7, 1};
    tr_sequences_t here = small_sequences(&cpu, lengths, prompts, 2, 3),
                   there = small_sequences(&gpu, lengths, prompts, 2, 3);
    check_same(small_response(&gpu, &there, 2, 0.8f), small_response(&cpu, &here, 2, 0.8f),
               tokens_of(&here), directory);
    float *factors = small_factors(&cpu, &here);
    check_same(small_gradient(&gpu, &there, factors, 0.8f),
               small_gradient(&cpu, &here, factors, 0.8f), cpu.total, directory);
    small_close(&gpu);
    small_close(&cpu);
}

Test(cuda_model, every_family_in_f32_has_the_cpu_s_bits)
{
    glob_t models;
    models_find(&models);
    for (size_t i = 0; i < models.gl_pathc; i++) {
        check_family(models.gl_pathv[i], NULL);
    }
    globfree(&models);
}

Test(cuda_model, adapters_in_f32_have_the_cpu_s_bits)
{
    static const char *const names[] = {"tied", "phi3", "gpt2", "qwen3_5", "mixtral"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *directory = tr_format(TEST_SOURCE_DIR "/tests/golden/models/%s", names[i]);
        char *adapter = tr_format(TEST_SOURCE_DIR "/tests/golden/lora/%s", names[i]);
        check_family(directory, adapter);
        free(directory);
        free(adapter);
    }
}

Test(cuda_model, values_and_their_gradients_in_f32_are_the_cpu_s)
{
    small_t cpu, gpu;
    tr_model_config_t config = configs(0);
    config.scalar_head = true;
    small_open(&gpu, &config, SMALL_GPU, 1, true);
    small_open(&cpu, &config, NULL, 1, true);
    tr_sequences_t here = the_sequences(&cpu), there = the_sequences(&gpu);
    check_same(small_response(&gpu, &there, 3, 1.0f), small_response(&cpu, &here, 3, 1.0f),
               tokens_of(&here), "values");
    float *factors = small_factors(&cpu, &here);
    check_same(small_gradient(&gpu, &there, factors, 1.0f),
               small_gradient(&cpu, &here, factors, 1.0f), cpu.total, "gradient");
    small_close(&gpu);
    small_close(&cpu);
}

/// sum(factor * log-prob), so that the gradient is not of one sign.
static tr_status weighted(void *context, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    (void)err;
    tr_response_select(dout, context, chunk->sequences, chunk->chosen, chunk->count);
    return TR_OK;
}

/// Parameters and moments after three epochs: [3 * total], the rig's.
static float *learn(small_t *small, bool on_host)
{
    const tr_optimizer_options_t options = {.beta1 = 0.9,
                                            .beta2 = 0.999,
                                            .epsilon = 1e-8,
                                            .weight_decay = 0.01,
                                            .clip = 0.5,
                                            .offload = on_host};
    const tr_train_pass_t walk = {.epochs = 3,
                                  .minibatches = 2,
                                  .chunk = 2,
                                  .seed = 9,
                                  .step = 1,
                                  .temperature = 1.0f,
                                  .learning_rate = 1e-2,
                                  .neftune_noise_alpha = 1.0};
    tr_error_t err = {0};
    tr_trainer_t *trainer;
    tr_train_pass_result_t result;
    tr_sequences_t sequences = the_sequences(small);
    float *factors = small_factors(small, &sequences);
    float *values = rig_memory(&small->rig, small->total * sizeof *values);
    cr_assert_eq(tr_trainer_new(&trainer, &small->model, &options, NULL, &err), TR_OK, "%s",
                 err.text);
    cr_assert_eq(tr_trainer_run_pass(trainer, &sequences, &walk, weighted, factors, &result, &err),
                 TR_OK, "%s", err.text);
    cr_assert_eq(result.updates, 6);
    cr_assert_eq(tr_model_read_parameters(tr_trainer_model(trainer), values, &err), TR_OK, "%s",
                 err.text);
    tr_trainer_destroy(&trainer);
    return values;
}

Test(cuda_model, training_in_f32_equals_the_cpu_wherever_moments_are)
{
    for (size_t i = 0; i < 2; i++) {
        small_t cpu, gpu;
        const tr_model_config_t config = configs(0);
        small_open(&gpu, &config, SMALL_GPU, 1, true);
        small_open(&cpu, &config, NULL, 1, true);
        check_same(learn(&gpu, i == 1), learn(&cpu, i == 1), cpu.total, "parameters");
        small_close(&gpu);
        small_close(&cpu);
    }
}

/// Layers alone: embedding, final norm and head are frozen.
static bool trains_layers(void *context, const tr_weight_t *weight)
{
    const tr_model_config_t *config = context;
    return weight->segment > 0 && weight->segment <= config->layers;
}

/// Parameters after learning with the rest frozen: [total], the rig's.
static float *learn_layers(small_t *small, const char *isa)
{
    static tr_model_config_t config;
    config = configs(0);
    const tr_selection_t selection = {trains_layers, &config};
    const tr_model_options_t options = {.use = TR_MODEL_LEARNS, .trained = &selection};
    tr_error_t err = {0};
    small_open(small, &config, isa, 1, true);
    tr_model_destroy(&small->model);
    cr_assert_eq(tr_model_new_with(&small->model, &config, small->rig.backend, &options, &err),
                 TR_OK, "%s", err.text);
    small->config = tr_model_config(small->model);
    tr_model_write_parameters(small->model,
                              small_weights(&small->rig, tr_model_layout(small->model)));
    return learn(small, false);
}

Test(cuda_model, a_part_learns_as_on_the_cpu_and_in_bf16_the_rest_keeps_its_bits)
{
    small_t cpu, gpu, rounded;
    const float *values = learn_layers(&gpu, SMALL_GPU);
    check_same(values, learn_layers(&cpu, NULL), cpu.total, "parameters");
    const float *in_bf16 = learn_layers(&rounded, SMALL_GPU_BF16);
    const size_t frozen = configs(0).vocabulary * configs(0).hidden; // of the embedding
    tr_layout_t layout;
    const tr_model_config_t config = configs(0);
    tr_layout_init(&layout, &config);
    float *before = small_weights(&rounded.rig, &layout);
    check_same(values, before, frozen, "the embedding");
    rig_round(before, layout.total);
    check_same(in_bf16, before, frozen, "the embedding in bf16");
    const size_t head = layout.head->place;
    check_same(in_bf16 + head, before + head, frozen, "the head in bf16");
    cr_expect(memcmp(in_bf16 + frozen, before + frozen, config.hidden * sizeof *before) != 0);
    tr_layout_release(&layout);
    small_close(&rounded);
    small_close(&cpu);
    small_close(&gpu);
}

static double distance(const float *a, const float *b, size_t n)
{
    double difference = 0.0, size = 0.0;
    for (size_t i = 0; i < n; i++) {
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)b[i] * (double)b[i];
    }
    return sqrt(difference / size);
}

Test(cuda_model, a_gradient_in_bf16_is_near_the_one_in_f32)
{
    small_t cpu, gpu;
    const tr_model_config_t config = configs(1);
    small_open(&gpu, &config, SMALL_GPU_BF16, 1, true);
    small_open(&cpu, &config, NULL, 1, true);
    tr_sequences_t here = the_sequences(&cpu), there = the_sequences(&gpu);
    float *factors = small_factors(&cpu, &here);
    double far = distance(small_gradient(&gpu, &there, factors, 1.0f),
                          small_gradient(&cpu, &here, factors, 1.0f), cpu.total);
    cr_expect(far > 0.0 && far < 0.05, "relative distance %g", far);
    small_close(&gpu);
    small_close(&cpu);
}

// Generation

typedef struct generation {
    rollout_response_t responses[PROMPTS];
    size_t graph_runs;
} generation_t;

static const tr_ops_t *device_ops;
static size_t graph_runs;

/// The device's operator, counted.
static bool count_run(tr_queue_t *queue, const tr_graph_t *graph)
{
    bool ran = device_ops->graph_run(queue, graph);
    graph_runs += ran;
    return ran;
}

/// Five prompts of unequal lengths, at most four at a time, so that sequences come and go.
static void generate(generation_t *generation, small_t *small, const tr_sampling_t *sampling)
{
    tr_error_t err = {0};
    rollout_request_t requests[PROMPTS];
    for (size_t i = 0; i < PROMPTS; i++) {
        requests[i] = (rollout_request_t){.prompt = small_ids(small, 3 + 9 * i, i),
                                          .length = 3 + 9 * i,
                                          .prompt_number = (uint32_t)i};
    }
    const rollout_options_t options = {
        .sampling = *sampling, .max_new_tokens = NEW_TOKENS, .seed = 4};
    tr_backend_t *backend = small->rig.backend;
    tr_ops_t counted = *backend->ops;
    device_ops = backend->ops;
    counted.graph_run = count_run;
    backend->ops = &counted;
    graph_runs = 0;
    rollout_decoder_t *decoder = rollout_decoder_new(small->model, 4);
    cr_assert_eq(rollout_decode(decoder, generation->responses, requests, PROMPTS, &options, NULL,
                                NULL, &err),
                 TR_OK, "%s", err.text);
    generation->graph_runs = graph_runs;
    rollout_decoder_destroy(&decoder);
    backend->ops = device_ops;
}

static void release(generation_t *generation)
{
    for (size_t i = 0; i < PROMPTS; i++) {
        rollout_response_release(&generation->responses[i]);
    }
}

static const tr_sampling_t samplings[] = {
    {1.0f, 0, 1.0f, 0.0f}, {0.7f, 12, 0.9f, 0.0f}, {0.0f, 0, 1.0f, 0.0f}};

Test(cuda_model, responses_in_f32_are_the_cpu_s)
{
    for (size_t i = 0; i < 4; i++) {
        small_t cpu, gpu;
        generation_t here, there;
        const tr_model_config_t config = configs(i < 3 ? 0 : 2);
        small_open(&gpu, &config, SMALL_GPU, 1, false);
        small_open(&cpu, &config, NULL, 1, false);
        generate(&here, &cpu, &samplings[i % 3]);
        generate(&there, &gpu, &samplings[i % 3]);
        cr_expect_eq(here.graph_runs, 0);
        cr_expect_gt(there.graph_runs, 10);
        for (size_t r = 0; r < PROMPTS; r++) {
            const rollout_response_t *a = &here.responses[r], *b = &there.responses[r];
            cr_assert_eq(a->length, b->length);
            cr_expect_eq(memcmp(a->ids, b->ids, a->length * sizeof *a->ids), 0, "response %zu", r);
            check_same(b->logprobs, a->logprobs, a->length, "log-probs");
            check_same(b->raw, a->raw, a->length, "raw log-probs");
            cr_expect_eq(a->kept, b->kept);
        }
        release(&here);
        release(&there);
        small_close(&gpu);
        small_close(&cpu);
    }
}

/// The response's log-probs as a trainer computes them, in a pass over the whole sequence:
/// [length], the rig's.
static float *trained_logprobs(small_t *small, size_t prompt, const rollout_response_t *response)
{
    tr_error_t err = {0};
    size_t before = 3 + 9 * prompt;
    int32_t *ids = rig_memory(&small->rig, (before + response->length) * sizeof *ids);
    int32_t *offsets = rig_memory(&small->rig, (response->length + 1) * sizeof *offsets);
    float *logprobs = rig_memory(&small->rig, response->length * sizeof *logprobs);
    memcpy(ids, small_ids(small, before, prompt), before * sizeof *ids);
    memcpy(ids + before, response->ids, response->length * sizeof *ids);
    memcpy(offsets + 1, response->kept_ends, response->length * sizeof *offsets);
    const int32_t starts[] = {0, (int32_t)(before + response->length)},
                  lengths[] = {(int32_t)before};
    const int32_t ends[] = {0, (int32_t)response->length};
    const tr_sequences_t sequences = {
        1, ids, starts, lengths, ends, response->kept > 0 ? offsets : NULL, response->kept_ids};
    const uint32_t chosen[] = {0};
    tr_response_pass_t *pass = tr_response_pass_new(small->model);
    tr_status status =
        tr_response_forward(pass, &sequences, chosen, 1, 0.7f, true, logprobs, NULL, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    tr_response_pass_destroy(&pass);
    return logprobs;
}

/// In bf16, with graphs, paged caches, neighbours that come and go, and truncation: every bit.
Test(cuda_model, a_rollout_s_logprobs_in_bf16_are_the_trainer_s)
{
    const tr_sampling_t cut[] = {{0.7f, 0, 1.0f, 0.0f}, {0.7f, 12, 0.9f, 0.0f}};
    for (size_t i = 0; i < 6; i++) {
        small_t rollout, actor;
        generation_t generation;
        const tr_model_config_t config = configs(i / 2);
        small_open(&rollout, &config, SMALL_GPU_BF16, 1, false);
        small_open(&actor, &config, SMALL_GPU_BF16, 1, true);
        void *weights = rig_memory(&actor.rig, tr_model_weight_bytes(actor.model));
        tr_error_t err = {0};
        cr_assert_eq(tr_model_read_weights(actor.model, weights, &err), TR_OK, "%s", err.text);
        tr_model_write_weights(rollout.model, weights); // as they are published
        generate(&generation, &rollout, &cut[i % 2]);
        cr_expect_gt(generation.graph_runs, 10);
        for (size_t r = 0; r < PROMPTS; r++) {
            check_same(trained_logprobs(&actor, r, &generation.responses[r]),
                       generation.responses[r].logprobs, generation.responses[r].length,
                       "log-probs");
        }
        release(&generation);
        small_close(&actor);
        small_close(&rollout);
    }
}
