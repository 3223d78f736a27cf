#include "common/text/pack.h"

#include <stdlib.h>

#include "common/base/status.h"

enum { NONE = -1 };

/// A chain of packs, or of a pack's texts: first in, first out.
typedef struct chain {
    int32_t first, last;
} chain_t;

static void append(chain_t *chain, int32_t *next, int32_t item)
{
    next[item] = NONE;
    *(chain->first == NONE ? &chain->first : &next[chain->last]) = item;
    chain->last = item;
}

static int32_t take_first(chain_t *chain, const int32_t *next)
{
    int32_t item = chain->first;
    chain->first = next[item];
    return item;
}

/// by_length: [count], written: texts from the longest to the shortest, equal ones as they came.
static void sort(uint32_t *by_length, const size_t *lengths, size_t count, size_t capacity)
{
    size_t *places = tr_calloc(capacity + 2, sizeof *places);
    for (size_t i = 0; i < count; i++) {
        TR_ASSERT(lengths[i] >= 1 && lengths[i] <= capacity, "%zu tokens in a pack of %zu",
                  lengths[i], capacity);
        places[capacity - lengths[i] + 1]++;
    }
    for (size_t i = 1; i <= capacity; i++) {
        places[i] += places[i - 1];
    }
    for (size_t i = 0; i < count; i++) {
        by_length[places[capacity - lengths[i]]++] = (uint32_t)i;
    }
    free(places);
}

size_t tr_pack(uint32_t *order, size_t *starts, const size_t *lengths, size_t count,
               size_t capacity)
{
    uint32_t *by_length = tr_calloc(count + 1, sizeof *by_length);
    int32_t *next_pack = tr_calloc(2 * count + 1, sizeof *next_pack),
            *next_text = next_pack + count;
    chain_t *with_room = tr_calloc(capacity + 1, sizeof *with_room); // packs, by their room
    chain_t *packs = tr_calloc(count + 1, sizeof *packs);            // texts, by pack
    size_t made = 0, at = 0;
    for (size_t room = 0; room <= capacity; room++) {
        with_room[room].first = NONE;
    }
    sort(by_length, lengths, count, capacity);
    for (size_t i = 0; i < count; i++) {
        uint32_t text = by_length[i];
        size_t room = lengths[text];
        while (room < capacity && with_room[room].first == NONE) {
            room++;
        }
        int32_t pack = room < capacity ? take_first(&with_room[room], next_pack) : (int32_t)made;
        if (room == capacity) {
            packs[made++].first = NONE;
        }
        append(&packs[pack], next_text, (int32_t)text);
        append(&with_room[room - lengths[text]], next_pack, pack);
    }
    for (size_t p = 0; p < made; p++) {
        starts[p] = at;
        for (int32_t text = packs[p].first; text != NONE; text = next_text[text]) {
            order[at++] = (uint32_t)text;
        }
    }
    starts[made] = at;
    free(packs);
    free(with_room);
    free(next_pack);
    free(by_length);
    return made;
}
