// Calls of the tables' functions: arguments go to their parameters here, once for all.
#include <string.h>

#include "common/text/jinja/run.h"
#include "common/text/jinja/strings.h"

const jinja_builtin_t *jinja_builtin_find(const jinja_builtin_t *table, size_t count,
                                          jinja_text_t name)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(table[i].name) == name.length &&
            memcmp(table[i].name, name.data, name.length) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

jinja_value_t jinja_bound(jinja_run_t *run, const jinja_builtin_t *builtin,
                          const jinja_value_t *self)
{
    jinja_function_t *function = jinja_alloc(&run->memory, sizeof *function);
    function->builtin = builtin;
    function->self = self != NULL ? *self : (jinja_value_t){0};
    return (jinja_value_t){.type = JINJA_FUNCTION, .function = function};
}

/// The argument of a parameter: by place, else by name. *taken: counted up where there is one.
static const jinja_value_t *argument_of(jinja_text_t parameter, size_t place, size_t *taken,
                                        const jinja_arguments_t *arguments)
{
    if (place < arguments->count) {
        ++*taken;
        return &arguments->items[place];
    }
    for (size_t i = 0; i < arguments->named; i++) {
        if (jinja_text_equal(arguments->names[i], parameter)) {
            ++*taken;
            return &arguments->values[i];
        }
    }
    return NULL;
}

/// Fills call->given by the parameters of the function.
static tr_status bind(jinja_call_t *call, jinja_run_t *run, const jinja_builtin_t *builtin)
{
    const jinja_arguments_t *arguments = call->arguments;
    size_t place = 0, taken = 0;
    bool required = true;
    for (const char *at = builtin->parameters; *at != '\0';) {
        const char *end = strchr(at, ' ');
        if (*at == '|') {
            required = false;
            at++;
            continue;
        }
        const jinja_text_t name = {at, (size_t)(end - at)};
        call->given[place] = argument_of(name, place, &taken, arguments);
        if (call->given[place] == NULL && required) {
            return jinja_fail(run, "%s: the argument '%.*s' is missing", builtin->name,
                              (int)name.length, name.data);
        }
        place++;
        at = end + 1;
    }
    return taken == arguments->count + arguments->named
               ? TR_OK
               : jinja_fail(run, "%s does not take all of its arguments", builtin->name);
}

tr_status jinja_builtin_call(jinja_value_t *result, jinja_run_t *run,
                             const jinja_builtin_t *builtin, const jinja_value_t *self,
                             const jinja_arguments_t *arguments)
{
    jinja_call_t call = {.self = self, .arguments = arguments};
    TR_TRY(jinja_enter(run));
    if (builtin->parameters != NULL) {
        TR_TRY(bind(&call, run, builtin));
    }
    *result = (jinja_value_t){.type = JINJA_NONE};
    TR_TRY(builtin->call(result, run, &call));
    jinja_leave(run);
    return TR_OK;
}

tr_status jinja_filter(jinja_value_t *result, jinja_run_t *run, jinja_text_t name,
                       const jinja_value_t *self, const jinja_arguments_t *arguments)
{
    const jinja_builtin_t *filter = jinja_filter_find(name);
    return filter != NULL
               ? jinja_builtin_call(result, run, filter, self, arguments)
               : jinja_fail(run, "the filter '%.*s' is not known", (int)name.length, name.data);
}

tr_status jinja_test(bool *truth, jinja_run_t *run, jinja_text_t name, const jinja_value_t *self,
                     const jinja_arguments_t *arguments)
{
    const jinja_builtin_t *test = jinja_test_find(name);
    jinja_value_t result;
    if (test == NULL) {
        return jinja_fail(run, "the test '%.*s' is not known", (int)name.length, name.data);
    }
    TR_TRY(jinja_builtin_call(&result, run, test, self, arguments));
    *truth = result.truth;
    return TR_OK;
}

// Sorting

typedef tr_status (*less_t)(bool *less, jinja_run_t *run, const void *context,
                            const jinja_value_t *a, const jinja_value_t *b);

/// Two sorted halves, from..middle-1 and middle..to-1, into one; the first half's items first where
/// neither is less.
static tr_status merge(jinja_run_t *run, jinja_value_t *items, jinja_value_t *room, size_t from,
                       size_t middle, size_t to, less_t less, const void *context)
{
    size_t a = from, b = middle;
    for (size_t i = from; i < to; i++) {
        bool second = a == middle;
        TR_TRY(jinja_spend(run, 1));
        if (a < middle && b < to) {
            TR_TRY(less(&second, run, context, &items[b], &items[a]));
        }
        room[i] = second ? items[b++] : items[a++];
    }
    memcpy(items + from, room + from, (to - from) * sizeof *items);
    return TR_OK;
}

tr_status jinja_sort(jinja_run_t *run, jinja_value_t *items, size_t count, less_t less,
                     const void *context)
{
    jinja_value_t *room = jinja_alloc(&run->memory, (count + 1) * sizeof *room);
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t from = 0; from + width < count; from += 2 * width) {
            size_t to = from + 2 * width < count ? from + 2 * width : count;
            TR_TRY(merge(run, items, room, from, from + width, to, less, context));
        }
    }
    return TR_OK;
}
