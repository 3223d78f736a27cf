#include "common/model/sharded.h"

#include <stdlib.h>
#include <string.h>

typedef enum place { EMBEDDING, LAYER, REST } place_t;

static place_t place_of(const model_sharding_t *sharding, size_t segment)
{
    return segment == 0 ? EMBEDDING : segment + 1 < sharding->shards.segments ? LAYER : REST;
}

static size_t segment_size(const tr_shards_t *shards, size_t segment)
{
    return shards->starts[segment + 1] - shards->starts[segment];
}

/// Windows one after another: elements of each, written.
static void measure(size_t sizes[SHARDED_WINDOWS], const model_sharding_t *sharding)
{
    for (size_t s = 0; s < sharding->shards.segments; s++) {
        size_t size = segment_size(&sharding->shards, s), *most = &sizes[place_of(sharding, s)];
        *most = size > *most ? size : *most;
    }
}

tr_status model_sharding_new(model_sharding_t **self, const tr_layout_t *layout,
                             tr_backend_t *backend, tr_queue_t *queue, tr_collective_t *collective,
                             tr_error_t *err)
{
    size_t sizes[SHARDED_WINDOWS] = {0};
    model_sharding_t *sharding = tr_calloc(1, sizeof *sharding);
    sharding->backend = backend;
    sharding->queue = queue;
    sharding->collective = collective;
    tr_shards_init(&sharding->shards, layout->segments, layout->segment_count,
                   tr_collective_size(collective), tr_collective_rank(collective));
    measure(sizes, sharding);
    size_t elements = sizes[EMBEDDING] + sizes[LAYER] + sizes[REST];
    size_t each = tr_dtype_size(backend->real);
    tr_status status = backend->ops->buffer_new(backend, &sharding->windows, elements * each, err);
    if (status != TR_OK) {
        model_sharding_destroy(&sharding);
        return status;
    }
    const tr_tensor_t flat = {sharding->windows, 0, backend->real, 1, layout->total};
    for (size_t w = 0, at = 0; w < SHARDED_WINDOWS; at += sizes[w++]) {
        sharding->flat[w] = flat;
        sharding->flat[w].offset = at * each; // of the window; a view begins before it
    }
    *self = sharding;
    return TR_OK;
}

void model_sharding_destroy(model_sharding_t **self)
{
    if (*self != NULL) {
        (*self)->backend->ops->buffer_destroy(&(*self)->windows);
        tr_shards_release(&(*self)->shards);
        free(*self);
        *self = NULL;
    }
}

static tr_tensor_t view_of(const model_sharding_t *sharding, size_t segment)
{
    tr_tensor_t flat = sharding->flat[place_of(sharding, segment)];
    flat.offset -= sharding->shards.starts[segment] * tr_dtype_size(flat.dtype);
    return flat;
}

tr_tensor_t model_sharding_view(const model_sharding_t *sharding, size_t at)
{
    size_t segment = 0;
    while (at >= sharding->shards.starts[segment + 1]) {
        segment++;
    }
    return view_of(sharding, segment);
}

void model_sharding_gather(model_sharding_t *sharding, size_t segment)
{
    const tr_shards_t *shards = &sharding->shards;
    size_t *held = &sharding->held[place_of(sharding, segment)];
    if (*held == segment + 1) {
        return;
    }
    tr_tensor_t flat = view_of(sharding, segment);
    tr_tensor_t *parts = tr_calloc(shards->ranks, sizeof *parts);
    for (size_t r = 0; r < shards->ranks; r++) {
        tr_part_t part = tr_shards_part(shards, segment, r);
        parts[r] = tr_flat_matrix(flat, part.first, 1, part.count);
    }
    tr_tensor_t own = parts[shards->rank];
    if (own.columns > 0) {
        sharding->backend->ops->cast(
            sharding->queue, own,
            tr_flat_matrix(sharding->own, shards->local[segment], 1, own.columns));
    }
    sharding->collective->ops->share(sharding->collective, sharding->backend, sharding->queue,
                                     parts);
    free(parts);
    *held = segment + 1;
}

void model_sharding_forget(model_sharding_t *sharding)
{
    memset(sharding->held, 0, sizeof sharding->held);
}

void model_sharding_write(model_sharding_t *sharding, size_t first, size_t count,
                          const float *values)
{
    while (count > 0) {
        size_t rank, local, n = tr_shards_find(&rank, &local, &sharding->shards, first);
        n = n < count ? n : count;
        if (rank == sharding->shards.rank) {
            sharding->backend->ops->write(sharding->queue,
                                          tr_flat_matrix(sharding->own, local, 1, n), values);
        }
        values += n;
        first += n;
        count -= n;
    }
    model_sharding_forget(sharding);
}
