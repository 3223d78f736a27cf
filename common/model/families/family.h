/// What tells one family of models from another: names, keys of config.json, tensors, features.
///
/// One table (families.c); a row is in a page of its family (llama.c). config_keys.c and
/// config_json.c read and write by the keys, layout.c lays the tensors out, and the passes (pass.h)
/// ask the layout for weights by their kind and the config for features. Nothing else may depend on
/// the family. For common/model alone; everyone else sees a tr_model_config_t.
#ifndef TR_MODEL_FAMILY_H
#define TR_MODEL_FAMILY_H

#include <stddef.h>

#include "common/hf/safetensors.h"
#include "common/model/layout.h"

// Rows leave out what is 0.
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

/// How the value of a key is read and written.
typedef enum family_key_kind {
    FAMILY_SIZE,      ///< size_t, from 1 to `highest`
    FAMILY_COUNT,     ///< size_t, from 0 to `highest`
    FAMILY_DERIVED,   ///< as a size; null is 0, whatever the default: it follows from others
    FAMILY_REAL,      ///< double, from `lowest` to `highest`
    FAMILY_FLOAT,     ///< the same as a float; 0 where null is the default
    FAMILY_GELU,      ///< tr_activation_t: a form of GELU by its name in transformers
    FAMILY_BOOL,      ///< bool; `fallback`: its default
    FAMILY_TOKEN,     ///< int32_t, an id below the vocabulary; null is -1
    FAMILY_EOS,       ///< the config's eos and eos_count: an id, a list of ids, or null
    FAMILY_ROPE,      ///< an object about the rotation: rope_theta and what is after it; null: none
    FAMILY_CAP,       ///< float; null is 0, whatever the default
    FAMILY_WINDOW,    ///< size_t; null is 0, whatever the default
    FAMILY_SLIDING,   ///< tr_layer_set_t, from a list of "sliding_attention" and "full_attention"
    FAMILY_RECURRENT, ///< tr_layer_set_t, from a list of "linear_attention" and "full_attention"
    FAMILY_ROTATED,   ///< tr_layer_set_t of layers with a 0, from a list of 0 and 1
    FAMILY_DENSE,     ///< tr_layer_set_t, from a list of the numbers of layers
    FAMILY_UNREAD,    ///< not stored: other families have it, and it says nothing in this one
    FAMILY_QUANTIZED, ///< not stored: an object with the family's quant_method (family_t), or null
    FAMILY_ONLY       ///< not stored: what it may say is `only` or nothing
} family_key_kind_t;

/// When a config.json has the key that is not carried along from another one.
typedef enum family_written {
    FAMILY_ALWAYS,
    FAMILY_NEVER,      ///< it says nothing that others do not
    FAMILY_WITH_SCORES ///< where a reward model's scores are normalized
} family_written_t;

/// A key of config.json.
typedef struct family_key {
    const char *name;
    family_key_kind_t kind;
    size_t offset;   ///< of its field in tr_model_config_t
    bool needed;     ///< a size that must be there
    double fallback; ///< when the key is missing; a size of 0 follows from others (config.c)
    double lowest, highest;
    const char *only;     ///< JSON text
    const char *expected; ///< what a sentence says that it may be; NULL: `only`
    family_written_t written;
    const char *also; ///< another name, which a file may have instead; NULL: none
} family_key_t;

/// A table of keys.
typedef struct family_keys {
    const family_key_t *items; ///< [count]
    size_t count;
} family_keys_t;

// Keys that families share, by rows. They are read in their order: a key may depend on those above
// it (token ids are below vocab_size). Bounds are beyond any model, so that sums and products of
// sizes stay far below 2^63.

#define FAMILY_FIELD(name) offsetof(tr_model_config_t, name)

/// A row's full_every where all layers slide.
enum { FAMILY_NO_LAYER = TR_MODEL_LAYER_LIMIT + 1 };

/// The width of MLPs.
#define FAMILY_INTERMEDIATE_KEY                                                                 \
    {                                                                                           \
        "intermediate_size", FAMILY_SIZE, .offset = FAMILY_FIELD(intermediate), .needed = true, \
                                          .highest = 1 << 20                                    \
    }

/// Sizes and the rotation; the arguments are defaults.
#define FAMILY_TRUNK_KEYS(kv_heads, dim, positions, epsilon, theta) \
    FAMILY_INTERMEDIATE_KEY, FAMILY_SPARSE_TRUNK_KEYS(kv_heads, dim, positions, epsilon, theta)

