/// gpt-oss (OpenAI 2025): experts with biases, whose SwiGLU has bounds, and whose weights are a
/// softmax over those chosen; a sink for each head of attention; every other layer slides. Files
/// have the weights of a layer's experts in one tensor, or as MXFP4 (mxfp4.h).
#include "common/model/families/family.h"

static const family_key_t KEYS[] = {
    {"hidden_act", FAMILY_ONLY, .only = "\"silu\""},
    {"attention_bias", FAMILY_BOOL, FAMILY_FIELD(attention_bias), .fallback = true},
    FAMILY_TRUNK_KEYS(8, 64, 131072, 1e-5, 150000.0),
    {"sliding_window", FAMILY_WINDOW, FAMILY_FIELD(window), .fallback = 128, .highest = 1 << 24},
    {"layer_types", FAMILY_SLIDING, .offset = FAMILY_FIELD(sliding)},
    {"num_local_experts", FAMILY_SIZE, FAMILY_FIELD(experts), .fallback = 128, .highest = 1024,
     .also = "num_experts"},
    FAMILY_ROUTER_KEYS(4, 0.001),
    {"swiglu_alpha", FAMILY_FLOAT, FAMILY_FIELD(swiglu_alpha), .fallback = 1.702, .lowest = 1e-6,
     .highest = 1e6},
    {"swiglu_limit", FAMILY_FLOAT, FAMILY_FIELD(swiglu_limit), .fallback = 7.0, .lowest = 1e-6,
     .highest = 1e6},
    FAMILY_TOKEN_KEYS(false, -1, -1, -1),
};

static const family_tensor_t TENSORS[] = {
    {"model.embed_tokens.weight", TR_WEIGHT_EMBEDDING, FAMILY_VOCABULARY, FAMILY_HIDDEN},

    {"model.layers.*.input_layernorm.weight", TR_WEIGHT_INPUT_NORM, FAMILY_VECTOR, FAMILY_HIDDEN},
    FAMILY_ATTENTION_TENSORS(FAMILY_HEAD, FAMILY_HEAD),
    {"model.layers.*.self_attn.sinks", TR_WEIGHT_SINKS, FAMILY_LIST, FAMILY_HEADS},
    {"model.layers.*.post_attention_layernorm.weight", TR_WEIGHT_POST_NORM, FAMILY_VECTOR,
     FAMILY_HIDDEN},
    {"model.layers.*.mlp.router.weight", TR_WEIGHT_ROUTER, FAMILY_EXPERTS, FAMILY_HIDDEN},
    {"model.layers.*.mlp.router.bias", TR_WEIGHT_ROUTER_BIAS, FAMILY_VECTOR, FAMILY_EXPERTS},
    {"model.layers.*.mlp.experts.gate_up_proj", TR_WEIGHT_EXPERT_GATE_UP, FAMILY_EXPERTS_GATE_UP,
     FAMILY_HIDDEN, TR_FORM_BY_EXPERT},
    {"model.layers.*.mlp.experts.gate_up_proj_bias", TR_WEIGHT_EXPERT_GATE_UP_BIAS,
     FAMILY_EXPERTS_GATE_UP, FAMILY_ONE, TR_FORM_BY_EXPERT},
    {"model.layers.*.mlp.experts.down_proj", TR_WEIGHT_EXPERT_DOWN, FAMILY_EXPERTS_DOWN,
     FAMILY_EXPERT_INTERMEDIATE, TR_FORM_BY_EXPERT},
    {"model.layers.*.mlp.experts.down_proj_bias", TR_WEIGHT_EXPERT_DOWN_BIAS, FAMILY_EXPERTS_DOWN,
     FAMILY_ONE, TR_FORM_BY_EXPERT},

    FAMILY_END_TENSORS,
};

static const family_keys_t GPT_OSS_KEYS = {KEYS, sizeof KEYS / sizeof *KEYS};
static const family_tensors_t GPT_OSS_TENSORS = {TENSORS, sizeof TENSORS / sizeof *TENSORS};

const family_t family_gpt_oss = {
    .model_type = "gpt_oss",
    .causal = "GptOssForCausalLM",
    .scalar = "GptOssForSequenceClassification",
    .base = {.window_used = true,
             .full_every = 2,
             .router_normalized = true,
             // What a file says that says nothing of the rotation.
             .rope_scaling = {.kind = TR_ROPE_YARN,
                              .factor = 32.0,
                              .beta_fast = 32.0,
                              .beta_slow = 1.0,
                              .original_positions = 4096.0}},
    .keys = &GPT_OSS_KEYS,
    .tensors = &GPT_OSS_TENSORS,
    .unread = {".rotary_emb.inv_freq"},
    .quantized = "mxfp4",
};
