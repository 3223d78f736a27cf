// Real work, measured. It is done in the order of the daemons, so that arenas grow as theirs do.
#include "tests/support/measured.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "rollout/decoder.h"
#include "tests/support/small.h"

tr_model_config_t measured_shape(size_t i)
{
    static const struct {
        size_t vocabulary, hidden, intermediate, layers;
    } shapes[] = {{32000, 64, 160, 2}, {700, 96, 256, 14},   {2000, 320, 896, 4},
                  {2000, 192, 512, 5}, {300, 1024, 1024, 1}, {600, 64, 160, 3}};
    tr_model_config_t config = small_config();
    config.vocabulary = shapes[i].vocabulary;
    config.hidden = shapes[i].hidden;
    config.intermediate = shapes[i].intermediate;
    config.layers = shapes[i].layers;
    config.heads = config.hidden / 16;
    config.key_value_heads = config.heads / 2;
    config.head_dim = 16;
    config.tied_embeddings = i == 0;
    config.scalar_head = i == 3;
    return config;
}

memory_t measured_dry(const tr_device_options_t *device, const tr_model_config_t *config,
                      const memory_work_t *work)
{
    memory_t memory;
    tr_error_t err = {0};
    cr_assert_eq(memory_of(&memory, device, config, work, &err), TR_OK, "%s", err.text);
    return memory;
}

/// `times` batches; where ids are kept, the first of the vocabulary.
static tr_sequences_t sequences_of(small_t *small, const memory_batch_t *batch, size_t times)
{
    const size_t count = batch->sequences * times, kept = count * batch->answers * batch->kept;
    size_t *lengths = rig_memory(&small->rig, 2 * count * sizeof *lengths);
    int32_t *ids = rig_memory(&small->rig, (kept + count * batch->answers + 1) * sizeof *ids);
    int32_t *offsets = ids + kept;
    for (size_t i = 0; i < count; i++) {
        lengths[i] = batch->length;
        lengths[count + i] = batch->length - batch->answers;
    }
    tr_sequences_t sequences = small_sequences(small, lengths, lengths + count, count, 3);
    for (size_t i = 0; i < kept; i++) {
        ids[i] = (int32_t)(i % batch->kept);
        offsets[i / batch->kept + 1] = (int32_t)(i + 1);
        sequences.kept_offsets = offsets;
        sequences.kept_ids = ids;
    }
    return sequences;
}

static void infer(small_t *small, tr_response_pass_t *pass, const memory_batch_t *batch)
{
    tr_sequences_t sequences = sequences_of(small, batch, 2);
    float *out = rig_memory(&small->rig, sequences.count * batch->answers * sizeof *out);
    tr_error_t err = {0};
    cr_assert_eq(tr_response_forward_all(pass, &sequences, batch->sequences, 1.0f, out, NULL, &err),
                 TR_OK, "%s", err.text);
}

static tr_status flat_loss(void *context, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    (void)context, (void)err;
    for (size_t i = 0; i < chunk->n; i++) {
        dout[i] = -1.0f / (float)chunk->normalizer;
    }
    return TR_OK;
}

/// What is inferred, and two updates.
static void learn(small_t *small, const memory_work_t *work)
{
    const tr_train_pass_t pass = {.epochs = 2,
                                  .minibatches = 1,
                                  .chunk = work->chunk.sequences,
                                  .scores = work->chunk.scores,
                                  .temperature = 1.0f,
                                  .neftune_noise_alpha = work->noise ? 5.0 : 0.0};
    tr_sequences_t sequences = sequences_of(small, &work->chunk, work->chunks);
    tr_trainer_t *trainer;
    tr_train_pass_result_t result;
    tr_error_t err = {0};
    tr_model_recompute(small->model, work->options->gradient_checkpointing);
    cr_assert_eq(tr_trainer_new(&trainer, &small->model, work->options, NULL, &err), TR_OK);
    infer(small, tr_trainer_pass(trainer), &work->batch);
    cr_assert_eq(tr_trainer_run_pass(trainer, &sequences, &pass, flat_loss, NULL, &result, &err),
                 TR_OK, "%s", err.text);
    tr_trainer_destroy(&trainer);
}

static void generate(small_t *small, const memory_batch_t *batch, const tr_sampling_t *sampling)
{
    const size_t count = batch->sequences, prompt = batch->length - batch->answers;
    rollout_request_t *requests = rig_memory(&small->rig, count * sizeof *requests);
    rollout_response_t *responses = rig_memory(&small->rig, count * sizeof *responses);
    const rollout_options_t options = {
        .sampling = *sampling, .max_new_tokens = batch->answers, .ignore_eos = true};
    tr_error_t err = {0};
    const int32_t *ids = small_ids(small, prompt, 4);
    for (size_t r = 0; r < count; r++) {
        requests[r] = (rollout_request_t){.prompt = ids, .length = prompt, .sample = (uint32_t)r};
    }
    rollout_decoder_t *decoder = rollout_decoder_new(small->model, count);
    cr_assert_eq(rollout_decode(decoder, responses, requests, count, &options, NULL, NULL, &err),
                 TR_OK, "%s", err.text);
    for (size_t r = 0; r < count; r++) {
        rollout_response_release(&responses[r]);
    }
    rollout_decoder_destroy(&decoder);
}

static void do_work(small_t *small, const memory_work_t *work)
{
    if (work->chunks > 0) {
        learn(small, work);
    } else if (work->sampling != NULL) {
        generate(small, &work->batch, work->sampling);
    } else {
        tr_response_pass_t *pass = tr_response_pass_new(small->model);
        infer(small, pass, &work->batch);
        tr_response_pass_destroy(&pass);
    }
}

void measured_check(const char *what, tr_device_options_t device, const tr_model_config_t *config,
                    const memory_work_t *work, size_t more)
{
    const memory_t found = measured_dry(&device, config, work);
    const size_t bytes = memory_sum(&found);
    small_t small = {0};
    tr_error_t err = {0};
    device.memory = bytes;
    cr_assert_eq(tr_backend_open(&small.rig.backend, &device, &err), TR_OK, "%s", err.text);
    const tr_memory_use_t *use = &small.rig.backend->memory;
    small.rig.ops = small.rig.backend->ops;
    small.config = config;
    cr_assert_eq(tr_model_new(&small.model, config, small.rig.backend, work->use, &err), TR_OK);
    cr_expect_eq(use->now, found.weights);
    tr_model_randomize(small.model, 1);
    do_work(&small, work);
    size_t taken = use->peak + use->scratch;
    cr_expect(bytes >= taken && (double)bytes <= 1.02 * (double)taken + (double)more,
              "%s, vocabulary %zu: %zu bytes are found, %zu were taken", what, config->vocabulary,
              bytes, taken);
    small_close(&small);
}
