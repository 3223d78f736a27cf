/// Splitting a flat vector over ranks (shards.h). Pure arithmetic, apart from the two tables that
/// init allocates.
#include "common/collective/shards.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/status.h"
#include "common/tensor/backend.h"

/// Parts begin at whole blocks of sum_squares, so a rank has all of a block and the gradient's
/// norm, which adds block sums in order, has the same bits for every number of ranks. Parts differ
/// by at most one block.
tr_part_t tr_shards_part(const tr_shards_t *shards, size_t segment, size_t rank)
{
    size_t first = shards->starts[segment], end = shards->starts[segment + 1];
    size_t blocks = TR_SUM_BLOCKS(end - first);
    size_t from = first + blocks * rank / shards->ranks * TR_SUM_BLOCK;
    // The last block may be short.
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
    // `largest` is over all ranks, because a rank needs room for what another one sends.
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

/// Linear searches: a model has some dozens of segments, and this runs once a tensor of a
/// checkpoint.
size_t tr_shards_find(size_t *rank, size_t *local, const tr_shards_t *shards, size_t at)
{
    size_t segment = 0, r = 0, before = 0;
    while (at >= shards->starts[segment + 1]) {
        segment++;
    }
    // Parts of a segment ascend by rank; an empty one ends where it begins and is passed over.
    tr_part_t part = tr_shards_part(shards, segment, 0);
    while (at >= part.first + part.count) {
        part = tr_shards_part(shards, segment, ++r);
    }
    // The holder's shard has its parts of the segments before this one first.
    for (size_t s = 0; s < segment; s++) {
        before += tr_shards_part(shards, s, r).count;
    }
    *rank = r;
    *local = before + at - part.first;
    return part.first + part.count - at;
}
