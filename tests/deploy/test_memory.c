// The memory that a dry run finds, against what the CPU is asked for by the same work; and
// weights, moments, gradients and caches to the byte, as closed forms say.
#include "deploy/memory.h"

#include <criterion/criterion.h>

#include "tests/support/measured.h"

static const tr_device_options_t cpu = {.device = "cpu", .threads = 2},
                                 gpu = {.device = "cuda", .precision = TR_PRECISION_FP32},
                                 bf16 = {.device = "cuda", .precision = TR_PRECISION_BF16},
                                 cpu_bf16 = {
                                     .device = "cpu", .threads = 2, .precision = TR_PRECISION_BF16};
static const tr_sampling_t sampling = {.temperature = 1.0f, .top_k = 5, .top_p = 1.0f};
static const tr_optimizer_options_t plain = {.beta2 = 0.999, .epsilon = 1e-8},
                                    recomputes = {.beta2 = 0.999,
                                                  .epsilon = 1e-8,
                                                  .gradient_checkpointing = true},
                                    offloads = {.offload = true};
static const memory_work_t learner = {.use = TR_MODEL_LEARNS,
                                      .options = &plain,
                                      .ranks = 1,
                                      .chunks = 2,
                                      .chunk = {.sequences = 4, .length = 160, .answers = 100}};

Test(memory, a_process_takes_what_a_dry_run_finds)
{
    const memory_work_t reader = {.use = TR_MODEL_READS, .batch = learner.chunk};
    const memory_work_t rollout = {.use = TR_MODEL_DECODES,
                                   .batch = {.sequences = 24, .length = 100, .answers = 40},
                                   .sampling = &sampling};
    memory_work_t other = learner;
    other.options = &recomputes;
    for (size_t i = 0; i < MEASURED_SHAPES; i++) {
        const tr_model_config_t config = measured_shape(i);
        measured_check("learner", cpu, &config, &learner, 0);
        measured_check("recomputing learner", cpu, &config, &other, 0);
        measured_check("reference", cpu, &config, &reader, 0);
        measured_check("learner in bf16", cpu_bf16, &config, &learner, 0);
        if (!config.scalar_head) {
            measured_check("rollout", cpu, &config, &rollout, 0);
            measured_check("rollout in bf16", cpu_bf16, &config, &rollout, 0);
        }
    }
}

Test(memory, noise_and_kept_ids_and_chunks_and_scores_and_inference_are_found)
{
    const tr_model_config_t deep = measured_shape(1), critic = measured_shape(3);
    tr_model_config_t wide = measured_shape(0);
    memory_work_t noisy = learner, kept = learner, many = learner, scores = learner,
                  infers = learner, most = learner;
    wide.vocabulary = 1 << 19; // logits of 128 rows take 256 MiB
    wide.hidden = wide.head_dim;
    wide.heads = wide.key_value_heads = 1;
    most.chunks = 1;
    most.chunk = (memory_batch_t){.sequences = 2, .length = 90, .answers = 80};
    noisy.noise = true;
    kept.chunk.kept = 50;
    many.chunks = 9;
    scores.chunk.scores = true;
    infers.batch = (memory_batch_t){.sequences = 40, .length = 160, .answers = 100};
    measured_check("noisy learner", cpu, &deep, &noisy, 0);
    measured_check("learner of truncated answers", cpu, &deep, &kept, 0);
    measured_check("learner of nine chunks", cpu, &deep, &many, 0);
    measured_check("learner of scores", cpu, &critic, &scores, 0);
    measured_check("learner of more logits than are kept", cpu, &wide, &most, 0);
    measured_check("learner that infers more than it learns", cpu, &deep, &infers, 0);
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
                                      .max_positions = 20};
    const size_t n = 10 * 4 + 4 + (4 + 2 + 2) * 4 + 4 * 4 + 4 + 12 * 4 + 4 * 6 + 4 + 10 * 4;
    const size_t rope = 20 * 2 * 4, squares = 3 * 4; // a block of squares a segment
    memory_work_t off = learner, rounded = learner;
    memory_t memory = measured_dry(&bf16, &config, &learner);
    const memory_work_t rollout = {.use = TR_MODEL_DECODES,
                                   .batch = {.sequences = 3, .length = 17, .answers = 7},
                                   .sampling = &sampling};
    off.options = &offloads;
    rounded.use = TR_MODEL_LEARNS_ROUNDED;
    cr_expect_eq(memory.weights, 2 * n + 4 * n + rope);
    cr_expect_eq(memory.optimizer, 8 * n + squares);
    cr_expect_eq(memory.host, 0);
    cr_expect_eq(measured_dry(&bf16, &config, &off).optimizer, squares);
    cr_expect_eq(measured_dry(&bf16, &config, &off).host, 8 * n);
    cr_expect_eq(measured_dry(&cpu, &config, &off).optimizer, 8 * n + squares);
    cr_expect_eq(measured_dry(&bf16, &config, &rounded).weights, 2 * n + rope);
    cr_expect_eq(measured_dry(&gpu, &config, &rounded).weights, 4 * n + rope);
    memory = measured_dry(&bf16, &config, &rollout);
    cr_expect_eq(memory.weights, 2 * n + rope);
    cr_expect_eq(memory.cache, (size_t)2 * 7 * 16 * 2 * 2); // two pages each, and one to spare
    // Twice, for a CPU packs what products read; in whole panels and cache lines of 64 bytes, all
    // but the two norms and the input embedding, which is not multiplied.
    const size_t packed = 32 * (4 + 4 + 4 + 6 + 4);
    cr_expect_eq(measured_dry(&cpu, &config, &rollout).weights, 4 * (n + packed) + rope);
    cr_expect_eq(measured_dry(&cpu_bf16, &config, &rollout).weights, 2 * (n + packed) + rope);
    cr_expect_eq(measured_dry(&cpu_bf16, &config, &learner).weights, 2 * n + 4 * n + rope);
    // Chunk i goes on top of the sums that i's binary digits say.
    static const size_t levels[] = {0, 1, 2, 2, 3, 3, 3, 3, 4};
    for (size_t chunks = 1; chunks < sizeof levels / sizeof levels[0]; chunks++) {
        off.chunks = chunks;
        cr_expect_eq(measured_dry(&bf16, &config, &off).gradient, levels[chunks] * 4 * n, "%zu",
                     chunks);
    }
}