/// The same of a model without MLPs.
#define FAMILY_SPARSE_TRUNK_KEYS(kv_heads, dim, positions, epsilon, theta)                      \
    {"vocab_size", FAMILY_SIZE, FAMILY_FIELD(vocabulary), .needed = true, .highest = 1 << 24},  \
        {"hidden_size", FAMILY_SIZE, FAMILY_FIELD(hidden), .needed = true, .highest = 1 << 18}, \
        {"num_hidden_layers", FAMILY_SIZE, FAMILY_FIELD(layers), .needed = true,                \
         .highest = TR_MODEL_LAYER_LIMIT},                                                      \
        {"num_attention_heads", FAMILY_SIZE, FAMILY_FIELD(heads), .needed = true,               \
         .highest = 4096},                                                                      \
        {"num_key_value_heads", FAMILY_DERIVED, FAMILY_FIELD(key_value_heads),                  \
         .fallback = (kv_heads), .highest = 4096},                                              \
        {"head_dim", FAMILY_SIZE, FAMILY_FIELD(head_dim), .fallback = (dim), .highest = 4096},  \
        {"max_position_embeddings", FAMILY_SIZE, FAMILY_FIELD(max_positions),                   \
         .fallback = (positions), .highest = 1 << 24},                                          \
        {"rms_norm_eps",        FAMILY_FLOAT,    FAMILY_FIELD(rms_epsilon),                     \
         .fallback = (epsilon), .lowest = 1e-30, .highest = 0.1},                               \
        {"rope_theta",        FAMILY_REAL,   FAMILY_FIELD(rope_theta),                          \
         .fallback = (theta), .lowest = 1.0, .highest = 1e15},                                  \
        {"rope_scaling", FAMILY_ROPE, .offset = 0}, /* of transformers 4, and of 5: */          \
        {"rope_parameters", FAMILY_ROPE, .written = FAMILY_NEVER},                              \
    {                                                                                           \
        "attention_dropout", FAMILY_REAL, FAMILY_FIELD(attention_dropout), .highest = 1.0       \
    }

/// How embeddings are tied, and special tokens, after the vocabulary.
#define FAMILY_TOKEN_KEYS(tied, bos_id, eos_id, pad_id)                           \
    {"tie_word_embeddings", FAMILY_BOOL, .offset = FAMILY_FIELD(tied_embeddings), \
     .fallback = (tied)},                                                         \
        {"bos_token_id", FAMILY_TOKEN, FAMILY_FIELD(bos), .fallback = (bos_id)},  \
        {"pad_token_id", FAMILY_TOKEN, FAMILY_FIELD(pad), .fallback = (pad_id)},  \
    {                                                                             \
        "eos_token_id", FAMILY_EOS, FAMILY_FIELD(eos), .fallback = (eos_id)       \
    }

/// Of a mixture of experts, but for how many experts there are; the arguments are defaults.
#define FAMILY_ROUTER_KEYS(chosen, coefficient)                                            \
    {"num_experts_per_tok", FAMILY_SIZE,     .offset = FAMILY_FIELD(experts_chosen),       \
     .fallback = (chosen),  .highest = 1024, .also = "experts_per_token"},                 \
        {"output_router_logits", FAMILY_BOOL, .offset = FAMILY_FIELD(router_logits)},      \
    {                                                                                      \
        "router_aux_loss_coef", FAMILY_REAL, .offset = FAMILY_FIELD(router_aux_loss_coef), \
                                             .fallback = (coefficient), .highest = 1e6     \
    }

/// Of the experts of Qwen 2, 3 and 3-Next; the arguments are defaults.
#define FAMILY_QWEN_EXPERT_KEYS(experts_, chosen, width, normalized)                    \
    {"num_experts",          FAMILY_SIZE,     FAMILY_FIELD(experts),                    \
     .fallback = (experts_), .highest = 1024, .also = "num_local_experts"},             \
        {"moe_intermediate_size", FAMILY_SIZE, FAMILY_FIELD(expert_intermediate),       \
         .fallback = (width), .highest = 1 << 20},                                      \
        {"norm_topk_prob", FAMILY_BOOL, FAMILY_FIELD(router_normalized),                \
         .fallback = (normalized)},                                                     \
        {"decoder_sparse_step", FAMILY_SIZE, FAMILY_FIELD(sparse_every), .fallback = 1, \
         .highest = TR_MODEL_LAYER_LIMIT},                                              \
        {"mlp_only_layers", FAMILY_DENSE, .offset = FAMILY_FIELD(dense)},               \
        FAMILY_ROUTER_KEYS(chosen, 0.001)

