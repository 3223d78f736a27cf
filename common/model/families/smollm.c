/// SmolLM 3 (Bakouch et al. 2025): Llama, every fourth layer of which has no rotation.
#include "common/model/families/family.h"

static const family_key_t KEYS[] = {
    {"hidden_act", FAMILY_ONLY, .only = "\"silu\""},
    {"use_sliding_window", FAMILY_ONLY, .only = "false"},
    {"attention_bias", FAMILY_BOOL, .offset = FAMILY_FIELD(attention_bias)},
    {"mlp_bias", FAMILY_BOOL, .offset = FAMILY_FIELD(mlp_bias)},
    FAMILY_TRUNK_KEYS(4, 0, 32768, 1e-6, 2000000.0),
    {"sliding_window", FAMILY_WINDOW, FAMILY_FIELD(window), .highest = 1 << 24},
    {"no_rope_layer_interval", FAMILY_SIZE, FAMILY_FIELD(unrotated_every), .fallback = 4,
     .highest = 4096},
    {"no_rope_layers", FAMILY_ROTATED, .offset = FAMILY_FIELD(unrotated)},
    {"layer_types", FAMILY_SLIDING, .offset = FAMILY_FIELD(sliding)},
    FAMILY_TOKEN_KEYS(true, 128000, 128001, 128004),
};

static const family_keys_t SMOLLM3_KEYS = {KEYS, sizeof KEYS / sizeof *KEYS};

const family_t family_smollm3 = {
    .model_type = "smollm3",
    .causal = "SmolLM3ForCausalLM",
    .scalar = "SmolLM3ForSequenceClassification",
    .keys = &SMOLLM3_KEYS,
    .tensors = &family_llama_tensors,
    .unread = {".rotary_emb.inv_freq"},
};
