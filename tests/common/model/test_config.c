/// config.json and generation_config.json: what is read, and what is refused by name.
#include "common/model/config.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/scratch.h"

#define SIZES                                                              \
    "\"model_type\": \"llama\", \"vocab_size\": 61, \"hidden_size\": 32, " \
    "\"intermediate_size\": 44, \"num_hidden_layers\": 2, \"num_attention_heads\": 4"
#define CAUSAL SIZES ", \"architectures\": [\"LlamaForCausalLM\"]"
#define SCALAR SIZES ", \"architectures\": [\"LlamaForSequenceClassification\"]"

/// Loads a config.json of this text, and a generation_config.json unless that is NULL.
static tr_status load(tr_model_config_t *config, const char *text, const char *generation,
                      tr_error_t *err)
{
    char *folder = scratch_open();
    char *path = scratch_write(folder, "config.json", text, strlen(text));
    free(path);
    if (generation != NULL) {
        path = scratch_write(folder, "generation_config.json", generation, strlen(generation));
        free(path);
    }
    tr_status status = tr_model_config_load(config, folder, err);
    scratch_close(&folder);
    return status;
}

static tr_model_config_t loaded(const char *text, const char *generation)
{
    tr_model_config_t config;
    tr_error_t err = {0};
    cr_assert_eq(load(&config, text, generation, &err), TR_OK, "%s", err.text);
    return config;
}

/// The text is refused with this status, by a sentence that names the file and holds `words`.
static void expect_refused(const char *text, const char *generation, tr_status status,
                           const char *words)
{
    tr_model_config_t config = {.vocabulary = 123};
    tr_error_t err = {0};
    cr_expect_eq(load(&config, text, generation, &err), status, "%s: '%s'", text, err.text);
    cr_expect_eq(config.vocabulary, 123, "written on failure");
    cr_expect_not_null(strstr(err.text, "config.json"), "'%s' names no file", err.text);
    cr_expect_not_null(strstr(err.text, words), "'%s' lacks '%s'", err.text, words);
}

static void expect_same(const tr_model_config_t *a, const tr_model_config_t *b)
{
    cr_expect_eq(a->vocabulary, b->vocabulary);
    cr_expect_eq(a->hidden, b->hidden);
    cr_expect_eq(a->intermediate, b->intermediate);
    cr_expect_eq(a->layers, b->layers);
    cr_expect_eq(a->heads, b->heads);
    cr_expect_eq(a->key_value_heads, b->key_value_heads);
    cr_expect_eq(a->head_dim, b->head_dim);
    cr_expect_eq(a->max_positions, b->max_positions);
    cr_expect(a->rms_epsilon == b->rms_epsilon);
    cr_expect(a->rope_theta == b->rope_theta);
    cr_expect(a->score_mean == b->score_mean);
    cr_expect(a->score_std == b->score_std);
    cr_expect_eq(a->tied_embeddings, b->tied_embeddings);
    cr_expect_eq(a->scalar_head, b->scalar_head);
    cr_expect_eq(a->bos, b->bos);
    cr_expect_eq(a->pad, b->pad);
    cr_expect_eq(a->eos_count, b->eos_count);
    cr_expect_arr_eq(a->eos, b->eos, sizeof a->eos);
}

Test(config, missing_keys_have_the_defaults_of_transformers)
{
    tr_model_config_t config = loaded("{" CAUSAL "}", NULL);
    const tr_model_config_t expected = {.vocabulary = 61,
                                        .hidden = 32,
                                        .intermediate = 44,
                                        .layers = 2,
                                        .heads = 4,
                                        .key_value_heads = 4,
                                        .head_dim = 8,
                                        .max_positions = 2048,
                                        .rms_epsilon = 1e-6f,
                                        .rope_theta = 10000.0,
                                        .bos = 1,
                                        .eos = {2},
                                        .eos_count = 1,
                                        .pad = -1};
    expect_same(&config, &expected);
}

Test(config, given_keys_are_read)
{
    tr_model_config_t config =
        loaded("{" CAUSAL
               ", \"num_key_value_heads\": 2, \"head_dim\": 12, \"max_position_embeddings\": 64,"
               "\"rms_norm_eps\": 1e-5, \"rope_theta\": 500000, \"tie_word_embeddings\": true,"
               "\"bos_token_id\": 5, \"eos_token_id\": [6, 7], \"pad_token_id\": 8, "
               "\"hidden_act\": \"silu\","
               "\"attention_bias\": false, \"mlp_bias\": null, \"pretraining_tp\": 1, "
               "\"rope_scaling\": null}",
               NULL);
    const tr_model_config_t expected = {.vocabulary = 61,
                                        .hidden = 32,
                                        .intermediate = 44,
                                        .layers = 2,
                                        .heads = 4,
                                        .key_value_heads = 2,
                                        .head_dim = 12,
                                        .max_positions = 64,
                                        .rms_epsilon = 1e-5f,
                                        .rope_theta = 500000.0,
                                        .tied_embeddings = true,
                                        .bos = 5,
                                        .eos = {6, 7},
                                        .eos_count = 2,
                                        .pad = 8};
    expect_same(&config, &expected);
}

