/// Where a model's first weights come from: a Hugging Face directory, or chance. Apart from
/// model.c, which knows no files.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/rng.h"
#include "common/hf/fp8.h"
#include "common/hf/mxfp4.h"
#include "common/hf/safetensors.h"
#include "common/model/families/family.h"
#include "common/model/model_private.h"

static size_t count_of(const tr_parameter_t *parameter)
{
    return parameter->rows * parameter->columns;
}

enum { PIECE = 1 << 20 }; // elements, where any number will do

/// Elements that are read and written at once: so many that they are as many of the file's, one
/// after another. A mixture's largest parameter has all experts of a layer, which is most of it.
static size_t piece_of(const tr_parameter_t *parameter)
{
    const size_t count = count_of(parameter);
    return parameter->form == TR_FORM_BY_EXPERT ? count / parameter->weight->parts
           : parameter->form == TR_FORM_PLAIN && count > (size_t)PIECE ? PIECE
                                                                       : count;
}

/// Room for a piece of any parameter; the caller's to free.
static float *room_for_piece(const tr_layout_t *layout)
{
    size_t largest = 0;
    for (size_t i = 0; i < layout->count; i++) {
        const size_t count = piece_of(&layout->parameters[i]);
        largest = count > largest ? count : largest;
    }
    return tr_calloc(largest, sizeof(float));
}

/// Some elements of a parameter.
typedef struct piece {
    const tr_parameter_t *parameter;
    size_t first, count;
} piece_t;

/// The piece after this one; false: that was the last. {parameter} is before the first.
static bool next_piece(piece_t *piece)
{
    const size_t all = count_of(piece->parameter), most = piece_of(piece->parameter);
    piece->first += piece->count;
    piece->count = all - piece->first < most ? all - piece->first : most;
    return piece->count > 0;
}

static void write_piece(tr_model_t *model, const piece_t *piece, const float *values)
{
    parameters_write(&model->parameters, piece->parameter->weight->trained, values,
                     piece->parameter->place + piece->first, piece->count);
}

// Fresh weights

/// Standard deviation of a fresh weight matrix. What is added to the residual stream is smaller by
/// the number of additions, so that the stream's variance does not grow with depth (Radford et al.
/// 2019, GPT-2, section 2.3).
static float fresh_deviation(const tr_model_t *model, tr_weight_kind_t kind)
{
    switch (kind) {
    // As Huang et al. 2024 initialise a reward model's head ("The N+ implementation details of RLHF
    // with PPO").
    case TR_WEIGHT_SCORE: return 1.0f / sqrtf((float)model->config.hidden + 1.0f);
    case TR_WEIGHT_OUTPUT:
    case TR_WEIGHT_DELTA_OUT:
    case TR_WEIGHT_DOWN:
    case TR_WEIGHT_SHARED_DOWN:
    case TR_WEIGHT_EXPERT_DOWN: return 0.02f / sqrtf(2.0f * (float)model->config.layers);
    // transformers' initializer_range.
    default: return 0.02f;
    }
}

/// What a norm or a bias begins with, so that neither changes anything.
static float fresh_vector(const tr_model_t *model, const tr_parameter_t *parameter)
{
    // The second half of a LayerNorm's weight.
    if (model->config.layer_norm && parameter->place > parameter->weight->place) {
        return 0.0f;
    }
    switch (parameter->weight->kind) {
    case TR_WEIGHT_QKV_BIAS:
    case TR_WEIGHT_OUTPUT_BIAS:
    case TR_WEIGHT_GATE_UP_BIAS:
    case TR_WEIGHT_DOWN_BIAS:
    case TR_WEIGHT_ROUTER_BIAS:
    case TR_WEIGHT_EXPERT_GATE_UP_BIAS:
    case TR_WEIGHT_EXPERT_DOWN_BIAS:
    case TR_WEIGHT_SINKS: return 0.0f;
    case TR_WEIGHT_DELTA_SCALE:
    case TR_WEIGHT_DELTA_SHIFT:
    case TR_WEIGHT_DELTA_NORM: return 1.0f;
    default: return 1.0f - model->config.norm_offset;
    }
}

static bool is_adapter(const tr_parameter_t *parameter)
{
    return parameter->weight->kind == TR_WEIGHT_LORA_A ||
           parameter->weight->kind == TR_WEIGHT_LORA_B;
}

