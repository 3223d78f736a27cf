// One value of the tree into one field, by its key.
//
// Scalars are parsed by common/base/fields_json.c, which also parses defaults and messages; here
// are lists and maps of the tree, and problems with their place. A field changes only when its
// whole value was read.
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/device_name.h"
#include "common/data/source.h"
#include "common/recipe/parts.h"
#include "common/text/chat.h"

/// Where a value is read: for its problems.
typedef struct place {
    recipe_reader_t *reader;
    const recipe_key_t *key;
    const char *path;
} place_t;

static bool unexpected(const place_t *place, const recipe_node_t *node, const char *expected)
{
    return recipe_unexpected(place->reader, node, place->path, expected);
}

/// What the field's table expects, in its own words.
static bool unexpected_value(const place_t *place, const recipe_node_t *node)
{
    char *expected = tr_field_expected(place->key->field);
    unexpected(place, node, expected);
    free(expected);
    return false;
}

/// A number, a truth value, a choice, a text.
static bool read_scalar(const place_t *place, const recipe_node_t *node)
{
    const recipe_key_t *key = place->key;
    return (node->kind == RECIPE_SCALAR &&
            tr_field_parse(key->record, key->field, node->text, node->quoted)) ||
           unexpected_value(place, node);
}

/// Whether a text is a path: a program's name without a slash is found by PATH, and chat templates
/// have names.
static bool is_path(tr_field_names_t names, const char *text)
{
    return names != TR_NAMES_NOTHING && names != TR_NAMES_DEVICE &&
           (names != TR_NAMES_PROGRAM || strchr(text, '/') != NULL) &&
           names != TR_NAMES_VARIABLES && (names != TR_NAMES_TEMPLATE || !tr_chat_is_name(text));
}

/// The text of something that must be there: a path as an absolute one. Owned by the caller (free);
/// NULL after a problem.
static char *read_name(const place_t *place, const recipe_node_t *node)
{
    tr_field_names_t names = place->key->field->names;
    char *text = is_path(names, node->text) ? recipe_path(place->reader, node->line, node->text)
                                            : tr_strdup(node->text);
    if (recipe_disk_check(place->reader, names, text, node->line, place->path)) {
        return text;
    }
    free(text);
    return NULL;
}

/// A text may name something, which must be there.
static bool read_text(const place_t *place, const recipe_node_t *node)
{
    const recipe_key_t *key = place->key;
    // the disk is asked last: a text that the table refuses names nothing
    if (!read_scalar(place, node)) {
        return false;
    }
    if (recipe_node_is_null(node)) {
        return true;
    }
    char *text = read_name(place, node), **value = tr_field_of(key->record, key->field);
    if (text != NULL) {
        free(*value);
        *value = text;
    }
    return text != NULL;
}

/// What the node says, as JSON: maps and lists of values. A new reference.
static json_t *to_json(const recipe_node_t *node)
{
    if (node->kind == RECIPE_SCALAR) {
        return tr_scalar_to_json(node->text, node->quoted);
    }
    json_t *json = node->kind == RECIPE_MAP ? json_object() : json_array();
    for (size_t i = 0; i < node->count; i++) {
        const recipe_node_t *child = node->children[i];
        if (node->kind == RECIPE_MAP) {
            json_object_set_new(json, child->key, to_json(child));
        } else {
            json_array_append_new(json, to_json(child));
        }
    }
    return json;
}

/// A map, or the JSON of one, as a recipe that was written down has it.
static bool read_variables(const place_t *place, const recipe_node_t *node)
{
    char **value = tr_field_of(place->key->record, place->key->field);
    bool null = recipe_node_is_null(node);
    json_t *json = null                          ? NULL
                   : node->kind == RECIPE_SCALAR ? json_loads(node->text, 0, NULL)
                                                 : to_json(node);
    if (!null && !json_is_object(json)) {
        json_decref(json);
        return unexpected_value(place, node);
    }
    free(*value);
    *value = null ? NULL : json_dumps(json, 0);
    json_decref(json);
    return true;
}

// Lists: each item is checked at its own place, so that all problems of a list are reported at
// once. An item is a new reference, NULL after a problem.

