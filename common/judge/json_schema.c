// A validator of JSON Schema: a table with a function for each keyword.
//
// A keyword about another type than the value's allows it, as the standard says. An unknown one is
// refused before anything is validated, so that no schema says what nothing looks at.
#include "common/judge/json_schema.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/judge/matcher.h"
#include "common/text/utf8.h"

/// Of schemas within schemas, $ref included: what goes deeper is not valid.
enum { DEPTH = 200 };

/// A schema at work. root: where $ref begins.
typedef struct schema {
    const json_t *root;
    const json_t *own;
    size_t depth;
} schema_t;

typedef enum argument { ANY, SCHEMA, SCHEMAS, MEMBERS, NUMBER, TEXT, LIST, TRUTH } argument_t;

typedef bool (*allows_fn)(const schema_t *schema, const json_t *argument, const json_t *value);

static bool allows(const schema_t *parent, const json_t *own, const json_t *value);

// Types

/// In JSON Schema 1.0 is an integer too.
static bool has_type(const json_t *value, const char *type)
{
    static const char *const names[] = {"object", "array",   "string",  "number",
                                        "number", "boolean", "boolean", "null"}; // by json_type
    if (strcmp(type, "integer") == 0) {
        return json_is_number(value) && floor(json_number_value(value)) == json_number_value(value);
    }
    return strcmp(names[json_typeof(value)], type) == 0;
}

static bool of_type(const schema_t *schema, const json_t *argument, const json_t *value)
{
    bool has = json_is_string(argument) && has_type(value, json_string_value(argument));
    (void)schema;
    for (size_t i = 0; i < json_array_size(argument); i++) {
        has = has || has_type(value, json_string_value(json_array_get(argument, i)));
    }
    return has;
}

/// json_equal, but 1 and 1.0 are one number, at any depth.
static bool equal(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b)) {
        return json_is_integer(a) && json_is_integer(b)
                   ? json_integer_value(a) == json_integer_value(b)
                   : json_number_value(a) == json_number_value(b);
    }
    if (json_typeof(a) != json_typeof(b)) {
        return false;
    }
    bool same =
        json_array_size(a) == json_array_size(b) && json_object_size(a) == json_object_size(b);
    for (size_t i = 0; same && i < json_array_size(a); i++) {
        same = equal(json_array_get(a, i), json_array_get(b, i));
    }
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)a, key, member)
    {
        const json_t *other = json_object_get(b, key);
        same = same && other != NULL && equal(member, other);
    }
    return same && (json_is_object(a) || json_is_array(a) || json_equal(a, b));
}

static bool is_constant(const schema_t *schema, const json_t *argument, const json_t *value)
{
    (void)schema;
    return equal(argument, value);
}

static bool is_among(const schema_t *schema, const json_t *argument, const json_t *value)
{
    bool found = false;
    (void)schema;
    for (size_t i = 0; i < json_array_size(argument); i++) {
        found = found || equal(value, json_array_get(argument, i));
    }
    return found;
}

// Bounds

#define NUMBER_KEYWORD(name, condition)                                                   \
    static bool name(const schema_t *schema, const json_t *argument, const json_t *value) \
    {                                                                                     \
        double limit = json_number_value(argument), x = json_number_value(value);         \
        (void)schema;                                                                     \
        return !json_is_number(value) || (condition);                                     \
    }
NUMBER_KEYWORD(minimum, x >= limit)
NUMBER_KEYWORD(maximum, x <= limit)
NUMBER_KEYWORD(exclusive_minimum, x > limit)
NUMBER_KEYWORD(exclusive_maximum, x < limit)
NUMBER_KEYWORD(multiple_of, floor(x / limit) == x / limit)

static size_t characters_of(const json_t *text)
{
    const char *bytes = json_string_value(text);
    size_t count = 0, length = json_string_length(text);
    for (size_t at = 0; at < length; count++) {
        size_t n = tr_utf8_next(NULL, bytes + at, length - at);
        at += n > 0 ? n : 1;
    }
    return count;
}

