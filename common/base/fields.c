// Tables of fields: ranges, choices, what numbers look like, and sentences of what a field expects.
//
// Nothing here knows a particular option, or touches a field's value: fields_json.c does that. A
// new kind of field is a case in each switch of these two files, of common/recipe/value.c and of
// schema.c, which the compiler finds.
#include "common/base/fields.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/device_name.h"

// Ranges

// The words of a range are part of error sentences and of docs/recipe.md.
// An end of 1e300 is no bound but that of finite numbers; whole numbers end at 1e9, which an int32
// holds.
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
// the end is a pebibyte, so that bytes fit 64 bits
const tr_range_t tr_range_gibibytes = {"a number from 0 to 1048576", 0, 0x1p20, false, false};

bool tr_range_holds(const tr_range_t *range, double value)
{
    // as a float too, since that is what many numbers are computed with: 1e-300 is 0 there
    const double values[] = {value, (double)(float)value};
    bool above = true, below = true;
    for (size_t i = 0; i < 2; i++) { // a NaN fails every comparison, so it is in no range
        above = above && (range->low_open ? values[i] > range->low : values[i] >= range->low);
        below = below && (range->high_open ? values[i] < range->high : values[i] <= range->high);
    }
    return above && below;
}

// Tables

const tr_field_t *tr_fields_find(const tr_fields_t *fields, const char *name)
{
    for (size_t i = 0; i < fields->count; i++) {
        const tr_field_t *field = &fields->items[i];
        // the other name is TRL's, where ours is another word (response_length)
        if (strcmp(field->name, name) == 0 ||
            (field->also != NULL && strcmp(field->also, name) == 0)) {
            return field;
        }
    }
    return NULL;
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
    // a word may come from a person: 'true|True' would be found in the list as a whole
    if (strchr(word, '|') != NULL) {
        return false;
    }
    // at the start, then at each separator, which is stepped over
    for (const char *at = list; at != NULL; at = strchr(at, '|')) {
        at += *at == '|';
        if (strncmp(at, word, length) == 0 && (at[length] == '|' || at[length] == '\0')) {
            return true;
        }
    }
    return false;
}

/// Whether a device, or one of a list of them, is a GPU.
static bool is_on_gpu(const void *value, tr_field_kind_t kind)
{
    if (kind == TR_FIELD_TEXT) {
        const char *name = *(char *const *)value;
        return name != NULL && tr_device_is_gpu(name);
    }
    const tr_texts_t *names = value;
    for (size_t i = 0; i < names->count; i++) {
        if (tr_device_is_gpu(names->items[i])) {
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
    if (deciding->names == TR_NAMES_DEVICE) {
        return is_on_gpu(value, deciding->kind);
    }
    if (deciding->kind == TR_FIELD_WHOLE) { // "!null"
        return *(const uint64_t *)value != (uint64_t)deciding->null;
    }
    // One choice or truth value decides, or any of a list of choices.
    tr_choices_t chosen = {.count = 1};
    switch (deciding->kind) {
    case TR_FIELD_CHOICES: chosen = *(const tr_choices_t *)value; break;
    case TR_FIELD_BOOL: chosen.items[0] = *(const bool *)value; break;
    default: chosen.items[0] = *(const int *)value; break;
    }
    bool others = field->is[0] == '!';
    for (size_t i = 0; i < chosen.count; i++) {
        if (lists(field->is + others, tr_field_choice(deciding, (size_t)chosen.items[i])) !=
            others) {
            return true;
        }
    }
    return false;
}

// Numbers and words

/// The end of the digits at the beginning of the text.
static const char *skip_digits(const char *text)
{
    // not isdigit, which takes no negative char
    return text + strspn(text, "0123456789");
}

/// [+-] digits [. digits] [e [+-] digits], with a digit on one side of the point. Stricter than
/// strtod, which also reads "inf", "nan" and hexadecimal numbers.
static bool is_decimal(const char *text)
{
    const char *start = text + (*text == '-' || *text == '+');
    const char *end = skip_digits(start);
    size_t digits = (size_t)(end - start);
    // digits on one side of the point are enough: "5." and ".5"
    if (*end == '.') {
        start = end + 1;
        end = skip_digits(start);
        digits += (size_t)(end - start);
    }
    // an exponent needs digits of its own: "1e" is no number
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
    // The point is a point everywhere, because no program here calls setlocale.
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
    // Leading zeros mean nothing: 0017 is 17, not an octal number.
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

/// Those of YAML 1.2; a key without a value has the empty one.
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

/// The core schema of YAML 1.2, less its octal and hexadecimal numbers, infinities and NaN. No
/// UTF-8 is asked for: an argument of the command line need not be any.
json_t *tr_scalar_to_json(const char *text, bool quoted)
{
    uint64_t whole;
    double real;
    if (!quoted && tr_is_null_word(text)) {
        return json_null();
    }
    if (!quoted && tr_whole_parse(&whole, text)) {
        return json_integer((json_int_t)whole);
    }
    if (!quoted && tr_real_parse(&real, text)) {
        return json_real(real);
    }
    bool truth = lists("true|True|TRUE", text);
    return !quoted && (truth || lists("false|False|FALSE", text)) ? json_boolean(truth)
                                                                  : json_string_nocheck(text);
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
        // the choice that is YAML's null is written without quotes, as in a recipe
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
    case TR_NAMES_TEMPLATE: return "a template's name or a file";
    case TR_NAMES_VARIABLES: return "a map";
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
    case TR_NAMES_ROWS: return "a list of files";
    // a text alone is a list of one
    default: return "a text, or a list of them";
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
    case TR_FIELD_JUDGES: return "a list of judges";
    default: return field->range->expected;
    }
}

char *tr_field_expected(const tr_field_t *field)
{
    // where null is allowed it is one of the choices
    if (field->choices != NULL) {
        return alternatives(field);
    }
    return tr_format("%s%s", expected(field), field->nullable ? ", or null" : "");
}
