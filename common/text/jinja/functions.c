// What templates call by name: range, dict, namespace, raise_exception, strftime_now.
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/text/jinja/run.h"
#include "common/text/jinja/strings.h"

static tr_status call_raise(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    (void)result;
    jinja_text_t text;
    TR_TRY(jinja_to_text(&text, run, call->given[0]));
    int length = text.length > 400 ? 400 : (int)text.length;
    return jinja_fail(run, "the template says: %.*s", length, text.data);
}

static tr_status call_range(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    enum { RANGE_LIMIT = 100000 }; // Jinja's own
    int64_t bounds[3] = {0, 0, 1};
    size_t count = call->arguments->count;
    if (count == 0 || count > 3 || call->arguments->named > 0) {
        return jinja_fail(run, "range takes one to three whole numbers");
    }
    for (size_t i = 0; i < count; i++) {
        const jinja_value_t *value = &call->arguments->items[i];
        if (value->type != JINJA_INTEGER && value->type != JINJA_BOOL) {
            return jinja_fail(run, "range: expected a whole number, found a %s",
                              jinja_type_name(value));
        }
        bounds[count == 1 ? 1 : i] = jinja_whole(value);
    }
    *result = jinja_list(&run->memory, JINJA_RANGE);
    if (bounds[2] == 0) {
        return jinja_fail(run, "range: the step is zero");
    }
    for (int64_t at = bounds[0]; bounds[2] > 0 ? at < bounds[1] : at > bounds[1];) {
        if (result->list->count == RANGE_LIMIT) {
            return jinja_fail(run, "range: more than %d numbers", RANGE_LIMIT);
        }
        TR_TRY(jinja_spend(run, 1));
        jinja_list_add(&run->memory, result->list, jinja_integer(at));
        if (__builtin_add_overflow(at, bounds[2], &at)) {
            break;
        }
    }
    return TR_OK;
}

/// dict(...) and namespace(...): the members of a mapping, if one is given, then the named ones.
static tr_status call_members(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call,
                              jinja_type_t type)
{
    const jinja_arguments_t *arguments = call->arguments;
    *result = jinja_dict(&run->memory, type);
    if (arguments->count > 1 || (arguments->count == 1 && arguments->items[0].type != JINJA_DICT)) {
        return jinja_fail(run, "dict and namespace take named arguments, or one mapping");
    }
    for (size_t i = 0; arguments->count == 1 && i < arguments->items[0].dict->count; i++) {
        const jinja_dict_t *given = arguments->items[0].dict;
        TR_TRY(jinja_spend(run, 1));
        jinja_dict_add(&run->memory, result->dict, given->keys[i], given->values[i]);
    }
    for (size_t i = 0; i < arguments->named; i++) {
        jinja_value_t *old = jinja_dict_find(result->dict, arguments->names[i]);
        if (old != NULL) {
            *old = arguments->values[i];
            continue;
        }
        jinja_dict_add(&run->memory, result->dict,
                       jinja_text(arguments->names[i].data, arguments->names[i].length),
                       arguments->values[i]);
    }
    return TR_OK;
}

static tr_status call_dict(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    return call_members(result, run, call, JINJA_DICT);
}

static tr_status call_namespace(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    return call_members(result, run, call, JINJA_NAMESPACE);
}

/// Now, or the time that the environment says it is.
static void read_clock(struct tm *now)
{
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    time_t seconds = epoch != NULL ? (time_t)strtoll(epoch, NULL, 10) : time(NULL);
    if (epoch != NULL) {
        gmtime_r(&seconds, now);
    } else {
        localtime_r(&seconds, now);
    }
}

static tr_status call_strftime(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    char text[512], format[256];
    struct tm now;
    const jinja_value_t *given = call->given[0];
    if (given->type != JINJA_TEXT || given->text.length >= sizeof format ||
        memchr(given->text.data, '\0', given->text.length) != NULL) {
        return jinja_fail(run, "strftime_now: expected a short text");
    }
    memcpy(format, given->text.data, given->text.length);
    format[given->text.length] = '\0';
    read_clock(&now);
    size_t length = strftime(text, sizeof text, format, &now);
    if (tr_utf8_valid(text, length) < length) {
        return jinja_fail(run, "strftime_now: the date is not UTF-8");
    }
    jinja_builder_t builder = {.run = run};
    jinja_append(&builder, text, length);
    return jinja_finish(result, &builder);
}

static const jinja_builtin_t FUNCTIONS[] = {
    {"raise_exception", "message ", call_raise},
    {"strftime_now", "format ", call_strftime},
    {"range", NULL, call_range},
    {"dict", NULL, call_dict},
    {"namespace", NULL, call_namespace},
};

const jinja_builtin_t *jinja_function_find(jinja_text_t name)
{
    return jinja_builtin_find(FUNCTIONS, sizeof FUNCTIONS / sizeof *FUNCTIONS, name);
}
