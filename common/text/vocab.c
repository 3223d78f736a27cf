// A vocabulary: entries in the order of adding, found by their text (a hash table of indices) and
// by their id (an array of indices). Texts may hold NUL bytes, so lengths go with them.
#include "common/text/vocab.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/base/status.h"

typedef struct entry {
    char *text;
    size_t length;
    int32_t id;
} entry_t;

struct tr_vocab {
    entry_t *entries; // [count] of [limit], in the order of adding
    size_t count;
    size_t limit;
    size_t longest;    // bytes of the longest text
    uint32_t *slots;   // [slot_count], an entry's index plus one; 0 is free; open addressing
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
    for (size_t i = 0; i < (*vocab)->count; i++) {
        free((*vocab)->entries[i].text);
    }
    free((*vocab)->entries);
    free((*vocab)->slots);
    free((*vocab)->by_id);
    free(*vocab);
    *vocab = NULL;
}

/// The slot that holds the string, or the free one where it belongs.
static size_t slot_of(const tr_vocab_t *vocab, const char *text, size_t length)
{
    size_t mask = vocab->slot_count - 1;
    size_t slot = (size_t)XXH3_64bits(text, length) & mask;
    while (vocab->slots[slot] != 0) {
        // Slots hold indices plus one, so that zeroed memory is an empty table.
        const entry_t *entry = &vocab->entries[vocab->slots[slot] - 1];
        if (entry->length == length && memcmp(entry->text, text, length) == 0) {
            break;
        }
        // A free slot comes: the table is at most half full.
        slot = (slot + 1) & mask;
    }
    return slot;
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
    // The JSON that the text comes from is freed after loading.
    char *copy = tr_alloc(length + 1);
    memcpy(copy, text, length);
    copy[length] = '\0';
    vocab->longest = length > vocab->longest ? length : vocab->longest;
    vocab->entries[vocab->count] = (entry_t){copy, length, -1};
    return (uint32_t)++vocab->count;
}

/// By its text, and by its id, what was added last is found.
void tr_vocab_add(tr_vocab_t *vocab, const char *text, size_t length, int32_t id)
{
    // Files' ids have been checked (tokenizer_load.c).
    TR_ASSERT(id >= 0 && id < TR_VOCAB_LIMIT, "id %d", id);
    grow_ids(vocab, (size_t)id + 1);
    size_t slot = slot_of(vocab, text, length);
    if (vocab->slots[slot] == 0) {
        vocab->slots[slot] = new_entry(vocab, text, length);
    }
    vocab->entries[vocab->slots[slot] - 1].id = id;
    // An id that another text had is this text's from now on; the other text still finds the id.
    vocab->by_id[id] = vocab->slots[slot];
}

/// One hash and, as a rule, one comparison: encoding asks for every character.
int32_t tr_vocab_find(const tr_vocab_t *vocab, const char *text, size_t length)
{
    uint32_t index = vocab->slots[slot_of(vocab, text, length)];
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
    return entry->text;
}

size_t tr_vocab_size(const tr_vocab_t *vocab)
{
    return vocab->size;
}

size_t tr_vocab_longest(const tr_vocab_t *vocab)
{
    return vocab->longest;
}
