/// Mistral 7B (Jiang et al. 2023): Llama whose queries see a window of keys. Ministral: a list says
/// which layers do. Mixtral (Jiang et al. 2024): experts for the MLP, whose weights are a softmax
/// over those chosen.
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

static const family_key_t MIXTRAL[] = {
    {"hidden_act", FAMILY_ONLY, .only = "\"silu\""},
    {"router_jitter_noise", FAMILY_ONLY, .only = "0.0"},
    FAMILY_TRUNK_KEYS(8, 0, 131072, 1e-5, 1000000.0),
    {"sliding_window", FAMILY_WINDOW, FAMILY_FIELD(window), .highest = 1 << 24},
    {"num_local_experts", FAMILY_SIZE, FAMILY_FIELD(experts), .fallback = 8, .highest = 1024,
     .also = "num_experts"},
    FAMILY_ROUTER_KEYS(2, 0.001),
    FAMILY_TOKEN_KEYS(false, 1, 2, -1),
};

static const family_keys_t MISTRAL_KEYS = {MISTRAL, sizeof MISTRAL / sizeof *MISTRAL};
static const family_keys_t MINISTRAL_KEYS = {MINISTRAL, sizeof MINISTRAL / sizeof *MINISTRAL};
static const family_keys_t MIXTRAL_KEYS = {MIXTRAL, sizeof MIXTRAL / sizeof *MIXTRAL};

static const family_tensor_t EXPERTS[] = {
    {"model.embed_tokens.weight", TR_WEIGHT_EMBEDDING, FAMILY_VOCABULARY, FAMILY_HIDDEN},

    {"model.layers.*.input_layernorm.weight", TR_WEIGHT_INPUT_NORM, FAMILY_VECTOR, FAMILY_HIDDEN},
    FAMILY_ATTENTION_TENSORS(FAMILY_HEAD, FAMILY_HEAD),
    {"model.layers.*.post_attention_layernorm.weight", TR_WEIGHT_POST_NORM, FAMILY_VECTOR,
     FAMILY_HIDDEN},
    FAMILY_EXPERT_TENSORS("model.layers.*.block_sparse_moe.", "w1", "w3", "w2"),

    FAMILY_END_TENSORS,
};

static const family_tensors_t MIXTRAL_TENSORS = {EXPERTS, sizeof EXPERTS / sizeof *EXPERTS};

const family_t family_mistral = {
    .model_type = "mistral",
    .causal = "MistralForCausalLM",
    .scalar = "MistralForSequenceClassification",
    .base = {.window_used = true, .full_every = FAMILY_NO_LAYER},
    .keys = &MISTRAL_KEYS,
    .tensors = &family_llama_tensors,
    .unread = {".rotary_emb.inv_freq"},
};

const family_t family_ministral = {
    .model_type = "ministral",
    .causal = "MinistralForCausalLM",
    .scalar = "MinistralForSequenceClassification",
    .base = {.window_used = true, .full_every = FAMILY_NO_LAYER},
    .keys = &MINISTRAL_KEYS,
    .tensors = &family_llama_tensors,
    .unread = {".rotary_emb.inv_freq"},
};

const family_t family_mixtral = {
    .model_type = "mixtral",
    .causal = "MixtralForCausalLM",
    .scalar = "MixtralForSequenceClassification",
    .base = {.window_used = true, .full_every = FAMILY_NO_LAYER, .router_normalized = true},
    .keys = &MIXTRAL_KEYS,
    .tensors = &MIXTRAL_TENSORS,
    .unread = {".rotary_emb.inv_freq"},
};
