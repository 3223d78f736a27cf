/// Qwen 2 and 2.5 (Yang et al. 2024): Llama with biases on queries, keys and values. Qwen 3 (Yang
/// et al. 2025): instead a norm of each query and key head. Their later layers may slide.
#include "common/model/families/family.h"

#define SLIDING_KEYS                                                                  \
    {"use_sliding_window", FAMILY_BOOL, .offset = FAMILY_FIELD(window_used)},         \
        {"sliding_window", FAMILY_WINDOW, FAMILY_FIELD(window), .fallback = 4096,     \
         .highest = 1 << 24},                                                         \
        {"max_window_layers", FAMILY_SIZE, FAMILY_FIELD(window_from), .fallback = 28, \
         .highest = 1 << 24},                                                         \
    {                                                                                 \
        "layer_types", FAMILY_SLIDING, .offset = FAMILY_FIELD(sliding)                \
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

static const family_keys_t QWEN2_KEYS = {KEYS_2, sizeof KEYS_2 / sizeof *KEYS_2};
static const family_keys_t QWEN3_KEYS = {KEYS_3, sizeof KEYS_3 / sizeof *KEYS_3};

const family_t family_qwen2 = {
    .model_type = "qwen2",
    .causal = "Qwen2ForCausalLM",
    .scalar = "Qwen2ForSequenceClassification",
    .base = {.qkv_bias = true, .full_every = FAMILY_NO_LAYER},
    .keys = &QWEN2_KEYS,
    .tensors = &family_llama_tensors,
    .unread = ".rotary_emb.inv_freq",
};

const family_t family_qwen3 = {
    .model_type = "qwen3",
    .causal = "Qwen3ForCausalLM",
    .scalar = "Qwen3ForSequenceClassification",
    .base = {.qk_norm = TR_QK_NORM_HEAD, .full_every = FAMILY_NO_LAYER},
    .keys = &QWEN3_KEYS,
    .tensors = &family_llama_tensors,
    .unread = ".rotary_emb.inv_freq",
};
