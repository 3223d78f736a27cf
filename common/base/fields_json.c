// Values of fields: defaults, texts, the bodies of messages, and comparisons, all by way of JSON.
//
// JSON is the neutral form of a value. A message brings one; a text of a recipe, a default or the
// command line becomes one; and in each case take_value checks it against the field's row and keeps
// it. The other way, a message, a printed recipe and a comparison all begin with tr_field_to_json.
// So a kind of field is written down three times here: its layout, to JSON, and from JSON.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/device_name.h"
#include "common/base/fields.h"

// The layout of values

#define LIST(type, of)                                                        \
    .size = sizeof(type), .item = sizeof(of), .items = offsetof(type, items), \
    .count = offsetof(type, count)

/// What the memory of a value looks like. Nothing is known about TR_FIELD_JUDGES, whose values
/// belong to common/recipe.
static const struct {
    size_t size;  // bytes of the value
    size_t item;  // bytes of an item; 0: the value is no list
    size_t items; // offset of the first item, or of the pointer to it
    size_t count; // offset of their number
    bool owned;   // the items are on the heap
} kinds[] = {
    [TR_FIELD_TEXT] = {.size = sizeof(char *)},
    [TR_FIELD_WHOLE] = {.size = sizeof(uint64_t)},
    [TR_FIELD_REAL] = {.size = sizeof(double)},
    [TR_FIELD_BOOL] = {.size = sizeof(bool)},
    [TR_FIELD_CHOICE] = {.size = sizeof(int)},
    [TR_FIELD_CHOICES] = {LIST(tr_choices_t, int)},
    [TR_FIELD_REALS] = {LIST(tr_reals_t, double)},
    [TR_FIELD_TEXTS] = {LIST(tr_texts_t, char *), .owned = true},
    [TR_FIELD_IDS] = {LIST(tr_token_ids_t, int32_t), .owned = true},
    [TR_FIELD_WORDS] = {LIST(tr_words_t, tr_word_weight_t), .owned = true},
    [TR_FIELD_JUDGES] = {.size = 0},
};

static size_t *count_of(void *value, tr_field_kind_t kind)
{
    return (void *)((char *)value + kinds[kind].count);
}

/// Item i of a list; for i = 0 of an owned one, the block of all of them.
static void *item_of(void *value, tr_field_kind_t kind, size_t i)
{
    void *items = (char *)value + kinds[kind].items;
    if (kinds[kind].owned) {
        memcpy(&items, items, sizeof(void *)); // what stands there is a pointer of some type
    }
    return items == NULL ? NULL : (char *)items + i * kinds[kind].item;
}

/// Frees what the value owns and leaves it empty; one that owns nothing stays as it is.
static void release_value(void *value, tr_field_kind_t kind)
{
    if (kind == TR_FIELD_TEXT) {
        free(*(char **)value);
    } else if (!kinds[kind].owned) {
        return;
    } else {
        // the text of a word is its first member, so both kinds begin with a pointer to free
        bool texts = kind == TR_FIELD_TEXTS || kind == TR_FIELD_WORDS;
        for (size_t i = 0; texts && i < *count_of(value, kind); i++) {
            free(*(char **)item_of(value, kind, i));
        }
        free(item_of(value, kind, 0));
    }
    memset(value, 0, kinds[kind].size);
}

void tr_fields_release(void *record, const tr_fields_t *fields)
{
    for (size_t i = 0; i < fields->count; i++) {
        release_value(tr_field_of(record, &fields->items[i]), fields->items[i].kind);
    }
}

// To JSON

/// A value that is no list, or an item of a list. A new reference.
static json_t *item_to_json(const void *item, const tr_field_t *field)
{
    // only of TR_FIELD_WORDS; the other kinds look at the item itself
    const tr_word_weight_t *word = item;
    switch (field->kind) {
    case TR_FIELD_TEXT:
    case TR_FIELD_TEXTS:
        return *(char *const *)item == NULL ? json_null()
                                            : json_string_nocheck(*(char *const *)item);
    case TR_FIELD_WHOLE: return json_integer((json_int_t) * (const uint64_t *)item);
    case TR_FIELD_REAL:
    case TR_FIELD_REALS: return json_real(*(const double *)item);
    case TR_FIELD_BOOL: return json_boolean(*(const bool *)item);
    // by name, so that the order of an enum is no part of the protocol
    case TR_FIELD_CHOICE:
    case TR_FIELD_CHOICES: return json_string(tr_field_choice(field, (size_t) * (const int *)item));
    case TR_FIELD_IDS: return json_integer(*(const int32_t *)item);
    // a pair, because an object of words would lose their order
    case TR_FIELD_WORDS: return json_pack("[s, f]", word->word, word->weight);
    case TR_FIELD_JUDGES: break;
    }
    TR_ASSERT(false, "'%s' is no field of a message", field->name);
}

