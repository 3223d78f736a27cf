// Blocks of doubling use: a rendering makes many small values and keeps them all until it ends.
#include "common/text/jinja/memory.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/status.h"

enum { BLOCK = 1 << 14, ALIGNMENT = 16 };

struct jinja_block {
    jinja_block_t *next;
    size_t used, size;
    _Alignas(ALIGNMENT) char data[];
};

void *jinja_alloc(jinja_memory_t *memory, size_t bytes)
{
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    jinja_block_t *block = memory->blocks;
    if (block == NULL || block->size - block->used < bytes) {
        size_t size = bytes > BLOCK ? bytes : BLOCK;
        block = tr_calloc(1, sizeof *block + size);
        block->size = size;
        block->next = memory->blocks;
        memory->blocks = block;
    }
    void *piece = block->data + block->used;
    block->used += bytes;
    memory->used += bytes;
    return piece;
}

void *jinja_grow(jinja_memory_t *memory, void *items, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity) {
        return items;
    }
    *capacity = *capacity == 0 ? 4 : *capacity * 2;
    void *longer = jinja_alloc(memory, *capacity * size);
    if (count > 0) {
        memcpy(longer, items, count * size);
    }
    return longer;
}

void jinja_memory_release(jinja_memory_t *memory)
{
    while (memory->blocks != NULL) {
        jinja_block_t *next = memory->blocks->next;
        free(memory->blocks);
        memory->blocks = next;
    }
    memory->used = 0;
}