/// The two bounds of each size: of texts in characters, of lists and maps in elements.
#define SIZE_KEYWORDS(least, most, is_one, size)                                           \
    static bool least(const schema_t *schema, const json_t *argument, const json_t *value) \
    {                                                                                      \
        (void)schema;                                                                      \
        return !is_one(value) || (double)(size) >= json_number_value(argument);            \
    }                                                                                      \
    static bool most(const schema_t *schema, const json_t *argument, const json_t *value)  \
    {                                                                                      \
        (void)schema;                                                                      \
        return !is_one(value) || (double)(size) <= json_number_value(argument);            \
    }
SIZE_KEYWORDS(min_length, max_length, json_is_string, characters_of(value))
SIZE_KEYWORDS(min_items, max_items, json_is_array, json_array_size(value))
SIZE_KEYWORDS(min_properties, max_properties, json_is_object, json_object_size(value))

static tr_matcher_t *compiled(const json_t *pattern, tr_error_t *err)
{
    tr_matcher_t *matcher = tr_matcher_new();
    if (tr_matcher_add(matcher, json_string_value(pattern), json_string_length(pattern), err) !=
        TR_OK) {
        tr_matcher_destroy(&matcher);
    }
    return matcher;
}

/// Anywhere in the text. A match that is given up is none.
static bool matches(const schema_t *schema, const json_t *argument, const json_t *value)
{
    bool found = false;
    size_t at = 0;
    tr_error_t err = {0};
    (void)schema;
    if (!json_is_string(value)) {
        return true;
    }
    tr_matcher_t *matcher = compiled(argument, &err);
    tr_status status = tr_matcher_next(&found, &at, matcher, 0, json_string_value(value),
                                       json_string_length(value), &err);
    tr_matcher_destroy(&matcher);
    return status == TR_OK && found;
}

// Maps and lists

static bool members_allowed(const schema_t *schema, const json_t *argument, const json_t *value)
{
    const char *key;
    json_t *member;
    bool allowed = true;
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        const json_t *own = json_object_get(argument, key);
        allowed = allowed && (own == NULL || allows(schema, own, member));
    }
    return allowed;
}

/// Members that `properties` does not name.
static bool others_allowed(const schema_t *schema, const json_t *argument, const json_t *value)
{
    const json_t *known = json_object_get(schema->own, "properties");
    const char *key;
    json_t *member;
    bool allowed = true;
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        allowed =
            allowed && (json_object_get(known, key) != NULL || allows(schema, argument, member));
    }
    return allowed;
}

static bool all_there(const schema_t *schema, const json_t *argument, const json_t *value)
{
    bool there = true;
    (void)schema;
    for (size_t i = 0; json_is_object(value) && i < json_array_size(argument); i++) {
        const char *key = json_string_value(json_array_get(argument, i));
        there = there && key != NULL && json_object_get(value, key) != NULL;
    }
    return there;
}

/// The elements after those of prefixItems.
static bool items_allowed(const schema_t *schema, const json_t *argument, const json_t *value)
{
    bool allowed = true;
    size_t first = json_array_size(json_object_get(schema->own, "prefixItems"));
    for (size_t i = first; allowed && i < json_array_size(value); i++) {
        allowed = allows(schema, argument, json_array_get(value, i));
    }
    return allowed;
}

static bool prefix_allowed(const schema_t *schema, const json_t *argument, const json_t *value)
{
    bool allowed = true;
    for (size_t i = 0; i < json_array_size(argument) && i < json_array_size(value); i++) {
        allowed = allowed && allows(schema, json_array_get(argument, i), json_array_get(value, i));
    }
    return allowed;
}

