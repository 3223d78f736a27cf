// Expressions: what a node's value is. Depth and steps are counted here, once for each node.
#include <string.h>

#include "common/text/jinja/run.h"
#include "common/text/jinja/strings.h"

static tr_status evaluate_items(jinja_value_t **values, jinja_run_t *run,
                                const jinja_nodes_t *nodes)
{
    *values = jinja_alloc(&run->memory, (nodes->count + 1) * sizeof **values);
    for (size_t i = 0; i < nodes->count; i++) {
        TR_TRY(jinja_evaluate(&(*values)[i], run, nodes->items[i]));
    }
    return TR_OK;
}

static tr_status evaluate_name(jinja_value_t *result, jinja_run_t *run, const jinja_node_t *node)
{
    for (const jinja_scope_t *scope = run->scope; scope != NULL; scope = scope->around) {
        const jinja_value_t *found = jinja_dict_find(&scope->variables, node->name);
        TR_TRY(jinja_spend(run, scope->variables.count / 16));
        if (found != NULL) {
            *result = *found;
            return TR_OK;
        }
    }
    const jinja_builtin_t *function = jinja_function_find(node->name);
    *result = function != NULL ? jinja_bound(run, function, NULL) : jinja_undefined(node->name);
    return TR_OK;
}

static tr_status evaluate_list(jinja_value_t *result, jinja_run_t *run, const jinja_node_t *node)
{
    *result = jinja_list(&run->memory, node->kind == NODE_LIST ? JINJA_LIST : JINJA_TUPLE);
    TR_TRY(evaluate_items(&result->list->items, run, &node->items));
    result->list->count = result->list->capacity = node->items.count;
    return TR_OK;
}

static tr_status evaluate_dict(jinja_value_t *result, jinja_run_t *run, const jinja_node_t *node)
{
    *result = jinja_dict(&run->memory, JINJA_DICT);
    for (size_t i = 0; i < node->items.count; i++) {
        jinja_value_t key, value, *old;
        TR_TRY(jinja_evaluate(&key, run, node->items.items[i]));
        TR_TRY(jinja_evaluate(&value, run, node->values.items[i]));
        if (key.type > JINJA_TEXT) {
            return jinja_fail(run, "a %s cannot be a key", jinja_type_name(&key));
        }
        TR_TRY(jinja_find_key(&old, run, result->dict, &key));
        if (old != NULL) { // the last one counts
            *old = value;
        } else {
            jinja_dict_add(&run->memory, result->dict, key, value);
        }
    }
    return TR_OK;
}

static tr_status evaluate_item(jinja_value_t *result, jinja_run_t *run, const jinja_node_t *node)
{
    jinja_value_t object, index;
    TR_TRY(jinja_evaluate(&object, run, node->a));
    TR_TRY(jinja_evaluate(&index, run, node->b));
    run->line = node->line;
    return jinja_item(result, run, &object, &index);
}

static tr_status evaluate_attribute(jinja_value_t *result, jinja_run_t *run,
                                    const jinja_node_t *node)
{
    jinja_value_t object;
    TR_TRY(jinja_evaluate(&object, run, node->a));
    run->line = node->line;
    return jinja_attribute(result, run, &object, node->name);
}

static tr_status evaluate_slice(jinja_value_t *result, jinja_run_t *run, const jinja_node_t *node)
{
    jinja_value_t object, bounds[3] = {{0}};
    TR_TRY(jinja_evaluate(&object, run, node->a));
    for (size_t i = 0; i < 3; i++) {
        if (node->items.items[i] != NULL) {
            TR_TRY(jinja_evaluate(&bounds[i], run, node->items.items[i]));
        }
    }
    return jinja_slice(result, run, &object, bounds);
}

// Calls

