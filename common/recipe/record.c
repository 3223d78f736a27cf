// A map of the tree into records, by keys: the whole recipe, or an entry of roles.reward.
#include <stdlib.h>
#include <string.h>

#include "common/recipe/parts.h"

typedef struct walk {
    recipe_keys_t *keys;
    recipe_reader_t *reader;
    const char *prefix;
    recipe_unknown_fn unknown;
    void *context;
} walk_t;

static void read_key(const walk_t *walk, recipe_key_t *key, const recipe_node_t *node,
                     const char *path)
{
    if (key->node != NULL) { // under its other name
        recipe_problem(walk->reader, node->line, path,
                       "'%s' and '%s' are the same key, and both are given: keep one", key->name,
                       key->also);
        return;
    }
    key->node = node;
    key->failed = !recipe_value_read(key, walk->reader, node, path);
}

static void report_unknown(const walk_t *walk, const recipe_node_t *node, const char *name,
                           const char *path)
{
    if (walk->unknown != NULL && walk->unknown(walk->context, node, name)) {
        return;
    }
    char *meant = recipe_suggest(walk->keys, name);
    char *whole = meant != NULL ? recipe_join(walk->prefix, meant) : NULL;
    if (whole != NULL) {
        recipe_problem(walk->reader, node->line, path, "unknown key; did you mean '%s'?", whole);
    } else {
        recipe_problem(walk->reader, node->line, path, "unknown key; docs/recipe.md lists them");
    }
    free(whole);
    free(meant);
}

static void read_map(const walk_t *walk, const recipe_node_t *map, const char *section);

static void read_section(const walk_t *walk, const recipe_node_t *node, const char *name,
                         const char *path)
{
    recipe_key_t *brief = recipe_key_brief(walk->keys, name);
    if (node->kind == RECIPE_MAP) {
        read_map(walk, node, name);
    } else if (brief != NULL && node->kind == RECIPE_SCALAR) {
        read_key(walk, brief, node, path);
    } else if (!recipe_node_is_null(node) && node->kind != RECIPE_BROKEN) {
        char *found = recipe_node_describe(node);
        recipe_problem(walk->reader, node->line, path, "expected a section of keys, found %s",
                       found);
        free(found);
    }
}

static void read_child(const walk_t *walk, const recipe_node_t *node, const char *section)
{
    char *name = recipe_join(section, node->key);
    char *path = recipe_join(walk->prefix, name);
    recipe_key_t *key = recipe_key_find(walk->keys, name);
    if (key != NULL) {
        read_key(walk, key, node, path);
    } else if (recipe_is_section(walk->keys, name)) {
        read_section(walk, node, name, path);
    } else {
        report_unknown(walk, node, name, path);
    }
    free(path);
    free(name);
}

static void read_map(const walk_t *walk, const recipe_node_t *map, const char *section)
{
    for (size_t i = 0; i < map->count; i++) {
        read_child(walk, map->children[i], section);
    }
}

void recipe_record_read(recipe_keys_t *keys, recipe_reader_t *reader, const recipe_node_t *map,
                        const char *prefix, recipe_unknown_fn unknown, void *context)
{
    const walk_t walk = {keys, reader, prefix, unknown, context};
    read_map(&walk, map, "");
}
