// One value of the tree into one field, by its key.
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/device_name.h"
#include "common/base/recipe_parts.h"

/// Where a value is read: for its problems.
typedef struct place {
    recipe_reader_t *reader;
    const recipe_key_t *key;
    const char *path;
} place_t;

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

static bool unexpected_value(const place_t *place, const recipe_node_t *node)
{
    char *expected = recipe_expected(place->key);
    unexpected(place, node, expected);
    free(expected);
    return false;
}

// Numbers

static const char *skip_digits(const char *text)
{
    return text + strspn(text, "0123456789");
}

/// [+-] digits [. digits] [e [+-] digits], with a digit on one side of the point.
static bool is_decimal(const char *text)
{
    const char *start = text + (*text == '-' || *text == '+');
    const char *end = skip_digits(start);
    size_t digits = (size_t)(end - start);
    if (*end == '.') {
        start = end + 1;
        end = skip_digits(start);
        digits += (size_t)(end - start);
    }
    if (digits > 0 && (*end == 'e' || *end == 'E')) {
        start = end + 1 + (end[1] == '-' || end[1] == '+');
        end = skip_digits(start);
        digits = (size_t)(end - start);
    }
    return digits > 0 && *end == '\0';
}

bool recipe_real_parse(double *value, const char *text)
{
    if (!is_decimal(text)) {
        return false;
    }
    double read = strtod(text, NULL);
    if (!isfinite(read)) {
        return false;
    }
    *value = read + 0.0; // -0 is 0
    return true;
}

static bool parse_whole(uint64_t *value, const char *text)
{
    uint64_t sum = 0;
    if (text[0] == '\0' || *skip_digits(text) != '\0') {
        return false;
    }
    for (; *text != '\0'; text++) {
        uint64_t digit = (uint64_t)(*text - '0');
        if (sum > ((uint64_t)INT64_MAX - digit) / 10) {
            return false;
        }
        sum = sum * 10 + digit;
    }
    *value = sum;
    return true;
}

static bool in_range(const recipe_range_t *range, double value)
{
    bool above = range->low_open ? value > range->low : value >= range->low;
    bool below = range->high_open ? value < range->high : value <= range->high;
    return above && below;
}

static bool is_plain(const recipe_node_t *node)
{
    return node->kind == RECIPE_SCALAR && !node->quoted;
}

static bool read_whole(uint64_t *field, const place_t *place, const recipe_node_t *node)
{
    uint64_t value = 0;
    bool null = place->key->nullable && recipe_node_is_null(node);
    if (!null && (!is_plain(node) || !parse_whole(&value, node->text) ||
                  !in_range(place->key->range, (double)value))) {
        return unexpected_value(place, node);
    }
    *field = value;
    return true;
}

static bool read_optional(tr_optional_t *field, const place_t *place, const recipe_node_t *node)
{
    double value = 0;
    bool null = place->key->nullable && recipe_node_is_null(node);
    if (!null && (!is_plain(node) || !recipe_real_parse(&value, node->text) ||
                  !in_range(place->key->range, value))) {
        return unexpected_value(place, node);
    }
    *field = (tr_optional_t){!null, value};
    return true;
}

static bool read_real(double *field, const place_t *place, const recipe_node_t *node)
{
    tr_optional_t value;
    if (!read_optional(&value, place, node)) {
        return false;
    }
    *field = value.value;
    return true;
}

// Words

static bool is_one_of(const char *text, const char *a, const char *b, const char *c)
{
    return strcmp(text, a) == 0 || strcmp(text, b) == 0 || strcmp(text, c) == 0;
}

static bool read_truth(bool *field, const place_t *place, const recipe_node_t *node)
{
    bool yes = is_plain(node) && is_one_of(node->text, "true", "True", "TRUE");
    bool no = is_plain(node) && is_one_of(node->text, "false", "False", "FALSE");
    if (!yes && !no) {
        return unexpected_value(place, node);
    }
    *field = yes;
    return true;
}

static bool read_choice(int *field, const place_t *place, const recipe_node_t *node)
{
    const char *text = recipe_node_is_null(node) ? "null" : node->text;
    for (int i = 0; text != NULL && place->key->choices[i] != NULL; i++) {
        if (strcmp(place->key->choices[i], text) == 0) {
            *field = i;
            return true;
        }
    }
    return unexpected_value(place, node);
}

/// Whether the text is the name of a device, where it has to be.
static bool is_named(const place_t *place, const char *text)
{
    return place->key->names != RECIPE_NAMES_DEVICE || tr_device_is_name(text);
}

/// A text that is not empty, and names something that is there.
static bool check_text(const place_t *place, const recipe_node_t *node)
{
    if (node->kind != RECIPE_SCALAR || recipe_node_is_null(node) || node->text[0] == '\0' ||
        !is_named(place, node->text)) {
        return unexpected_value(place, node);
    }
    return recipe_disk_check(place->reader, place->key->names, node->text, node->line, place->path);
}

