// One value of the tree into one field, by its key.
//
// Scalars are parsed by common/base/fields.c, which also parses defaults and messages; here are
// lists and maps of the tree, and problems with their place. A field changes only when its whole
// value was read.
#include <stdlib.h>
#include <string.h>

#include "common/base/device_name.h"
#include "common/recipe/parts.h"

/// Where a value is read: for its problems.
typedef struct place {
    recipe_reader_t *reader;
    const recipe_key_t *key;
    const char *path;
} place_t;

/// Reports and returns false, for `return unexpected(...)`. A broken node was reported before.
static bool unexpected(const place_t *place, const recipe_node_t *node, const char *expected)
{
    if (node->kind != RECIPE_BROKEN) {
        char *found = recipe_node_describe(node);
        recipe_problem(place->reader, node->line, place->path, "expected %s, found %s", expected,
                       found);
        free(found);
    }
    return false;
}

/// What the field's table expects, in its own words.
static bool unexpected_value(const place_t *place, const recipe_node_t *node)
{
    char *expected = tr_field_expected(place->key->field);
    unexpected(place, node, expected);
    free(expected);
    return false;
}

/// A number in quotes is a text.
static bool is_plain(const recipe_node_t *node)
{
    return node->kind == RECIPE_SCALAR && !node->quoted;
}

/// A number, a truth value, a choice.
static bool read_scalar(const place_t *place, const recipe_node_t *node)
{
    const recipe_key_t *key = place->key;
    return (node->kind == RECIPE_SCALAR &&
            tr_field_parse(key->record, key->field, node->text, node->quoted)) ||
           unexpected_value(place, node);
}

/// Whether the text is the name of a device, where it has to be.
static bool is_named(const place_t *place, const char *text)
{
    return place->key->field->names != TR_NAMES_DEVICE || tr_device_is_name(text);
}

/// A text that is not empty, and names something that is there.
static bool read_text(const place_t *place, const recipe_node_t *node)
{
    const tr_field_t *field = place->key->field;
    // the disk is asked only about a text that could be a name; read_scalar reports the others
    bool null = field->nullable && recipe_node_is_null(node);
    return (null || node->kind != RECIPE_SCALAR || recipe_node_is_null(node) ||
            node->text[0] == '\0' || !is_named(place, node->text) ||
            recipe_disk_check(place->reader, field->names, node->text, node->line, place->path)) &&
           read_scalar(place, node);
}

// Lists

static bool is_empty(const recipe_node_t *node, recipe_node_kind_t kind)
{
    return recipe_node_is_null(node) || (node->kind == kind && node->count == 0);
}

/// The place of item i of the list at place. path: owned by the caller.
static place_t item_place(char **path, const place_t *place, size_t i)
{
    *path = tr_format("%s.%zu", place->path, i);
    return (place_t){place->reader, place->key, *path};
}

/// The first text of a program, each text of any other list, names something on the disk.
static bool check_item(const place_t *place, const recipe_node_t *node, size_t i)
{
    // arguments of a program may be anything, also empty or "null"
    bool is_argument = place->key->field->names == TR_NAMES_PROGRAM && i > 0;
    if (node->kind != RECIPE_SCALAR || (recipe_node_is_null(node) && !is_argument) ||
        (node->text[0] == '\0' && !is_argument)) {
        return unexpected(place, node, "a text");
    }
    if (!is_named(place, node->text)) {
        return unexpected(place, node, TR_DEVICE_NAMES);
    }
    return is_argument || recipe_disk_check(place->reader, place->key->field->names, node->text,
                                            node->line, place->path);
}

/// All items are checked, so that all problems of a list are reported at once.
static bool check_items(const place_t *place, const recipe_node_t *list)
{
    bool usable = true;
    for (size_t i = 0; i < list->count; i++) {
        char *path;
        place_t at = item_place(&path, place, i);
        usable = check_item(&at, list->children[i], i) && usable;
        free(path);
    }
    return usable;
}

/// The default's texts, before the new ones take their place.
static void release_texts(tr_texts_t *texts)
{
    for (size_t i = 0; i < texts->count; i++) {
        free(texts->items[i]);
    }
    free(texts->items);
    *texts = (tr_texts_t){0};
}

/// A text alone is a list of one.
static bool read_texts(const place_t *place, const recipe_node_t *node)
{
    tr_texts_t *field = tr_field_of(place->key->record, place->key->field);
    // a program without arguments must be a list all the same: a command line is not split into
    // words
    bool single = node->kind == RECIPE_SCALAR && place->key->field->names != TR_NAMES_PROGRAM;
    if (is_empty(node, RECIPE_LIST)) {
        release_texts(field);
        return true;
    }
    if (!single && node->kind != RECIPE_LIST) {
        return unexpected_value(place, node);
    }
    // checked first, copied after: the field keeps its value when any item is refused
    if (single ? !check_item(place, node, 0) : !check_items(place, node)) {
        return false;
    }
    release_texts(field);
    field->count = single ? 1 : node->count;
    field->items = tr_calloc(field->count, sizeof *field->items);
    for (size_t i = 0; i < field->count; i++) {
        field->items[i] = tr_strdup(single ? node->text : node->children[i]->text);
    }
    return true;
}

/// A list, whose item i read_item reads; a scalar alone, where `single`, is a list of one. most:
/// items.
static bool read_items(const place_t *place, const recipe_node_t *node, bool single, size_t most,
                       bool (*read_item)(void *list, const place_t *, const recipe_node_t *),
                       void *list)
{
    if (is_empty(node, RECIPE_LIST)) {
        return true;
    }
    if (single && node->kind == RECIPE_SCALAR) {
        return read_item(list, place, node);
    }
    if (node->kind != RECIPE_LIST || node->count > most) {
        return unexpected_value(place, node);
    }
    bool usable = true;
    for (size_t i = 0; i < node->count; i++) {
        char *path;
        place_t at = item_place(&path, place, i);
        usable = read_item(list, &at, node->children[i]) && usable;
        free(path);
    }
    return usable;
}

