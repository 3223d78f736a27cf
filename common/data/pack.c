// Best fit decreasing: sequences sorted by length, and a queue of packs for each amount of room, in
// which the least room that fits is found by a walk upwards. The queues keep TRL's order among
// packs with equal room, which a golden file pins. rows.c packs the rows of a run with it.
#include "common/data/pack.h"

#include <stdlib.h>

#include "common/base/status.h"

enum { NONE = -1 };

/// A queue of packs, or of a pack's sequences, linked by index: first in, first out.
typedef struct queue {
    int32_t first, last;
} queue_t;

static void append(queue_t *queue, int32_t *next, int32_t index)
{
    // Into the first place, or behind the last one.
    next[index] = NONE;
    *(queue->first == NONE ? &queue->first : &next[queue->last]) = index;
    queue->last = index;
}

static int32_t take_first(queue_t *queue, const int32_t *next)
{
    int32_t index = queue->first;
    queue->first = next[index];
    return index;
}

/// For qsort_r of sequences: from the longest to the shortest, equal ones as they came.
static int longest_first(const void *a, const void *b, void *context)
{
    const size_t *lengths = context;
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    if (lengths[i] != lengths[j]) {
        return lengths[i] > lengths[j] ? -1 : 1;
    }
    return i < j ? -1 : i > j;
}

size_t tr_pack(uint32_t *order, size_t *starts, const size_t *lengths, size_t count,
               size_t capacity)
{
    uint32_t *by_length = tr_calloc(count + 1, sizeof *by_length);
    int32_t *next_pack = tr_calloc(2 * count + 1, sizeof *next_pack),
            *next_sequence = next_pack + count;
    // A queue for each amount of room: looking for the least room that fits is a walk, not a
    // search.
    queue_t *with_room = tr_calloc(capacity + 1, sizeof *with_room); // packs, by their room
    queue_t *packs = tr_calloc(count + 1, sizeof *packs);            // sequences, by pack
    size_t made = 0, at = 0;
    for (size_t room = 0; room <= capacity; room++) {
        with_room[room].first = NONE;
    }
    for (size_t i = 0; i < count; i++) {
        TR_ASSERT(lengths[i] >= 1 && lengths[i] <= capacity, "%zu tokens in a pack of %zu",
                  lengths[i], capacity);
        by_length[i] = (uint32_t)i;
    }
    qsort_r(by_length, count, sizeof *by_length, longest_first, (size_t *)lengths);
    for (size_t i = 0; i < count; i++) {
        uint32_t sequence = by_length[i];
        // The least room that takes it. `room` ends at the capacity where no open pack does.
        size_t room = lengths[sequence];
        while (room < capacity && with_room[room].first == NONE) {
            room++;
        }
        // Empty packs are in no queue: a walk that ends at the capacity found no pack and opens
        // one.
        int32_t pack = room < capacity ? take_first(&with_room[room], next_pack) : (int32_t)made;
        if (room == capacity) {
            packs[made++].first = NONE;
        }
        append(&packs[pack], next_sequence, (int32_t)sequence);
        // The pack now waits among those with the room that is left: behind the ones that came
        // there earlier, which is TRL's order.
        append(&with_room[room - lengths[sequence]], next_pack, pack);
    }
    for (size_t p = 0; p < made; p++) {
        // Sequences of a pack in the order in which they came into it, the longest first.
        starts[p] = at;
        for (int32_t s = packs[p].first; s != NONE; s = next_sequence[s]) {
            order[at++] = (uint32_t)s;
        }
    }
    starts[made] = at;
    free(packs);
    free(with_room);
    free(next_pack);
    free(by_length);
    return made;
}