/// A fresh adapter adds nothing, as B is 0; A begins as PEFT's does.
static float fresh_adapter(const tr_model_t *model, const tr_parameter_t *parameter, uint64_t seed,
                           uint32_t index, uint32_t i)
{
    if (parameter->weight->kind == TR_WEIGHT_LORA_B) {
        return 0.0f;
    }
    // PyTorch's kaiming_uniform_ with a = sqrt(5): 1/sqrt(columns) is the end.
    return model->lora.init_lora_weights == TR_LORA_GAUSSIAN
               ? tr_rng_normal(seed, TR_RNG_INIT, index, 0, i) / (float)parameter->rows
               : (2.0f * tr_rng_uniform(seed, TR_RNG_INIT, index, 0, i) - 1.0f) /
                     sqrtf((float)parameter->columns);
}

/// values: [count] of the piece, written. A number's address is (parameter, element).
static void randomize_piece(const tr_model_t *model, float *values, const piece_t *piece,
                            uint64_t seed)
{
    const tr_parameter_t *parameter = piece->parameter;
    const uint32_t index = (uint32_t)(parameter - model->layout.parameters);
    const tr_weight_kind_t kind = parameter->weight->kind;
    for (size_t i = 0; is_adapter(parameter) && i < piece->count; i++) {
        values[i] = fresh_adapter(model, parameter, seed, index, (uint32_t)(piece->first + i));
    }
    if (is_adapter(parameter)) {
        return;
    }
    const float constant = fresh_vector(model, parameter), deviation = fresh_deviation(model, kind);
    for (size_t i = 0; i < piece->count; i++) {
        // Addressed, not drawn: the same numbers whatever ranks, threads or order write them.
        values[i] = parameter->rank == 1 || parameter->spared
                        ? constant
                        : deviation * tr_rng_normal(seed, TR_RNG_INIT, index, 0,
                                                    (uint32_t)(piece->first + i));
    }
}

/// values: room for a piece.
static void randomize(tr_model_t *model, float *values, const tr_parameter_t *parameter,
                      uint64_t seed)
{
    piece_t piece = {.parameter = parameter};
    while (next_piece(&piece)) {
        randomize_piece(model, values, &piece, seed);
        write_piece(model, &piece, values);
    }
}

/// For tests, benchmarks and training from nothing. A tied head is the embedding and is drawn once.
void tr_model_randomize(tr_model_t *model, uint64_t seed)
{
    float *values = room_for_piece(&model->layout);
    for (size_t i = 0; i < model->layout.count; i++) {
        randomize(model, values, &model->layout.parameters[i], seed);
    }
    tr_model_repack(model);
    free(values);
}

// From a directory

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length > tail && strcmp(text + length - tail, end) == 0;
}

/// The name without its first part, which files of a model without a head lack ("model.",
/// "transformer.": transformers' base_model_prefix).
static const char *base_name(const char *name)
{
    const char *dot = strchr(name, '.');
    return dot != NULL ? dot + 1 : name;
}

/// A parameter's name in this file.
static const char *stored_name(const tr_safetensors_t *file, const tr_parameter_t *parameter)
{
    const char *base = base_name(parameter->name);
    return tr_safetensors_find(file, parameter->name) == NULL &&
                   tr_safetensors_find(file, base) != NULL
               ? base
               : parameter->name;
}

/// Of an expert's parameter that the file lacks: the name of a tensor in which it may have those of
/// all experts of the layer, [experts, rows of one, columns], as published models of Qwen 3.5 do.
/// to: room for it. Returns to, or NULL: it has a tensor of its own, or none of either.
static const char *shared_name(char to[80], const tr_safetensors_t *file,
                               const tr_parameter_t *parameter)
{
    const tr_weight_kind_t kind = parameter->weight->kind;
    const char *experts = strstr(parameter->name, "experts.");
    if ((kind != TR_WEIGHT_EXPERT_GATE_UP && kind != TR_WEIGHT_EXPERT_DOWN) || experts == NULL ||
        tr_safetensors_find(file, stored_name(file, parameter)) != NULL) {
        return NULL;
    }
    snprintf(to, 80, "%.*s%s", (int)(experts - parameter->name) + 8, parameter->name,
             kind == TR_WEIGHT_EXPERT_GATE_UP ? "gate_up_proj" : "down_proj");
    return tr_safetensors_find(file, to) != NULL ? to : NULL;
}