tr_status jinja_evaluate_arguments(jinja_arguments_t *arguments, jinja_run_t *run,
                                   const jinja_node_t *call)
{
    jinja_value_t *items, *values;
    TR_TRY(evaluate_items(&items, run, &call->items));
    TR_TRY(evaluate_items(&values, run, &call->values));
    run->line = call->line; // of the call, not of its last argument
    *arguments = (jinja_arguments_t){.items = items,
                                     .count = call->items.count,
                                     .names = call->names,
                                     .values = values,
                                     .named = call->values.count};
    return TR_OK;
}

tr_status jinja_call_function(jinja_value_t *result, jinja_run_t *run,
                              const jinja_value_t *function, const jinja_arguments_t *arguments)
{
    if (function->type == JINJA_UNDEFINED) {
        return jinja_fail(run, "'%.*s' is undefined", (int)function->text.length,
                          function->text.data);
    }
    if (function->type != JINJA_FUNCTION) {
        return jinja_fail(run, "a %s cannot be called", jinja_type_name(function));
    }
    const jinja_function_t *f = function->function;
    return f->builtin != NULL ? jinja_builtin_call(result, run, f->builtin, &f->self, arguments)
                              : jinja_call_macro(result, run, f, arguments);
}

static tr_status evaluate_call(jinja_value_t *result, jinja_run_t *run, const jinja_node_t *node)
{
    jinja_value_t function;
    jinja_arguments_t arguments;
    TR_TRY(jinja_evaluate(&function, run, node->a));
    TR_TRY(jinja_evaluate_arguments(&arguments, run, node));
    return jinja_call_function(result, run, &function, &arguments);
}

static tr_status evaluate_filter(jinja_value_t *result, jinja_run_t *run, const jinja_node_t *node)
{
    jinja_value_t self;
    jinja_arguments_t arguments;
    TR_TRY(jinja_evaluate(&self, run, node->a));
    TR_TRY(jinja_evaluate_arguments(&arguments, run, node));
    return jinja_filter(result, run, node->name, &self, &arguments);
}

tr_status jinja_apply(jinja_value_t *value, jinja_run_t *run, const jinja_node_t *filters)
{
    jinja_arguments_t arguments;
    TR_TRY(jinja_enter(run));
    if (filters->a != NULL) { // the filter before this one
        TR_TRY(jinja_apply(value, run, filters->a));
    }
    TR_TRY(jinja_evaluate_arguments(&arguments, run, filters));
    const jinja_value_t self = *value;
    TR_TRY(jinja_filter(value, run, filters->name, &self, &arguments));
    jinja_leave(run);
    return TR_OK;
}

static tr_status evaluate_test(jinja_value_t *result, jinja_run_t *run, const jinja_node_t *node)
{
    jinja_value_t self;
    jinja_arguments_t arguments;
    bool truth = false;
    TR_TRY(jinja_evaluate(&self, run, node->a));
    TR_TRY(jinja_evaluate_arguments(&arguments, run, node));
    TR_TRY(jinja_test(&truth, run, node->name, &self, &arguments));
    *result = jinja_bool(truth);
    return TR_OK;
}

// Operators

static tr_status evaluate_sign(jinja_value_t *result, jinja_run_t *run, const jinja_node_t *node)
{
    const jinja_value_t zero = jinja_integer(0);
    jinja_value_t value;
    TR_TRY(jinja_evaluate(&value, run, node->a));
    if (value.type == JINJA_REAL) { // 0 - 0.0 would lose a sign
        *result = jinja_real(node->kind == NODE_NEGATIVE ? -value.real : value.real);
        return TR_OK;
    }
    return jinja_binary(result, run, node->kind == NODE_NEGATIVE ? JINJA_SUBTRACT : JINJA_ADD,
                        &zero, &value);
}

static tr_status evaluate_binary(jinja_value_t *result, jinja_run_t *run, const jinja_node_t *node)
{
    jinja_value_t a, b;
    TR_TRY(jinja_evaluate(&a, run, node->a));
    TR_TRY(jinja_evaluate(&b, run, node->b));
    run->line = node->line;
    return jinja_binary(result, run, node->operator, & a, &b);
}

