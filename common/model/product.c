/// A weight's product with what an adapter adds to it (lora.h): the only code that knows that a
/// layer's product may have one. Apart from linear.c, which multiplies by one matrix.
#include "common/model/pass.h"

/// The adapters of a weight that this pass takes.
static size_t adapters_of(const pass_t *p, const tr_weight_t *weight)
{
    return p->model->leaves_adapter ? 0 : weight->adapters;
}

/// A scratch tensor of the pass, of T rows, in its first columns.
static tr_tensor_t narrow(const pass_t *p, tr_tensor_t scratch, size_t columns)
{
    return tr_tensor_slice(scratch, 0, p->T, columns);
}

/// Columns of a product that an adapter is added to, as a tensor of their own and back.
static void move_columns(const pass_t *p, tr_tensor_t own, tr_tensor_t product,
                         const tr_adapter_t *adapter, bool back)
{
    const size_t n = adapter->b.rows;
    const tr_pieces_t dense = {0, n, n}, apart = {adapter->row, n, n};
    if (back) {
        p->ops->copy_pieces(p->queue, product, apart, own, dense, 1);
    } else {
        p->ops->copy_pieces(p->queue, own, dense, product, apart, 1);
    }
}

/// What an adapter reads of x: x itself, or while SFT learns what dropout lets through.
static tr_tensor_t dropped(const pass_t *p, size_t adapter, tr_tensor_t y, tr_tensor_t x)
{
    const tr_batch_t *batch = p->batch;
    if (batch->addresses.buffer == NULL) {
        return x;
    }
    y = narrow(p, y, x.columns);
    p->ops->dropout(
        p->queue, y, x, batch->addresses,
        (tr_dropout_t){(float)p->model->lora.lora_dropout, batch->dropout_seed, (uint32_t)adapter});
    return y;
}

/// u = scale A x. [T, r]
static tr_tensor_t shrink(const pass_t *p, const linear_t *a, tr_tensor_t x)
{
    tr_tensor_t u = narrow(p, p->lora.u, a->weight->rows);
    linear_forward(a, u, x);
    p->ops->scale(p->queue, u, u, tr_lora_scale(&p->model->lora));
    return u;
}

/// y += scale B (A x), in the rows of each adapter's parameter, one after another.
static void adapt(const pass_t *p, const tr_weight_t *weight, tr_tensor_t y, tr_tensor_t x)
{
    for (size_t i = 0; i < adapters_of(p, weight); i++) {
        const tr_adapter_t *adapter = &p->model->layout.adapters[weight->adapter + i];
        const linear_t *a = model_adapter(p->model, weight->adapter + i), *b = a + 1;
        tr_tensor_t u = shrink(p, a, dropped(p, weight->adapter + i, p->lora.read, x));
        if (adapter->b.rows == weight->rows) {
            linear_forward_add(b, y, u);
            continue;
        }
        tr_tensor_t own = narrow(p, p->lora.rows, adapter->b.rows);
        move_columns(p, own, y, adapter, false);
        linear_forward_add(b, own, u);
        move_columns(p, own, y, adapter, true);
    }
}

/// B's and A's gradients. dx: scratch, written: the sum of scale A^T (B^T dy).
static void adapt_backward(const pass_t *p, const tr_weight_t *weight,
                           const tr_gradient_t *gradient, tr_tensor_t dx, tr_tensor_t dy,
                           tr_tensor_t x)
{
    const bool drops = p->batch->addresses.buffer != NULL;
    for (size_t i = 0; i < adapters_of(p, weight); i++) {
        const tr_adapter_t *adapter = &p->model->layout.adapters[weight->adapter + i];
        const linear_t *a = model_adapter(p->model, weight->adapter + i), *b = a + 1;
        // Computed again: kept, it would be a tensor a product.
        tr_tensor_t read = dropped(p, weight->adapter + i, p->lora.read, x);
        tr_tensor_t u = shrink(p, a, read), du = narrow(p, p->lora.du, a->weight->rows), own = dy;
        if (adapter->b.rows != weight->rows) {
            own = narrow(p, p->lora.rows, adapter->b.rows);
            move_columns(p, own, dy, adapter, false);
        }
        linear_backward(b, gradient, du, own, u);
        p->ops->scale(p->queue, du, du, tr_lora_scale(&p->model->lora));
        tr_tensor_t part = narrow(p, p->lora.part, weight->columns);
        linear_backward(a, gradient, i == 0 && !drops ? dx : part, du, read);
        if (drops) { // the gradient passes where x did; what was read is not needed any more
            part = dropped(p, weight->adapter + i, i == 0 ? dx : p->lora.read, part);
        }
        if (i > 0) {
            p->ops->add(p->queue, dx, dx, part);
        }
    }
}

void product_scratch(pass_t *p)
{
    const tr_layout_t *layout = &p->model->layout;
    size_t rows = 0, columns = 0;
    for (size_t i = 0; i < layout->adapter_count; i++) {
        const tr_adapter_t *adapter = &layout->adapters[i];
        rows = adapter->b.rows > rows ? adapter->b.rows : rows;
        columns = adapter->a.columns > columns ? adapter->a.columns : columns;
    }
    if (rows == 0 || p->model->leaves_adapter) {
        return;
    }
    p->lora.u = pass_reals(p, p->T, p->model->lora.r);
    p->lora.rows = pass_reals(p, p->T, rows);
    if (p->batch->addresses.buffer != NULL) {
        p->lora.read = pass_reals(p, p->T, columns);
    }
    if (model_learns(p->model)) {
        p->lora.du = pass_reals(p, p->T, p->model->lora.r);
        p->lora.dx = pass_reals(p, p->T, columns);
        p->lora.part = pass_reals(p, p->T, columns);
    }
}

void product_forward(const pass_t *p, size_t segment, tr_weight_kind_t kind, tr_tensor_t y,
                     tr_tensor_t x)
{
    const linear_t *linear = &model_linears(p->model, segment)[kind];
    linear_forward(linear, y, x);
    adapt(p, linear->weight, y, x);
}

void product_forward_add(const pass_t *p, size_t segment, tr_weight_kind_t kind, tr_tensor_t y,
                         tr_tensor_t x)
{
    const linear_t *linear = &model_linears(p->model, segment)[kind];
    linear_forward_add(linear, y, x);
    adapt(p, linear->weight, y, x);
}

void product_backward(const pass_t *p, size_t segment, tr_weight_kind_t kind,
                      const tr_gradient_t *gradient, tr_tensor_t dx, tr_tensor_t dy, tr_tensor_t x)
{
    const linear_t *linear = &model_linears(p->model, segment)[kind];
    const bool adapted = adapters_of(p, linear->weight) > 0;
    tr_tensor_t part = narrow(p, p->lora.dx, linear->weight->columns);
    // First what reads x, which dx may be.
    adapt_backward(p, linear->weight, gradient, part, dy, x);
    linear_backward(linear, gradient, dx, dy, x);
    if (adapted) {
        p->ops->add(p->queue, dx, dx, part);
    }
}
