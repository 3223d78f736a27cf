// The recipe as a JSON Schema (2020-12), from the same tables as everything else: editors complete
// and check keys by it.
//
// A schema cannot say everything that check.c does; it is for help while typing, and `troupe check`
// decides.
#include <stdlib.h>
#include <string.h>

#include "common/recipe/parts.h"

/// The word "null" among the choices is YAML's null.
/// An enum; null is a value of it where the choice may be null.
static json_t *choices_of(const tr_field_t *field)
{
    json_t *list = json_array();
    const char *choice;
    for (size_t i = 0; (choice = tr_field_choice(field, i)) != NULL; i++) {
        bool null = strcmp(choice, "null") == 0;
        json_array_append_new(list, null ? json_null() : json_string(choice));
    }
    return list;
}

/// A range's bounds, which may be open or closed.
static json_t *number(const tr_field_t *field, const char *type)
{
    const tr_range_t *range = field->range;
    json_t *schema = json_pack("{s:s}", "type", type);
    // as real numbers: bounds of up to 1e300 are none of JSON's integers
    json_object_set_new(schema, range->low_open ? "exclusiveMinimum" : "minimum",
                        json_real(range->low));
    json_object_set_new(schema, range->high_open ? "exclusiveMaximum" : "maximum",
                        json_real(range->high));
    return schema;
}

/// One value, or a list of them.
/// A recipe may write a list of one as its item.
static json_t *one_or_more(json_t *item)
{
    // "O" takes a reference of its own, "o" the caller's: the item stands in two places
    return json_pack("{s:[O, {s:s, s:o}]}", "anyOf", item, "type", "array", "items", item);
}

/// A data file: its path, or more of it (common/data/source.h). path: taken.
static json_t *path_or_map(json_t *path)
{
    json_t *map = json_pack(
        "{s:s, s:{s:O, s:O, s:O, s:{s:s, s:i}, s:{s:s}, s:{s:s}}, s:[{s:[s]}, {s:[s, s]}], s:b}",
        "type", "object", "properties", "path", path, "dataset_info", path, "name", path, "weight",
        "type", "number", "exclusiveMinimum", 0, "columns", "type", "object", "tags", "type",
        "object", "oneOf", "required", "path", "required", "dataset_info", "name",
        "additionalProperties", 0);
    return json_pack("{s:[o, o]}", "anyOf", path, map);
}

static json_t *entries_of_judges(void);

/// The schema of a field's value, without its description.
static json_t *value_of(const tr_field_t *field)
{
    switch (field->kind) {
    case TR_FIELD_TEXT:
        return json_pack("{s:s}", "type", field->names == TR_NAMES_VARIABLES ? "object" : "string");
    case TR_FIELD_WHOLE: return number(field, "integer");
    case TR_FIELD_REAL: return number(field, "number");
    case TR_FIELD_BOOL: return json_pack("{s:s}", "type", "boolean");
    case TR_FIELD_CHOICE: return json_pack("{s:o}", "enum", choices_of(field));
    case TR_FIELD_CHOICES: return one_or_more(json_pack("{s:o}", "enum", choices_of(field)));
    case TR_FIELD_TEXTS: {
        json_t *text = json_pack("{s:s}", "type", "string");
        return one_or_more(field->names == TR_NAMES_ROWS ? path_or_map(text) : text);
    }
    case TR_FIELD_REALS:
        return json_pack("{s:s, s:{s:s}}", "type", "array", "items", "type", "number");
    case TR_FIELD_IDS:
        return json_pack("{s:s, s:{s:s}}", "type", "array", "items", "type", "integer");
    case TR_FIELD_WORDS:
        return json_pack("{s:s, s:{s:s}}", "type", "object", "additionalProperties", "type",
                         "number");
    case TR_FIELD_JUDGES:
        return json_pack("{s:s, s:o}", "type", "array", "items", entries_of_judges());
    }
    return NULL;
}

/// The value, null where that is allowed, the help as description, and the default.
static json_t *schema_of(const tr_field_t *field)
{
    json_t *value = value_of(field);
    json_t *schema =
        field->nullable ? json_pack("{s:[o, {s:s}]}", "anyOf", value, "type", "null") : value;
    // beside anyOf, not within it: editors show the description in either case
    json_object_set_new(schema, "description", json_string(field->help));
    // a default is YAML: numbers, truth values and lists are JSON too
    if (field->initial != NULL) { // what is no JSON is a word
        json_t *initial = json_loads(field->initial, JSON_DECODE_ANY, NULL);
        json_object_set_new(schema, "default",
                            initial != NULL ? initial : json_string(field->initial));
    }
    return schema;
}