json_t *tr_field_to_json(const void *record, const tr_field_t *field)
{
    // the cast drops const for item_of; the value is only read
    void *value = (void *)tr_field_of_const(record, field);
    if (kinds[field->kind].item == 0) {
        return item_to_json(value, field);
    }
    // the order of a list is part of its value, as it is in a JSON array
    json_t *list = json_array();
    for (size_t i = 0; i < *count_of(value, field->kind); i++) {
        json_array_append_new(list, item_to_json(item_of(value, field->kind, i), field));
    }
    return list;
}

/// The key in a message: the last part of a dotted name.
static const char *key_of(const tr_field_t *field)
{
    const char *dot = strrchr(field->name, '.');
    return dot == NULL ? field->name : dot + 1;
}

void tr_fields_to_json(json_t *object, const void *record, const tr_fields_t *fields)
{
    for (size_t i = 0; i < fields->count; i++) {
        const tr_field_t *field = &fields->items[i];
        if (!field->local) {
            json_object_set_new(object, key_of(field), tr_field_to_json(record, field));
        }
    }
}

bool tr_field_equal(const void *a, const void *b, const tr_field_t *field)
{
    if (field->kind == TR_FIELD_JUDGES) {
        // Empty by default, and nothing is compared with anything but its default. tr_judges_t
        // begins as tr_texts_t does.
        const tr_texts_t *x = tr_field_of_const(a, field), *y = tr_field_of_const(b, field);
        return x->count == y->count;
    }
    json_t *x = tr_field_to_json(a, field), *y = tr_field_to_json(b, field);
    bool same = json_equal(x, y);
    json_decref(x);
    json_decref(y);
    return same;
}

/// A value cannot be compared with its default as text ("1e-5" and "0.00001"), so a record is
/// filled with defaults and compared by value.
bool tr_field_is_default(const void *record, const tr_fields_t *fields, const tr_field_t *field)
{
    void *defaults = tr_calloc(1, fields->size);
    tr_fields_init(defaults, fields);
    bool same = tr_field_equal(record, defaults, field);
    tr_fields_release(defaults, fields);
    free(defaults);
    return same;
}

// From JSON

/// Null has two forms: JSON's where a person wrote the value; in a message the number that null
/// stands for, which may lie out of the range (`max_prompt_length` of 0: no bound).
static bool is_none(const json_t *json, const tr_field_t *field, bool message)
{
    return field->nullable &&
           (message ? json_is_number(json) && json_number_value(json) == field->null
                    : json_is_null(json));
}

/// Texts are not empty and name a device where they should. Arguments of a program may be anything.
static bool is_named(const char *text, const tr_field_t *field)
{
    return (text[0] != '\0' || field->names == TR_NAMES_PROGRAM) &&
           (field->names != TR_NAMES_DEVICE || tr_device_is_name(text));
}

static bool take_whole(uint64_t *whole, const json_t *json, const tr_field_t *field, bool message)
{
    bool none = !json_is_real(json) && is_none(json, field, message);
    json_int_t number = json_integer_value(json);
    *whole = none ? (uint64_t)field->null : (uint64_t)number;
    return none ||
           (json_is_integer(json) && number >= 0 && tr_range_holds(field->range, (double)number));
}

static bool take_real(double *real, const json_t *json, const tr_field_t *field, bool message)
{
    bool none = is_none(json, field, message);
    *real = none ? field->null : json_number_value(json);
    return none || (json_is_number(json) && isfinite(*real) && tr_range_holds(field->range, *real));
}

/// [word, weight].
static bool take_word(tr_word_weight_t *word, const json_t *json)
{
    const char *text = json_string_value(json_array_get(json, 0));
    const json_t *weight = json_array_get(json, 1);
    if (text == NULL || text[0] == '\0' || !json_is_number(weight)) {
        return false;
    }
    *word = (tr_word_weight_t){tr_strdup(text), json_number_value(weight)};
    return true;
}

/// A value that is no list, or an item of a list. What it allocates is the value's, also when it is
/// refused.
static bool take_item(void *item, const json_t *json, const tr_field_t *field, bool message)
{
    const char *text = json_string_value(json); // NULL of anything but a string
    json_int_t id = json_integer_value(json);
    switch (field->kind) {
    case TR_FIELD_TEXT:
    case TR_FIELD_TEXTS:
        *(char **)item = text == NULL ? NULL : tr_strdup(text);
        return text == NULL ? field->nullable && json_is_null(json) : is_named(text, field);
    case TR_FIELD_WHOLE: return take_whole(item, json, field, message);
    case TR_FIELD_REAL: return take_real(item, json, field, message);
    case TR_FIELD_BOOL: *(bool *)item = json_is_true(json); return json_is_boolean(json);
    case TR_FIELD_CHOICE:
    case TR_FIELD_CHOICES:
        *(int *)item = text == NULL ? -1 : tr_field_choice_index(field, text);
        return *(int *)item >= 0;
    case TR_FIELD_REALS:
        *(double *)item = json_number_value(json);
        return json_is_number(json) && isfinite(*(double *)item);
    case TR_FIELD_IDS:
        *(int32_t *)item = (int32_t)id;
        return json_is_integer(json) && id >= 0 && id <= INT32_MAX;
    case TR_FIELD_WORDS: return take_word(item, json);
    case TR_FIELD_JUDGES: break;
    }
    return false;
}

