#include "common/model/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/real.h"
#include "common/base/rng.h"
#include "common/hf/safetensors.h"
#include "common/model/model_private.h"

tr_tensor_t tr_flat_matrix(tr_tensor_t flat, size_t offset, size_t rows, size_t columns)
{
    flat.offset += offset * tr_dtype_size(flat.dtype);
    flat.rows = rows;
    flat.columns = columns;
    return flat;
}

tr_tensor_t model_parameter(const tr_model_t *model, size_t offset, size_t rows, size_t columns)
{
    tr_tensor_t flat =
        model->sharding == NULL ? model->working : model_sharding_view(model->sharding, offset);
    return tr_flat_matrix(flat, offset, rows, columns);
}

void model_gather(tr_model_t *model, size_t segment)
{
    if (model->sharding != NULL) {
        model_sharding_gather(model->sharding, segment);
    }
}

static const tr_ops_t *ops_of(const tr_model_t *model)
{
    return model->backend->ops;
}

tr_heads_t model_heads(const tr_model_t *model)
{
    return (tr_heads_t){model->config.heads, model->config.key_value_heads, model->config.head_dim};
}

size_t model_qkv_width(const tr_model_t *model)
{
    return (model->config.heads + 2 * model->config.key_value_heads) * model->config.head_dim;
}

/// cos and sin of position * theta^(-2i/D), rounded as transformers rounds them: frequency and
/// angle in float.
static void write_rope_table(tr_model_t *model)
{
    const tr_model_config_t *config = &model->config;
    size_t half = config->head_dim / 2;
    float *table = tr_calloc(config->max_positions * config->head_dim, sizeof *table);
    for (size_t i = 0; i < half; i++) {
        float exponent = (float)(2 * i) / (float)config->head_dim;
        float frequency = 1.0f / (float)tr_real_pow(config->rope_theta, (double)exponent);
        for (size_t position = 0; position < config->max_positions; position++) {
            double sine, cosine;
            float angle = (float)position * frequency;
            tr_real_sincos(&sine, &cosine, (double)angle);
            table[position * config->head_dim + i] = (float)cosine;
            table[position * config->head_dim + half + i] = (float)sine;
        }
    }
    ops_of(model)->write(model->queue, model->rope, table);
    free(table);
}

/// What products read, for each weight matrix: place(model, read, offset of the layout, n, k).
typedef void (*place_fn)(tr_model_t *model, tr_tensor_t *read, size_t offset, size_t n, size_t k);

static void for_weights(tr_model_t *model, place_fn place)
{
    const tr_model_config_t *config = &model->config;
    size_t queries = config->heads * config->head_dim;
    for (size_t i = 0; i < config->layers; i++) {
        layer_t *layer = &model->layers[i];
        const tr_layer_layout_t *at = &model->layout.layers[i];
        place(model, &layer->qkv, at->qkv, model_qkv_width(model), config->hidden);
        place(model, &layer->output, at->output, config->hidden, queries);
        place(model, &layer->gate_up, at->gate_up, 2 * config->intermediate, config->hidden);
        place(model, &layer->down, at->down, config->hidden, config->intermediate);
    }
    if (!config->scalar_head) {
        place(model, &model->head, model->layout.head, config->vocabulary, config->hidden);
    }
}

static void place_plain(tr_model_t *model, tr_tensor_t *read, size_t offset, size_t n, size_t k)
{
    *read = model_parameter(model, offset, n, k);
}

/// The packing's place behind those before; packed_floats is the buffer's fill.
static void place_packed(tr_model_t *model, tr_tensor_t *read, size_t offset, size_t n, size_t k)
{
    size_t count = ops_of(model)->packed_count(n, k);
    (void)offset;
    *read = (tr_tensor_t){model->packings, model->packed_floats * sizeof(float), TR_F32, 1, count};
    model->packed_floats += (count + 15) & ~(size_t)15;
}

static void pack(tr_model_t *model, tr_tensor_t *read, size_t offset, size_t n, size_t k)
{
    ops_of(model)->pack(model->queue, *read, model_parameter(model, offset, n, k));
}

/// The buffer's size is known when all have a place; then they get it once more, in the buffer.
static tr_status allocate_packings(tr_model_t *model, tr_error_t *err)
{
    for_weights(model, place_packed);
    TR_TRY(ops_of(model)->buffer_new(model->backend, &model->packings,
                                     model->packed_floats * sizeof(float), err));
    model->packed_floats = 0;
    for_weights(model, place_packed);
    return TR_OK;
}

