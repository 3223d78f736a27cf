/// Llama 2 and 3 (Touvron et al. 2023): RMSNorm before attention and MLP, RoPE, grouped queries,
/// SwiGLU.
#include "common/model/families/family.h"

static const family_key_t KEYS[] = {
    // What would change the arithmetic, and is there in one form.
    {"hidden_act", FAMILY_ONLY, .only = "\"silu\""},
    {"pretraining_tp", FAMILY_ONLY, .only = "1", .written = FAMILY_NEVER},
    {"attention_bias", FAMILY_BOOL, .offset = FAMILY_FIELD(attention_bias)},
    {"mlp_bias", FAMILY_BOOL, .offset = FAMILY_FIELD(mlp_bias)},
    {"partial_rotary_factor", FAMILY_ONLY, .only = "1", .written = FAMILY_NEVER},
    FAMILY_TRUNK_KEYS(0, 0, 2048, 1e-6, 10000.0),
    FAMILY_TOKEN_KEYS(false, 1, 2, -1),
};

static const family_keys_t LLAMA_KEYS = {KEYS, sizeof KEYS / sizeof *KEYS};

static const family_tensor_t TENSORS[] = {
    {"model.embed_tokens.weight", TR_WEIGHT_EMBEDDING, FAMILY_VOCABULARY, FAMILY_HIDDEN},

    {"model.layers.*.input_layernorm.weight", TR_WEIGHT_INPUT_NORM, FAMILY_VECTOR, FAMILY_HIDDEN},
    FAMILY_ATTENTION_TENSORS(FAMILY_HEAD, FAMILY_HEAD),
    {"model.layers.*.post_attention_layernorm.weight", TR_WEIGHT_POST_NORM, FAMILY_VECTOR,
     FAMILY_HIDDEN},
    {"model.layers.*.mlp.gate_proj.weight", TR_WEIGHT_GATE_UP, FAMILY_INTERMEDIATE, FAMILY_HIDDEN},
    {"model.layers.*.mlp.up_proj.weight", TR_WEIGHT_GATE_UP, FAMILY_INTERMEDIATE, FAMILY_HIDDEN},
    {"model.layers.*.mlp.gate_proj.bias", TR_WEIGHT_GATE_UP_BIAS, FAMILY_VECTOR,
     FAMILY_INTERMEDIATE},
    {"model.layers.*.mlp.up_proj.bias", TR_WEIGHT_GATE_UP_BIAS, FAMILY_VECTOR, FAMILY_INTERMEDIATE},
    {"model.layers.*.mlp.down_proj.weight", TR_WEIGHT_DOWN, FAMILY_HIDDEN, FAMILY_INTERMEDIATE},
    {"model.layers.*.mlp.down_proj.bias", TR_WEIGHT_DOWN_BIAS, FAMILY_VECTOR, FAMILY_HIDDEN},

    FAMILY_END_TENSORS,
};

const family_tensors_t family_llama_tensors = {TENSORS, sizeof TENSORS / sizeof *TENSORS};

const family_t family_llama = {
    .model_type = "llama",
    .causal = "LlamaForCausalLM",
    .scalar = "LlamaForSequenceClassification",
    .keys = &LLAMA_KEYS,
    .tensors = &family_llama_tensors,
    .unread = {".rotary_emb.inv_freq"},
};
