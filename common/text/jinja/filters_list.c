// Filters of lists and mappings. What Jinja computes while it is walked is computed at once here.
#include <string.h>

#include "common/text/jinja/filters.h"
#include "common/text/jinja/strings.h"

static bool flag(const jinja_value_t *value)
{
    return value != NULL && jinja_truth(value);
}

static const jinja_arguments_t nothing = {0};

/// An item's part by a dotted path: "function.name". attribute: NULL or none for the item itself.
/// fallback: what stands for each step that leads nowhere, or NULL.
static tr_status part_or(jinja_value_t *part, jinja_run_t *run, const jinja_value_t *item,
                         const jinja_value_t *attribute, const jinja_value_t *fallback)
{
    *part = *item;
    if (attribute == NULL || attribute->type == JINJA_NONE) {
        return TR_OK;
    }
    if (attribute->type != JINJA_TEXT) {
        const jinja_value_t object = *part;
        return jinja_item(part, run, &object, attribute);
    }
    jinja_text_t rest = attribute->text;
    while (true) {
        const jinja_value_t object = *part;
        size_t dot = jinja_find(rest, JINJA_LITERAL("."), 0);
        size_t length = dot == SIZE_MAX ? rest.length : dot;
        const jinja_value_t name = jinja_text(rest.data, length);
        TR_TRY(jinja_item(part, run, &object, &name));
        *part = part->type == JINJA_UNDEFINED && fallback != NULL ? *fallback : *part;
        if (dot == SIZE_MAX) {
            return TR_OK;
        }
        rest = (jinja_text_t){rest.data + dot + 1, rest.length - dot - 1};
    }
}

static tr_status part_of(jinja_value_t *part, jinja_run_t *run, const jinja_value_t *item,
                         const jinja_value_t *attribute)
{
    return part_or(part, run, item, attribute, NULL);
}

static tr_status filter_list(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    const jinja_list_t *items;
    TR_TRY(jinja_iterate(&items, run, call->self));
    *result = jinja_list(&run->memory, JINJA_LIST);
    for (size_t i = 0; i < items->count; i++) {
        TR_TRY(jinja_spend(run, 1));
        jinja_list_add(&run->memory, result->list, items->items[i]);
    }
    return TR_OK;
}

static tr_status filter_first(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    const jinja_list_t *items;
    TR_TRY(jinja_iterate(&items, run, call->self));
    *result = items->count > 0 ? items->items[0]
                               : jinja_undefined(JINJA_LITERAL("the first item of nothing"));
    if (call->self->type == JINJA_GENERATOR && items->count > 0) { // the others are left
        *call->self->list = *items;
        jinja_list_drop(call->self->list, 1);
    }
    return TR_OK;
}

static tr_status filter_last(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    const jinja_list_t *items;
    if (call->self->type == JINJA_GENERATOR) {
        return jinja_fail(run, "last: a generator is walked from its start: use 'list' before");
    }
    TR_TRY(jinja_iterate(&items, run, call->self));
    *result = items->count > 0 ? items->items[items->count - 1]
                               : jinja_undefined(JINJA_LITERAL("the last item of nothing"));
    return TR_OK;
}

static tr_status filter_reverse(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    const jinja_list_t *items;
    jinja_builder_t builder = {.run = run};
    const jinja_type_t type = call->self->type;
    TR_TRY(jinja_iterate(&items, run, call->self));
    *result = jinja_list(&run->memory, type == JINJA_GENERATOR ? JINJA_LIST : JINJA_GENERATOR);
    for (size_t i = items->count; i-- > 0;) {
        TR_TRY(jinja_spend(run, 1));
        jinja_list_add(&run->memory, result->list, items->items[i]);
        if (type == JINJA_TEXT) {
            jinja_append_text(&builder, items->items[i].text);
        }
    }
    return type == JINJA_TEXT ? jinja_finish(result, &builder) : TR_OK;
}

static tr_status filter_join(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    const jinja_list_t *items;
    jinja_builder_t builder = {.run = run};
    jinja_text_t between = {0};
    TR_TRY(jinja_iterate(&items, run, call->self));
    if (call->given[0] != NULL) {
        TR_TRY(jinja_to_text(&between, run, call->given[0]));
    }
    for (size_t i = 0; i < items->count; i++) {
        jinja_value_t item;
        TR_TRY(jinja_spend(run, 1));
        TR_TRY(part_of(&item, run, &items->items[i], call->given[1]));
        jinja_append(&builder, between.data, i > 0 ? between.length : 0);
        TR_TRY(jinja_append_value(&builder, &item, false));
    }
    return jinja_finish(result, &builder);
}

static void add_pair(jinja_run_t *run, jinja_list_t *list, jinja_value_t key, jinja_value_t value)
{
    jinja_value_t pair = jinja_list(&run->memory, JINJA_TUPLE);
    jinja_list_add(&run->memory, pair.list, key);
    jinja_list_add(&run->memory, pair.list, value);
    jinja_list_add(&run->memory, list, pair);
}

