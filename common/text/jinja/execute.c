// Statements: what a template writes, the names it sets, and macros. A body that must not leak its
// names runs in a scope of its own; `if` has none.
#include <string.h>

#include "common/text/jinja/run.h"

// Scopes

jinja_scope_t *jinja_scope_new(jinja_run_t *run, jinja_scope_t *around)
{
    jinja_scope_t *scope = jinja_alloc(&run->memory, sizeof *scope);
    scope->around = around;
    return scope;
}

void jinja_scope_set(jinja_run_t *run, jinja_scope_t *scope, jinja_text_t name,
                     const jinja_value_t *value)
{
    jinja_value_t *old = jinja_dict_find(&scope->variables, name);
    if (old != NULL) {
        *old = *value;
    } else {
        jinja_dict_add(&run->memory, &scope->variables, jinja_text(name.data, name.length), *value);
    }
}

/// A body with a scope of its own, whose names end with it.
static tr_status execute_inside(jinja_run_t *run, const jinja_nodes_t *body, jinja_scope_t *scope)
{
    jinja_scope_t *outer = run->scope;
    run->scope = scope;
    TR_TRY(jinja_execute(run, body));
    run->scope = outer;
    return TR_OK;
}

/// What the body writes, as a value instead.
static tr_status capture(jinja_value_t *text, jinja_run_t *run, const jinja_nodes_t *body,
                         jinja_scope_t *scope)
{
    jinja_builder_t *builder = jinja_alloc(&run->memory, sizeof *builder), *outer = run->out;
    builder->run = run;
    run->out = builder;
    TR_TRY(execute_inside(run, body, scope));
    run->out = outer;
    return jinja_finish(text, builder);
}

// Names

/// An attribute of a namespace; nothing else can be changed.
static tr_status assign_attribute(jinja_run_t *run, const jinja_node_t *target,
                                  const jinja_value_t *value)
{
    jinja_value_t object;
    TR_TRY(jinja_evaluate(&object, run, target->a));
    if (object.type != JINJA_NAMESPACE) {
        return jinja_fail(run, "attributes can be set of a namespace, found a %s",
                          jinja_type_name(&object));
    }
    jinja_value_t *old = jinja_dict_find(object.dict, target->name);
    if (old != NULL) {
        *old = *value;
    } else {
        jinja_dict_add(&run->memory, object.dict,
                       jinja_text(target->name.data, target->name.length), *value);
    }
    return TR_OK;
}

tr_status jinja_assign(jinja_run_t *run, const jinja_node_t *target, const jinja_value_t *value)
{
    if (target->kind == NODE_ATTRIBUTE) {
        return assign_attribute(run, target, value);
    }
    if (target->kind == NODE_NAME) {
        TR_TRY(jinja_spend(run, run->scope->variables.count / 16));
        jinja_scope_set(run, run->scope, target->name, value);
        return TR_OK;
    }
    const jinja_list_t *items;
    TR_TRY(jinja_iterate(&items, run, value));
    if (items->count != target->items.count) {
        return jinja_fail(run, "%zu values for %zu names", items->count, target->items.count);
    }
    for (size_t i = 0; i < items->count; i++) {
        TR_TRY(jinja_assign(run, target->items.items[i], &items->items[i]));
    }
    return TR_OK;
}

static tr_status execute_set(jinja_run_t *run, const jinja_node_t *node)
{
    jinja_value_t value;
    TR_TRY(jinja_evaluate(&value, run, node->b));
    return jinja_assign(run, node->a, &value);
}

static tr_status execute_set_block(jinja_run_t *run, const jinja_node_t *node)
{
    jinja_value_t text;
    TR_TRY(capture(&text, run, &node->body, jinja_scope_new(run, run->scope)));
    if (node->b != NULL) {
        TR_TRY(jinja_apply(&text, run, node->b));
    }
    return jinja_assign(run, node->a, &text);
}

static tr_status execute_with(jinja_run_t *run, const jinja_node_t *node)
{
    jinja_scope_t *outer = run->scope, *scope = jinja_scope_new(run, outer);
    for (size_t i = 0; i < node->items.count; i++) {
        jinja_value_t value;
        TR_TRY(jinja_evaluate(&value, run, node->values.items[i])); // sees none of the new names
        run->scope = scope;
        TR_TRY(jinja_assign(run, node->items.items[i], &value));
        run->scope = outer;
    }
    return execute_inside(run, &node->body, scope);
}

// Choices and loops

static tr_status execute_if(jinja_run_t *run, const jinja_node_t *node)
{
    jinja_value_t condition;
    TR_TRY(jinja_evaluate(&condition, run, node->a));
    return jinja_execute(run, jinja_truth(&condition) ? &node->body : &node->otherwise);
}

