/// Where parameters stand, against the names and shapes in Hugging Face files (tests/golden/models).
#include "common/model/layout.h"

#include <criterion/criterion.h>
#include <string.h>

#include "common/hf/safetensors.h"

#define MODELS TEST_SOURCE_DIR "/tests/golden/models/"

static const char *const ALL[] = {MODELS "tied", MODELS "untied_bf16", MODELS "sharded_f16",
                                  MODELS "scalar"};

static tr_model_config_t config_of(const char *directory)
{
    tr_error_t err = {0};
    tr_model_config_t config;
    cr_assert_eq(tr_model_config_load(&config, directory, &err), TR_OK, "%s", err.text);
    return config;
}

static const tr_parameter_t *find(const tr_layout_t *layout, const char *name)
{
    size_t i = 0;
    while (i < layout->count && strcmp(layout->parameters[i].name, name) != 0) {
        i++;
    }
    cr_assert_lt(i, layout->count, "no parameter '%s'", name);
    return &layout->parameters[i];
}

Test(layout, holds_the_tensors_of_the_files_and_no_others)
{
    for (size_t i = 0; i < 4; i++) {
        tr_error_t err = {0};
        tr_safetensors_t *file = NULL;
        tr_layout_t layout;
        tr_model_config_t config = config_of(ALL[i]);
        cr_assert_eq(tr_safetensors_open(&file, ALL[i], &err), TR_OK, "%s", err.text);
        tr_layout_init(&layout, &config);
        cr_assert_eq(layout.count, tr_safetensors_count(file), "%s", ALL[i]);
        for (size_t p = 0; p < layout.count; p++) {
            const tr_parameter_t *parameter = &layout.parameters[p];
            const tr_safetensors_info_t *info = tr_safetensors_find(file, parameter->name);
            cr_assert_not_null(info, "%s has no '%s'", ALL[i], parameter->name);
            cr_assert_eq(info->rank, parameter->vector ? 1 : 2, "%s", info->name);
            cr_assert_eq(info->shape[info->rank - 1], parameter->columns, "%s", info->name);
            cr_assert_eq(parameter->rows, parameter->vector ? 1 : info->shape[0], "%s", info->name);
        }
        tr_layout_release(&layout);
        tr_safetensors_close(&file);
    }
}

Test(layout, parameters_fill_one_vector_without_gaps)
{
    for (size_t i = 0; i < 4; i++) {
        tr_layout_t layout;
        tr_model_config_t config = config_of(ALL[i]);
        tr_layout_init(&layout, &config);
        size_t at = 0;
        for (size_t p = 0; p < layout.count; p++) {
            cr_assert_eq(layout.parameters[p].offset, at, "%s", layout.parameters[p].name);
            at += layout.parameters[p].rows * layout.parameters[p].columns;
        }
        cr_assert_eq(layout.total, at);
        tr_layout_release(&layout);
    }
}

Test(layout, offsets_point_at_what_their_names_say)
{
    tr_layout_t layout;
    tr_model_config_t config = config_of(MODELS "untied_bf16");
    tr_layout_init(&layout, &config);
    const tr_layer_layout_t *layer = &layout.layers[1];
    cr_assert_eq(layout.embedding, find(&layout, "model.embed_tokens.weight")->offset);
    cr_assert_eq(layout.final_norm, find(&layout, "model.norm.weight")->offset);
    cr_assert_eq(layout.head, find(&layout, "lm_head.weight")->offset);
#define AT(name) find(&layout, "model.layers.1." name ".weight")->offset
    cr_assert_eq(layer->input_norm, AT("input_layernorm"));
    cr_assert_eq(layer->qkv, AT("self_attn.q_proj"));
    cr_assert_eq(layer->output, AT("self_attn.o_proj"));
    cr_assert_eq(layer->post_norm, AT("post_attention_layernorm"));
    cr_assert_eq(layer->gate_up, AT("mlp.gate_proj"));
    cr_assert_eq(layer->down, AT("mlp.down_proj"));
    tr_layout_release(&layout);
}

Test(layout, projections_that_are_one_product_stand_together)
{
    tr_layout_t layout;
    tr_model_config_t config = config_of(MODELS "untied_bf16"); // 4 query, 2 key-value heads of 12
    tr_layout_init(&layout, &config);
    for (size_t i = 0; i < config.layers; i++) {
        const tr_parameter_t *q = find(&layout, i == 0 ? "model.layers.0.self_attn.q_proj.weight"
                                                       : "model.layers.1.self_attn.q_proj.weight");
        cr_assert_not_null(strstr(q[1].name, "k_proj"));
        cr_assert_not_null(strstr(q[2].name, "v_proj"));
        cr_assert_eq(q[1].offset, q[0].offset + (size_t)48 * 32);
        cr_assert_eq(q[2].offset, q[1].offset + (size_t)24 * 32);
        const tr_parameter_t *gate = find(&layout, i == 0 ? "model.layers.0.mlp.gate_proj.weight"
                                                          : "model.layers.1.mlp.gate_proj.weight");
        cr_assert_not_null(strstr(gate[1].name, "up_proj"));
        cr_assert_eq(gate[1].offset, gate[0].offset + (size_t)44 * 32);
    }
    tr_layout_release(&layout);
}

Test(layout, a_tied_head_is_the_embedding_and_a_scalar_head_is_not)
{
    tr_layout_t layout;
    tr_model_config_t config = config_of(MODELS "tied");
    tr_layout_init(&layout, &config);
    cr_assert_eq(layout.head, layout.embedding);
    tr_layout_release(&layout);
    config.scalar_head = true;
    tr_layout_init(&layout, &config);
    cr_assert_eq(layout.head, find(&layout, "score.weight")->offset);
    cr_assert_eq(layout.total, layout.head + config.hidden);
    tr_layout_release(&layout);
    cr_assert_null(layout.parameters);
    tr_layout_release(&layout);
}
