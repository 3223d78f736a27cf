// A model on the disk: saving, restoring, and what rank 0 does alone while the others stand by.
#include <stdlib.h>

#include "common/base/real.h"
#include "common/hf/directory.h"
#include "common/hf/safetensors.h"
#include "common/model/trainer_private.h"

enum { PIECE = 1 << 20 }; // elements read or restored at a time

static tr_status read_device(const tr_model_t *model, void *out, tr_tensor_t values, size_t first,
                             size_t count, tr_error_t *err)
{
    return tr_model_read_floats(model, out, tr_flat_matrix(values, first, 1, count), err);
}

// What the ranks hold together

/// Vectors of layout.total elements whose shards the ranks hold; or no more of them.
typedef enum shared { PARAMETERS, FIRST_MOMENT, SECOND_MOMENT, NOTHING } shared_t;

/// What rank 0 tells the others: the piece that it needs; or that it is done, and how that went.
typedef struct errand {
    shared_t what;
    tr_status status;
    size_t first, count;
} errand_t;

static tr_tensor_t shard_of(const tr_trainer_t *trainer, shared_t what)
{
    if (what == PARAMETERS) {
        return tr_model_parameters(trainer->model);
    }
    return what == FIRST_MOMENT ? tr_optimizer_first_moment(trainer->optimizer)
                                : tr_optimizer_second_moment(trainer->optimizer);
}

/// As tr_shards_find, but at most `most` elements.
static size_t run_of(size_t *rank, size_t *local, const tr_shards_t *shards, size_t at, size_t most)
{
    size_t count = tr_shards_find(rank, local, shards, at);
    return count < most ? count : most;
}

static void tell(const tr_trainer_t *trainer, errand_t errand)
{
    tr_collective_t *collective = trainer->ranks.collective;
    if (trainer->shards.ranks > 1) {
        collective->ops->broadcast(collective, &errand, sizeof errand);
    }
}

/// On rank 0: elements first.. of a vector that the ranks hold, to out: [count].
static tr_status read_shared(const tr_trainer_t *trainer, shared_t what, float *out, size_t first,
                             size_t count, tr_error_t *err)
{
    tr_collective_t *collective = trainer->ranks.collective;
    tr_status status = TR_OK;
    tell(trainer, (errand_t){what, TR_OK, first, count});
    while (count > 0) {
        size_t rank, local, n = run_of(&rank, &local, &trainer->shards, first, count);
        if (rank > 0) {
            collective->ops->receive(collective, out, n * sizeof *out, rank);
        } else if (status == TR_OK) {
            status = read_device(trainer->model, out, shard_of(trainer, what), local, n, err);
        }
        out += n;
        first += n;
        count -= n;
    }
    return status;
}

/// On the other ranks: what rank 0 asked for of this rank's shard. What cannot be read is sent as zeros; this rank's handler then
/// fails where rank 0's does not, which ends the group before anybody is told that something was saved.
static tr_status give(const tr_trainer_t *trainer, const errand_t *errand, tr_error_t *err)
{
    tr_collective_t *collective = trainer->ranks.collective;
    size_t first = errand->first, end = errand->first + errand->count;
    tr_status status = TR_OK;
    while (first < end) {
        size_t rank, local, n = run_of(&rank, &local, &trainer->shards, first, end - first);
        if (rank == trainer->shards.rank) {
            float *values = tr_calloc(n, sizeof *values);
            status =
                read_device(trainer->model, values, shard_of(trainer, errand->what), local, n, err);
            collective->ops->send(collective, values, n * sizeof *values, 0);
            free(values);
        }
        first += n;
    }
    return status;
}

tr_status tr_trainer_attend(const tr_trainer_t *trainer, tr_error_t *err)
{
    tr_collective_t *collective = trainer->ranks.collective;
    tr_status status = TR_OK;
    errand_t errand;
    for (;;) {
        collective->ops->broadcast(collective, &errand, sizeof errand);
        if (errand.what == NOTHING) {
            break;
        }
        tr_status given = give(trainer, &errand, err);
        status = given != TR_OK ? given : status;
    }
    if (status == TR_OK && errand.status != TR_OK) {
        return tr_fail(err, errand.status, "what rank 0 did alone failed");
    }
    return status;
}

