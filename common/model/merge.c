/// A model with an adapter as a model without: W + scale B A for W, and what is trained whole
/// beside it in its place. Apart from model.c, for a command alone needs it.
#include <stdlib.h>
#include <string.h>

#include "common/model/model_private.h"

/// w += scale B A: [rows, columns], one rounding.
static void add_product(float *w, const tr_adapter_t *adapter, const float *a, const float *b,
                        float scale)
{
    const size_t r = adapter->a.rows, columns = adapter->a.columns;
    for (size_t row = 0; row < adapter->b.rows; row++) {
        for (size_t column = 0; column < columns; column++) {
            double sum = 0.0;
            for (size_t k = 0; k < r; k++) {
                sum += (double)b[row * r + k] * (double)a[k * columns + column];
            }
            float *element = &w[row * columns + column];
            *element = (float)((double)*element + (double)scale * sum);
        }
    }
}

/// Of a weight that has one parameter: where its numbers begin.
static const float *numbers_of(const tr_layout_t *layout, const tr_weight_t *weight,
                               const float *values)
{
    size_t i = 0;
    while (layout->parameters[i].weight != weight) {
        i++;
    }
    return values + layout->parameters[i].offset;
}

static void add_adapters(const tr_model_t *model, float *values)
{
    const tr_layout_t *layout = &model->layout;
    for (size_t i = 0; i < layout->adapter_count; i++) {
        const tr_adapter_t *adapter = &layout->adapters[i];
        add_product(values + adapter->parameter->offset, adapter,
                    numbers_of(layout, &adapter->a, values),
                    numbers_of(layout, &adapter->b, values), tr_lora_scale(&model->lora));
    }
}

/// The parameters that both layouts have stand in the same order.
static void keep_own(float *own, const tr_layout_t *to, const float *values,
                     const tr_layout_t *from)
{
    for (size_t i = 0, j = 0; i < to->count; i++, j++) {
        const tr_parameter_t *parameter = &to->parameters[i];
        while (strcmp(from->parameters[j].name, parameter->name) != 0) {
            j++;
        }
        memcpy(own + parameter->offset, values + from->parameters[j].offset,
               parameter->rows * parameter->columns * sizeof *own);
    }
}

tr_status tr_model_merge(tr_model_t **merged, const tr_model_t *model, tr_error_t *err)
{
    tr_model_t *plain;
    TR_TRY(tr_model_new(&plain, &model->config, model->backend, TR_MODEL_READS, err));
    float *values = tr_calloc(model->layout.total, sizeof *values);
    float *own = tr_calloc(plain->layout.total, sizeof *own);
    tr_status status = tr_model_read_parameters(model, values, err);
    if (status == TR_OK) {
        add_adapters(model, values);
        keep_own(own, &plain->layout, values, &model->layout);
        tr_model_write_parameters(plain, own);
        *merged = plain;
    } else {
        tr_model_destroy(&plain);
    }
    // What the file has besides parameters.
    if (status == TR_OK && model->router_biases != NULL) {
        memcpy(plain->router_biases, model->router_biases,
               model->config.layers * model->config.experts * sizeof *model->router_biases);
        plain->backend->ops->write(plain->queue, plain->router_bias, plain->router_biases);
    }
    free(values);
    free(own);
    return status;
}
