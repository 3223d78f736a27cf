// A map of the tree into a record, by a table: the recipe, or a judge.
#include <stdlib.h>
#include <string.h>

#include "common/base/recipe_parts.h"

typedef struct walk {
    recipe_found_t *found; // [table->count]
    void *record;
    recipe_reader_t *reader;
    const recipe_table_t *table;
    const char *prefix;
} walk_t;

/// Lists and words are empty as they are.
static bool has_default(const recipe_key_t *key)
{
    return key->initial != NULL && key->initial[0] != '[' && key->initial[0] != '{';
}

void recipe_record_init(void *record, const recipe_table_t *table)
{
    recipe_reader_t reader = {.source = "defaults"};
    for (size_t i = 0; i < table->count; i++) {
        const recipe_key_t *key = &table->keys[i];
        if (has_default(key)) {
            recipe_node_t *node = recipe_node_new(RECIPE_SCALAR, 1);
            node->text = tr_strdup(key->initial);
            bool read = recipe_value_read(recipe_field(record, key), &reader, key, node, key->name);
            TR_ASSERT(read, "the default of '%s' is not what it expects", key->name);
            recipe_node_destroy(&node);
        }
    }
}

void recipe_record_release(void *record, const recipe_table_t *table)
{
    for (size_t i = 0; i < table->count; i++) {
        recipe_value_release(recipe_field(record, &table->keys[i]), table->keys[i].kind);
    }
}

static void read_key(const walk_t *walk, const recipe_key_t *key, const recipe_node_t *node,
                     const char *path)
{
    recipe_found_t *found = &walk->found[key - walk->table->keys];
    if (found->node != NULL) { // under its other name
        recipe_problem(walk->reader, node->line, path,
                       "'%s' and '%s' are the same key, and both are given: keep one", key->name,
                       key->also);
        return;
    }
    found->node = node;
    found->failed =
        !recipe_value_read(recipe_field(walk->record, key), walk->reader, key, node, path);
}

static void report_unknown(const walk_t *walk, const recipe_node_t *node, const char *name,
                           const char *path)
{
    char *meant = recipe_suggest(walk->table, name);
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
    const recipe_key_t *brief = recipe_key_brief(walk->table, name);
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
    const recipe_key_t *key = recipe_key_find(walk->table, name);
    if (key != NULL) {
        read_key(walk, key, node, path);
    } else if (recipe_is_section(walk->table, name)) {
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

void recipe_record_read(recipe_found_t *found, void *record, recipe_reader_t *reader,
                        const recipe_table_t *table, const recipe_node_t *map, const char *prefix)
{
    walk_t walk = {found, record, reader, table, prefix};
    memset(found, 0, table->count * sizeof *found);
    read_map(&walk, map, "");
}
