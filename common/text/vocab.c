// A vocabulary: entries in the order of adding, found by their text (a hash table of indices) and
// by their id (an array of indices). Texts may hold NUL bytes, so lengths go with them. They lie
// one behind the other in one buffer: a tokenizer of 260,000 tokens is loaded in a moment.
#include "common/text/vocab.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/base/status.h"
#include "common/text/utf8.h"

typedef struct entry {
    size_t text; // where it begins in `texts`, with a NUL behind it
    uint32_t length;
    int32_t id;
} entry_t;

/// The high half of a text's hash, so that most other texts are told apart without a look at them,
/// and the entry's index plus one; 0 is free.
typedef struct slot {
    uint32_t hash, index;
} slot_t;

struct tr_vocab {
    entry_t *entries; // [count] of [limit], in the order of adding
    size_t count;
    size_t limit;
    tr_bytes_t texts;
    size_t longest;    // bytes of the longest text
    slot_t *slots;     // [slot_count], open addressing
    size_t slot_count; // a power of two
    uint32_t *by_id;   // [size], an entry's index plus one
    size_t size;
    size_t by_id_capacity;
};

tr_vocab_t *tr_vocab_new(size_t limit)
{
    tr_vocab_t *vocab = tr_calloc(1, sizeof *vocab);
    vocab->limit = limit;
    vocab->entries = tr_calloc(limit + 1, sizeof *vocab->entries);
    vocab->slot_count = 1024;
    while (vocab->slot_count < 2 * limit) { // at most half full: look-ups stay short
        vocab->slot_count *= 2;
    }
    vocab->slots = tr_calloc(vocab->slot_count, sizeof *vocab->slots);
    return vocab;
}

void tr_vocab_destroy(tr_vocab_t **vocab)
{
    if (*vocab == NULL) {
        return;
    }
    tr_bytes_release(&(*vocab)->texts);
    free((*vocab)->entries);
    free((*vocab)->slots);
    free((*vocab)->by_id);
    free(*vocab);
    *vocab = NULL;
}

static uint64_t hash_of(const char *text, size_t length)
{
    return XXH3_64bits(text, length);
}

/// The slot that holds the string, or the free one where it belongs.
static slot_t *slot_of(const tr_vocab_t *vocab, uint64_t hash, const char *text, size_t length)
{
    size_t mask = vocab->slot_count - 1;
    size_t at = (size_t)hash & mask;
    while (vocab->slots[at].index != 0) {
        const entry_t *entry = &vocab->entries[vocab->slots[at].index - 1];
        if (vocab->slots[at].hash == hash >> 32 && entry->length == length &&
            memcmp(vocab->texts.data + entry->text, text, length) == 0) {
            break;
        }
        // A free slot comes: the table is at most half full.
        at = (at + 1) & mask;
    }
    return &vocab->slots[at];
}

/// Room for ids below size.
static void grow_ids(tr_vocab_t *vocab, size_t size)
{
    // Ids mostly come in ascending order, one larger each.
    if (size <= vocab->size) {
        return;
    }
    if (size > vocab->by_id_capacity) {
        // Doubled: added tokens of a file come with rising ids.
        size_t capacity = size * 2;
        vocab->by_id = tr_realloc(vocab->by_id, capacity * sizeof *vocab->by_id);
        // Ids that no string has are 0: no entry.
        memset(vocab->by_id + vocab->by_id_capacity, 0,
               (capacity - vocab->by_id_capacity) * sizeof *vocab->by_id);
        vocab->by_id_capacity = capacity;
    }
    vocab->size = size;
}

/// The index plus one of a new entry without an id.
static uint32_t new_entry(tr_vocab_t *vocab, const char *text, size_t length)
{
    TR_ASSERT(vocab->count < vocab->limit, "more than %zu strings", vocab->limit);
    vocab->longest = length > vocab->longest ? length : vocab->longest;
    vocab->entries[vocab->count] = (entry_t){vocab->texts.length, (uint32_t)length, -1};
    tr_bytes_append(&vocab->texts, text, length);
    tr_bytes_append(&vocab->texts, "", 1);
    return (uint32_t)++vocab->count;
}

/// By its text, and by its id, what was added last is found.
void tr_vocab_add(tr_vocab_t *vocab, const char *text, size_t length, int32_t id)
{
    // Files' ids have been checked (tokenizer_load.c).
    TR_ASSERT(id >= 0 && id < TR_VOCAB_LIMIT, "id %d", id);
    grow_ids(vocab, (size_t)id + 1);
    uint64_t hash = hash_of(text, length);
    slot_t *slot = slot_of(vocab, hash, text, length);
    if (slot->index == 0) {
        *slot = (slot_t){(uint32_t)(hash >> 32), new_entry(vocab, text, length)};
    }
    vocab->entries[slot->index - 1].id = id;
    // An id that another text had is this text's from now on; the other text still finds the id.
    vocab->by_id[id] = slot->index;
}

/// One hash and, as a rule, one comparison: encoding asks for every character.
int32_t tr_vocab_find(const tr_vocab_t *vocab, const char *text, size_t length)
{
    uint32_t index = slot_of(vocab, hash_of(text, length), text, length)->index;
    return index == 0 ? -1 : vocab->entries[index - 1].id;
}

const char *tr_vocab_text(size_t *length, const tr_vocab_t *vocab, int32_t id)
{
    if (id < 0 || (size_t)id >= vocab->size || vocab->by_id[id] == 0) {
        return NULL;
    }
    const entry_t *entry = &vocab->entries[vocab->by_id[id] - 1];
    if (length != NULL) {
        *length = entry->length;
    }
    return vocab->texts.data + entry->text;
}

size_t tr_vocab_size(const tr_vocab_t *vocab)
{
    return vocab->size;
}

size_t tr_vocab_longest(const tr_vocab_t *vocab)
{
    return vocab->longest;
}
