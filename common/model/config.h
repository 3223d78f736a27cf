/// The shape of a model, as a Hugging Face directory's config.json states it.
///
/// Read by the model and by whoever needs sizes before there is a model; knows no tensors. Families
/// of models and their keys are a table (families/family.h); each has two architectures: a causal
/// language model (a policy or reference), and sequence classification with one label (a critic or
/// a reward model). Whatever else config.json asks for that would change numbers is refused by
/// name, never ignored: another activation, quantized weights, a key of another family, ...
#ifndef TR_MODEL_CONFIG_H
#define TR_MODEL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/tensor/backend.h"

enum {
    TR_MODEL_EOS_LIMIT = 256,
    TR_MODEL_LAYER_LIMIT = 4096,
    TR_ROPE_PAIRS = 256 ///< most pairs of a head that are rotated
};

/// How the frequencies of RoPE are scaled (transformers' modeling_rope_utils).
typedef enum tr_rope_kind {
    TR_ROPE_DEFAULT,
    TR_ROPE_LINEAR,  ///< positions divided by factor (Chen et al. 2023)
    TR_ROPE_DYNAMIC, ///< plain up to max_positions, and no sequence is longer
    TR_ROPE_LLAMA3,
    TR_ROPE_YARN,    ///< Peng et al. 2023
    TR_ROPE_LONGROPE ///< Ding et al. 2024; up to the original positions, with short_factor
} tr_rope_kind_t;

typedef struct tr_rope_scaling {
    tr_rope_kind_t kind;
    double factor;
    double low_freq_factor, high_freq_factor; ///< of llama3
    double beta_fast, beta_slow;              ///< of yarn
    double mscale, mscale_all_dim;            ///< likewise; 0: none
    double attention_factor;                  ///< of yarn and longrope; 0: computed from factor
    double original_positions;                ///< original_max_position_embeddings
    bool truncate;                            ///< of yarn: bounds of the ramp are whole numbers
    float short_factor[TR_ROPE_PAIRS];        ///< of longrope: [factor_count]
    size_t factor_count;
} tr_rope_scaling_t;

/// Norms of queries and keys.
typedef enum tr_qk_norm {
    TR_QK_NORM_NONE,
    TR_QK_NORM_HEAD, ///< of each head
    TR_QK_NORM_ALL   ///< of all heads together
} tr_qk_norm_t;

/// What the MLP's inner rows go through.
typedef enum tr_activation {
    TR_ACTIVATION_SILU,
    TR_ACTIVATION_GELU_TANH, ///< GELU in its tanh form
    TR_ACTIVATION_GELU       ///< by erf
} tr_activation_t;

/// Attention with latents (DeepSeek-AI 2024, DeepSeek-V2): queries, and keys and values, are
/// products of few numbers a token. A head of queries and keys has `rotated` elements, then
/// `plain` ones; the rotated ones of keys are the same in all heads.
typedef struct tr_latent {
    size_t query;          ///< Lq = q_lora_rank; 0: queries are products of the token itself
    size_t key;            ///< L = kv_lora_rank; 0: the model has no latents
    size_t plain, rotated; ///< N and R = qk_nope_head_dim and qk_rope_head_dim
    size_t value;          ///< V = v_head_dim, at most N + R
    bool pairs;            ///< rope_interleave: as a file has the rotated ones
} tr_latent_t;

/// A truth value for each layer.
typedef struct tr_layer_set {
    uint64_t bits[TR_MODEL_LAYER_LIMIT / 64];
} tr_layer_set_t;

static inline bool tr_layer_set_has(const tr_layer_set_t *set, size_t layer)
{
    return (set->bits[layer / 64] >> (layer % 64) & 1) != 0;
}

