/// Granite 3 (Granite Team 2024): Llama with factors of embeddings, scores, what is added to the
/// residual stream, and logits (Yang et al. 2022, muP). transformers has no sequence classification
/// of this family; a scalar model has the name that it would have.
#include "common/model/families/family.h"

#define MULTIPLIER(name, field)                                                                 \
    {                                                                                           \
        name, FAMILY_REAL, FAMILY_FIELD(field), .fallback = 1.0, .lowest = 1e-9, .highest = 1e9 \
    }

static const family_key_t KEYS[] = {
    {"hidden_act", FAMILY_ONLY, .only = "\"silu\""},
    {"attention_bias", FAMILY_BOOL, .offset = FAMILY_FIELD(attention_bias)},
    {"mlp_bias", FAMILY_BOOL, .offset = FAMILY_FIELD(mlp_bias)},
    MULTIPLIER("embedding_multiplier", embedding_scale),
    MULTIPLIER("attention_multiplier", attention_scale),
    MULTIPLIER("residual_multiplier", residual_scale),
    MULTIPLIER("logits_scaling", logit_divisor),
    FAMILY_TRUNK_KEYS(0, 0, 2048, 1e-6, 10000.0),
    FAMILY_TOKEN_KEYS(false, 1, 2, -1),
};

static const family_keys_t GRANITE_KEYS = {KEYS, sizeof KEYS / sizeof *KEYS};

const family_t family_granite = {
    .model_type = "granite",
    .causal = "GraniteForCausalLM",
    .scalar = "GraniteForSequenceClassification",
    .keys = &GRANITE_KEYS,
    .tensors = &family_llama_tensors,
    .unread = {".rotary_emb.inv_freq"},
};
