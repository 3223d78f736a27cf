// Tables of fields: defaults, values from texts, and sentences of what a field expects.
//
// Nothing here knows a particular option. fields_json.c sends tables in messages; common/recipe
// reads and writes YAML by them. A new kind of field is a case in each switch of these files, which
// the compiler finds.
#include "common/base/fields.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/device_name.h"

// Ranges

// The words of a range are part of error sentences and of docs/recipe.md.
const tr_range_t tr_range_any = {"a number", -1e300, 1e300, false, false};
const tr_range_t tr_range_positive = {"a positive number", 0, 1e300, true, false};
const tr_range_t tr_range_not_negative = {"a number of at least 0", 0, 1e300, false, false};
const tr_range_t tr_range_fraction = {"a number from 0 to 1", 0, 1, false, false};
const tr_range_t tr_range_above_0_to_1 = {"a number above 0 and at most 1", 0, 1, true, false};
const tr_range_t tr_range_below_1 = {"a number of at least 0 and below 1", 0, 1, false, true};
const tr_range_t tr_range_whole = {"a whole number of at least 0", 0, 1e9, false, false};
const tr_range_t tr_range_positive_whole = {"a whole number of at least 1", 1, 1e9, false, false};
const tr_range_t tr_range_to_million = {"a whole number from 1 to 1000000", 1, 1e6, false, false};
const tr_range_t tr_range_to_thousand = {"a whole number from 1 to 1000", 1, 1e3, false, false};
const tr_range_t tr_range_0_to_thousand = {"a whole number from 0 to 1000", 0, 1e3, false, false};
const tr_range_t tr_range_gibibytes = {"a number from 0 to 1048576", 0, 0x1p20, false, false};

bool tr_range_holds(const tr_range_t *range, double value)
{
    bool above = range->low_open ? value > range->low : value >= range->low;
    bool below = range->high_open ? value < range->high : value <= range->high;
    return above && below;
}

// Tables

const tr_field_t *tr_fields_find(const tr_fields_t *fields, const char *name)
{
    for (size_t i = 0; i < fields->count; i++) {
        const tr_field_t *field = &fields->items[i];
        if (strcmp(field->name, name) == 0 ||
            (field->also != NULL && strcmp(field->also, name) == 0)) {
            return field;
        }
    }
    return NULL;
}

/// Whether there is a default to parse. Lists of several and words begin empty.
static bool has_default(const tr_field_t *field)
{
    return field->initial != NULL && field->initial[0] != '[' && field->initial[0] != '{';
}

/// Parses the default as a recipe's text. In quotes it is a text in any case, with JSON's escapes.
static void set_default(void *record, const tr_field_t *field)
{
    json_t *quoted =
        field->initial[0] == '"' ? json_loads(field->initial, JSON_DECODE_ANY, NULL) : NULL;
    const char *text = quoted != NULL ? json_string_value(quoted) : field->initial;
    bool read = tr_field_parse(record, field, text, quoted != NULL);
    // A bad default is a mistake of the table's author, found by the first run.
    TR_ASSERT(read, "'%s' does not take its default %s", field->name, field->initial);
    json_decref(quoted);
}

void tr_fields_init(void *record, const tr_fields_t *fields)
{
    for (size_t i = 0; i < fields->count; i++) {
        const tr_field_t *field = &fields->items[i];
        void *value = tr_field_of(record, field);
        switch (field->kind) {
        case TR_FIELD_TEXT: *(char **)value = NULL; break;
        case TR_FIELD_WHOLE: *(uint64_t *)value = 0; break;
        case TR_FIELD_REAL: *(double *)value = 0.0; break;
        case TR_FIELD_BOOL: *(bool *)value = false; break;
        case TR_FIELD_CHOICE: *(int *)value = 0; break;
        case TR_FIELD_CHOICES: *(tr_choices_t *)value = (tr_choices_t){0}; break;
        case TR_FIELD_REALS: *(tr_reals_t *)value = (tr_reals_t){0}; break;
        case TR_FIELD_TEXTS: *(tr_texts_t *)value = (tr_texts_t){0}; break;
        case TR_FIELD_IDS: *(tr_token_ids_t *)value = (tr_token_ids_t){0}; break;
        case TR_FIELD_WORDS: *(tr_words_t *)value = (tr_words_t){0}; break;
        case TR_FIELD_LIST: break; // zero is its empty value
        }
        if (has_default(field)) {
            set_default(record, field);
        }
    }
}

