// bench-model: models with random weights, and how many tokens a second they train on and generate.
//
//     bench-model make SHAPE HEAD SOURCE DIRECTORY    writes a Hugging Face directory
//     bench-model train DIRECTORY THREADS BATCH LENGTH [bf16]
//     bench-model rollout DIRECTORY THREADS BATCH PROMPT NEW [bf16]
//
// HEAD is lm or score; bf16: the precision, else fp32. train and rollout measure once for each line
// on standard input and answer with a line: tokens a second. train is forward, backward and AdamW
// of the next-token loss on BATCH sequences; rollout samples NEW tokens for BATCH prompts.
// bench/run starts this program and its rival and asks them in turn.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "actor/training.h"
#include "bench/shapes.h"
#include "common/base/clock.h"
#include "common/base/rng.h"
#include "rollout/decoder.h"

enum { CHUNK = 8, MAX_BATCH = 64 }; // the recipe's defaults

static const tr_optimizer_options_t optimizer = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};

/// The trainer is only there to save: it writes all that a Hugging Face directory needs.
static tr_status make(tr_backend_t *backend, char **argv, tr_error_t *err)
{
    tr_model_config_t config;
    tr_model_t *model = NULL;
    tr_trainer_t *trainer = NULL;
    TR_TRY(bench_shape(&config, argv[0], err));
    config.scalar_head = strcmp(argv[1], "score") == 0;
    // a scalar head shares nothing with the embedding
    config.tied_embeddings &= !config.scalar_head;
    TR_TRY(tr_model_new(&model, &config, backend, TR_MODEL_LEARNS, err));
    tr_model_randomize(model, 1);
    tr_status status = tr_trainer_new(&trainer, &model, &optimizer, NULL, err);
    if (status == TR_OK) {
        status = tr_trainer_save(trainer, argv[3], &(tr_save_options_t){.source = argv[2]}, err);
    }
    tr_trainer_destroy(&trainer);
    return status;
}

/// From 3 on: ids 0 to 2 are special tokens.
static int32_t *random_ids(size_t count, size_t vocabulary)
{
    int32_t *ids = tr_calloc(count, sizeof *ids);
    for (size_t i = 0; i < count; i++) {
        float uniform = tr_rng_uniform(1, TR_RNG_INIT, 0, 0, (uint32_t)i);
        ids[i] = 3 + (int32_t)(uniform * (float)(vocabulary - 3));
    }
    return ids;
}

/// The next measurement is asked for.
static bool asked(void)
{
    char line[16];
    return fgets(line, sizeof line, stdin) != NULL;
}

static void answer(size_t tokens, double start)
{
    printf("%.1f\n", (double)tokens / (tr_clock_seconds() - start));
    fflush(stdout);
}

/// A fresh trainer, and a step of next-token training for each line of input.
static tr_status train(tr_backend_t *backend, const char *directory, const size_t *sizes,
                       tr_error_t *err)
{
    const size_t batch = sizes[0], length = sizes[1];
    tr_model_t *model;
    tr_trainer_t *trainer;
    TR_TRY(tr_model_open(&model, directory, NULL, backend, TR_MODEL_LEARNS, err));
    int32_t *ids = random_ids(batch * length, tr_model_config(model)->vocabulary);
    int32_t *starts = tr_calloc(3 * batch + 2, sizeof *starts);
    int32_t *response_starts = starts + batch + 1, *prompts = response_starts + batch + 1;
    // each sequence is a prompt of one token and a response of the rest: next-token training
    for (size_t s = 0; s < batch; s++) {
        prompts[s] = 1;
        starts[s + 1] = (int32_t)((s + 1) * length);
        response_starts[s + 1] = (int32_t)((s + 1) * (length - 1));
    }
    const tr_sequences_t sequences = {.count = batch,
                                      .ids = ids,
                                      .starts = starts,
                                      .prompt_lengths = prompts,
                                      .response_starts = response_starts};
    const tr_train_pass_t pass = {.epochs = 1,
                                  .minibatches = 1,
                                  .chunk = CHUNK,
                                  .seed = 1,
                                  .step = 1,
                                  .temperature = 1.0f,
                                  .learning_rate = 1e-4};
    tr_sft_options_t options;
    actor_sft_t sft = {.options = &options};
    tr_fields_init(&options, &tr_sft_fields);
    tr_status status = tr_trainer_new(&trainer, &model, &optimizer, NULL, err);
    // the first answer warms up; the caller drops it
    while (status == TR_OK && asked()) {
        // the update ends when this returns: a CPU's queue is waited for in it
        double start = tr_clock_seconds();
        status = actor_learn_sft(&sft, trainer, &sequences, &pass, err);
        answer(batch * length, start);
    }
    tr_trainer_destroy(&trainer);
    tr_model_destroy(&model);
    free(starts);
    free(ids);
    return status;
}