/// The object schema's member that the name's first part names, itself an object schema; made when
/// it is not there.
/// A section may be null in a recipe: all of its keys are defaults then.
static json_t *section_of(json_t *object, const char *name, size_t length)
{
    json_t *properties = json_object_get(object, "properties");
    char *key = tr_format("%.*s", (int)length, name);
    json_t *section = json_object_get(properties, key);
    if (section == NULL) {
        // an unknown key is a mistake, as in a recipe
        section = json_pack("{s:[s, s], s:{}, s:b}", "type", "object", "null", "properties",
                            "additionalProperties", 0);
        json_object_set_new(properties, key, section);
    }
    free(key);
    return section;
}

/// A dotted name: sections are objects within objects.
static void put(json_t *object, const char *name, json_t *schema)
{
    for (const char *dot; (dot = strchr(name, '.')) != NULL; name = dot + 1) {
        object = section_of(object, name, (size_t)(dot - name));
    }
    json_object_set_new(json_object_get(object, "properties"), name, schema);
}

/// Under both names, where a key has two.
static void put_keys(json_t *object, const recipe_keys_t *keys)
{
    for (size_t i = 0; i < keys->count; i++) {
        const recipe_key_t *key = &keys->items[i];
        put(object, key->name, schema_of(key->field));
        if (key->also != NULL) {
            put(object, key->also, schema_of(key->field));
        }
    }
}

/// A section for which a value alone may stand (`regex: PATTERN`).
static void allow_brief(json_t *object, const recipe_keys_t *keys)
{
    for (size_t i = 0; i < keys->count; i++) {
        const char *dot = strchr(keys->items[i].name, '.');
        if (keys->items[i].field->brief && dot != NULL) {
            char *section =
                tr_format("%.*s", (int)(dot - keys->items[i].name), keys->items[i].name);
            // anyOf the section itself and the brief value
            json_t *properties = json_object_get(object, "properties");
            json_t *both = json_pack("{s:[O, o]}", "anyOf", json_object_get(properties, section),
                                     value_of(keys->items[i].field));
            json_object_set_new(properties, section, both);
            free(section);
        }
    }
}

/// anyOf the kinds, each with its own keys.
static json_t *entries_of_judges(void)
{
    json_t *kinds = json_array();
    for (size_t i = 0; i < tr_judge_kind_count; i++) {
        const tr_judge_kind_t *kind = tr_judge_kinds[i];
        json_t *entry = json_pack("{s:s, s:{}, s:b, s:[s]}", "type", "object", "properties",
                                  "additionalProperties", 0, "required", kind->name);
        recipe_keys_t keys = {0};
        recipe_keys_add(&keys, "", &tr_judge_fields, NULL, 0);
        recipe_keys_add(&keys, "", kind->fields, NULL, 0);
        put_keys(entry, &keys);
        allow_brief(entry, &keys);
        recipe_keys_release(&keys);
        // the kind is the key that it must have: exactly one fits an entry
        json_array_append_new(kinds, entry);
    }
    return json_pack("{s:o}", "anyOf", kinds);
}

char *tr_recipe_schema(void)
{
    recipe_keys_t keys;
    json_t *required = json_array();
    json_t *schema = json_pack(
        "{s:s, s:s, s:s, s:{}, s:b}", "$schema", "https://json-schema.org/draft/2020-12/schema",
        "title", "A recipe of Troupe", "type", "object", "properties", "additionalProperties", 0);
    recipe_keys_init(&keys, NULL);
    put_keys(schema, &keys);
    for (size_t i = 0; i < keys.count; i++) {
        // only keys at the top lack a default, so that "required" of the top is enough
        if (keys.items[i].field->initial == NULL) {
            json_array_append_new(required, json_string(keys.items[i].name));
        }
    }
    json_object_set_new(schema, "required", required);
    recipe_keys_release(&keys);
    // keys stay in the order of the tables, which editors show
    char *text = json_dumps(schema, JSON_INDENT(2));
    TR_ASSERT(text != NULL, "out of memory");
    json_decref(schema);
    return text;
}
