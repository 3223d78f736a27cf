/// Options declared once: a plain struct, and beside it a table with one row for each field.
///
/// The module that uses an option owns its struct and its table (common/algo/ppo.c is a short
/// example). Everything else follows from the table: defaults, the recipe's YAML, `key=value` on
/// the command line, message bodies, docs/recipe.md and the JSON Schema. A new option is one row
/// and the code that reads the struct's field.
///
///     typedef struct tr_ppo_options {
///         double cliprange; ///< the ratio is clipped to 1 +- this
///     } tr_ppo_options_t;
///
///     static const tr_field_t fields[] = {
///         TR_FIELD(tr_ppo_options_t, cliprange, TR_FIELD_REAL, "0.2", .range = &tr_range_positive,
///                  .help = "The policy's ratio is clipped to 1 ± this."),
///     };
///     const tr_fields_t tr_ppo_fields = TR_FIELDS(tr_ppo_options_t, fields);
#ifndef TR_BASE_FIELDS_H
#define TR_BASE_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

// Kinds of values

typedef enum tr_field_kind {
    TR_FIELD_TEXT,    ///< char *, owned, never ""; NULL for null
    TR_FIELD_WHOLE,   ///< uint64_t
    TR_FIELD_REAL,    ///< double, finite
    TR_FIELD_BOOL,    ///< bool
    TR_FIELD_CHOICE,  ///< an enum or int: the index into choices
    TR_FIELD_CHOICES, ///< tr_choices_t
    TR_FIELD_TEXTS,   ///< tr_texts_t
    TR_FIELD_REALS,   ///< tr_reals_t
    TR_FIELD_IDS,     ///< tr_token_ids_t
    TR_FIELD_WORDS,   ///< tr_words_t
    TR_FIELD_JUDGES   ///< tr_judges_t; read, written and freed by common/recipe/judges.c
} tr_field_kind_t;

enum { TR_CHOICES_LIMIT = 32 };

/// Each choice at most once, in the order given. Owns nothing.
typedef struct tr_choices {
    size_t count;
    int items[TR_CHOICES_LIMIT];
} tr_choices_t;

/// Owns nothing.
typedef struct tr_reals {
    size_t count;
    double items[TR_CHOICES_LIMIT];
} tr_reals_t;

typedef struct tr_texts {
    char **items; ///< [count], owned
    size_t count;
} tr_texts_t;

typedef struct tr_token_ids {
    int32_t *items; ///< [count], owned
    size_t count;
} tr_token_ids_t;

typedef struct tr_word_weight {
    char *word; ///< not empty, owned
    double weight;
} tr_word_weight_t;

typedef struct tr_words {
    tr_word_weight_t *items; ///< [count], owned; in the order given, each word once
    size_t count;
} tr_words_t;

// Tables

typedef struct tr_range {
    const char *expected; ///< in words
    double low, high;
    bool low_open, high_open; ///< whether the end itself is excluded
} tr_range_t;

extern const tr_range_t tr_range_any, tr_range_positive, tr_range_not_negative, tr_range_fraction,
    tr_range_above_0_to_1, tr_range_below_1, tr_range_whole, tr_range_positive_whole,
    tr_range_to_million, tr_range_to_thousand, tr_range_0_to_thousand, tr_range_gibibytes;

/// The thing that a text names.
typedef enum tr_field_names {
    TR_NAMES_NOTHING,
    TR_NAMES_ROWS, ///< a file of rows; a map is kept as its JSON (common/data/source.h)
    TR_NAMES_DIRECTORY,
    TR_NAMES_MODEL,     ///< a Hugging Face directory
    TR_NAMES_PLACE,     ///< a directory that need not be there
    TR_NAMES_PROGRAM,   ///< argv: the first is found by PATH
    TR_NAMES_VARIABLES, ///< those of a template: a map, kept as the JSON of an object
    TR_NAMES_TEMPLATE,  ///< a chat template: a name (common/text/chat.h), else a file
    TR_NAMES_DEVICE     ///< common/base/device_name.h
} tr_field_names_t;

typedef struct tr_field {
    const char *name; ///< "cliprange"; dotted where the value lies in a section of its own
    tr_field_kind_t kind;
    size_t offset;              ///< of the field in the struct
    const char *initial;        ///< the default as a recipe writes it; NULL: it must be given
    bool nullable;              ///< null stands for `null`
    double null;                ///< the number that null stands for
    const tr_range_t *range;    ///< of numbers
    const char *const *choices; ///< names by index, with NULL at the end, ...
    size_t
        stride; ///< ... and so many bytes apart, where rows begin with them; 0: an array of names
    tr_field_names_t names;
    bool brief;        ///< `section: VALUE` is short for it
    bool local;        ///< never sent in messages
    bool message_only; ///< sent in messages, but no key of a recipe
    bool may_change;   ///< may be another when a run is resumed: no part of what it has learnt
    unsigned readers;  ///< bits that its reader has, all of them (common/recipe/algorithms.h)
    unsigned rows;     ///< kinds of rows that have it read (common/data/kinds.h); 0: any
    char letter;       ///< of the command's option `--name`, 0: none (deploy/command_fields.h)
    const char *also;  ///< another name of the same key, or NULL
    /// The field is read only while the choice, list of choices or truth value `when` of the same
    /// table has one of the words `is` ("simpo|cpo", "true"), or any other word ("!simpo|cpo"), or
    /// while the device `when` is a GPU ("cuda"), or the whole number `when` is given ("!null").
    /// NULL: always.
    const char *when, *is;
    const char *help; ///< one sentence
} tr_field_t;