/// An argument of a program: where it names a file, that file as an absolute path, so that it is
/// found from any directory. Owned by the caller (free).
static char *read_argument(const place_t *place, const recipe_node_t *node)
{
    char *path = recipe_path(place->reader, node->line, node->text);
    struct stat info;
    if (node->text[0] == '-' || stat(path, &info) != 0 || !S_ISREG(info.st_mode)) {
        free(path);
        return tr_strdup(node->text);
    }
    return path;
}

/// The first text of a program, each text of any other list, names something on the disk.
static json_t *read_named(const place_t *place, const recipe_node_t *node, size_t i)
{
    const tr_field_t *field = place->key->field;
    // arguments of a program may be anything, also empty or "null"
    bool is_argument = field->names == TR_NAMES_PROGRAM && i > 0;
    if (node->kind != RECIPE_SCALAR ||
        (!is_argument && (recipe_node_is_null(node) || node->text[0] == '\0'))) {
        unexpected(place, node, "a text");
        return NULL;
    }
    if (field->names == TR_NAMES_DEVICE && !tr_device_is_name(node->text)) {
        // the list has a sentence of its own; of an item only the names are expected
        unexpected(place, node, TR_DEVICE_NAMES);
        return NULL;
    }
    char *text = is_argument ? read_argument(place, node) : read_name(place, node);
    json_t *item = text != NULL ? json_string_nocheck(text) : NULL;
    free(text);
    return item;
}

/// Of a map of a data file: the same with an absolute path, as a text.
static json_t *read_source_map(const place_t *place, const recipe_node_t *node, json_t *map)
{
    tr_error_t err = {0};
    if (tr_source_check(map, &err) != TR_OK) {
        recipe_problem(place->reader, node->line, place->path, "%s", err.text);
        return NULL;
    }
    char *given, *name;
    const char *key = tr_source_path(&given, map);
    const recipe_node_t path = {.kind = RECIPE_SCALAR, .line = node->line, .text = given};
    name = read_name(place, &path);
    free(given);
    if (name == NULL) {
        return NULL;
    }
    json_object_set_new(map, key, json_string_nocheck(name));
    char *text = json_dumps(map, JSON_COMPACT);
    json_t *item = json_string_nocheck(text);
    free(text);
    free(name);
    return item;
}

/// A data file: a path, a map, or the JSON of one, as a recipe that was written down has it.
static json_t *read_source(const place_t *place, const recipe_node_t *node)
{
    json_t *map = node->kind == RECIPE_MAP      ? to_json(node)
                  : node->kind == RECIPE_SCALAR ? tr_source_map(node->text)
                                                : NULL;
    json_t *item = map != NULL ? read_source_map(place, node, map) : NULL;
    bool is_map = map != NULL;
    json_decref(map);
    return is_map ? item : read_named(place, node, 0);
}

/// A name that no earlier item has.
static json_t *read_choice(const place_t *place, const recipe_node_t *node, const json_t *earlier)
{
    if (node->kind != RECIPE_SCALAR || tr_field_choice_index(place->key->field, node->text) < 0) {
        unexpected_value(place, node);
        return NULL;
    }
    for (size_t i = 0; i < json_array_size(earlier); i++) {
        if (strcmp(json_string_value(json_array_get(earlier, i)), node->text) == 0) {
            recipe_problem(place->reader, node->line, place->path,
                           "expected each once, found '%s' twice", node->text);
            return NULL;
        }
    }
    return json_string(node->text);
}

/// A number, such as a loss's weight or a word's, which may be negative. ids: a token id, which is
/// whole and not above INT32_MAX; whether the model knows it is found later.
static json_t *read_number(const place_t *place, const recipe_node_t *node, bool ids)
{
    json_t *number =
        // NULL is no number either: the tests below refuse it
        node->kind == RECIPE_SCALAR ? tr_scalar_to_json(node->text, node->quoted) : NULL;
    if (ids ? json_is_integer(number) && json_integer_value(number) <= INT32_MAX
            : json_is_number(number)) {
        return number;
    }
    json_decref(number);
    unexpected(place, node, ids ? "a token id" : "a number");
    return NULL;
}

