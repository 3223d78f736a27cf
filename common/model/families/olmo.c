/// OLMo 2 (OLMo Team 2025): norms after attention and MLP and none before, and of all queries and
/// all keys together. OLMo 3: three sliding layers, with a plain rotation, to one that sees all.
/// OLMoE (Muennighoff et al. 2024): norms before, and experts.
#include "common/model/families/family.h"

static const family_key_t KEYS_2[] = {
    {"hidden_act", FAMILY_ONLY, .only = "\"silu\""},
    {"attention_bias", FAMILY_BOOL, .offset = FAMILY_FIELD(attention_bias)},
    FAMILY_TRUNK_KEYS(0, 0, 2048, 1e-5, 10000.0),
    FAMILY_TOKEN_KEYS(false, -1, 50279, 1),
};

static const family_key_t KEYS_3[] = {
    {"hidden_act", FAMILY_ONLY, .only = "\"silu\""},
    {"attention_bias", FAMILY_BOOL, .offset = FAMILY_FIELD(attention_bias)},
    FAMILY_TRUNK_KEYS(0, 0, 2048, 1e-5, 500000.0),
    {"sliding_window", FAMILY_WINDOW, FAMILY_FIELD(window), .fallback = 4096, .highest = 1 << 24},
    {"layer_types", FAMILY_SLIDING, .offset = FAMILY_FIELD(sliding)},
    FAMILY_TOKEN_KEYS(false, -1, 50279, 1),
};

static const family_key_t KEYS_MOE[] = {
    {"hidden_act", FAMILY_ONLY, .only = "\"silu\""},
    {"clip_qkv", FAMILY_ONLY, .only = "null"},
    {"attention_bias", FAMILY_BOOL, .offset = FAMILY_FIELD(attention_bias)},
    FAMILY_TRUNK_KEYS(0, 0, 4096, 1e-5, 10000.0),
    {"num_experts", FAMILY_SIZE, FAMILY_FIELD(experts), .fallback = 64, .highest = 1024,
     .also = "num_local_experts"},
    {"norm_topk_prob", FAMILY_BOOL, .offset = FAMILY_FIELD(router_normalized)},
    FAMILY_ROUTER_KEYS(8, 0.01),
    FAMILY_TOKEN_KEYS(false, -1, 50279, 1),
};

static const family_keys_t OLMO2_KEYS = {KEYS_2, sizeof KEYS_2 / sizeof *KEYS_2};
static const family_keys_t OLMO3_KEYS = {KEYS_3, sizeof KEYS_3 / sizeof *KEYS_3};

static const family_tensor_t TENSORS[] = {
    {"model.embed_tokens.weight", TR_WEIGHT_EMBEDDING, FAMILY_VOCABULARY, FAMILY_HIDDEN},

    FAMILY_ATTENTION_TENSORS(FAMILY_QUERIES, FAMILY_KEYS),
    {"model.layers.*.post_attention_layernorm.weight", TR_WEIGHT_ATTENTION_NORM, FAMILY_VECTOR,
     FAMILY_HIDDEN},
    {"model.layers.*.mlp.gate_proj.weight", TR_WEIGHT_GATE_UP, FAMILY_INTERMEDIATE, FAMILY_HIDDEN},
    {"model.layers.*.mlp.up_proj.weight", TR_WEIGHT_GATE_UP, FAMILY_INTERMEDIATE, FAMILY_HIDDEN},
    {"model.layers.*.mlp.down_proj.weight", TR_WEIGHT_DOWN, FAMILY_HIDDEN, FAMILY_INTERMEDIATE},
    {"model.layers.*.post_feedforward_layernorm.weight", TR_WEIGHT_MLP_NORM, FAMILY_VECTOR,
     FAMILY_HIDDEN},

    FAMILY_END_TENSORS,
};

static const family_tensors_t OLMO_TENSORS = {TENSORS, sizeof TENSORS / sizeof *TENSORS};

static const family_tensor_t EXPERTS[] = {
    {"model.embed_tokens.weight", TR_WEIGHT_EMBEDDING, FAMILY_VOCABULARY, FAMILY_HIDDEN},

    {"model.layers.*.input_layernorm.weight", TR_WEIGHT_INPUT_NORM, FAMILY_VECTOR, FAMILY_HIDDEN},
    FAMILY_ATTENTION_TENSORS(FAMILY_QUERIES, FAMILY_KEYS),
    {"model.layers.*.post_attention_layernorm.weight", TR_WEIGHT_POST_NORM, FAMILY_VECTOR,
     FAMILY_HIDDEN},
    FAMILY_EXPERT_TENSORS("model.layers.*.mlp.", "gate_proj", "up_proj", "down_proj"),

    FAMILY_END_TENSORS,
};

static const family_tensors_t OLMOE_TENSORS = {EXPERTS, sizeof EXPERTS / sizeof *EXPERTS};
static const family_keys_t OLMOE_KEYS = {KEYS_MOE, sizeof KEYS_MOE / sizeof *KEYS_MOE};

const family_t family_olmo2 = {
    .model_type = "olmo2",
    .causal = "Olmo2ForCausalLM",
    .scalar = "Olmo2ForSequenceClassification",
    .base = {.qk_norm = TR_QK_NORM_ALL},
    .keys = &OLMO2_KEYS,
    .tensors = &OLMO_TENSORS,
    .unread = {".rotary_emb.inv_freq"},
};

const family_t family_olmo3 = {
    .model_type = "olmo3",
    .causal = "Olmo3ForCausalLM",
    .scalar = "Olmo3ForSequenceClassification",
    .base = {.qk_norm = TR_QK_NORM_ALL,
             .rope_local_theta = 500000.0,
             .window_used = true,
             .full_every = 4},
    .keys = &OLMO3_KEYS,
    .tensors = &OLMO_TENSORS,
    .unread = {".rotary_emb.inv_freq"},
};

const family_t family_olmoe = {
    .model_type = "olmoe",
    .causal = "OlmoeForCausalLM",
    .scalar = "OlmoeForSequenceClassification", // as transformers would name it: it has none
    .base = {.qk_norm = TR_QK_NORM_ALL},
    .keys = &OLMOE_KEYS,
    .tensors = &OLMOE_TENSORS,
    .unread = {".rotary_emb.inv_freq"},
};
