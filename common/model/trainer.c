#include "common/model/trainer.h"

#include <stdlib.h>

#include "common/base/rng.h"
#include "common/hub/directory.h"
#include "common/hub/safetensors.h"

enum { PIECE = 1 << 20 }; // elements restored at a time

struct tr_trainer {
    tr_model_t *model;
    tr_optimizer_t *optimizer;
    tr_response_pass_t *pass;
};

tr_status tr_trainer_new(tr_trainer_t **self, tr_model_t **model,
                         const tr_optimizer_options_t *options, tr_error_t *err)
{
    tr_trainer_t *trainer = tr_calloc(1, sizeof *trainer);
    trainer->model = *model;
    *model = NULL;
    tr_status status = tr_optimizer_new(&trainer->optimizer, tr_model_backend(trainer->model),
                                        tr_model_queue(trainer->model),
                                        tr_model_parameters(trainer->model), options, err);
    if (status != TR_OK) {
        tr_trainer_destroy(&trainer);
        return status;
    }
    trainer->pass = tr_response_pass_new(trainer->model);
    *self = trainer;
    return TR_OK;
}

void tr_trainer_destroy(tr_trainer_t **self)
{
    if (*self != NULL) {
        tr_response_pass_destroy(&(*self)->pass);
        tr_optimizer_destroy(&(*self)->optimizer);
        tr_model_destroy(&(*self)->model);
        free(*self);
        *self = NULL;
    }
}

tr_model_t *tr_trainer_model(const tr_trainer_t *trainer)
{
    return trainer->model;
}

tr_response_pass_t *tr_trainer_pass(const tr_trainer_t *trainer)
{
    return trainer->pass;
}

static size_t tokens_of(const tr_sequences_t *sequences, const uint32_t *chosen, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        n += (size_t)(sequences->response_starts[chosen[i] + 1] -
                      sequences->response_starts[chosen[i]]);
    }
    return n;
}

static size_t group_of(const tr_walk_t *walk)
{
    return walk->group > 1 ? walk->group : 1;
}

static tr_status forward(tr_trainer_t *trainer, const tr_chunk_t *chunk, const tr_walk_t *walk,
                         float *out, tr_token_facts_t *facts, tr_error_t *err)
{
    bool learn = !walk->evaluate;
    return walk->scores
               ? tr_response_scores(trainer->pass, chunk->sequences, chunk->chosen, chunk->count,
                                    learn, out, err)
               : tr_response_forward(trainer->pass, chunk->sequences, chunk->chosen, chunk->count,
                                     walk->temperature, learn, out, facts, err);
}

/// Forward, loss and backward of one chunk.
static tr_status learn_chunk(tr_trainer_t *trainer, tr_chunk_t *chunk, const tr_walk_t *walk,
                             tr_loss_fn loss, void *context, tr_error_t *err)
{
    tr_tensor_t gradient = {0};
    float *out = tr_calloc(3 * chunk->n + 1, sizeof *out);
    float *dout = out + chunk->n;
    tr_token_facts_t *facts = tr_calloc(chunk->n + 1, sizeof *facts);
    chunk->out = out;
    chunk->facts = facts;
    chunk->dmean = walk->smooths ? dout + chunk->n : NULL;
    tr_status status = TR_OK;
    if (!walk->evaluate) {
        TR_TRY_GOTO(tr_optimizer_chunk(trainer->optimizer, &gradient, err), done);
    }
    TR_TRY_GOTO(forward(trainer, chunk, walk, out, facts, err), done);
    TR_TRY_GOTO(loss(context, chunk, dout, err), done);
    if (!walk->evaluate) {
        tr_response_backward(trainer->pass, dout, chunk->dmean, gradient);
    }
done:
    free(facts);
    free(out);
    return status;
}

/// What the loss is given of so many sequences.
static size_t outputs_of(const tr_sequences_t *sequences, const uint32_t *chosen, size_t count,
                         const tr_walk_t *walk)
{
    return walk->scores ? count : tokens_of(sequences, chosen, count);
}

