/// Qwen 2 and 2.5 (Yang et al. 2024): Llama with biases on queries, keys and values. Qwen 3 (Yang
/// et al. 2025): instead a norm of each query and key head. Their later layers may slide. Qwen 3
/// MoE: experts for the MLP of some layers or all; where it slides, all layers do. Qwen 2 MoE: also
/// an expert that all tokens have, times the sigmoid of a gate; of its first layers every other
/// slides.
#include "common/model/families/family.h"

#define SLIDING_KEYS                                                                     \
    {"use_sliding_window", FAMILY_BOOL, .offset = FAMILY_FIELD(window_used)},            \
        {"sliding_window", FAMILY_WINDOW, FAMILY_FIELD(window), .fallback = 4096,        \
         .highest = 1 << 24},                                                            \
        {"max_window_layers", FAMILY_COUNT, FAMILY_FIELD(window_border), .fallback = 28, \
         .highest = 1 << 24},                                                            \
    {                                                                                    \
        "layer_types", FAMILY_SLIDING, .offset = FAMILY_FIELD(sliding)                   \
    }

static const family_key_t KEYS_2[] = {
    {"hidden_act", FAMILY_ONLY, .only = "\"silu\""},
    FAMILY_TRUNK_KEYS(32, 0, 32768, 1e-6, 10000.0),
    SLIDING_KEYS,
    FAMILY_TOKEN_KEYS(false, -1, -1, -1),
};

static const family_key_t KEYS_3[] = {
    {"hidden_act", FAMILY_ONLY, .only = "\"silu\""},
    {"attention_bias", FAMILY_BOOL, .offset = FAMILY_FIELD(attention_bias)},
    FAMILY_TRUNK_KEYS(32, 128, 32768, 1e-6, 10000.0),
    SLIDING_KEYS,
    FAMILY_TOKEN_KEYS(false, -1, -1, -1),
};

static const family_key_t KEYS_3_MOE[] = {
    {"hidden_act", FAMILY_ONLY, .only = "\"silu\""},
    {"attention_bias", FAMILY_BOOL, .offset = FAMILY_FIELD(attention_bias)},
    FAMILY_TRUNK_KEYS(4, 0, 32768, 1e-6, 10000.0),
    {"use_sliding_window", FAMILY_BOOL, .offset = FAMILY_FIELD(window_used)},
    {"sliding_window", FAMILY_WINDOW, FAMILY_FIELD(window), .fallback = 4096, .highest = 1 << 24},
    {"max_window_layers", FAMILY_UNREAD, .written = FAMILY_NEVER},
    FAMILY_QWEN_EXPERT_KEYS(128, 8, 768, false),
    FAMILY_TOKEN_KEYS(false, -1, -1, -1),
};

static const family_key_t KEYS_2_MOE[] = {
    {"hidden_act", FAMILY_ONLY, .only = "\"silu\""},
    {"qkv_bias", FAMILY_BOOL, FAMILY_FIELD(qkv_bias), .fallback = true},
    FAMILY_TRUNK_KEYS(16, 0, 32768, 1e-6, 10000.0),
    {"use_sliding_window", FAMILY_BOOL, .offset = FAMILY_FIELD(window_used)},
    {"sliding_window", FAMILY_WINDOW, FAMILY_FIELD(window), .fallback = 4096, .highest = 1 << 24},
    {"max_window_layers", FAMILY_COUNT, FAMILY_FIELD(window_border), .fallback = 28,
     .highest = 1 << 24},
    {"layer_types", FAMILY_SLIDING, .offset = FAMILY_FIELD(sliding)},
    FAMILY_QWEN_EXPERT_KEYS(60, 4, 1408, false),
    {"shared_expert_intermediate_size", FAMILY_SIZE, FAMILY_FIELD(shared_intermediate),
     .fallback = 5632, .highest = 1 << 20},
    FAMILY_TOKEN_KEYS(false, -1, -1, -1),
};