/// The items that the loop's condition takes. Within it, `loop` is that of the loop around.
static tr_status filter_items(const jinja_list_t **items, jinja_run_t *run,
                              const jinja_node_t *node)
{
    jinja_value_t taken = jinja_list(&run->memory, JINJA_LIST), condition;
    jinja_scope_t *outer = run->scope;
    run->scope = jinja_scope_new(run, outer);
    for (size_t i = 0; i < (*items)->count; i++) {
        TR_TRY(jinja_assign(run, node->a, &(*items)->items[i]));
        TR_TRY(jinja_evaluate(&condition, run, node->c));
        if (jinja_truth(&condition)) {
            jinja_list_add(&run->memory, taken.list, (*items)->items[i]);
        }
    }
    run->scope = outer;
    *items = taken.list;
    return TR_OK;
}

/// One turn of the loop, in a scope of its own.
static tr_status execute_turn(jinja_run_t *run, const jinja_node_t *node, const jinja_value_t *loop,
                              const jinja_value_t *item)
{
    jinja_scope_t *outer = run->scope;
    run->scope = jinja_scope_new(run, outer);
    jinja_scope_set(run, run->scope, JINJA_LITERAL("loop"), loop);
    TR_TRY(jinja_assign(run, node->a, item));
    TR_TRY(jinja_execute(run, &node->body));
    run->scope = outer;
    return TR_OK;
}

static tr_status execute_for(jinja_run_t *run, const jinja_node_t *node)
{
    jinja_value_t walked;
    const jinja_list_t *items;
    TR_TRY(jinja_evaluate(&walked, run, node->b));
    TR_TRY(jinja_iterate(&items, run, &walked));
    if (node->c != NULL) {
        TR_TRY(filter_items(&items, run, node));
    }
    jinja_loop_t *state = jinja_alloc(&run->memory, sizeof *state);
    *state = (jinja_loop_t){.items = items};
    const jinja_value_t loop = {.type = JINJA_LOOP, .loop = state};
    for (; state->index < items->count && run->flow != JINJA_BREAK; state->index++) {
        TR_TRY(execute_turn(run, node, &loop, &items->items[state->index]));
        run->flow = run->flow == JINJA_CONTINUE ? JINJA_ON : run->flow;
    }
    run->flow = JINJA_ON;
    return items->count > 0
               ? TR_OK
               : execute_inside(run, &node->otherwise, jinja_scope_new(run, run->scope));
}

static tr_status execute_leave(jinja_run_t *run, const jinja_node_t *node)
{
    run->flow = node->kind == NODE_BREAK ? JINJA_BREAK : JINJA_CONTINUE;
    return TR_OK;
}

// Macros

/// Parameter i of a macro, where the call gave it: by place, else by name. NULL: it did not.
static const jinja_value_t *given(const jinja_node_t *macro, size_t i,
                                  const jinja_arguments_t *arguments)
{
    if (i < arguments->count) {
        return &arguments->items[i];
    }
    for (size_t k = 0; k < arguments->named; k++) {
        const jinja_text_t name = macro->items.items[i]->name;
        if (arguments->names[k].length == name.length &&
            memcmp(arguments->names[k].data, name.data, name.length) == 0) {
            return &arguments->values[k];
        }
    }
    return NULL;
}

/// Sets the parameters, in their order: a default may name those before it.
static tr_status bind(jinja_run_t *run, const jinja_node_t *macro,
                      const jinja_arguments_t *arguments)
{
    size_t required = macro->items.count - macro->values.count, taken = 0;
    TR_ASSERT(arguments->named == 0 || arguments->values != NULL, "names without values");
    for (size_t i = 0; i < macro->items.count; i++) {
        const jinja_text_t name = macro->items.items[i]->name;
        const jinja_value_t *argument = given(macro, i, arguments);
        jinja_value_t value = jinja_undefined(name);
        taken += argument != NULL;
        if (argument != NULL) {
            value = *argument;
        } else if (i >= required) {
            TR_TRY(jinja_evaluate(&value, run, macro->values.items[i - required]));
        }
        jinja_scope_set(run, run->scope, name, &value);
    }
    for (size_t k = 0; k < arguments->named; k++) {
        const jinja_text_t caller = JINJA_LITERAL("caller"), name = arguments->names[k];
        if (name.length == caller.length && memcmp(name.data, caller.data, name.length) == 0) {
            jinja_scope_set(run, run->scope, caller, &arguments->values[k]);
            taken++;
        }
    }
    return taken == arguments->count + arguments->named
               ? TR_OK
               : jinja_fail(run, "'%.*s' takes %zu arguments, and it is given others",
                            (int)macro->name.length, macro->name.data, macro->items.count);
}

