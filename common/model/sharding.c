/// Windows over a sharded vector. Apart from parameters.c because nothing here knows what the
/// elements are: it sees segments, ranks, and one collective operation. Who holds what is
/// common/collective/shards.h.
#include "common/model/sharding.h"

#include <stdlib.h>
#include <string.h>

typedef enum window { EMBEDDING, LAYER, REST } window_t;

/// Which memory a segment is gathered into. Segments between the first and the last are layers.
static window_t window_of(const sharding_t *sharding, size_t segment)
{
    return segment == 0 ? EMBEDDING : segment + 1 < sharding->shards.segments ? LAYER : REST;
}

/// sizes: elements of each window, written: of the largest segment that comes there.
static void measure(size_t sizes[SHARDING_WINDOWS], const sharding_t *sharding)
{
    const tr_shards_t *shards = &sharding->shards;
    for (size_t s = 0; s < shards->segments; s++) {
        size_t size = shards->starts[s + 1] - shards->starts[s];
        size_t *most = &sizes[window_of(sharding, s)];
        *most = size > *most ? size : *most;
    }
}

tr_status sharding_new(sharding_t **self, const size_t *starts, size_t segments,
                       tr_backend_t *backend, tr_queue_t *queue, tr_collective_t *collective,
                       tr_error_t *err)
{
    size_t sizes[SHARDING_WINDOWS] = {0};
    sharding_t *sharding = tr_calloc(1, sizeof *sharding);
    sharding->backend = backend;
    sharding->queue = queue;
    sharding->collective = collective;
    tr_shards_init(&sharding->shards, starts, segments, tr_collective_size(collective),
                   tr_collective_rank(collective));
    measure(sizes, sharding);
    const size_t elements = sizes[EMBEDDING] + sizes[LAYER] + sizes[REST];
    tr_status status = backend->ops->buffer_new(backend, &sharding->buffer,
                                                elements * tr_dtype_size(backend->weights), err);
    if (status != TR_OK) {
        sharding_destroy(&sharding);
        return status;
    }
    const tr_tensor_t all = {sharding->buffer, 0, backend->weights, 1, elements};
    // Columns are those of the whole vector, since a view may begin before its window.
    for (size_t w = 0, at = 0; w < SHARDING_WINDOWS; at += sizes[w++]) {
        sharding->windows[w] = tr_tensor_slice(all, at, 1, starts[segments]);
    }
    *self = sharding;
    return TR_OK;
}

void sharding_destroy(sharding_t **self)
{
    if (*self != NULL) {
        (*self)->backend->ops->buffer_destroy(&(*self)->buffer);
        tr_shards_release(&(*self)->shards);
        free(*self);
        *self = NULL;
    }
}

/// The view begins before its window, so that the segment's first element stands at the window's
/// beginning.
tr_tensor_t sharding_view(const sharding_t *sharding, size_t segment)
{
    tr_tensor_t view = sharding->windows[window_of(sharding, segment)];
    // Arithmetic on size_t may wrap; what is added to reach the segment's elements takes it back.
    view.offset -= sharding->shards.starts[segment] * tr_dtype_size(view.dtype);
    return view;
}

/// From the ranks' shards to the whole segment, in the type that passes read. Nothing to do for one
/// that is there.
void sharding_gather(sharding_t *sharding, size_t segment)
{
    const tr_shards_t *shards = &sharding->shards;
    size_t *held = &sharding->held[window_of(sharding, segment)];
    // The backward pass begins with the layer that the forward pass ended with, and the embedding
    // and the head stay: these are not sent again.
    if (*held == segment + 1) {
        return;
    }
    tr_tensor_t view = sharding_view(sharding, segment);
    tr_tensor_t *parts = tr_calloc(shards->ranks, sizeof *parts);
    for (size_t r = 0; r < shards->ranks; r++) {
        // Every rank computes all parts, so that nobody has to be told where a part goes.
        tr_part_t part = tr_shards_part(shards, segment, r);
        parts[r] = tr_tensor_slice(view, part.first, 1, part.count);
    }
    // The own part goes into the window in the type that passes read; then every rank sends its own
    // to all.
    tr_tensor_t own = parts[shards->rank];
    // A small segment may have no part for this rank: parts are whole blocks (shards.h).
    if (own.columns > 0) {
        sharding->backend->ops->cast(
            sharding->queue, own,
            tr_tensor_slice(sharding->own, shards->local[segment], 1, own.columns));
    }
    sharding->collective->ops->share(sharding->collective, sharding->backend, sharding->queue,
                                     parts);
    free(parts);
    *held = segment + 1;
}

void sharding_forget(sharding_t *sharding)
{
    // The windows' memory stays; what is in it is of an older version.
    memset(sharding->held, 0, sizeof sharding->held);
}
