#include "common/collective/shards.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/status.h"
#include "common/tensor/backend.h"

tr_part_t tr_shards_part(const tr_shards_t *shards, size_t segment, size_t rank)
{
    size_t first = shards->starts[segment], end = shards->starts[segment + 1];
    size_t blocks = TR_SUM_BLOCKS(end - first);
    size_t from = first + blocks * rank / shards->ranks * TR_SUM_BLOCK;
    size_t to = first + blocks * (rank + 1) / shards->ranks * TR_SUM_BLOCK;
    to = to < end ? to : end;
    return (tr_part_t){from, to > from ? to - from : 0};
}

void tr_shards_init(tr_shards_t *shards, const size_t *starts, size_t segments, size_t ranks,
                    size_t rank)
{
    *shards = (tr_shards_t){.ranks = ranks, .rank = rank, .segments = segments};
    shards->starts = tr_calloc(segments + 1, sizeof *shards->starts);
    shards->local = tr_calloc(segments + 1, sizeof *shards->local);
    memcpy(shards->starts, starts, (segments + 1) * sizeof *starts);
    for (size_t s = 0; s < segments; s++) {
        for (size_t r = 0; r < ranks; r++) {
            size_t count = tr_shards_part(shards, s, r).count;
            shards->largest = count > shards->largest ? count : shards->largest;
        }
        shards->local[s + 1] = shards->local[s] + tr_shards_part(shards, s, rank).count;
    }
}

void tr_shards_release(tr_shards_t *shards)
{
    free(shards->starts);
    free(shards->local);
    *shards = (tr_shards_t){0};
}

size_t tr_shards_find(size_t *rank, size_t *local, const tr_shards_t *shards, size_t at)
{
    size_t segment = 0, r = 0, before = 0;
    while (at >= shards->starts[segment + 1]) {
        segment++;
    }
    tr_part_t part = tr_shards_part(shards, segment, 0);
    while (at >= part.first + part.count) {
        part = tr_shards_part(shards, segment, ++r);
    }
    for (size_t s = 0; s < segment; s++) {
        before += tr_shards_part(shards, s, r).count;
    }
    *rank = r;
    *local = before + at - part.first;
    return part.first + part.count - at;
}