static const family_keys_t QWEN2_KEYS = {KEYS_2, sizeof KEYS_2 / sizeof *KEYS_2};
static const family_keys_t QWEN3_KEYS = {KEYS_3, sizeof KEYS_3 / sizeof *KEYS_3};
static const family_keys_t QWEN3_MOE_KEYS = {KEYS_3_MOE, sizeof KEYS_3_MOE / sizeof *KEYS_3_MOE};

static const family_keys_t QWEN2_MOE_KEYS = {KEYS_2_MOE, sizeof KEYS_2_MOE / sizeof *KEYS_2_MOE};

static const family_tensor_t TENSORS_MOE[] = {
    {"model.embed_tokens.weight", TR_WEIGHT_EMBEDDING, FAMILY_VOCABULARY, FAMILY_HIDDEN},

    {"model.layers.*.input_layernorm.weight", TR_WEIGHT_INPUT_NORM, FAMILY_VECTOR, FAMILY_HIDDEN},
    FAMILY_ATTENTION_TENSORS(FAMILY_HEAD, FAMILY_HEAD),
    {"model.layers.*.post_attention_layernorm.weight", TR_WEIGHT_POST_NORM, FAMILY_VECTOR,
     FAMILY_HIDDEN},
    {"model.layers.*.mlp.gate_proj.weight", TR_WEIGHT_GATE_UP, FAMILY_INTERMEDIATE, FAMILY_HIDDEN},
    {"model.layers.*.mlp.up_proj.weight", TR_WEIGHT_GATE_UP, FAMILY_INTERMEDIATE, FAMILY_HIDDEN},
    {"model.layers.*.mlp.down_proj.weight", TR_WEIGHT_DOWN, FAMILY_HIDDEN, FAMILY_INTERMEDIATE},
    FAMILY_EXPERT_TENSORS("model.layers.*.mlp.", "gate_proj", "up_proj", "down_proj"),
    // Of Qwen 2 alone:
    FAMILY_SHARED_EXPERT_TENSORS,

    FAMILY_END_TENSORS,
};

static const family_tensors_t MOE_TENSORS = {TENSORS_MOE, sizeof TENSORS_MOE / sizeof *TENSORS_MOE};

const family_t family_qwen2 = {
    .model_type = "qwen2",
    .causal = "Qwen2ForCausalLM",
    .scalar = "Qwen2ForSequenceClassification",
    .base = {.qkv_bias = true, .full_every = FAMILY_NO_LAYER},
    .keys = &QWEN2_KEYS,
    .tensors = &family_llama_tensors,
    .unread = {".rotary_emb.inv_freq"},
};

const family_t family_qwen3 = {
    .model_type = "qwen3",
    .causal = "Qwen3ForCausalLM",
    .scalar = "Qwen3ForSequenceClassification",
    .base = {.qk_norm = TR_QK_NORM_HEAD, .full_every = FAMILY_NO_LAYER},
    .keys = &QWEN3_KEYS,
    .tensors = &family_llama_tensors,
    .unread = {".rotary_emb.inv_freq"},
};

const family_t family_qwen3_moe = {
    .model_type = "qwen3_moe",
    .causal = "Qwen3MoeForCausalLM",
    .scalar = "Qwen3MoeForSequenceClassification",
    .base = {.qk_norm = TR_QK_NORM_HEAD, .full_every = FAMILY_NO_LAYER},
    .keys = &QWEN3_MOE_KEYS,
    .tensors = &MOE_TENSORS,
    .unread = {".rotary_emb.inv_freq"},
};

const family_t family_qwen2_moe = {
    .model_type = "qwen2_moe",
    .causal = "Qwen2MoeForCausalLM",
    .scalar = "Qwen2MoeForSequenceClassification",
    .base = {.full_every = 2, .window_before = true},
    .keys = &QWEN2_MOE_KEYS,
    .tensors = &MOE_TENSORS,
    .unread = {".rotary_emb.inv_freq"},
};