static bool all_differ(const schema_t *schema, const json_t *argument, const json_t *value)
{
    bool differ = true;
    (void)schema;
    for (size_t i = 0; json_is_true(argument) && i < json_array_size(value); i++) {
        for (size_t j = 0; j < i; j++) {
            differ = differ && !equal(json_array_get(value, i), json_array_get(value, j));
        }
    }
    return differ;
}

// Schemas together

/// How many of the list allow the value.
static size_t allowing(const schema_t *schema, const json_t *list, const json_t *value)
{
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        count += allows(schema, json_array_get(list, i), value);
    }
    return count;
}

static bool all_of(const schema_t *schema, const json_t *argument, const json_t *value)
{
    return allowing(schema, argument, value) == json_array_size(argument);
}

static bool any_of(const schema_t *schema, const json_t *argument, const json_t *value)
{
    return allowing(schema, argument, value) > 0;
}

static bool one_of(const schema_t *schema, const json_t *argument, const json_t *value)
{
    return allowing(schema, argument, value) == 1;
}

static bool none_of(const schema_t *schema, const json_t *argument, const json_t *value)
{
    return !allows(schema, argument, value);
}

/// "#", or "#/$defs/name": the place in root. NULL: there is none.
static const json_t *find(const json_t *root, const char *reference)
{
    const json_t *at = reference[0] == '#' ? root : NULL;
    for (const char *part = strchr(reference, '/'); at != NULL && part != NULL;) {
        const char *next = strchr(part + 1, '/');
        size_t length = next != NULL ? (size_t)(next - part - 1) : strlen(part + 1);
        char *key = tr_format("%.*s", (int)length, part + 1);
        at = json_object_get(at, key);
        free(key);
        part = next;
    }
    return at;
}

static bool referred(const schema_t *schema, const json_t *argument, const json_t *value)
{
    return allows(schema, find(schema->root, json_string_value(argument)), value);
}

// Keywords

static const struct {
    const char *name;
    argument_t argument;
    allows_fn allows; // NULL: it describes, and decides nothing
} keywords[] = {
    {"type", ANY, of_type},
    {"enum", LIST, is_among},
    {"const", ANY, is_constant},
    {"minimum", NUMBER, minimum},
    {"maximum", NUMBER, maximum},
    {"exclusiveMinimum", NUMBER, exclusive_minimum},
    {"exclusiveMaximum", NUMBER, exclusive_maximum},
    {"multipleOf", NUMBER, multiple_of},
    {"minLength", NUMBER, min_length},
    {"maxLength", NUMBER, max_length},
    {"minItems", NUMBER, min_items},
    {"maxItems", NUMBER, max_items},
    {"minProperties", NUMBER, min_properties},
    {"maxProperties", NUMBER, max_properties},
    {"pattern", TEXT, matches},
    {"properties", MEMBERS, members_allowed},
    {"additionalProperties", SCHEMA, others_allowed},
    {"required", LIST, all_there},
    {"items", SCHEMA, items_allowed},
    {"prefixItems", SCHEMAS, prefix_allowed},
    {"uniqueItems", TRUTH, all_differ},
    {"allOf", SCHEMAS, all_of},
    {"anyOf", SCHEMAS, any_of},
    {"oneOf", SCHEMAS, one_of},
    {"not", SCHEMA, none_of},
    {"$ref", TEXT, referred},
    {"$defs", MEMBERS, NULL},
    {"definitions", MEMBERS, NULL},
    {"$schema", ANY, NULL},
    {"$id", ANY, NULL},
    {"$comment", ANY, NULL},
    {"title", ANY, NULL},
    {"description", ANY, NULL},
    {"default", ANY, NULL},
    {"examples", ANY, NULL},
    {"format", ANY, NULL},
    {"deprecated", ANY, NULL},
    {"readOnly", ANY, NULL},
    {"writeOnly", ANY, NULL},
};
enum { KEYWORDS = sizeof keywords / sizeof keywords[0] };

