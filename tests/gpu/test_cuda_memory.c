// The memory of a learner and a rollout on a GPU against what a dry run finds: with that as their
// budget they must run, and take nearly all of it. The GPU is the emulated one unless
// TROUPE_CUDA_MODULE names a real one's module.
#include <criterion/criterion.h>

#include "common/tensor/cuda/scratch.h"
#include "tests/support/measured.h"
#include "tests/support/tensors.h"

/// In bf16 there may be buffers for the choice of an algorithm for the head.
static void check(const char *what, tr_precision_t precision, const memory_work_t *work)
{
    const tr_device_options_t device = {.device = "cuda", .precision = precision};
    const tr_model_config_t config = measured_shape(MEASURED_SMALL);
    const cuda_trial_t trial = cuda_trial_bytes(config.vocabulary, config.hidden, sizeof(float));
    need_gpu();
    measured_check(what, device, &config, work,
                   precision == TR_PRECISION_FP32 ? 0
                                                  : trial.weight + trial.rows + 2 * trial.result);
}

/// Masters and rounded weights, moments here and on the host, layers kept and computed again.
Test(cuda_memory, a_learner_takes_what_a_dry_run_finds)
{
    for (int i = 0; i < 4; i++) {
        const tr_optimizer_options_t options = {
            .beta2 = 0.999, .epsilon = 1e-8, .gradient_checkpointing = i == 2, .offload = i == 3};
        const memory_work_t work = {.use = i == 2 ? TR_MODEL_LEARNS_ROUNDED : TR_MODEL_LEARNS,
                                    .options = &options,
                                    .ranks = 1,
                                    .chunks = 2,
                                    .chunk = {.sequences = 2, .length = 48, .answers = 30}};
        check("learner", i == 0 ? TR_PRECISION_FP32 : TR_PRECISION_BF16, &work);
    }
}

Test(cuda_memory, a_rollout_takes_what_a_dry_run_finds)
{
    const tr_sampling_t sampling = {.temperature = 1.0f, .top_p = 1.0f};
    const memory_work_t work = {.use = TR_MODEL_DECODES,
                                .batch = {.sequences = 5, .length = 68, .answers = 20},
                                .sampling = &sampling};
    check("rollout", TR_PRECISION_FP32, &work);
    check("rollout", TR_PRECISION_BF16, &work);
}