/// The parameters, or with a collective this rank's shard of them: one vector, or where a model learns in bf16 two, the second in
/// the sharding's windows where there are such.
static tr_status allocate_parameters(tr_model_t *model, tr_collective_t *collective,
                                     tr_error_t *err)
{
    const tr_ops_t *ops = ops_of(model);
    tr_backend_t *backend = model->backend;
    size_t n = model->layout.total;
    tr_dtype_t dtype = model->use == TR_MODEL_LEARNS ? TR_F32 : backend->real;
    if (collective != NULL) {
        TR_TRY(model_sharding_new(&model->sharding, &model->layout, backend, model->queue,
                                  collective, err));
        n = model->sharding->shards.local[model->layout.segment_count];
    }
    TR_TRY(ops->buffer_new(backend, &model->masters, n * tr_dtype_size(dtype), err));
    model->parameters = (tr_tensor_t){model->masters, 0, dtype, 1, n};
    model->working = model->parameters;
    if (collective != NULL) {
        model->sharding->own = model->parameters;
    } else if (dtype != backend->real) {
        TR_TRY(ops->buffer_new(backend, &model->copy, n * tr_dtype_size(backend->real), err));
        model->working = (tr_tensor_t){model->copy, 0, backend->real, 1, n};
    }
    return TR_OK;
}

static tr_status allocate(tr_model_t *model, tr_collective_t *collective, tr_error_t *err)
{
    const tr_ops_t *ops = ops_of(model);
    const tr_model_config_t *config = &model->config;
    TR_TRY(ops->queue_new(model->backend, &model->queue, err));
    TR_TRY(allocate_parameters(model, collective, err));
    size_t rope = config->max_positions * config->head_dim;
    TR_TRY(ops->buffer_new(model->backend, &model->tables, rope * sizeof(float), err));
    model->rope = (tr_tensor_t){model->tables, 0, TR_F32, config->max_positions, config->head_dim};
    if (model->packed) {
        return allocate_packings(model, err);
    }
    for_weights(model, place_plain);
    return TR_OK;
}

/// collective: of a model that is to be sharded, or NULL.
static tr_status create(tr_model_t **self, const tr_model_config_t *config, tr_backend_t *backend,
                        tr_model_use_t use, tr_collective_t *collective, tr_error_t *err)
{
    tr_model_t *model = tr_calloc(1, sizeof *model);
    model->config = *config;
    model->backend = backend;
    model->use = use;
    model->packed = use == TR_MODEL_DECODES && backend->ops->pack != NULL;
    tr_layout_init(&model->layout, config);
    model->layers = tr_calloc(config->layers, sizeof *model->layers);
    tr_status status = allocate(model, collective, err);
    if (status != TR_OK) {
        tr_model_destroy(&model);
        return status;
    }
    write_rope_table(model);
    *self = model;
    return TR_OK;
}

tr_status tr_model_new(tr_model_t **self, const tr_model_config_t *config, tr_backend_t *backend,
                       tr_model_use_t use, tr_error_t *err)
{
    return create(self, config, backend, use, NULL, err);
}

void tr_model_destroy(tr_model_t **self)
{
    tr_model_t *model = *self;
    if (model == NULL) {
        return;
    }
    ops_of(model)->buffer_destroy(&model->tables);
    ops_of(model)->buffer_destroy(&model->packings);
    ops_of(model)->buffer_destroy(&model->masters);
    ops_of(model)->buffer_destroy(&model->copy);
    model_sharding_destroy(&model->sharding);
    ops_of(model)->queue_destroy(&model->queue);
    tr_layout_release(&model->layout);
    free(model->layers);
    free(model);
    *self = NULL;
}

void tr_model_repack(tr_model_t *model)
{
    if (model->copy != NULL) {
        ops_of(model)->cast(model->queue, model->working, model->parameters);
    }
    if (model->packed) {
        for_weights(model, pack);
    }
    if (model->sharding != NULL) {
        model_sharding_forget(model->sharding);
    }
}

static tr_tensor_t range_of(tr_tensor_t flat, size_t first, size_t count)
{
    return tr_flat_matrix(flat, first, 1, count);
}