/// The name of the layer's router's bias in this file.
static const char *router_bias_name(char to[80], const tr_safetensors_t *file,
                                    const family_t *family, size_t layer)
{
    family_router_bias(to, family, layer);
    const char *base = base_name(to);
    return tr_safetensors_find(file, to) == NULL && tr_safetensors_find(file, base) != NULL ? base
                                                                                            : to;
}

/// Whether the layer's router has one.
static bool has_router_bias(const tr_model_config_t *config, size_t layer)
{
    return config->router_sigmoid && !tr_layer_set_has(&config->dense, layer);
}

/// biases: [layers, E], or NULL: it is only checked whether they are there.
static tr_status read_router_biases(float *biases, const tr_safetensors_t *file,
                                    const tr_model_config_t *config, tr_error_t *err)
{
    char room[80];
    const size_t experts = config->experts;
    for (size_t i = 0; i < config->layers; i++) {
        if (has_router_bias(config, i)) {
            const char *name = router_bias_name(room, file, family_at(config->family), i);
            TR_TRY(biases == NULL
                       ? tr_safetensors_check(file, name, 0, experts, err)
                       : tr_safetensors_read(file, name, biases + i * experts, 0, experts, err));
        }
    }
    return TR_OK;
}

/// The name of a parameter that the file has in MXFP4; NULL: it has not.
static const char *packed_name(const tr_safetensors_info_t *found[2], const tr_safetensors_t *file,
                               const tr_parameter_t *parameter)
{
    const char *const names[] = {parameter->name, base_name(parameter->name)};
    for (size_t i = 0; i < 2 && parameter->form == TR_FORM_BY_EXPERT; i++) {
        if (tr_mxfp4_find(found, file, names[i])) {
            return names[i];
        }
    }
    return NULL;
}

