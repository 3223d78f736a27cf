/// Shards: every element has one rank, parts are whole blocks, and they differ by at most one
/// block.
#include "common/collective/shards.h"

#include <criterion/criterion.h>

#include "common/tensor/backend.h"

static const size_t starts[] = {0, 1, 4096, 4096, 3 * 4096 + 7, 40 * 4096 + 5};
enum { SEGMENTS = sizeof starts / sizeof starts[0] - 1 };

Test(shards, parts_follow_each_other_and_cover_every_segment)
{
    for (size_t ranks = 1; ranks <= 7; ranks++) {
        tr_shards_t shards;
        tr_shards_init(&shards, starts, SEGMENTS, ranks, ranks - 1);
        for (size_t s = 0; s < SEGMENTS; s++) {
            size_t at = starts[s];
            for (size_t r = 0; r < ranks; r++) {
                tr_part_t part = tr_shards_part(&shards, s, r);
                cr_assert(part.count == 0 || part.first == at, "segment %zu, rank %zu", s, r);
                at += part.count;
            }
            cr_assert_eq(at, starts[s + 1], "segment %zu of %zu ranks", s, ranks);
        }
        tr_shards_release(&shards);
    }
}

Test(shards, parts_are_whole_blocks_and_differ_by_one_at_most)
{
    tr_shards_t shards;
    tr_shards_init(&shards, starts, SEGMENTS, 3, 0);
    for (size_t s = 0; s < SEGMENTS; s++) {
        size_t least = SIZE_MAX, most = 0;
        for (size_t r = 0; r < 3; r++) {
            tr_part_t part = tr_shards_part(&shards, s, r);
            size_t blocks = TR_SUM_BLOCKS(part.count);
            bool whole = part.count % TR_SUM_BLOCK == 0;
            cr_assert(whole || part.first + part.count == starts[s + 1]);
            least = blocks < least ? blocks : least;
            most = blocks > most ? blocks : most;
            cr_assert_leq(part.count, shards.largest);
        }
        cr_assert_leq(most - least, 1u, "segment %zu", s);
    }
    tr_shards_release(&shards);
}

Test(shards, finding_an_element_agrees_with_the_holders_own_count)
{
    enum { RANKS = 3 };
    tr_shards_t shards[RANKS];
    for (size_t r = 0; r < RANKS; r++) {
        tr_shards_init(&shards[r], starts, SEGMENTS, RANKS, r);
    }
    size_t held[RANKS] = {0};
    for (size_t at = 0; at < starts[SEGMENTS];) {
        size_t rank, local, count = tr_shards_find(&rank, &local, &shards[0], at);
        cr_assert(count > 0 && rank < RANKS);
        cr_assert_eq(local, held[rank], "element %zu", at);
        held[rank] += count;
        at += count;
    }
    for (size_t r = 0; r < RANKS; r++) {
        cr_assert_eq(held[r], shards[r].local[SEGMENTS]);
        tr_shards_release(&shards[r]);
    }
}
