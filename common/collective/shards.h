/// Which rank holds which part of a flat vector: parameters, gradients, moments.
///
/// The vector is cut into segments (the embedding, each layer, the rest), and each segment into one
/// part a rank, of whole blocks of sum_squares and as even as these allow. So a segment can be
/// exchanged as soon as it is known, and all ranks share the work. A rank's parts, one after
/// another, are its shard. Pure arithmetic.
#ifndef TR_COLLECTIVE_SHARDS_H
#define TR_COLLECTIVE_SHARDS_H

#include <stddef.h>

typedef struct tr_shards {
    size_t ranks, rank;
    size_t segments;
    size_t *starts; ///< [segments + 1]: first element of each; starts[segments] is the total
    size_t *local;  ///< [segments + 1]: own part's place in the shard; local[segments]: its size
    size_t largest; ///< elements of the largest part of any rank
} tr_shards_t;

/// A range of the flat vector.
typedef struct tr_part {
    size_t first, count;
} tr_part_t;

/// Ranges that ascend and do not meet.
typedef struct tr_parts {
    tr_part_t *items; // [count]
    size_t count;
} tr_parts_t;

/// starts: [segments + 1], ascending from 0; copied. rank < ranks.
void tr_shards_init(tr_shards_t *shards, const size_t *starts, size_t segments, size_t ranks,
                    size_t rank);
void tr_shards_release(tr_shards_t *shards);

/// The range of a segment that a rank holds; count may be 0.
tr_part_t tr_shards_part(const tr_shards_t *shards, size_t segment, size_t rank);

/// Where the own part of a segment stands in this rank's shard.
static inline tr_part_t tr_shards_own(const tr_shards_t *shards, size_t segment)
{
    return (tr_part_t){shards->local[segment], shards->local[segment + 1] - shards->local[segment]};
}

/// Finds element `at`: *rank holds it, at *local in its shard. Returns how many elements from there
/// on lie side by side.
size_t tr_shards_find(size_t *rank, size_t *local, const tr_shards_t *shards, size_t at);

#endif