static tr_status evaluate_concatenated(jinja_value_t *result, jinja_run_t *run,
                                       const jinja_node_t *node)
{
    jinja_builder_t builder = {.run = run};
    jinja_value_t *values;
    TR_TRY(evaluate_items(&values, run, &node->items));
    for (size_t i = 0; i < node->items.count; i++) {
        TR_TRY(jinja_append_value(&builder, &values[i], false));
    }
    return jinja_finish(result, &builder);
}

/// a < b < c is a < b and b < c.
static tr_status evaluate_comparison(jinja_value_t *result, jinja_run_t *run,
                                     const jinja_node_t *node)
{
    jinja_value_t left, right;
    bool truth = true;
    TR_TRY(jinja_evaluate(&left, run, node->a));
    for (size_t i = 0; i < node->items.count && truth; i++) {
        TR_TRY(jinja_evaluate(&right, run, node->items.items[i]));
        run->line = node->line;
        TR_TRY(jinja_compare(&truth, run, node->operators[i], &left, &right));
        left = right;
    }
    *result = jinja_bool(truth);
    return TR_OK;
}

/// `and` and `or` give one of their two values, and the second is evaluated only where it decides.
static tr_status evaluate_logic(jinja_value_t *result, jinja_run_t *run, const jinja_node_t *node)
{
    TR_TRY(jinja_evaluate(result, run, node->a));
    return jinja_truth(result) == (node->kind == NODE_OR) ? TR_OK
                                                          : jinja_evaluate(result, run, node->b);
}

static tr_status evaluate_not(jinja_value_t *result, jinja_run_t *run, const jinja_node_t *node)
{
    jinja_value_t value;
    TR_TRY(jinja_evaluate(&value, run, node->a));
    *result = jinja_bool(!jinja_truth(&value));
    return TR_OK;
}

static tr_status evaluate_choice(jinja_value_t *result, jinja_run_t *run, const jinja_node_t *node)
{
    jinja_value_t condition;
    TR_TRY(jinja_evaluate(&condition, run, node->b));
    const jinja_node_t *chosen = jinja_truth(&condition) ? node->a : node->c;
    if (chosen == NULL) {
        *result = jinja_undefined(JINJA_LITERAL("if without else"));
        return TR_OK;
    }
    return jinja_evaluate(result, run, chosen);
}

static tr_status evaluate_constant(jinja_value_t *result, jinja_run_t *run,
                                   const jinja_node_t *node)
{
    (void)run;
    *result = node->value;
    return TR_OK;
}

tr_status jinja_evaluate(jinja_value_t *result, jinja_run_t *run, const jinja_node_t *node)
{
    static tr_status (*const evaluators[])(jinja_value_t *, jinja_run_t *, const jinja_node_t *) = {
        [NODE_CONSTANT] = evaluate_constant,
        [NODE_NAME] = evaluate_name,
        [NODE_LIST] = evaluate_list,
        [NODE_TUPLE] = evaluate_list,
        [NODE_DICT] = evaluate_dict,
        [NODE_ATTRIBUTE] = evaluate_attribute,
        [NODE_ITEM] = evaluate_item,
        [NODE_SLICE] = evaluate_slice,
        [NODE_CALL] = evaluate_call,
        [NODE_FILTER] = evaluate_filter,
        [NODE_TEST] = evaluate_test,
        [NODE_NOT] = evaluate_not,
        [NODE_NEGATIVE] = evaluate_sign,
        [NODE_POSITIVE] = evaluate_sign,
        [NODE_BINARY] = evaluate_binary,
        [NODE_CONCATENATED] = evaluate_concatenated,
        [NODE_COMPARISON] = evaluate_comparison,
        [NODE_AND] = evaluate_logic,
        [NODE_OR] = evaluate_logic,
        [NODE_CHOICE] = evaluate_choice,
    };
    run->line = node->line;
    TR_TRY(jinja_enter(run));
    TR_TRY(evaluators[node->kind](result, run, node));
    jinja_leave(run);
    return TR_OK;
}
