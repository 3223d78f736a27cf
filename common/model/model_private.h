/// What model.c (life cycle) and transformer.c (forward, backward) share about a model.
#ifndef TR_MODEL_MODEL_PRIVATE_H
#define TR_MODEL_MODEL_PRIVATE_H

#include "common/model/sharded.h"

/// Weight matrices as products read them: as they stand among the parameters, or packed.
typedef struct layer {
    tr_tensor_t qkv, output, gate_up, down;
} layer_t;

struct tr_model {
    tr_model_config_t config;
    tr_layout_t layout;
    tr_backend_t *backend;
    tr_queue_t *queue;
    tr_model_use_t use;
    bool packed;                 ///< decodes on a device that packs
    bool recompute;              ///< as tr_model_recompute says
    tr_buffer_t *masters;        ///< parameters
    tr_device_memory_t borrowed; ///< whose masters are another process's, if `borrows`
    bool borrows;
    tr_buffer_t *copy;     ///< working, where passes read another type; else NULL
    tr_buffer_t *packings; ///< all packed matrices; NULL unless packed
    size_t packed_floats;  ///< of packings
    tr_buffer_t *tables;   ///< rope
    tr_tensor_t parameters;
    tr_tensor_t
        working; ///< [real] what passes read, of a model that is not sharded: the parameters, or their copy in bf16
    model_sharding_t *sharding; ///< NULL: parameters are all of them
    tr_tensor_t rope;           ///< [max_positions, head_dim]
    layer_t *layers;
    tr_tensor_t head; ///< policy models
};

static inline bool model_learns(const tr_model_t *model)
{
    return model->use == TR_MODEL_LEARNS || model->use == TR_MODEL_LEARNS_ROUNDED;
}

/// A part of what passes read.
tr_tensor_t model_parameter(const tr_model_t *model, size_t offset, size_t rows, size_t columns);
/// With all ranks: the segment's parameters are there. Nothing to do for a model that is whole.
void model_gather(tr_model_t *model, size_t segment);
tr_heads_t model_heads(const tr_model_t *model);
size_t model_qkv_width(const tr_model_t *model);

#endif
