/// DeepSeek V3 (DeepSeek-AI 2024), whose config Moonlight and Kimi K2 have too: latent attention,
/// and experts chosen by sigmoids with a bias, of groups, beside some that all tokens have.
#include "common/model/families/family.h"

static const family_key_t KEYS[] = {
    {"hidden_act", FAMILY_ONLY, .only = "\"silu\""},
    {"attention_bias", FAMILY_ONLY, .only = "false"},
    {"scoring_func", FAMILY_ONLY, .only = "\"sigmoid\"", .written = FAMILY_NEVER},
    {"topk_method", FAMILY_ONLY, .only = "\"noaux_tc\"", .written = FAMILY_NEVER},
    {"moe_layer_freq", FAMILY_ONLY, .only = "1", .written = FAMILY_NEVER},
    FAMILY_TRUNK_KEYS(0, 0, 4096, 1e-6, 10000.0),
    {"q_lora_rank", FAMILY_WINDOW, FAMILY_FIELD(latent.query), .fallback = 1536,
     .highest = 1 << 18},
    {"kv_lora_rank", FAMILY_SIZE, FAMILY_FIELD(latent.key), .fallback = 512, .highest = 1 << 18},
    {"qk_nope_head_dim", FAMILY_SIZE, FAMILY_FIELD(latent.plain), .fallback = 128, .highest = 2048},
    {"qk_rope_head_dim", FAMILY_SIZE, FAMILY_FIELD(latent.rotated), .fallback = 64,
     .highest = 2 * TR_ROPE_PAIRS},
    {"v_head_dim", FAMILY_SIZE, FAMILY_FIELD(latent.value), .fallback = 128, .highest = 4096},
    {"rope_interleave", FAMILY_BOOL, FAMILY_FIELD(latent.pairs), .fallback = true},
    {"n_routed_experts", FAMILY_SIZE, FAMILY_FIELD(experts), .fallback = 256, .highest = 1024,
     .also = "num_local_experts"},
    {"num_experts_per_tok", FAMILY_SIZE, FAMILY_FIELD(experts_chosen), .fallback = 8,
     .highest = 1024},
    {"moe_intermediate_size", FAMILY_SIZE, FAMILY_FIELD(expert_intermediate), .fallback = 2048,
     .highest = 1 << 20},
    {"n_shared_experts", FAMILY_SIZE, FAMILY_FIELD(shared_experts), .fallback = 1, .highest = 1024},
    {"first_k_dense_replace", FAMILY_COUNT, FAMILY_FIELD(dense_first), .fallback = 3,
     .highest = TR_MODEL_LAYER_LIMIT},
    {"norm_topk_prob", FAMILY_BOOL, FAMILY_FIELD(router_normalized), .fallback = true},
    {"routed_scaling_factor", FAMILY_REAL, FAMILY_FIELD(router_scale), .fallback = 2.5,
     .lowest = 1e-6, .highest = 1e6},
    {"n_group", FAMILY_SIZE, FAMILY_FIELD(router_groups), .fallback = 8, .highest = 64},
    {"topk_group", FAMILY_SIZE, FAMILY_FIELD(router_groups_chosen), .fallback = 4, .highest = 64},
    {"output_router_logits", FAMILY_BOOL, .offset = FAMILY_FIELD(router_logits)},
    // Sums of others, and layers that draw tokens ahead, which are not read.
    {"qk_head_dim", FAMILY_UNREAD, .written = FAMILY_NEVER},
    {"num_nextn_predict_layers", FAMILY_UNREAD, .written = FAMILY_NEVER},
    {"num_mtp_layers", FAMILY_UNREAD, .written = FAMILY_NEVER},
    FAMILY_TOKEN_KEYS(false, 0, 1, -1),
};

static const family_keys_t DEEPSEEK_KEYS = {KEYS, sizeof KEYS / sizeof *KEYS};

