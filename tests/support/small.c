// Small Llamas with random weights, random sequences, and what a model makes of them in one call.
//
// Sizes are multiples of nothing (38 hidden, 9 heads of 10), so that the edges of vectors and tiles
// are used; weights are larger than those of a fresh model, so that a wrong scale or a swapped head
// changes the output visibly.
#include "tests/support/small.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/rng.h"

tr_model_config_t small_config(void)
{
    return (tr_model_config_t){.vocabulary = 97,
                               .hidden = 38,
                               .intermediate = 51,
                               .layers = 2,
                               .heads = 9,
                               .key_value_heads = 3,
                               .head_dim = 10,
                               .max_positions = 700,
                               .rms_epsilon = 1e-6f,
                               .rope_theta = 10000.0,
                               .bos = 1,
                               .pad = -1};
}

float *small_weights(rig_t *rig, const tr_layout_t *layout)
{
    float *weights = rig_memory(rig, layout->total * sizeof *weights);
    for (size_t i = 0; i < layout->count; i++) {
        const tr_parameter_t *parameter = &layout->parameters[i];
        // vectors are near 1, the embedding is wide, products keep their variance
        float deviation = parameter->rank == 1     ? 0.2f
                          : parameter->offset == 0 ? 0.7f
                                                   : 1.5f / sqrtf((float)parameter->columns);
        float mean = parameter->rank == 1 ? 1.0f : 0.0f;
        for (size_t j = 0; j < parameter->rows * parameter->columns; j++) {
            // by parameter and place: the same whatever the layout of the others
            float noise = tr_rng_normal(7, TR_RNG_INIT, (uint32_t)i, 1, (uint32_t)j);
            weights[parameter->offset + j] = mean + deviation * noise;
        }
    }
    return weights;
}

static void take_model(small_t *small)
{
    small->config = tr_model_config(small->model);
    small->total = tr_model_layout(small->model)->total;
}

/// A CPU's instruction set, or SMALL_GPU, SMALL_GPU_BF16, SMALL_BF16.
static bool open_rig(rig_t *rig, const char *isa, size_t threads)
{
    // the GPU counts as one more instruction set, so that one loop tests all
    if (isa != NULL && strcmp(isa, SMALL_GPU) == 0) {
        rig_open_gpu(rig, TR_F32);
        return true;
    }
    if (isa != NULL && strcmp(isa, SMALL_GPU_BF16) == 0) {
        rig_open_gpu(rig, TR_BF16);
        return true;
    }
    if (isa != NULL && strncmp(isa, SMALL_BF16, strlen(SMALL_BF16)) == 0) {
        isa += strlen(SMALL_BF16);
        return rig_open_bf16(rig, isa[0] != '\0' ? isa : NULL, threads);
    }
    return rig_open(rig, isa, threads);
}

