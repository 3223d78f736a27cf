/// From a family's list of tensors to places in the flat vectors: names and shapes first, then
/// places by the selection.
#include "common/model/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/status.h"
#include "common/model/families/family.h"

static size_t extent_of(const tr_model_config_t *config, family_extent_t extent)
{
    switch (extent) {
    case FAMILY_HIDDEN: return config->hidden;
    case FAMILY_INTERMEDIATE: return config->intermediate;
    case FAMILY_QUERIES: return config->heads * config->head_dim;
    case FAMILY_HEAD: return config->head_dim;
    case FAMILY_QKV: return (config->heads + 2 * config->key_value_heads) * config->head_dim;
    case FAMILY_GATE_UP: return 2 * config->intermediate;
    case FAMILY_HEADS: return config->heads;
    case FAMILY_KEYS: return config->key_value_heads * config->head_dim;
    case FAMILY_EXPERTS: return config->experts;
    case FAMILY_EXPERT_INTERMEDIATE: return config->expert_intermediate;
    case FAMILY_SHARED_INTERMEDIATE: return config->shared_intermediate;
    case FAMILY_GATED_QUERIES: return 2 * config->heads * config->head_dim;
    case FAMILY_CHANNELS: return tr_delta_channels(config->delta);
    case FAMILY_TAPS: return config->delta.taps;
    case FAMILY_READ: return config->delta.value_heads * config->delta.value_dim;
    case FAMILY_CHANNELS_READ:
        return tr_delta_channels(config->delta) +
               config->delta.value_heads * config->delta.value_dim;
    case FAMILY_STATE_GATES: return 2 * config->delta.value_heads;
    case FAMILY_READ_HEAD: return config->delta.value_dim;
    case FAMILY_READ_HEADS: return config->delta.value_heads;
    case FAMILY_QUERY_LATENT: return config->latent.query;
    case FAMILY_DIRECT_QUERIES:
        return config->latent.query > 0 ? 0 : config->heads * config->head_dim;
    case FAMILY_KEY_LATENT: return config->latent.key;
    case FAMILY_ROTATED_KEY_LATENT: return config->latent.rotated + config->latent.key;
    case FAMILY_KEYS_VALUES: return config->heads * (config->latent.plain + config->latent.value);
    case FAMILY_VALUES: return config->heads * config->latent.value;
    case FAMILY_EXPERTS_GATE_UP: return config->experts * 2 * config->expert_intermediate;
    case FAMILY_EXPERTS_DOWN: return config->experts * config->hidden;
    case FAMILY_VOCABULARY: return config->vocabulary;
    case FAMILY_POSITIONS: return config->max_positions;
    default: return 1; // FAMILY_VECTOR, FAMILY_LIST, FAMILY_ONE
    }
}

/// Rows that each part of a tensor of so many rows has of a head, where it is stored head by head.
static void set_pieces(size_t pieces[TR_PIECES], const tr_model_config_t *config,
                       const family_tensor_t *tensor)
{
    const family_extent_t extent = tensor->rows == FAMILY_VECTOR || tensor->rows == FAMILY_LIST
                                       ? tensor->columns
                                       : tensor->rows;
    const tr_latent_t *latent = &config->latent;
    const tr_delta_t *d = &config->delta;
    const size_t group = d->key_heads > 0 ? d->value_heads / d->key_heads : 0;
    if (tensor->form == TR_FORM_ROTATED_LAST) {
        pieces[0] = extent == FAMILY_ROTATED_KEY_LATENT ? latent->key : latent->plain;
        pieces[1] = latent->rotated;
        pieces[2] = latent->pairs;
    } else if (extent == FAMILY_QKV) {
        pieces[0] = pieces[1] = pieces[2] = config->head_dim;
    } else if (extent == FAMILY_CHANNELS_READ) {
        pieces[0] = pieces[1] = d->key_dim;
        pieces[2] = pieces[3] = group * d->value_dim;
    } else if (extent == FAMILY_STATE_GATES) {
        pieces[0] = pieces[1] = group;
    } else if (extent == FAMILY_EXPERTS_GATE_UP) {
        pieces[0] = pieces[1] = 1; // a row of gate, the same of up
    } else if (extent == FAMILY_EXPERTS_DOWN) {
        pieces[0] = 1;
    }
}

