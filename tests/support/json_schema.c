// A validator for the keywords of JSON Schema that the recipe's schema uses, and no others.
//
// Small enough to be checked by reading, so that the tests of `troupe schema` need no library. An
// unknown keyword fails the test: the schema must not say what nothing here looks at.
#include "tests/support/json_schema.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/// In JSON Schema 1.0 is an integer too.
static bool has_type(const json_t *value, const char *type)
{
    static const char *const names[] = {"object", "array",   "string",  "number",
                                        "number", "boolean", "boolean", "null"};
    static const json_type types[] = {JSON_OBJECT, JSON_ARRAY, JSON_STRING, JSON_INTEGER,
                                      JSON_REAL,   JSON_TRUE,  JSON_FALSE,  JSON_NULL};
    if (strcmp(type, "integer") == 0) {
        return json_is_number(value) && floor(json_number_value(value)) == json_number_value(value);
    }
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (json_typeof(value) == types[i]) {
            return strcmp(names[i], type) == 0;
        }
    }
    return false;
}

/// types: one or a list.
static bool has_one_type(const json_t *value, const json_t *types)
{
    bool has = json_is_string(types) && has_type(value, json_string_value(types));
    for (size_t i = 0; i < json_array_size(types); i++) {
        has = has || has_type(value, json_string_value(json_array_get(types, i)));
    }
    return has;
}

/// For `enum`, which may hold null.
static bool is_among(const json_t *value, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (json_equal(value, json_array_get(list, i))) {
            return true;
        }
    }
    return false;
}

static bool allowed_by_any(const json_t *list, const json_t *value)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (json_schema_allows(json_array_get(list, i), value)) {
            return true;
        }
    }
    return false;
}

/// keyword: one of the four bounds.
static bool in_range(const char *keyword, double limit, double value)
{
    return strcmp(keyword, "minimum") == 0            ? value >= limit
           : strcmp(keyword, "exclusiveMinimum") == 0 ? value > limit
           : strcmp(keyword, "maximum") == 0          ? value <= limit
                                                      : value < limit;
}

/// additionalProperties: a schema or a truth value.
static bool members_allowed(const json_t *schema, const json_t *object)
{
    const json_t *properties = json_object_get(schema, "properties");
    const json_t *others = json_object_get(schema, "additionalProperties");
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)object, key, member)
    {
        // a known member by its own schema, another by `additionalProperties`, which may forbid it
        const json_t *own = json_object_get(properties, key);
        if (own != NULL              ? !json_schema_allows(own, member)
            : json_is_object(others) ? !json_schema_allows(others, member)
                                     : json_is_false(others)) {
            return false;
        }
    }
    return true;
}

/// For `required`.
static bool all_there(const json_t *required, const json_t *object)
{
    bool there = true;
    for (size_t i = 0; i < json_array_size(required); i++) {
        there = there &&
                json_object_get(object, json_string_value(json_array_get(required, i))) != NULL;
    }
    return there;
}

static bool items_allowed(const json_t *schema, const json_t *array)
{
    bool allowed = true;
    for (size_t i = 0; i < json_array_size(array); i++) {
        allowed = allowed && json_schema_allows(schema, json_array_get(array, i));
    }
    return allowed;
}

/// Keywords about another type than the value's allow it, as the standard says.
static bool keyword_allows(const json_t *schema, const char *keyword, const json_t *argument,
                           const json_t *value)
{
    // these describe and decide nothing
    static const char *const silent[] = {"$schema", "title", "description", "$comment", "default"};
    for (size_t i = 0; i < sizeof silent / sizeof silent[0]; i++) {
        if (strcmp(keyword, silent[i]) == 0) {
            return true;
        }
    }
    if (strcmp(keyword, "type") == 0) {
        return has_one_type(value, argument);
    }
    if (strcmp(keyword, "enum") == 0) {
        return is_among(value, argument);
    }
    if (strcmp(keyword, "anyOf") == 0) {
        return allowed_by_any(argument, value);
    }
    if (strcmp(keyword, "properties") == 0 || strcmp(keyword, "additionalProperties") == 0) {
        return !json_is_object(value) || members_allowed(schema, value);
    }
    if (strcmp(keyword, "required") == 0) {
        return !json_is_object(value) || all_there(argument, value);
    }
    if (strcmp(keyword, "items") == 0) {
        return !json_is_array(value) || items_allowed(argument, value);
    }
    // minimum, maximum and their exclusive forms are left
    cr_assert(strstr(keyword, "inimum") != NULL || strstr(keyword, "aximum") != NULL,
              "no test knows the keyword '%s'", keyword);
    return !json_is_number(value) ||
           in_range(keyword, json_number_value(argument), json_number_value(value));
}

bool json_schema_allows(const json_t *schema, const json_t *value)
{
    const char *keyword;
    json_t *argument;
    cr_assert(json_is_object(schema), "a schema is an object");
    json_object_foreach((json_t *)schema, keyword, argument)
    {
        if (!keyword_allows(schema, keyword, argument, value)) {
            return false;
        }
    }
    return true;
}
