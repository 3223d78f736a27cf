/// The memory that a dry run finds, against what the CPU is asked for by the same work: never less, and
/// at most 2 % more. Weights, moments, gradients and caches to the byte, as closed forms say.
#include "deploy/memory.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "rollout/decoder.h"
#include "tests/support/counting.h"
#include "tests/support/small.h"

enum { THREADS = 2, SHAPES = 5, RUNNING = 24, PROMPT = 60, NEW = 40 };

static const tr_device_options_t cpu = {.device = "cpu", .threads = THREADS},
                                 gpu = {.device = "cuda", .precision = TR_F32},
                                 bf16 = {.device = "cuda", .precision = TR_BF16};
static const tr_sampling_t sampling = {.temperature = 1.0f, .top_k = 5, .top_p = 1.0f};
static const tr_optimizer_options_t plain = {.beta2 = 0.999, .epsilon = 1e-8, .clip = 1.0},
                                    recomputes = {.beta2 = 0.999,
                                                  .epsilon = 1e-8,
                                                  .clip = 1.0,
                                                  .gradient_checkpointing = true},
                                    offloads = {.offload = true};

static const memory_learner_t learner = {.use = TR_MODEL_LEARNS,
                                         .options = &plain,
                                         .ranks = 1,
                                         .chunks = 2,
                                         .chunk = {.sequences = 4, .length = 160, .answers = 100}};

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

static void open_model(small_t *small, size_t i, tr_model_use_t use)
{
    const tr_model_config_t config = shapes(i);
    tr_error_t err = {0};
    cr_assert(rig_open(&small->rig, NULL, THREADS));
    tr_backend_t *backend = counting_open(&small->rig);
    cr_assert_eq(tr_model_new(&small->model, &config, backend, use, &err), TR_OK, "%s", err.text);
    small->config = tr_model_config(small->model);
    tr_model_randomize(small->model, 1);
}

/// `times` batches; where ids are kept, the first of the vocabulary.
static tr_sequences_t sequences_of(small_t *small, const memory_batch_t *batch, size_t times)
{
    const size_t count = batch->sequences * times, kept = count * batch->answers * batch->kept;
    size_t *lengths = rig_memory(&small->rig, count * sizeof *lengths);
    size_t *prompts = rig_memory(&small->rig, count * sizeof *prompts);
    for (size_t i = 0; i < count; i++) {
        lengths[i] = batch->length;
        prompts[i] = batch->length - batch->answers;
    }
    tr_sequences_t sequences = small_sequences(small, lengths, prompts, count, 3);
    if (kept > 0) {
        int32_t *ids = rig_memory(&small->rig, kept * sizeof *ids);
        int32_t *offsets = rig_memory(&small->rig, (count * batch->answers + 1) * sizeof *offsets);
        for (size_t i = 0; i < kept; i++) {
            ids[i] = (int32_t)(i % batch->kept);
            offsets[i / batch->kept + 1] = (int32_t)(i + 1);
        }
        sequences.kept_offsets = offsets;
        sequences.kept_ids = ids;
    }
    return sequences;
}

/// small: has done the work; closed.
static void expect_found(small_t *small, const char *what, size_t i, const memory_t *memory)
{
    size_t found = memory_sum(memory), asked = counting_peak() + counting_scratch(&small->rig);
    cr_expect(found >= asked && (double)found <= 1.02 * (double)asked,
              "%s %zu: %zu bytes are found, %zu were asked for", what, i, found, asked);
    small_close(small);
}

static tr_status flat_loss(void *context, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    (void)context, (void)err;
    for (size_t i = 0; i < chunk->n; i++) {
        dout[i] = -1.0f / (float)chunk->normalizer;
    }
    return TR_OK;
}

