/// Gemma 2 (Gemma Team 2024): norms before and after attention and MLP with weights that are added
/// to 1, GELU, scaled embeddings, caps of scores and logits; every other layer slides. Gemma 3, the
/// text models (Gemma Team 2025): no caps, but norms of queries and keys; five sliding layers with
/// a rotation of their own to one that sees all.
#include "common/model/families/family.h"

static const family_key_t KEYS_2[] = {
    {"hidden_activation", FAMILY_ONLY, .only = "\"gelu_pytorch_tanh\""},
    {"hidden_act", FAMILY_ONLY, .only = "\"gelu_pytorch_tanh\"", .written = FAMILY_NEVER},
    {"use_bidirectional_attention", FAMILY_ONLY, .only = "false", .written = FAMILY_NEVER},
    {"final_logit_softcapping", FAMILY_CAP, FAMILY_FIELD(logit_cap), .fallback = 30.0,
     .lowest = 1e-3, .highest = 1e9},
    {"attn_logit_softcapping", FAMILY_CAP, FAMILY_FIELD(attention_cap), .fallback = 50.0,
     .lowest = 1e-3, .highest = 1e9},
    {"attention_bias", FAMILY_BOOL, .offset = FAMILY_FIELD(attention_bias)},
    {"query_pre_attn_scalar", FAMILY_REAL, FAMILY_FIELD(attention_scalar), .fallback = 256.0,
     .lowest = 1e-6, .highest = 1e9},
    FAMILY_TRUNK_KEYS(4, 256, 8192, 1e-6, 10000.0),
    {"sliding_window", FAMILY_WINDOW, FAMILY_FIELD(window), .fallback = 4096, .highest = 1 << 24},
    {"layer_types", FAMILY_SLIDING, .offset = FAMILY_FIELD(sliding)},
    FAMILY_TOKEN_KEYS(true, 2, 1, 0),
};

static const family_key_t KEYS_3[] = {
    {"hidden_activation", FAMILY_ONLY, .only = "\"gelu_pytorch_tanh\""},
    {"hidden_act", FAMILY_ONLY, .only = "\"gelu_pytorch_tanh\"", .written = FAMILY_NEVER},
    {"use_bidirectional_attention", FAMILY_ONLY, .only = "false", .written = FAMILY_NEVER},
    {"final_logit_softcapping", FAMILY_ONLY, .only = "null", .written = FAMILY_NEVER},
    {"attn_logit_softcapping", FAMILY_ONLY, .only = "null", .written = FAMILY_NEVER},
    {"attention_bias", FAMILY_BOOL, .offset = FAMILY_FIELD(attention_bias)},
    {"query_pre_attn_scalar", FAMILY_REAL, FAMILY_FIELD(attention_scalar), .fallback = 256.0,
     .lowest = 1e-6, .highest = 1e9},
    // Before rope_parameters, which may have a record for sliding layers.
    {"rope_local_base_freq", FAMILY_REAL, FAMILY_FIELD(rope_local_theta), .fallback = 10000.0,
     .lowest = 1.0, .highest = 1e15},
    FAMILY_TRUNK_KEYS(4, 256, 131072, 1e-6, 1000000.0),
    {"sliding_window", FAMILY_WINDOW, FAMILY_FIELD(window), .fallback = 4096, .highest = 1 << 24},
    // Of transformers 4, where there is no list.
    {"sliding_window_pattern", FAMILY_SIZE, FAMILY_FIELD(full_every), .fallback = 6,
     .highest = 4096, .written = FAMILY_NEVER},
    {"layer_types", FAMILY_SLIDING, .offset = FAMILY_FIELD(sliding)},
    FAMILY_TOKEN_KEYS(true, 2, 1, 0),
};

static const family_keys_t GEMMA2_KEYS = {KEYS_2, sizeof KEYS_2 / sizeof *KEYS_2};
static const family_keys_t GEMMA3_KEYS = {KEYS_3, sizeof KEYS_3 / sizeof *KEYS_3};

static const family_tensor_t TENSORS[] = {
    {"model.embed_tokens.weight", TR_WEIGHT_EMBEDDING, FAMILY_VOCABULARY, FAMILY_HIDDEN},

    {"model.layers.*.input_layernorm.weight", TR_WEIGHT_INPUT_NORM, FAMILY_VECTOR, FAMILY_HIDDEN},
    FAMILY_ATTENTION_TENSORS(FAMILY_HEAD, FAMILY_HEAD),
    {"model.layers.*.post_attention_layernorm.weight", TR_WEIGHT_ATTENTION_NORM, FAMILY_VECTOR,
     FAMILY_HIDDEN},
    {"model.layers.*.pre_feedforward_layernorm.weight", TR_WEIGHT_POST_NORM, FAMILY_VECTOR,
     FAMILY_HIDDEN},
    {"model.layers.*.mlp.gate_proj.weight", TR_WEIGHT_GATE_UP, FAMILY_INTERMEDIATE, FAMILY_HIDDEN},
    {"model.layers.*.mlp.up_proj.weight", TR_WEIGHT_GATE_UP, FAMILY_INTERMEDIATE, FAMILY_HIDDEN},
    {"model.layers.*.mlp.down_proj.weight", TR_WEIGHT_DOWN, FAMILY_HIDDEN, FAMILY_INTERMEDIATE},
    {"model.layers.*.post_feedforward_layernorm.weight", TR_WEIGHT_MLP_NORM, FAMILY_VECTOR,
     FAMILY_HIDDEN},

    FAMILY_END_TENSORS,
};

static const family_tensors_t GEMMA_TENSORS = {TENSORS, sizeof TENSORS / sizeof *TENSORS};

const family_t family_gemma2 = {
    .model_type = "gemma2",
    .causal = "Gemma2ForCausalLM",
    .scalar = "Gemma2ForSequenceClassification",
    .base = {.activation = TR_ACTIVATION_GELU_TANH,
             .norm_offset = 1.0f,
             .embedding_root = true,
             .window_used = true,
             .full_every = 2},
    .keys = &GEMMA2_KEYS,
    .tensors = &GEMMA_TENSORS,
    .unread = {".rotary_emb.inv_freq"},
};

const family_t family_gemma3 = {
    .model_type = "gemma3_text",
    .causal = "Gemma3ForCausalLM",
    .scalar = "Gemma3TextForSequenceClassification",
    .base = {.qk_norm = TR_QK_NORM_HEAD,
             .activation = TR_ACTIVATION_GELU_TANH,
             .norm_offset = 1.0f,
             .embedding_root = true,
             .window_used = true},
    .keys = &GEMMA3_KEYS,
    .tensors = &GEMMA_TENSORS,
    .unread = {".rotary_emb.inv_freq"},
};