tr_status tr_trainer_dismiss(const tr_trainer_t *trainer, tr_status status)
{
    tell(trainer, (errand_t){NOTHING, status, 0, 0});
    return status;
}

// Saving

/// What is written to a file from a device, a piece at a time.
typedef struct stored {
    const tr_model_t *model; // whose device it is
    tr_tensor_t values;
    // Where the ranks hold it together:
    const tr_trainer_t *trainer;
    shared_t what;
    size_t offset; // of the vector
} stored_t;

static tr_status read_piece(const void *context, void *out, size_t first, size_t count,
                            tr_error_t *err)
{
    const stored_t *stored = context;
    return read_device(stored->model, out, stored->values, first, count, err);
}

static tr_status read_shared_piece(const void *context, void *out, size_t first, size_t count,
                                   tr_error_t *err)
{
    const stored_t *stored = context;
    return read_shared(stored->trainer, stored->what, out, stored->offset + first, count, err);
}

/// What the file of a model's weights is made of, [layout.count] each.
typedef struct listing {
    stored_t *stored;
    tr_safetensors_source_t *sources;
    tr_safetensors_entry_t *entries;
} listing_t;

/// trainer: of a model that its ranks hold together, else NULL.
static void list_parameters(listing_t *listing, const tr_model_t *model,
                            const tr_trainer_t *trainer)
{
    const tr_layout_t *layout = tr_model_layout(model);
    listing->stored = tr_calloc(layout->count, sizeof *listing->stored);
    listing->sources = tr_calloc(layout->count, sizeof *listing->sources);
    listing->entries = tr_calloc(layout->count, sizeof *listing->entries);
    for (size_t i = 0; i < layout->count; i++) {
        const tr_parameter_t *parameter = &layout->parameters[i];
        size_t count = parameter->rows * parameter->columns;
        listing->stored[i] = (stored_t){
            .model = model,
            .values = tr_flat_matrix(tr_model_parameters(model), parameter->offset, 1, count)};
        if (trainer != NULL) {
            listing->stored[i] =
                (stored_t){.trainer = trainer, .what = PARAMETERS, .offset = parameter->offset};
        }
        listing->sources[i] = (tr_safetensors_source_t){
            trainer != NULL ? read_shared_piece : read_piece, &listing->stored[i]};
        listing->entries[i] = (tr_safetensors_entry_t){
            .name = parameter->name,
            .dtype = TR_F32,
            .rank = parameter->vector ? 1 : 2,
            .shape = {parameter->vector ? parameter->columns : parameter->rows, parameter->columns},
            .source = &listing->sources[i],
        };
    }
}

