/// Qwen 3-Next (Qwen Team 2025), and Qwen 3.5 and 3.6, the text models (Qwen Team 2026): of four
/// layers three have a gated delta net (Yang et al. 2025) in place of attention. The fourth gates
/// what its heads read, norms queries and keys, and rotates a quarter of each head. Weights of
/// norms are added to 1, but for the net's. Qwen 3-Next has experts, and stores the net's product
/// by head; Qwen 3.5 MoE has experts too.
#include "common/model/families/family.h"

/// Of the trunk; the argument is a default.
#define HYBRID_KEYS(kv_heads)                                                                    \
    {"hidden_act", FAMILY_ONLY, .only = "\"silu\""},                                             \
        {"attn_output_gate", FAMILY_ONLY, .only = "true", .written = FAMILY_NEVER},              \
        {"attention_bias", FAMILY_BOOL, .offset = FAMILY_FIELD(attention_bias)},                 \
        {"partial_rotary_factor", FAMILY_REAL,    FAMILY_FIELD(rotary_fraction),                 \
         .fallback = 0.25,        .lowest = 1e-3, .highest = 1.0},                               \
        FAMILY_SPARSE_TRUNK_KEYS(kv_heads, 256, 32768, 1e-6, 10000.0),                           \
        {"linear_num_key_heads", FAMILY_SIZE, FAMILY_FIELD(delta.key_heads), .fallback = 16,     \
         .highest = 4096},                                                                       \
        {"linear_num_value_heads", FAMILY_SIZE, FAMILY_FIELD(delta.value_heads), .fallback = 32, \
         .highest = 4096},                                                                       \
        {"linear_key_head_dim", FAMILY_SIZE, FAMILY_FIELD(delta.key_dim), .fallback = 128,       \
         .highest = 1024},                                                                       \
        {"linear_value_head_dim", FAMILY_SIZE, FAMILY_FIELD(delta.value_dim), .fallback = 128,   \
         .highest = 1024},                                                                       \
        {"linear_conv_kernel_dim", FAMILY_SIZE, FAMILY_FIELD(delta.taps), .fallback = 4,         \
         .highest = TR_TAPS}, /* Where there is no list. */                                      \
        {"full_attention_interval",       FAMILY_SIZE,                                           \
         FAMILY_FIELD(attention_every),   .fallback = 4,                                         \
         .highest = TR_MODEL_LAYER_LIMIT, .written = FAMILY_NEVER},                              \
    {                                                                                            \
        "layer_types", FAMILY_RECURRENT, .offset = FAMILY_FIELD(recurrent)                       \
    }

static const family_key_t KEYS[] = {
    FAMILY_INTERMEDIATE_KEY,
    HYBRID_KEYS(4),
    {"mlp_only_layers", FAMILY_UNREAD, .written = FAMILY_NEVER},
    FAMILY_TOKEN_KEYS(false, -1, -1, -1),
};

static const family_key_t KEYS_NEXT[] = {
    FAMILY_INTERMEDIATE_KEY,
    HYBRID_KEYS(2),
    FAMILY_QWEN_EXPERT_KEYS(512, 10, 512, true),
    {"shared_expert_intermediate_size", FAMILY_SIZE, FAMILY_FIELD(shared_intermediate),
     .fallback = 512, .highest = 1 << 20},
    FAMILY_TOKEN_KEYS(false, -1, -1, -1),
};

static const family_key_t KEYS_MOE[] = {
    HYBRID_KEYS(2),
    {"num_experts", FAMILY_SIZE, FAMILY_FIELD(experts), .fallback = 256, .highest = 1024},
    {"moe_intermediate_size", FAMILY_SIZE, FAMILY_FIELD(expert_intermediate), .fallback = 512,
     .highest = 1 << 20},
    {"shared_expert_intermediate_size", FAMILY_SIZE, FAMILY_FIELD(shared_intermediate),
     .fallback = 512, .highest = 1 << 20},
    // transformers reads none of these: all layers have experts, whose weights are normalized.
    {"norm_topk_prob", FAMILY_UNREAD, .written = FAMILY_NEVER},
    {"mlp_only_layers", FAMILY_UNREAD, .written = FAMILY_NEVER},
    {"decoder_sparse_step", FAMILY_UNREAD, .written = FAMILY_NEVER},
    {"intermediate_size", FAMILY_UNREAD, .written = FAMILY_NEVER},
    FAMILY_ROUTER_KEYS(8, 0.001),
    FAMILY_TOKEN_KEYS(false, -1, -1, -1),
};

