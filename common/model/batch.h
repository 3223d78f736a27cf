/// Ragged batches: which tokens go through the model together, and where each stands in its
/// sequence. Made on the host by passes over whole sequences (response.c) and by the decoder; no
/// padding.
#ifndef TR_MODEL_BATCH_H
#define TR_MODEL_BATCH_H

#include <stddef.h>
#include <stdint.h>

#include "common/tensor/arena.h"

/// Some consecutive tokens of one sequence.
typedef struct tr_span {
    const int32_t *ids; ///< [length], borrowed
    size_t length;
    size_t position;      ///< of ids[0] in its sequence; the tokens before are in the pages already
    const int32_t *pages; ///< of the sequence, from position 0, borrowed; NULL: fresh ones
    int32_t slot;         ///< of the sequence, for layers that keep a state
    /// The sequence's pages in layers with a window, which are used again and again: [ring_pages],
    /// borrowed; page j of the sequence is ring[j % ring_pages]. NULL: the pages above.
    const int32_t *ring;
    size_t ring_pages;
} tr_span_t;

/// A batch on the device.
typedef struct tr_batch {
    tr_tensor_t ids; ///< i32 [tokens]
    tr_ragged_t ragged;
    tr_tensor_t ring;   ///< ragged.pages of layers with a window
    size_t fresh_pages; ///< pages that the batch numbered itself: 0..fresh_pages-1
    /// f32 [tokens, hidden] to be added to the embeddings; buffer NULL: none.
    tr_tensor_t noise;
    /// i32 [tokens] addresses of tokens, by which adapters drop what they read; buffer NULL: they
    /// do not.
    tr_tensor_t addresses;
    uint64_t dropout_seed;
} tr_batch_t;

/// Uploads spans in order. All spans either have pages or none has; so with rings. The batch lives
/// until the arena's reset.
void tr_batch_init(tr_batch_t *batch, tr_arena_t *arena, tr_queue_t *queue, const tr_span_t *spans,
                   size_t count);

#endif