static tr_status write_model(const tr_model_t *model, const tr_trainer_t *trainer,
                             const char *staging, const char *source, tr_error_t *err)
{
    listing_t listing;
    list_parameters(&listing, model, trainer);
    tr_status status = tr_hf_write(staging, tr_model_config(model), listing.entries,
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
    const stored_t m = {.trainer = trainer, .what = FIRST_MOMENT};
    const stored_t v = {.trainer = trainer, .what = SECOND_MOMENT};
    const tr_safetensors_source_t first = {read_shared_piece, &m}, second = {read_shared_piece, &v};
    const tr_safetensors_entry_t entries[] = {{"exp_avg", TR_F32, 1, {n}, NULL, &first},
                                              {"exp_avg_sq", TR_F32, 1, {n}, NULL, &second},
                                              {"step", TR_I64, 1, {1}, &steps, NULL}};
    char *path = tr_format("%s/optimizer.safetensors", staging);
    tr_status status = tr_safetensors_write(path, entries, 3, NULL, 0, err);
    free(path);
    return status;
}

/// The trainer, where its ranks hold the parameters together.
static const tr_trainer_t *sharing(const tr_trainer_t *trainer)
{
    return tr_model_is_sharded(trainer->model) ? trainer : NULL;
}

tr_status tr_trainer_read(const tr_trainer_t *trainer, float *values, tr_error_t *err)
{
    size_t n = tr_model_layout(trainer->model)->total;
    return sharing(trainer) != NULL ? read_shared(trainer, PARAMETERS, values, 0, n, err)
                                    : tr_model_read_parameters(trainer->model, values, err);
}

tr_status tr_trainer_read_everywhere(const tr_trainer_t *trainer, float *values, tr_error_t *err)
{
    tr_collective_t *collective = trainer->ranks.collective;
    if (sharing(trainer) == NULL) {
        return tr_model_read_parameters(trainer->model, values, err);
    }
    tr_status status = collective->rank == 0
                           ? tr_trainer_dismiss(trainer, tr_trainer_read(trainer, values, err))
                           : tr_trainer_attend(trainer, err);
    size_t bytes = tr_model_layout(trainer->model)->total * sizeof *values;
    collective->ops->broadcast(collective, values, bytes);
    return status;
}

tr_status tr_trainer_read_weights(const tr_trainer_t *trainer, void *weights, tr_error_t *err)
{
    const tr_model_t *model = trainer->model;
    const size_t n = tr_model_layout(model)->total;
    if (sharing(trainer) == NULL) {
        return tr_model_read_weights(model, weights, err);
    }
    if (tr_model_backend(model)->real == TR_F32) {
        return read_shared(trainer, PARAMETERS, weights, 0, n, err);
    }
    uint16_t *rounded = weights;
    float *piece = tr_calloc(PIECE, sizeof *piece);
    tr_status status = TR_OK;
    for (size_t first = 0; first < n && status == TR_OK; first += PIECE) {
        size_t count = n - first < PIECE ? n - first : PIECE;
        status = read_shared(trainer, PARAMETERS, piece, first, count, err);
        for (size_t i = 0; i < count && status == TR_OK; i++) {
            rounded[first + i] = tr_real_to_bf16(piece[i]);
        }
    }
    free(piece);
    return status;
}

/// What rank 0 does.
static tr_status save(const tr_trainer_t *trainer, const char *directory, const char *source,
                      bool optimizer, tr_error_t *err)
{
    char *staging = NULL;
    TR_TRY(tr_hf_stage(&staging, directory, err));
    tr_status status = write_model(trainer->model, sharing(trainer), staging, source, err);
    if (status == TR_OK && optimizer) {
        status = write_optimizer(trainer, staging, err);
    }
    if (status != TR_OK) {
        tr_hf_discard(&staging);
        return status;
    }
    return tr_hf_commit(&staging, directory, err);
}

tr_status tr_trainer_save(const tr_trainer_t *trainer, const char *directory, const char *source,
                          bool optimizer, tr_error_t *err)
{
    if (trainer->shards.rank > 0) {
        return tr_trainer_attend(trainer, err);
    }
    return tr_trainer_dismiss(trainer, save(trainer, directory, source, optimizer, err));
}

tr_status tr_trainer_save_model(const tr_model_t *model, const char *directory, const char *source,
                                tr_error_t *err)
{
    char *staging = NULL;
    TR_TRY(tr_hf_stage(&staging, directory, err));
    tr_status status = write_model(model, NULL, staging, source, err);
    if (status != TR_OK) {
        tr_hf_discard(&staging);
        return status;
    }
    return tr_hf_commit(&staging, directory, err);
}

/// This rank's parts of a moment from the file, a piece at a time.
static void restore_moment(tr_trainer_t *trainer, tr_tensor_t moment,
                           const tr_safetensors_info_t *info)
{
    const tr_ops_t *ops = tr_model_backend(trainer->model)->ops;
    const char *values = info->data; // maybe not aligned
    for (size_t first = 0; first < info->count;) {
        size_t rank, local, count = run_of(&rank, &local, &trainer->shards, first, PIECE);
        if (rank == trainer->shards.rank) {
            ops->write(tr_model_queue(trainer->model), tr_flat_matrix(moment, local, 1, count),
                       values + first * sizeof(float));
        }
        tr_safetensors_forget(info, first, count);
        first += count;
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
