/// Who holds which part of a flat vector: parameters, gradients, moments.
///
/// The vector is cut in segments (the embedding, each layer, what follows them), and each segment in one part a rank, of whole
/// blocks of sum_squares and as even as these allow: a segment is exchanged as soon as it is known, and all ranks share
/// the work. A rank's parts, one after another, are its shard. Pure arithmetic.
#ifndef TR_COLLECTIVE_SHARDS_H
#define TR_COLLECTIVE_SHARDS_H

#include <stddef.h>

typedef struct tr_shards {
    size_t ranks, rank;
    size_t segments;
    size_t *starts; ///< [segments + 1] of the segments; starts[segments] elements in all
    size_t *
        local; ///< [segments + 1] where the own part of a segment stands in the shard; local[segments] is its size
    size_t largest; ///< elements of the largest part of any rank
} tr_shards_t;

/// A piece of the flat vector.
typedef struct tr_part {
    size_t first, count;
} tr_part_t;

/// starts: [segments + 1], ascending from 0; copied. rank < ranks.
void tr_shards_init(tr_shards_t *shards, const size_t *starts, size_t segments, size_t ranks,
                    size_t rank);
void tr_shards_release(tr_shards_t *shards);

/// What a rank holds of a segment; count may be 0.
tr_part_t tr_shards_part(const tr_shards_t *shards, size_t segment, size_t rank);

/// Where the own part of a segment stands in this rank's shard.
static inline tr_part_t tr_shards_own(const tr_shards_t *shards, size_t segment)
{
    return (tr_part_t){shards->local[segment], shards->local[segment + 1] - shards->local[segment]};
}

/// Where element `at` is: *rank holds it, at *local of its shard, and so many from there on stand together.
size_t tr_shards_find(size_t *rank, size_t *local, const tr_shards_t *shards, size_t at);

#endif
