// What every table of fields must hold, for the tests of the modules that own one.
//
// Choices are strings in one place and an enum in another, tied by index alone:
// fields_check_choices is the test that ties them.
#include "tests/support/fields.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/recipe/algorithms.h"

static const tr_field_t *find(const tr_fields_t *fields, const char *name)
{
    const tr_field_t *field = tr_fields_find(fields, name);
    cr_assert_not_null(field, "no field '%s'", name);
    cr_assert_not_null(field->choices, "'%s' has no choices", name);
    return field;
}

/// The only choice in the field.
static int chosen(const void *record, const tr_field_t *field)
{
    const void *value = tr_field_of_const(record, field);
    const tr_choices_t *list = value;
    if (field->kind == TR_FIELD_CHOICE) {
        return *(const int *)value;
    }
    cr_assert_eq(list->count, 1U);
    return list->items[0];
}

void fields_check_choices(const tr_fields_t *fields, const char *name, const char *const *names)
{
    const tr_field_t *field = find(fields, name);
    void *record = tr_calloc(1, fields->size);
    int i = 0;
    // text to index, index to text: both ways for each choice
    tr_fields_init(record, fields);
    // by index: it is the value of the enum
    for (; names[i] != NULL; i++) {
        cr_assert_str_eq(tr_field_choice(field, (size_t)i), names[i]);
        cr_assert(tr_field_parse(record, field, names[i], false), "'%s'", names[i]);
        cr_assert_eq(chosen(record, field), i, "'%s'", names[i]);
    }
    cr_assert_null(tr_field_choice(field, (size_t)i), "'%s' has more choices", name);
    // a refused word must leave the field alone
    cr_assert_not(tr_field_parse(record, field, "no such word", false));
    cr_assert_eq(chosen(record, field), i - 1, "a word that is no choice changed the field");
    tr_fields_release(record, fields);
    free(record);
}

const char *fields_choice(const tr_fields_t *fields, const char *name, int index)
{
    return tr_field_choice(find(fields, name), (size_t)index);
}

/// Local fields stay out: they never travel.
void fields_put_defaults(json_t *body, const tr_fields_t *fields)
{
    void *record = tr_calloc(1, fields->size);
    tr_fields_init(record, fields);
    tr_fields_to_json(body, record, fields);
    tr_fields_release(record, fields);
    free(record);
}

/// In C a JSON text full of escaped quotes is hard to read.
json_t *fields_json(const char *text)
{
    char *quoted = tr_strdup(text);
    json_error_t error;
    for (char *c = quoted; *c != '\0'; c++) {
        *c = *c == '\'' ? '"' : *c;
    }
    json_t *value = json_loads(quoted, JSON_DECODE_ANY, &error);
    cr_assert_not_null(value, "%s: %s", quoted, error.text);
    free(quoted);
    return value;
}

/// The index in the table, which is what a recipe holds.
int fields_algorithm(const char *name)
{
    for (size_t i = 0; i < tr_algorithm_count; i++) {
        if (strcmp(tr_algorithms[i].name, name) == 0) {
            return (int)i;
        }
    }
    cr_assert_fail("no algorithm '%s'", name);
    return -1;
}
