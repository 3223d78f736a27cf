/// GPT-2 (Radford et al. 2019): LayerNorm, learnt positions, an MLP without a gate, matrices stored
/// transposed. GPT-NeoX and Pythia (Black et al. 2022, Biderman et al. 2023): the same with RoPE of
/// a part of each head, and attention beside the MLP.
#include "common/model/families/family.h"

static const family_key_t KEYS_2[] = {
    {"vocab_size", FAMILY_SIZE, FAMILY_FIELD(vocabulary), .needed = true, .highest = 1 << 24},
    {"n_embd", FAMILY_SIZE, FAMILY_FIELD(hidden), .fallback = 768, .highest = 1 << 18},
    {"n_inner", FAMILY_SIZE, FAMILY_FIELD(intermediate), .highest = 1 << 20},
    {"n_layer", FAMILY_SIZE, FAMILY_FIELD(layers), .fallback = 12, .highest = TR_MODEL_LAYER_LIMIT},
    {"n_head", FAMILY_SIZE, FAMILY_FIELD(heads), .fallback = 12, .highest = 4096},
    {"n_positions", FAMILY_SIZE, FAMILY_FIELD(max_positions), .fallback = 1024, .highest = 1 << 24},
    {"layer_norm_epsilon", FAMILY_FLOAT, FAMILY_FIELD(rms_epsilon), .fallback = 1e-5,
     .lowest = 1e-30, .highest = 0.1},
    {"activation_function", FAMILY_GELU, FAMILY_FIELD(activation),
     .fallback = TR_ACTIVATION_GELU_TANH},
    {"scale_attn_weights", FAMILY_ONLY, .only = "true"},
    {"scale_attn_by_inverse_layer_idx", FAMILY_ONLY, .only = "false"},
    {"add_cross_attention", FAMILY_ONLY, .only = "false"},
    {"attn_pdrop", FAMILY_REAL, FAMILY_FIELD(attention_dropout), .fallback = 0.1, .highest = 1.0},
    {"resid_pdrop", FAMILY_REAL, FAMILY_FIELD(hidden_dropout), .fallback = 0.1, .highest = 1.0},
    {"embd_pdrop", FAMILY_REAL, FAMILY_FIELD(embedding_dropout), .fallback = 0.1, .highest = 1.0},
    FAMILY_TOKEN_KEYS(true, 50256, 50256, -1),
};

static const family_key_t KEYS_NEOX[] = {
    {"vocab_size", FAMILY_SIZE, FAMILY_FIELD(vocabulary), .needed = true, .highest = 1 << 24},
    {"hidden_size", FAMILY_SIZE, FAMILY_FIELD(hidden), .needed = true, .highest = 1 << 18},
    {"intermediate_size", FAMILY_SIZE, FAMILY_FIELD(intermediate), .needed = true,
     .highest = 1 << 20},
    {"num_hidden_layers", FAMILY_SIZE, FAMILY_FIELD(layers), .needed = true,
     .highest = TR_MODEL_LAYER_LIMIT},
    {"num_attention_heads", FAMILY_SIZE, FAMILY_FIELD(heads), .needed = true, .highest = 4096},
    {"max_position_embeddings", FAMILY_SIZE, FAMILY_FIELD(max_positions), .fallback = 2048,
     .highest = 1 << 24},
    {"layer_norm_eps", FAMILY_FLOAT, FAMILY_FIELD(rms_epsilon), .fallback = 1e-5, .lowest = 1e-30,
     .highest = 0.1},
    {"hidden_act", FAMILY_GELU, FAMILY_FIELD(activation), .fallback = TR_ACTIVATION_GELU},
    {"use_parallel_residual", FAMILY_BOOL, FAMILY_FIELD(parallel_residual), .fallback = true},
    {"attention_bias", FAMILY_BOOL, FAMILY_FIELD(attention_bias), .fallback = true},
    {"rotary_pct", FAMILY_REAL, FAMILY_FIELD(rotary_fraction), .fallback = 0.25, .lowest = 1e-3,
     .highest = 1.0},
    {"rotary_emb_base", FAMILY_REAL, FAMILY_FIELD(rope_theta), .fallback = 10000.0, .lowest = 1.0,
     .highest = 1e15},
    {"rope_scaling", FAMILY_ROPE, .offset = 0},
    {"rope_parameters", FAMILY_ROPE, .written = FAMILY_NEVER},
    {"attention_dropout", FAMILY_REAL, FAMILY_FIELD(attention_dropout), .highest = 1.0},
    {"hidden_dropout", FAMILY_REAL, FAMILY_FIELD(hidden_dropout), .highest = 1.0},
    FAMILY_TOKEN_KEYS(false, 0, 2, -1),
};

static const family_keys_t GPT2_KEYS = {KEYS_2, sizeof KEYS_2 / sizeof *KEYS_2};
static const family_keys_t NEOX_KEYS = {KEYS_NEOX, sizeof KEYS_NEOX / sizeof *KEYS_NEOX};

/// A weight and its biases, of an array with the same name but for the end.
#define NORM_TENSORS(name, kind)                            \
    {name ".weight", (kind), FAMILY_VECTOR, FAMILY_HIDDEN}, \
    {                                                       \
        name ".bias", (kind), FAMILY_VECTOR, FAMILY_HIDDEN  \
    }