static tr_status update(tr_trainer_t *trainer, const tr_sequences_t *sequences,
                        const uint32_t *chosen, size_t count, const tr_walk_t *walk,
                        tr_loss_fn loss, void *context, tr_walk_result_t *result, tr_error_t *err)
{
    size_t normalizer = outputs_of(sequences, chosen, count, walk);
    size_t most = walk->chunk * group_of(walk);
    double norm = 0.0;
    if (normalizer == 0) {
        return tr_fail(err, TR_ERR_ARGUMENT, "a minibatch of %zu sequences has no response token",
                       count);
    }
    for (size_t i = 0; i < count; i += most) {
        tr_chunk_t chunk = {
            .sequences = sequences,
            .chosen = chosen + i,
            .count = count - i < most ? count - i : most,
            .normalizer = normalizer,
            .total = count,
            .first = result->updates == 0,
        };
        chunk.n = outputs_of(sequences, chunk.chosen, chunk.count, walk);
        tr_status status = learn_chunk(trainer, &chunk, walk, loss, context, err);
        if (status != TR_OK) {
            tr_optimizer_discard(trainer->optimizer);
            return status;
        }
    }
    if (walk->evaluate) {
        return TR_OK;
    }
    TR_TRY(tr_optimizer_step(trainer->optimizer, walk->learning_rate, &norm, err));
    tr_model_repack(trainer->model);
    result->updates++;
    result->norm_sum += norm;
    return TR_OK;
}

/// order: [count], written: the sequences in the order of an epoch, groups kept together.
static void visit(uint32_t *order, size_t count, const tr_walk_t *walk, size_t epoch)
{
    size_t group = group_of(walk), groups = count / group;
    for (size_t i = 0; i < groups; i++) {
        order[i] = (uint32_t)i;
    }
    if (!walk->evaluate) {
        tr_rng_permutation(order, groups, walk->seed, walk->step, (uint32_t)epoch);
    }
    for (size_t i = groups; i-- > 0;) { // from the end: order[i] is read before its place is taken
        uint32_t first = order[i] * (uint32_t)group;
        for (size_t k = 0; k < group; k++) {
            order[i * group + k] = first + (uint32_t)k;
        }
    }
}

tr_status tr_trainer_walk(tr_trainer_t *trainer, const tr_sequences_t *sequences,
                          const tr_walk_t *walk, tr_loss_fn loss, void *context,
                          tr_walk_result_t *result, tr_error_t *err)
{
    size_t group = group_of(walk);
    size_t share = sequences->count / group / walk->minibatches * group;
    const tr_noise_t noise = {walk->neftune_noise_alpha, walk->seed, walk->step};
    tr_status status = TR_OK;
    *result = (tr_walk_result_t){0};
    if (sequences->count % group != 0) {
        return tr_fail(err, TR_ERR_ARGUMENT, "%zu sequences are not groups of %zu",
                       sequences->count, group);
    }
    tr_response_noise(trainer->pass, &noise);
    uint32_t *order = tr_calloc(sequences->count, sizeof *order);
    for (size_t epoch = 0; epoch < walk->epochs && status == TR_OK; epoch++) {
        visit(order, sequences->count, walk, epoch);
        for (size_t m = 0; m < walk->minibatches && status == TR_OK; m++) {
            size_t end = m + 1 == walk->minibatches ? sequences->count : (m + 1) * share;
            status = update(trainer, sequences, order + m * share, end - m * share, walk, loss,
                            context, result, err);
        }
    }
    free(order);
    return status;
}

/// What is written to a file from a device, a piece at a time.
typedef struct stored {
    const tr_model_t *model; // whose device it is
    tr_tensor_t values;
} stored_t;

static tr_tensor_t piece_of(tr_tensor_t values, size_t first, size_t count)
{
    return tr_flat_matrix(values, first, 1, count);
}

static tr_status read_piece(const void *context, void *out, size_t first, size_t count,
                            tr_error_t *err)
{
    const stored_t *stored = context;
    const tr_ops_t *ops = tr_model_backend(stored->model)->ops;
    tr_queue_t *queue = tr_model_queue(stored->model);
    ops->read(queue, out, piece_of(stored->values, first, count));
    return ops->queue_wait(queue, err);
}

/// What the file of a model's weights is made of, [layout.count] each.
typedef struct listing {
    stored_t *stored;
    tr_safetensors_source_t *sources;
    tr_safetensors_entry_t *entries;
} listing_t;

static void list_parameters(listing_t *listing, const tr_model_t *model)
{
    const tr_layout_t *layout = tr_model_layout(model);
    listing->stored = tr_calloc(layout->count, sizeof *listing->stored);
    listing->sources = tr_calloc(layout->count, sizeof *listing->sources);
    listing->entries = tr_calloc(layout->count, sizeof *listing->entries);
    for (size_t i = 0; i < layout->count; i++) {
        const tr_parameter_t *parameter = &layout->parameters[i];
        size_t count = parameter->rows * parameter->columns;
        listing->stored[i] =
            (stored_t){model, piece_of(tr_model_parameters(model), parameter->offset, count)};
        listing->sources[i] = (tr_safetensors_source_t){read_piece, &listing->stored[i]};
        listing->entries[i] = (tr_safetensors_entry_t){
            .name = parameter->name,
            .dtype = TR_F32,
            .rank = parameter->vector ? 1 : 2,
            .shape = {parameter->vector ? parameter->columns : parameter->rows, parameter->columns},
            .source = &listing->sources[i],
        };
    }
}

