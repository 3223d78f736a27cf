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

static size_t pages_for(size_t tokens)
{
    return (tokens + TR_PAGE - 1) / TR_PAGE;
}

tr_cache_room_t tr_cache_room_of(const tr_model_config_t *config, size_t longest, size_t chunk)
{
    tr_cache_room_t room = {.pages = pages_for(longest), .slots = 1};
    if (config->window > 0) {
        // From the first key that a chunk's first token sees to its last token, the first page
        // having one of them alone. They are all written before they are read.
        const size_t pages = pages_for(config->window + chunk - 2) + 1;
        room.ring = pages < room.pages ? pages : room.pages;
    }
    return room;
}

/// Places of all layers' tensors; returns the buffer's bytes.
static size_t lay_out(layer_cache_t *layers, const tr_model_t *model, tr_cache_room_t room)
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
                next(&end, real, room.slots, (delta.taps - 1) * tr_delta_channels(delta));
            layer->kept.states = next(&end, TR_F32, room.slots, tr_delta_state(delta));
        } else {
            const bool slides = config->window > 0 && tr_layer_set_has(&config->sliding, i);
            const size_t pages = slides ? room.ring : room.pages;
            layer->kv.keys = next(&end, real, pages, row);
            layer->kv.values = next(&end, real, pages, row);
        }
    }
    return end;
}

tr_status tr_cache_new(tr_cache_t **self, const tr_model_t *model, tr_cache_room_t room,
                       tr_error_t *err)
{
    const size_t layers = model->config.layers;
    tr_cache_t *cache = tr_calloc(1, sizeof *cache + layers * sizeof *cache->layers);
    cache->backend = model->backend;
    const size_t bytes = lay_out(cache->layers, model, room);
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