Test(config, rope_parameters_of_transformers_5_mean_the_same_as_rope_theta)
{
    const char *texts[] = {
        "{" CAUSAL ", \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 500000.0}}",
        "{" CAUSAL ", \"rope_scaling\": {\"type\": \"default\"}, \"rope_theta\": 500000.0}",
        "{" CAUSAL ", \"rope_parameters\": {\"rope_theta\": 5e5}, \"rope_theta\": 500000}"};
    for (size_t i = 0; i < 3; i++) {
        cr_expect(loaded(texts[i], NULL).rope_theta == 500000.0, "%s", texts[i]);
    }
    expect_refused("{" CAUSAL
                   ", \"rope_parameters\": {\"rope_theta\": 5e5}, \"rope_theta\": 10000}",
                   NULL, TR_ERR_FORMAT, "rope_parameters.rope_theta");
}

Test(config, a_scalar_head_is_sequence_classification_with_one_label)
{
    cr_expect(loaded("{" SCALAR ", \"num_labels\": 1}", NULL).scalar_head);
    cr_expect(loaded("{" SCALAR ", \"id2label\": {\"0\": \"LABEL_0\"}}", NULL).scalar_head);
    cr_expect_not(loaded("{" SCALAR ", \"num_labels\": 1, \"tie_word_embeddings\": true}", NULL)
                      .tied_embeddings);
    expect_refused("{" SCALAR "}", NULL, TR_ERR_UNSUPPORTED, "num_labels");
    expect_refused("{" SCALAR ", \"num_labels\": 3}", NULL, TR_ERR_UNSUPPORTED, "num_labels");
    expect_refused("{" SCALAR ", \"num_labels\": 1, \"id2label\": {\"0\": \"a\", \"1\": \"b\"}}",
                   NULL, TR_ERR_UNSUPPORTED, "id2label");
}

Test(config, what_generation_stops_at_is_its_own_configuration_s_business)
{
    const char *text = "{" CAUSAL ", \"eos_token_id\": [2, 9]}";
    tr_model_config_t config = loaded(text, "{\"eos_token_id\": [7, 3], \"pad_token_id\": 4}");
    cr_expect(config.eos_count == 2 && config.eos[0] == 7 && config.eos[1] == 3 && config.pad == 4);
    config = loaded(text, "{\"eos_token_id\": 5}");
    cr_expect(config.eos_count == 1 && config.eos[0] == 5 && config.eos[1] == 0 &&
              config.pad == -1);
    config = loaded(text, "{\"temperature\": 0.6}");
    cr_expect(config.eos_count == 2 && config.eos[0] == 2 && config.eos[1] == 9);
    config = loaded("{" CAUSAL ", \"eos_token_id\": null, \"bos_token_id\": null}", NULL);
    cr_expect(config.eos_count == 0 && config.bos == -1);
    expect_refused(text, "{\"eos_token_id\": 61}", TR_ERR_FORMAT,
                   "generation_config.json: eos_token_id");
    char many[1024] = "{\"eos_token_id\": [0";
    for (size_t used = strlen(many), i = 0; i < TR_MODEL_EOS_LIMIT - 1; i++, used += 2) {
        snprintf(many + used, sizeof many - used, ",7");
    }
    char *allowed = tr_format("%s]}", many), *refused = tr_format("%s,7]}", many);
    cr_expect_eq(loaded(text, allowed).eos_count, TR_MODEL_EOS_LIMIT);
    expect_refused(text, refused, TR_ERR_UNSUPPORTED, "eos_token_id");
    free(refused);
    free(allowed);
}

/// The key's value in a configuration, as the text of an object's member; owned by the caller.
static char *member(const json_t *golden, const char *file)
{
    char *value = json_dumps(json_object_get(golden, file), JSON_ENCODE_ANY);
    char *text = tr_format("\"eos_token_id\": %s", value);
    free(value);
    return text;
}

/// Whether both hold the same ids; one id may stand by itself.
static bool same_ids(const json_t *ids, const tr_model_config_t *config)
{
    size_t found = 0, count = json_is_array(ids) ? json_array_size(ids) : 1;
    for (size_t i = 0; i < config->eos_count; i++) {
        for (size_t k = 0; k < count; k++) {
            const json_t *id = json_is_array(ids) ? json_array_get(ids, k) : ids;
            found += json_integer_value(id) == config->eos[i];
        }
    }
    return found == count && count == config->eos_count;
}

/// Both files as they are saved: generation_config.json says what the config stops at.
static void expect_saved(const tr_model_config_t *config, const char *generation,
                         const json_t *expected)
{
    char *folder = scratch_open(), *text = NULL;
    tr_error_t err = {0};
    free(scratch_write(folder, "generation_config.json", generation, strlen(generation)));
    cr_assert_eq(tr_model_generation_json(&text, config, folder, &err), TR_OK, "%s", err.text);
    json_t *file = json_loads(text != NULL ? text : generation, 0, NULL);
    cr_expect(same_ids(json_object_get(file, "eos_token_id"), config));
    cr_expect(same_ids(expected, config));
    cr_expect_eq(json_real_value(json_object_get(file, "temperature")), 0.6);
    cr_expect(text == NULL || strstr(text, "0.6,") != NULL, "%s", text);
    json_decref(file);
    free(text);
    scratch_close(&folder);
}