/// What is inferred, if anything, and two updates, after which the arena has grown and merged.
static void check_learner(const char *what, size_t i, const memory_learner_t *l)
{
    const tr_train_pass_t pass = {.epochs = 2,
                                  .minibatches = 1,
                                  .chunk = l->chunk.sequences,
                                  .scores = l->chunk.scores,
                                  .temperature = 1.0f,
                                  .neftune_noise_alpha = l->noise ? 5.0 : 0.0};
    small_t small;
    tr_trainer_t *trainer;
    tr_train_pass_result_t result;
    memory_t memory;
    tr_error_t err = {0};
    open_model(&small, i, l->use);
    tr_sequences_t sequences = sequences_of(&small, &l->chunk, l->chunks);
    tr_sequences_t inferred = sequences_of(&small, &l->inference, 2);
    cr_assert_eq(memory_of_learner(&memory, &cpu, small.config, l, &err), TR_OK, "%s", err.text);
    cr_expect_eq(memory.weights, counting_now());
    tr_model_recompute(small.model, l->options->gradient_checkpointing);
    cr_assert_eq(tr_trainer_new(&trainer, &small.model, l->options, NULL, &err), TR_OK);
    cr_expect_eq(memory.weights + memory.optimizer, counting_now());
    float *out = rig_memory(&small.rig, inferred.count * l->inference.answers * sizeof *out);
    cr_assert_eq(tr_response_forward_all(tr_trainer_pass(trainer), &inferred,
                                         l->inference.sequences, 1.0f, out, NULL, &err),
                 TR_OK, "%s", err.text);
    cr_assert_eq(tr_trainer_run_pass(trainer, &sequences, &pass, flat_loss, NULL, &result, &err),
                 TR_OK, "%s", err.text);
    tr_trainer_destroy(&trainer);
    expect_found(&small, what, i, &memory);
}

Test(memory, a_learner_takes_what_a_dry_run_finds)
{
    memory_learner_t other = learner;
    other.options = &recomputes;
    for (size_t i = 0; i < SHAPES; i++) {
        check_learner("learner", i, &learner);
        check_learner("recomputing learner", i, &other);
    }
}

Test(memory, so_does_one_with_noise_or_kept_ids_or_chunks_or_scores_or_inference)
{
    memory_learner_t noisy = learner, kept = learner, many = learner, scores = learner,
                     infers = learner;
    noisy.noise = true;
    kept.chunk.kept = 50;
    many.chunks = 9;
    scores.chunk.scores = true;
    infers.inference = (memory_batch_t){.sequences = 40, .length = 160, .answers = 100};
    check_learner("noisy learner", 1, &noisy);
    check_learner("learner of truncated answers", 1, &kept);
    check_learner("learner of nine chunks", 1, &many);
    check_learner("learner of scores", 3, &scores);
    check_learner("learner that infers more than it learns", 1, &infers);
}

Test(memory, a_reference_takes_what_a_dry_run_finds)
{
    for (size_t i = 0; i < SHAPES; i++) {
        small_t small;
        memory_t memory;
        tr_error_t err = {0};
        open_model(&small, i, TR_MODEL_READS);
        tr_sequences_t sequences = sequences_of(&small, &learner.chunk, 2);
        small_response(&small, &sequences, learner.chunk.sequences, 1.0f);
        cr_assert_eq(
            memory_of_reader(&memory, &cpu, small.config, TR_MODEL_READS, &learner.chunk, &err),
            TR_OK);
        expect_found(&small, "reference", i, &memory);
    }
}

