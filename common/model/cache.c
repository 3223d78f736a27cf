/// What a model's layers keep of sequences that are being decoded, in one buffer.
#include <stdlib.h>

#include "common/model/pass.h"

/// The next tensor of the buffer, on a cache line; *end: where the one before ends, moved.
static tr_tensor_t next(size_t *end, tr_dtype_t dtype, size_t rows, size_t columns)
{
    const tr_tensor_t tensor = {NULL, (*end + 63) / 64 * 64, dtype, rows, columns};
    *end = tensor.offset + tr_tensor_bytes(tensor);
    return tensor;
}

/// Places of all layers' tensors; returns the buffer's bytes.
static size_t lay_out(layer_cache_t *layers, const tr_model_t *model, size_t pages, size_t slots)
{
    const tr_model_config_t *config = &model->config;
    const tr_dtype_t real = model->backend->real;
    const size_t row = config->key_value_heads * config->head_dim * TR_PAGE;
    const tr_delta_t delta = config->delta;
    size_t end = 0;
    for (size_t i = 0; i < config->layers; i++) {
        layer_cache_t *layer = &layers[i];
        if (tr_layer_set_has(&config->recurrent, i)) {
            layer->kept.inputs =
                next(&end, real, slots, (delta.taps - 1) * tr_delta_channels(delta));
            layer->kept.states = next(&end, TR_F32, slots, tr_delta_state(delta));
        } else {
            layer->kv.keys = next(&end, real, pages, row);
            layer->kv.values = next(&end, real, pages, row);
        }
    }
    return end;
}

tr_status tr_cache_new(tr_cache_t **self, const tr_model_t *model, size_t pages, size_t slots,
                       tr_error_t *err)
{
    const size_t layers = model->config.layers;
    tr_cache_t *cache = tr_calloc(1, sizeof *cache + layers * sizeof *cache->layers);
    cache->backend = model->backend;
    const size_t bytes = lay_out(cache->layers, model, pages, slots);
    tr_status status = model->backend->ops->buffer_new(model->backend, &cache->buffer, bytes, err);
    if (status != TR_OK) {
        free(cache);
        return status;
    }
    for (size_t i = 0; i < layers; i++) {
        layer_cache_t *layer = &cache->layers[i];
        if (tr_layer_set_has(&model->config.recurrent, i)) {
            layer->kept.inputs.buffer = layer->kept.states.buffer = cache->buffer;
        } else {
            layer->kv.keys.buffer = layer->kv.values.buffer = cache->buffer;
        }
    }
    *self = cache;
    return TR_OK;
}

void tr_cache_destroy(tr_cache_t **self)
{
    if (*self != NULL) {
        (*self)->backend->ops->buffer_destroy(&(*self)->buffer);
        free(*self);
        *self = NULL;
    }
}