Test(config, the_tokenizers_end_token_is_added_as_transformers_adds_it)
{
    json_t *golden = json_load_file(TEST_SOURCE_DIR "/tests/golden/eos.json", 0, NULL);
    json_t *cases = json_object_get(golden, "cases"), *one;
    size_t i;
    cr_assert_geq(json_array_size(cases), 10);
    json_array_foreach(cases, i, one)
    {
        const json_t *eos = json_object_get(one, "tokenizer");
        bool alone = json_is_null(json_object_get(one, "generation"));
        char *own = member(one, "config"), *generation = member(one, "generation");
        char *text = tr_format("{" CAUSAL ", %s}", own);
        char *other = tr_format("{\"temperature\": 0.6, %s}", generation);
        tr_model_config_t config = loaded(text, alone ? NULL : other);
        tr_error_t err = {0};
        cr_assert_eq(tr_model_config_align(
                         &config, json_is_null(eos) ? -1 : (int32_t)json_integer_value(eos), &err),
                     TR_OK, "%s", err.text);
        expect_saved(&config, other, json_object_get(one, "saved"));
        free(other);
        free(text);
        free(generation);
        free(own);
    }
    json_decref(golden);
}

Test(config, an_end_token_that_cannot_be_added_is_refused)
{
    tr_error_t err = {0};
    tr_model_config_t config = loaded("{" CAUSAL "}", NULL);
    cr_expect_eq(tr_model_config_align(&config, 61, &err), TR_ERR_ARGUMENT);
    cr_expect_eq(tr_model_config_align(&config, 7, &err), TR_OK);
    config.eos_count = TR_MODEL_EOS_LIMIT;
    cr_expect_eq(tr_model_config_align(&config, 7, &err), TR_OK);
    cr_expect_eq(tr_model_config_align(&config, 8, &err), TR_ERR_UNSUPPORTED);
}

