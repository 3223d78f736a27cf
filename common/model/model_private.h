/// What model.c (life cycle) and transformer.c (forward, backward) share about a model.
#ifndef TR_MODEL_MODEL_PRIVATE_H
#define TR_MODEL_MODEL_PRIVATE_H

#include "common/model/model.h"

/// A weight matrix [n, k] as the kernels read it.
typedef struct packed {
    size_t n, k;
    tr_tensor_t forward;
    tr_tensor_t transposed; ///< learning models only
} packed_t;

typedef struct layer {
    packed_t qkv, output, gate_up, down;
} layer_t;

struct tr_model {
    tr_model_config_t config;
    tr_layout_t layout;
    tr_backend_t *backend;
    tr_queue_t *queue;
    bool learns;
    tr_buffer_t *weights;  ///< parameters
    tr_buffer_t *packings; ///< all packed matrices
    tr_buffer_t *tables;   ///< rope
    tr_tensor_t parameters;
    tr_tensor_t rope; ///< [max_positions, head_dim]
    layer_t *layers;
    packed_t head;
};

tr_tensor_t model_parameter(const tr_model_t *model, size_t offset, size_t rows, size_t columns);
tr_heads_t model_heads(const tr_model_t *model);
size_t model_qkv_width(const tr_model_t *model);

#endif