/// A model has one head of those that its family knows, or none besides its embedding; some parts
/// are a matter of its config.
static bool is_there(const tr_model_config_t *config, size_t segment, tr_weight_kind_t kind)
{
    const bool layer = segment > 0 && segment <= config->layers;
    const bool recurs = layer && tr_layer_set_has(&config->recurrent, segment - 1);
    const bool sparse =
        layer && config->experts > 0 && !tr_layer_set_has(&config->dense, segment - 1);
    switch (kind) {
    // A tied head is the embedding itself: no tensor, no gradient and no moment of its own.
    case TR_WEIGHT_HEAD: return !config->scalar_head && !config->tied_embeddings;
    case TR_WEIGHT_SCORE: return config->scalar_head;
    case TR_WEIGHT_QKV:
    case TR_WEIGHT_OUTPUT: return !recurs;
    case TR_WEIGHT_DELTA_IN:
    case TR_WEIGHT_DELTA_CONVOLUTION:
    case TR_WEIGHT_DELTA_SCALE:
    case TR_WEIGHT_DELTA_SHIFT:
    case TR_WEIGHT_DELTA_NORM:
    case TR_WEIGHT_DELTA_OUT: return recurs;
    case TR_WEIGHT_QKV_BIAS: return !recurs && (config->qkv_bias || config->attention_bias);
    case TR_WEIGHT_OUTPUT_BIAS: return !recurs && config->attention_bias;
    case TR_WEIGHT_GATE_UP:
    case TR_WEIGHT_DOWN: return !sparse;
    case TR_WEIGHT_ROUTER:
    case TR_WEIGHT_ROUTER_BIAS:
    case TR_WEIGHT_EXPERT_GATE_UP:
    case TR_WEIGHT_EXPERT_GATE_UP_BIAS:
    case TR_WEIGHT_EXPERT_DOWN:
    case TR_WEIGHT_EXPERT_DOWN_BIAS: return sparse;
    case TR_WEIGHT_SHARED_GATE_UP:
    case TR_WEIGHT_SHARED_DOWN:
    case TR_WEIGHT_SHARED_GATE: return sparse && config->shared_intermediate > 0;
    case TR_WEIGHT_GATE_UP_BIAS:
    case TR_WEIGHT_DOWN_BIAS: return config->mlp_bias;
    case TR_WEIGHT_QUERY_NORM:
    case TR_WEIGHT_KEY_NORM:
        return !recurs && (config->qk_norm != TR_QK_NORM_NONE || config->latent.key > 0);
    default: return true;
    }
}

static tr_weight_t *weight_at(const tr_layout_t *layout, size_t segment, tr_weight_kind_t kind)
{
    return &layout->weights[segment * TR_WEIGHT_KINDS + kind];
}

const tr_weight_t *tr_layout_weight(const tr_layout_t *layout, size_t segment,
                                    tr_weight_kind_t kind)
{
    return weight_at(layout, segment, kind);
}

/// Where the * of a layer's tensor stands in its name; NULL: it belongs to no layer.
static const char *star_of(const family_tensor_t *tensor)
{
    return strchr(tensor->name, '*');
}

/// Whether there is a second one.
static bool is_expert_s(const family_tensor_t *tensor)
{
    const char *star = star_of(tensor);
    return star != NULL && strchr(star + 1, '*') != NULL;
}

/// to: [size], the name with the numbers of the layer and the expert for its stars.
static void name_of(char *to, size_t size, const family_tensor_t *tensor, size_t layer,
                    size_t expert)
{
    const size_t numbers[] = {layer, expert};
    const char *from = tensor->name;
    int used = 0;
    for (size_t i = 0; i < 2 && strchr(from, '*') != NULL; i++) {
        const char *star = strchr(from, '*');
        used += snprintf(to + used, size - (size_t)used, "%.*s%zu", (int)(star - from), from,
                         numbers[i]);
        from = star + 1;
    }
    snprintf(to + used, size - (size_t)used, "%s", from);
}

/// One tensor of the family as the next parameter, and as a part of its weight.
static void append(tr_layout_t *layout, const tr_model_config_t *config,
                   const family_tensor_t *tensor, size_t segment, size_t expert)
{
    // A width of 0 is a part that the config leaves out.
    if (!is_there(config, segment, tensor->kind) || extent_of(config, tensor->rows) == 0 ||
        extent_of(config, tensor->columns) == 0) {
        return;
    }
    tr_weight_t *weight = weight_at(layout, segment, tensor->kind);
    tr_parameter_t *parameter = &layout->parameters[layout->count++];
    name_of(parameter->name, sizeof parameter->name, tensor, segment - 1, expert);
    parameter->weight = weight;
    parameter->rows = extent_of(config, tensor->rows);
    parameter->columns = extent_of(config, tensor->columns);
    parameter->form = tensor->form;
    const bool by_expert = tensor->form == TR_FORM_BY_EXPERT,
               biases = tensor->columns == FAMILY_ONE;
    parameter->spared = tensor->rows == FAMILY_VECTOR || (by_expert && biases);
    parameter->rank = tensor->rows == FAMILY_VECTOR || tensor->rows == FAMILY_LIST ? 1
                      : tensor->columns == FAMILY_TAPS || (by_expert && !biases)   ? 3
                                                                                   : 2;
    set_pieces(parameter->pieces, config, tensor);
    // The offset never changes; the place depends on what is trained (tr_layout_select).
    parameter->offset = layout->total;
    layout->total += parameter->rows * parameter->columns;
    weight->kind = tensor->kind;
    weight->segment = segment;
    // Query, key and value follow each other in the table, so the three are one matrix and one
    // product: rows below those of the parameter before. Their biases are one vector.
    weight->rows = parameter->rank == 1 ? 1 : weight->rows + parameter->rows;
    weight->columns = (parameter->rank == 1 ? weight->columns : 0) + parameter->columns;
    weight->parts = by_expert ? config->experts : expert + 1;
}