static bool read_real(void *list, const place_t *place, const recipe_node_t *node)
{
    tr_reals_t *reals = list;
    return (is_plain(node) && tr_real_parse(&reals->items[reals->count++], node->text)) ||
           unexpected(place, node, "a number");
}

/// A list of numbers, such as loss_weights; as long as choices may be.
static bool read_reals(const place_t *place, const recipe_node_t *node)
{
    tr_reals_t reals = {0};
    // into a copy: the field keeps its value when an item is refused
    bool usable = read_items(place, node, false, TR_CHOICES_LIMIT, read_real, &reals);
    if (usable) {
        *(tr_reals_t *)tr_field_of(place->key->record, place->key->field) = reals;
    }
    return usable;
}

/// A choice's index is the value of its enum; an item twice is refused.
static bool read_choice(void *list, const place_t *place, const recipe_node_t *node)
{
    tr_choices_t *choices = list;
    int index =
        node->kind == RECIPE_SCALAR ? tr_field_choice_index(place->key->field, node->text) : -1;
    if (index < 0) {
        return unexpected_value(place, node);
    }
    if (tr_choices_has(choices, index)) {
        recipe_problem(place->reader, node->line, place->path,
                       "expected each once, found '%s' twice", node->text);
        return false;
    }
    choices->items[choices->count++] = index;
    return true;
}

/// At least one.
static bool read_choices(const place_t *place, const recipe_node_t *node)
{
    tr_choices_t choices = {0};
    bool usable = read_items(place, node, true, TR_CHOICES_LIMIT, read_choice, &choices);
    if (usable && choices.count == 0) {
        return unexpected_value(place, node);
    }
    if (usable) {
        *(tr_choices_t *)tr_field_of(place->key->record, place->key->field) = choices;
    }
    return usable;
}

/// A token id: whole, and not above INT32_MAX; whether the model knows it is found later.
static bool read_id(void *list, const place_t *place, const recipe_node_t *node)
{
    tr_token_ids_t *ids = list;
    uint64_t value;
    if (!is_plain(node) || !tr_whole_parse(&value, node->text) || value > INT32_MAX) {
        return unexpected(place, node, "a token id");
    }
    ids->items[ids->count++] = (int32_t)value;
    return true;
}

static bool read_ids(const place_t *place, const recipe_node_t *node)
{
    // the node's count bounds the list
    tr_token_ids_t ids = {.items = tr_calloc(node->count + 1, sizeof *ids.items)};
    bool usable = read_items(place, node, false, SIZE_MAX, read_id, &ids);
    if (!usable) {
        free(ids.items);
        return false;
    }
    *(tr_token_ids_t *)tr_field_of(place->key->record, place->key->field) = ids;
    return true;
}

static bool read_word(tr_word_weight_t *item, const place_t *place, const recipe_node_t *node)
{
    enum { WORD_LIMIT = 200 }; // bytes; so that a printed one is a YAML key in any case
    size_t length = strlen(node->key);
    if (length == 0 || length > WORD_LIMIT) {
        recipe_problem(place->reader, node->line, place->path,
                       "expected a word of 1 to %d bytes, found one of %zu", WORD_LIMIT, length);
        return false;
    }
    // the weight of a word, which may be negative
    if (!is_plain(node) || !tr_real_parse(&item->weight, node->text)) {
        return unexpected(place, node, "a number");
    }
    item->word = tr_strdup(node->key);
    return true;
}

/// After a problem with one of them.
static void release_words(tr_words_t *words)
{
    for (size_t i = 0; i < words->count; i++) {
        free(words->items[i].word);
    }
    free(words->items);
    *words = (tr_words_t){0};
}

/// Words and weights; the map replaces the default's as a whole.
static bool read_words(const place_t *place, const recipe_node_t *node)
{
    tr_words_t *field = tr_field_of(place->key->record, place->key->field);
    if (is_empty(node, RECIPE_MAP)) {
        return true;
    }
    if (node->kind != RECIPE_MAP) {
        return unexpected_value(place, node);
    }
    tr_words_t words = {tr_calloc(node->count, sizeof *words.items), node->count};
    bool usable = true;
    for (size_t i = 0; i < node->count; i++) {
        char *path = recipe_join(place->path, node->children[i]->key);
        place_t at = {place->reader, place->key, path};
        usable = read_word(&words.items[i], &at, node->children[i]) && usable;
        free(path);
    }
    if (!usable) {
        release_words(&words);
        return false;
    }
    *field = words;
    return true;
}

bool recipe_value_read(const recipe_key_t *key, recipe_reader_t *reader, const recipe_node_t *node,
                       const char *path)
{
    const place_t place = {reader, key, path};
    switch (key->field->kind) {
    case TR_FIELD_TEXT: return read_text(&place, node);
    case TR_FIELD_WHOLE:
    case TR_FIELD_REAL:
    case TR_FIELD_BOOL:
    case TR_FIELD_CHOICE: return read_scalar(&place, node);
    case TR_FIELD_CHOICES: return read_choices(&place, node);
    case TR_FIELD_TEXTS: return read_texts(&place, node);
    case TR_FIELD_REALS: return read_reals(&place, node);
    case TR_FIELD_IDS: return read_ids(&place, node);
    case TR_FIELD_WORDS: return read_words(&place, node);
    case TR_FIELD_LIST:
        return key->field->list->read(tr_field_of(key->record, key->field), reader, node, path);
    }
    return false;
}