/// Rows or columns of a tensor.
typedef enum family_extent {
    FAMILY_VECTOR, ///< of rows: one dimension, a norm or a bias, which weight decay spares
    FAMILY_LIST,   ///< of rows: one dimension too, which decays
    FAMILY_ONE,
    FAMILY_HIDDEN,
    FAMILY_INTERMEDIATE,
    FAMILY_QUERIES, ///< heads * head_dim
    FAMILY_HEADS,
    FAMILY_KEYS,    ///< key_value_heads * head_dim
    FAMILY_HEAD,    ///< head_dim
    FAMILY_QKV,     ///< queries, keys and values, in one tensor
    FAMILY_GATE_UP, ///< the MLP's gate and up, in one tensor
    FAMILY_EXPERTS,
    FAMILY_EXPERT_INTERMEDIATE,
    FAMILY_EXPERTS_GATE_UP, ///< of all experts, in one tensor
    FAMILY_EXPERTS_DOWN,    ///< likewise
    FAMILY_SHARED_INTERMEDIATE,
    FAMILY_GATED_QUERIES,      ///< twice the queries: each head's gate follows it
    FAMILY_CHANNELS,           ///< of a gated delta net (tr_delta_t): queries, keys and values,
    FAMILY_TAPS,               ///< of columns: of their convolution, stored as [rows, 1, columns]
    FAMILY_READ,               ///< value_heads * value_dim
    FAMILY_CHANNELS_READ,      ///< channels, and gates of what is read, in one tensor
    FAMILY_STATE_GATES,        ///< two of each value head, in one tensor
    FAMILY_READ_HEAD,          ///< value_dim
    FAMILY_READ_HEADS,         ///< value_heads
    FAMILY_QUERY_LATENT,       ///< of latent attention (tr_latent_t): Lq, or 0,
    FAMILY_DIRECT_QUERIES,     ///< queries where Lq is 0, else 0,
    FAMILY_KEY_LATENT,         ///< L,
    FAMILY_ROTATED_KEY_LATENT, ///< R + L,
    FAMILY_KEYS_VALUES,        ///< heads * (N + V)
    FAMILY_VALUES,             ///< and heads * V
    FAMILY_VOCABULARY,
    FAMILY_POSITIONS
} family_extent_t;

/// A tensor. A layer's has a * in its name, for the number of the layer; such rows follow each
/// other. Rows of one kind that follow each other are one matrix, or one vector. An expert's has a
/// second *, for its number: such rows of one kind are one matrix for each expert, these one after
/// another. Biases and norms of queries and keys, and MLP and experts of a layer, are there where
/// the config says so (layout.c), all others always.
typedef struct family_tensor {
    const char *name;
    tr_weight_kind_t kind;
    family_extent_t rows, columns;
    tr_form_t form;
} family_tensor_t;

/// Rows of attention where each projection is a tensor, with all biases and norms that there may
/// be. queries, query_norm, key_norm: extents.
#define FAMILY_GATED_ATTENTION_TENSORS(queries, query_norm, key_norm)                              \
    {"model.layers.*.self_attn.q_proj.weight", TR_WEIGHT_QKV, (queries), FAMILY_HIDDEN},           \
        {"model.layers.*.self_attn.k_proj.weight", TR_WEIGHT_QKV, FAMILY_KEYS, FAMILY_HIDDEN},     \
        {"model.layers.*.self_attn.v_proj.weight", TR_WEIGHT_QKV, FAMILY_KEYS, FAMILY_HIDDEN},     \
        {"model.layers.*.self_attn.q_proj.bias", TR_WEIGHT_QKV_BIAS, FAMILY_VECTOR, (queries)},    \
        {"model.layers.*.self_attn.k_proj.bias", TR_WEIGHT_QKV_BIAS, FAMILY_VECTOR, FAMILY_KEYS},  \
        {"model.layers.*.self_attn.v_proj.bias", TR_WEIGHT_QKV_BIAS, FAMILY_VECTOR, FAMILY_KEYS},  \
        {"model.layers.*.self_attn.q_norm.weight", TR_WEIGHT_QUERY_NORM, FAMILY_VECTOR,            \
         (query_norm)},                                                                            \
        {"model.layers.*.self_attn.k_norm.weight", TR_WEIGHT_KEY_NORM, FAMILY_VECTOR, (key_norm)}, \
        {"model.layers.*.self_attn.o_proj.weight", TR_WEIGHT_OUTPUT, FAMILY_HIDDEN,                \
         FAMILY_QUERIES},                                                                          \
    {                                                                                              \
        "model.layers.*.self_attn.o_proj.bias", TR_WEIGHT_OUTPUT_BIAS, FAMILY_VECTOR,              \
            FAMILY_HIDDEN                                                                          \
    }

/// The same without gates.
#define FAMILY_ATTENTION_TENSORS(query_norm, key_norm) \
    FAMILY_GATED_ATTENTION_TENSORS(FAMILY_QUERIES, query_norm, key_norm)