/// The weights are the same for every backend: tests compare backends.
bool small_open(small_t *small, const tr_model_config_t *config, const char *isa, size_t threads,
                bool learns)
{
    tr_error_t err = {0};
    if (!open_rig(&small->rig, isa, threads)) {
        return false;
    }
    tr_status status = tr_model_new(&small->model, config, small->rig.backend,
                                    learns ? TR_MODEL_LEARNS : TR_MODEL_DECODES, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    take_model(small);
    tr_model_write_parameters(small->model,
                              small_weights(&small->rig, tr_model_layout(small->model)));
    return true;
}

/// The directory's own weights.
bool small_open_directory(small_t *small, const char *directory, const char *isa, size_t threads,
                          bool learns)
{
    return small_open_adapted(small, directory, NULL, isa, threads, learns);
}

bool small_open_adapted(small_t *small, const char *directory, const char *adapter, const char *isa,
                        size_t threads, bool learns)
{
    tr_error_t err = {0};
    if (!open_rig(&small->rig, isa, threads)) {
        return false;
    }
    tr_status status = tr_model_open(&small->model, directory, adapter, small->rig.backend,
                                     learns ? TR_MODEL_LEARNS : TR_MODEL_DECODES, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    take_model(small);
    return true;
}

void small_close(small_t *small)
{
    tr_model_destroy(&small->model);
    rig_close(&small->rig);
}

/// Uniform over the vocabulary, the same for the same seed.
int32_t *small_ids(small_t *small, size_t count, uint64_t seed)
{
    int32_t *ids = rig_memory(&small->rig, count * sizeof *ids);
    for (size_t i = 0; i < count; i++) {
        float uniform = tr_rng_uniform(seed, TR_RNG_INIT, 2, 0, (uint32_t)i);
        ids[i] = (int32_t)(uniform * (float)small->config->vocabulary);
    }
    return ids;
}

/// Ragged, one after another, as all batches of Troupe are.
tr_sequences_t small_sequences(small_t *small, const size_t *lengths, const size_t *prompts,
                               size_t count, uint64_t seed)
{
    int32_t *starts = rig_memory(&small->rig, (count + 1) * sizeof *starts);
    int32_t *prompt_lengths = rig_memory(&small->rig, count * sizeof *prompt_lengths);
    int32_t *response_starts = rig_memory(&small->rig, (count + 1) * sizeof *response_starts);
    for (size_t s = 0; s < count; s++) {
        starts[s + 1] = starts[s] + (int32_t)lengths[s];
        prompt_lengths[s] = (int32_t)prompts[s];
        // the response is what follows the prompt
        response_starts[s + 1] = response_starts[s] + (int32_t)(lengths[s] - prompts[s]);
    }
    return (tr_sequences_t){.count = count,
                            .ids = small_ids(small, (size_t)starts[count], seed),
                            .starts = starts,
                            .prompt_lengths = prompt_lengths,
                            .response_starts = response_starts};
}

/// The hidden rows, or the logits, of a sequence.
static float *forward(small_t *small, const int32_t *ids, size_t length, bool logits)
{
    tr_queue_t *queue = tr_model_queue(small->model);
    tr_arena_t *arena = tr_arena_new(small->rig.backend);
    // one sequence from position 0, without a cache
    tr_span_t span = {.ids = ids, .length = length};
    tr_batch_t batch;
    tr_error_t err = {0};
    tr_batch_init(&batch, arena, queue, &span, 1);
    tr_tensor_t out = tr_model_forward(small->model, &batch, arena, NULL);
    // wide: one row of the vocabulary a token
    if (logits) {
        tr_tensor_t wide = tr_arena_tensor(arena, TR_F32, length, small->config->vocabulary);
        small->rig.ops->matmul(queue, wide, out, tr_model_head(small->model).weight, false);
        out = wide;
    }
    float *values = rig_memory(&small->rig, tr_tensor_bytes(out));
    small->rig.ops->read(queue, values, out);
    cr_assert_eq(small->rig.ops->queue_wait(queue, &err), TR_OK, "%s", err.text);
    tr_arena_destroy(&arena);
    return values;
}

/// The rows before the head.
float *small_hidden(small_t *small, const int32_t *ids, size_t length)
{
    return forward(small, ids, length, false);
}

/// The head's rows, fp32 whatever the precision.
float *small_logits(small_t *small, const int32_t *ids, size_t length)
{
    return forward(small, ids, length, true);
}

static size_t response_tokens(const tr_sequences_t *sequences)
{
    return (size_t)sequences->response_starts[sequences->count];
}

/// What actor and reference compute in a run.
float *small_response(small_t *small, const tr_sequences_t *sequences, size_t chunk,
                      float temperature)
{
    tr_error_t err = {0};
    // a pass of its own, so that calls do not share scratch memory
    tr_response_pass_t *pass = tr_response_pass_new(small->model);
    float *out = rig_memory(&small->rig, response_tokens(sequences) * sizeof *out);
    tr_status status =
        tr_response_forward_all(pass, sequences, chunk, temperature, out, NULL, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    tr_response_pass_destroy(&pass);
    return out;
}

/// They stand for the slope of a loss.
float *small_factors(small_t *small, const tr_sequences_t *sequences)
{
    return rig_random(&small->rig, response_tokens(sequences), 99);
}

float *small_gradient(small_t *small, const tr_sequences_t *sequences, const float *factors,
                      float temperature)
{
    tr_error_t err = {0};
    tr_response_pass_t *pass = tr_response_pass_new(small->model);
    float *out = rig_memory(&small->rig, response_tokens(sequences) * sizeof *out);
    uint32_t *all = rig_memory(&small->rig, sequences->count * sizeof *all);
    for (size_t s = 0; s < sequences->count; s++) {
        all[s] = (uint32_t)s;
    }
    tr_tensor_t gradient = rig_zeros(&small->rig, 1, small->total);
    tr_status status = tr_response_forward(pass, sequences, all, sequences->count, temperature,
                                           true, out, NULL, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    // all parameters in one vector: no shards
    tr_gradient_t sink = tr_gradient_whole(gradient);
    // the factors stand for the loss's slopes
    tr_response_backward(pass, factors, NULL, &sink);
    float *values = rig_read(&small->rig, gradient);
    tr_response_pass_destroy(&pass);
    return values;
}