static bool allows(const schema_t *parent, const json_t *own, const json_t *value)
{
    const schema_t schema = {parent->root, own, parent->depth + 1};
    bool allowed = schema.depth < DEPTH && !json_is_false(own);
    // the cheapest and most telling first, in the table's order
    for (size_t i = 0; i < KEYWORDS && allowed; i++) {
        const json_t *argument = json_object_get(own, keywords[i].name);
        allowed = argument == NULL || keywords[i].allows == NULL ||
                  keywords[i].allows(&schema, argument, value);
    }
    return allowed;
}

bool tr_json_schema_allows(const json_t *schema, const json_t *value)
{
    return allows(&(schema_t){schema, schema, 0}, schema, value);
}

// Checks

static tr_status check(const json_t *root, const json_t *own, tr_error_t *err);

static tr_status check_each(const json_t *root, const json_t *list, tr_error_t *err)
{
    const char *key;
    json_t *member;
    for (size_t i = 0; i < json_array_size(list); i++) {
        TR_TRY(check(root, json_array_get(list, i), err));
    }
    json_object_foreach((json_t *)(uintptr_t)list, key, member)
    {
        TR_TRY(check(root, member, err));
    }
    return TR_OK;
}

/// Patterns compile, and references lead somewhere.
static tr_status check_text(const json_t *root, const char *keyword, const json_t *text,
                            tr_error_t *err)
{
    if (strcmp(keyword, "$ref") == 0) {
        return find(root, json_string_value(text)) != NULL
                   ? TR_OK
                   : tr_fail(err, TR_ERR_ARGUMENT, "$ref: there is no '%s' in the schema",
                             json_string_value(text));
    }
    tr_matcher_t *matcher = compiled(text, err);
    bool fine = matcher != NULL;
    tr_matcher_destroy(&matcher);
    return fine ? TR_OK : tr_error_prefix(err, "pattern");
}

static tr_status check_argument(const json_t *root, size_t keyword, const json_t *argument,
                                tr_error_t *err)
{
    const char *name = keywords[keyword].name;
    const struct {
        bool fits;
        const char *expected;
    } forms[] = {
        [ANY] = {true, "anything"},
        [SCHEMA] = {json_is_object(argument) || json_is_boolean(argument), "a schema"},
        [SCHEMAS] = {json_is_array(argument), "a list of schemas"},
        [MEMBERS] = {json_is_object(argument), "a map of schemas"},
        [NUMBER] = {json_is_number(argument), "a number"},
        [TEXT] = {json_is_string(argument), "a text"},
        [LIST] = {json_is_array(argument), "a list"},
        [TRUTH] = {json_is_boolean(argument), "true or false"},
    };
    argument_t form = keywords[keyword].argument;
    if (!forms[form].fits) {
        return tr_fail(err, TR_ERR_ARGUMENT, "%s: expected %s", name, forms[form].expected);
    }
    return form == SCHEMA                       ? check(root, argument, err)
           : form == SCHEMAS || form == MEMBERS ? check_each(root, argument, err)
           : form == TEXT                       ? check_text(root, name, argument, err)
                                                : TR_OK;
}

static tr_status check(const json_t *root, const json_t *own, tr_error_t *err)
{
    const char *name;
    json_t *argument;
    if (!json_is_object(own) && !json_is_boolean(own)) {
        return tr_fail(err, TR_ERR_ARGUMENT, "a schema is a map, true or false");
    }
    json_object_foreach((json_t *)(uintptr_t)own, name, argument)
    {
        size_t i = 0;
        while (i < KEYWORDS && strcmp(keywords[i].name, name) != 0) {
            i++;
        }
        if (i == KEYWORDS) {
            return tr_fail(err, TR_ERR_UNSUPPORTED, "the keyword '%s' is not known here", name);
        }
        TR_TRY(check_argument(root, i, argument, err));
    }
    return TR_OK;
}

tr_status tr_json_schema_check(const json_t *schema, tr_error_t *err)
{
    return check(schema, schema, err);
}
