/// A model's insides, for the files that share them: model.c (life cycle), model_load.c (weights
/// from files), pass.h (passes), response.c (heads) and trainer_save.c (checkpoints).
#ifndef TR_MODEL_MODEL_PRIVATE_H
#define TR_MODEL_MODEL_PRIVATE_H

#include "common/model/linear.h"
#include "common/model/model.h"

struct tr_model {
    tr_model_config_t config;
    tr_layout_t layout;
    tr_backend_t *backend;
    tr_queue_t *queue;
    tr_model_use_t use;
    bool recompute;      ///< as tr_model_recompute says
    tr_lora_t lora;      ///< r 0: there is no adapter
    bool leaves_adapter; ///< as tr_model_leave_adapter says
    parameters_t parameters;
    /// [segments][TR_WEIGHT_KINDS] as the layout's weights, norms among them, then A and B of each
    /// adapter.
    linear_t *linears;
    const linear_t *head; ///< of those
    tr_buffer_t *packed;  ///< of all linears that are packed; NULL: none is
    tr_buffer_t *rope_buffer;
    tr_tensor_t rope;       ///< [max_positions, rotary_dim]
    tr_tensor_t local_rope; ///< the same of sliding layers
    tr_buffer_t *router_buffer;
    tr_tensor_t router_bias;     ///< f32 [layers, E] of tr_router_t, where routers have it
    float *router_biases;        ///< the same here, as it is saved; NULL: they have none
    tr_device_memory_t imported; ///< where passes read, if `imports`: memory of another process
    bool imports;
};

static inline bool model_learns(const tr_model_t *model)
{
    return model->use == TR_MODEL_LEARNS || model->use == TR_MODEL_LEARNS_ROUNDED;
}

/// The linears of a segment, by kind.
static inline const linear_t *model_linears(const tr_model_t *model, size_t segment)
{
    return &model->linears[segment * TR_WEIGHT_KINDS];
}

/// A of an adapter, which B follows.
static inline const linear_t *model_adapter(const tr_model_t *model, size_t index)
{
    return model_linears(model, model->layout.segment_count) + 2 * index;
}

/// The passes' share of a rank that has nothing to compute while others do: it gives them its
/// shard. Nothing to do for a model that is not sharded, but that backward tells gradient of each
/// segment.
void model_idle_forward(tr_model_t *model);
void model_idle_backward(tr_model_t *model, tr_gradient_t *gradient);

/// Where an operator writes the gradient of a vector that it always writes: the weight's place, or
/// of a frozen weight memory of the arena that nobody reads.
tr_tensor_t model_vector_gradient(const tr_weight_t *weight, const tr_gradient_t *gradient,
                                  tr_arena_t *arena);

#endif
