/// From spans to the tables that operators read: rows, positions, pages. Its own file because
/// rollouts and trainers must lay a batch out in one way.
#include "common/model/batch.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/status.h"

/// Columns of the table of pages come by so many, so that shapes, and a GPU's graphs of them, stay
/// the same for some tokens.
enum { PAGES_UNIT = 8 };

/// Pages that the span's sequence has up to its last token. TR_PAGE tokens share a page of the
/// key-value cache.
static size_t pages_of(const tr_span_t *span)
{
    return (span->position + span->length + TR_PAGE - 1) / TR_PAGE;
}

/// Sizes of the batch: what is left are its tables.
static void measure(tr_ragged_t *ragged, const tr_span_t *spans, size_t count)
{
    for (size_t s = 0; s < count; s++) {
        size_t end = spans[s].position + spans[s].length;
        ragged->tokens += spans[s].length;
        ragged->longest = end > ragged->longest ? end : ragged->longest;
        size_t pages = pages_of(&spans[s]);
        ragged->max_pages = pages > ragged->max_pages ? pages : ragged->max_pages;
    }
    // Rounded up: the columns past a sequence's pages hold -1 and are not read.
    ragged->max_pages = (ragged->max_pages + PAGES_UNIT - 1) / PAGES_UNIT * PAGES_UNIT;
    ragged->sequences = count;
}

/// Writes the pages of one span to row; fresh ones are numbered from *next.
static void fill_pages(int32_t *row, size_t max_pages, const tr_span_t *span, size_t *next)
{
    size_t pages = pages_of(span);
    for (size_t j = 0; j < max_pages; j++) {
        row[j] = j >= pages ? -1 : span->pages != NULL ? span->pages[j] : (int32_t)(*next)++;
    }
}

/// The same in layers with a window: a page is written again once all its tokens are out of sight.
static void fill_ring(int32_t *row, size_t max_pages, const tr_span_t *span)
{
    const size_t pages = pages_of(span), first = span->position / TR_PAGE;
    TR_ASSERT(pages - first <= span->ring_pages, "%zu tokens into %zu pages", span->length,
              span->ring_pages);
    for (size_t j = 0; j < max_pages; j++) {
        row[j] = j >= pages ? -1 : span->ring[j % span->ring_pages];
    }
}

/// The table of either kind of layers, [count, max_pages].
static tr_tensor_t upload_pages(tr_arena_t *arena, tr_queue_t *queue, const int32_t *pages,
                                size_t count, size_t max_pages)
{
    tr_tensor_t table = tr_arena_indices(arena, queue, pages, count * max_pages);
    table.rows = count;
    table.columns = max_pages;
    return table;
}

void tr_batch_init(tr_batch_t *batch, tr_arena_t *arena, tr_queue_t *queue, const tr_span_t *spans,
                   size_t count)
{
    *batch = (tr_batch_t){0};
    tr_ragged_t *ragged = &batch->ragged;
    measure(ragged, spans, count);
    const size_t entries = count * ragged->max_pages;
    const bool rings = count > 0 && spans[0].ring != NULL;
    // One piece of host memory for all tables: ids, positions, starts, slots, pages, rings.
    int32_t *ids = tr_calloc(2 * ragged->tokens + 2 * count + 1 + 2 * entries, sizeof *ids);
    int32_t *positions = ids + ragged->tokens;
    int32_t *starts = positions + ragged->tokens;
    int32_t *slots = starts + count + 1;
    int32_t *pages = slots + count, *ring = pages + entries;
    size_t row = 0;
    for (size_t s = 0; s < count; s++) {
        // Rows of a sequence stand side by side, in the order of the spans; operators find them by
        // starts.
        starts[s] = (int32_t)row;
        slots[s] = spans[s].slot;
        fill_pages(pages + s * ragged->max_pages, ragged->max_pages, &spans[s],
                   &batch->fresh_pages);
        if (rings) {
            fill_ring(ring + s * ragged->max_pages, ragged->max_pages, &spans[s]);
        }
        memcpy(ids + row, spans[s].ids, spans[s].length * sizeof *ids);
        for (size_t i = 0; i < spans[s].length; i++) {
            // A decoding step has one token at the end of its sequence, a forward pass all from 0:
            // RoPE and the causal mask go by positions, not by rows.
            positions[row++] = (int32_t)(spans[s].position + i);
        }
    }
    starts[count] = (int32_t)row;
    batch->ids = tr_arena_indices(arena, queue, ids, ragged->tokens);
    ragged->positions = tr_arena_indices(arena, queue, positions, ragged->tokens);
    ragged->starts = tr_arena_indices(arena, queue, starts, count + 1);
    ragged->slots = tr_arena_indices(arena, queue, slots, count);
    ragged->pages = upload_pages(arena, queue, pages, count, ragged->max_pages);
    batch->ring =
        rings ? upload_pages(arena, queue, ring, count, ragged->max_pages) : ragged->pages;
    free(ids);
}
