// Keys of a recipe: the fields of all tables under their full names, look-ups among them, and the
// known key that an unknown name most likely meant.
//
// The tables know a field's own name only; here each gets its section's. record.c reads a map by
// these keys, print.c and schema.c write them.
#include <stdlib.h>
#include <string.h>

#include "common/recipe/parts.h"

void recipe_keys_add(recipe_keys_t *keys, const char *section, const tr_fields_t *fields,
                     void *record, unsigned readers)
{
    // room for all; message_only ones leave some unused
    // keys of several tables in one list, in the order in which they are added
    keys->items = tr_realloc(keys->items, (keys->count + fields->count) * sizeof *keys->items);
    for (size_t i = 0; i < fields->count; i++) {
        const tr_field_t *field = &fields->items[i];
        // such a field travels between processes and is no key of a recipe
        if (field->message_only) {
            continue;
        }
        keys->items[keys->count++] = (recipe_key_t){
            .name = recipe_join(section, field->name),
            .also = field->also != NULL ? recipe_join(section, field->also) : NULL,
            .field = field,
            // kept for its defaults, and for the fields that decide whether this one is read
            .table = fields,
            .record = record,
            // a field that says nothing is read by whatever reads its section
            .readers = readers | field->readers,
        };
    }
}

/// The keys of a whole recipe; with recipe NULL for their names only.
void recipe_keys_init(recipe_keys_t *keys, tr_recipe_t *recipe)
{
    *keys = (recipe_keys_t){0};
    for (size_t i = 0; i < recipe_section_count; i++) {
        const recipe_section_t *section = &recipe_sections[i];
        recipe_keys_add(keys, section->name, section->fields,
                        recipe != NULL ? (char *)recipe + section->offset : NULL, section->readers);
    }
}

void recipe_keys_release(recipe_keys_t *keys)
{
    for (size_t i = 0; i < keys->count; i++) {
        free(keys->items[i].name);
        free(keys->items[i].also);
    }
    free(keys->items);
    *keys = (recipe_keys_t){0};
}

/// Linear: about 150 keys, each looked up once.
recipe_key_t *recipe_key_find(const recipe_keys_t *keys, const char *name)
{
    for (size_t i = 0; i < keys->count; i++) {
        recipe_key_t *key = &keys->items[i];
        if (strcmp(key->name, name) == 0 || (key->also != NULL && strcmp(key->also, name) == 0)) {
            return key;
        }
    }
    return NULL;
}

/// Whether the key lies in the section, at any depth.
static bool is_within(const recipe_key_t *key, const char *section)
{
    size_t length = strlen(section);
    // the dot keeps "reward" from being a section of "rewards.x"
    return strncmp(key->name, section, length) == 0 && key->name[length] == '.';
}

/// A section is known by the keys within it; there is no list of sections to keep in step.
bool recipe_is_section(const recipe_keys_t *keys, const char *name)
{
    for (size_t i = 0; i < keys->count; i++) {
        if (is_within(&keys->items[i], name)) {
            return true;
        }
    }
    return false;
}

/// The key that a value in the place of its section stands for: `regex: PATTERN`.
recipe_key_t *recipe_key_brief(const recipe_keys_t *keys, const char *section)
{
    for (size_t i = 0; i < keys->count; i++) {
        recipe_key_t *key = &keys->items[i];
        if (key->field->brief && is_within(key, section)) {
            return key;
        }
    }
    return NULL;
}

// Which one was meant

/// Costs: 0 to 13 edits, 10 for the same word in another section, 20 and more for abbreviations.
enum { WORD_LIMIT = 40, FAR = 1000 };

/// Levenshtein's distance; FAR beyond WORD_LIMIT bytes.
/// Wagner and Fischer's table, of which only the current row is kept.
static size_t distance(const char *a, const char *b)
{
    size_t row[WORD_LIMIT + 1];
    size_t rows = strlen(a);
    size_t columns = strlen(b);
    // no word of a key is as long, so there is nothing to suggest
    if (rows > WORD_LIMIT || columns > WORD_LIMIT) {
        return FAR;
    }
    // one row of the table is kept; `diagonal` is the entry that the new one replaces
    for (size_t j = 0; j <= columns; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= rows; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= columns; j++) {
            size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            size_t shorter = row[j] < row[j - 1] ? row[j] : row[j - 1];
            diagonal = row[j];
            row[j] = replaced < shorter + 1 ? replaced : shorter + 1;
        }
    }
    return row[columns];
}

/// Whether word's letters stand in other in that order, the first at the start: 'lr' in
/// 'learning_rate'.
static bool abbreviates(const char *word, const char *other)
{
    if (strlen(word) < 2 || word[0] != other[0]) {
        return false;
    }
    // greedy: the first place of each letter leaves most room for the rest
    for (; *other != '\0' && *word != '\0'; other++) {
        word += *word == *other;
    }
    return *word == '\0';
}

