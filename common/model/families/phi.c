/// Phi 3, 3.5 and 4 (Abdin et al. 2024): Llama with queries, keys and values in one tensor, gate
/// and up in another, and maybe a rotation of a part of each head.
#include "common/model/families/family.h"

static const family_key_t KEYS[] = {
    {"hidden_act", FAMILY_ONLY, .only = "\"silu\""},
    {"embd_pdrop", FAMILY_ONLY, .only = "0"},
    {"resid_pdrop", FAMILY_ONLY, .only = "0"},
    {"partial_rotary_factor", FAMILY_REAL, FAMILY_FIELD(rotary_fraction), .fallback = 1.0,
     .lowest = 1e-3, .highest = 1.0},
    FAMILY_TRUNK_KEYS(0, 0, 4096, 1e-5, 10000.0),
    // After the record of the rotation, over whose own it goes.
    {"original_max_position_embeddings", FAMILY_REAL, FAMILY_FIELD(rope_scaling.original_positions),
     .fallback = 4096.0, .lowest = 1.0, .highest = 1e9, .written = FAMILY_NEVER},
    {"sliding_window", FAMILY_WINDOW, FAMILY_FIELD(window), .highest = 1 << 24},
    FAMILY_TOKEN_KEYS(false, 1, 32000, 32000),
};

static const family_keys_t PHI3_KEYS = {KEYS, sizeof KEYS / sizeof *KEYS};

static const family_tensor_t TENSORS[] = {
    {"model.embed_tokens.weight", TR_WEIGHT_EMBEDDING, FAMILY_VOCABULARY, FAMILY_HIDDEN},

    {"model.layers.*.input_layernorm.weight", TR_WEIGHT_INPUT_NORM, FAMILY_VECTOR, FAMILY_HIDDEN},
    {"model.layers.*.self_attn.qkv_proj.weight", TR_WEIGHT_QKV, FAMILY_QKV, FAMILY_HIDDEN},
    {"model.layers.*.self_attn.o_proj.weight", TR_WEIGHT_OUTPUT, FAMILY_HIDDEN, FAMILY_QUERIES},
    {"model.layers.*.post_attention_layernorm.weight", TR_WEIGHT_POST_NORM, FAMILY_VECTOR,
     FAMILY_HIDDEN},
    {"model.layers.*.mlp.gate_up_proj.weight", TR_WEIGHT_GATE_UP, FAMILY_GATE_UP, FAMILY_HIDDEN},
    {"model.layers.*.mlp.down_proj.weight", TR_WEIGHT_DOWN, FAMILY_HIDDEN, FAMILY_INTERMEDIATE},

    FAMILY_END_TENSORS,
};

static const family_tensors_t PHI_TENSORS = {TENSORS, sizeof TENSORS / sizeof *TENSORS};

const family_t family_phi3 = {
    .model_type = "phi3",
    .causal = "Phi3ForCausalLM",
    .scalar = "Phi3ForSequenceClassification",
    .base = {.window_used = true, .full_every = FAMILY_NO_LAYER},
    .keys = &PHI3_KEYS,
    .tensors = &PHI_TENSORS,
    .unread = {".rotary_emb.inv_freq"},
};
