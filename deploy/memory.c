/// A process's memory by a dry run: each function makes the process's objects in their order, runs its
/// largest passes, and reads the backend's sums in between. What is asked of it, memory_plan.c says.
#include "deploy/memory.h"

#include <stdlib.h>

#include "common/tensor/dry.h"
#include "rollout/decoder.h"

/// Tokens of a batch that are laid out at most: a larger one, which no device holds, is scaled up.
enum { MOST_TOKENS = 1 << 24 };

/// A process on its way through one of these functions.
typedef struct dry_run {
    tr_backend_t *backend;
    tr_model_t *model; // until a trainer has it
    tr_response_pass_t *pass;
    rollout_decoder_t *decoder;
    tr_trainer_t *trainer;
} dry_run_t;

size_t memory_sum(const memory_t *m)
{
    return m->weights + m->optimizer + m->gradient + m->activations + m->cache;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t laid_out(size_t sequences, size_t length)
{
    return length < MOST_TOKENS ? least(sequences, MOST_TOKENS / length) : 1;
}

static size_t scaled(size_t bytes, size_t sequences, size_t n)
{
    return (size_t)((double)bytes * ((double)sequences / (double)n));
}

static tr_status dry_run_begin(dry_run_t *run, memory_t *memory, const tr_device_options_t *device,
                               const tr_model_config_t *config, const tr_model_options_t *options,
                               tr_error_t *err)
{
    *memory = (memory_t){0};
    TR_TRY(tr_backend_open_dry(&run->backend, device, err));
    TR_TRY(tr_model_new_with(&run->model, config, run->backend, options, err));
    memory->weights = run->backend->memory.now;
    return TR_OK;
}

static tr_status dry_run_end(dry_run_t *run, tr_status status)
{
    tr_response_pass_destroy(&run->pass);
    rollout_decoder_destroy(&run->decoder);
    tr_trainer_destroy(&run->trainer);
    tr_model_destroy(&run->model);
    tr_backend_close(&run->backend);
    return status;
}

/// What was taken at most beside `counted` bytes.
static size_t rest_of(const dry_run_t *run, size_t counted)
{
    return run->backend->memory.peak + run->backend->memory.scratch - counted;
}

// Batches of zeros

static size_t length_of(const memory_batch_t *batch, const tr_model_config_t *config)
{
    return least(batch->length, config->max_positions);
}

/// n sequences like the batch's; owned by the caller (free of ids, starts).
static tr_sequences_t sequences_of(const memory_batch_t *batch, const tr_model_config_t *config,
                                   size_t n)
{
    size_t length = length_of(batch, config), answers = least(batch->answers, length - 1);
    size_t kept = least(batch->kept, INT32_MAX / (n * answers + 1)); // as many as a message holds
    int32_t *starts = tr_calloc(3 * n + n * answers + 3, sizeof *starts);
    int32_t *responses = starts + n + 1, *prompts = responses + n + 1, *offsets = prompts + n;
    for (size_t i = 0; i < n; i++) {
        starts[i + 1] = (int32_t)((i + 1) * length);
        responses[i + 1] = (int32_t)((i + 1) * answers);
        prompts[i] = (int32_t)(length - answers);
    }
    for (size_t i = 0; i < n * answers; i++) {
        offsets[i + 1] = (int32_t)((i + 1) * kept);
    }
    return (tr_sequences_t){.count = n,
                            .ids = tr_calloc(n * length, sizeof(int32_t)),
                            .starts = starts,
                            .prompt_lengths = prompts,
                            .response_starts = responses,
                            .kept_offsets = kept > 0 ? offsets : NULL};
}

static void release(tr_sequences_t *sequences)
{
    free((void *)sequences->ids);
    free((void *)sequences->starts);
}

/// A pass that learns nothing, twice: after the first the arena becomes one buffer.
static tr_status infer(tr_response_pass_t *pass, const memory_batch_t *batch, size_t n,
                       const tr_model_config_t *config, tr_error_t *err)
{
    tr_sequences_t sequences = sequences_of(batch, config, n);
    uint32_t *chosen = tr_calloc(n, sizeof *chosen);
    tr_status status = TR_OK;
    for (size_t i = 0; i < n; i++) {
        chosen[i] = (uint32_t)i;
    }
    for (size_t i = 0; i < 2 && status == TR_OK; i++) {
        status = batch->scores ? tr_response_scores(pass, &sequences, chosen, n, false, NULL, err)
                               : tr_response_forward(pass, &sequences, chosen, n, 1.0f, false, NULL,
                                                     NULL, err);
    }
    free(chosen);
    release(&sequences);
    return status;
}

// Processes that learn nothing

tr_status memory_of_reader(memory_t *memory, const tr_device_options_t *device,
                           const tr_model_config_t *config, tr_model_use_t use,
                           const memory_batch_t *batch, tr_error_t *err)
{
    dry_run_t run = {0};
    size_t n = laid_out(batch->sequences, length_of(batch, config));
    tr_status status =
        dry_run_begin(&run, memory, device, config, &(tr_model_options_t){.use = use}, err);
    if (status == TR_OK) {
        run.pass = tr_response_pass_new(run.model);
        status = infer(run.pass, batch, n, config, err);
        memory->activations = scaled(rest_of(&run, memory->weights), batch->sequences, n);
    }
    return dry_run_end(&run, status);
}

tr_status memory_of_decoder(memory_t *memory, const tr_device_options_t *device,
                            const tr_model_config_t *config, size_t sequences, size_t prompt,
                            size_t longest, const tr_sampling_t *sampling, tr_error_t *err)
{
    const tr_model_options_t options = {.use = TR_MODEL_DECODES};
    dry_run_t run = {0};
    size_t n = laid_out(sequences, longest);
    tr_status status = dry_run_begin(&run, memory, device, config, &options, err);
    if (status == TR_OK) {
        size_t cache = 0;
        run.decoder = rollout_decoder_new(run.model, n);
        status = rollout_decoder_rehearse(&cache, run.decoder, n, prompt, longest, sampling, err);
        memory->cache = scaled(cache, sequences, n);
        memory->activations = scaled(rest_of(&run, memory->weights + cache), sequences, n);
    }
    return dry_run_end(&run, status);
}

// A group of ranks of which one runs: what it sends goes nowhere, what it receives stays as it was

static void gather(tr_collective_t *group, void *data, const size_t *starts)
{
    (void)group, (void)data, (void)starts;
}

static void exchange(tr_collective_t *group, tr_backend_t *backend, tr_queue_t *queue,
                     const tr_tensor_t *received, const tr_tensor_t *sent)
{
    (void)group, (void)backend, (void)queue, (void)received, (void)sent;
}

static void share(tr_collective_t *group, tr_backend_t *backend, tr_queue_t *queue,
                  const tr_tensor_t *parts)
{
    (void)group, (void)backend, (void)queue, (void)parts;
}

static void reduce(tr_collective_t *group, tr_backend_t *backend, tr_queue_t *queue,
                   tr_tensor_t sum, const tr_tensor_t *parts)
{
    (void)group, (void)backend, (void)queue, (void)sum, (void)parts;
}

static const tr_collective_ops_t alone = {
    .gather = gather, .exchange = exchange, .share = share, .reduce = reduce};

// Learners

/// Bytes that the last rank's optimizer has taken after an update of so many chunks. 0: its moments alone, and
/// nothing to send gradients with.
static tr_status optimizer_bytes(size_t *bytes, const dry_run_t *run,
                                 const memory_learner_t *learner, const tr_ranks_t *ranks,
                                 size_t chunks, tr_error_t *err)
{
    const size_t before = run->backend->memory.now, size = learner->ranks;
    const tr_layout_t *layout = tr_model_layout(run->model);
    const tr_ranks_t none = {0};
    tr_optimizer_t *optimizer = NULL;
    tr_gradient_t *gradient;
    tr_shards_t shards;
    tr_shards_init(&shards, layout->flat[TR_TRAINED].segments, layout->segment_count, size,
                   size - 1);
    tr_status status = tr_optimizer_new(&optimizer, run->backend, tr_model_queue(run->model),
                                        tr_model_trained(run->model), &shards, learner->options,
                                        chunks > 0 ? ranks : &none, err);
    for (size_t i = 0; i < chunks && status == TR_OK; i += size) {
        status = tr_optimizer_round(optimizer, &gradient, least(size, chunks - i), err);
        tr_optimizer_round_end(optimizer);
    }
    *bytes = run->backend->memory.now - before;
    tr_optimizer_destroy(&optimizer);
    tr_shards_release(&shards);
    return status;
}

static tr_status no_loss(void *context, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    (void)context, (void)chunk, (void)dout, (void)err;
    return TR_OK;
}

/// Two updates of some chunks of n sequences.
static tr_status learn(tr_trainer_t *trainer, const memory_learner_t *learner, size_t chunks,
                       size_t n, tr_error_t *err)
{
    const tr_train_pass_t pass = {.epochs = 2,
                                  .minibatches = 1,
                                  .chunk = n,
                                  .scores = learner->chunk.scores,
                                  .temperature = 1.0f,
                                  .neftune_noise_alpha = learner->noise ? 1.0 : 0.0};
    const tr_model_config_t *config = tr_model_config(tr_trainer_model(trainer));
    tr_sequences_t sequences = sequences_of(&learner->chunk, config, chunks * n);
    tr_train_pass_result_t result;
    tr_status status = tr_trainer_run_pass(trainer, &sequences, &pass, no_loss, NULL, &result, err);
    release(&sequences);
    return status;
}

/// Columns by optimizers alone, and then the whole. The trainer runs a chunk a rank, or two where there
/// are more: with further ones the tree grows, and nothing else.
static tr_status measure(memory_t *memory, dry_run_t *run, const memory_learner_t *learner,
                         const tr_ranks_t *ranks, tr_error_t *err)
{
    const memory_batch_t *chunk = &learner->chunk, *inference = &learner->inference;
    const tr_model_config_t *config = tr_model_config(run->model);
    const tr_memory_use_t *use = &run->backend->memory;
    size_t chunks = learner->ranks * (learner->chunks > learner->ranks ? 2 : 1), some, all;
    size_t n = laid_out(chunk->sequences, chunks * length_of(chunk, config));
    TR_TRY(optimizer_bytes(&memory->optimizer, run, learner, ranks, 0, err));
    TR_TRY(optimizer_bytes(&some, run, learner, ranks, chunks, err));
    TR_TRY(optimizer_bytes(&all, run, learner, ranks,
                           chunks > learner->chunks ? chunks : learner->chunks, err));
    tr_model_recompute(run->model, learner->options->gradient_checkpointing);
    TR_TRY(tr_trainer_new(&run->trainer, &run->model, learner->options, ranks, err));
    if (inference->sequences > 0) {
        TR_TRY(infer(tr_trainer_pass(run->trainer), inference, inference->sequences, config, err));
    }
    TR_TRY(learn(run->trainer, learner, chunks, n, err));
    size_t grown = use->now + all - some, most = use->peak > grown ? use->peak : grown;
    memory->gradient = all - memory->optimizer;
    memory->activations = scaled(most + use->scratch - memory->weights - all, chunk->sequences, n);
    memory->host = use->host;
    return TR_OK;
}

tr_status memory_of_learner(memory_t *memory, const tr_device_options_t *device,
                            const tr_model_config_t *config, const memory_learner_t *learner,
                            tr_error_t *err)
{
    tr_collective_t group = {&alone, learner->ranks - 1, learner->ranks};
    tr_ranks_t ranks = learner->sharing;
    ranks.collective = learner->ranks > 1 ? &group : NULL;
    const tr_model_options_t options = {learner->use,
                                        ranks.zero_stage == 3 ? ranks.collective : NULL, NULL};
    dry_run_t run = {0};
    tr_status status = dry_run_begin(&run, memory, device, config, &options, err);
    status = status == TR_OK ? measure(memory, &run, learner, &ranks, err) : status;
    return dry_run_end(&run, status);
}