static tr_status write_model(const tr_model_t *model, const char *staging, const char *source,
                             tr_error_t *err)
{
    listing_t listing;
    list_parameters(&listing, model);
    tr_status status = tr_hub_write(staging, tr_model_config(model), listing.entries,
                                    tr_model_layout(model)->count, source, err);
    free(listing.entries);
    free(listing.sources);
    free(listing.stored);
    return status;
}

static tr_status write_optimizer(const tr_trainer_t *trainer, const char *staging, tr_error_t *err)
{
    size_t n = tr_model_layout(trainer->model)->total;
    int64_t steps = (int64_t)tr_optimizer_steps(trainer->optimizer);
    const stored_t m = {trainer->model, tr_optimizer_first_moment(trainer->optimizer)};
    const stored_t v = {trainer->model, tr_optimizer_second_moment(trainer->optimizer)};
    const tr_safetensors_source_t first = {read_piece, &m}, second = {read_piece, &v};
    const tr_safetensors_entry_t entries[] = {{"exp_avg", TR_F32, 1, {n}, NULL, &first},
                                              {"exp_avg_sq", TR_F32, 1, {n}, NULL, &second},
                                              {"step", TR_I64, 1, {1}, &steps, NULL}};
    char *path = tr_format("%s/optimizer.safetensors", staging);
    tr_status status = tr_safetensors_write(path, entries, 3, NULL, 0, err);
    free(path);
    return status;
}

tr_status tr_trainer_save(const tr_trainer_t *trainer, const char *directory, const char *source,
                          bool optimizer, tr_error_t *err)
{
    char *staging = NULL;
    TR_TRY(tr_hub_stage(&staging, directory, err));
    tr_status status = write_model(trainer->model, staging, source, err);
    if (status == TR_OK && optimizer) {
        status = write_optimizer(trainer, staging, err);
    }
    if (status != TR_OK) {
        tr_hub_discard(&staging);
        return status;
    }
    return tr_hub_commit(&staging, directory, err);
}

tr_status tr_trainer_save_model(const tr_model_t *model, const char *directory, const char *source,
                                tr_error_t *err)
{
    char *staging = NULL;
    TR_TRY(tr_hub_stage(&staging, directory, err));
    tr_status status = write_model(model, staging, source, err);
    if (status != TR_OK) {
        tr_hub_discard(&staging);
        return status;
    }
    return tr_hub_commit(&staging, directory, err);
}

/// A moment from the file, a piece at a time.
static void restore_moment(tr_trainer_t *trainer, tr_tensor_t moment,
                           const tr_safetensors_info_t *info)
{
    const tr_ops_t *ops = tr_model_backend(trainer->model)->ops;
    const char *values = info->data; // maybe not aligned
    for (size_t first = 0; first < info->count; first += PIECE) {
        size_t count = info->count - first < PIECE ? info->count - first : PIECE;
        ops->write(tr_model_queue(trainer->model), piece_of(moment, first, count),
                   values + first * sizeof(float));
        tr_safetensors_forget(info, first, count);
    }
}

static tr_status read_optimizer(tr_trainer_t *trainer, const tr_safetensors_t *file,
                                tr_error_t *err)
{
    size_t n = tr_model_layout(trainer->model)->total;
    int64_t steps;
    const tr_safetensors_info_t *m, *v;
    TR_TRY(tr_safetensors_copy(file, "step", TR_I64, &steps, 1, err));
    TR_TRY(tr_safetensors_expect(&m, file, "exp_avg", TR_F32, n, err));
    TR_TRY(tr_safetensors_expect(&v, file, "exp_avg_sq", TR_F32, n, err));
    if (steps < 0) {
        return tr_fail(err, TR_ERR_FORMAT, "'%s': tensor 'step' is negative",
                       tr_safetensors_path(file));
    }
    restore_moment(trainer, tr_optimizer_first_moment(trainer->optimizer), m);
    restore_moment(trainer, tr_optimizer_second_moment(trainer->optimizer), v);
    tr_optimizer_resume(trainer->optimizer, (uint64_t)steps);
    return TR_OK;
}

tr_status tr_trainer_restore(tr_trainer_t *trainer, const char *directory, tr_error_t *err)
{
    tr_safetensors_t *file = NULL;
    char *path = tr_format("%s/optimizer.safetensors", directory);
    tr_status status = tr_safetensors_open(&file, path, err);
    if (status == TR_OK) {
        status = read_optimizer(trainer, file, err);
        tr_safetensors_close(&file);
    }
    free(path);
    return status;
}
