/// One rendering: its state, its bounds, and what the interpreter's files call of each other.
#ifndef TR_TEXT_JINJA_RUN_H
#define TR_TEXT_JINJA_RUN_H

#include <jansson.h>
#include <stdio.h>

#include "common/text/jinja/node.h"

/// Text that is being written, in the run's memory. Past the bound it takes no more: finish says
/// so.
typedef struct jinja_builder {
    struct jinja_run *run;
    char *data; // [length]
    size_t length, capacity;
} jinja_builder_t;

/// Names and their values; what is not here is looked for in the one around it.
typedef struct jinja_scope {
    struct jinja_scope *around;
    jinja_dict_t variables;
} jinja_scope_t;

/// How a body ended.
typedef enum jinja_flow { JINJA_ON, JINJA_BREAK, JINJA_CONTINUE } jinja_flow_t;

/// Where a `generation` block's text stands.
typedef struct jinja_mark {
    size_t from, to;
} jinja_mark_t;

typedef struct jinja_run {
    jinja_memory_t memory;
    tr_error_t *err;
    int line;     ///< of what is being evaluated
    size_t steps; ///< spent
    size_t depth;
    bool full; ///< a text went past its bound
    jinja_builder_t *out;
    jinja_builder_t page; ///< the template's own output
    jinja_scope_t *scope;
    jinja_flow_t flow;
    jinja_mark_t *marks; ///< [mark_count]
    size_t mark_count, mark_capacity;
} jinja_run_t;

// Bounds and failures