/// An array of items. Choices: at least one, and each once.
static bool take_list(void *value, const json_t *json, const tr_field_t *field)
{
    tr_field_kind_t kind = field->kind;
    size_t count = json_array_size(json);
    if (!json_is_array(json) || (!kinds[kind].owned && count > TR_CHOICES_LIMIT) ||
        (kind == TR_FIELD_CHOICES && count == 0)) {
        return false;
    }
    // Whoever wrote the array has bounded it: a message and a recipe have limits of their own.
    if (kinds[kind].owned && count > 0) {
        void *block = tr_calloc(count, kinds[kind].item);
        memcpy((char *)value + kinds[kind].items, &block, sizeof block);
    }
    for (size_t i = 0; i < count; i++) {
        void *item = item_of(value, kind, i);
        bool taken = take_item(item, json_array_get(json, i), field, false);
        bool twice = kind == TR_FIELD_CHOICES && tr_choices_has(value, *(int *)item);
        // counted even when it is refused: its text is freed with the list
        ++*count_of(value, kind);
        if (!taken || twice) {
            return false;
        }
    }
    return true;
}

/// Read beside the record first, so that the field is unchanged when the value is refused.
static bool take_value(void *record, const json_t *json, const tr_field_t *field, bool message)
{
    tr_field_kind_t kind = field->kind;
    void *at = tr_field_of(record, field);
    void *value = tr_calloc(1, kinds[kind].size);
    // no list has null in it, so only single values differ in a message
    bool taken = kinds[kind].item > 0 ? take_list(value, json, field)
                                      : take_item(value, json, field, message);
    if (taken) {
        release_value(at, kind);
        memcpy(at, value, kinds[kind].size);
    } else {
        release_value(value, kind);
    }
    free(value);
    return taken;
}

bool tr_field_take(void *record, const tr_field_t *field, const json_t *json)
{
    return take_value(record, json, field, false);
}

tr_status tr_fields_from_json(void *record, const tr_fields_t *fields, const json_t *object,
                              const char *where, tr_error_t *err)
{
    // The record can be released, whatever fails below.
    tr_fields_init(record, fields);
    for (size_t i = 0; i < fields->count; i++) {
        const tr_field_t *field = &fields->items[i];
        const json_t *json = json_object_get(object, key_of(field));
        if (!field->local && !take_value(record, json, field, true)) {
            // A peer may have sent anything, hence the bound on what is shown.
            // The same sentence as for a recipe.
            char *wanted = tr_field_expected(field);
            char *found = json == NULL ? tr_strdup("nothing") : json_dumps(json, JSON_ENCODE_ANY);
            tr_fail(err, TR_ERR_PROTOCOL, "%s: %s: expected %s, found %.60s", where, key_of(field),
                    wanted, found != NULL ? found : "what is no JSON");
            free(found);
            free(wanted);
            return TR_ERR_PROTOCOL;
        }
    }
    return TR_OK;
}

// From texts

/// As tr_scalar_to_json, where the field decides that 17 is a text, or that null is a choice. An
/// argument of the command line need not be UTF-8, hence `nocheck`.
static json_t *text_to_json(const char *text, bool quoted, const tr_field_t *field)
{
    bool null = !quoted && tr_is_null_word(text);
    switch (field->kind) {
    case TR_FIELD_TEXT: return null ? json_null() : json_string_nocheck(text);
    case TR_FIELD_TEXTS: return json_pack("[o]", null ? json_null() : json_string_nocheck(text));
    case TR_FIELD_CHOICE: return json_string_nocheck(null ? "null" : text);
    case TR_FIELD_CHOICES: return json_pack("[o]", json_string_nocheck(text));
    default: return tr_scalar_to_json(text, quoted);
    }
}

bool tr_field_parse(void *record, const tr_field_t *field, const char *text, bool quoted)
{
    json_t *json = text_to_json(text, quoted, field);
    bool taken = tr_field_take(record, field, json);
    json_decref(json);
    return taken;
}

// Defaults

/// Lists of several and words begin empty, whatever stands between the brackets of their default. A
/// default in quotes is a JSON string, for its escapes.
static void set_default(void *record, const tr_field_t *field)
{
    const char *initial = field->initial;
    if (initial == NULL || initial[0] == '[' || initial[0] == '{') {
        return;
    }
    json_t *json = initial[0] == '"' ? json_loads(initial, JSON_DECODE_ANY, NULL)
                                     : text_to_json(initial, false, field);
    // A bad default is a mistake of the table's author, found by the first run.
    TR_ASSERT(tr_field_take(record, field, json), "'%s' does not take its default %s", field->name,
              initial);
    json_decref(json);
}

void tr_fields_init(void *record, const tr_fields_t *fields)
{
    for (size_t i = 0; i < fields->count; i++) {
        const tr_field_t *field = &fields->items[i];
        memset(tr_field_of(record, field), 0, kinds[field->kind].size);
        set_default(record, field);
    }
}