static tr_status filter_items(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    const jinja_value_t *self = call->self;
    *result = jinja_list(&run->memory, JINJA_GENERATOR);
    if (self->type == JINJA_UNDEFINED) {
        return TR_OK;
    }
    if (self->type != JINJA_DICT) {
        return jinja_fail(run, "items: expected a mapping, found a %s", jinja_type_name(self));
    }
    for (size_t i = 0; i < self->dict->count; i++) {
        TR_TRY(jinja_spend(run, 1));
        add_pair(run, result->list, self->dict->keys[i], self->dict->values[i]);
    }
    return TR_OK;
}

// By another filter or test

/// The call's arguments from the second on.
static jinja_arguments_t rest_of(const jinja_arguments_t *arguments, size_t from)
{
    jinja_arguments_t rest = *arguments;
    rest.items += from;
    rest.count -= from;
    return rest;
}

static const jinja_value_t *named(const jinja_arguments_t *arguments, jinja_text_t name)
{
    for (size_t i = 0; i < arguments->named; i++) {
        if (jinja_text_equal(arguments->names[i], name)) {
            return &arguments->values[i];
        }
    }
    return NULL;
}

/// map(attribute="name", default=...) or map("filter", arguments ...).
static tr_status filter_map(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    const jinja_list_t *items;
    const jinja_arguments_t *arguments = call->arguments;
    const jinja_value_t *attribute = named(arguments, JINJA_LITERAL("attribute"));
    const jinja_value_t *fallback = named(arguments, JINJA_LITERAL("default"));
    bool by_name = arguments->count > 0 && arguments->items[0].type == JINJA_TEXT;
    if (attribute == NULL && !by_name) {
        return jinja_fail(run, "map: expected a filter's name, or an attribute");
    }
    TR_TRY(jinja_iterate(&items, run, call->self));
    *result = jinja_list(&run->memory, JINJA_GENERATOR);
    for (size_t i = 0; i < items->count; i++) {
        const jinja_arguments_t rest = rest_of(arguments, by_name);
        jinja_value_t item;
        if (attribute != NULL) {
            TR_TRY(part_or(&item, run, &items->items[i], attribute, fallback));
        } else {
            TR_TRY(jinja_filter(&item, run, arguments->items[0].text, &items->items[i], &rest));
        }
        jinja_list_add(&run->memory, result->list, item);
    }
    return TR_OK;
}

/// Items for which a test holds, or does not (wanted). attribute: the first argument names a part
/// of the item. Without a test the item, or its part, must be true.
static tr_status choose(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call,
                        bool attribute, bool wanted)
{
    const jinja_list_t *items;
    const jinja_arguments_t *arguments = call->arguments;
    bool tests = arguments->count > attribute;
    if (arguments->count < attribute || (tests && arguments->items[attribute].type != JINJA_TEXT)) {
        return jinja_fail(run, "expected the name of %s", attribute ? "an attribute" : "a test");
    }
    TR_TRY(jinja_iterate(&items, run, call->self));
    *result = jinja_list(&run->memory, JINJA_GENERATOR);
    for (size_t i = 0; i < items->count; i++) {
        const jinja_arguments_t rest = rest_of(arguments, (size_t)attribute + tests);
        jinja_value_t part;
        TR_TRY(part_of(&part, run, &items->items[i], attribute ? &arguments->items[0] : NULL));
        bool holds = jinja_truth(&part);
        if (tests) {
            TR_TRY(jinja_test(&holds, run, arguments->items[attribute].text, &part, &rest));
        }
        if (holds == wanted) {
            jinja_list_add(&run->memory, result->list, items->items[i]);
        }
        TR_TRY(jinja_spend(run, 1));
    }
    return TR_OK;
}

static tr_status filter_select(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    return choose(result, run, call, false, true);
}

static tr_status filter_reject(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    return choose(result, run, call, false, false);
}

static tr_status filter_selectattr(jinja_value_t *result, jinja_run_t *run,
                                   const jinja_call_t *call)
{
    return choose(result, run, call, true, true);
}

static tr_status filter_rejectattr(jinja_value_t *result, jinja_run_t *run,
                                   const jinja_call_t *call)
{
    return choose(result, run, call, true, false);
}

// In order

/// How items are compared: by a part of them, small letters as capital ones unless `cased`.
typedef struct order {
    const jinja_value_t *attribute;
    bool cased, reversed;
} order_t;

static tr_status key_of(jinja_value_t *key, jinja_run_t *run, const order_t *order,
                        const jinja_value_t *item)
{
    TR_TRY(part_of(key, run, item, order->attribute));
    if (key->type == JINJA_TEXT && !order->cased) {
        const jinja_value_t text = *key;
        return jinja_filter(key, run, JINJA_LITERAL("lower"), &text, &nothing);
    }
    return TR_OK;
}

