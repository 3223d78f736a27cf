/// Memory of a template or of one rendering: given out in pieces, freed at once.
#ifndef TR_TEXT_JINJA_MEMORY_H
#define TR_TEXT_JINJA_MEMORY_H

#include <stddef.h>

typedef struct jinja_block jinja_block_t;

/// {0} is empty; release frees all that was given out.
typedef struct jinja_memory {
    jinja_block_t *blocks;
    size_t used; ///< bytes given out
} jinja_memory_t;

/// Zeroed and aligned for any type; never NULL.
void *jinja_alloc(jinja_memory_t *memory, size_t bytes);
void jinja_memory_release(jinja_memory_t *memory);

/// Room for one item more in an array of the memory: the array itself, or a longer copy of it.
/// count: how many items it has; *capacity: for how many there is room.
void *jinja_grow(jinja_memory_t *memory, void *items, size_t count, size_t *capacity, size_t size);

#endif