tr_status jinja_call_macro(jinja_value_t *result, jinja_run_t *run,
                           const jinja_function_t *function, const jinja_arguments_t *arguments)
{
    jinja_scope_t *outer = run->scope;
    TR_TRY(jinja_enter(run));
    run->scope = jinja_scope_new(run, function->scope);
    TR_TRY(bind(run, function->macro, arguments));
    TR_TRY(capture(result, run, &function->macro->body, run->scope));
    run->scope = outer;
    jinja_leave(run);
    return TR_OK;
}

static jinja_value_t macro_value(jinja_run_t *run, const jinja_node_t *node)
{
    jinja_function_t *function = jinja_alloc(&run->memory, sizeof *function);
    *function = (jinja_function_t){.macro = node, .scope = run->scope};
    return (jinja_value_t){.type = JINJA_FUNCTION, .function = function};
}

static tr_status execute_macro(jinja_run_t *run, const jinja_node_t *node)
{
    const jinja_value_t macro = macro_value(run, node);
    jinja_scope_set(run, run->scope, node->name, &macro);
    return TR_OK;
}

/// The call gets one argument more, `caller`: the block.
static tr_status execute_call_block(jinja_run_t *run, const jinja_node_t *node)
{
    jinja_value_t function, result;
    jinja_arguments_t arguments;
    TR_TRY(jinja_evaluate(&function, run, node->a->a));
    TR_TRY(jinja_evaluate_arguments(&arguments, run, node->a));
    size_t named = arguments.named;
    jinja_value_t *values = jinja_alloc(&run->memory, (named + 1) * sizeof *values);
    jinja_text_t *names = jinja_alloc(&run->memory, (named + 1) * sizeof *names);
    for (size_t i = 0; i < named; i++) {
        values[i] = arguments.values[i];
        names[i] = arguments.names[i];
    }
    values[named] = macro_value(run, node);
    names[named] = node->name;
    arguments.values = values;
    arguments.names = names;
    arguments.named++;
    TR_TRY(jinja_call_function(&result, run, &function, &arguments));
    return jinja_append_value(run->out, &result, false);
}

// Output

static tr_status execute_output(jinja_run_t *run, const jinja_node_t *node)
{
    jinja_value_t value;
    TR_TRY(jinja_evaluate(&value, run, node->a));
    return jinja_append_value(run->out, &value, false);
}

static tr_status execute_data(jinja_run_t *run, const jinja_node_t *node)
{
    jinja_append_text(run->out, node->name);
    return TR_OK;
}

static tr_status execute_filter_block(jinja_run_t *run, const jinja_node_t *node)
{
    jinja_value_t text;
    TR_TRY(capture(&text, run, &node->body, jinja_scope_new(run, run->scope)));
    TR_TRY(jinja_apply(&text, run, node->b));
    return jinja_append_value(run->out, &text, false);
}

/// Its text counts from the end of the page. Within a macro that is where transformers counts from
/// too, whatever the macro has written before.
static tr_status execute_generation(jinja_run_t *run, const jinja_node_t *node)
{
    jinja_value_t text;
    TR_TRY(capture(&text, run, &node->body, jinja_scope_new(run, run->scope)));
    run->marks = jinja_grow(&run->memory, run->marks, run->mark_count, &run->mark_capacity,
                            sizeof *run->marks);
    size_t from = run->page.length;
    run->marks[run->mark_count++] = (jinja_mark_t){from, from + text.text.length};
    jinja_append_text(run->out, text.text);
    return TR_OK;
}

static tr_status execute_one(jinja_run_t *run, const jinja_node_t *node)
{
    static tr_status (*const executors[])(jinja_run_t *, const jinja_node_t *) = {
        [NODE_DATA] = execute_data,
        [NODE_OUTPUT] = execute_output,
        [NODE_IF] = execute_if,
        [NODE_FOR] = execute_for,
        [NODE_SET] = execute_set,
        [NODE_SET_BLOCK] = execute_set_block,
        [NODE_MACRO] = execute_macro,
        [NODE_CALL_BLOCK] = execute_call_block,
        [NODE_FILTER_BLOCK] = execute_filter_block,
        [NODE_WITH] = execute_with,
        [NODE_GENERATION] = execute_generation,
        [NODE_BREAK] = execute_leave,
        [NODE_CONTINUE] = execute_leave,
    };
    run->line = node->line;
    return executors[node->kind](run, node);
}

tr_status jinja_execute(jinja_run_t *run, const jinja_nodes_t *body)
{
    TR_TRY(jinja_enter(run));
    for (size_t i = 0; i < body->count && run->flow == JINJA_ON; i++) {
        TR_TRY(jinja_spend(run, 1));
        TR_TRY(execute_one(run, body->items[i]));
    }
    jinja_leave(run);
    return TR_OK;
}
