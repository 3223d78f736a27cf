// A map of the tree into records, by keys: the whole recipe, or an entry of roles.reward.
//
// It decides what each name means (a key, a section, or neither); value.c reads the value. Apart
// from recipe.c because judges.c reads its entries the same way, with other keys.
#include <stdlib.h>
#include <string.h>

#include "common/recipe/parts.h"

/// What stays the same while maps within maps are read.
typedef struct reading {
    recipe_keys_t *keys;
    recipe_reader_t *reader;
    const char *map; // the name of the whole map
    recipe_unknown_fn unknown;
    void *context;
} reading_t;

/// One value, of a key that is known.
static void read_key(const reading_t *reading, recipe_key_t *key, const recipe_node_t *node,
                     const char *path)
{
    // a key with two names (TRL's and ours) may be given by one of them only
    if (key->node != NULL) { // under its other name
        recipe_problem(reading->reader, node->line, path,
                       "'%s' and '%s' are the same key, and both are given: keep one", key->name,
                       key->also);
        return;
    }
    // kept also when the value is refused: the key is given, and checks ask where
    key->node = node;
    key->failed = !recipe_value_read(key, reading->reader, node, path);
}

static void report_unknown(const reading_t *reading, const recipe_node_t *node, const char *name)
{
    // the caller may know the name: a key of another kind of judge
    if (reading->unknown != NULL && reading->unknown(reading->context, node, name)) {
        return;
    }
    // a guess is offered, never taken: the value may be meant for another key
    char *meant = recipe_suggest(reading->keys, reading->map, name);
    if (meant != NULL) {
        recipe_problem(reading->reader, node->line, name, "unknown key; did you mean '%s'?", meant);
    } else {
        recipe_problem(reading->reader, node->line, name,
                       "unknown key; docs/recipe.md lists them, docs/from-trl.md those of TRL");
    }
    free(meant);
}

static void read_map(const reading_t *reading, const recipe_node_t *map, const char *section);

/// A section is a map; where it has a brief key, a scalar stands for that key.
static void read_section(const reading_t *reading, const recipe_node_t *node, const char *name)
{
    recipe_key_t *brief = recipe_key_brief(reading->keys, name);
    if (node->kind == RECIPE_MAP) {
        read_map(reading, node, name);
    } else if (brief != NULL && node->kind == RECIPE_SCALAR) {
        read_key(reading, brief, node, name);
    } else if (!recipe_node_is_null(node)) {
        recipe_unexpected(reading->reader, node, name, "a section of keys");
    }
}

/// In the file's order, so that problems about one name are, too. A name is a key, else a section,
/// else unknown.
static void read_map(const reading_t *reading, const recipe_node_t *map, const char *section)
{
    for (size_t i = 0; i < map->count; i++) {
        const recipe_node_t *node = map->children[i];
        char *name = recipe_join(section, node->key);
        recipe_key_t *key = recipe_key_find(reading->keys, name);
        if (key != NULL) {
            read_key(reading, key, node, name);
        } else if (recipe_is_section(reading->keys, name)) {
            read_section(reading, node, name);
        } else {
            report_unknown(reading, node, name);
        }
        free(name);
    }
}

void recipe_record_read(recipe_keys_t *keys, recipe_reader_t *reader, const recipe_node_t *map,
                        const char *name, recipe_unknown_fn unknown, void *context)
{
    const reading_t reading = {keys, reader, name, unknown, context};
    read_map(&reading, map, name);
}
