/// y = x W^T (+ bias) and its gradients: the only code that multiplies by a weight matrix of a
/// layer. For common/model alone; passes ask product.c, which adds adapters.
///
/// How the weight is stored is decided here: among the parameters, in their copy in bf16, in a
/// window where ranks share them (parameters.h), or packed, a second form that is quicker for the
/// small batches of decoding.
#ifndef TR_MODEL_LINEAR_H
#define TR_MODEL_LINEAR_H

#include "common/model/parameters.h"

typedef struct linear {
    const parameters_t *parameters;
    const tr_weight_t *weight; ///< [N, K]
    const tr_weight_t *bias;   ///< [N]; NULL: none
    tr_tensor_t packed;        ///< buffer NULL: products read the weight as it is stored
} linear_t;

/// y: [T, N] = x W^T + bias, or y + x W^T + bias; x: [T, K].
void linear_forward(const linear_t *linear, tr_tensor_t y, tr_tensor_t x);
void linear_forward_add(const linear_t *linear, tr_tensor_t y, tr_tensor_t x);
/// dx: [T, K] = dy W; dy: [T, N]. Before that, dy^T x is added to the weight's gradient, and the
/// sum of dy to the bias's, where they are trained.
void linear_backward(const linear_t *linear, const tr_gradient_t *gradient, tr_tensor_t dx,
                     tr_tensor_t dy, tr_tensor_t x);

/// The same of rows that experts read and write (tr_routes_t), where the weight is theirs.
void linear_forward_experts(const linear_t *linear, tr_tensor_t y, tr_tensor_t x,
                            tr_tensor_t starts);
void linear_backward_experts(const linear_t *linear, const tr_gradient_t *gradient, tr_tensor_t dx,
                             tr_tensor_t dy, tr_tensor_t x, tr_tensor_t starts);

/// The weight for an operator that multiplies by it itself, as the heads do: packed, or as it is
/// stored.
tr_tensor_t linear_read(const linear_t *linear);

/// The packed form without its memory: [parts, elements of each].
tr_tensor_t linear_packed_form(const linear_t *linear);
/// Makes it anew from the weight.
void linear_pack(const linear_t *linear);

#endif