/// Frees the texts and leaves an empty list.
static void release_texts(tr_texts_t *texts)
{
    for (size_t i = 0; i < texts->count; i++) {
        free(texts->items[i]);
    }
    free(texts->items);
    *texts = (tr_texts_t){0};
}

/// The same for words with weights.
static void release_words(tr_words_t *words)
{
    for (size_t i = 0; i < words->count; i++) {
        free(words->items[i].word);
    }
    free(words->items);
    *words = (tr_words_t){0};
}

void tr_fields_release(void *record, const tr_fields_t *fields)
{
    for (size_t i = 0; i < fields->count; i++) {
        const tr_field_t *field = &fields->items[i];
        void *value = tr_field_of(record, field);
        switch (field->kind) {
        case TR_FIELD_TEXT:
            free(*(char **)value);
            *(char **)value = NULL;
            break;
        case TR_FIELD_TEXTS: release_texts(value); break;
        case TR_FIELD_WORDS: release_words(value); break;
        case TR_FIELD_IDS:
            free(((tr_token_ids_t *)value)->items);
            *(tr_token_ids_t *)value = (tr_token_ids_t){0};
            break;
        default: break; // owns nothing, or is freed by its list (common/recipe)
        }
    }
}

// Choices

const char *tr_field_choice(const tr_field_t *field, size_t index)
{
    static const char *const truths[] = {"false", "true", NULL};
    if (field->kind == TR_FIELD_BOOL) {
        return truths[index];
    }
    // Names may be an array of their own, or the first members of a table's rows.
    size_t stride = field->stride > 0 ? field->stride : sizeof *field->choices;
    return *(const char *const *)((const char *)field->choices + index * stride);
}

int tr_field_choice_index(const tr_field_t *field, const char *name)
{
    const char *choice;
    for (int i = 0; (choice = tr_field_choice(field, (size_t)i)) != NULL; i++) {
        if (strcmp(choice, name) == 0) {
            return i;
        }
    }
    return -1;
}

const char *tr_fields_choice(const void *record, const tr_fields_t *fields, const char *name)
{
    const tr_field_t *field = tr_fields_find(fields, name);
    TR_ASSERT(field != NULL && field->kind == TR_FIELD_CHOICE, "'%s' is no choice", name);
    return tr_field_choice(field, (size_t) * (const int *)tr_field_of_const(record, field));
}

bool tr_choices_has(const tr_choices_t *choices, int choice)
{
    for (size_t i = 0; i < choices->count; i++) {
        if (choices->items[i] == choice) {
            return true;
        }
    }
    return false;
}

/// Whether the list "a|b|c" has the word.
static bool lists(const char *list, const char *word)
{
    size_t length = strlen(word);
    if (strchr(word, '|') != NULL) {
        return false;
    }
    for (const char *at = list; at != NULL; at = strchr(at, '|')) {
        at += *at == '|';
        if (strncmp(at, word, length) == 0 && (at[length] == '|' || at[length] == '\0')) {
            return true;
        }
    }
    return false;
}

bool tr_field_is_read(const void *record, const tr_fields_t *fields, const tr_field_t *field)
{
    if (field->when == NULL) {
        return true;
    }
    const tr_field_t *deciding = tr_fields_find(fields, field->when);
    // `when` names a field of the same table.
    TR_ASSERT(deciding != NULL, "'%s' depends on '%s', which is no field", field->name,
              field->when);
    const void *value = tr_field_of_const(record, deciding);
    // One choice or truth value decides, or any of a list of choices.
    if (deciding->kind == TR_FIELD_BOOL) {
        return lists(field->is, tr_field_choice(deciding, *(const bool *)value));
    }
    if (deciding->kind == TR_FIELD_CHOICE) {
        return lists(field->is, tr_field_choice(deciding, (size_t) * (const int *)value));
    }
    const tr_choices_t *chosen = value;
    for (size_t i = 0; i < chosen->count; i++) {
        if (lists(field->is, tr_field_choice(deciding, (size_t)chosen->items[i]))) {
            return true;
        }
    }
    return false;
}