/// All prompts at once; as many run at a time as the decoder's batch allows.
static tr_status rollout(tr_backend_t *backend, const char *directory, const size_t *sizes,
                         tr_error_t *err)
{
    const size_t batch = sizes[0], length = sizes[1], new_tokens = sizes[2];
    tr_model_t *model;
    TR_TRY(tr_model_open(&model, directory, NULL, backend, TR_MODEL_DECODES, err));
    int32_t *ids = random_ids(batch * length, tr_model_config(model)->vocabulary);
    rollout_request_t *requests = tr_calloc(batch, sizeof *requests);
    rollout_response_t *responses = tr_calloc(batch, sizeof *responses);
    for (size_t i = 0; i < batch; i++) {
        requests[i] = (rollout_request_t){ids + i * length, length, (uint32_t)i, 0};
    }
    rollout_options_t options = {.sampling = {.temperature = 0.7f, .top_p = 1.0f},
                                 .max_new_tokens = new_tokens,
                                 .seed = 1,
                                 // every response has the same length, as in the rival's run
                                 .ignore_eos = true};
    rollout_decoder_t *decoder = rollout_decoder_new(model, MAX_BATCH);
    tr_status status = TR_OK;
    while (status == TR_OK && asked()) {
        double start = tr_clock_seconds();
        status = rollout_decode(decoder, responses, requests, batch, &options, NULL, NULL, err);
        answer(batch * new_tokens, start);
        for (size_t i = 0; status == TR_OK && i < batch; i++) {
            rollout_response_release(&responses[i]);
        }
    }
    rollout_decoder_destroy(&decoder);
    tr_model_destroy(&model);
    free(responses);
    free(requests);
    free(ids);
    return status;
}

/// The words decide the case; a wrong number of them is a usage error.
static tr_status run(int argc, char **argv, tr_error_t *err)
{
    const char *what = argc > 1 ? argv[1] : "";
    bool makes = strcmp(what, "make") == 0, trains = strcmp(what, "train") == 0;
    bool generates = strcmp(what, "rollout") == 0;
    bool bf16 = !makes && strcmp(argv[argc - 1], "bf16") == 0;
    size_t numbers[4] = {0}; // threads, then sizes
    tr_backend_t *backend;
    argc -= bf16;
    if (!(makes && argc == 6) && !(trains && argc == 6) && !(generates && argc == 7)) {
        return tr_fail(err, TR_ERR_ARGUMENT, "usage: see the head of bench/model.c");
    }
    // argv[2] is the directory; numbers follow
    for (int i = 3; !makes && i < argc; i++) {
        numbers[i - 3] = strtoul(argv[i], NULL, 10);
    }
    TR_TRY(tr_backend_open_cpu(&backend, bf16 ? TR_BF16 : TR_F32, numbers[0], err));
    tr_status status = makes    ? make(backend, argv + 2, err)
                       : trains ? train(backend, argv[2], numbers + 1, err)
                                : rollout(backend, argv[2], numbers + 1, err);
    tr_backend_close(&backend);
    return status;
}

int main(int argc, char **argv)
{
    tr_error_t err = {0};
    tr_status status = run(argc, argv, &err);
    if (status != TR_OK) {
        fprintf(stderr, "bench-model: %s\n", err.text);
    }
    return tr_status_exit_code(status);
}
