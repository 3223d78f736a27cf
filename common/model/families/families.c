/// The table of families. To add one: a page like qwen.c, and its row here.
#include "common/model/families/family.h"

#include <stddef.h>
#include <stdio.h>

#include "common/base/status.h"

static const family_t *const FAMILIES[] = {
    &family_llama,       &family_qwen2,       &family_qwen3,     &family_mistral,
    &family_ministral,   &family_gemma2,      &family_gemma3,    &family_phi3,
    &family_smollm3,     &family_olmo2,       &family_olmo3,     &family_granite,
    &family_qwen3_moe,   &family_mixtral,     &family_qwen2_moe, &family_olmoe,
    &family_gpt2,        &family_gpt_neox,    &family_qwen3_5,   &family_qwen3_next,
    &family_qwen3_5_moe, &family_deepseek_v3, &family_gpt_oss,
};

/// Scores are a reward model's: ours alone, for transformers keeps what it does not know.
static const family_key_t SHARED_KEYS[] = {
    // Quantized weights come as tensors of other names and dtypes.
    {"quantization_config", FAMILY_QUANTIZED, .only = "null",
     .expected = "none (weights as F32, BF16 or F16)", .written = FAMILY_NEVER},
    {"score_mean", FAMILY_REAL, offsetof(tr_model_config_t, score_mean), .lowest = -1e30,
     .highest = 1e30, .written = FAMILY_WITH_SCORES},
    {"score_std", FAMILY_REAL, offsetof(tr_model_config_t, score_std), .lowest = 1e-30,
     .highest = 1e30, .written = FAMILY_WITH_SCORES},
};

const family_keys_t family_shared_keys = {SHARED_KEYS, sizeof SHARED_KEYS / sizeof *SHARED_KEYS};

size_t family_count(void)
{
    return sizeof FAMILIES / sizeof *FAMILIES;
}

const family_t *family_at(size_t row)
{
    // config.c gives rows of this table alone.
    TR_ASSERT(row < family_count(), "family %zu of %zu", row, family_count());
    return FAMILIES[row];
}

tr_status family_open_weights(tr_safetensors_t **file, const family_t *family,
                              const char *directory, tr_error_t *err)
{
    TR_TRY(tr_safetensors_open(file, directory, err));
    if (family->wrapped != NULL) {
        tr_safetensors_rename(*file, family->wrapped->prefix, "model.");
    }
    return TR_OK;
}

/// Of a kind with one tensor, such as the head; the parts of QKV have a name each.
const char *family_tensor_name(const family_t *family, tr_weight_kind_t kind)
{
    for (size_t i = 0; i < family->tensors->count; i++) {
        // The first: the caller asks for kinds of which there is one.
        if (family->tensors->items[i].kind == kind) {
            return family->tensors->items[i].name;
        }
    }
    TR_ASSERT(false, "'%s' has no tensor of kind %d", family->model_type, (int)kind);
}

void family_router_bias(char to[80], const family_t *family, size_t layer)
{
    snprintf(to, 80, "%s%zu%s", family->router_bias[0], layer, family->router_bias[1]);
}