/// NULL is equal to NULL alone.
static bool text_equal(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/// The same texts in the same order.
static bool texts_equal(const tr_texts_t *a, const tr_texts_t *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++) {
        same = strcmp(a->items[i], b->items[i]) == 0;
    }
    return same;
}

bool tr_field_equal(const void *a, const void *b, const tr_field_t *field)
{
    const void *x = tr_field_of_const(a, field), *y = tr_field_of_const(b, field);
    switch (field->kind) {
    case TR_FIELD_TEXT: return text_equal(*(char *const *)x, *(char *const *)y);
    case TR_FIELD_WHOLE: return *(const uint64_t *)x == *(const uint64_t *)y;
    case TR_FIELD_REAL: return *(const double *)x == *(const double *)y;
    case TR_FIELD_BOOL: return *(const bool *)x == *(const bool *)y;
    case TR_FIELD_CHOICE: return *(const int *)x == *(const int *)y;
    // Unused places of these two are zero, so bytes can be compared.
    case TR_FIELD_CHOICES: return memcmp(x, y, sizeof(tr_choices_t)) == 0;
    case TR_FIELD_REALS: return memcmp(x, y, sizeof(tr_reals_t)) == 0;
    case TR_FIELD_TEXTS: return texts_equal(x, y);
    case TR_FIELD_IDS:
    case TR_FIELD_WORDS:
    case TR_FIELD_LIST: break;
    }
    // Every other list is empty by default, and nothing is compared with anything but its default.
    return ((const tr_texts_t *)x)->count == ((const tr_texts_t *)y)->count;
}

// Texts

/// The end of the digits at the beginning of the text.
static const char *skip_digits(const char *text)
{
    return text + strspn(text, "0123456789");
}

/// [+-] digits [. digits] [e [+-] digits], with a digit on one side of the point. Stricter than
/// strtod, which also reads "inf", "nan" and hexadecimal numbers.
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

bool tr_real_parse(double *value, const char *text)
{
    if (!is_decimal(text)) {
        return false;
    }
    // Decimal numbers can still overflow to infinity.
    double read = strtod(text, NULL);
    if (!isfinite(read)) {
        return false;
    }
    *value = read + 0.0; // -0 is 0
    return true;
}

bool tr_whole_parse(uint64_t *value, const char *text)
{
    uint64_t sum = 0;
    if (text[0] == '\0' || *skip_digits(text) != '\0') {
        return false;
    }
    for (; *text != '\0'; text++) {
        uint64_t digit = (uint64_t)(*text - '0');
        // JSON's integers end at 2^63 - 1.
        if (sum > ((uint64_t)INT64_MAX - digit) / 10) {
            return false;
        }
        sum = sum * 10 + digit;
    }
    *value = sum;
    return true;
}