void tr_model_write_range(tr_model_t *model, const float *values, size_t first, size_t count)
{
    tr_tensor_t to = range_of(model->parameters, first, count);
    if (to.dtype == TR_F32) {
        ops_of(model)->write(model->queue, to, values);
        return;
    }
    uint16_t *rounded = tr_calloc(count + 1, sizeof *rounded);
    for (size_t i = 0; i < count; i++) {
        rounded[i] = tr_real_to_bf16(values[i]);
    }
    ops_of(model)->write(model->queue, to, rounded);
    free(rounded);
}

tr_status tr_model_read_floats(const tr_model_t *model, float *values, tr_tensor_t from,
                               tr_error_t *err)
{
    if (from.dtype == TR_F32) {
        ops_of(model)->read(model->queue, values, from);
        return ops_of(model)->queue_wait(model->queue, err);
    }
    const size_t count = tr_tensor_count(from);
    TR_ASSERT(from.dtype == TR_BF16, "floats from %s", tr_dtype_name(from.dtype));
    uint16_t *rounded = tr_calloc(count + 1, sizeof *rounded);
    ops_of(model)->read(model->queue, rounded, from);
    tr_status status = ops_of(model)->queue_wait(model->queue, err);
    for (size_t i = 0; i < count; i++) {
        values[i] = tr_real_from_bf16(rounded[i]);
    }
    free(rounded);
    return status;
}

tr_status tr_model_read_range(const tr_model_t *model, float *values, size_t first, size_t count,
                              tr_error_t *err)
{
    TR_ASSERT(model->sharding == NULL, "parameters of a model that is sharded"); // tr_trainer_read
    return tr_model_read_floats(model, values, range_of(model->parameters, first, count), err);
}

/// Of all elements first.., as far as this rank holds them.
static void write_anywhere(tr_model_t *model, const float *values, size_t first, size_t count)
{
    if (model->sharding != NULL) {
        model_sharding_write(model->sharding, first, count, values);
    } else {
        tr_model_write_range(model, values, first, count);
    }
}

void tr_model_write_parameters(tr_model_t *model, const float *values)
{
    write_anywhere(model, values, 0, model->layout.total);
    tr_model_repack(model);
}

tr_status tr_model_read_parameters(const tr_model_t *model, float *values, tr_error_t *err)
{
    return tr_model_read_range(model, values, 0, model->layout.total, err);
}

size_t tr_model_weight_bytes(const tr_model_t *model)
{
    return model->layout.total * tr_dtype_size(model->backend->real);
}

void tr_model_write_weights(tr_model_t *model, const void *weights)
{
    TR_ASSERT(!model_learns(model), "weights taken by a model that learns its own");
    ops_of(model)->write(model->queue, model->working, weights);
    tr_model_repack(model);
}

tr_status tr_model_read_weights(const tr_model_t *model, void *weights, tr_error_t *err)
{
    TR_ASSERT(model->sharding == NULL, "weights of a model that is sharded");
    ops_of(model)->read(model->queue, weights, model->working);
    return ops_of(model)->queue_wait(model->queue, err);
}

tr_status tr_model_export_weights(const tr_model_t *model, tr_device_memory_t *memory,
                                  tr_error_t *err)
{
    TR_ASSERT(model->sharding == NULL, "weights of a model that is sharded");
    TR_TRY(ops_of(model)->queue_wait(model->queue, err));
    return ops_of(model)->buffer_export(memory, model->working.buffer, err);
}

/// Passes read this buffer from now on, and the old one goes.
static void adopt(tr_model_t *model, tr_buffer_t **buffer)
{
    ops_of(model)->buffer_destroy(&model->masters);
    model->masters = *buffer;
    *buffer = NULL;
    model->parameters.buffer = model->working.buffer = model->masters;
    for_weights(model, place_plain);
}

