// Tables of fields as JSON: the bodies of messages between processes.
//
// Apart from fields.c because only this half builds JSON. A receiver trusts nothing: each value is
// checked against its row before it is kept, as one of a recipe is.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/device_name.h"
#include "common/base/fields.h"

/// The key in a message: the last part of a dotted name.
static const char *key_of(const tr_field_t *field)
{
    const char *dot = strrchr(field->name, '.');
    return dot == NULL ? field->name : dot + 1;
}

// Writing

/// By name, so that the order of an enum is no part of the protocol.
static json_t *choices_to_json(const tr_field_t *field, const tr_choices_t *choices)
{
    json_t *list = json_array();
    for (size_t i = 0; i < choices->count; i++) {
        const char *name = tr_field_choice(field, (size_t)choices->items[i]);
        json_array_append_new(list, json_string(name));
    }
    return list;
}

static json_t *reals_to_json(const tr_reals_t *reals)
{
    json_t *list = json_array();
    for (size_t i = 0; i < reals->count; i++) {
        json_array_append_new(list, json_real(reals->items[i]));
    }
    return list;
}

static json_t *texts_to_json(const tr_texts_t *texts)
{
    json_t *list = json_array();
    for (size_t i = 0; i < texts->count; i++) {
        json_array_append_new(list, json_string(texts->items[i]));
    }
    return list;
}

static json_t *ids_to_json(const tr_token_ids_t *ids)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ids->count; i++) {
        json_array_append_new(list, json_integer(ids->items[i]));
    }
    return list;
}

/// As pairs, because an object would lose the order.
static json_t *words_to_json(const tr_words_t *words)
{
    json_t *list = json_array();
    for (size_t i = 0; i < words->count; i++) {
        const tr_word_weight_t *word = &words->items[i];
        json_array_append_new(list, json_pack("[s, f]", word->word, word->weight));
    }
    return list;
}

/// A new reference.
static json_t *value_to_json(const void *value, const tr_field_t *field)
{
    switch (field->kind) {
    case TR_FIELD_TEXT:
        return *(char *const *)value == NULL ? json_null() : json_string(*(char *const *)value);
    case TR_FIELD_WHOLE: return json_integer((json_int_t) * (const uint64_t *)value);
    case TR_FIELD_REAL: return json_real(*(const double *)value);
    case TR_FIELD_BOOL: return json_boolean(*(const bool *)value);
    case TR_FIELD_CHOICE: return json_string(tr_field_choice(field, (size_t) * (const int *)value));
    case TR_FIELD_CHOICES: return choices_to_json(field, value);
    case TR_FIELD_REALS: return reals_to_json(value);
    case TR_FIELD_TEXTS: return texts_to_json(value);
    case TR_FIELD_IDS: return ids_to_json(value);
    case TR_FIELD_WORDS: return words_to_json(value);
    case TR_FIELD_LIST: break;
    }
    TR_ASSERT(false, "'%s' is no field of a message", field->name);
}

void tr_fields_to_json(json_t *object, const void *record, const tr_fields_t *fields)
{
    for (size_t i = 0; i < fields->count; i++) {
        const tr_field_t *field = &fields->items[i];
        if (!field->local) {
            json_object_set_new(object, key_of(field),
                                value_to_json(tr_field_of_const(record, field), field));
        }
    }
}

// Reading

/// The number that null stands for passes, even when it is out of range.
static bool take_whole(uint64_t *value, const tr_field_t *field, const json_t *json)
{
    json_int_t number = json_integer_value(json);
    *value = (uint64_t)number;
    return json_is_integer(json) && number >= 0 &&
           ((field->nullable && *value == (uint64_t)field->null) ||
            tr_range_holds(field->range, (double)number));
}

/// As take_whole.
static bool take_real(double *value, const tr_field_t *field, const json_t *json)
{
    *value = json_number_value(json);
    return json_is_number(json) && isfinite(*value) &&
           ((field->nullable && *value == field->null) || tr_range_holds(field->range, *value));
}

/// A list of names that are not empty, known, and each there once.
static bool take_choices(tr_choices_t *choices, const tr_field_t *field, const json_t *json)
{
    size_t count = json_array_size(json);
    bool good = json_is_array(json) && count > 0 && count <= TR_CHOICES_LIMIT;
    for (size_t i = 0; good && i < count; i++) {
        const char *name = json_string_value(json_array_get(json, i));
        int index = name != NULL ? tr_field_choice_index(field, name) : -1;
        good = index >= 0 && !tr_choices_has(choices, index);
        choices->items[choices->count++] = index;
    }
    return good;
}

