// What values are made of; what is done with them is in operators.c and the tables of functions.
#include "common/text/jinja/value.h"

#include "common/text/jinja/strings.h"

const char *jinja_type_name(const jinja_value_t *value)
{
    static const char *const names[] = {
        [JINJA_UNDEFINED] = "undefined", [JINJA_NONE] = "none",
        [JINJA_BOOL] = "truth value",    [JINJA_INTEGER] = "whole number",
        [JINJA_REAL] = "real number",    [JINJA_TEXT] = "text",
        [JINJA_LIST] = "list",           [JINJA_TUPLE] = "tuple",
        [JINJA_RANGE] = "range",         [JINJA_DICT] = "mapping",
        [JINJA_NAMESPACE] = "namespace", [JINJA_VIEW] = "view of a mapping",
        [JINJA_GENERATOR] = "generator", [JINJA_LOOP] = "loop",
        [JINJA_FUNCTION] = "function",
    };
    return names[value->type];
}

jinja_value_t jinja_list(jinja_memory_t *memory, jinja_type_t type)
{
    return (jinja_value_t){.type = type, .list = jinja_alloc(memory, sizeof(jinja_list_t))};
}

jinja_value_t jinja_dict(jinja_memory_t *memory, jinja_type_t type)
{
    return (jinja_value_t){.type = type, .dict = jinja_alloc(memory, sizeof(jinja_dict_t))};
}

void jinja_list_add(jinja_memory_t *memory, jinja_list_t *list, jinja_value_t item)
{
    list->items = jinja_grow(memory, list->items, list->count, &list->capacity, sizeof item);
    list->items[list->count++] = item;
}

void jinja_list_drop(jinja_list_t *list, size_t count)
{
    list->items += count;
    list->count -= count;
    list->capacity -= count;
}

void jinja_dict_add(jinja_memory_t *memory, jinja_dict_t *dict, jinja_value_t key,
                    jinja_value_t value)
{
    size_t capacity = dict->capacity;
    dict->keys = jinja_grow(memory, dict->keys, dict->count, &capacity, sizeof key);
    dict->values = jinja_grow(memory, dict->values, dict->count, &dict->capacity, sizeof value);
    dict->keys[dict->count] = key;
    dict->values[dict->count++] = value;
}

jinja_value_t *jinja_dict_find(const jinja_dict_t *dict, jinja_text_t key)
{
    for (size_t i = 0; i < dict->count; i++) {
        if (dict->keys[i].type == JINJA_TEXT && jinja_text_equal(dict->keys[i].text, key)) {
            return &dict->values[i];
        }
    }
    return NULL;
}

bool jinja_truth(const jinja_value_t *value)
{
    switch (value->type) {
    case JINJA_UNDEFINED:
    case JINJA_NONE: return false;
    case JINJA_BOOL: return value->truth;
    case JINJA_INTEGER: return value->integer != 0;
    case JINJA_REAL: return value->real != 0;
    case JINJA_TEXT: return value->text.length > 0;
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_RANGE:
    case JINJA_VIEW: return value->list->count > 0;
    case JINJA_DICT: return value->dict->count > 0;
    case JINJA_NAMESPACE:
    case JINJA_GENERATOR: // also where nothing is left
    case JINJA_LOOP:      // the variable is there while there is an item
    case JINJA_FUNCTION: return true;
    }
    return true;
}

double jinja_number(const jinja_value_t *value)
{
    return value->type == JINJA_REAL ? value->real : (double)jinja_whole(value);
}

int64_t jinja_whole(const jinja_value_t *value)
{
    return value->type == JINJA_BOOL ? value->truth : value->integer;
}