static const family_keys_t MOE_KEYS = {KEYS_MOE, sizeof KEYS_MOE / sizeof *KEYS_MOE};
static const family_keys_t NEXT_KEYS = {KEYS_NEXT, sizeof KEYS_NEXT / sizeof *KEYS_NEXT};
static const family_keys_t QWEN3_5_KEYS = {KEYS, sizeof KEYS / sizeof *KEYS};

/// What follows the product of a gated delta net, and attention.
#define MIXER_TENSORS                                                                          \
    {"model.layers.*.linear_attn.conv1d.weight", TR_WEIGHT_DELTA_CONVOLUTION, FAMILY_CHANNELS, \
     FAMILY_TAPS},                                                                             \
        {"model.layers.*.linear_attn.A_log", TR_WEIGHT_DELTA_SCALE, FAMILY_LIST,               \
         FAMILY_READ_HEADS},                                                                   \
        {"model.layers.*.linear_attn.dt_bias", TR_WEIGHT_DELTA_SHIFT, FAMILY_VECTOR,           \
         FAMILY_READ_HEADS},                                                                   \
        {"model.layers.*.linear_attn.norm.weight", TR_WEIGHT_DELTA_NORM, FAMILY_VECTOR,        \
         FAMILY_READ_HEAD},                                                                    \
        {"model.layers.*.linear_attn.out_proj.weight", TR_WEIGHT_DELTA_OUT, FAMILY_HIDDEN,     \
         FAMILY_READ},                                                                         \
        FAMILY_GATED_ATTENTION_TENSORS(FAMILY_GATED_QUERIES, FAMILY_HEAD, FAMILY_HEAD)

#define MLP_TENSORS                                                                               \
    {"model.layers.*.post_attention_layernorm.weight", TR_WEIGHT_POST_NORM, FAMILY_VECTOR,        \
     FAMILY_HIDDEN},                                                                              \
        {"model.layers.*.mlp.gate_proj.weight", TR_WEIGHT_GATE_UP, FAMILY_INTERMEDIATE,           \
         FAMILY_HIDDEN},                                                                          \
        {"model.layers.*.mlp.up_proj.weight", TR_WEIGHT_GATE_UP, FAMILY_INTERMEDIATE,             \
         FAMILY_HIDDEN},                                                                          \
    {                                                                                             \
        "model.layers.*.mlp.down_proj.weight", TR_WEIGHT_DOWN, FAMILY_HIDDEN, FAMILY_INTERMEDIATE \
    }

/// From the embedding to the product of Qwen 3.5's nets.
#define START_TENSORS                                                                          \
    {"model.embed_tokens.weight", TR_WEIGHT_EMBEDDING, FAMILY_VOCABULARY, FAMILY_HIDDEN},      \
        {"model.layers.*.input_layernorm.weight", TR_WEIGHT_INPUT_NORM, FAMILY_VECTOR,         \
         FAMILY_HIDDEN},                                                                       \
        {"model.layers.*.linear_attn.in_proj_qkv.weight", TR_WEIGHT_DELTA_IN, FAMILY_CHANNELS, \
         FAMILY_HIDDEN},                                                                       \
        {"model.layers.*.linear_attn.in_proj_z.weight", TR_WEIGHT_DELTA_IN, FAMILY_READ,       \
         FAMILY_HIDDEN},                                                                       \
        {"model.layers.*.linear_attn.in_proj_b.weight", TR_WEIGHT_DELTA_IN, FAMILY_READ_HEADS, \
         FAMILY_HIDDEN},                                                                       \
    {                                                                                          \
        "model.layers.*.linear_attn.in_proj_a.weight", TR_WEIGHT_DELTA_IN, FAMILY_READ_HEADS,  \
            FAMILY_HIDDEN                                                                      \
    }

static const family_tensor_t TENSORS[] = {
    START_TENSORS,
    MIXER_TENSORS,
    MLP_TENSORS,
    FAMILY_END_TENSORS,
};

