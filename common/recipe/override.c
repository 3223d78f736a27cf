// `dotted.key=value` from the command line, put over the tree of the file.
//
// It works on the tree, not on the record, so that a value from the command line goes through the
// same reading and the same checks as one from the file; only its place is "command line".
#include <stdlib.h>
#include <string.h>

#include "common/recipe/parts.h"

/// The length of the key before '='; 0 unless there are letters, digits, '_', '-' and '.' only.
static size_t key_length(const char *override)
{
    size_t length = strspn(override, RECIPE_LETTERS "0123456789_-.");
    bool usable = override[length] == '=';
    // "a..b", ".a" and "a." are refused
    for (size_t i = 0; i < length; i++) { // no segment is empty
        usable =
            usable && (override[i] != '.' || (i > 0 && i + 1 < length && override[i + 1] != '.'));
    }
    return usable ? length : 0;
}

/// Entry `segment` of a list: roles.reward.0.weight. A list is not extended this way.
static recipe_node_t *item(recipe_reader_t *reader, const recipe_node_t *list, const char *segment,
                           size_t length, const char *path)
{
    size_t index = 0;
    // four digits cannot overflow, and no list has more entries
    bool number = length > 0 && length <= 4;
    for (size_t i = 0; number && i < length; i++) {
        number = segment[i] >= '0' && segment[i] <= '9';
        index = index * 10 + (size_t)(segment[i] - '0');
    }
    // an entry can be changed, not added: what its other keys were to be is not said
    if (number && index < list->count) {
        return list->children[index];
    }
    recipe_problem(reader, RECIPE_COMMAND_LINE, path,
                   "'%.*s' is no entry of a list of %zu; entries count from 0",
                   (int)(length < 60 ? length : 60), segment, list->count);
    return NULL;
}

/// A null, to be replaced by the value or turned into a map by enter.
static recipe_node_t *new_child(recipe_node_t *map, const char *segment, size_t length)
{
    recipe_node_t *child = recipe_node_new(RECIPE_SCALAR, RECIPE_COMMAND_LINE);
    recipe_node_t *added = child;
    child->text = tr_strdup("");
    // its place in the map is the end; order matters for problems alone
    child->key = tr_format("%.*s", (int)length, segment);
    recipe_node_add(map, &child);
    return added;
}

/// The node that segment names in parent, made if need be. NULL after a problem.
static recipe_node_t *enter(recipe_reader_t *reader, recipe_node_t *parent, const char *segment,
                            size_t length, const char *path)
{
    // `roles:` without a value in the file is a section without keys
    if (recipe_node_is_null(parent)) {
        recipe_node_t *map = recipe_node_new(RECIPE_MAP, RECIPE_COMMAND_LINE);
        recipe_node_replace(parent, &map);
    }
    if (parent->kind == RECIPE_LIST) {
        return item(reader, parent, segment, length, path);
    }
    if (parent->kind != RECIPE_MAP) {
        recipe_problem(reader, RECIPE_COMMAND_LINE, path,
                       "unknown key: it would lie within a single value");
        return NULL;
    }
    recipe_node_t *child = recipe_node_find(parent, segment, length);
    return child != NULL ? child : new_child(parent, segment, length);
}

/// Walks the path from the root. reader: gets problems, and sections that are not there are made;
/// NULL: nothing is made, and only keys of maps are found.
static recipe_node_t *reach(recipe_reader_t *reader, recipe_node_t *root, const char *path)
{
    recipe_node_t *node = root;
    for (const char *segment = path; node != NULL;) {
        size_t length = strcspn(segment, ".");
        if (reader != NULL) {
            node = enter(reader, node, segment, length, path);
        } else {
            node = node->kind == RECIPE_MAP ? recipe_node_find(node, segment, length) : NULL;
        }
        if (segment[length] == '\0') {
            return node;
        }
        segment += length + 1;
    }
    return NULL;
}

/// A key of two names goes under the one that the tree has, so that one replaces the other. Owned
/// by the caller.
static char *spelling(recipe_node_t *root, const char *path)
{
    recipe_keys_t keys;
    recipe_keys_init(&keys, NULL);
    // keys within a list (roles.reward.0.weight) are not found here: none has two names
    const recipe_key_t *key = recipe_key_find(&keys, path);
    const char *found = path;
    if (key != NULL && key->also != NULL) {
        found = reach(NULL, root, key->also) != NULL ? key->also : key->name;
    }
    char *copy = tr_strdup(found);
    recipe_keys_release(&keys);
    return copy;
}

tr_status recipe_override(recipe_reader_t *reader, recipe_node_t *root, const char *override)
{
    size_t length = key_length(override);
    // later overrides are read all the same: all mistakes are reported at once
    if (length == 0) {
        char *found = recipe_quote(override);
        recipe_problem(reader, RECIPE_COMMAND_LINE, NULL, "expected dotted.key=value, found %s",
                       found);
        free(found);
        return TR_ERR_ARGUMENT;
    }
    // divided at the first '=': a key has none, a value may
    char *path = tr_format("%.*s", (int)length, override);
    const char *text = override + length + 1;
    // the value is a YAML document of its own: lists and maps need no other syntax
    recipe_node_t *value;
    tr_status status = recipe_parse(&value, reader, text, strlen(text), RECIPE_COMMAND_LINE, path);
    if (status == TR_OK) {
        char *name = spelling(root, path);
        recipe_node_t *node = reach(reader, root, name);
        free(name);
        // NULL: reach has reported why
        if (node != NULL) {
            recipe_node_replace(node, &value);
        }
    }
    // NULL where it was put into the tree
    recipe_node_destroy(&value);
    free(path);
    return status;
}
