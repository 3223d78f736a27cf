// Questions to a table of keys: by name, what a key expects, which one was meant.
#include <stdlib.h>
#include <string.h>

#include "common/base/device_name.h"
#include "common/base/recipe_parts.h"

const recipe_key_t *recipe_key_find(const recipe_table_t *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++) {
        const recipe_key_t *key = &table->keys[i];
        if (strcmp(key->name, name) == 0 || (key->also != NULL && strcmp(key->also, name) == 0)) {
            return key;
        }
    }
    return NULL;
}

bool recipe_is_section(const recipe_table_t *table, const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < table->count; i++) {
        const char *key = table->keys[i].name;
        if (strncmp(key, name, length) == 0 && key[length] == '.') {
            return true;
        }
    }
    return false;
}

const recipe_key_t *recipe_key_brief(const recipe_table_t *table, const char *section)
{
    size_t length = strlen(section);
    for (size_t i = 0; i < table->count; i++) {
        const recipe_key_t *key = &table->keys[i];
        if (key->brief && strncmp(key->name, section, length) == 0 && key->name[length] == '.') {
            return key;
        }
    }
    return NULL;
}

// What a key expects

/// "'ppo', 'sft' or 'dpo'"
static char *alternatives(const char *const *choices)
{
    char *text = tr_strdup("");
    for (size_t i = 0; choices[i] != NULL; i++) {
        const char *separator = i == 0 ? "" : choices[i + 1] == NULL ? " or " : ", ";
        const char *quote = strcmp(choices[i], "null") == 0 ? "" : "'";
        char *longer = tr_format("%s%s%s%s%s", text, separator, quote, choices[i], quote);
        free(text);
        text = longer;
    }
    return text;
}

static const char *expected_text(recipe_names_t names)
{
    switch (names) {
    case RECIPE_NAMES_DIRECTORY: return "a directory";
    case RECIPE_NAMES_MODEL: return "a Hugging Face directory";
    case RECIPE_NAMES_DEVICE: return TR_DEVICE_NAMES;
    default: return "a text";
    }
}

static const char *expected_list(recipe_names_t names)
{
    switch (names) {
    case RECIPE_NAMES_PROGRAM: return "a list of a program and its arguments";
    case RECIPE_NAMES_DEVICE: return TR_DEVICE_NAMES ", or a list of them";
    default: return "a list of files";
    }
}

static const char *expected(const recipe_key_t *key)
{
    switch (key->kind) {
    case RECIPE_TEXT: return expected_text(key->names);
    case RECIPE_TRUTH: return "true or false";
    case RECIPE_TEXTS: return expected_list(key->names);
    case RECIPE_REALS: return "a list of numbers";
    case RECIPE_IDS: return "a list of token ids";
    case RECIPE_WORDS: return "words, each with a number";
    case RECIPE_JUDGES: return "a list of judges";
    default: return key->range->expected;
    }
}

char *recipe_expected(const recipe_key_t *key)
{
    if (key->choices != NULL) {
        return alternatives(key->choices);
    }
    return tr_format("%s%s", expected(key), key->nullable ? ", or null" : "");
}

// Which one was meant

enum { WORD_LIMIT = 40, FAR = 1000 };

/// Levenshtein's distance; FAR beyond WORD_LIMIT bytes.
static size_t distance(const char *a, const char *b)
{
    size_t row[WORD_LIMIT + 1];
    size_t rows = strlen(a);
    size_t columns = strlen(b);
    if (rows > WORD_LIMIT || columns > WORD_LIMIT) {
        return FAR;
    }
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

/// Whether word's letters stand in other in that order, the first at the start: 'lr' in 'learning_rate'.
static bool abbreviates(const char *word, const char *other)
{
    if (strlen(word) < 2 || word[0] != other[0]) {
        return false;
    }
    for (; *other != '\0' && *word != '\0'; other++) {
        word += *word == *other;
    }
    return *word == '\0';
}

/// How far the unknown word is from a known one; FAR when they have nothing in common.
static size_t cost(const char *unknown, const char *known)
{
    size_t edits = distance(unknown, known);
    size_t length = strlen(unknown);
    size_t allowed = length < 4 ? 1 : length < 9 ? 2 : length / 3; // two letters changed places: 2
    if (edits <= allowed) {
        return edits;
    }
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
    size_t section = (size_t)(last_word(unknown) - unknown);
    bool same =
        section == (size_t)(last_word(known) - known) && strncmp(unknown, known, section) == 0;
    size_t words = cost(last_word(unknown), last_word(known));
    if (same) {
        return words;
    }
    return words == 0 ? 10 : FAR;
}

static void consider(char **best, size_t *best_cost, const char *unknown, const char *known)
{
    size_t found = name_cost(unknown, known);
    if (found < *best_cost) {
        free(*best);
        *best = tr_strdup(known);
        *best_cost = found;
    }
}

char *recipe_suggest(const recipe_table_t *table, const char *name)
{
    char *best = NULL;
    size_t best_cost = FAR;
    for (size_t i = 0; i < table->count; i++) {
        char *known = tr_strdup(table->keys[i].name);
        char *dot = NULL;
        do { // the key, then its sections
            consider(&best, &best_cost, name, known);
            dot = strrchr(known, '.');
            if (dot != NULL) {
                *dot = '\0';
            }
        } while (dot != NULL);
        free(known);
        if (table->keys[i].also != NULL) {
            consider(&best, &best_cost, name, table->keys[i].also);
        }
    }
    return best;
}