static const family_tensor_t TENSORS_MOE[] = {
    START_TENSORS,
    MIXER_TENSORS,
    {"model.layers.*.post_attention_layernorm.weight", TR_WEIGHT_POST_NORM, FAMILY_VECTOR,
     FAMILY_HIDDEN},
    FAMILY_EXPERT_TENSORS("model.layers.*.mlp.", "gate_proj", "up_proj", "down_proj"),
    FAMILY_SHARED_EXPERT_TENSORS,
    FAMILY_END_TENSORS,
};

static const family_tensor_t TENSORS_NEXT[] = {
    {"model.embed_tokens.weight", TR_WEIGHT_EMBEDDING, FAMILY_VOCABULARY, FAMILY_HIDDEN},

    {"model.layers.*.input_layernorm.weight", TR_WEIGHT_INPUT_NORM, FAMILY_VECTOR, FAMILY_HIDDEN},
    {"model.layers.*.linear_attn.in_proj_qkvz.weight", TR_WEIGHT_DELTA_IN, FAMILY_CHANNELS_READ,
     FAMILY_HIDDEN, TR_FORM_BY_HEAD},
    {"model.layers.*.linear_attn.in_proj_ba.weight", TR_WEIGHT_DELTA_IN, FAMILY_STATE_GATES,
     FAMILY_HIDDEN, TR_FORM_BY_HEAD},
    MIXER_TENSORS,
    MLP_TENSORS,
    FAMILY_EXPERT_TENSORS("model.layers.*.mlp.", "gate_proj", "up_proj", "down_proj"),
    FAMILY_SHARED_EXPERT_TENSORS,

    FAMILY_END_TENSORS,
};

static const family_tensors_t QWEN3_5_TENSORS = {TENSORS, sizeof TENSORS / sizeof *TENSORS};
static const family_tensors_t MOE_TENSORS = {TENSORS_MOE, sizeof TENSORS_MOE / sizeof *TENSORS_MOE};
static const family_tensors_t NEXT_TENSORS = {TENSORS_NEXT,
                                              sizeof TENSORS_NEXT / sizeof *TENSORS_NEXT};

static const family_wrapped_t WRAPPED = {
    .model_type = "qwen3_5",
    .architecture = "Qwen3_5ForConditionalGeneration",
    .prefix = "model.language_model.",
};

const family_t family_qwen3_5 = {
    .model_type = "qwen3_5_text",
    .causal = "Qwen3_5ForCausalLM",
    .scalar = "Qwen3_5TextForSequenceClassification",
    .base = {.qk_norm = TR_QK_NORM_HEAD, .norm_offset = 1.0f, .attention_gate = true},
    .keys = &QWEN3_5_KEYS,
    .tensors = &QWEN3_5_TENSORS,
    .unread = {".rotary_emb.inv_freq"},
    .beside = {"mtp.", "model.visual."}, // what draws tokens ahead, and what sees pictures
    .wrapped = &WRAPPED,
};

static const family_wrapped_t WRAPPED_MOE = {
    .model_type = "qwen3_5_moe",
    .architecture = "Qwen3_5MoeForConditionalGeneration",
    .prefix = "model.language_model.",
};

const family_t family_qwen3_5_moe = {
    .model_type = "qwen3_5_moe_text",
    .causal = "Qwen3_5MoeForCausalLM",
    .scalar = "Qwen3_5MoeForSequenceClassification",
    .base = {.qk_norm = TR_QK_NORM_HEAD,
             .norm_offset = 1.0f,
             .attention_gate = true,
             .router_normalized = true,
             .sparse_every = 1},
    .keys = &MOE_KEYS,
    .tensors = &MOE_TENSORS,
    .unread = {".rotary_emb.inv_freq"},
    .beside = {"mtp.", "model.visual."},
    .wrapped = &WRAPPED_MOE,
};

const family_t family_qwen3_next = {
    .model_type = "qwen3_next",
    .causal = "Qwen3NextForCausalLM",
    .scalar = "Qwen3NextForSequenceClassification",
    .base = {.qk_norm = TR_QK_NORM_HEAD, .norm_offset = 1.0f, .attention_gate = true},
    .keys = &NEXT_KEYS,
    .tensors = &NEXT_TENSORS,
    .unread = {".rotary_emb.inv_freq"},
    .beside = {"mtp."},
};