/// The rows of a layer from `at` on that come together: one, or those of one kind that each expert
/// has, expert after expert. Returns what follows them.
static const family_tensor_t *append_rows(tr_layout_t *layout, const tr_model_config_t *config,
                                          const family_tensor_t *at, const family_tensor_t *end,
                                          size_t segment)
{
    const family_tensor_t *next = at + 1;
    while (is_expert_s(at) && next < end && next->kind == at->kind) {
        next++;
    }
    for (size_t expert = 0; expert < (is_expert_s(at) ? config->experts : 1); expert++) {
        for (const family_tensor_t *tensor = at; tensor < next; tensor++) {
            append(layout, config, tensor, segment, expert);
        }
    }
    return next;
}

/// Tensors before those of the layers, the layers one after another, and what follows them.
static void append_all(tr_layout_t *layout, const tr_model_config_t *config, const family_t *family)
{
    const family_tensor_t *at = family->tensors->items, *end = at + family->tensors->count;
    for (; at < end && star_of(at) == NULL; at++) {
        append(layout, config, at, 0, 0);
    }
    // The table has the tensors of one layer, which are laid out for each.
    const family_tensor_t *layer = at;
    for (size_t i = 0; i < config->layers; i++) {
        for (at = layer; at < end && star_of(at) != NULL;) {
            at = append_rows(layout, config, at, end, i + 1);
        }
    }
    for (; at < end; at++) {
        append(layout, config, at, config->layers + 1, 0);
    }
}

/// Room for more parameters than there are: a segment has either a layer's tensors or others.
static size_t room_for(const tr_model_config_t *config, const family_tensors_t *tensors)
{
    size_t rows = 0;
    for (size_t i = 0; i < tensors->count; i++) {
        rows += is_expert_s(&tensors->items[i]) ? config->experts : 1;
    }
    return (config->layers + 2) * rows;
}

void tr_layout_init(tr_layout_t *layout, const tr_model_config_t *config)
{
    const family_t *family = family_at(config->family);
    const size_t segments = config->layers + 2, room = room_for(config, family->tensors);
    *layout = (tr_layout_t){.segment_count = segments};
    layout->parameters = tr_calloc(room, sizeof *layout->parameters);
    layout->weights = tr_calloc(segments * TR_WEIGHT_KINDS, sizeof *layout->weights);
    layout->spared.items = tr_calloc(room, sizeof *layout->spared.items);
    for (size_t k = 0; k < TR_FLATS; k++) {
        layout->flat[k].segments = tr_calloc(segments + 1, sizeof *layout->flat[k].segments);
    }
    append_all(layout, config, family);
    // A scalar head is never tied, so it is asked for first.
    layout->head = config->scalar_head       ? weight_at(layout, segments - 1, TR_WEIGHT_SCORE)
                   : config->tied_embeddings ? weight_at(layout, 0, TR_WEIGHT_EMBEDDING)
                                             : weight_at(layout, segments - 1, TR_WEIGHT_HEAD);
    tr_layout_select(layout, NULL);
}

/// A weight goes to one of two vectors. Within its vector the order stays that of the layout, so
/// the parts of a matrix still follow each other.
void tr_layout_select(tr_layout_t *layout, const tr_selection_t *selection)
{
    // Parameters come in order of offset, so segments begin in order too, in both vectors.
    size_t totals[TR_FLATS] = {0}, segment = 0;
    const tr_weight_t *last = NULL;
    layout->spared.count = 0;
    for (size_t i = 0; i < layout->count; i++) {
        tr_parameter_t *parameter = &layout->parameters[i];
        tr_weight_t *weight = parameter->weight;
        for (; segment < weight->segment; segment++) { // which begins here in both vectors
            layout->flat[TR_FROZEN].segments[segment + 1] = totals[TR_FROZEN];
            layout->flat[TR_TRAINED].segments[segment + 1] = totals[TR_TRAINED];
        }
        // Asked once a weight, not once a parameter: parts of one matrix are trained or frozen
        // together, and must stand side by side.
        if (weight != last) {
            weight->trained = selection != NULL ? selection->trains(selection->context, weight)
                                                : layout->adapter_count == 0 || weight->saved;
            weight->place = totals[weight->trained];
        }
        parameter->place = totals[weight->trained];
        totals[weight->trained] += parameter->rows * parameter->columns;
        last = weight;
        // transformers' rule: norms and biases do not decay.
        if (weight->trained && parameter->spared) {
            layout->spared.items[layout->spared.count++] =
                (tr_part_t){parameter->place, parameter->rows * parameter->columns};
        }
    }
    for (size_t k = 0; k < TR_FLATS; k++) {
        // Where the last segment ends; segments without a parameter in this vector are empty
        // ranges.
        layout->flat[k].total = layout->flat[k].segments[layout->segment_count] = totals[k];
    }
}