/// A list of finite numbers, possibly empty.
static bool take_reals(tr_reals_t *reals, const json_t *json)
{
    size_t count = json_array_size(json);
    bool good = json_is_array(json) && count <= TR_CHOICES_LIMIT;
    for (size_t i = 0; good && i < count; i++) {
        const json_t *number = json_array_get(json, i);
        good = json_is_number(number) && isfinite(json_number_value(number));
        reals->items[reals->count++] = json_number_value(number);
    }
    return good;
}

/// As in a recipe: not empty, and a device where a device is named.
static bool is_named(const tr_field_t *field, const char *text)
{
    return text[0] != '\0' && (field->names != TR_NAMES_DEVICE || tr_device_is_name(text));
}

/// A text, or null where the field takes it.
static bool take_text(char **text, const tr_field_t *field, const json_t *json)
{
    const char *given = json_string_value(json);
    free(*text);
    *text = given != NULL ? tr_strdup(given) : NULL;
    return given != NULL ? is_named(field, given) : field->nullable && json_is_null(json);
}

/// A list of texts, possibly empty.
static bool take_texts(tr_texts_t *texts, const json_t *json)
{
    size_t count = json_array_size(json);
    for (size_t i = 0; i < texts->count; i++) { // frees the default
        free(texts->items[i]);
    }
    free(texts->items);
    *texts = (tr_texts_t){.items = tr_calloc(count + 1, sizeof *texts->items)};
    for (size_t i = 0; i < count; i++) {
        const char *text = json_string_value(json_array_get(json, i));
        // What was taken so far is counted, so that it can be released.
        if (text == NULL) {
            return false;
        }
        texts->items[texts->count++] = tr_strdup(text);
    }
    return json_is_array(json);
}

/// Token ids fit an int32.
static bool take_ids(tr_token_ids_t *ids, const json_t *json)
{
    size_t count = json_array_size(json);
    ids->items = tr_calloc(count + 1, sizeof *ids->items);
    for (size_t i = 0; i < count; i++) {
        json_int_t id = json_integer_value(json_array_get(json, i));
        if (!json_is_integer(json_array_get(json, i)) || id < 0 || id > INT32_MAX) {
            return false;
        }
        ids->items[ids->count++] = (int32_t)id;
    }
    return json_is_array(json);
}

/// Pairs of a word and its weight.
static bool take_words(tr_words_t *words, const json_t *json)
{
    size_t count = json_array_size(json);
    words->items = tr_calloc(count + 1, sizeof *words->items);
    for (size_t i = 0; i < count; i++) {
        const json_t *pair = json_array_get(json, i), *weight = json_array_get(pair, 1);
        const char *word = json_string_value(json_array_get(pair, 0));
        if (word == NULL || word[0] == '\0' || !json_is_number(weight)) {
            return false;
        }
        words->items[words->count++] =
            (tr_word_weight_t){tr_strdup(word), json_number_value(weight)};
    }
    return json_is_array(json);
}

/// Reads one value into its field; false when the field does not take it. What it has allocated is
/// the record's to release.
static bool take_value(void *value, const tr_field_t *field, const json_t *json)
{
    switch (field->kind) {
    case TR_FIELD_TEXT: return take_text(value, field, json);
    case TR_FIELD_WHOLE: return take_whole(value, field, json);
    case TR_FIELD_REAL: return take_real(value, field, json);
    case TR_FIELD_BOOL: *(bool *)value = json_is_true(json); return json_is_boolean(json);
    case TR_FIELD_CHOICE:
        *(int *)value =
            json_is_string(json) ? tr_field_choice_index(field, json_string_value(json)) : -1;
        return *(int *)value >= 0;
    case TR_FIELD_CHOICES:
        *(tr_choices_t *)value = (tr_choices_t){0};
        return take_choices(value, field, json);
    case TR_FIELD_REALS: *(tr_reals_t *)value = (tr_reals_t){0}; return take_reals(value, json);
    case TR_FIELD_TEXTS: return take_texts(value, json);
    case TR_FIELD_IDS: return take_ids(value, json);
    case TR_FIELD_WORDS: return take_words(value, json);
    case TR_FIELD_LIST: break;
    }
    return false;
}

tr_status tr_fields_from_json(void *record, const tr_fields_t *fields, const json_t *object,
                              const char *where, tr_error_t *err)
{
    // The record can be released, whatever fails below.
    tr_fields_init(record, fields);
    for (size_t i = 0; i < fields->count; i++) {
        const tr_field_t *field = &fields->items[i];
        const json_t *json = json_object_get(object, key_of(field));
        if (!field->local && !take_value(tr_field_of(record, field), field, json)) {
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
