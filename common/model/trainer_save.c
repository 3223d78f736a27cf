/// A trainer on the disk: saving, restoring, and reading its parameters, which its ranks may hold
/// together. Rank 0 alone touches files; while it does, the others answer its requests for what
/// they hold (tr_trainer_attend).
#include <math.h>
#include <stdlib.h>

#include "common/base/real.h"
#include "common/hf/directory.h"
#include "common/hf/safetensors.h"
#include "common/model/families/family.h"
#include "common/model/trainer_private.h"

enum {
    BLOCK = 1 << 20, // elements read or restored at a time
    SAVED_NAME = 112
};

const char *const tr_save_dtype_names[] = {"null", "float32", "bfloat16", "float16", NULL};

// What the ranks hold together

/// The vectors of which ranks hold a shard each. Moments are sharded wherever there are ranks,
/// parameters with zero_stage 3.
typedef enum vector {
    FROZEN = TR_FROZEN,
    TRAINED = TR_TRAINED,
    FIRST_MOMENT,
    SECOND_MOMENT,
    NO_VECTOR
} vector_t;

/// From rank 0 to the others: elements that it needs of a vector; or with NO_VECTOR that it is
/// done, and how that went.
typedef struct request {
    vector_t vector;
    tr_status status;
    size_t first, count;
} request_t;

static vector_t vector_of(const tr_parameter_t *parameter)
{
    return parameter->weight->trained ? TRAINED : FROZEN;
}

/// This rank's shard.
static tr_tensor_t shard_of(const tr_trainer_t *trainer, vector_t vector)
{
    switch (vector) {
    case FIRST_MOMENT: return tr_optimizer_first_moment(trainer->optimizer);
    case SECOND_MOMENT: return tr_optimizer_second_moment(trainer->optimizer);
    default: return trainer->model->parameters.flat[vector].values;
    }
}

/// Moments are cut as the trained parameters that they belong to.
static const tr_shards_t *shards_of(const tr_trainer_t *trainer, vector_t vector)
{
    // Frozen parameters are cut by segments of their own vector.
    return vector == FROZEN ? &trainer->model->parameters.flat[TR_FROZEN].sharding->shards
                            : &trainer->shards;
}

/// As tr_shards_find, but at most `most` elements.
static size_t run_of(size_t *rank, size_t *local, const tr_shards_t *shards, size_t at, size_t most)
{
    size_t count = tr_shards_find(rank, local, shards, at);
    return count < most ? count : most;
}

/// A request goes to all ranks at once; who holds nothing of it answers nothing.
static void tell(const tr_trainer_t *trainer, request_t request)
{
    tr_collective_t *collective = trainer->ranks.collective;
    // One process has nobody to tell; reading then finds everything in its own shard.
    if (trainer->shards.ranks > 1) {
        collective->ops->broadcast(collective, &request, sizeof request);
    }
}

/// Elements of this rank's shard to host memory.
static tr_status read_shard(const tr_trainer_t *trainer, vector_t vector, float *out, size_t local,
                            size_t count, tr_error_t *err)
{
    return parameters_read_floats(&trainer->model->parameters, out,
                                  tr_tensor_slice(shard_of(trainer, vector), local, 1, count), err);
}

/// On rank 0: elements first.. of a vector that the ranks hold, to out: [count].
static tr_status read_shared(const tr_trainer_t *trainer, vector_t vector, float *out, size_t first,
                             size_t count, tr_error_t *err)
{
    tr_collective_t *collective = trainer->ranks.collective;
    const tr_shards_t *shards = shards_of(trainer, vector);
    tr_status status = TR_OK;
    // All ranks walk the same runs, so who sends next needs no further message.
    tell(trainer, (request_t){vector, TR_OK, first, count});
    while (count > 0) {
        size_t rank, local, n = run_of(&rank, &local, shards, first, count);
        if (rank > 0) { // received after a failure too, for it is sent
            collective->ops->receive(collective, out, n * sizeof *out, rank);
        } else if (status == TR_OK) {
            status = read_shard(trainer, vector, out, local, n, err);
        }
        out += n;
        first += n;
        count -= n;
    }
    return status;
}

