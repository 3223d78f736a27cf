/// Names and shapes of a model's parameters, and where each stands in a flat vector.
///
/// There are two such vectors: the parameters that are trained, and those that are frozen.
/// Gradient, moments, what a checkpoint says of the optimizer and what an actor publishes are
/// vectors of the trained layout, so that AdamW and publishing are operations on one contiguous
/// vector, and a frozen parameter costs none of them anything. Passes read both. Names and shapes
/// are Hugging Face's; which tensors there are is the family's page (families/family.h).
#ifndef TR_MODEL_LAYOUT_H
#define TR_MODEL_LAYOUT_H

#include "common/collective/shards.h"
#include "common/model/config.h"
#include "common/model/lora.h"
#include "common/tensor/gradient.h"

/// What a weight is to a pass.
typedef enum tr_weight_kind {
    TR_WEIGHT_EMBEDDING,      ///< [V, H]; a tied head too
    TR_WEIGHT_POSITIONS,      ///< [max_positions, H] added to the embedding
    TR_WEIGHT_INPUT_NORM,     ///< [H] before attention; of LayerNorms [2H] = [weight | bias]
    TR_WEIGHT_POST_NORM,      ///< [H] before the MLP
    TR_WEIGHT_ATTENTION_NORM, ///< [H] of what attention adds to the residual stream
    TR_WEIGHT_MLP_NORM,       ///< [H] of what the MLP adds
    TR_WEIGHT_QUERY_NORM,     ///< [D] of each head, or [Hq*D]; of latents, [their width]
    TR_WEIGHT_KEY_NORM,       ///< [D], or [Hk*D]; likewise
    TR_WEIGHT_FINAL_NORM,     ///< [H]
    TR_WEIGHT_QKV_BIAS,       ///< each bias [rows of its matrix]
    TR_WEIGHT_OUTPUT_BIAS,
    TR_WEIGHT_GATE_UP_BIAS,
    TR_WEIGHT_DOWN_BIAS,
    TR_WEIGHT_ROUTER_BIAS,
    TR_WEIGHT_EXPERT_GATE_UP_BIAS, ///< [E*2F, 1] one expert's after another
    TR_WEIGHT_EXPERT_DOWN_BIAS,    ///< [E*H, 1]
    TR_WEIGHT_SINKS,               ///< [Hq] a logit of each head beside those of its keys
    TR_WEIGHT_DELTA_CONVOLUTION,   ///< [C, taps] of a layer with a gated delta net (tr_delta_t)
    TR_WEIGHT_DELTA_SCALE,         ///< [Hv] its gates' scale,
    TR_WEIGHT_DELTA_SHIFT,         ///< [Hv] and shift
    TR_WEIGHT_DELTA_NORM,          ///< [V] of what each of its heads reads
    TR_WEIGHT_SCORE,               ///< [1, H] the head of a scalar model
    TR_WEIGHT_QKV,     ///< [(Hq+2Hk)*D, H] query, key and value: the first of those that products
                       ///< read; with a gate after each query head, [(2Hq+2Hk)*D, H]
    TR_WEIGHT_OUTPUT,  ///< [H, Hq*D] from the attention heads back to the residual stream
    TR_WEIGHT_GATE_UP, ///< [2F, H]
    TR_WEIGHT_DOWN,    ///< [H, F]
    TR_WEIGHT_ROUTER,  ///< [E, H] of a layer with experts
    TR_WEIGHT_EXPERT_GATE_UP, ///< [E*2F, H] one expert's after another
    TR_WEIGHT_EXPERT_DOWN,    ///< [E*H, F]
    TR_WEIGHT_SHARED_GATE_UP, ///< [2Fs, H] of an expert that all tokens have,
    TR_WEIGHT_SHARED_DOWN,    ///< [H, Fs]
    TR_WEIGHT_SHARED_GATE,    ///< [1, H] and of its own gate
    TR_WEIGHT_DELTA_IN,       ///< [C + Hv*V + 2Hv, H] channels, gates of the output, of the state
    TR_WEIGHT_DELTA_OUT,      ///< [H, Hv*V] from its heads back to the residual stream
    TR_WEIGHT_LATENT_IN, ///< [(Lq or Hq*D) + R + L, H] latents (tr_latent_t), of queries maybe,
    TR_WEIGHT_QUERY_UP,  ///< [Hq*D, Lq] queries,
    TR_WEIGHT_KEY_UP,    ///< [Hq*(N+V), L] and keys and values of them
    TR_WEIGHT_HEAD,      ///< [V, H] of a language model that is not tied
    TR_WEIGHT_LORA_A,    ///< [r, K] of an adapter (tr_adapter_t), which has
    TR_WEIGHT_LORA_B,    ///< [N, r] places of its own
    TR_WEIGHT_KINDS
} tr_weight_kind_t;

