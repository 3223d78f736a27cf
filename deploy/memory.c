// A process's memory by a dry run: its objects are made in their order, its largest passes run, and
// the backend's sums are read in between.
//
// Apart from memory_plan.c, which knows recipes and says what processes do. Next: tensor/device.h.
#include "deploy/memory.h"

#include <stdlib.h>

#include "common/tensor/device.h"
#include "rollout/decoder.h"

// Collectives and losses have the arguments that their types demand.
#pragma GCC diagnostic ignored "-Wunused-parameter"

/// Tokens of a batch that are laid out at most: a larger one, which no device holds, is scaled up.
enum { MOST_TOKENS = 1 << 24 };

/// A process on its way.
typedef struct dry_run {
    const memory_work_t *work;
    tr_model_config_t config;
    tr_backend_t *backend;
    tr_model_t *model; // until a trainer has it
    tr_collective_t group;
    tr_ranks_t ranks;
    size_t n;       // sequences of the largest batch that are laid out
    size_t counted; // bytes that are in another column than activations
} dry_run_t;

/// Without host, which is of another device.
size_t memory_sum(const memory_t *m)
{
    return m->weights + m->optimizer + m->gradient + m->activations + m->cache;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/// How many sequences of so many tokens are laid out: all that there are, or as many as MOST_TOKENS
/// holds, and at least one.
static size_t laid_out(size_t sequences, size_t tokens)
{
    return tokens < MOST_TOKENS ? least(sequences, MOST_TOKENS / (tokens + 1)) : 1;
}

// Batches of zeros

/// n sequences like the batch's; to be released.
static tr_sequences_t make_sequences(const memory_batch_t *batch, size_t length, size_t n)
{
    size_t answers = least(batch->answers, length - 1), all = n * answers;
    size_t kept = least(batch->kept, INT32_MAX / (all + 1)); // as many as a message holds
    int32_t *starts = tr_calloc(3 * n + all + 3, sizeof *starts), *responses = starts + n + 1;
    int32_t *prompts = responses + n + 1, *offsets = prompts + n;
    for (size_t i = 0; i < n; i++) {
        starts[i + 1] = (int32_t)((i + 1) * length);
        responses[i + 1] = (int32_t)((i + 1) * answers);
        prompts[i] = (int32_t)(length - answers);
    }
    for (size_t i = 0; i < all; i++) {
        offsets[i + 1] = (int32_t)((i + 1) * kept);
    }
    return (tr_sequences_t){.count = n,
                            .ids = tr_calloc(n * length, sizeof(int32_t)),
                            .starts = starts,
                            .prompt_lengths = prompts,
                            .response_starts = responses,
                            .kept_offsets = kept > 0 ? offsets : NULL};
}

/// The arrays of make_sequences: two allocations, of which starts holds four arrays.
static void release(tr_sequences_t *sequences)
{
    free((void *)sequences->ids);
    free((void *)sequences->starts);
}

/// A pass that learns nothing, twice: after the first the arena becomes one buffer.
static tr_status infer(const dry_run_t *run, tr_response_pass_t *pass, size_t n, tr_error_t *err)
{
    const memory_batch_t *batch = &run->work->batch;
    tr_sequences_t s = make_sequences(batch, least(batch->length, run->config.max_positions), n);
    uint32_t *chosen = tr_calloc(n, sizeof *chosen);
    tr_status status = TR_OK;
    for (size_t i = 0; i < n; i++) {
        chosen[i] = (uint32_t)i;
    }
    for (size_t i = 0; i < 2 && status == TR_OK; i++) {
        status = batch->scores
                     ? tr_response_scores(pass, &s, chosen, n, false, NULL, err)
                     : tr_response_forward(pass, &s, chosen, n, 1.0f, false, NULL, NULL, err);
    }
    free(chosen);
    release(&s);
    return status;
}

/// A reference or a judge: passes over batches, and nothing between them.
static tr_status read_batches(dry_run_t *run, tr_error_t *err)
{
    tr_response_pass_t *pass = tr_response_pass_new(run->model);
    tr_status status = infer(run, pass, run->n, err);
    tr_response_pass_destroy(&pass);
    return status;
}

/// A rollout: the decoder lays out its cache for all sequences at once, and runs a step at the full
/// length.
static tr_status generate(memory_t *memory, dry_run_t *run, tr_error_t *err)
{
    const memory_batch_t *batch = &run->work->batch;
    size_t prompt = batch->length - least(batch->answers, batch->length - 1);
    rollout_decoder_t *decoder = rollout_decoder_new(run->model, run->n);
    tr_status status = rollout_decoder_rehearse(&memory->cache, decoder, run->n, prompt,
                                                batch->length, run->work->sampling, err);
    run->counted += memory->cache;
    rollout_decoder_destroy(&decoder);
    return status;
}

// A group of ranks of which one runs: what it sends goes nowhere, what it receives stays as it was

/// Called by trainer and optimizer, where ranks would exchange gradients and parts of parameters.
static void gather(tr_collective_t *group, void *data, const size_t *starts)
{
}

static void exchange(tr_collective_t *group, tr_backend_t *backend, tr_queue_t *queue,
                     const tr_tensor_t *received, const tr_tensor_t *sent)
{
}

static void share(tr_collective_t *group, tr_backend_t *backend, tr_queue_t *queue,
                  const tr_tensor_t *parts)
{
}

static void reduce(tr_collective_t *group, tr_backend_t *backend, tr_queue_t *queue,
                   tr_tensor_t sum, const tr_tensor_t *parts)
{
}

static const tr_collective_ops_t alone = {
    .gather = gather, .exchange = exchange, .share = share, .reduce = reduce};

// Learners

/// Bytes that an optimizer has taken after an update of so many chunks. 0: its moments alone, and
/// nothing to send gradients with.
static tr_status optimizer_bytes(size_t *bytes, const dry_run_t *run, size_t chunks,
                                 tr_error_t *err)
{
    // The difference is the optimizer's, since nothing else is made in between.
    const size_t before = run->backend->memory.now, size = run->group.size;
    const tr_layout_t *layout = tr_model_layout(run->model);
    const tr_ranks_t none = {0};
    tr_optimizer_t *optimizer = NULL;
    tr_gradient_t *gradient;
    tr_shards_t shards;
    tr_shards_init(&shards, layout->flat[TR_TRAINED].segments, layout->segment_count, size,
                   run->group.rank);
    tr_status status = tr_optimizer_new(&optimizer, run->backend, tr_model_queue(run->model),
                                        tr_model_trained(run->model), &layout->spared, &shards,
                                        run->work->options, chunks > 0 ? &run->ranks : &none, err);
    for (size_t i = 0; i < chunks && status == TR_OK; i += size) {
        status = tr_optimizer_round(optimizer, &gradient, least(size, chunks - i), err);
        tr_optimizer_round_end(optimizer);
    }
    *bytes = run->backend->memory.now - before;
    tr_optimizer_destroy(&optimizer);
    tr_shards_release(&shards);
    return status;
}

/// Losses are computed on the host, from memory that no column counts.
static tr_status no_loss(void *context, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    return TR_OK;
}

/// What is inferred, and two updates.
static tr_status train(const dry_run_t *run, tr_trainer_t *trainer, size_t chunks, tr_error_t *err)
{
    const memory_work_t *work = run->work;
    // Two epochs of one minibatch are two updates: the second runs in the memory that the first has
    // left.
    const tr_train_pass_t pass = {.epochs = 2,
                                  .minibatches = 1,
                                  .chunk = run->n,
                                  .scores = work->chunk.scores,
                                  .temperature = 1.0f,
                                  .neftune_noise_alpha = work->noise ? 1.0 : 0.0,
                                  .dropout = true};
    size_t length = least(work->chunk.length, run->config.max_positions);
    tr_train_pass_result_t result;
    if (work->batch.sequences > 0) {
        TR_TRY(infer(run, tr_trainer_pass(trainer), work->batch.sequences, err));
    }
    tr_sequences_t s = make_sequences(&work->chunk, length, chunks * run->n);
    tr_status status = tr_trainer_run_pass(trainer, &s, &pass, no_loss, NULL, &result, err);
    release(&s);
    return status;
}

/// Columns by optimizers alone, and then the whole. The trainer runs a chunk a rank, or two where
/// there are more: with further ones the tree grows, and nothing else.
static tr_status learn(memory_t *memory, dry_run_t *run, tr_error_t *err)
{
    const memory_work_t *work = run->work;
    const size_t chunks = work->ranks * (work->chunks > work->ranks ? 2 : 1);
    tr_memory_use_t *use = &run->backend->memory;
    tr_trainer_t *trainer;
    size_t some, all;
    // Three optimizers: moments alone, as much as the trainer below has, and as much as a real one
    // has.
    TR_TRY(optimizer_bytes(&memory->optimizer, run, 0, err));
    TR_TRY(optimizer_bytes(&some, run, chunks, err));
    TR_TRY(optimizer_bytes(&all, run, chunks > work->chunks ? chunks : work->chunks, err));
    memory->gradient = all - memory->optimizer;
    tr_model_recompute(run->model, work->options->gradient_checkpointing);
    TR_TRY(tr_trainer_new(&trainer, &run->model, work->options, &run->ranks, err));
    tr_status status = train(run, trainer, chunks, err);
    // Read while the trainer is there: moments that were taken off a GPU are freed with it.
    memory->host = use->host;
    // The gradients that the trainer would have with all chunks, and of which it has run some.
    tr_memory_take(use, all - some);
    run->counted += all;
    tr_trainer_destroy(&trainer);
    return status;
}

/// The order of a process: backend, model, then what its role does with them. The peak of all that
/// is the result.
tr_status memory_of(memory_t *memory, const tr_device_options_t *device,
                    const tr_model_config_t *config, const memory_work_t *work, tr_error_t *err)
{
    const bool learns = work->chunks > 0, shards = work->ranks > 1 && work->sharing.zero_stage == 3;
    const memory_batch_t *batch = learns ? &work->chunk : &work->batch;
    dry_run_t run = {.work = work, .config = *config, .ranks = work->sharing};
    const tr_model_options_t options = {
        .use = work->use, .collective = shards ? &run.group : NULL, .lora = work->lora};
    tr_status status;
    *memory = (memory_t){0};
    run.group = (tr_collective_t){&alone, work->ranks > 0 ? work->ranks - 1 : 0, work->ranks, NULL};
    run.ranks.collective = work->ranks > 1 ? &run.group : NULL;
    // A learner gets up to two chunks for each rank (learn), so each is laid out that much smaller.
    run.n = laid_out(batch->sequences, batch->length * (learns ? 2 * work->ranks : 1));
    TR_TRY_GOTO(tr_backend_open_dry(&run.backend, device, err), done);
    TR_TRY_GOTO(tr_model_new_with(&run.model, config, run.backend, &options, err), done);
    // All that is there before a pass runs is the model.
    run.counted = memory->weights = run.backend->memory.now;
    status = learns                   ? learn(memory, &run, err)
             : work->sampling != NULL ? generate(memory, &run, err)
                                      : read_batches(&run, err);
    // 1, unless the batch was too large to be laid out. Activations and cache grow with the
    // sequences.
    const double scale = (double)batch->sequences / (double)run.n;
    const tr_memory_use_t *use = &run.backend->memory;
    memory->cache = (size_t)((double)memory->cache * scale);
    memory->activations = (size_t)((double)(use->peak + use->scratch - run.counted) * scale);
done:
    tr_model_destroy(&run.model);
    tr_backend_close(&run.backend);
    return status;
}
