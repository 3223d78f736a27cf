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

static void forward(const linear_t *linear, tr_tensor_t y, tr_tensor_t x, bool accumulate)
{
    const parameters_t *parameters = linear->parameters;
    ops_of(linear)->matmul(parameters->queue, y, x, linear_read(linear), accumulate);
    if (linear->bias != NULL) {
        ops_of(linear)->add_bias(parameters->queue, y, parameters_view(parameters, linear->bias));
    }
}

void linear_forward(const linear_t *linear, tr_tensor_t y, tr_tensor_t x)
{
    forward(linear, y, x, false);
}

void linear_forward_add(const linear_t *linear, tr_tensor_t y, tr_tensor_t x)
{
    forward(linear, y, x, true);
}

void linear_backward(const linear_t *linear, const tr_gradient_t *gradient, tr_tensor_t dx,
                     tr_tensor_t dy, tr_tensor_t x)
{
    // A frozen weight has no place for a gradient: that product is left out.
    tr_tensor_t dw = tr_weight_gradient(linear->weight, gradient);
    if (dw.buffer != NULL) {
        ops_of(linear)->matmul_weight_gradient(linear->parameters->queue, dw, dy, x);
    }
    if (linear->bias != NULL) {
        tr_tensor_t dbias = tr_weight_gradient(linear->bias, gradient);
        if (dbias.buffer != NULL) {
            ops_of(linear)->bias_gradient(linear->parameters->queue, dbias, dy);
        }
    }
    // By the weight as it is stored: packed forms are for y = x W^T alone.
    ops_of(linear)->matmul_input_gradient(linear->parameters->queue, dx, dy, stored(linear));
}

void linear_forward_experts(const linear_t *linear, tr_tensor_t y, tr_tensor_t x,
                            tr_tensor_t starts)
{
    const parameters_t *parameters = linear->parameters;
    ops_of(linear)->expert_matmul(parameters->queue, y, x, linear_read(linear), starts);
    if (linear->bias != NULL) {
        ops_of(linear)->expert_bias(parameters->queue, y, parameters_view(parameters, linear->bias),
                                    starts);
    }
}

void linear_backward_experts(const linear_t *linear, const tr_gradient_t *gradient, tr_tensor_t dx,
                             tr_tensor_t dy, tr_tensor_t x, tr_tensor_t starts)
{
    tr_queue_t *queue = linear->parameters->queue;
    tr_tensor_t dw = tr_weight_gradient(linear->weight, gradient);
    if (dw.buffer != NULL) {
        ops_of(linear)->expert_weight_gradient(queue, dw, dy, x, starts);
    }
    tr_tensor_t dbias =
        linear->bias != NULL ? tr_weight_gradient(linear->bias, gradient) : (tr_tensor_t){0};
    if (dbias.buffer != NULL) {
        ops_of(linear)->expert_bias_gradient(queue, dbias, dy, starts);
    }
    ops_of(linear)->expert_input_gradient(queue, dx, dy, stored(linear), starts);
}

/// Rows of one part.
static size_t part_rows(const linear_t *linear)
{
    return linear->weight->rows / linear->weight->parts;
}

tr_tensor_t linear_packed_form(const linear_t *linear)
{
    const tr_dtype_t dtype = linear->parameters->backend->weights;
    const size_t count =
        ops_of(linear)->packed_count(dtype, part_rows(linear), linear->weight->columns);
    return (tr_tensor_t){.dtype = dtype, .rows = linear->weight->parts, .columns = count};
}

/// Part by part: a panel of packed rows does not go over the end of an expert.
void linear_pack(const linear_t *linear)
{
    const size_t rows = part_rows(linear);
    for (size_t i = 0; i < linear->weight->parts; i++) {
        ops_of(linear)->pack(linear->parameters->queue, tr_tensor_rows(linear->packed, i, 1),
                             tr_tensor_rows(stored(linear), i * rows, rows));
    }
}
