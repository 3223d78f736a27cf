/// Where parameters stand, against the names and shapes in Hugging Face files
/// (tests/golden/models).
#include "common/model/layout.h"

#include <criterion/criterion.h>
#include <string.h>

#include "common/hf/mxfp4.h"
#include "tests/support/models.h"

#define MODELS TEST_SOURCE_DIR "/tests/golden/models/"

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
    glob_t models;
    models_find(&models);
    for (size_t i = 0; i < models.gl_pathc; i++) {
        tr_error_t err = {0};
        tr_safetensors_t *file = NULL;
        tr_layout_t layout;
        tr_model_config_t config = config_of(models.gl_pathv[i]);
        cr_assert_eq(tr_safetensors_open(&file, models.gl_pathv[i], &err), TR_OK, "%s", err.text);
        tr_layout_init(&layout, &config);
        size_t count = 0;
        for (size_t t = 0; t < tr_safetensors_count(file); t++) { // of routers, and no parameters
            count += strstr(tr_safetensors_at(file, t)->name, "e_score_correction_bias") != NULL;
        }
        for (size_t p = 0; p < layout.count; p++) {
            const tr_parameter_t *parameter = &layout.parameters[p];
            const tr_safetensors_info_t *info = tr_safetensors_find(file, parameter->name);
            const tr_safetensors_info_t *packed[2];
            size_t shape[3];
            if (tr_mxfp4_find(packed, file, parameter->name)) {
                cr_assert_null(info, "%s", parameter->name);
                count += 2;
                continue;
            }
            cr_assert_not_null(info, "%s has no '%s'", models.gl_pathv[i], parameter->name);
            count++;
            tr_parameter_shape(parameter, shape);
            cr_assert_eq(info->rank, parameter->rank, "%s", info->name);
            cr_assert_arr_eq(info->shape, shape, info->rank * sizeof *shape, "%s", info->name);
            cr_assert_eq(info->count, parameter->rows * parameter->columns, "%s", info->name);
        }
        cr_assert_eq(count, tr_safetensors_count(file), "%s", models.gl_pathv[i]);
        tr_layout_release(&layout);
        tr_safetensors_close(&file);
    }
    globfree(&models);
}

Test(layout, parameters_fill_one_vector_without_gaps)
{
    glob_t models;
    models_find(&models);
    for (size_t i = 0; i < models.gl_pathc; i++) {
        tr_layout_t layout;
        tr_model_config_t config = config_of(models.gl_pathv[i]);
        tr_layout_init(&layout, &config);
        size_t at = 0;
        for (size_t p = 0; p < layout.count; p++) {
            cr_assert_eq(layout.parameters[p].offset, at, "%s", layout.parameters[p].name);
            at += layout.parameters[p].rows * layout.parameters[p].columns;
        }
        cr_assert_eq(layout.total, at);
        tr_layout_release(&layout);
    }
    globfree(&models);
}

Test(layout, offsets_point_at_what_their_names_say)
{
    tr_layout_t layout;
    tr_model_config_t config = config_of(MODELS "untied_bf16");
    tr_layout_init(&layout, &config);
    const size_t rest = config.layers + 1;
#define AT(kind, segment, name) \
    cr_assert_eq(tr_layout_weight(&layout, segment, kind)->place, find(&layout, name)->place)
    AT(TR_WEIGHT_EMBEDDING, 0, "model.embed_tokens.weight");
    AT(TR_WEIGHT_INPUT_NORM, 2, "model.layers.1.input_layernorm.weight");
    AT(TR_WEIGHT_QKV, 2, "model.layers.1.self_attn.q_proj.weight");
    AT(TR_WEIGHT_OUTPUT, 2, "model.layers.1.self_attn.o_proj.weight");
    AT(TR_WEIGHT_POST_NORM, 2, "model.layers.1.post_attention_layernorm.weight");
    AT(TR_WEIGHT_GATE_UP, 2, "model.layers.1.mlp.gate_proj.weight");
    AT(TR_WEIGHT_DOWN, 2, "model.layers.1.mlp.down_proj.weight");
    AT(TR_WEIGHT_FINAL_NORM, rest, "model.norm.weight");
    AT(TR_WEIGHT_HEAD, rest, "lm_head.weight");
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
    cr_assert_eq(layout.head, tr_layout_weight(&layout, 0, TR_WEIGHT_EMBEDDING));
    tr_layout_release(&layout);
    tr_model_config_make_scalar(&config);
    tr_layout_init(&layout, &config);
    cr_assert_eq(layout.head->place, find(&layout, "score.weight")->place);
    cr_assert_eq(layout.total, layout.head->place + config.hidden);
    tr_layout_release(&layout);
    cr_assert_null(layout.parameters);
    tr_layout_release(&layout);
}

