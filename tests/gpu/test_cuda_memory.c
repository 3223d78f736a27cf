/// The memory of a learner and a rollout on a GPU against what a dry run finds. With that as their
/// budget they must run, and take nearly all of it, as far as the emulated GPU can tell. The GPU is
/// the emulated one unless TROUPE_CUDA_MODULE names a real one's module.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/tensor/cuda/scratch.h"
#include "deploy/memory.h"
#include "rollout/decoder.h"
#include "tests/support/counting.h"
#include "tests/support/small.h"

enum { LENGTH = 48, RUNNING = 5, NEW = 20 };

static tr_model_config_t config_of(void)
{
    tr_model_config_t config = small_config();
    config.vocabulary = 600;
    config.hidden = 64;
    config.intermediate = 160;
    config.layers = 3;
    config.heads = 4;
    config.key_value_heads = 2;
    config.head_dim = 16;
    return config;
}

/// memory: of the device, which is its budget.
static void open_within(small_t *small, const tr_model_config_t *config, tr_device_options_t device,
                        const memory_t *memory, tr_model_use_t use)
{
    tr_error_t err = {0};
    device.memory = memory_sum(memory);
    *small = (small_t){0};
    need_gpu();
    cr_assert_eq(tr_backend_open(&small->rig.backend, &device, &err), TR_OK, "%s", err.text);
    small->rig.ops = small->rig.backend->ops;
    cr_assert_eq(small->rig.ops->queue_new(small->rig.backend, &small->rig.queue, &err), TR_OK,
                 "%s", err.text);
    cr_assert_eq(tr_model_new(&small->model, config, counting_open(&small->rig), use, &err), TR_OK,
                 "%s", err.text);
    small->config = tr_model_config(small->model);
    tr_model_randomize(small->model, 1);
}

/// Buffers at most, and what operators keep: all else that the GPU has given. An emulated one can tell.
static void expect_nearly(const char *what, const small_t *small, const memory_t *memory)
{
    const char *dtype = tr_dtype_name(small->rig.backend->real);
    const tr_model_config_t *config = small->config;
    // while an algorithm is chosen, in bf16: buffers that the backend takes and gives back itself
    const cuda_trial_bytes_t trial =
        cuda_trial_bytes(config->vocabulary, config->hidden, sizeof(float));
    size_t trials = trial.weight + trial.rows + 2 * trial.result, found = memory_sum(memory), count;
    tr_device_info_t info;
    tr_error_t err = {0};
    cr_assert_eq(tr_device_list(&info, 1, &count, &err), TR_OK, "%s", err.text);
    if (strncmp(info.model, "emulated", 8) == 0) {
        size_t kept = info.memory - info.free - counting_now(), asked = counting_peak() + kept;
        size_t most = asked + (small->rig.backend->real == TR_BF16 ? trials : 0);
        cr_expect_leq(asked, found, "%s in %s: %zu found for %zu", what, dtype, found, asked);
        cr_expect_leq((double)found, 1.05 * (double)most, "%s in %s: %zu found for %zu", what,
                      dtype, found, asked);
    }
}

static tr_status flat_loss(void *context, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    (void)context, (void)err;
    for (size_t i = 0; i < chunk->n; i++) {
        dout[i] = -1.0f / (float)chunk->normalizer;
    }
    return TR_OK;
}

/// Two updates within what was found.
static void learn(const tr_model_config_t *config, const memory_learner_t *learner,
                  const tr_device_options_t *device, const memory_t *memory)
{
    static const size_t lengths[] = {LENGTH, LENGTH, LENGTH, LENGTH}, prompts[] = {18, 18, 18, 18};
    const tr_train_pass_t pass = {
        .epochs = 2, .minibatches = 1, .chunk = 2, .temperature = 1.0f, .learning_rate = 1e-4};
    small_t small;
    tr_trainer_t *trainer;
    tr_train_pass_result_t result;
    tr_error_t err = {0};
    open_within(&small, config, *device, memory, learner->use);
    tr_model_recompute(small.model, learner->options->gradient_checkpointing);
    tr_sequences_t sequences = small_sequences(&small, lengths, prompts, 4, 3);
    cr_assert_eq(tr_trainer_new(&trainer, &small.model, learner->options, NULL, &err), TR_OK, "%s",
                 err.text);
    cr_assert_eq(tr_trainer_run_pass(trainer, &sequences, &pass, flat_loss, NULL, &result, &err),
                 TR_OK, "%s", err.text);
    small.config = config;
    expect_nearly("a learner", &small, memory);
    tr_trainer_destroy(&trainer);
    small_close(&small);
}

/// Masters and rounded weights, moments here and on the host, layers kept and computed again.
Test(cuda_memory, a_learner_takes_what_a_dry_run_finds)
{
    const tr_model_config_t config = config_of();
    for (int i = 0; i < 4; i++) {
        const tr_optimizer_options_t options = {
            .beta2 = 0.999, .epsilon = 1e-8, .gradient_checkpointing = i == 2, .offload = i == 3};
        const memory_learner_t learner = {
            .use = i == 2 ? TR_MODEL_LEARNS_ROUNDED : TR_MODEL_LEARNS,
            .options = &options,
            .ranks = 1,
            .chunks = 2,
            .chunk = {.sequences = 2, .length = LENGTH, .answers = 30}};
        const tr_device_options_t device = {.device = "cuda",
                                            .precision = i == 0 ? TR_F32 : TR_BF16};
        memory_t memory;
        tr_error_t err = {0};
        cr_assert_eq(memory_of_learner(&memory, &device, &config, &learner, &err), TR_OK);
        learn(&config, &learner, &device, &memory);
    }
}

/// Responses within what was found.
static void decode(const tr_model_config_t *config, const tr_sampling_t *sampling,
                   const tr_device_options_t *device, const memory_t *memory)
{
    rollout_request_t requests[RUNNING];
    rollout_response_t responses[RUNNING];
    const rollout_options_t options = {
        .sampling = *sampling, .max_new_tokens = NEW, .seed = 1, .ignore_eos = true};
    small_t small;
    tr_error_t err = {0};
    open_within(&small, config, *device, memory, TR_MODEL_DECODES);
    const int32_t *ids = small_ids(&small, LENGTH, 4);
    for (uint32_t r = 0; r < RUNNING; r++) {
        requests[r] = (rollout_request_t){.prompt = ids, .length = LENGTH, .sample = r};
    }
    rollout_decoder_t *decoder = rollout_decoder_new(small.model, RUNNING);
    cr_assert_eq(rollout_decode(decoder, responses, requests, RUNNING, &options, NULL, NULL, &err),
                 TR_OK, "%s", err.text);
    expect_nearly("a rollout", &small, memory);
    for (uint32_t r = 0; r < RUNNING; r++) {
        rollout_response_release(&responses[r]);
    }
    rollout_decoder_destroy(&decoder);
    small_close(&small);
}

Test(cuda_memory, a_rollout_takes_what_a_dry_run_finds)
{
    const tr_model_config_t config = config_of();
    const tr_sampling_t sampling = {.temperature = 1.0f, .top_p = 1.0f};
    for (int i = 0; i < 2; i++) {
        const tr_device_options_t device = {.device = "cuda",
                                            .precision = i == 0 ? TR_F32 : TR_BF16};
        memory_t memory;
        tr_error_t err = {0};
        cr_assert_eq(memory_of_decoder(&memory, &device, &config, RUNNING, LENGTH, LENGTH + NEW,
                                       &sampling, &err),
                     TR_OK);
        decode(&config, &sampling, &device, &memory);
    }
}
