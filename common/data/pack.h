/// Packing: which sequences go together into a step's packs of a bounded number of tokens. Pure.
///
/// Batches are ragged, so sequences of a pack never see each other; a pack only makes steps of even
/// size.
#ifndef TR_DATA_PACK_H
#define TR_DATA_PACK_H

#include <stddef.h>
#include <stdint.h>

/// Best fit decreasing (TRL's packing strategy "bfd"; Ding et al. 2024, "Fewer truncations improve
/// language modeling"): sequences from the longest to the shortest, each into the pack with the
/// least room that takes it; of packs with equal room, into the one that has waited longest.
/// lengths: [count], each 1..capacity tokens. order: [count], written: the sequences, pack after
/// pack. starts: [count + 1], written as far as there are packs: pack p holds
/// order[starts[p]]..order[starts[p + 1] - 1]. Returns the number of packs.
size_t tr_pack(uint32_t *order, size_t *starts, const size_t *lengths, size_t count,
               size_t capacity);

#endif