/// Of two layers one sees 8 keys. A pass takes up to 512 tokens of a prompt: with the 7 before them
/// they stand in up to 34 pages of 16. Three sequences, a page to spare of each kind, bf16.
Test(memory, a_layer_with_a_window_keeps_a_window_and_a_pass)
{
    tr_model_config_t config = {.vocabulary = 10,
                                .hidden = 4,
                                .intermediate = 6,
                                .layers = 2,
                                .heads = 2,
                                .key_value_heads = 1,
                                .head_dim = 2,
                                .max_positions = 4000,
                                .window = 8};
    const size_t page = (size_t)16 * 2 * 2 * 2;
    memory_work_t rollout = {.use = TR_MODEL_DECODES,
                             .batch = {.sequences = 3, .length = 2000, .answers = 1000},
                             .sampling = &sampling};
    config.sliding.bits[0] = 2;
    cr_expect_eq(measured_dry(&bf16, &config, &rollout).cache,
                 ((3 * 125 + 1) + (3 * 34 + 1)) * page);
    rollout.batch.length = 4000; // twice as long costs the other layer alone
    cr_expect_eq(measured_dry(&bf16, &config, &rollout).cache,
                 ((3 * 250 + 1) + (3 * 34 + 1)) * page);
    rollout.batch.length = 17;
    cr_expect_eq(measured_dry(&bf16, &config, &rollout).cache, 2 * (3 * 2 + 1) * page);
}

/// One layer: the embedding, the layer and the rest are segments of two parts, each of whole blocks
/// of 4096 floats. A round has two chunks, whose vectors are of the shard's size.
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
    // Of 4, 4 and 5 blocks rank 0 has 2 each, and rank 1 the rest.
    const size_t shard = all - 6 * 4096, largest = rest - 2 * 4096;
    memory_work_t ranks = learner;
    ranks.ranks = 2;
    for (unsigned stage = 1; stage <= 3; stage++) {
        ranks.sharing.zero_stage = stage;
        memory_t memory = measured_dry(&gpu, &config, &ranks);
        size_t written = stage == 1 ? all : embedding + rest;
        size_t weights = stage == 3 ? shard + all : all;
        cr_expect_eq(memory.weights, (weights + rope) * 4, "stage %u", stage);
        cr_expect_eq(memory.optimizer, (2 * shard + 7) * 4, "stage %u", stage);
        cr_expect_eq(memory.gradient, (2 * shard + written + 2 * largest) * 4, "stage %u", stage);
    }
}

/// A batch that no device holds is laid out in part.
Test(memory, absurd_batches_are_measured_at_once)
{
    const tr_model_config_t config = measured_shape(1);
    memory_work_t work = {.use = TR_MODEL_DECODES,
                          .batch = {.sequences = 1 << 30, .length = 700, .answers = 1}};
    cr_expect_gt(measured_dry(&cpu, &config, &work).activations >> 30, (size_t)700 * 96 * 4);
    work.sampling = &sampling;
    cr_expect_gt(measured_dry(&cpu, &config, &work).cache >> 30, (size_t)700 * 3 * 16 * 4 * 2 * 14);
}
