/// Mistral 7B (Jiang et al. 2023): Llama whose queries see a window of keys. Ministral: a list says
/// which layers do.
#include "common/model/families/family.h"

#define WINDOW                                                                    \
    {                                                                             \
        "sliding_window", FAMILY_WINDOW, FAMILY_FIELD(window), .fallback = 4096,  \
                                                               .highest = 1 << 24 \
    }

static const family_key_t MISTRAL[] = {
    {"hidden_act", FAMILY_ONLY, .only = "\"silu\""},
    FAMILY_TRUNK_KEYS(8, 0, 131072, 1e-6, 10000.0),
    WINDOW,
    FAMILY_TOKEN_KEYS(false, 1, 2, -1),
};

static const family_key_t MINISTRAL[] = {
    {"hidden_act", FAMILY_ONLY, .only = "\"silu\""},
    FAMILY_TRUNK_KEYS(8, 0, 131072, 1e-6, 10000.0),
    WINDOW,
    {"layer_types", FAMILY_SLIDING, .offset = FAMILY_FIELD(sliding)},
    FAMILY_TOKEN_KEYS(false, 1, 2, -1),
};

static const family_keys_t MISTRAL_KEYS = {MISTRAL, sizeof MISTRAL / sizeof *MISTRAL};
static const family_keys_t MINISTRAL_KEYS = {MINISTRAL, sizeof MINISTRAL / sizeof *MINISTRAL};

const family_t family_mistral = {
    .model_type = "mistral",
    .causal = "MistralForCausalLM",
    .scalar = "MistralForSequenceClassification",
    .base = {.window_used = true, .full_every = FAMILY_NO_LAYER},
    .keys = &MISTRAL_KEYS,
    .tensors = &family_llama_tensors,
    .unread = ".rotary_emb.inv_freq",
};

const family_t family_ministral = {
    .model_type = "ministral",
    .causal = "MinistralForCausalLM",
    .scalar = "MinistralForSequenceClassification",
    .base = {.window_used = true, .full_every = FAMILY_NO_LAYER},
    .keys = &MINISTRAL_KEYS,
    .tensors = &family_llama_tensors,
    .unread = ".rotary_emb.inv_freq",
};
