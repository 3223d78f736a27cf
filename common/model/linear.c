/// Products with weights; model.c makes the linears of a model, transformer.c and the heads use
/// them.
#include "common/model/linear.h"

static const tr_ops_t *ops_of(const linear_t *linear)
{
    return linear->parameters->backend->ops;
}

/// The weight as Hugging Face stores it, wherever it is now: in the flat vector, its rounded copy,
/// or a window of the ranks'.
static tr_tensor_t stored(const linear_t *linear)
{
    return parameters_view(linear->parameters, linear->weight);
}

/// Packed forms hold the same numbers in another order: results have the same bits.
tr_tensor_t linear_read(const linear_t *linear)
{
    return linear->packed.buffer != NULL ? linear->packed : stored(linear);
}

void linear_forward(const linear_t *linear, tr_tensor_t y, tr_tensor_t x)
{
    ops_of(linear)->matmul(linear->parameters->queue, y, x, linear_read(linear), false);
}

void linear_forward_add(const linear_t *linear, tr_tensor_t y, tr_tensor_t x)
{
    ops_of(linear)->matmul(linear->parameters->queue, y, x, linear_read(linear), true);
}

void linear_backward(const linear_t *linear, const tr_gradient_t *gradient, tr_tensor_t dx,
                     tr_tensor_t dy, tr_tensor_t x)
{
    // A frozen weight has no place for a gradient: that product is left out.
    tr_tensor_t dw = tr_weight_gradient(linear->weight, gradient);
    if (dw.buffer != NULL) {
        ops_of(linear)->matmul_weight_gradient(linear->parameters->queue, dw, dy, x);
    }
    // By the weight as it is stored: packed forms are for y = x W^T alone.
    ops_of(linear)->matmul_input_gradient(linear->parameters->queue, dx, dy, stored(linear));
}

size_t linear_packed_count(const linear_t *linear)
{
    return ops_of(linear)->packed_count(linear->weight->rows, linear->weight->columns);
}

void linear_pack(const linear_t *linear)
{
    ops_of(linear)->pack(linear->parameters->queue, linear->packed, stored(linear));
}