static const family_tensor_t TENSORS_2[] = {
    {"transformer.wte.weight", TR_WEIGHT_EMBEDDING, FAMILY_VOCABULARY, FAMILY_HIDDEN},
    {"transformer.wpe.weight", TR_WEIGHT_POSITIONS, FAMILY_POSITIONS, FAMILY_HIDDEN},

    NORM_TENSORS("transformer.h.*.ln_1", TR_WEIGHT_INPUT_NORM),
    {"transformer.h.*.attn.c_attn.weight", TR_WEIGHT_QKV, FAMILY_QKV, FAMILY_HIDDEN,
     TR_FORM_TRANSPOSED},
    {"transformer.h.*.attn.c_attn.bias", TR_WEIGHT_QKV_BIAS, FAMILY_VECTOR, FAMILY_QKV},
    {"transformer.h.*.attn.c_proj.weight", TR_WEIGHT_OUTPUT, FAMILY_HIDDEN, FAMILY_QUERIES,
     TR_FORM_TRANSPOSED},
    {"transformer.h.*.attn.c_proj.bias", TR_WEIGHT_OUTPUT_BIAS, FAMILY_VECTOR, FAMILY_HIDDEN},
    NORM_TENSORS("transformer.h.*.ln_2", TR_WEIGHT_POST_NORM),
    {"transformer.h.*.mlp.c_fc.weight", TR_WEIGHT_GATE_UP, FAMILY_INTERMEDIATE, FAMILY_HIDDEN,
     TR_FORM_TRANSPOSED},
    {"transformer.h.*.mlp.c_fc.bias", TR_WEIGHT_GATE_UP_BIAS, FAMILY_VECTOR, FAMILY_INTERMEDIATE},
    {"transformer.h.*.mlp.c_proj.weight", TR_WEIGHT_DOWN, FAMILY_HIDDEN, FAMILY_INTERMEDIATE,
     TR_FORM_TRANSPOSED},
    {"transformer.h.*.mlp.c_proj.bias", TR_WEIGHT_DOWN_BIAS, FAMILY_VECTOR, FAMILY_HIDDEN},

    NORM_TENSORS("transformer.ln_f", TR_WEIGHT_FINAL_NORM),
    {"lm_head.weight", TR_WEIGHT_HEAD, FAMILY_VOCABULARY, FAMILY_HIDDEN},
    {"score.weight", TR_WEIGHT_SCORE, FAMILY_ONE, FAMILY_HIDDEN},
};

#define NEOX_LAYER "gpt_neox.layers.*."

static const family_tensor_t TENSORS_NEOX[] = {
    {"gpt_neox.embed_in.weight", TR_WEIGHT_EMBEDDING, FAMILY_VOCABULARY, FAMILY_HIDDEN},

    NORM_TENSORS(NEOX_LAYER "input_layernorm", TR_WEIGHT_INPUT_NORM),
    {NEOX_LAYER "attention.query_key_value.weight", TR_WEIGHT_QKV, FAMILY_QKV, FAMILY_HIDDEN,
     TR_FORM_BY_HEAD},
    {NEOX_LAYER "attention.query_key_value.bias", TR_WEIGHT_QKV_BIAS, FAMILY_VECTOR, FAMILY_QKV,
     TR_FORM_BY_HEAD},
    {NEOX_LAYER "attention.dense.weight", TR_WEIGHT_OUTPUT, FAMILY_HIDDEN, FAMILY_QUERIES},
    {NEOX_LAYER "attention.dense.bias", TR_WEIGHT_OUTPUT_BIAS, FAMILY_VECTOR, FAMILY_HIDDEN},
    NORM_TENSORS(NEOX_LAYER "post_attention_layernorm", TR_WEIGHT_POST_NORM),
    {NEOX_LAYER "mlp.dense_h_to_4h.weight", TR_WEIGHT_GATE_UP, FAMILY_INTERMEDIATE, FAMILY_HIDDEN},
    {NEOX_LAYER "mlp.dense_h_to_4h.bias", TR_WEIGHT_GATE_UP_BIAS, FAMILY_VECTOR,
     FAMILY_INTERMEDIATE},
    {NEOX_LAYER "mlp.dense_4h_to_h.weight", TR_WEIGHT_DOWN, FAMILY_HIDDEN, FAMILY_INTERMEDIATE},
    {NEOX_LAYER "mlp.dense_4h_to_h.bias", TR_WEIGHT_DOWN_BIAS, FAMILY_VECTOR, FAMILY_HIDDEN},

    NORM_TENSORS("gpt_neox.final_layer_norm", TR_WEIGHT_FINAL_NORM),
    {"embed_out.weight", TR_WEIGHT_HEAD, FAMILY_VOCABULARY, FAMILY_HIDDEN},
    {"score.weight", TR_WEIGHT_SCORE, FAMILY_ONE, FAMILY_HIDDEN},
};

static const family_tensors_t GPT2_TENSORS = {TENSORS_2, sizeof TENSORS_2 / sizeof *TENSORS_2};
static const family_tensors_t NEOX_TENSORS = {TENSORS_NEOX,
                                              sizeof TENSORS_NEOX / sizeof *TENSORS_NEOX};

const family_t family_gpt2 = {
    .model_type = "gpt2",
    .causal = "GPT2LMHeadModel",
    .scalar = "GPT2ForSequenceClassification",
    .base = {.ungated = true,
             .layer_norm = true,
             .attention_bias = true,
             .mlp_bias = true,
             .rope_theta = 10000.0, // of a table that no layer reads
             .unrotated_every = 1},
    .keys = &GPT2_KEYS,
    .tensors = &GPT2_TENSORS,
    .unread = {".attn.bias", ".attn.masked_bias"}, // masks
};

const family_t family_gpt_neox = {
    .model_type = "gpt_neox",
    .causal = "GPTNeoXForCausalLM",
    .scalar = "GPTNeoXForSequenceClassification",
    .base = {.ungated = true, .layer_norm = true, .mlp_bias = true},
    .keys = &NEOX_KEYS,
    .tensors = &NEOX_TENSORS,
    .unread = {".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"},
};