static bool read_text(char **field, const place_t *place, const recipe_node_t *node)
{
    bool null = place->key->nullable && recipe_node_is_null(node);
    if (!null && !check_text(place, node)) {
        return false;
    }
    free(*field);
    *field = null ? NULL : tr_strdup(node->text);
    return true;
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
    bool is_argument = place->key->names == RECIPE_NAMES_PROGRAM && i > 0;
    if (node->kind != RECIPE_SCALAR || (recipe_node_is_null(node) && !is_argument) ||
        (node->text[0] == '\0' && !is_argument)) {
        return unexpected(place, node, "a text");
    }
    if (!is_named(place, node->text)) {
        return unexpected(place, node, TR_DEVICE_NAMES);
    }
    if (place->key->choices != NULL) {
        int index;
        return read_choice(&index, place, node);
    }
    return is_argument ||
           recipe_disk_check(place->reader, place->key->names, node->text, node->line, place->path);
}

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

static void release_texts(tr_recipe_strings_t *texts)
{
    for (size_t i = 0; i < texts->count; i++) {
        free(texts->items[i]);
    }
    free(texts->items);
    *texts = (tr_recipe_strings_t){0};
}

/// A text alone is a list of one.
static bool read_texts(tr_recipe_strings_t *field, const place_t *place, const recipe_node_t *node)
{
    if (is_empty(node, RECIPE_LIST)) {
        release_texts(field);
        return true;
    }
    bool single = node->kind == RECIPE_SCALAR && place->key->names != RECIPE_NAMES_PROGRAM;
    if (!single && node->kind != RECIPE_LIST) {
        return unexpected_value(place, node);
    }
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

static bool read_reals(tr_recipe_reals_t *field, const place_t *place, const recipe_node_t *node)
{
    if (is_empty(node, RECIPE_LIST)) {
        return true;
    }
    if (node->kind != RECIPE_LIST) {
        return unexpected_value(place, node);
    }
    double *reals = tr_calloc(node->count, sizeof *reals);
    bool usable = true;
    for (size_t i = 0; i < node->count; i++) {
        char *path;
        place_t at = item_place(&path, place, i);
        bool read =
            is_plain(node->children[i]) && recipe_real_parse(&reals[i], node->children[i]->text);
        usable = (read || unexpected(&at, node->children[i], "a number")) && usable;
        free(path);
    }
    if (!usable) {
        free(reals);
        return false;
    }
    *field = (tr_recipe_reals_t){reals, node->count};
    return true;
}

static bool read_id(int32_t *id, const place_t *place, const recipe_node_t *node)
{
    uint64_t value;
    if (!is_plain(node) || !parse_whole(&value, node->text) || value > INT32_MAX) {
        return unexpected(place, node, "a token id");
    }
    *id = (int32_t)value;
    return true;
}

static bool read_ids(tr_recipe_ids_t *field, const place_t *place, const recipe_node_t *node)
{
    if (is_empty(node, RECIPE_LIST)) {
        return true;
    }
    if (node->kind != RECIPE_LIST) {
        return unexpected_value(place, node);
    }
    int32_t *ids = tr_calloc(node->count, sizeof *ids);
    bool usable = true;
    for (size_t i = 0; i < node->count; i++) {
        char *path;
        place_t at = item_place(&path, place, i);
        usable = read_id(&ids[i], &at, node->children[i]) && usable;
        free(path);
    }
    if (!usable) {
        free(ids);
        return false;
    }
    *field = (tr_recipe_ids_t){ids, node->count};
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
    if (!is_plain(node) || !recipe_real_parse(&item->weight, node->text)) {
        return unexpected(place, node, "a number");
    }
    item->word = tr_strdup(node->key);
    return true;
}

static void release_words(tr_words_t *words)
{
    for (size_t i = 0; i < words->count; i++) {
        free(words->items[i].word);
    }
    free(words->items);
    *words = (tr_words_t){0};
}

static bool read_words(tr_words_t *field, const place_t *place, const recipe_node_t *node)
{
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

bool recipe_value_read(void *field, recipe_reader_t *reader, const recipe_key_t *key,
                       const recipe_node_t *node, const char *path)
{
    place_t place = {reader, key, path};
    switch (key->kind) {
    case RECIPE_TEXT: return read_text(field, &place, node);
    case RECIPE_WHOLE: return read_whole(field, &place, node);
    case RECIPE_REAL: return read_real(field, &place, node);
    case RECIPE_OPTIONAL: return read_optional(field, &place, node);
    case RECIPE_TRUTH: return read_truth(field, &place, node);
    case RECIPE_CHOICE: return read_choice(field, &place, node);
    case RECIPE_TEXTS: return read_texts(field, &place, node);
    case RECIPE_REALS: return read_reals(field, &place, node);
    case RECIPE_IDS: return read_ids(field, &place, node);
    case RECIPE_WORDS: return read_words(field, &place, node);
    case RECIPE_JUDGES: return recipe_judges_read(field, reader, node, path);
    }
    return false;
}

void recipe_value_release(void *field, recipe_kind_t kind)
{
    switch (kind) {
    case RECIPE_TEXT: free(*(char **)field); break;
    case RECIPE_TEXTS: release_texts(field); break;
    case RECIPE_REALS: free(((tr_recipe_reals_t *)field)->items); break;
    case RECIPE_IDS: free(((tr_recipe_ids_t *)field)->items); break;
    case RECIPE_WORDS: release_words(field); break;
    case RECIPE_JUDGES: recipe_judges_release(field); break;
    default: break;
    }
}