/// RUNNING responses of NEW tokens each.
static void decode(small_t *small)
{
    rollout_request_t requests[RUNNING];
    rollout_response_t responses[RUNNING];
    const rollout_options_t options = {
        .sampling = sampling, .max_new_tokens = NEW, .seed = 1, .ignore_eos = true};
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

Test(memory, a_rollout_takes_what_a_dry_run_finds)
{
    for (size_t i = 0; i < SHAPES; i++) {
        small_t small;
        memory_t memory;
        tr_error_t err = {0};
        if (!shapes(i).scalar_head) { // which generates nothing
            open_model(&small, i, TR_MODEL_DECODES);
            decode(&small);
            cr_assert_eq(memory_of_decoder(&memory, &cpu, small.config, RUNNING, PROMPT,
                                           PROMPT + NEW, &sampling, &err),
                         TR_OK);
            expect_found(&small, "rollout", i, &memory);
        }
    }
}

// Closed forms

static memory_t found(const tr_device_options_t *device, const tr_model_config_t *config,
                      const memory_learner_t *l)
{
    memory_t memory;
    tr_error_t err = {0};
    cr_assert_eq(memory_of_learner(&memory, device, config, l, &err), TR_OK, "%s", err.text);
    return memory;
}

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
    memory_learner_t off = learner, rounded = learner;
    memory_t memory = found(&bf16, &config, &learner);
    tr_error_t err = {0};
    off.options = &offloads;
    rounded.use = TR_MODEL_LEARNS_ROUNDED;
    cr_expect_eq(memory.weights, 2 * n + 4 * n + rope);
    cr_expect_eq(memory.optimizer, 8 * n + squares);
    cr_expect_eq(memory.host, 0);
    cr_expect_eq(found(&bf16, &config, &off).optimizer, squares);
    cr_expect_eq(found(&bf16, &config, &off).host, 8 * n);
    cr_expect_eq(found(&cpu, &config, &off).optimizer, 8 * n + squares);
    cr_expect_eq(found(&bf16, &config, &rounded).weights, 2 * n + rope);
    cr_expect_eq(found(&gpu, &config, &rounded).weights, 4 * n + rope);
    cr_assert_eq(memory_of_decoder(&memory, &bf16, &config, 3, 10, 17, &sampling, &err), TR_OK);
    cr_expect_eq(memory.weights, 2 * n + rope);
    cr_expect_eq(memory.cache, (size_t)2 * 7 * 16 * 2 * 2); // two pages each, and one to spare
    // Chunk i goes on top of the sums that i's binary digits say.
    static const size_t levels[] = {0, 1, 2, 2, 3, 3, 3, 3, 4};
    for (size_t chunks = 1; chunks < sizeof levels / sizeof levels[0]; chunks++) {
        off.chunks = chunks;
        cr_expect_eq(found(&bf16, &config, &off).gradient, levels[chunks] * 4 * n, "%zu", chunks);
    }
}

/// One layer: the embedding, the layer and the rest are segments of two parts, each of whole blocks of
/// 4096 floats. A round has two chunks, whose vectors are of the shard's size.
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
    // Of 4, 4 and 5 blocks rank 0 has 2 each; rank 1 has less, but the largest part.
    const size_t shard = 6 * 4096, largest = rest - 2 * 4096;
    memory_learner_t ranks = learner;
    ranks.ranks = 2;
    for (unsigned stage = 1; stage <= 3; stage++) {
        ranks.sharing.zero_stage = stage;
        memory_t memory = found(&gpu, &config, &ranks);
        size_t written = stage == 1 ? all : embedding + rest;
        size_t weights = stage == 3 ? shard + all : all;
        cr_expect_eq(memory.weights, (weights + rope) * 4, "stage %u", stage);
        cr_expect_eq(memory.optimizer, (2 * shard + 6) * 4, "stage %u", stage);
        cr_expect_eq(memory.gradient, (2 * shard + written + 2 * largest) * 4, "stage %u", stage);
    }
}

/// A batch that no device holds is laid out in part.
Test(memory, absurd_batches_are_measured_at_once)
{
    const tr_model_config_t config = shapes(1);
    const memory_batch_t batch = {.sequences = 1 << 30, .length = 700, .answers = 1, .kept = 700};
    memory_t memory;
    tr_error_t err = {0};
    cr_assert_eq(memory_of_reader(&memory, &cpu, &config, TR_MODEL_READS, &batch, &err), TR_OK);
    cr_expect_gt(memory.activations >> 30, (size_t)700 * 96 * 4);
    cr_assert_eq(memory_of_decoder(&memory, &cpu, &config, 1 << 30, 9, 700, &sampling, &err),
                 TR_OK);
    cr_expect_gt(memory.cache >> 30, (size_t)700 * 3 * 16 * 4 * 2 * 14);
}
