// config.json as we write it: every key spelled out, so that no reader's defaults matter.
#include <inttypes.h>
#include <stdlib.h>

#include "common/model/config.h"

/// The shortest decimal that reads back as the same float.
static const char *float_text(char *out, size_t size, float value)
{
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(out, size, "%.*g", digits, (double)value);
        if (strtof(out, NULL) == value) {
            break;
        }
    }
    return out;
}

/// The shortest decimal that reads back as the same double, with a point or exponent so that it stays a float.
static const char *double_text(char *out, size_t size, double value)
{
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(out, size, "%.*g", digits, value);
        if (strtod(out, NULL) == value) {
            break;
        }
    }
    if (value < 1e15 && value == (double)(int64_t)value) {
        snprintf(out, size, "%" PRId64 ".0", (int64_t)value);
    }
    return out;
}

/// "null" for a negative id.
static const char *token_text(char *out, size_t size, int32_t id)
{
    snprintf(out, size, id < 0 ? "null" : "%" PRId32, id);
    return out;
}

/// null, an id, or a list of ids.
static const char *eos_text(char *out, size_t size, const tr_model_config_t *config)
{
    if (config->eos_count < 2) {
        return token_text(out, size, config->eos_count == 0 ? -1 : config->eos[0]);
    }
    size_t used = 0;
    for (size_t i = 0; i < config->eos_count; i++) {
        used += (size_t)snprintf(out + used, size - used, "%s%" PRId32, i == 0 ? "[" : ", ",
                                 config->eos[i]);
    }
    snprintf(out + used, size - used, "]");
    return out;
}

static const char *dtype_text(tr_dtype_t dtype)
{
    switch (dtype) {
    case TR_F32: return "float32";
    case TR_BF16: return "bfloat16";
    case TR_F16: return "float16";
    default: TR_ASSERT(false, "dtype %d has no place in config.json", (int)dtype);
    }
}

/// Two lines, or none where scores are raw.
static const char *scores_text(char *out, size_t size, const tr_model_config_t *config)
{
    char mean[40], deviation[40];
    out[0] = '\0';
    if (config->score_std > 0.0) {
        snprintf(out, size, "  \"score_mean\": %s,\n  \"score_std\": %s,\n",
                 double_text(mean, sizeof mean, config->score_mean),
                 double_text(deviation, sizeof deviation, config->score_std));
    }
    return out;
}

static const char FORM[] = "{\n"
                           "  \"architectures\": [\"%s\"],\n"
                           "  \"attention_bias\": false,\n"
                           "  \"bos_token_id\": %s,\n"
                           "  \"eos_token_id\": %s,\n"
                           "  \"head_dim\": %zu,\n"
                           "  \"hidden_act\": \"silu\",\n"
                           "  \"hidden_size\": %zu,\n"
                           "%s"
                           "  \"intermediate_size\": %zu,\n"
                           "  \"max_position_embeddings\": %zu,\n"
                           "  \"mlp_bias\": false,\n"
                           "  \"model_type\": \"llama\",\n"
                           "  \"num_attention_heads\": %zu,\n"
                           "  \"num_hidden_layers\": %zu,\n"
                           "  \"num_key_value_heads\": %zu,\n"
                           "  \"pad_token_id\": %s,\n"
                           "  \"rms_norm_eps\": %s,\n"
                           "  \"rope_scaling\": null,\n"
                           "  \"rope_theta\": %s,\n"
                           "%s"
                           "  \"tie_word_embeddings\": %s,\n"
                           "  \"torch_dtype\": \"%s\",\n"
                           "  \"vocab_size\": %zu\n"
                           "}\n";

char *tr_model_config_json(const tr_model_config_t *config, tr_dtype_t dtype)
{
    char bos[16], pad[16], eos[16 * TR_MODEL_EOS_LIMIT], epsilon[32], theta[40], scores[128];
    const char *labels =
        "  \"id2label\": {\"0\": \"LABEL_0\"},\n  \"label2id\": {\"LABEL_0\": 0},\n";
    TR_ASSERT(config->eos_count <= TR_MODEL_EOS_LIMIT, "eos_count is %zu", config->eos_count);
    return tr_format(FORM,
                     config->scalar_head ? "LlamaForSequenceClassification" : "LlamaForCausalLM",
                     token_text(bos, sizeof bos, config->bos), eos_text(eos, sizeof eos, config),
                     config->head_dim, config->hidden, config->scalar_head ? labels : "",
                     config->intermediate, config->max_positions, config->heads, config->layers,
                     config->key_value_heads, token_text(pad, sizeof pad, config->pad),
                     float_text(epsilon, sizeof epsilon, config->rms_epsilon),
                     double_text(theta, sizeof theta, config->rope_theta),
                     scores_text(scores, sizeof scores, config),
                     config->tied_embeddings && !config->scalar_head ? "true" : "false",
                     dtype_text(dtype), config->vocabulary);
}