bool tr_is_null_word(const char *text)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(text, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

/// null: the text is a word for null, and the field takes it.
static bool parse_whole(uint64_t *value, const tr_field_t *field, const char *text, bool null)
{
    *value = (uint64_t)field->null;
    return null || (tr_whole_parse(value, text) && tr_range_holds(field->range, (double)*value));
}

/// As parse_whole.
static bool parse_real(double *value, const tr_field_t *field, const char *text, bool null)
{
    *value = field->null;
    return null || (tr_real_parse(value, text) && tr_range_holds(field->range, *value));
}

/// YAML 1.2's words.
static bool parse_bool(bool *value, const char *text)
{
    *value = lists("true|True|TRUE", text);
    return *value || lists("false|False|FALSE", text);
}

/// null: the text is a word for null, which is the name of a choice where there is one.
static bool parse_choice(int *value, const tr_field_t *field, const char *text, bool null)
{
    *value = tr_field_choice_index(field, null ? "null" : text);
    return *value >= 0;
}

/// A text alone is a list of one.
static bool parse_choices(tr_choices_t *value, const tr_field_t *field, const char *text)
{
    *value = (tr_choices_t){.count = 1};
    value->items[0] = tr_field_choice_index(field, text);
    return value->items[0] >= 0;
}

/// An empty text is none: keys that may be absent take null.
static bool parse_text(char **value, const tr_field_t *field, const char *text, bool null)
{
    if (null ? !field->nullable
             : text[0] == '\0' || (field->names == TR_NAMES_DEVICE && !tr_device_is_name(text))) {
        return false;
    }
    free(*value);
    *value = null ? NULL : tr_strdup(text);
    return true;
}

/// A text alone is a list of one.
static bool parse_texts(tr_texts_t *value, const tr_field_t *field, const char *text, bool null)
{
    if (null || text[0] == '\0' || (field->names == TR_NAMES_DEVICE && !tr_device_is_name(text))) {
        return false;
    }
    release_texts(value);
    value->items = tr_calloc(1, sizeof *value->items);
    value->items[0] = tr_strdup(text);
    value->count = 1;
    return true;
}

bool tr_field_parse(void *record, const tr_field_t *field, const char *text, bool quoted)
{
    void *at = tr_field_of(record, field);
    // null: the word; none: a null that the field takes.
    bool null = !quoted && tr_is_null_word(text), none = null && field->nullable;
    // Parsed beside the record, so that the field is unchanged when the text is bad.
    union {
        uint64_t whole;
        double real;
        bool truth;
        int choice;
        tr_choices_t choices;
    } value;
    size_t size = 0;
    bool read = false;
    switch (field->kind) {
    case TR_FIELD_TEXT: return parse_text(at, field, text, null);
    case TR_FIELD_TEXTS: return parse_texts(at, field, text, null);
    case TR_FIELD_WHOLE:
        size = sizeof value.whole;
        read = !quoted && parse_whole(&value.whole, field, text, none);
        break;
    case TR_FIELD_REAL:
        size = sizeof value.real;
        read = !quoted && parse_real(&value.real, field, text, none);
        break;
    case TR_FIELD_BOOL:
        size = sizeof value.truth;
        read = !quoted && parse_bool(&value.truth, text);
        break;
    case TR_FIELD_CHOICE:
        size = sizeof value.choice;
        read = parse_choice(&value.choice, field, text, null);
        break;
    case TR_FIELD_CHOICES:
        size = sizeof value.choices;
        read = parse_choices(&value.choices, field, text);
        break;
    case TR_FIELD_REALS:
    case TR_FIELD_IDS:
    case TR_FIELD_WORDS:
    case TR_FIELD_LIST: break; // never a text alone
    }
    if (read) {
        memcpy(at, &value, size);
    }
    return read;
}

// Expectations, in words

/// "'ppo', 'sft' or 'dpo'"
static char *alternatives(const tr_field_t *field)
{
    char *text = tr_strdup("");
    const char *choice;
    for (size_t i = 0; (choice = tr_field_choice(field, i)) != NULL; i++) {
        bool last = tr_field_choice(field, i + 1) == NULL;
        const char *separator = i == 0 ? "" : last ? " or " : ", ";
        const char *quote = strcmp(choice, "null") == 0 ? "" : "'";
        char *longer = tr_format("%s%s%s%s%s", text, separator, quote, choice, quote);
        free(text);
        text = longer;
    }
    return text;
}

/// The thing that a text must name.
static const char *expected_text(tr_field_names_t names)
{
    switch (names) {
    case TR_NAMES_DIRECTORY: return "a directory";
    case TR_NAMES_MODEL: return "a Hugging Face directory";
    case TR_NAMES_DEVICE: return TR_DEVICE_NAMES;
    default: return "a text";
    }
}

/// The same for lists of texts.
static const char *expected_texts(tr_field_names_t names)
{
    switch (names) {
    case TR_NAMES_PROGRAM: return "a list of a program and its arguments";
    case TR_NAMES_DEVICE: return TR_DEVICE_NAMES ", or a list of them";
    default: return "a list of files";
    }
}

/// The expectation by kind; numbers have theirs in their range.
static const char *expected(const tr_field_t *field)
{
    switch (field->kind) {
    case TR_FIELD_TEXT: return expected_text(field->names);
    case TR_FIELD_BOOL: return "true or false";
    case TR_FIELD_TEXTS: return expected_texts(field->names);
    case TR_FIELD_REALS: return "a list of numbers";
    case TR_FIELD_IDS: return "a list of token ids";
    case TR_FIELD_WORDS: return "words, each with a number";
    case TR_FIELD_LIST: return "a list of judges";
    default: return field->range->expected;
    }
}

char *tr_field_expected(const tr_field_t *field)
{
    if (field->choices != NULL) {
        return alternatives(field);
    }
    return tr_format("%s%s", expected(field), field->nullable ? ", or null" : "");
}
