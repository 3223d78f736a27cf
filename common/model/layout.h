/// Where each parameter of a model stands in one flat vector of floats.
///
/// Weights, gradients and optimizer moments share this layout, so publishing weights, AdamW and a
/// checkpoint are operations on one contiguous vector. Names and shapes are Hugging Face's. Query,
/// key and value projections stand next to each other and so are one matrix of (Hq+2Hk)*D rows;
/// gate and up likewise.
#ifndef TR_MODEL_LAYOUT_H
#define TR_MODEL_LAYOUT_H

#include "common/model/config.h"

typedef struct tr_parameter {
    char name[80]; ///< "model.layers.0.self_attn.q_proj.weight"
    size_t rows;   ///< outputs; 1 for a norm's weight
    size_t columns;
    size_t offset; ///< floats from the start
    bool vector;   ///< stored with one dimension (norms)
} tr_parameter_t;

/// Offsets (in floats) of what a layer's kernels read.
typedef struct tr_layer_layout {
    size_t input_norm, qkv, output, post_norm, gate_up, down;
} tr_layer_layout_t;

typedef struct tr_layout {
    tr_parameter_t *parameters; // [count], in order of offset
    size_t count;
    size_t total; ///< floats in all
    size_t embedding, final_norm;
    size_t head;               ///< lm_head (embedding when tied) or score
    tr_layer_layout_t *layers; // [config.layers]
    /// [segment_count + 1] where the embedding, each layer, and the final norm with what follows it begin; then total.
    size_t *segments;
    size_t segment_count; ///< config.layers + 2
} tr_layout_t;

void tr_layout_init(tr_layout_t *layout, const tr_model_config_t *config);
void tr_layout_release(tr_layout_t *layout);

#endif
