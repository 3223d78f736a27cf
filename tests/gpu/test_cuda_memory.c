/// The memory of a learner and a rollout on a GPU against what a dry run finds. With that as their
/// budget they must run, and take nearly all of it. The GPU is the emulated one unless
/// TROUPE_CUDA_MODULE names a real one's module.
#include <criterion/criterion.h>

#include "common/tensor/cuda/scratch.h"
#include "tests/support/measured.h"

/// Buffers that exist while an algorithm is chosen for the head, in bf16.
static size_t trial_of(const tr_model_config_t *config, tr_dtype_t precision)
{
    const cuda_trial_t trial = cuda_trial_bytes(config->vocabulary, config->hidden, sizeof(float));
    return precision == TR_F32 ? 0 : trial.weight + trial.rows + 2 * trial.result;
}

/// Masters and rounded weights, moments here and on the host, layers kept and computed again.
Test(cuda_memory, a_learner_takes_what_a_dry_run_finds)
{
    const tr_model_config_t config = measured_shape(MEASURED_SMALL);
    need_gpu();
    for (int i = 0; i < 4; i++) {
        const tr_optimizer_options_t options = {
            .beta2 = 0.999, .epsilon = 1e-8, .gradient_checkpointing = i == 2, .offload = i == 3};
        const memory_learner_t learner = {.use = i == 2 ? TR_MODEL_LEARNS_ROUNDED : TR_MODEL_LEARNS,
                                          .options = &options,
                                          .ranks = 1,
                                          .chunks = 2,
                                          .chunk = {.sequences = 2, .length = 48, .answers = 30}};
        tr_device_options_t device = {.device = "cuda", .precision = i == 0 ? TR_F32 : TR_BF16};
        small_t small;
        memory_t memory;
        tr_error_t err = {0};
        cr_assert_eq(memory_of_learner(&memory, &device, &config, &learner, &err), TR_OK);
        device.memory = memory_sum(&memory);
        measured_open(&small, &config, &device, learner.use);
        measured_learn(&small, &learner);
        small.config = &config;
        measured_expect(&small, "learner", &memory, trial_of(&config, device.precision));
    }
}

Test(cuda_memory, a_rollout_takes_what_a_dry_run_finds)
{
    const tr_model_config_t config = measured_shape(MEASURED_SMALL);
    const tr_sampling_t sampling = {.temperature = 1.0f, .top_p = 1.0f};
    need_gpu();
    for (int i = 0; i < 2; i++) {
        tr_device_options_t device = {.device = "cuda", .precision = i == 0 ? TR_F32 : TR_BF16};
        small_t small;
        memory_t memory;
        tr_error_t err = {0};
        cr_assert_eq(memory_of_decoder(&memory, &device, &config, 5, 48, 68, &sampling, &err),
                     TR_OK);
        device.memory = memory_sum(&memory);
        measured_open(&small, &config, &device, TR_MODEL_DECODES);
        measured_decode(&small, 5, 48, 68, &sampling);
        measured_expect(&small, "rollout", &memory, trial_of(&config, device.precision));
    }
}
