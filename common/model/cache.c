/// The key-value caches of a model's layers, in one buffer.
#include <stdlib.h>

#include "common/model/pass.h"

tr_status tr_cache_new(tr_cache_t **self, const tr_model_t *model, size_t pages, tr_error_t *err)
{
    size_t layers = model->config.layers;
    size_t row = model->config.key_value_heads * model->config.head_dim * TR_PAGE;
    tr_cache_t *cache = tr_calloc(1, sizeof *cache + layers * sizeof *cache->kv);
    cache->backend = model->backend;
    const tr_dtype_t real = model->backend->real;
    // Of the keys, or of the values, of one layer.
    size_t bytes = pages * row * tr_dtype_size(real);
    tr_status status =
        model->backend->ops->buffer_new(model->backend, &cache->buffer, 2 * layers * bytes, err);
    if (status != TR_OK) {
        free(cache);
        return status;
    }
    for (size_t i = 0; i < layers; i++) {
        cache->kv[i].keys = (tr_tensor_t){cache->buffer, 2 * i * bytes, real, pages, row};
        cache->kv[i].values = (tr_tensor_t){cache->buffer, (2 * i + 1) * bytes, real, pages, row};
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