/// "line 3: ..."; TR_ERR_FORMAT.
tr_status jinja_fail(jinja_run_t *run, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// As status.h does it: clang's analyzer does not look into jinja.c.
#ifdef __clang_analyzer__
#define jinja_fail(run, ...) ((void)jinja_fail(run, __VA_ARGS__), TR_ERR_FORMAT)
#endif

/// Counts steps; fails where there were too many, or where memory is at its bound.
tr_status jinja_spend(jinja_run_t *run, size_t steps);
/// Counts a level of recursion, and a step; leave takes the level off.
tr_status jinja_enter(jinja_run_t *run);
static inline void jinja_leave(jinja_run_t *run)
{
    run->depth--;
}

// Texts

void jinja_append(jinja_builder_t *builder, const char *data, size_t length);
void jinja_append_text(jinja_builder_t *builder, jinja_text_t text);
void jinja_append_point(jinja_builder_t *builder, uint32_t point);
/// As str() has it; repr: as repr() has it, strings with quotes.
tr_status jinja_append_value(jinja_builder_t *builder, const jinja_value_t *value, bool repr);
/// Python's repr of a float.
void jinja_append_real(jinja_builder_t *builder, double real);
/// The text as a value; fails if it went past its bound.
tr_status jinja_finish(jinja_value_t *text, const jinja_builder_t *builder);
/// A value as text: itself where it is one.
tr_status jinja_to_text(jinja_text_t *text, jinja_run_t *run, const jinja_value_t *value);

// Values

tr_status jinja_from_json(jinja_value_t *value, jinja_run_t *run, const json_t *json);
/// Fails: the operator does not take two such values.
tr_status jinja_refuse(jinja_run_t *run, const char *operator, const jinja_value_t * a,
                       const jinja_value_t *b);
tr_status jinja_binary(jinja_value_t *result, jinja_run_t *run, jinja_operator_t operator,
                       const jinja_value_t * a, const jinja_value_t *b);
/// Every operator that compares.
tr_status jinja_compare(bool *truth, jinja_run_t *run, jinja_operator_t operator,
                        const jinja_value_t * a, const jinja_value_t *b);
/// The value of a key, which need not be a text; NULL: there is none.
tr_status jinja_find_key(jinja_value_t **value, jinja_run_t *run, const jinja_dict_t *dict,
                         const jinja_value_t *key);
/// What `for` walks: a list's items, a mapping's keys, a text's characters.
tr_status jinja_iterate(const jinja_list_t **items, jinja_run_t *run, const jinja_value_t *value);
/// object[index], object.name. Undefined where there is none.
tr_status jinja_item(jinja_value_t *result, jinja_run_t *run, const jinja_value_t *object,
                     const jinja_value_t *index);
tr_status jinja_attribute(jinja_value_t *result, jinja_run_t *run, const jinja_value_t *object,
                          jinja_text_t name);
/// bounds: [3], none or undefined where left out.
tr_status jinja_slice(jinja_value_t *result, jinja_run_t *run, const jinja_value_t *object,
                      const jinja_value_t bounds[3]);

// Calls

/// What a call gives, in the order it is written.
typedef struct jinja_arguments {
    const jinja_value_t *items; ///< [count]
    size_t count;
    const jinja_text_t *names;   ///< [named]
    const jinja_value_t *values; ///< [named]
    size_t named;
} jinja_arguments_t;

enum { JINJA_PARAMETERS = 4 }; // the most that a function of ours has

/// A call of a function of ours.
typedef struct jinja_call {
    const jinja_value_t *self;                    ///< what is piped, tested, or has the method
    const jinja_value_t *given[JINJA_PARAMETERS]; ///< by parameter; NULL: left out
    const jinja_arguments_t *arguments;           ///< all, for functions that take any
} jinja_call_t;

/// A filter, a test, a method or a global function.
typedef struct jinja_builtin {
    const char *name;
    /// Names with a space behind each; those from "|" on may be left out. NULL: any arguments.
    const char *parameters;
    tr_status (*call)(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call);
} jinja_builtin_t;

/// What a name calls: a function of ours with its object, or a macro with the scope around it.
struct jinja_function {
    const jinja_builtin_t *builtin; ///< NULL: a macro
    jinja_value_t self;
    const jinja_node_t *macro; ///< or a call block
    jinja_scope_t *scope;
};

/// NULL: there is none of that name.
const jinja_builtin_t *jinja_filter_find(jinja_text_t name);
const jinja_builtin_t *jinja_test_find(jinja_text_t name);
const jinja_builtin_t *jinja_method_find(const jinja_value_t *object, jinja_text_t name);
const jinja_builtin_t *jinja_function_find(jinja_text_t name);
const jinja_builtin_t *jinja_builtin_find(const jinja_builtin_t *table, size_t count,
                                          jinja_text_t name);

tr_status jinja_builtin_call(jinja_value_t *result, jinja_run_t *run,
                             const jinja_builtin_t *builtin, const jinja_value_t *self,
                             const jinja_arguments_t *arguments);
/// By name; fails where there is no filter, no test of that name.
tr_status jinja_filter(jinja_value_t *result, jinja_run_t *run, jinja_text_t name,
                       const jinja_value_t *self, const jinja_arguments_t *arguments);
tr_status jinja_test(bool *truth, jinja_run_t *run, jinja_text_t name, const jinja_value_t *self,
                     const jinja_arguments_t *arguments);
/// The function as a value.
jinja_value_t jinja_bound(jinja_run_t *run, const jinja_builtin_t *builtin,
                          const jinja_value_t *self);

/// tojson's text. indent: what a level is moved in by; NULL: all on one line.
typedef struct jinja_json_form {
    const jinja_text_t *indent;
    jinja_text_t item, key; ///< what separates them
    bool ascii, sorted;
} jinja_json_form_t;

tr_status jinja_append_json(jinja_builder_t *builder, const jinja_value_t *value,
                            const jinja_json_form_t *form);

/// A stable sort by `less`, which may fail. items: [count].
tr_status jinja_sort(jinja_run_t *run, jinja_value_t *items, size_t count,
                     tr_status (*less)(bool *less, jinja_run_t *run, const void *context,
                                       const jinja_value_t *a, const jinja_value_t *b),
                     const void *context);

// The tree (evaluate.c, execute.c)

tr_status jinja_evaluate(jinja_value_t *result, jinja_run_t *run, const jinja_node_t *node);
tr_status jinja_evaluate_arguments(jinja_arguments_t *arguments, jinja_run_t *run,
                                   const jinja_node_t *call);
tr_status jinja_call_function(jinja_value_t *result, jinja_run_t *run,
                              const jinja_value_t *function, const jinja_arguments_t *arguments);
/// The filters of a block, from the innermost, on its text in *value.
tr_status jinja_apply(jinja_value_t *value, jinja_run_t *run, const jinja_node_t *filters);
tr_status jinja_execute(jinja_run_t *run, const jinja_nodes_t *body);
tr_status jinja_assign(jinja_run_t *run, const jinja_node_t *target, const jinja_value_t *value);
/// Runs a macro's or a call block's body with its arguments.
tr_status jinja_call_macro(jinja_value_t *result, jinja_run_t *run,
                           const jinja_function_t *function, const jinja_arguments_t *arguments);

// Scopes

void jinja_scope_set(jinja_run_t *run, jinja_scope_t *scope, jinja_text_t name,
                     const jinja_value_t *value);
/// A new scope inside another.
jinja_scope_t *jinja_scope_new(jinja_run_t *run, jinja_scope_t *around);

#endif
