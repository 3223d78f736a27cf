// The tree of a recipe: what was written, with its lines, before anybody asks what it means.
//
// A tree of our own rather than libyaml's document, because values from the command line are put
// over it (override.c) and because each node keeps its line for problems. parse.c builds it,
// record.c reads it.
#include <stdlib.h>
#include <string.h>

#include "common/recipe/parts.h"

/// Everything else is zero: no key, no text, no children.
recipe_node_t *recipe_node_new(recipe_node_kind_t kind, size_t line)
{
    recipe_node_t *node = tr_calloc(1, sizeof *node);
    node->kind = kind;
    node->line = line;
    return node;
}

/// Frees what the node holds, save for its key.
static void empty(recipe_node_t *node)
{
    for (size_t i = 0; i < node->count; i++) {
        recipe_node_destroy(&node->children[i]);
    }
    free(node->children);
    free(node->text);
}

void recipe_node_destroy(recipe_node_t **node)
{
    if (*node == NULL) {
        return;
    }
    empty(*node);
    free((*node)->key);
    free(*node);
    *node = NULL;
}

/// Takes *child. Capacity doubles, so that a long list is built in linear time.
void recipe_node_add(recipe_node_t *parent, recipe_node_t **child)
{
    if (parent->count == parent->capacity) {
        parent->capacity = parent->capacity == 0 ? 8 : parent->capacity * 2;
        parent->children = tr_realloc(parent->children, parent->capacity * sizeof(recipe_node_t *));
    }
    parent->children[parent->count++] = *child;
    *child = NULL;
}

/// The key need not end with a NUL: override.c passes a part of a dotted path.
recipe_node_t *recipe_node_find(const recipe_node_t *map, const char *key, size_t length)
{
    // linear: a section has a dozen keys
    for (size_t i = 0; i < map->count; i++) {
        const char *name = map->children[i]->key;
        if (strncmp(name, key, length) == 0 && name[length] == '\0') {
            return map->children[i];
        }
    }
    return NULL;
}

/// The node's address and key stay, its content is exchanged: parents need not know.
void recipe_node_replace(recipe_node_t *node, recipe_node_t **value)
{
    char *key = node->key;
    empty(node);
    // the key of the new value, if any, is that of another place
    free((*value)->key);
    *node = **value;
    node->key = key;
    free(*value);
    *value = NULL;
}

/// In quotes the words for null are texts.
bool recipe_node_is_null(const recipe_node_t *node)
{
    return node->kind == RECIPE_SCALAR && !node->quoted && tr_is_null_word(node->text);
}

char *recipe_quote(const char *text)
{
    // enough to recognise the value; a sentence has room for about ten of these
    enum { SHOWN = 60 };
    char copy[SHOWN + 1];
    size_t length = 0;
    for (; length < SHOWN && text[length] != '\0'; length++) {
        copy[length] = text[length];
    }
    bool whole = text[length] == '\0';
    // cut between characters: a byte 10xxxxxx continues one
    while (!whole && length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80) {
        length--; // not within a character
    }
    copy[length] = '\0';
    // the dots stand within the quotes: there the text goes on
    return tr_format("'%s%s'", copy, whole ? "" : "...");
}

/// Null first: it is a scalar too. An empty list is often what was not expected, so it is told
/// apart. A scalar is shown as it was written, not as what it means.
char *recipe_node_describe(const recipe_node_t *node)
{
    if (recipe_node_is_null(node)) {
        return tr_strdup(node->text[0] == '\0' ? "nothing" : "null");
    }
    switch (node->kind) {
    case RECIPE_LIST: return tr_strdup(node->count == 0 ? "an empty list" : "a list");
    case RECIPE_MAP: return tr_strdup("a section of keys");
    case RECIPE_SCALAR: return recipe_quote(node->text);
    default: return tr_strdup("what cannot be read");
    }
}

char *recipe_join(const char *parent, const char *key)
{
    return parent[0] == '\0' ? tr_strdup(key) : tr_format("%s.%s", parent, key);
}