tr_status tr_model_import_weights(tr_model_t *model, const tr_device_memory_t *memory, bool *moved,
                                  tr_error_t *err)
{
    const tr_ops_t *ops = ops_of(model);
    tr_buffer_t *buffer;
    bool here;
    *moved = false;
    if (model->borrows && memcmp(&model->borrowed, memory, sizeof *memory) == 0) {
        return TR_OK; // the same place, which holds the new version
    }
    TR_ASSERT(!model_learns(model) && !model->packed, "weights of another process");
    TR_TRY(ops->buffer_import(model->backend, &buffer, memory, tr_model_weight_bytes(model), &here,
                              err));
    if (here) {
        adopt(model, &buffer);
        model->borrowed = *memory;
        model->borrows = *moved = true;
        return TR_OK;
    }
    tr_tensor_t from = model->working;
    from.buffer = buffer;
    ops->copy(model->queue, model->working, from);
    tr_status status = ops->queue_wait(model->queue, err);
    ops->buffer_destroy(&buffer);
    return status;
}

/// Standard deviation of a fresh weight matrix.
static float fresh_deviation(const tr_model_t *model, const tr_parameter_t *parameter)
{
    if (strcmp(parameter->name, "score.weight") == 0) {
        return 1.0f / sqrtf((float)model->config.hidden + 1.0f);
    }
    bool residual =
        strstr(parameter->name, "o_proj") != NULL || strstr(parameter->name, "down_proj") != NULL;
    return residual ? 0.02f / sqrtf(2.0f * (float)model->config.layers) : 0.02f;
}

/// values: [rows, columns] of the parameter, written.
static void randomize_parameter(const tr_model_t *model, float *values, size_t index, uint64_t seed)
{
    const tr_parameter_t *parameter = &model->layout.parameters[index];
    size_t count = parameter->rows * parameter->columns;
    float deviation = fresh_deviation(model, parameter);
    for (size_t i = 0; i < count; i++) {
        values[i] = parameter->vector ? 1.0f
                                      : deviation * tr_rng_normal(seed, TR_RNG_INIT,
                                                                  (uint32_t)index, 0, (uint32_t)i);
    }
}

/// Floats.
static size_t largest_parameter(const tr_model_t *model)
{
    size_t largest = 0;
    for (size_t i = 0; i < model->layout.count; i++) {
        const tr_parameter_t *parameter = &model->layout.parameters[i];
        size_t count = parameter->rows * parameter->columns;
        largest = count > largest ? count : largest;
    }
    return largest;
}

static void write_parameter(tr_model_t *model, size_t index, const float *values)
{
    const tr_parameter_t *parameter = &model->layout.parameters[index];
    write_anywhere(model, values, parameter->offset, parameter->rows * parameter->columns);
}

void tr_model_randomize(tr_model_t *model, uint64_t seed)
{
    float *values = tr_calloc(largest_parameter(model), sizeof *values);
    for (size_t i = 0; i < model->layout.count; i++) {
        randomize_parameter(model, values, i, seed);
        write_parameter(model, i, values);
    }
    tr_model_repack(model);
    free(values);
}

/// Whether a checkpoint may hold a tensor: a parameter, or what transformers leaves unread too (the
/// language model's head where embeddings are tied or a scalar head stands, old rotary tables).
static bool is_known(void *context, const char *name)
{
    static const char *const rotary = ".rotary_emb.inv_freq";
    const tr_layout_t *layout = context;
    size_t length = strlen(name);
    if (strcmp(name, "lm_head.weight") == 0 ||
        (length > strlen(rotary) && strcmp(name + length - strlen(rotary), rotary) == 0)) {
        return true;
    }
    for (size_t i = 0; i < layout->count; i++) {
        if (strcmp(name, layout->parameters[i].name) == 0) {
            return true;
        }
    }
    return false;
}

/// values: [rows, columns] of the parameter, written; a score head is drawn from seed when fresh_head says so.
static tr_status read_parameter(const tr_model_t *model, float *values,
                                const tr_safetensors_t *file, size_t index, bool fresh_head,
                                uint64_t seed, tr_error_t *err)
{
    const tr_parameter_t *parameter = &model->layout.parameters[index];
    if (fresh_head && strcmp(parameter->name, "score.weight") == 0) {
        randomize_parameter(model, values, index, seed);
        return TR_OK;
    }
    return tr_safetensors_read(file, parameter->name, values,
                               parameter->vector ? 0 : parameter->rows, parameter->columns, err);
}

