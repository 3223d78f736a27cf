#include "common/model/layout.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/status.h"

/// Appends a parameter and returns its offset. rows 0: a vector.
static size_t append(tr_layout_t *layout, size_t rows, size_t columns, const char *name)
{
    tr_parameter_t *parameter = &layout->parameters[layout->count++];
    snprintf(parameter->name, sizeof parameter->name, "%s", name);
    parameter->rows = rows == 0 ? 1 : rows;
    parameter->columns = columns;
    parameter->vector = rows == 0;
    parameter->offset = layout->total;
    layout->total += parameter->rows * columns;
    return parameter->offset;
}

/// Of layer i.
static size_t append_part(tr_layout_t *layout, size_t i, size_t rows, size_t columns,
                          const char *part)
{
    char name[sizeof layout->parameters->name];
    snprintf(name, sizeof name, "model.layers.%zu.%s.weight", i, part);
    return append(layout, rows, columns, name);
}

static void append_layer(tr_layout_t *layout, const tr_model_config_t *config, size_t i)
{
    size_t hidden = config->hidden;
    size_t inner = config->intermediate;
    size_t queries = config->heads * config->head_dim;
    size_t keys = config->key_value_heads * config->head_dim;
    tr_layer_layout_t *layer = &layout->layers[i];
    layer->input_norm = append_part(layout, i, 0, hidden, "input_layernorm");
    layer->qkv = append_part(layout, i, queries, hidden, "self_attn.q_proj");
    append_part(layout, i, keys, hidden, "self_attn.k_proj");
    append_part(layout, i, keys, hidden, "self_attn.v_proj");
    layer->output = append_part(layout, i, hidden, queries, "self_attn.o_proj");
    layer->post_norm = append_part(layout, i, 0, hidden, "post_attention_layernorm");
    layer->gate_up = append_part(layout, i, inner, hidden, "mlp.gate_proj");
    append_part(layout, i, inner, hidden, "mlp.up_proj");
    layer->down = append_part(layout, i, hidden, inner, "mlp.down_proj");
}

static void append_segments(tr_layout_t *layout, size_t layers)
{
    layout->segment_count = layers + 2;
    layout->segments = tr_calloc(layers + 3, sizeof *layout->segments);
    layout->segments[0] = layout->embedding;
    for (size_t i = 0; i < layers; i++) {
        layout->segments[i + 1] = layout->layers[i].input_norm;
    }
    layout->segments[layers + 1] = layout->final_norm;
    layout->segments[layers + 2] = layout->total;
}

void tr_layout_init(tr_layout_t *layout, const tr_model_config_t *config)
{
    *layout = (tr_layout_t){0};
    layout->parameters = tr_calloc(config->layers * 9 + 3, sizeof *layout->parameters);
    layout->layers = tr_calloc(config->layers, sizeof *layout->layers);
    layout->embedding =
        append(layout, config->vocabulary, config->hidden, "model.embed_tokens.weight");
    for (size_t i = 0; i < config->layers; i++) {
        append_layer(layout, config, i);
    }
    layout->final_norm = append(layout, 0, config->hidden, "model.norm.weight");
    if (config->scalar_head) {
        layout->head = append(layout, 1, config->hidden, "score.weight");
    } else if (config->tied_embeddings) {
        layout->head = layout->embedding;
    } else {
        layout->head = append(layout, config->vocabulary, config->hidden, "lm_head.weight");
    }
    append_segments(layout, config->layers);
}

void tr_layout_release(tr_layout_t *layout)
{
    free(layout->parameters);
    free(layout->layers);
    free(layout->segments);
    *layout = (tr_layout_t){0};
}
