#include "common/model/layout.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/status.h"

/// Appends a parameter and returns its offset.
__attribute__((format(printf, 4, 5))) static size_t append(tr_layout_t *layout, size_t rows,
                                                           size_t columns, const char *format, ...)
{
    tr_parameter_t *parameter = &layout->parameters[layout->count++];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(parameter->name, sizeof parameter->name, format, arguments);
    va_end(arguments);
    parameter->rows = rows == 0 ? 1 : rows;
    parameter->columns = columns;
    parameter->vector = rows == 0;
    parameter->offset = layout->total;
    layout->total += parameter->rows * columns;
    return parameter->offset;
}

static void append_layer(tr_layout_t *layout, const tr_model_config_t *config, size_t i)
{
    size_t hidden = config->hidden;
    size_t queries = config->heads * config->head_dim;
    size_t keys = config->key_value_heads * config->head_dim;
    tr_layer_layout_t *layer = &layout->layers[i];
    layer->input_norm = append(layout, 0, hidden, "model.layers.%zu.input_layernorm.weight", i);
    layer->qkv = append(layout, queries, hidden, "model.layers.%zu.self_attn.q_proj.weight", i);
    append(layout, keys, hidden, "model.layers.%zu.self_attn.k_proj.weight", i);
    append(layout, keys, hidden, "model.layers.%zu.self_attn.v_proj.weight", i);
    layer->output = append(layout, hidden, queries, "model.layers.%zu.self_attn.o_proj.weight", i);
    layer->post_norm =
        append(layout, 0, hidden, "model.layers.%zu.post_attention_layernorm.weight", i);
    layer->gate_up =
        append(layout, config->intermediate, hidden, "model.layers.%zu.mlp.gate_proj.weight", i);
    append(layout, config->intermediate, hidden, "model.layers.%zu.mlp.up_proj.weight", i);
    layer->down =
        append(layout, hidden, config->intermediate, "model.layers.%zu.mlp.down_proj.weight", i);
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
}

void tr_layout_release(tr_layout_t *layout)
{
    free(layout->parameters);
    free(layout->layers);
    *layout = (tr_layout_t){0};
}