static tr_status read_parameters(tr_model_t *model, const tr_safetensors_t *file, bool fresh_head,
                                 uint64_t seed, tr_error_t *err)
{
    float *values = tr_calloc(largest_parameter(model), sizeof *values);
    tr_status status = TR_OK;
    for (size_t i = 0; i < model->layout.count && status == TR_OK; i++) {
        status = read_parameter(model, values, file, i, fresh_head, seed, err);
        if (status == TR_OK) {
            write_parameter(model, i, values);
        }
    }
    free(values);
    return status;
}

static tr_status read_weights(tr_model_t *model, const char *directory, bool fresh_head,
                              uint64_t seed, tr_error_t *err)
{
    tr_safetensors_t *file = NULL;
    tr_status status;
    TR_TRY_GOTO(tr_safetensors_open(&file, directory, err), done);
    TR_TRY_GOTO(tr_safetensors_refuse_unknown(file, is_known, &model->layout, err), done);
    TR_TRY_GOTO(read_parameters(model, file, fresh_head, seed, err), done);
    tr_model_repack(model);
done:
    tr_safetensors_close(&file);
    return status;
}

/// collective: as create's.
static tr_status open_with(tr_model_t **self, const tr_model_config_t *config,
                           const char *directory, bool fresh_head, uint64_t seed,
                           tr_backend_t *backend, tr_model_use_t use, tr_collective_t *collective,
                           tr_error_t *err)
{
    tr_model_t *model = NULL;
    TR_TRY(create(&model, config, backend, use, collective, err));
    tr_status status = read_weights(model, directory, fresh_head, seed, err);
    if (status != TR_OK) {
        tr_model_destroy(&model);
        return status;
    }
    *self = model;
    return TR_OK;
}

tr_status tr_model_open(tr_model_t **self, const char *directory, tr_backend_t *backend,
                        tr_model_use_t use, tr_error_t *err)
{
    tr_model_config_t config;
    TR_TRY(tr_model_config_load(&config, directory, err));
    return open_with(self, &config, directory, false, 0, backend, use, NULL, err);
}

/// The config becomes that of a scalar model; whether its head must be drawn.
static bool make_scalar(tr_model_config_t *config)
{
    bool fresh_head = !config->scalar_head;
    config->scalar_head = true;
    config->tied_embeddings = false;
    return fresh_head;
}

tr_status tr_model_open_scalar(tr_model_t **self, const char *directory, uint64_t seed,
                               tr_backend_t *backend, tr_model_use_t use, tr_error_t *err)
{
    tr_model_config_t config;
    TR_TRY(tr_model_config_load(&config, directory, err));
    bool fresh_head = make_scalar(&config);
    return open_with(self, &config, directory, fresh_head, seed, backend, use, NULL, err);
}

tr_status tr_model_open_sharded(tr_model_t **self, const char *directory, bool scalar, bool fresh,
                                uint64_t seed, tr_backend_t *backend, tr_collective_t *collective,
                                tr_error_t *err)
{
    tr_model_config_t config;
    TR_TRY(tr_model_config_load(&config, directory, err));
    bool fresh_head = scalar && make_scalar(&config);
    if (!fresh) {
        return open_with(self, &config, directory, fresh_head, seed, backend, TR_MODEL_LEARNS,
                         collective, err);
    }
    TR_TRY(create(self, &config, backend, TR_MODEL_LEARNS, collective, err));
    tr_model_randomize(*self, seed);
    return TR_OK;
}

bool tr_model_is_sharded(const tr_model_t *model)
{
    return model->sharding != NULL;
}

void tr_model_recompute(tr_model_t *model, bool recompute)
{
    model->recompute = recompute;
}

const tr_model_config_t *tr_model_config(const tr_model_t *model)
{
    return &model->config;
}

void tr_model_set_scores(tr_model_t *model, double mean, double deviation)
{
    model->config.score_mean = mean;
    model->config.score_std = deviation;
}

const tr_layout_t *tr_model_layout(const tr_model_t *model)
{
    return &model->layout;
}

tr_backend_t *tr_model_backend(const tr_model_t *model)
{
    return model->backend;
}

tr_queue_t *tr_model_queue(const tr_model_t *model)
{
    return model->queue;
}

tr_tensor_t tr_model_parameters(const tr_model_t *model)
{
    return model->parameters;
}

tr_tensor_t tr_model_head(const tr_model_t *model)
{
    return model->head;
}

tr_tensor_t tr_model_score(const tr_model_t *model)
{
    return model_parameter(model, model->layout.head, 1, model->config.hidden);
}