/// Norms, and all of the last layer.
static bool trains_some(void *context, const tr_weight_t *weight)
{
    const tr_model_config_t *config = context;
    return weight->rows == 1 || weight->segment == config->layers;
}

Test(layout, trained_and_frozen_parameters_fill_a_vector_each_without_gaps)
{
    glob_t models;
    models_find(&models);
    for (size_t i = 0; i < models.gl_pathc; i++) {
        tr_layout_t layout;
        tr_model_config_t config = config_of(models.gl_pathv[i]);
        tr_layout_init(&layout, &config);
        tr_layout_select(&layout, &(tr_selection_t){trains_some, &config});
        size_t at[TR_FLATS] = {0}, offset = 0;
        for (size_t p = 0; p < layout.count; p++) {
            const tr_parameter_t *parameter = &layout.parameters[p];
            const tr_weight_t *weight = parameter->weight;
            const size_t *segments = layout.flat[weight->trained].segments;
            cr_expect_eq(weight->trained, trains_some(&config, weight), "%s", parameter->name);
            cr_expect_eq(parameter->place, at[weight->trained], "%s", parameter->name);
            cr_expect_eq(parameter->offset, offset, "%s", parameter->name);
            cr_expect(parameter->place >= segments[weight->segment] &&
                          parameter->place < segments[weight->segment + 1],
                      "%s lies in another segment", parameter->name);
            at[weight->trained] += parameter->rows * parameter->columns;
            offset += parameter->rows * parameter->columns;
        }
        cr_expect_eq(layout.flat[TR_TRAINED].total, at[TR_TRAINED]);
        cr_expect_eq(layout.flat[TR_FROZEN].total, at[TR_FROZEN]);
        cr_expect(at[TR_TRAINED] > 0 && at[TR_FROZEN] > 0);
        tr_layout_release(&layout);
    }
    globfree(&models);
}

/// As transformers' Trainer.get_decay_parameter_names: norms and biases.
static bool is_spared(const char *name)
{
    return strstr(name, "norm.weight") != NULL || strstr(name, ".ln_") != NULL ||
           strstr(name, "bias") != NULL;
}

static void spares_the_trained_norms(const tr_layout_t *layout)
{
    size_t spared = 0;
    for (size_t p = 0; p < layout->count; p++) {
        const tr_parameter_t *parameter = &layout->parameters[p];
        if (parameter->weight->trained && is_spared(parameter->name)) {
            cr_assert_lt(spared, layout->spared.count, "%s decays", parameter->name);
            cr_expect_eq(layout->spared.items[spared].first, parameter->place);
            cr_expect_eq(layout->spared.items[spared++].count,
                         parameter->rows * parameter->columns);
        }
    }
    cr_expect_eq(layout->spared.count, spared);
    cr_expect_gt(spared, 0U);
}

Test(layout, weight_decay_spares_the_trained_norms_and_nothing_else)
{
    glob_t models;
    models_find(&models);
    for (size_t i = 0; i < models.gl_pathc; i++) {
        tr_layout_t layout;
        tr_model_config_t config = config_of(models.gl_pathv[i]);
        tr_layout_init(&layout, &config);
        spares_the_trained_norms(&layout);
        tr_layout_select(&layout, &(tr_selection_t){trains_some, &config});
        spares_the_trained_norms(&layout);
        tr_layout_release(&layout);
    }
    globfree(&models);
}

/// The gradient of a frozen weight has no place; the others' are in the part of the vector that
/// their segment is written to.
Test(layout, gradients_are_places_of_the_trained_vector)
{
    tr_layout_t layout;
    tr_model_config_t config = config_of(MODELS "tied");
    tr_layout_init(&layout, &config);
    tr_layout_select(&layout, &(tr_selection_t){trains_some, &config});
    tr_buffer_t *first = (tr_buffer_t *)&layout, *second = (tr_buffer_t *)&config; // never read
    const tr_gradient_t gradient = {.embedding = {first, 64, TR_F32, 1, layout.total},
                                    .rest = {second, 128, TR_F32, 1, layout.total}};
    const tr_weight_t *down = tr_layout_weight(&layout, config.layers, TR_WEIGHT_DOWN);
    tr_tensor_t place = tr_weight_gradient(down, &gradient);
    cr_expect(place.buffer == second && place.offset == 128 + down->place * sizeof(float));
    cr_expect(place.rows == config.hidden && place.columns == config.intermediate);
    place = tr_weight_gradient(layout.head, &gradient); // the embedding
    cr_expect(place.buffer == NULL && place.rows == config.vocabulary);
    tr_layout_select(&layout, NULL);
    place = tr_weight_gradient(layout.head, &gradient);
    cr_expect(place.buffer == first && place.offset == 64);
    tr_layout_release(&layout);
}
