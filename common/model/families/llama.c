/// Llama 2 and 3 (Touvron et al. 2023): RMSNorm before attention and MLP, plain RoPE, grouped
/// queries, SwiGLU, no biases.
///
/// Keys stand in the order in which they are read: a key may depend on those above it (token ids
/// are below vocab_size). Bounds are beyond any Llama, so that sums and products of sizes stay far
/// below 2^63.
#include <stddef.h>

#include "common/model/families/family.h"

#define FIELD(name) offsetof(tr_model_config_t, name)

static const family_key_t KEYS[] = {
    // What would change the arithmetic, and is there in one form.
    {"hidden_act", FAMILY_ONLY, .only = "\"silu\""},
    {"attention_bias", FAMILY_ONLY, .only = "false"},
    {"mlp_bias", FAMILY_ONLY, .only = "false"},
    {"pretraining_tp", FAMILY_ONLY, .only = "1", .written = FAMILY_NEVER},
    {"partial_rotary_factor", FAMILY_ONLY, .only = "1", .written = FAMILY_NEVER},

    // The first of the sizes, since token ids are checked against it.
    {"vocab_size", FAMILY_SIZE, FIELD(vocabulary), .needed = true, .highest = 1 << 24},
    {"hidden_size", FAMILY_SIZE, FIELD(hidden), .needed = true, .highest = 1 << 18},
    {"intermediate_size", FAMILY_SIZE, FIELD(intermediate), .needed = true, .highest = 1 << 20},
    {"num_hidden_layers", FAMILY_SIZE, FIELD(layers), .needed = true, .highest = 4096},
    {"num_attention_heads", FAMILY_SIZE, FIELD(heads), .needed = true, .highest = 4096},
    {"num_key_value_heads", FAMILY_SIZE, FIELD(key_value_heads), .highest = 4096},
    {"head_dim", FAMILY_SIZE, FIELD(head_dim), .highest = 4096},
    {"max_position_embeddings", FAMILY_SIZE, FIELD(max_positions), .fallback = 2048,
     .highest = 1 << 24},

    {"rms_norm_eps", FAMILY_FLOAT, FIELD(rms_epsilon), .fallback = 1e-6, .lowest = 1e-30,
     .highest = 0.1},
    {"rope_theta", FAMILY_REAL, FIELD(rope_theta), .fallback = 10000.0, .lowest = 1.0,
     .highest = 1e15},
    {"rope_scaling", FAMILY_ROPE, .offset = FIELD(rope_theta)}, // of transformers 4, and of 5:
    {"rope_parameters", FAMILY_ROPE, .offset = FIELD(rope_theta), .written = FAMILY_NEVER},
    {"tie_word_embeddings", FAMILY_BOOL, .offset = FIELD(tied_embeddings)},

    {"bos_token_id", FAMILY_TOKEN, FIELD(bos), .fallback = 1},
    {"pad_token_id", FAMILY_TOKEN, FIELD(pad), .fallback = -1},
    {"eos_token_id", FAMILY_EOS, FIELD(eos), .fallback = 2},
};

static const family_tensor_t TENSORS[] = {
    {"model.embed_tokens.weight", TR_WEIGHT_EMBEDDING, FAMILY_VOCABULARY, FAMILY_HIDDEN},

    {"model.layers.*.input_layernorm.weight", TR_WEIGHT_INPUT_NORM, FAMILY_VECTOR, FAMILY_HIDDEN},
    {"model.layers.*.self_attn.q_proj.weight", TR_WEIGHT_QKV, FAMILY_QUERIES, FAMILY_HIDDEN},
    {"model.layers.*.self_attn.k_proj.weight", TR_WEIGHT_QKV, FAMILY_KEYS, FAMILY_HIDDEN},
    {"model.layers.*.self_attn.v_proj.weight", TR_WEIGHT_QKV, FAMILY_KEYS, FAMILY_HIDDEN},
    {"model.layers.*.self_attn.o_proj.weight", TR_WEIGHT_OUTPUT, FAMILY_HIDDEN, FAMILY_QUERIES},
    {"model.layers.*.post_attention_layernorm.weight", TR_WEIGHT_POST_NORM, FAMILY_VECTOR,
     FAMILY_HIDDEN},
    {"model.layers.*.mlp.gate_proj.weight", TR_WEIGHT_GATE_UP, FAMILY_INTERMEDIATE, FAMILY_HIDDEN},
    {"model.layers.*.mlp.up_proj.weight", TR_WEIGHT_GATE_UP, FAMILY_INTERMEDIATE, FAMILY_HIDDEN},
    {"model.layers.*.mlp.down_proj.weight", TR_WEIGHT_DOWN, FAMILY_HIDDEN, FAMILY_INTERMEDIATE},

    // A model has one of the two heads, or none where its embedding is the head (layout.c).
    {"model.norm.weight", TR_WEIGHT_FINAL_NORM, FAMILY_VECTOR, FAMILY_HIDDEN},
    {"lm_head.weight", TR_WEIGHT_HEAD, FAMILY_VOCABULARY, FAMILY_HIDDEN},
    {"score.weight", TR_WEIGHT_SCORE, FAMILY_ONE, FAMILY_HIDDEN},
};

const family_t family_llama = {
    .model_type = "llama",
    .causal = "LlamaForCausalLM",
    .scalar = "LlamaForSequenceClassification",
    .keys = {KEYS, sizeof KEYS / sizeof *KEYS},
    .tensors = TENSORS,
    .tensor_count = sizeof TENSORS / sizeof *TENSORS,
    .unread = ".rotary_emb.inv_freq",
};