bool recipe_key_is_set(const recipe_key_t *key)
{
    // a refused value has a problem already
    return key->node != NULL && !key->failed &&
           !tr_field_is_default(key->record, key->table, key->field);
}

char *recipe_key_unread(const recipe_key_t *key, const tr_recipe_t *recipe)
{
    const tr_field_t *field = key->field;
    // first whether the algorithm reads it, then whether the options beside it do
    if (recipe != NULL && (key->readers & ~tr_recipe_algorithm(recipe)->reads) != 0) {
        return tr_format("algorithm '%s' does not read this key",
                         tr_recipe_algorithm(recipe)->name);
    }
    if (recipe != NULL && (key->readers & ~tr_recipe_reads(recipe)) != 0) {
        return tr_strdup("the loss compares with no reference, so nothing reads this key");
    }
    if (tr_field_is_read(key->record, key->table, field)) {
        return NULL;
    }
    if (strcmp(field->is, "!null") == 0) {
        return tr_format("read only where %s is given", field->when);
    }
    bool others = field->is[0] == '!';
    return tr_format("read only where %s is %s%s", field->when, others ? "none of " : "",
                     field->is + others);
}

void recipe_check_read(recipe_reader_t *reader, const recipe_key_t *key, const tr_recipe_t *recipe)
{
    // a refused value has a problem already; null takes a key back
    bool set = recipe_key_is_set(key);
    bool given = key->node != NULL && !key->failed && !recipe_node_is_null(key->node);
    char *why = set || given ? recipe_key_unread(key, recipe) : NULL;
    if (why != NULL && set) {
        recipe_problem(reader, key->node->line, key->name, "%s: leave it out", why);
    } else if (why != NULL) {
        recipe_note(reader, key->node->line, key->name, why);
    }
    free(why);
}

char *tr_recipe_key_without_rows(const tr_recipe_t *recipe, unsigned kinds)
{
    for (size_t i = 0; i < recipe_section_count; i++) {
        const recipe_section_t *section = &recipe_sections[i];
        const void *record = (const char *)recipe + section->offset;
        for (size_t k = 0; k < section->fields->count; k++) {
            const tr_field_t *field = &section->fields->items[k];
            unsigned rows = field->rows != 0 ? field->rows : section->rows;
            if (rows != 0 && (rows & kinds) == 0 &&
                !tr_field_is_default(record, section->fields, field)) {
                return recipe_join(section->name, field->name);
            }
        }
    }
    return NULL;
}

/// How far the unknown word is from a known one; FAR when they have nothing in common.
static size_t cost(const char *unknown, const char *known)
{
    // allowed edits grow with the word, so that short words do not match everything
    size_t edits = distance(unknown, known);
    size_t length = strlen(unknown);
    size_t allowed = length < 4 ? 1 : length < 9 ? 2 : length / 3; // two letters changed places: 2
    if (edits <= allowed) {
        return edits;
    }
    // dearer than any misspelling: what an abbreviation means is a guess
    bool related = abbreviates(unknown, known) || abbreviates(known, unknown) ||
                   (length > 3 && strstr(known, unknown) != NULL);
    return related ? 20 + edits : FAR;
}

static const char *last_word(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot == NULL ? name : dot + 1;
}

/// The cost of a whole name; another section counts, and only the very word is sought there.
static size_t name_cost(const char *unknown, const char *known)
{
    // compared with its dot, so "dpo.beta" and "kto.beta" differ
    size_t section = (size_t)(last_word(unknown) - unknown);
    bool same =
        section == (size_t)(last_word(known) - known) && strncmp(unknown, known, section) == 0;
    size_t words = cost(last_word(unknown), last_word(known));
    if (same) {
        return words;
    }
    return words == 0 ? 10 : FAR;
}

/// Keeps the cheaper of two candidates; the earlier one when they cost the same.
static void consider(char **best, size_t *best_cost, const char *unknown, const char *known)
{
    size_t found = name_cost(unknown, known);
    // strictly less: of two that are as near it is the one that a recipe has first, and what is
    // FAR, where the search begins, is never suggested
    if (found < *best_cost) {
        free(*best);
        *best = tr_strdup(known);
        *best_cost = found;
    }
}

char *recipe_suggest(const recipe_keys_t *keys, const char *map, const char *name)
{
    char *best = NULL;
    size_t best_cost = FAR;
    for (size_t i = 0; i < keys->count; i++) {
        char *known = tr_strdup(keys->items[i].name);
        // a misspelt section is one mistake of its own: the key, then its sections within the map
        for (char *dot = known; dot != NULL && strlen(known) > strlen(map);) {
            consider(&best, &best_cost, name, known);
            dot = strrchr(known, '.');
            if (dot != NULL) {
                *dot = '\0';
            }
        }
        free(known);
        if (keys->items[i].also != NULL) {
            consider(&best, &best_cost, name, keys->items[i].also);
        }
    }
    return best;
}