/// How the elements of a tensor stand in a file.
typedef enum tr_form {
    TR_FORM_PLAIN,        ///< as in the parameter
    TR_FORM_TRANSPOSED,   ///< a matrix [columns, rows]
    TR_FORM_ROTATED_LAST, ///< rows of a head that are rotated stand after its others, paired or not
    TR_FORM_BY_HEAD,  ///< rows of each part (queries, keys, ...) of the first head, of the second
    TR_FORM_BY_EXPERT ///< [experts, columns, rows of one], or of biases [experts, rows of one];
                      ///< rows as in TR_FORM_BY_HEAD
} tr_form_t;

/// A matrix, or the vector of a norm or a bias, as operators read it: one parameter, or several
/// whose rows, or elements, follow each other.
typedef struct tr_weight {
    tr_weight_kind_t kind;
    size_t segment; ///< 0: the embedding; 1..layers: a layer; then what follows the layers
    size_t rows;    ///< outputs; 1 for a vector; 0: the model has no such weight
    size_t columns;
    size_t parts; ///< matrices below each other, of an equal number of rows: experts; else 1
    bool trained; ///< else it is frozen, and stands in the other vector
    bool saved;   ///< an adapter's, or one that is trained whole beside adapters
    size_t place; ///< elements from the start of its vector
    size_t adapter, adapters; ///< of the layout's adapters those that are added to its product
} tr_weight_t;

/// What is added to some rows of a weight's product: those of one parameter (lora.h).
typedef struct tr_adapter {
    tr_weight_t a, b;
    size_t row;                           ///< the first of them
    const struct tr_parameter *parameter; ///< that is adapted
} tr_adapter_t;

enum { TR_PIECES = 4 };

/// A tensor of a file.
typedef struct tr_parameter {
    char name[80];       ///< "model.layers.0.self_attn.q_proj.weight"
    tr_weight_t *weight; ///< which it is, or a part of
    size_t rows;         ///< 1 for a norm's weight
    size_t columns;
    size_t rank; ///< of the file's tensor
    bool spared; ///< by weight decay: norms and biases
    tr_form_t form;
    /// Of TR_FORM_BY_HEAD and TR_FORM_BY_EXPERT: rows that each part has of a head; 0: no part. Of
    /// TR_FORM_ROTATED_LAST: the others, the rotated, 1 for pairs.
    size_t pieces[TR_PIECES];
    size_t offset; ///< elements from the start of all parameters, trained or frozen, in their order
    size_t place;  ///< from the start of its weight's vector; offset, where nothing is frozen
} tr_parameter_t;

/// One of the two vectors.
typedef struct tr_flat {
    size_t total;     ///< elements
    size_t *segments; ///< [segment_count + 1] where each begins, and total
} tr_flat_t;

enum { TR_FROZEN, TR_TRAINED, TR_FLATS }; ///< by a weight's `trained`

typedef struct tr_layout {
    tr_parameter_t *parameters; // [count], in order of offset
    size_t count;
    size_t total;            ///< elements of both vectors
    size_t segment_count;    ///< config.layers + 2
    tr_weight_t *weights;    // [segment_count][TR_WEIGHT_KINDS]
    const tr_weight_t *head; ///< TR_WEIGHT_HEAD, the embedding when tied, or TR_WEIGHT_SCORE
    tr_flat_t flat[TR_FLATS];
    tr_parts_t spared;      ///< by weight decay, of the trained vector: the norms of it
    tr_adapter_t *adapters; // [adapter_count], in the order of what they are added to
    size_t adapter_count;
} tr_layout_t;

/// Which weights are trained.
typedef struct tr_selection {
    bool (*trains)(void *context, const tr_weight_t *weight);
    void *context;
} tr_selection_t;

/// All are trained.
void tr_layout_init(tr_layout_t *layout, const tr_model_config_t *config);
/// Adds the adapters of a new layout; they are trained, with the modules that are saved with them
/// and a scalar head, and nothing else is. Their parameters follow those of their segment. Fails
/// with TR_ERR_ARGUMENT, and TR_ERR_UNSUPPORTED for a module that PEFT would adapt and that is not
/// adapted here, naming it; the layout is then to be released.
tr_status tr_layout_adapt(tr_layout_t *layout, const tr_lora_t *lora, tr_error_t *err);
/// Those are that the selection says (NULL: all, or as tr_layout_adapt has it).
void tr_layout_select(tr_layout_t *layout, const tr_selection_t *selection);
void tr_layout_release(tr_layout_t *layout);

/// The shape of the file's tensor, of rank dimensions: one for a vector; three for a convolution's
/// [rows, 1, columns], or as TR_FORM_BY_EXPERT has it. Entries beyond the rank are anything.
void tr_parameter_shape(const tr_parameter_t *parameter, size_t shape[3]);

/// Which element of the file's tensor is element i of the parameter.
size_t tr_parameter_stored(const tr_parameter_t *parameter, size_t i);

/// The weight of a kind in a segment.
const tr_weight_t *tr_layout_weight(const tr_layout_t *layout, size_t segment,
                                    tr_weight_kind_t kind);

/// Where a weight's gradient is written: [rows, columns]. Buffer NULL: the weight is frozen, nobody
/// wants it.
tr_tensor_t tr_weight_gradient(const tr_weight_t *weight, const tr_gradient_t *gradient);

#endif