Test(config, what_the_engine_lacks_is_refused_by_name)
{
    static const char *const rows[][2] = {
        {"\"hidden_act\": \"gelu\"", "hidden_act: expected \"silu\", found \"gelu\""},
        {"\"pretraining_tp\": 2", "pretraining_tp"},
        {"\"partial_rotary_factor\": 0.5", "partial_rotary_factor"},
        {"\"quantization_config\": {\"bits\": 4}", "quantization_config"},
        {"\"head_dim\": 9", "head_dim"},
        {"\"rope_scaling\": {\"type\": \"su\", \"factor\": 2.0}", "rope_scaling.type"},
        {"\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.0, \"beta_fast\": 8}",
         "rope_scaling.beta_fast: expected no such key, found 8"},
        {"\"rope_parameters\": {\"rope_type\": \"proportional\"}", "found \"proportional\""},
        {"\"rope_scaling\": {\"factor\": 2.0}", "rope_scaling.factor"},
        {"\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 1e4}}", "full_attention"},
        {"\"sliding_window\": 4096", "sliding_window: expected no such key of a llama model"},
        {"\"use_sliding_window\": true", "use_sliding_window"},
        {"\"layer_types\": [\"full_attention\", \"full_attention\"]", "layer_types"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[512];
        snprintf(text, sizeof text, "{" CAUSAL ", %s}", rows[i][0]);
        expect_refused(text, NULL, TR_ERR_UNSUPPORTED, rows[i][1]);
    }
}

/// Sizes of a mixture of experts, of the model_type that goes before them.
#define EXPERTS                                                                                   \
    "\"vocab_size\": 61, \"hidden_size\": 32, \"intermediate_size\": 44, \"num_hidden_layers\": " \
    "2, "                                                                                         \
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 2"

Test(config, keys_of_a_mixture_of_experts_are_refused_by_name)
{
    static const struct {
        const char *type, *keys, *words;
        tr_status status;
    } rows[] = {
        {"qwen3_moe", "\"num_experts\": 4", "num_experts_per_tok: expected at most the number",
         TR_ERR_FORMAT},
        {"qwen3_moe", "\"num_experts\": 0", "num_experts", TR_ERR_FORMAT},
        {"qwen3_moe", "\"num_experts\": 16, \"num_local_experts\": 8",
         "num_local_experts: expected the num_experts that stands beside it, found 8",
         TR_ERR_FORMAT},
        {"qwen3_moe", "\"num_local_experts\": 4", "num_experts_per_tok", TR_ERR_FORMAT},
        {"qwen3_moe", "\"mlp_only_layers\": [\"0\"]", "mlp_only_layers", TR_ERR_FORMAT},
        {"qwen3_moe", "\"mlp_only_layers\": 1", "mlp_only_layers", TR_ERR_FORMAT},
        {"qwen3_moe", "\"norm_topk_prob\": 1", "norm_topk_prob", TR_ERR_FORMAT},
        {"qwen3_moe", "\"hidden_act\": \"gelu\"", "hidden_act", TR_ERR_UNSUPPORTED},
        {"mixtral", "\"router_jitter_noise\": 0.1", "router_jitter_noise", TR_ERR_UNSUPPORTED},
        {"mixtral", "\"norm_topk_prob\": true", "norm_topk_prob: expected no such key of a mixtral",
         TR_ERR_UNSUPPORTED},
        {"gpt_oss",
         "\"num_local_experts\": 8, \"num_experts_per_tok\": 4, \"experts_per_token\": 2",
         "experts_per_token: expected the num_experts_per_tok that stands beside it, found 2",
         TR_ERR_FORMAT},
        {"gpt_oss", "\"num_local_experts\": 3", "num_experts_per_tok", TR_ERR_FORMAT},
        {"gpt_oss", "\"swiglu_limit\": 0.0", "swiglu_limit", TR_ERR_FORMAT},
        {"gpt_oss", "\"swiglu_alpha\": \"1.7\"", "swiglu_alpha", TR_ERR_FORMAT},
        {"gpt_oss", "\"attention_bias\": 1", "attention_bias", TR_ERR_FORMAT},
        {"gpt_oss", "\"hidden_act\": \"gelu\"", "hidden_act", TR_ERR_UNSUPPORTED},
        {"gpt_oss", "\"layer_types\": [\"sliding_attention\", \"chunked_attention\"]",
         "layer_types", TR_ERR_UNSUPPORTED},
        {"gpt_oss", "\"moe_intermediate_size\": 8",
         "moe_intermediate_size: expected no such key of a gpt_oss model", TR_ERR_UNSUPPORTED},
        {"gpt_oss", "\"quantization_config\": {\"quant_method\": \"fp8\"}",
         "quantization_config: expected quant_method \"mxfp4\", or none (weights as F32, BF16 or "
         "F16)",
         TR_ERR_UNSUPPORTED},
        {"mixtral", "\"quantization_config\": {\"quant_method\": \"mxfp4\"}",
         "quantization_config: expected none (weights", TR_ERR_UNSUPPORTED},
        {"mixtral", "\"swiglu_limit\": 7.0", "swiglu_limit: expected no such key of a mixtral",
         TR_ERR_UNSUPPORTED},
        {"olmoe", "\"clip_qkv\": 8.0", "clip_qkv", TR_ERR_UNSUPPORTED},
        {"olmoe", "\"mlp_only_layers\": [0]", "mlp_only_layers", TR_ERR_UNSUPPORTED},
        {"qwen2_moe", "\"shared_expert_intermediate_size\": 0", "shared_expert_intermediate_size",
         TR_ERR_FORMAT},
        {"qwen2_moe", "\"use_sliding_window\": true, \"sliding_window\": 0", "sliding_window",
         TR_ERR_FORMAT},
        {"qwen3", "\"num_experts\": 8", "num_experts: expected no such key of a qwen3 model",
         TR_ERR_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[512];
        snprintf(text, sizeof text, "{\"model_type\": \"%s\", " EXPERTS ", %s}", rows[i].type,
                 rows[i].keys);
        expect_refused(text, NULL, rows[i].status, rows[i].words);
    }
}

/// As Qwen/Qwen3-30B-A3B has them: a key that says nothing in this family is no mistake.
Test(config, a_mixture_of_experts_is_read)
{
    const tr_model_config_t config = loaded(
        "{\"model_type\": \"qwen3_moe\", " EXPERTS
        ", \"max_window_layers\": 48, \"use_sliding_window\": false, \"sliding_window\": null, "
        "\"mlp_only_layers\": [], \"decoder_sparse_step\": 2, \"num_experts\": 128, "
        "\"num_experts_per_tok\": 8, \"moe_intermediate_size\": 768, \"norm_topk_prob\": true}",
        NULL);
    cr_expect_eq(config.experts, 128);
    cr_expect_eq(config.experts_chosen, 8);
    cr_expect_eq(config.expert_intermediate, 768);
    cr_expect(config.router_normalized);
    cr_expect(tr_layer_set_has(&config.dense, 0) && !tr_layer_set_has(&config.dense, 1));
}

/// transformers' __post_init__ of these families: null heads of keys are the queries', and a border
/// of 0 has all layers on one side.
Test(config, zero_and_null_are_what_transformers_makes_of_them)
{
    static const struct {
        const char *type;
        bool slides;
    } rows[] = {{"qwen2", true}, {"qwen3", true}, {"qwen2_moe", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "{\"model_type\": \"%s\", \"vocab_size\": 61, \"hidden_size\": 32, "
                 "\"intermediate_size\": 44, \"num_hidden_layers\": 2, "
                 "\"num_attention_heads\": 4, \"num_key_value_heads\": null, "
                 "\"use_sliding_window\": true, \"sliding_window\": 7, \"max_window_layers\": 0}",
                 rows[i].type);
        const tr_model_config_t config = loaded(text, NULL);
        cr_expect_eq(config.key_value_heads, config.heads);
        cr_expect_eq(tr_layer_set_has(&config.sliding, 0), rows[i].slides, "%s", rows[i].type);
    }
}

#define LATENT                                                                    \
    "{\"model_type\": \"deepseek_v3\", \"vocab_size\": 61, \"hidden_size\": 32, " \
    "\"intermediate_size\": 44, \"num_hidden_layers\": 4, \"num_attention_heads\": 4"

/// As moonshotai/Moonlight-16B-A3B has them, but for the sizes above.
Test(config, latent_attention_and_groups_of_experts_are_read)
{
    const tr_model_config_t config = loaded(
        LATENT
        ", \"first_k_dense_replace\": 1, \"kv_lora_rank\": 512, \"moe_intermediate_size\": "
        "1408, \"moe_layer_freq\": 1, \"n_group\": 1, \"n_routed_experts\": 64, "
        "\"n_shared_experts\": 2, \"num_experts_per_tok\": 6, \"num_key_value_heads\": 4, "
        "\"q_lora_rank\": null, \"qk_nope_head_dim\": 128, \"qk_rope_head_dim\": 64, "
        "\"routed_scaling_factor\": 2.446, \"scoring_func\": \"sigmoid\", \"topk_group\": 1, "
        "\"topk_method\": \"noaux_tc\", \"v_head_dim\": 128, \"ep_size\": 1}",
        NULL);
    cr_expect_eq(config.latent.query, 0U);
    cr_expect_eq(config.head_dim, 192U);
    cr_expect_eq(config.rotary_dim, 64U);
    cr_expect_eq(config.shared_intermediate, 2816U);
    cr_expect_eq(config.dense.bits[0], 1U);
    cr_expect(config.router_sigmoid && config.router_normalized && config.latent.pairs);
}

Test(config, keys_of_latent_attention_are_refused_by_name)
{
    static const struct {
        const char *keys, *words;
        tr_status status;
    } rows[] = {
        {"\"scoring_func\": \"softmax\"", "scoring_func: expected \"sigmoid\"", TR_ERR_UNSUPPORTED},
        {"\"topk_method\": \"greedy\"", "topk_method", TR_ERR_UNSUPPORTED},
        {"\"attention_bias\": true", "attention_bias", TR_ERR_UNSUPPORTED},
        {"\"num_key_value_heads\": 2", "num_key_value_heads", TR_ERR_UNSUPPORTED},
        {"\"v_head_dim\": 256", "v_head_dim", TR_ERR_UNSUPPORTED},
        {"\"qk_rope_head_dim\": 63", "qk_rope_head_dim", TR_ERR_UNSUPPORTED},
        {"\"n_group\": 7", "n_group", TR_ERR_FORMAT},
        {"\"n_routed_experts\": 8", "n_group", TR_ERR_FORMAT},
        {"\"topk_group\": 9", "topk_group", TR_ERR_FORMAT},
        {"\"n_routed_experts\": 16, \"topk_group\": 3", "topk_group", TR_ERR_FORMAT},
        {"\"rope_scaling\": {\"type\": \"default\", \"partial_rotary_factor\": 0.5}",
         "partial_rotary_factor", TR_ERR_UNSUPPORTED},
        {"\"sliding_window\": 9", "sliding_window", TR_ERR_UNSUPPORTED},
        {"\"quantization_config\": {\"quant_method\": \"gptq\"}", "quantization_config",
         TR_ERR_UNSUPPORTED},
        {"\"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": [64, 64]}",
         "weight_block_size", TR_ERR_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[512];
        snprintf(text, sizeof text, LATENT ", %s}", rows[i].keys);
        expect_refused(text, NULL, rows[i].status, rows[i].words);
    }
    expect_refused("{\"model_type\": \"qwen3_moe\", " EXPERTS ", \"n_group\": 4}", NULL,
                   TR_ERR_UNSUPPORTED, "n_group: expected no such key of a qwen3_moe model");
}

Test(config, a_gpt_that_would_compute_otherwise_is_refused_by_name)
{
    static const char *const rows[][2] = {
        {"\"activation_function\": \"relu\"", "activation_function: expected \"gelu\""},
        {"\"scale_attn_weights\": false", "scale_attn_weights"},
        {"\"scale_attn_by_inverse_layer_idx\": true", "scale_attn_by_inverse_layer_idx"},
        {"\"add_cross_attention\": true", "add_cross_attention"},
        {"\"num_key_value_heads\": 2", "num_key_value_heads: expected no such key of a gpt2"},
        {"\"n_embd\": 15", "head_dim: expected an even number, found 5"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "{\"model_type\": \"gpt2\", \"vocab_size\": 61, \"n_head\": 3, "
                 "%s}",
                 rows[i][0]);
        expect_refused(text, NULL, TR_ERR_UNSUPPORTED, rows[i][1]);
    }
}

Test(config, sizes_of_a_gpt_follow_from_others_and_from_its_defaults)
{
    const tr_model_config_t gpt2 =
        loaded("{\"model_type\": \"gpt2\", \"vocab_size\": 50257, \"n_inner\": null}", NULL);
    cr_expect_eq(gpt2.hidden, 768U);
    cr_expect_eq(gpt2.intermediate, 3072U);
    cr_expect_eq(gpt2.head_dim, 64U);
    cr_expect(gpt2.tied_embeddings && gpt2.activation == TR_ACTIVATION_GELU_TANH);
    cr_expect_eq(gpt2.eos[0], 50256);
    // As Pythia's file has them, before transformers 5.
    const tr_model_config_t pythia =
        loaded("{\"model_type\": \"gpt_neox\", \"vocab_size\": 50304, \"hidden_size\": 512, "
               "\"intermediate_size\": 2048, \"num_hidden_layers\": 6, "
               "\"num_attention_heads\": 8, \"rotary_pct\": 0.25, \"rotary_emb_base\": 5000}",
               NULL);
    cr_expect_eq(pythia.rotary_dim, 16U);
    cr_expect_eq(pythia.rope_theta, 5000.0);
    cr_expect(pythia.activation == TR_ACTIVATION_GELU && pythia.parallel_residual);
}

/// transformers 5.24 has the ramp's bounds truncated whatever a record within rope_parameters says.
Test(config, a_key_that_transformers_does_not_find_is_refused)
{
    expect_refused("{\"model_type\": \"olmo3\", " EXPERTS
                   ", \"rope_parameters\": {\"full_attention\": {\"rope_type\": \"yarn\", "
                   "\"factor\": 8.0, \"truncate\": false}, "
                   "\"sliding_attention\": {\"rope_type\": \"default\"}}}",
                   NULL, TR_ERR_UNSUPPORTED,
                   "rope_parameters.full_attention.truncate: expected true, found false");
}

Test(config, other_models_are_refused_by_name)
{
    expect_refused("{\"model_type\": \"mamba\", \"architectures\": [\"MambaForCausalLM\"]}", NULL,
                   TR_ERR_UNSUPPORTED, "found \"mamba\"");
    expect_refused("{\"model_type\": \"mamba\"}", NULL, TR_ERR_UNSUPPORTED,
                   "model_type: expected \"llama\" or \"qwen2\" or \"qwen3\"");
    expect_refused("{\"vocab_size\": 61}", NULL, TR_ERR_UNSUPPORTED, "model_type");
    expect_refused("{" SIZES ", \"architectures\": [\"LlamaForTokenClassification\"]}", NULL,
                   TR_ERR_UNSUPPORTED, "LlamaForTokenClassification");
    expect_refused("{" SIZES ", \"architectures\": [\"LlamaForCausalLM\", \"LlamaModel\"]}", NULL,
                   TR_ERR_UNSUPPORTED, "architectures");
    expect_refused("{" SIZES ", \"architectures\": \"LlamaForCausalLM\"}", NULL, TR_ERR_UNSUPPORTED,
                   "architectures");
}

/// As openai/gpt-oss-20b has it, but for the list of layers, which is the default.
Test(config, of_the_published_gpt_oss_is_read)
{
    const tr_model_config_t config =
        loaded("{\"model_type\": \"gpt_oss\", \"architectures\": [\"GptOssForCausalLM\"], "
               "\"attention_bias\": true, \"attention_dropout\": 0.0, \"eos_token_id\": 200002, "
               "\"experts_per_token\": 4, \"head_dim\": 64, \"hidden_act\": \"silu\", "
               "\"hidden_size\": 2880, \"initial_context_length\": 4096, "
               "\"initializer_range\": 0.02, \"intermediate_size\": 2880, "
               "\"max_position_embeddings\": 131072, \"num_attention_heads\": 64, "
               "\"num_experts_per_tok\": 4, \"num_hidden_layers\": 24, "
               "\"num_key_value_heads\": 8, \"num_local_experts\": 32, "
               "\"output_router_logits\": false, \"pad_token_id\": 199999, "
               "\"quantization_config\": {\"quant_method\": \"mxfp4\", "
               "\"modules_to_not_convert\": [\"lm_head\"]}, \"rms_norm_eps\": 1e-05, "
               "\"rope_scaling\": {\"beta_fast\": 32.0, \"beta_slow\": 1.0, \"factor\": 32.0, "
               "\"original_max_position_embeddings\": 4096, \"rope_type\": \"yarn\", "
               "\"truncate\": false}, \"rope_theta\": 150000, \"router_aux_loss_coef\": 0.9, "
               "\"sliding_window\": 128, \"swiglu_limit\": 7.0, "
               "\"tie_word_embeddings\": false, \"use_cache\": true, \"vocab_size\": 201088}",
               NULL);
    cr_expect_eq(config.experts, 32);
    cr_expect_eq(config.experts_chosen, 4);
    cr_expect_eq(config.expert_intermediate, 2880);
    cr_expect_eq(config.window, 128);
    cr_expect(tr_layer_set_has(&config.sliding, 0) && !tr_layer_set_has(&config.sliding, 1));
    cr_expect_eq(config.rope_scaling.kind, TR_ROPE_YARN);
    cr_expect_eq(config.rope_scaling.factor, 32.0);
    cr_expect_eq(config.rope_scaling.truncate, false);
    cr_expect_eq(config.swiglu_alpha, 1.702f);
    cr_expect_eq(config.swiglu_limit, 7.0f);
    cr_expect(config.attention_bias && config.router_normalized);
}

#define WRAPPED "\"model_type\": \"qwen3_5\""

Test(config, of_a_model_of_pictures_the_text_model_is_read_or_refused)
{
    expect_refused("{" WRAPPED "}", NULL, TR_ERR_FORMAT, "text_config: expected an object");
    expect_refused("{" WRAPPED ", \"text_config\": {\"vocab_size\": 7}}", NULL, TR_ERR_FORMAT,
                   "intermediate_size");
    expect_refused("{" WRAPPED ", \"text_config\": {\"model_type\": \"mamba\"}}", NULL,
                   TR_ERR_UNSUPPORTED, "found \"mamba\"");
    expect_refused(
        "{" WRAPPED ", \"architectures\": [\"Qwen3_5ForSequenceClassification\"]}", NULL,
        TR_ERR_UNSUPPORTED,
        "architectures: expected [\"Qwen3_5ForConditionalGeneration\"], whose text model "
        "is read");
}

#define RECURRENT                                                                 \
    "\"model_type\": \"qwen3_5_text\", \"vocab_size\": 61, \"hidden_size\": 32, " \
    "\"intermediate_size\": 44, \"num_hidden_layers\": 5, \"num_attention_heads\": 4"

/// By the list, or the last of each four as transformers fills it in.
Test(config, layers_recur_by_their_list_or_by_an_interval)
{
    static const struct {
        const char *key;
        uint64_t layers;
    } rows[] = {
        {"\"a\": 1", 0x17},
        {"\"full_attention_interval\": 2", 0x15},
        {"\"layer_types\": [\"full_attention\", \"linear_attention\", \"full_attention\", "
         "\"full_attention\", \"linear_attention\"]",
         0x12},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *text = tr_format("{" RECURRENT ", %s}", rows[i].key);
        const tr_model_config_t config = loaded(text, NULL);
        cr_expect_eq(config.recurrent.bits[0], rows[i].layers, "%s", rows[i].key);
        cr_expect_eq(config.rotary_dim, 64U); // a quarter
        free(text);
    }
    expect_refused("{" RECURRENT ", \"linear_num_value_heads\": 24}", NULL, TR_ERR_FORMAT,
                   "linear_num_value_heads: expected a multiple of linear_num_key_heads");
    expect_refused("{" RECURRENT ", \"linear_conv_kernel_dim\": 9}", NULL, TR_ERR_FORMAT,
                   "linear_conv_kernel_dim");
    expect_refused("{" RECURRENT ", \"attn_output_gate\": false}", NULL, TR_ERR_UNSUPPORTED,
                   "attn_output_gate");
}

Test(config, sizes_out_of_bounds_are_refused_by_key)
{
    static const char *const rows[][2] = {
        {"\"num_key_value_heads\": 3", "num_key_value_heads"},
        {"\"num_key_value_heads\": 8", "num_key_value_heads"},
        {"\"num_key_value_heads\": 0", "num_key_value_heads"},
        {"\"head_dim\": -2", "head_dim"},
        {"\"head_dim\": 8.0", "head_dim"},
        {"\"head_dim\": \"8\"", "head_dim"},
        {"\"max_position_embeddings\": 9223372036854775807", "max_position_embeddings"},
        {"\"max_position_embeddings\": 0", "max_position_embeddings"},
        {"\"rms_norm_eps\": 0", "rms_norm_eps"},
        {"\"rms_norm_eps\": \"1e-5\"", "rms_norm_eps"},
        {"\"rope_theta\": -1.0", "rope_theta"},
        {"\"rope_theta\": true", "rope_theta"},
        {"\"rope_scaling\": [2]", "rope_scaling"},
        {"\"score_std\": 0", "score_std"},
        {"\"score_mean\": null, \"score_std\": -1.5", "score_std"},
        {"\"tie_word_embeddings\": 1", "tie_word_embeddings"},
        {"\"bos_token_id\": 61", "bos_token_id"},
        {"\"bos_token_id\": \"<s>\"", "bos_token_id"},
        {"\"pad_token_id\": -2", "pad_token_id"},
        {"\"eos_token_id\": [1, null]", "eos_token_id"},
        {"\"eos_token_id\": -1", "eos_token_id"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[512];
        snprintf(text, sizeof text, "{" CAUSAL ", %s}", rows[i][0]);
        expect_refused(text, NULL, TR_ERR_FORMAT, rows[i][1]);
    }
}

Test(config, every_size_without_a_default_is_demanded_and_bounded)
{
    static const char *const keys[] = {"vocab_size", "hidden_size", "intermediate_size",
                                       "num_hidden_layers", "num_attention_heads"};
    static const char *const values[] = {"null", "0", "-4", "1e3", "1099511627776", "[32]"};
    for (size_t i = 0; i < 5; i++) {
        for (size_t v = 0; v < 6; v++) {
            char text[512] = "{\"model_type\": \"llama\"";
            size_t used = strlen(text);
            for (size_t k = 0; k < 5; k++) {
                used += (size_t)snprintf(text + used, sizeof text - used, ", \"%s\": %s", keys[k],
                                         k == i ? values[v] : "32");
            }
            snprintf(text + used, sizeof text - used, "}");
            expect_refused(text, NULL, TR_ERR_FORMAT, keys[i]);
        }
    }
    expect_refused(
        "{\"model_type\": \"llama\", \"vocab_size\": 61, \"hidden_size\": 30,"
        "\"intermediate_size\": 44, \"num_hidden_layers\": 2, \"num_attention_heads\": 4}",
        NULL, TR_ERR_FORMAT, "num_attention_heads");
}

Test(config, what_is_no_json_object_is_refused_with_its_line)
{
    expect_refused("{\"a\": 1,\n \"b\"}", NULL, TR_ERR_FORMAT, "config.json:2");
    expect_refused("[1]", NULL, TR_ERR_FORMAT, "object");
    expect_refused("", NULL, TR_ERR_FORMAT, "config.json");
    expect_refused("{" CAUSAL ", \"vocab_size\": 62}", NULL, TR_ERR_FORMAT, "duplicate");
    tr_model_config_t config;
    tr_error_t err = {0};
    cr_expect_eq(tr_model_config_load(&config, "/nonexistent", &err), TR_ERR_IO);
    cr_expect_not_null(strstr(err.text, "no model directory '/nonexistent'"), "%s", err.text);
}

/// The text of a config.json made from nothing.
static char *written(const tr_model_config_t *config)
{
    char *text;
    tr_error_t err = {0};
    cr_assert_eq(tr_model_config_json(&text, config, TR_F32, NULL, &err), TR_OK, "%s", err.text);
    return text;
}

Test(config, what_is_written_is_read_back)
{
    tr_model_config_t configs[] = {
        loaded("{" CAUSAL "}", NULL),
        loaded("{" CAUSAL
               ", \"num_key_value_heads\": 2, \"head_dim\": 12, \"rms_norm_eps\": 1.25e-5,"
               "\"rope_theta\": 123456.789, \"tie_word_embeddings\": true, \"bos_token_id\": null,"
               "\"eos_token_id\": [6, 7, 8, 9, 10, 11, 12, 13], \"pad_token_id\": 0}",
               NULL),
        loaded("{" SCALAR ", \"num_labels\": 1, \"eos_token_id\": null, \"rope_theta\": 1e15}",
               NULL),
        loaded("{" SCALAR ", \"num_labels\": 1, \"score_mean\": -0.1, \"score_std\": 2.5}", NULL)};
    for (size_t i = 0; i < 4; i++) {
        char *text = written(&configs[i]), *again = written(&configs[i]);
        tr_model_config_t back = loaded(text, NULL);
        expect_same(&back, &configs[i]);
        cr_expect_str_eq(text, again);
        cr_expect_not_null(strstr(text, "\"torch_dtype\": \"float32\""));
        free(again);
        free(text);
    }
}

Test(config, numbers_are_written_as_people_write_them)
{
    tr_model_config_t config = loaded("{" CAUSAL ", \"rms_norm_eps\": 1e-5}", NULL);
    char *text = written(&config);
    cr_expect_not_null(strstr(text, "\"rms_norm_eps\": 1e-05,"), "%s", text);
    cr_expect_not_null(strstr(text, "\"rope_theta\": 10000.0,"), "%s", text);
    free(text);
}

Test(config, a_directory_of_transformers_is_understood)
{
    tr_model_config_t config;
    tr_error_t err = {0};
    const char *models = TEST_SOURCE_DIR "/tests/golden/models/";
    static const struct {
        const char *name;
        size_t key_value_heads, head_dim, eos_count;
        double theta;
        bool tied, scalar;
    } rows[] = {{"tied", 2, 8, 1, 10000.0, true, false},
                {"untied_bf16", 2, 12, 1, 500000.0, false, false},
                {"sharded_f16", 1, 10, 2, 10000.0, false, false},
                {"scalar", 4, 8, 1, 10000.0, false, true}};
    for (size_t i = 0; i < 4; i++) {
        char *path = tr_format("%s%s", models, rows[i].name);
        cr_assert_eq(tr_model_config_load(&config, path, &err), TR_OK, "%s", err.text);
        cr_expect_eq(config.key_value_heads, rows[i].key_value_heads);
        cr_expect_eq(config.head_dim, rows[i].head_dim);
        cr_expect_eq(config.eos_count, rows[i].eos_count);
        cr_expect(config.rope_theta == rows[i].theta);
        cr_expect(config.tied_embeddings == rows[i].tied && config.scalar_head == rows[i].scalar);
        free(path);
    }
}
