/// Packing: which texts go together into a step's packs of a bounded number of tokens. Pure.
///
/// Batches are ragged, so texts of a pack never see each other; a pack only makes steps of even size.
#ifndef TR_TEXT_PACK_H
#define TR_TEXT_PACK_H

#include <stddef.h>
#include <stdint.h>

/// Best fit decreasing (TRL's packing strategy "bfd"; Ding et al. 2024, "Fewer truncations improve language modeling"): texts from
/// the longest to the shortest, each into the pack with the least room that takes it, of equal ones the one that has waited longest.
/// lengths: [count], each 1..capacity tokens. order: [count], written: the texts, pack after pack; starts: [count + 1], written as
/// far as there are packs: pack p holds order[starts[p]]..order[starts[p + 1] - 1]. Returns the number of packs.
size_t tr_pack(uint32_t *order, size_t *starts, const size_t *lengths, size_t count,
               size_t capacity);

#endif