/// Rows of a router and its experts. block: what their names have in common.
#define FAMILY_EXPERT_TENSORS(block, gate, up, down)                                              \
    {block "gate.weight", TR_WEIGHT_ROUTER, FAMILY_EXPERTS, FAMILY_HIDDEN},                       \
        {block "experts.*." gate ".weight", TR_WEIGHT_EXPERT_GATE_UP, FAMILY_EXPERT_INTERMEDIATE, \
         FAMILY_HIDDEN},                                                                          \
        {block "experts.*." up ".weight", TR_WEIGHT_EXPERT_GATE_UP, FAMILY_EXPERT_INTERMEDIATE,   \
         FAMILY_HIDDEN},                                                                          \
    {                                                                                             \
        block "experts.*." down ".weight", TR_WEIGHT_EXPERT_DOWN, FAMILY_HIDDEN,                  \
            FAMILY_EXPERT_INTERMEDIATE                                                            \
    }

/// Rows after the layers: a model has one of the two heads, or none where its embedding is the head
/// (layout.c).
#define FAMILY_END_TENSORS                                                     \
    {"model.norm.weight", TR_WEIGHT_FINAL_NORM, FAMILY_VECTOR, FAMILY_HIDDEN}, \
        {"lm_head.weight", TR_WEIGHT_HEAD, FAMILY_VOCABULARY, FAMILY_HIDDEN},  \
    {                                                                          \
        "score.weight", TR_WEIGHT_SCORE, FAMILY_ONE, FAMILY_HIDDEN             \
    }

/// Rows of an expert that all tokens have, of Qwen 2 and 3-Next.
#define FAMILY_SHARED_EXPERT_TENSORS                                                       \
    {"model.layers.*.mlp.shared_expert.gate_proj.weight", TR_WEIGHT_SHARED_GATE_UP,        \
     FAMILY_SHARED_INTERMEDIATE, FAMILY_HIDDEN},                                           \
        {"model.layers.*.mlp.shared_expert.up_proj.weight", TR_WEIGHT_SHARED_GATE_UP,      \
         FAMILY_SHARED_INTERMEDIATE, FAMILY_HIDDEN},                                       \
        {"model.layers.*.mlp.shared_expert.down_proj.weight", TR_WEIGHT_SHARED_DOWN,       \
         FAMILY_HIDDEN, FAMILY_SHARED_INTERMEDIATE},                                       \
    {                                                                                      \
        "model.layers.*.mlp.shared_expert_gate.weight", TR_WEIGHT_SHARED_GATE, FAMILY_ONE, \
            FAMILY_HIDDEN                                                                  \
    }

typedef struct family_tensors {
    const family_tensor_t *items; ///< [count], in the order of the flat vectors
    size_t count;
} family_tensors_t;

enum { FAMILY_ENDS = 3 };

/// A family of text models that is published within models of text and pictures, whose other parts
/// are left unread, as by transformers' AutoModelForCausalLM. What is saved is the text model.
typedef struct family_wrapped {
    const char *model_type;   ///< of the whole; the text model's config is its text_config
    const char *architecture; ///< likewise
    const char *prefix;       ///< of the text model's tensors in its files, for "model."
} family_wrapped_t;

typedef struct family {
    const char *model_type;
    const char *causal, *scalar; ///< architectures: a language model; sequence classification
    tr_model_config_t base;      ///< what no key says: features; 0 elsewhere
    const family_keys_t *keys;
    const family_tensors_t *tensors;
    /// How names end of tensors that a file may hold and no model reads.
    const char *unread[FAMILY_ENDS];
    const char *beside[FAMILY_ENDS]; ///< how names of other such tensors begin
    /// What stands in the name of a layer's router's bias (tr_router_t) before and after the number
    /// of the layer: no parameter, but carried along; NULL: none has one.
    const char *router_bias[2];
    const char *quantized;           ///< quant_method of weights that are read; NULL: none are
    const family_wrapped_t *wrapped; ///< NULL: it is not published within another model
} family_t;

/// The table; a config's `family` is a row of it.
const family_t *family_at(size_t row);
size_t family_count(void);

/// Keys that every family has besides its own.
extern const family_keys_t family_shared_keys;

/// Opens a directory's weights, under the family's own names (family_wrapped_t). Fails as
/// tr_safetensors_open.
tr_status family_open_weights(tr_safetensors_t **file, const family_t *family,
                              const char *directory, tr_error_t *err);

/// The name of the only tensor of a kind.
const char *family_tensor_name(const family_t *family, tr_weight_kind_t kind);

/// The name of the bias of a layer's router, of a family that has it.
void family_router_bias(char to[80], const family_t *family, size_t layer);

/// Llama's, which many others have too.
extern const family_tensors_t family_llama_tensors;

extern const family_t family_llama, family_qwen2, family_qwen3, family_mistral, family_ministral,
    family_gemma2, family_gemma3, family_phi3, family_smollm3, family_olmo2, family_olmo3,
    family_granite, family_qwen3_moe, family_mixtral, family_qwen2_moe, family_olmoe, family_gpt2,
    family_gpt_neox, family_qwen3_5, family_qwen3_next, family_qwen3_5_moe, family_deepseek_v3,
    family_gpt_oss;

#endif