/// The row of the file for a row of a parameter whose parts are stored head by head.
static size_t row_by_head(const size_t *pieces, size_t rows, size_t row)
{
    size_t head = 0, before = 0, part = 0;
    for (size_t i = 0; i < TR_PIECES; i++) {
        head += pieces[i];
    }
    const size_t heads = rows / head;
    for (; row >= heads * pieces[part]; part++) {
        row -= heads * pieces[part];
        before += pieces[part];
    }
    return row / pieces[part] * head + before + row % pieces[part];
}

/// The same of one whose heads have their rotated rows last in the file, and maybe those of a pair
/// side by side.
static size_t row_rotated_last(const size_t *pieces, size_t row)
{
    const size_t plain = pieces[0], rotated = pieces[1], half = rotated / 2;
    const size_t head = plain + rotated, at = row % head;
    const size_t paired = at < half ? 2 * at : 2 * (at - half) + 1;
    return row - at + (at >= rotated ? at - rotated : plain + (pieces[2] != 0 ? paired : at));
}

/// Rows of one expert, of the weight's parts.
static size_t own_rows(const tr_parameter_t *parameter)
{
    return parameter->rows / parameter->weight->parts;
}

void tr_parameter_shape(const tr_parameter_t *parameter, size_t shape[3])
{
    const size_t rows = parameter->rows, columns = parameter->columns;
    const bool turned = parameter->rank == 1 || parameter->form == TR_FORM_TRANSPOSED;
    shape[0] = turned ? columns : rows;
    shape[1] = parameter->rank == 3 ? 1 : turned ? rows : columns;
    shape[2] = columns;
    if (parameter->form == TR_FORM_BY_EXPERT) {
        shape[0] = parameter->weight->parts;
        shape[1] = parameter->rank == 3 ? columns : own_rows(parameter);
        shape[2] = own_rows(parameter);
    }
}

/// The element of the file for a row and a column of a parameter that is stored expert by expert.
static size_t element_by_expert(const tr_parameter_t *parameter, size_t row, size_t column)
{
    const size_t own = own_rows(parameter);
    return (row / own * parameter->columns + column) * own +
           row_by_head(parameter->pieces, own, row % own);
}

size_t tr_parameter_stored(const tr_parameter_t *parameter, size_t i)
{
    const size_t rows = parameter->rank == 1 ? parameter->columns : parameter->rows;
    const size_t width = parameter->rank == 1 ? 1 : parameter->columns;
    const size_t row = i / width, column = i % width;
    switch (parameter->form) {
    case TR_FORM_TRANSPOSED: return column * rows + row;
    case TR_FORM_BY_HEAD: return row_by_head(parameter->pieces, rows, row) * width + column;
    case TR_FORM_ROTATED_LAST: return row_rotated_last(parameter->pieces, row) * width + column;
    case TR_FORM_BY_EXPERT: return element_by_expert(parameter, row, column);
    default: return i;
    }
}

void tr_layout_release(tr_layout_t *layout)
{
    free(layout->parameters);
    free(layout->weights);
    free(layout->adapters);
    free(layout->spared.items);
    free(layout->flat[TR_FROZEN].segments);
    free(layout->flat[TR_TRAINED].segments);
    *layout = (tr_layout_t){0};
}

tr_tensor_t tr_weight_gradient(const tr_weight_t *weight, const tr_gradient_t *gradient)
{
    // Two views of one vector: with zero_stage 2 and 3 only one segment of the rest is in memory at
    // a time, while the gradient of an embedding that is the head too is written at both ends of
    // the pass.
    tr_tensor_t flat = weight->segment == 0 ? gradient->embedding : gradient->rest;
    tr_tensor_t place = tr_tensor_slice(flat, weight->place, weight->rows, weight->columns);
    place.buffer = weight->trained ? place.buffer : NULL;
    return place;
}