/// Whether transformers leaves a tensor unread too: the language model's head where embeddings are
/// tied or a scalar head stands, old rotary tables, what is beside a text model.
static bool is_unread(const family_t *family, const char *name)
{
    for (size_t i = 0; i < FAMILY_ENDS && family->beside[i] != NULL; i++) {
        if (strncmp(name, family->beside[i], strlen(family->beside[i])) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < FAMILY_ENDS && family->unread[i] != NULL; i++) {
        if (ends_with(name, family->unread[i])) {
            return true;
        }
    }
    // Also where the model has no such parameter: a tied or scalar model may come from a file that
    // has the language model's head.
    return strcmp(name, family_tensor_name(family, TR_WEIGHT_HEAD)) == 0;
}

/// A part that would be left out in silence (a bias, say) makes another model: the first is named.
static tr_status refuse_unknown(const tr_layout_t *layout, const tr_model_config_t *config,
                                const tr_safetensors_t *file, tr_error_t *err)
{
    const family_t *family = family_at(config->family);
    const size_t count = tr_safetensors_count(file);
    tr_status status = TR_OK;
    bool *known = tr_calloc(count + 1, sizeof *known);
    const tr_safetensors_info_t *first = tr_safetensors_at(file, 0);
    // Parameters are looked up in the file, which is sorted: mixtures have tens of thousands.
    for (size_t i = 0; i < layout->count; i++) {
        char shared[80];
        const tr_parameter_t *parameter = &layout->parameters[i];
        const char *name = shared_name(shared, file, parameter);
        const tr_safetensors_info_t *infos[2] = {NULL, NULL};
        if (packed_name(infos, file, parameter) == NULL) {
            infos[0] =
                tr_safetensors_find(file, name != NULL ? name : stored_name(file, parameter));
            infos[1] = family->quantized != NULL ? tr_fp8_scales(file, infos[0]) : NULL;
        }
        for (size_t j = 0; j < 2; j++) {
            if (infos[j] != NULL) {
                known[infos[j] - first] = true;
            }
        }
    }
    for (size_t i = 0; i < config->layers; i++) {
        char room[80];
        const tr_safetensors_info_t *info =
            has_router_bias(config, i)
                ? tr_safetensors_find(file, router_bias_name(room, file, family, i))
                : NULL;
        if (info != NULL) {
            known[info - tr_safetensors_at(file, 0)] = true;
        }
    }
    for (size_t i = 0; i < count && status == TR_OK; i++) {
        const char *name = tr_safetensors_at(file, i)->name;
        if (!known[i] && !is_unread(family, name)) {
            status = tr_fail(err, TR_ERR_UNSUPPORTED,
                             "%s: tensor '%s' has no place in this architecture",
                             tr_safetensors_path(file), name);
        }
    }
    free(known);
    return status;
}

/// The piece's elements in the file's order, or with values NULL: whether they are there.
static tr_status read_stored(float *values, const tr_safetensors_t *file, const piece_t *piece,
                             tr_error_t *err)
{
    char room[80];
    size_t shape[3], first = piece->first;
    const tr_safetensors_info_t *found[2];
    const tr_parameter_t *parameter = piece->parameter;
    const tr_weight_t *weight = parameter->weight;
    const char *packed = packed_name(found, file, parameter);
    const char *shared = shared_name(room, file, parameter), *name = stored_name(file, parameter);
    tr_parameter_shape(parameter, shape);
    if (packed != NULL) {
        return tr_mxfp4_read(file, packed, shape, values, first, piece->count, err);
    }
    if (shared != NULL) {
        // The tensor's order is that of the weight: expert after expert, gate before up.
        const size_t all[3] = {weight->parts, weight->rows / weight->parts, weight->columns};
        first += parameter->place - weight->place;
        return tr_safetensors_read_part(file, shared, all, 3, values, first, piece->count, err);
    }
    const tr_safetensors_info_t *info = tr_safetensors_find(file, name);
    if (info != NULL && info->dtype == TR_F8) {
        return tr_fp8_read(file, info, shape[0], shape[1], values, first, piece->count, err);
    }
    return tr_safetensors_read_part(file, name, shape, parameter->rank, values, first, piece->count,
                                    err);
}

/// Whether the file has the parameter.
static tr_status check_stored(const tr_safetensors_t *file, const tr_parameter_t *parameter,
                              tr_error_t *err)
{
    const piece_t all = {parameter, 0, count_of(parameter)};
    return read_stored(NULL, file, &all, err);
}

/// What a run does otherwise than the file says, or says twice.
static void warn(const tr_model_config_t *stored, const char *directory, bool learns)
{
    if (stored->own_head) {
        tr_log(TR_LOG_WARN, "model",
               "directory=%s \"config.json ties the head to the embedding, but the file has a head "
               "that differs: the file's head is used, as by transformers\"",
               directory);
    }
    if (learns && (stored->attention_dropout > 0.0 || stored->hidden_dropout > 0.0 ||
                   stored->embedding_dropout > 0.0)) {
        tr_log(TR_LOG_WARN, "model",
               "directory=%s attention_dropout=%g hidden_dropout=%g embedding_dropout=%g "
               "\"dropout is not applied: training here has none\"",
               directory, stored->attention_dropout, stored->hidden_dropout,
               stored->embedding_dropout);
    }
}

tr_status tr_model_check(const tr_model_config_t *config, const char *directory, tr_error_t *err)
{
    tr_model_config_t stored;
    tr_safetensors_t *file = NULL;
    tr_layout_t layout;
    tr_status status;
    TR_TRY(tr_model_config_load(&stored, directory, err));
    warn(&stored, directory, true);
    tr_layout_init(&layout, config);
    TR_TRY_GOTO(family_open_weights(&file, family_at(config->family), directory, err), done);
    TR_TRY_GOTO(refuse_unknown(&layout, config, file, err), done);
    TR_TRY_GOTO(read_router_biases(NULL, file, config, err), done);
    for (size_t i = 0; i < layout.count; i++) {
        const tr_parameter_t *p = &layout.parameters[i];
        // a score head that the file lacks is drawn
        if (stored.scalar_head || p->weight->kind != TR_WEIGHT_SCORE) {
            TR_TRY_GOTO(check_stored(file, p, err), done);
        }
    }
done:
    tr_safetensors_close(&file);
    tr_layout_release(&layout);
    return status;
}

/// values, stored: room for a piece.
static tr_status read_parameter(tr_model_t *model, float *values, float *stored,
                                const tr_safetensors_t *file, const tr_parameter_t *parameter,
                                tr_error_t *err)
{
    const bool plain = parameter->form == TR_FORM_PLAIN;
    piece_t piece = {.parameter = parameter};
    while (next_piece(&piece)) {
        TR_TRY(read_stored(plain ? values : stored, file, &piece, err));
        for (size_t i = 0; i < piece.count && !plain; i++) {
            values[i] = stored[tr_parameter_stored(parameter, piece.first + i) - piece.first];
        }
        write_piece(model, &piece, values);
    }
    return TR_OK;
}

/// Adapters are drawn from seed; draws: so is a score head, for the file has none.
static tr_status read_parameters(tr_model_t *model, const tr_safetensors_t *file, bool draws,
                                 uint64_t seed, tr_error_t *err)
{
    float *values = room_for_piece(&model->layout), *stored = room_for_piece(&model->layout);
    tr_status status = TR_OK;
    for (size_t i = 0; i < model->layout.count; i++) {
        const tr_parameter_t *parameter = &model->layout.parameters[i];
        if (is_adapter(parameter) || (draws && parameter->weight->kind == TR_WEIGHT_SCORE)) {
            // A reward model or critic that starts from a language model: the trunk is the file's.
            randomize(model, values, parameter, seed);
        } else {
            TR_TRY_GOTO(read_parameter(model, values, stored, file, parameter, err), done);
        }
    }
    tr_model_repack(model);
done:
    free(values);
    free(stored);
    return status;
}

/// Names and shapes are those of the layout; which file a tensor is in does not matter.
tr_status tr_model_load(tr_model_t *model, const char *directory, uint64_t seed, tr_error_t *err)
{
    tr_model_config_t stored;
    tr_safetensors_t *file = NULL;
    tr_status status;
    // The file's own config says whether it has a score head; the model's says whether one is
    // wanted.
    TR_TRY(tr_model_config_load(&stored, directory, err));
    warn(&stored, directory, model_learns(model));
    TR_TRY_GOTO(family_open_weights(&file, family_at(model->config.family), directory, err), done);
    TR_TRY_GOTO(refuse_unknown(&model->layout, &model->config, file, err), done);
    if (model->router_biases != NULL) {
        TR_TRY_GOTO(read_router_biases(model->router_biases, file, &model->config, err), done);
        model->backend->ops->write(model->queue, model->router_bias, model->router_biases);
    }
    TR_TRY_GOTO(read_parameters(model, file, !stored.scalar_head, seed, err), done);
done:
    tr_safetensors_close(&file);
    return status;
}

// From a directory of PEFT

static tr_status open_adapter(tr_safetensors_t **file, const char *directory, tr_error_t *err)
{
    char *path = tr_format("%s/adapter_model.safetensors", directory);
    tr_status status = tr_safetensors_open(file, path, err);
    if (status == TR_OK) {
        tr_safetensors_rename(*file, TR_ADAPTER_PREFIX, "");
    }
    free(path);
    return status;
}

/// A tensor that none of the model's trained parameters is.
static tr_status refuse_others(const tr_layout_t *layout, const tr_safetensors_t *file,
                               tr_error_t *err)
{
    const size_t count = tr_safetensors_count(file);
    bool *known = tr_calloc(count + 1, sizeof *known);
    const tr_safetensors_info_t *first = tr_safetensors_at(file, 0);
    tr_status status = TR_OK;
    for (size_t i = 0; i < layout->count; i++) {
        const tr_safetensors_info_t *info =
            layout->parameters[i].weight->trained
                ? tr_safetensors_find(file, layout->parameters[i].name)
                : NULL;
        if (info != NULL) {
            known[info - first] = true;
        }
    }
    for (size_t i = 0; i < count && status == TR_OK; i++) {
        if (!known[i]) {
            status = tr_fail(err, TR_ERR_UNSUPPORTED,
                             "%s: tensor '%s' is of no module that adapter_config.json names",
                             tr_safetensors_path(file), tr_safetensors_at(file, i)->name);
        }
    }
    free(known);
    return status;
}

tr_status tr_model_load_adapter(tr_model_t *model, const char *directory, tr_error_t *err)
{
    tr_safetensors_t *file = NULL;
    float *values = room_for_piece(&model->layout), *stored = room_for_piece(&model->layout);
    tr_status status;
    TR_TRY_GOTO(open_adapter(&file, directory, err), done);
    TR_TRY_GOTO(refuse_others(&model->layout, file, err), done);
    for (size_t i = 0; i < model->layout.count; i++) {
        const tr_parameter_t *parameter = &model->layout.parameters[i];
        if (parameter->weight->trained) {
            TR_TRY_GOTO(read_parameter(model, values, stored, file, parameter, err), done);
        }
    }
    tr_model_repack(model);
done:
    tr_safetensors_close(&file);
    free(values);
    free(stored);
    return status;
}

static tr_status check_adapter(const tr_layout_t *layout, const char *directory, tr_error_t *err)
{
    tr_safetensors_t *file = NULL;
    TR_TRY(open_adapter(&file, directory, err));
    tr_status status = refuse_others(layout, file, err);
    for (size_t i = 0; i < layout->count && status == TR_OK; i++) {
        if (layout->parameters[i].weight->trained) {
            status = check_stored(file, &layout->parameters[i], err);
        }
    }
    tr_safetensors_close(&file);
    return status;
}

tr_status tr_model_check_adapter(const tr_model_config_t *config, const char *directory,
                                 tr_error_t *err)
{
    tr_lora_t lora;
    tr_layout_t layout;
    tr_layout_init(&layout, config);
    tr_status status = tr_lora_read(&lora, directory, err);
    if (status == TR_OK) {
        status = tr_layout_adapt(&layout, &lora, err);
    }
    if (status == TR_OK) {
        status = check_adapter(&layout, directory, err);
    }
    tr_layout_release(&layout);
    tr_lora_release(&lora);
    return status;
}

tr_status tr_model_stored_dtype(tr_dtype_t *dtype, const char *directory, tr_error_t *err)
{
    tr_safetensors_t *file = NULL;
    *dtype = TR_F32;
    tr_status status = tr_safetensors_open(&file, directory, err);
    if (status == TR_ERR_IO) { // fresh weights need no file of them
        *err = (tr_error_t){0};
        return TR_OK;
    }
    TR_TRY(status);
    if (tr_safetensors_count(file) > 0) {
        const tr_dtype_t first = tr_safetensors_at(file, 0)->dtype;
        *dtype = first == TR_F8 ? TR_BF16 : first;
    }
    tr_safetensors_close(&file);
    return TR_OK;
}

/// config and lora of what is opened. *lora: the caller's to release, after a failure too.
static tr_status read_shape(tr_model_config_t *config, tr_lora_t *lora, const char *directory,
                            const char *adapter, tr_error_t *err)
{
    *lora = (tr_lora_t){0};
    TR_TRY(tr_model_config_load(config, directory, err));
    if (adapter != NULL) {
        TR_TRY(tr_lora_read(lora, adapter, err));
    }
    if (lora->scalar) {
        tr_model_config_make_scalar(config); // the adapter has the head
    }
    return TR_OK;
}

tr_status tr_model_config_load_adapted(tr_model_config_t *config, const char *directory,
                                       const char *adapter, tr_error_t *err)
{
    tr_lora_t lora;
    tr_status status = read_shape(config, &lora, directory, adapter, err);
    tr_lora_release(&lora);
    return status;
}

/// The usual way to a model: shape and weights from one directory, and maybe an adapter.
tr_status tr_model_open(tr_model_t **self, const char *directory, const char *adapter,
                        tr_backend_t *backend, tr_model_use_t use, tr_error_t *err)
{
    tr_model_config_t config;
    tr_model_t *model = NULL;
    tr_lora_t lora;
    tr_status status = read_shape(&config, &lora, directory, adapter, err);
    if (status == TR_OK) {
        const tr_model_options_t options = {.use = use, .lora = &lora};
        status = tr_model_new_with(&model, &config, backend, &options, err);
    }
    if (status == TR_OK) {
        // The config is the directory's, so there is no head to draw; an adapter comes after.
        status = tr_model_load(model, directory, 0, err);
    }
    if (status == TR_OK && adapter != NULL) {
        status = tr_model_load_adapter(model, adapter, err);
    }
    tr_lora_release(&lora);
    if (status != TR_OK) {
        tr_model_destroy(&model);
        return status;
    }
    *self = model;
    return TR_OK;
}