static const family_tensor_t TENSORS[] = {
    {"model.embed_tokens.weight", TR_WEIGHT_EMBEDDING, FAMILY_VOCABULARY, FAMILY_HIDDEN},

    {"model.layers.*.input_layernorm.weight", TR_WEIGHT_INPUT_NORM, FAMILY_VECTOR, FAMILY_HIDDEN},
    // Either of the two, by q_lora_rank.
    {"model.layers.*.self_attn.q_proj.weight", TR_WEIGHT_LATENT_IN, FAMILY_DIRECT_QUERIES,
     FAMILY_HIDDEN, TR_FORM_ROTATED_LAST},
    {"model.layers.*.self_attn.q_a_proj.weight", TR_WEIGHT_LATENT_IN, FAMILY_QUERY_LATENT,
     FAMILY_HIDDEN},
    {"model.layers.*.self_attn.kv_a_proj_with_mqa.weight", TR_WEIGHT_LATENT_IN,
     FAMILY_ROTATED_KEY_LATENT, FAMILY_HIDDEN, TR_FORM_ROTATED_LAST},
    {"model.layers.*.self_attn.q_a_layernorm.weight", TR_WEIGHT_QUERY_NORM, FAMILY_VECTOR,
     FAMILY_QUERY_LATENT},
    {"model.layers.*.self_attn.kv_a_layernorm.weight", TR_WEIGHT_KEY_NORM, FAMILY_VECTOR,
     FAMILY_KEY_LATENT},
    {"model.layers.*.self_attn.q_b_proj.weight", TR_WEIGHT_QUERY_UP, FAMILY_QUERIES,
     FAMILY_QUERY_LATENT, TR_FORM_ROTATED_LAST},
    {"model.layers.*.self_attn.kv_b_proj.weight", TR_WEIGHT_KEY_UP, FAMILY_KEYS_VALUES,
     FAMILY_KEY_LATENT},
    {"model.layers.*.self_attn.o_proj.weight", TR_WEIGHT_OUTPUT, FAMILY_HIDDEN, FAMILY_VALUES},
    {"model.layers.*.post_attention_layernorm.weight", TR_WEIGHT_POST_NORM, FAMILY_VECTOR,
     FAMILY_HIDDEN},
    {"model.layers.*.mlp.gate_proj.weight", TR_WEIGHT_GATE_UP, FAMILY_INTERMEDIATE, FAMILY_HIDDEN},
    {"model.layers.*.mlp.up_proj.weight", TR_WEIGHT_GATE_UP, FAMILY_INTERMEDIATE, FAMILY_HIDDEN},
    {"model.layers.*.mlp.down_proj.weight", TR_WEIGHT_DOWN, FAMILY_HIDDEN, FAMILY_INTERMEDIATE},
    FAMILY_EXPERT_TENSORS("model.layers.*.mlp.", "gate_proj", "up_proj", "down_proj"),
    {"model.layers.*.mlp.shared_experts.gate_proj.weight", TR_WEIGHT_SHARED_GATE_UP,
     FAMILY_SHARED_INTERMEDIATE, FAMILY_HIDDEN},
    {"model.layers.*.mlp.shared_experts.up_proj.weight", TR_WEIGHT_SHARED_GATE_UP,
     FAMILY_SHARED_INTERMEDIATE, FAMILY_HIDDEN},
    {"model.layers.*.mlp.shared_experts.down_proj.weight", TR_WEIGHT_SHARED_DOWN, FAMILY_HIDDEN,
     FAMILY_SHARED_INTERMEDIATE},

    FAMILY_END_TENSORS,
};

static const family_tensors_t DEEPSEEK_TENSORS = {TENSORS, sizeof TENSORS / sizeof *TENSORS};

const family_t family_deepseek_v3 = {
    .model_type = "deepseek_v3",
    .causal = "DeepseekV3ForCausalLM",
    .scalar = "DeepseekV3ForSequenceClassification",
    .base = {.router_sigmoid = true},
    .keys = &DEEPSEEK_KEYS,
    .tensors = &DEEPSEEK_TENSORS,
    .unread = {".rotary_emb.inv_freq"},
    .beside = {"model.layers.61."}, // as transformers: what draws tokens ahead
    .quantized = "fp8",
    .router_bias = {"model.layers.", ".mlp.gate.e_score_correction_bias"},
};