typedef struct tr_fields {
    const tr_field_t *items; ///< [count]; those of a section stand together
    size_t count;
    size_t size; ///< bytes of the struct
} tr_fields_t;

/// A row: the field is named as the member is. Further settings follow as designated initialisers.
#define TR_FIELD(record, member, its_kind, default_text, ...) \
    TR_FIELD_AS(#member, record, member, its_kind, default_text, __VA_ARGS__)
/// A row under another name.
#define TR_FIELD_AS(its_name, record, member, its_kind, default_text, ...) \
    {                                                                      \
        .name = (its_name), .kind = (its_kind), .initial = (default_text), \
        .offset = offsetof(record, member), __VA_ARGS__                    \
    }
/// The table of the rows: an array.
#define TR_FIELDS(record, rows)                                  \
    {                                                            \
        (rows), sizeof(rows) / sizeof((rows)[0]), sizeof(record) \
    }

/// The field of that name, or with it as its other name. NULL: there is none.
const tr_field_t *tr_fields_find(const tr_fields_t *fields, const char *name);

static inline void *tr_field_of(void *record, const tr_field_t *field)
{
    return (char *)record + field->offset;
}

static inline const void *tr_field_of_const(const void *record, const tr_field_t *field)
{
    return (const char *)record + field->offset;
}

/// Sets every field to its default, and those without one to zero.
void tr_fields_init(void *record, const tr_fields_t *fields);
/// Frees what the fields own and leaves them empty.
void tr_fields_release(void *record, const tr_fields_t *fields);

/// Whether the code behind the table reads the field, given the record's other fields (`when`,
/// `is`).
bool tr_field_is_read(const void *record, const tr_fields_t *fields, const tr_field_t *field);
bool tr_field_equal(const void *a, const void *b, const tr_field_t *field);
/// Whether the record has the value that the field has where nobody sets it.
bool tr_field_is_default(const void *record, const tr_fields_t *fields, const tr_field_t *field);

// Choices

/// NULL past the last one. Those of a truth value are "false" and "true".
const char *tr_field_choice(const tr_field_t *field, size_t index);
/// -1: no choice has that name.
int tr_field_choice_index(const tr_field_t *field, const char *name);
bool tr_choices_has(const tr_choices_t *choices, int choice);

// Texts

/// Reads a value that is one text (every kind but lists of several, words and judges) into its
/// field of the record. quoted: text that looks like a number or null is a text. False, with the
/// field unchanged, when the field does not take the text.
bool tr_field_parse(void *record, const tr_field_t *field, const char *text, bool quoted);
/// A scalar as YAML means it: null, whole or real number, truth value, else text; in quotes always
/// text. A new reference.
json_t *tr_scalar_to_json(const char *text, bool quoted);
/// False unless the whole text is a decimal number, and finite.
bool tr_real_parse(double *value, const char *text);
/// False unless the whole text is digits, of a number below 2^63.
bool tr_whole_parse(uint64_t *value, const char *text);
bool tr_range_holds(const tr_range_t *range, double value);
/// Whether it is one of YAML's words for null, or empty.
bool tr_is_null_word(const char *text);

/// "a whole number from 1 to 1024", "'ppo' or 'sft'". Owned by the caller (free).
char *tr_field_expected(const tr_field_t *field);

// JSON: values, and message bodies of them

/// The value, in the form that tr_field_take reads: numbers that stand for null are numbers, words
/// with weights are pairs. Of any kind but judges. A new reference.
json_t *tr_field_to_json(const void *record, const tr_field_t *field);
/// Reads a value that a person wrote, so null is JSON's. False, with the field unchanged, when the
/// field does not take it.
bool tr_field_take(void *record, const tr_field_t *field, const json_t *json);

/// Adds every field that travels (all but `local` ones), under the last part of its name. null
/// travels as the number it stands for, where there is one.
void tr_fields_to_json(json_t *object, const void *record, const tr_fields_t *fields);

/// Reads every field that travels from the object, which must have all of them, in range. where:
/// the message's name, for the sentence. TR_ERR_PROTOCOL; the record is initialised in any case, so
/// it must own nothing before, and the caller releases it.
tr_status tr_fields_from_json(void *record, const tr_fields_t *fields, const json_t *object,
                              const char *where, tr_error_t *err);

#endif
