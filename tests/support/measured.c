/// The work is done in the order of the daemons: arenas grow as theirs do.
#include "tests/support/measured.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "common/tensor/device.h"
#include "rollout/decoder.h"

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

void measured_open(small_t *small, const tr_model_config_t *config,
                   const tr_device_options_t *device, tr_model_use_t use)
{
    tr_error_t err = {0};
    *small = (small_t){0};
    cr_assert_eq(tr_backend_open(&small->rig.backend, device, &err), TR_OK, "%s", err.text);
    small->rig.ops = small->rig.backend->ops;
    cr_assert_eq(tr_model_new(&small->model, config, small->rig.backend, use, &err), TR_OK, "%s",
                 err.text);
    small->config = tr_model_config(small->model);
    tr_model_randomize(small->model, 1);
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

void measured_learn(small_t *small, const memory_learner_t *learner)
{
    const tr_train_pass_t pass = {.epochs = 2,
                                  .minibatches = 1,
                                  .chunk = learner->chunk.sequences,
                                  .scores = learner->chunk.scores,
                                  .temperature = 1.0f,
                                  .neftune_noise_alpha = learner->noise ? 5.0 : 0.0};
    tr_sequences_t sequences = sequences_of(small, &learner->chunk, learner->chunks);
    tr_trainer_t *trainer;
    tr_train_pass_result_t result;
    tr_error_t err = {0};
    tr_model_recompute(small->model, learner->options->gradient_checkpointing);
    cr_assert_eq(tr_trainer_new(&trainer, &small->model, learner->options, NULL, &err), TR_OK);
    infer(small, tr_trainer_pass(trainer), &learner->inference);
    cr_assert_eq(tr_trainer_run_pass(trainer, &sequences, &pass, flat_loss, NULL, &result, &err),
                 TR_OK, "%s", err.text);
    tr_trainer_destroy(&trainer);
}

void measured_read(small_t *small, const memory_batch_t *batch)
{
    tr_response_pass_t *pass = tr_response_pass_new(small->model);
    infer(small, pass, batch);
    tr_response_pass_destroy(&pass);
}

void measured_decode(small_t *small, size_t sequences, size_t prompt, size_t longest,
                     const tr_sampling_t *sampling)
{
    rollout_request_t *requests = rig_memory(&small->rig, sequences * sizeof *requests);
    rollout_response_t *responses = rig_memory(&small->rig, sequences * sizeof *responses);
    const rollout_options_t options = {
        .sampling = *sampling, .max_new_tokens = longest - prompt, .seed = 1, .ignore_eos = true};
    tr_error_t err = {0};
    const int32_t *ids = small_ids(small, prompt, 4);
    for (size_t r = 0; r < sequences; r++) {
        requests[r] = (rollout_request_t){.prompt = ids, .length = prompt, .sample = (uint32_t)r};
    }
    rollout_decoder_t *decoder = rollout_decoder_new(small->model, sequences);
    cr_assert_eq(
        rollout_decode(decoder, responses, requests, sequences, &options, NULL, NULL, &err), TR_OK,
        "%s", err.text);
    for (size_t r = 0; r < sequences; r++) {
        rollout_response_release(&responses[r]);
    }
    rollout_decoder_destroy(&decoder);
}

void measured_expect(small_t *small, const char *what, const memory_t *found, size_t more)
{
    const tr_memory_use_t *use = &small->rig.backend->memory;
    size_t bytes = memory_sum(found), taken = use->peak + use->scratch;
    cr_expect(bytes >= taken && (double)bytes <= 1.02 * (double)taken + (double)more,
              "%s, vocabulary %zu: %zu bytes are found, %zu were taken", what,
              small->config->vocabulary, bytes, taken);
    small_close(small);
}