static tr_status item_less(bool *less, jinja_run_t *run, const void *context,
                           const jinja_value_t *a, const jinja_value_t *b)
{
    const order_t *order = context;
    jinja_value_t x, y;
    TR_TRY(key_of(&x, run, order, a));
    TR_TRY(key_of(&y, run, order, b));
    return jinja_compare(less, run, order->reversed ? JINJA_GREATER : JINJA_LESS, &x, &y);
}

static tr_status filter_sort(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    const order_t order = {.reversed = flag(call->given[0]),
                           .cased = flag(call->given[1]),
                           .attribute = call->given[2]};
    TR_TRY(filter_list(result, run, call));
    return jinja_sort(run, result->list->items, result->list->count, item_less, &order);
}

/// Pairs of a mapping, by key or by value.
static tr_status filter_dictsort(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    const jinja_value_t *by = call->given[1];
    bool value =
        by != NULL && by->type == JINJA_TEXT && jinja_text_equal(by->text, JINJA_LITERAL("value"));
    const jinja_value_t place = jinja_integer(value);
    const order_t order = {
        .cased = flag(call->given[0]), .reversed = flag(call->given[2]), .attribute = &place};
    if (call->self->type != JINJA_DICT) {
        return jinja_fail(run, "dictsort: expected a mapping, found a %s",
                          jinja_type_name(call->self));
    }
    TR_TRY(filter_items(result, run, call));
    result->type = JINJA_LIST;
    return jinja_sort(run, result->list->items, result->list->count, item_less, &order);
}

static tr_status filter_unique(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    const order_t order = {.cased = flag(call->given[0]), .attribute = call->given[1]};
    jinja_value_t seen = jinja_list(&run->memory, JINJA_LIST), key;
    const jinja_list_t *items;
    TR_TRY(jinja_iterate(&items, run, call->self));
    *result = jinja_list(&run->memory, JINJA_GENERATOR);
    for (size_t i = 0; i < items->count; i++) {
        bool known = false;
        TR_TRY(key_of(&key, run, &order, &items->items[i]));
        TR_TRY(jinja_compare(&known, run, JINJA_IN, &key, &seen));
        if (!known) {
            jinja_list_add(&run->memory, seen.list, key);
            jinja_list_add(&run->memory, result->list, items->items[i]);
        }
    }
    return TR_OK;
}

/// The smallest or the greatest item; the first of equal ones.
static tr_status extreme(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call,
                         bool greatest)
{
    const order_t order = {
        .cased = flag(call->given[0]), .attribute = call->given[1], .reversed = greatest};
    const jinja_list_t *items;
    TR_TRY(jinja_iterate(&items, run, call->self));
    *result = jinja_undefined(JINJA_LITERAL("an item of nothing"));
    for (size_t i = 0; i < items->count; i++) {
        bool better = i == 0;
        if (i > 0) {
            TR_TRY(item_less(&better, run, &order, &items->items[i], result));
        }
        *result = better ? items->items[i] : *result;
    }
    return TR_OK;
}

static tr_status filter_min(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    return extreme(result, run, call, false);
}

static tr_status filter_max(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    return extreme(result, run, call, true);
}

static tr_status filter_sum(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    const jinja_list_t *items;
    TR_TRY(jinja_iterate(&items, run, call->self));
    *result = call->given[1] != NULL ? *call->given[1] : jinja_integer(0);
    for (size_t i = 0; i < items->count; i++) {
        const jinja_value_t sum = *result;
        jinja_value_t item;
        TR_TRY(part_of(&item, run, &items->items[i], call->given[0]));
        TR_TRY(jinja_binary(result, run, JINJA_ADD, &sum, &item));
    }
    return TR_OK;
}

static const jinja_builtin_t FILTERS[] = {
    {"list", "", filter_list},
    {"first", "", filter_first},
    {"last", "", filter_last},
    {"reverse", "", filter_reverse},
    {"join", "|d attribute ", filter_join},
    {"items", "", filter_items},
    {"map", NULL, filter_map},
    {"select", NULL, filter_select},
    {"reject", NULL, filter_reject},
    {"selectattr", NULL, filter_selectattr},
    {"rejectattr", NULL, filter_rejectattr},
    {"sort", "|reverse case_sensitive attribute ", filter_sort},
    {"dictsort", "|case_sensitive by reverse ", filter_dictsort},
    {"unique", "|case_sensitive attribute ", filter_unique},
    {"min", "|case_sensitive attribute ", filter_min},
    {"max", "|case_sensitive attribute ", filter_max},
    {"sum", "|attribute start ", filter_sum},
};

const jinja_builtin_t *jinja_list_filter_find(jinja_text_t name)
{
    return jinja_builtin_find(FILTERS, sizeof FILTERS / sizeof *FILTERS, name);
}
