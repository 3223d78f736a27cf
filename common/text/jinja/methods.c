// Methods of lists, mappings and `loop`. What changes its object (append, update, pop) is refused
// in transformers' sandbox, and is not here.
#include "common/text/jinja/methods.h"

/// The filter of the same name does the same.
static tr_status by_filter(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call,
                           jinja_text_t name)
{
    return jinja_filter(result, run, name, call->self, call->arguments);
}

// Lists

/// Places of items that are equal to the argument: how many, and the first.
static tr_status matches(int64_t *count, int64_t *first, jinja_run_t *run, const jinja_call_t *call)
{
    const jinja_list_t *list = call->self->list;
    *count = 0;
    *first = -1;
    for (size_t i = 0; i < list->count; i++) {
        bool same = false;
        TR_TRY(jinja_compare(&same, run, JINJA_EQUAL, &list->items[i], call->given[0]));
        *first = same && *count == 0 ? (int64_t)i : *first;
        *count += same;
    }
    return TR_OK;
}

static tr_status method_list_count(jinja_value_t *result, jinja_run_t *run,
                                   const jinja_call_t *call)
{
    int64_t first;
    *result = jinja_integer(0);
    return matches(&result->integer, &first, run, call);
}

static tr_status method_list_index(jinja_value_t *result, jinja_run_t *run,
                                   const jinja_call_t *call)
{
    int64_t count;
    *result = jinja_integer(0);
    TR_TRY(matches(&count, &result->integer, run, call));
    return count > 0 ? TR_OK : jinja_fail(run, "index: the value is not in the list");
}

static const jinja_builtin_t LIST_METHODS[] = {
    {"count", "value ", method_list_count},
    {"index", "value ", method_list_index},
};

// Mappings

static tr_status method_get(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    bool found = false;
    if (call->given[1] != NULL) {
        *result = *call->given[1];
    }
    TR_TRY(jinja_compare(&found, run, JINJA_IN, call->given[0], call->self));
    return found ? jinja_item(result, run, call->self, call->given[0]) : TR_OK;
}

static tr_status method_items(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    TR_TRY(by_filter(result, run, call, JINJA_LITERAL("items")));
    result->type = JINJA_VIEW;
    return TR_OK;
}

static tr_status method_keys(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    TR_TRY(by_filter(result, run, call, JINJA_LITERAL("list")));
    result->type = JINJA_VIEW;
    return TR_OK;
}

static tr_status method_values(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    const jinja_dict_t *dict = call->self->dict;
    *result = jinja_list(&run->memory, JINJA_VIEW);
    for (size_t i = 0; i < dict->count; i++) {
        TR_TRY(jinja_spend(run, 1));
        jinja_list_add(&run->memory, result->list, dict->values[i]);
    }
    return TR_OK;
}

static tr_status method_copy(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    (void)run;
    *result = *call->self; // nothing changes either
    return TR_OK;
}

static const jinja_builtin_t DICT_METHODS[] = {
    {"get", "key |default ", method_get}, {"items", "", method_items}, {"keys", "", method_keys},
    {"values", "", method_values},        {"copy", "", method_copy},
};

// loop

static tr_status method_cycle(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    const jinja_arguments_t *arguments = call->arguments;
    if (arguments->count == 0) {
        return jinja_fail(run, "cycle: nothing to cycle through");
    }
    *result = arguments->items[call->self->loop->index % arguments->count];
    return TR_OK;
}

/// Whether the arguments are others than at the last call.
static tr_status method_changed(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    jinja_loop_t *loop = call->self->loop;
    jinja_value_t *given = jinja_alloc(&run->memory, sizeof *given);
    bool same = false;
    *given = jinja_list(&run->memory, JINJA_TUPLE);
    for (size_t i = 0; i < call->arguments->count; i++) {
        jinja_list_add(&run->memory, given->list, call->arguments->items[i]);
    }
    if (loop->changed != NULL) {
        TR_TRY(jinja_compare(&same, run, JINJA_EQUAL, given, loop->changed));
    }
    loop->changed = given;
    *result = jinja_bool(!same);
    return TR_OK;
}

static const jinja_builtin_t LOOP_METHODS[] = {
    {"cycle", NULL, method_cycle},
    {"changed", NULL, method_changed},
};

const jinja_builtin_t *jinja_method_find(const jinja_value_t *object, jinja_text_t name)
{
#define FIND(table) jinja_builtin_find(table, sizeof(table) / sizeof *(table), name)
    switch (object->type) {
    case JINJA_TEXT: return jinja_text_method_find(name);
    case JINJA_LIST:
    case JINJA_TUPLE: return FIND(LIST_METHODS);
    case JINJA_DICT: return FIND(DICT_METHODS);
    case JINJA_LOOP: return FIND(LOOP_METHODS);
    default: return NULL;
    }
#undef FIND
}