/// A key of the map, and its weight.
static json_t *read_word(const place_t *place, const recipe_node_t *node)
{
    enum { WORD_LIMIT = 200 }; // bytes; so that a printed one is a YAML key in any case
    size_t length = strlen(node->key);
    if (length == 0 || length > WORD_LIMIT) {
        recipe_problem(place->reader, node->line, place->path,
                       "expected a word of 1 to %d bytes, found one of %zu", WORD_LIMIT, length);
        return NULL;
    }
    // the place of a problem ends with the word
    json_t *weight = read_number(place, node, false);
    return weight == NULL ? NULL : json_pack("[s, o]", node->key, weight);
}

/// Item i, behind the earlier ones.
static json_t *read_item(const place_t *place, const recipe_node_t *node, size_t i,
                         const json_t *earlier)
{
    switch (place->key->field->kind) {
    case TR_FIELD_TEXTS:
        return place->key->field->names == TR_NAMES_ROWS ? read_source(place, node)
                                                         : read_named(place, node, i);
    case TR_FIELD_CHOICES: return read_choice(place, node, earlier);
    case TR_FIELD_WORDS: return read_word(place, node);
    default: return read_number(place, node, place->key->field->kind == TR_FIELD_IDS);
    }
}

/// The items of a list or of a map of words. NULL after a problem with any of them.
static json_t *read_items(const place_t *place, const recipe_node_t *node)
{
    json_t *items = json_array();
    size_t bad = 0;
    for (size_t i = 0; i < node->count; i++) {
        // an item has its index or its word in its place: "data.train.0"
        char *path = node->kind == RECIPE_MAP ? recipe_join(place->path, node->children[i]->key)
                                              : tr_format("%s.%zu", place->path, i);
        const place_t at = {place->reader, place->key, path};
        json_t *item = read_item(&at, node->children[i], i, items);
        // after a bad item the rest is still read, for its problems
        bad += item == NULL || json_array_append_new(items, item) != 0;
        free(path);
    }
    if (bad > 0) {
        json_decref(items);
        return NULL;
    }
    return items;
}

/// A list, or a map of words; null is an empty one. A text or choice alone is a list of one; but a
/// program must be a list also without arguments: a command line is not split into words.
static bool read_list(const place_t *place, const recipe_node_t *node)
{
    // quotes make a text of the words for null, so `""` is an item, and a refused one
    const tr_field_t *field = place->key->field;
    bool null = recipe_node_is_null(node);
    bool alone = !null && node->kind == RECIPE_SCALAR &&
                 (field->kind == TR_FIELD_CHOICES ||
                  (field->kind == TR_FIELD_TEXTS && field->names != TR_NAMES_PROGRAM));
    if (!null && !alone &&
        node->kind != (field->kind == TR_FIELD_WORDS ? RECIPE_MAP : RECIPE_LIST)) {
        return unexpected_value(place, node);
    }
    json_t *items = alone ? read_item(place, node, 0, NULL) : read_items(place, node);
    if (items == NULL) {
        return false;
    }
    // "[o]" takes the item
    json_t *list = alone ? json_pack("[o]", items) : items;
    // what is refused now is too long, or an empty list of choices
    bool taken = tr_field_take(place->key->record, field, list);
    json_decref(list);
    return taken || unexpected_value(place, node);
}

bool recipe_value_read(const recipe_key_t *key, recipe_reader_t *reader, const recipe_node_t *node,
                       const char *path)
{
    const place_t place = {reader, key, path};
    switch (key->field->kind) {
        // only texts and lists of them name things of the disk
    case TR_FIELD_TEXT:
        return key->field->names == TR_NAMES_VARIABLES ? read_variables(&place, node)
                                                       : read_text(&place, node);
    case TR_FIELD_WHOLE:
    case TR_FIELD_REAL:
    case TR_FIELD_BOOL:
    case TR_FIELD_CHOICE: return read_scalar(&place, node);
    case TR_FIELD_CHOICES:
    case TR_FIELD_TEXTS:
    case TR_FIELD_REALS:
    case TR_FIELD_IDS:
    case TR_FIELD_WORDS: return read_list(&place, node);
    // judges.c reads a whole list at once, because names must differ among entries
    case TR_FIELD_JUDGES:
        return recipe_judges_read(tr_field_of(key->record, key->field), reader, node, path);
    }
    return false;
}