/// Plain values, copied freely; owns nothing. What tr_model_config_load accepts has every size >=
/// 1, heads a multiple of key_value_heads, head_dim even, and token ids below vocabulary.
typedef struct tr_model_config {
    size_t family;          ///< model_type: a row of the table of families, 0: Llama
    size_t vocabulary;      ///< vocab_size
    size_t hidden;          ///< hidden_size
    size_t intermediate;    ///< intermediate_size
    size_t layers;          ///< num_hidden_layers
    size_t heads;           ///< num_attention_heads
    size_t key_value_heads; ///< num_key_value_heads; heads when not given
    size_t head_dim;        ///< head_dim, which need not be hidden / heads, but is when not given
    size_t max_positions;   ///< max_position_embeddings; 2048 when not given
    float rms_epsilon;      ///< rms_norm_eps; 1e-6 when not given
    double rope_theta;      ///< rope_theta or rope_parameters.rope_theta
    tr_rope_scaling_t rope_scaling;
    double rope_local_theta; ///< of sliding layers that rotate plainly by their own; 0: all alike
    double rotary_fraction;  ///< partial_rotary_factor; 0: 1
    size_t rotary_dim;       ///< elements of a head that are rotated; 0: head_dim
    bool qkv_bias;           ///< biases of the query, key and value projections alone,
    bool attention_bias;     ///< of all of attention's,
    bool mlp_bias;           ///< of the MLP's
    tr_qk_norm_t qk_norm;    ///< before the rotation
    tr_activation_t activation; ///< of the MLP's gate, or of its inner rows where it has no gate
    bool ungated;
    bool layer_norm;          ///< LayerNorm with biases, not RMSNorm
    bool parallel_residual;   ///< the MLP reads the layer's input, as attention does
    float norm_offset;        ///< added to the norms' weights
    bool embedding_root;      ///< embeddings are multiplied by sqrt(hidden)
    double embedding_scale;   ///< by this; 0: 1
    double residual_scale;    ///< what is added to the residual stream is multiplied by it; 0: 1
    double attention_scale;   ///< of scores; 0: 1/sqrt(head_dim)
    double attention_scalar;  ///< or 1/sqrt of this; 0: neither
    double logit_divisor;     ///< logits are divided by it; 0: 1
    float attention_cap;      ///< tr_heads_t; 0: none
    float logit_cap;          ///< tr_head_t; 0: none
    size_t window;            ///< sliding_window: keys that the queries of `sliding` see; 0: all
    tr_layer_set_t sliding;   ///< layers
    tr_layer_set_t unrotated; ///< layers without positions
    // What the layers in these sets are where config.json has no list of them:
    bool window_used;       ///< use_sliding_window
    size_t window_border;   ///< max_window_layers: layers from it on may slide,
    bool window_before;     ///< or those before it
    size_t full_every;      ///< of n layers the last does not slide; 0: none slides
    size_t unrotated_every; ///< of n layers the last is not rotated; 0: all are
    // Mixtures of experts: 0 experts, and every layer has an MLP.
    size_t experts;              ///< num_experts or num_local_experts
    size_t experts_chosen;       ///< num_experts_per_tok
    size_t expert_intermediate;  ///< moe_intermediate_size; intermediate where there is no such key
    size_t shared_intermediate;  ///< shared_expert_intermediate_size; 0: no expert of all tokens
    bool router_normalized;      ///< norm_topk_prob: as of tr_router_t
    bool router_sigmoid;         ///< as of tr_router_t, with
    double router_scale;         ///< routed_scaling_factor,
    size_t router_groups;        ///< n_group
    size_t router_groups_chosen; ///< and topk_group
    size_t shared_experts;       ///< n_shared_experts, of expert_intermediate each, as one
    size_t dense_first;          ///< first_k_dense_replace: so many layers have an MLP
    float swiglu_alpha, swiglu_limit; ///< of the experts (tr_swiglu_t); limit 0: plain SwiGLU
    tr_layer_set_t dense;             ///< layers with an MLP, by mlp_only_layers and
    size_t sparse_every;         ///< decoder_sparse_step: of n layers the last alone has experts
    bool router_logits;          ///< output_router_logits; carried along
    double router_aux_loss_coef; ///< likewise: a run has its own (options.h)
    tr_layer_set_t recurrent;    ///< layers with a gated delta net in place of attention
    size_t attention_every;      ///< full_attention_interval: of n layers the last alone attends,
                                 ///< where there is no list; 0: all do
    tr_delta_t delta;            ///< linear_num_key_heads, linear_num_value_heads and so on
    tr_latent_t latent;
    bool attention_gate;      ///< each query head has a gate, of what it reads
    double attention_dropout; ///< not applied; nor are
    double hidden_dropout, embedding_dropout;
    bool tied_embeddings; ///< tie_word_embeddings; false when not given, for a scalar head, and
                          ///< where the file has a head that is not the embedding:
    bool own_head;        ///< which transformers then reads too
    bool scalar_head;     ///< sequence classification, one label: score.weight for lm_head.weight
    int32_t bos;          ///< bos_token_id; 1 when not given, -1 when null
    int32_t eos[TR_MODEL_EOS_LIMIT]; ///< [eos_count] generation_config.json's, else config.json's
    size_t eos_count;                ///< 0 when null; {2} when not given
    double score_mean;               ///< of a reward model's scores over its held-out pairs
    double score_std;                ///< likewise; both 0 when not given: scores are raw
    int32_t pad; ///< pad_token_id of config.json, else of generation_config.json; -1: none
} tr_model_config_t;

/// Reads directory/config.json and, where there is one, directory/generation_config.json; whether a
/// head is the file's own also needs the weights. config is written on success only. Fails with
/// TR_ERR_IO (no such file), TR_ERR_FORMAT (no JSON; a key missing, of the wrong type or out of
/// bounds) or TR_ERR_UNSUPPORTED (well-formed, but not ours); the sentence names the file and the
/// key.
tr_status tr_model_config_load(tr_model_config_t *config, const char *directory, tr_error_t *err);

/// As tr_model_config_load, and TR_ERR_ARGUMENT for a scalar head, which gives no probabilities of
/// tokens.
tr_status tr_model_config_load_language(tr_model_config_t *config, const char *directory,
                                        tr_error_t *err);

/// The same trunk with a scalar head of its own: for a critic, or a reward model that starts from a
/// language model.
void tr_model_config_make_scalar(tr_model_config_t *config);

/// The tokenizer's end token ends responses too, before the ids that the config has, as
/// transformers' align_special_tokens has it; unchanged where the config has it, or eos is -1: the
/// tokenizer has none. TR_ERR_ARGUMENT for an id beyond the vocabulary, TR_ERR_UNSUPPORTED for one
/// more than TR_MODEL_EOS_LIMIT.
tr_status tr_model_config_align(tr_model_config_t *config, int32_t eos, tr_error_t *err);

/// The text of the generation_config.json of a model whose other files are those of the directory
/// `source`: its file, with the config's eos_token_id. *text: the caller's; NULL where the file
/// says the same, or there is none, and config.json speaks for both. Fails as
/// tr_model_config_load.
tr_status tr_model_generation_json(char **text, const tr_model_config_t *config, const char *source,
                                   tr_error_t *err);

/// *text: a config.json that transformers and tr_model_config_load read back to the same values.
/// source: the directory that the config was read from: all keys of its file are carried along, and
/// those that a run changes are set; NULL, or where it has no file: every key of the family, under
/// the names of transformers 4, which 5 reads too. dtype: of the weights beside it. The caller
/// frees the text. The same bytes for the same input. Fails as tr_model_config_load.
tr_status tr_model_config_json(char **text, const tr_model_config_t *config, tr_dtype_t dtype,
                               const char *source, tr_error_t *err);

#endif