/// On the other ranks: answers a request from this rank's shard. Elements that cannot be read are
/// sent as zeros; this rank's handler then fails where rank 0's does not, which ends the group
/// before anybody is told that something was saved.
static tr_status answer(const tr_trainer_t *trainer, const request_t *request, tr_error_t *err)
{
    tr_collective_t *collective = trainer->ranks.collective;
    const tr_shards_t *shards = shards_of(trainer, request->vector);
    size_t first = request->first, end = request->first + request->count;
    tr_status status = TR_OK;
    while (first < end) {
        size_t rank, local, n = run_of(&rank, &local, shards, first, end - first);
        if (rank == shards->rank) {
            float *values = tr_calloc(n, sizeof *values);
            tr_status had = read_shard(trainer, request->vector, values, local, n, err);
            status = had != TR_OK ? had : status;
            // In the order in which rank 0 receives.
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
    request_t request;
    for (;;) {
        collective->ops->broadcast(collective, &request, sizeof request);
        if (request.vector == NO_VECTOR) {
            break;
        }
        // On after a failure: rank 0 is still receiving, and would wait forever.
        tr_status answered = answer(trainer, &request, err);
        status = answered != TR_OK ? answered : status;
    }
    // All ranks end with a failure, so that no daemon reports a checkpoint that is not there.
    if (status == TR_OK && request.status != TR_OK) {
        return tr_fail(err, request.status, "what rank 0 did alone failed");
    }
    return status;
}

/// Ends what tr_trainer_attend began on the other ranks.
tr_status tr_trainer_dismiss(const tr_trainer_t *trainer, tr_status status)
{
    tell(trainer, (request_t){NO_VECTOR, status, 0, 0});
    return status;
}

/// The trainer, where its ranks hold the parameters together.
static const tr_trainer_t *sharing(const tr_trainer_t *trainer)
{
    return parameters_are_sharded(&trainer->model->parameters) ? trainer : NULL;
}

// All parameters, or weights, at once

/// On rank 0 while the others attend.
static tr_status read_parameters(const tr_trainer_t *trainer, float *values, tr_error_t *err)
{
    const tr_layout_t *layout = &trainer->model->layout;
    for (size_t i = 0; i < layout->count; i++) {
        const tr_parameter_t *parameter = &layout->parameters[i];
        TR_TRY(read_shared(trainer, vector_of(parameter), values + parameter->offset,
                           parameter->place, parameter->rows * parameter->columns, err));
    }
    return TR_OK;
}

tr_status tr_trainer_read_everywhere(const tr_trainer_t *trainer, float *values, tr_error_t *err)
{
    tr_collective_t *collective = trainer->ranks.collective;
    if (sharing(trainer) == NULL) {
        return tr_model_read_parameters(trainer->model, values, err);
    }
    // Rank 0 collects, parameter after parameter; the others answer. Then one broadcast gives all
    // to all.
    tr_status status = collective->rank == 0
                           ? tr_trainer_dismiss(trainer, read_parameters(trainer, values, err))
                           : tr_trainer_attend(trainer, err);
    size_t bytes = trainer->model->layout.total * sizeof *values;
    // After a failure too: the others are waiting for it.
    collective->ops->broadcast(collective, values, bytes);
    return status;
}

/// Of a sharded model the vector comes from the ranks; otherwise it is read where passes read it.
tr_status tr_trainer_read_weights(const tr_trainer_t *trainer, void *weights, tr_error_t *err)
{
    const tr_model_t *model = trainer->model;
    const size_t n = model->layout.flat[TR_TRAINED].total;
    if (sharing(trainer) == NULL) {
        return tr_model_read_weights(model, weights, err);
    }
    if (model->backend->weights == TR_F32) {
        return read_shared(trainer, TRAINED, weights, 0, n, err);
    }
    uint16_t *rounded = weights; // as every rank rounds what it gives to a pass
    float *block = tr_calloc(BLOCK, sizeof *block);
    tr_status status = TR_OK;
    for (size_t first = 0; first < n && status == TR_OK; first += BLOCK) {
        size_t count = n - first < BLOCK ? n - first : BLOCK;
        status = read_shared(trainer, TRAINED, block, first, count, err);
        for (size_t i = 0; i < count && status == TR_OK; i++) {
            rounded[first + i] = tr_real_to_bf16(block[i]);
        }
    }
    free(block);
    return status;
}

// Saving

/// A whole parameter in the file's order of elements, kept while its blocks are asked for.
typedef struct arranged {
    const tr_parameter_t *parameter; // NULL: none yet
    float *values;
} arranged_t;

/// A tensor of a file, read from a device block by block.
typedef struct stored {
    const tr_model_t *model;     // that holds its parameters alone,
    const tr_trainer_t *trainer; // or whose ranks hold the vector together
    vector_t vector;
    size_t first;     // element of the vector
    tr_dtype_t dtype; // of the file
    // Of a parameter whose elements stand otherwise in the file; else NULL.
    const tr_parameter_t *parameter;
    arranged_t *arranged;
    tr_safetensors_source_t source;
} stored_t;

static tr_status read_vector(const stored_t *stored, float *out, size_t first, size_t count,
                             tr_error_t *err)
{
    // Elements are counted from the tensor's first; the vector holds all tensors.
    first += stored->first;
    return stored->trainer != NULL
               ? read_shared(stored->trainer, stored->vector, out, first, count, err)
               : parameters_read(&stored->model->parameters, stored->vector, out, first, count,
                                 err);
}

static tr_status arrange(arranged_t *arranged, const stored_t *stored, tr_error_t *err)
{
    const tr_parameter_t *parameter = stored->parameter;
    const size_t count = parameter->rows * parameter->columns;
    float *values = tr_calloc(count, sizeof *values), *moved = tr_calloc(count, sizeof *moved);
    tr_status status = read_vector(stored, values, 0, count, err);
    for (size_t i = 0; i < count; i++) {
        moved[tr_parameter_stored(parameter, i)] = values[i];
    }
    free(values);
    free(arranged->values);
    *arranged = (arranged_t){parameter, moved};
    return status;
}

static tr_status read_floats(const stored_t *stored, float *out, size_t first, size_t count,
                             tr_error_t *err)
{
    if (stored->parameter == NULL) {
        return read_vector(stored, out, first, count, err);
    }
    // Tensors are written one after another, so one is kept at a time.
    if (stored->arranged->parameter != stored->parameter) {
        TR_TRY(arrange(stored->arranged, stored, err));
    }
    memcpy(out, stored->arranged->values + first, count * sizeof *out);
    return TR_OK;
}

/// Rounds to the file's dtype, of 16 bits.
static tr_status narrow(uint16_t *out, const float *values, size_t count, tr_dtype_t dtype,
                        tr_error_t *err)
{
    for (size_t i = 0; i < count; i++) {
        out[i] = dtype == TR_BF16 ? tr_real_to_bf16(values[i]) : tr_real_to_f16(values[i]);
        if (dtype == TR_F16 && isfinite(values[i]) && !isfinite(tr_real_from_f16(out[i]))) {
            return tr_fail(err, TR_ERR_NUMERIC,
                           "a weight of %g is beyond float16: save_dtype takes bfloat16 or float32",
                           (double)values[i]);
        }
    }
    return TR_OK;
}

static tr_status read_stored(const void *context, void *out, size_t first, size_t count,
                             tr_error_t *err)
{
    const stored_t *stored = context;
    if (stored->dtype == TR_F32) {
        return read_floats(stored, out, first, count, err);
    }
    float *values = tr_calloc(count, sizeof *values);
    tr_status status = read_floats(stored, values, first, count, err);
    if (status == TR_OK) {
        status = narrow(out, values, count, stored->dtype, err);
    }
    free(values);
    return status;
}

/// A parameter as a tensor of the file, under Hugging Face's name and in its shape.
static tr_safetensors_entry_t entry_of(const tr_parameter_t *parameter, const stored_t *stored)
{
    tr_safetensors_entry_t entry = {.name = parameter->name,
                                    .dtype = stored->dtype,
                                    .rank = parameter->rank,
                                    .source = &stored->source};
    tr_parameter_shape(parameter, entry.shape);
    return entry;
}

/// Routers' biases as tensors of the file, in F32 whatever the weights are in, from entries on;
/// names: room for one of each. Returns how many there are.
static size_t router_entries(tr_safetensors_entry_t *entries, char (*names)[SAVED_NAME],
                             const tr_model_t *model)
{
    const tr_model_config_t *config = &model->config;
    size_t count = 0;
    for (size_t i = 0; model->router_biases != NULL && i < config->layers; i++) {
        if (!tr_layer_set_has(&config->dense, i)) {
            family_router_bias(names[count], family_at(config->family), i);
            entries[count] = (tr_safetensors_entry_t){names[count],
                                                      TR_F32,
                                                      1,
                                                      {config->experts},
                                                      model->router_biases + i * config->experts,
                                                      NULL};
            count++;
        }
    }
    return count;
}

/// Whether a directory of the model has the parameter: of an adapter what is trained.
static bool is_saved(const tr_model_t *model, const tr_parameter_t *parameter)
{
    return tr_model_lora(model) == NULL || parameter->weight->trained;
}

/// The text of adapter_config.json; the caller's.
static char *adapter_text(const tr_model_t *model, const char *source)
{
    const tr_layout_t *layout = &model->layout;
    char(*names)[80] = tr_calloc(layout->adapter_count, sizeof *names);
    const char **modules = tr_calloc(layout->adapter_count, sizeof *modules);
    tr_lora_facts_t facts = {.base = source,
                             .scalar = model->config.scalar_head,
                             .modules = modules,
                             .count = layout->adapter_count};
    for (size_t i = 0; i < facts.count; i++) {
        const tr_parameter_t *parameter = layout->adapters[i].parameter;
        const size_t length = strlen(parameter->name) - strlen(".weight");
        snprintf(names[i], sizeof names[i], "%.*s", (int)length, parameter->name);
        modules[i] = names[i];
        facts.transposed = facts.transposed || parameter->form == TR_FORM_TRANSPOSED;
    }
    char *text = tr_lora_json(&model->lora, &facts);
    free(modules);
    free(names);
    return text;
}

/// The directory's files of text. After a failure there is nothing to free.
static tr_status texts_of(char **config, char **generation, const tr_model_t *model,
                          const tr_save_options_t *options, tr_error_t *err)
{
    *generation = NULL;
    if (tr_model_lora(model) != NULL) {
        *config = adapter_text(model, options->source);
        return TR_OK;
    }
    TR_TRY(tr_model_config_json(config, &model->config, options->dtype, options->source, err));
    tr_status status =
        options->source == NULL
            ? TR_OK
            : tr_model_generation_json(generation, &model->config, options->source, err);
    if (status != TR_OK) {
        free(*config);
    }
    return status;
}

/// On rank 0. trainer: of a model that its ranks hold together, else NULL. optimizer: whose state
/// goes with the model, or NULL.
static tr_status save(const tr_model_t *model, const tr_trainer_t *trainer,
                      const tr_trainer_t *optimizer, const char *directory,
                      const tr_save_options_t *options, tr_error_t *err)
{
    const tr_layout_t *layout = &model->layout;
    const size_t n = layout->flat[TR_TRAINED].total;
    const bool adapter = tr_model_lora(model) != NULL;
    size_t count = 0;
    char *generation, *config;
    TR_TRY(texts_of(&config, &generation, model, options, err));
    stored_t *stored = tr_calloc(layout->count, sizeof *stored);
    arranged_t arranged = {0};
    const size_t room = layout->count + model->config.layers;
    tr_safetensors_entry_t *entries = tr_calloc(room, sizeof *entries);
    char(*names)[SAVED_NAME] = tr_calloc(room, sizeof *names);
    for (size_t i = 0; i < layout->count; i++) {
        const tr_parameter_t *parameter = &layout->parameters[i];
        if (!is_saved(model, parameter)) {
            continue;
        }
        // Sources are asked for blocks while the file is written, so these records live until then.
        stored[i] = (stored_t){.model = model,
                               .trainer = trainer,
                               .vector = vector_of(parameter),
                               .first = parameter->place,
                               .dtype = options->dtype,
                               .parameter = parameter->form != TR_FORM_PLAIN ? parameter : NULL,
                               .arranged = &arranged,
                               .source = {read_stored, &stored[i]}};
        entries[count] = entry_of(parameter, &stored[i]);
        if (adapter) {
            snprintf(names[count], sizeof *names, TR_ADAPTER_PREFIX "%s", parameter->name);
            entries[count].name = names[count];
        }
        count++;
    }
    // AdamW's bias correction counts from here when the run is resumed.
    int64_t steps = optimizer != NULL ? (int64_t)tr_optimizer_steps(optimizer->optimizer) : 0;
    const stored_t m = {
        .trainer = optimizer, .vector = FIRST_MOMENT, .dtype = TR_F32, .source = {read_stored, &m}};
    const stored_t v = {.trainer = optimizer,
                        .vector = SECOND_MOMENT,
                        .dtype = TR_F32,
                        .source = {read_stored, &v}};
    const tr_safetensors_entry_t state[] = {{"exp_avg", TR_F32, 1, {n}, NULL, &m.source},
                                            {"exp_avg_sq", TR_F32, 1, {n}, NULL, &v.source},
                                            {"step", TR_I64, 1, {1}, &steps, NULL}};
    if (!adapter) {
        count += router_entries(entries + count, names + count, model);
    }
    const tr_hf_model_t files = {.config = config,
                                 .adapter = adapter,
                                 .entries = entries,
                                 .count = count,
                                 .state = state,
                                 .state_count = optimizer != NULL ? 3 : 0,
                                 .source = options->source,
                                 .chat_template = options->chat_template,
                                 .generation = generation};
    tr_status status = tr_hf_save(directory, &files, err);
    free(entries);
    free(names);
    free(stored);
    free(arranged.values);
    free(config);
    free(generation);
    return status;
}

/// The other ranks attend until rank 0 has written everything, or has failed: either way all return
/// the same.
tr_status tr_trainer_save(const tr_trainer_t *trainer, const char *directory,
                          const tr_save_options_t *options, tr_error_t *err)
{
    // Files are written once, by rank 0. Which tensors it needs, and when, it asks.
    if (trainer->shards.rank > 0) {
        return tr_trainer_attend(trainer, err);
    }
    tr_status status = save(trainer->model, sharing(trainer), options->optimizer ? trainer : NULL,
                            directory, options, err);
    return tr_trainer_dismiss(trainer, status);
}

tr_status tr_trainer_save_model(const tr_model_t *model, const char *directory,
                                const tr_save_options_t *options, tr_error_t *err)
{
    return save(model, NULL, NULL, directory, options, err);
}

// Restoring

/// This rank's parts of a moment from the file, block by block.
static void restore_moment(tr_trainer_t *trainer, tr_tensor_t moment,
                           const tr_safetensors_info_t *info)
{
    const tr_ops_t *ops = trainer->model->backend->ops;
    const char *values = info->data; // maybe not aligned
    // Every rank reads the whole file's header, and only its own parts of the data.
    for (size_t first = 0; first < info->count;) {
        // Runs and blocks are the same on all ranks; each takes those that are its own.
        size_t rank, local, count = run_of(&rank, &local, &trainer->shards, first, BLOCK);
        if (rank == trainer->shards.rank) {
            ops->write(trainer->model->queue, tr_tensor_slice(moment, local, 1, count),
                       values + first * sizeof(float));
        }
        // Moments are twice the parameters: pages that were read are given back, so that restoring
        // needs no memory for the file.
        tr_safetensors_forget(info, first, count);
        first += count;
    }
}

/// Everything is checked before anything is written to the optimizer: a damaged checkpoint leaves
/// it as it was.
static tr_status read_optimizer(tr_trainer_t *trainer, const tr_safetensors_t *file,
                                tr_error_t *err)
{
    size_t n = trainer->model->layout.flat[TR_TRAINED].total;
    int64_t steps;
    const tr_safetensors_info_t *m, *v;
    TR_TRY(tr_safetensors_copy(file, "step", TR_I64, &steps, 1, err));
    // PyTorch's names. All three are checked before the optimizer is touched.
    TR_TRY(tr_safetensors_expect(&m, file, "exp_avg", TR_F32, n, err));
    TR_TRY(tr_safetensors_expect(&v, file, "exp_avg_sq", TR_F32, n, err));
    if (steps < 0) {
        return tr_fail(err, TR_ERR_FORMAT, "'%s': tensor 'step' is negative",
                       tr_safetensors_path(file));
    }
    restore_moment(trainer, tr_optimizer_first_moment(trainer->optimizer), m);
    restore_moment(trainer, tr_optimizer_second_moment(trainer->optimizer), v);
    // After the moments: bias correction by the number of updates that they have seen.
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
