// Parts of values: items, attributes, slices, and what a loop walks.
#include <string.h>

#include "common/text/jinja/run.h"
#include "common/text/jinja/strings.h"

static tr_status characters(jinja_list_t *list, jinja_run_t *run, jinja_text_t text)
{
    for (size_t at = 0, n; at < text.length; at += n) {
        n = tr_utf8_next(NULL, text.data + at, text.length - at);
        TR_TRY(jinja_spend(run, 1));
        jinja_list_add(&run->memory, list, jinja_text(text.data + at, n));
    }
    return TR_OK;
}

tr_status jinja_iterate(const jinja_list_t **items, jinja_run_t *run, const jinja_value_t *value)
{
    if (jinja_is_sequence(value) || value->type == JINJA_VIEW) {
        *items = value->list;
        return TR_OK;
    }
    jinja_value_t list = jinja_list(&run->memory, JINJA_LIST);
    *items = list.list;
    switch (value->type) {
    case JINJA_UNDEFINED: return TR_OK;
    case JINJA_TEXT: return characters(list.list, run, value->text);
    case JINJA_GENERATOR:
        *list.list = *value->list;
        *value->list = (jinja_list_t){0};
        return TR_OK;
    case JINJA_DICT:
        list.list->items = value->dict->keys;
        list.list->count = list.list->capacity = value->dict->count;
        return jinja_spend(run, value->dict->count);
    default: return jinja_fail(run, "a %s has no items to walk", jinja_type_name(value));
    }
}

static tr_status text_item(jinja_value_t *result, jinja_run_t *run, jinja_text_t text,
                           int64_t index)
{
    int64_t count = (int64_t)jinja_count(text);
    index += index < 0 ? count : 0;
    TR_TRY(jinja_spend(run, text.length / 64));
    if (index < 0 || index >= count) {
        *result = jinja_undefined(JINJA_LITERAL("a character past the end"));
        return TR_OK;
    }
    size_t from = jinja_offset(text, (size_t)index);
    *result =
        jinja_text(text.data + from, tr_utf8_next(NULL, text.data + from, text.length - from));
    return TR_OK;
}

/// Places: of lists and texts by number, of mappings by key; else a text may name an attribute.
tr_status jinja_item(jinja_value_t *result, jinja_run_t *run, const jinja_value_t *object,
                     const jinja_value_t *index)
{
    bool place = index->type == JINJA_INTEGER || index->type == JINJA_BOOL;
    if (object->type == JINJA_UNDEFINED) {
        return jinja_fail(run, "'%.*s' is undefined", (int)object->text.length, object->text.data);
    }
    if (object->type == JINJA_TEXT && place) {
        return text_item(result, run, object->text, jinja_whole(index));
    }
    if (jinja_is_sequence(object) && place) {
        int64_t at = jinja_whole(index), count = (int64_t)object->list->count;
        at += at < 0 ? count : 0;
        *result = at >= 0 && at < count ? object->list->items[at]
                                        : jinja_undefined(JINJA_LITERAL("an item past the end"));
        return TR_OK;
    }
    if (object->type == JINJA_DICT) {
        jinja_value_t *found;
        TR_TRY(jinja_find_key(&found, run, object->dict, index));
        if (found != NULL) {
            *result = *found;
            return TR_OK;
        }
    }
    if (index->type == JINJA_TEXT) {
        return jinja_attribute(result, run, object, index->text);
    }
    *result = jinja_undefined(JINJA_LITERAL("an item"));
    return TR_OK;
}

static bool is(jinja_text_t name, const char *text)
{
    return name.length == strlen(text) && memcmp(name.data, text, name.length) == 0;
}

static jinja_value_t loop_attribute(const jinja_loop_t *loop, jinja_text_t name)
{
    size_t i = loop->index, count = loop->items->count;
    const struct {
        const char *name;
        jinja_value_t value;
    } attributes[] = {
        {"index", jinja_integer((int64_t)i + 1)},
        {"index0", jinja_integer((int64_t)i)},
        {"revindex", jinja_integer((int64_t)(count - i))},
        {"revindex0", jinja_integer((int64_t)(count - i) - 1)},
        {"first", jinja_bool(i == 0)},
        {"last", jinja_bool(i + 1 == count)},
        {"length", jinja_integer((int64_t)count)},
        {"depth", jinja_integer(1)}, // of recursive loops, which are left out
        {"depth0", jinja_integer(0)},
        {"previtem", i > 0 ? loop->items->items[i - 1] : jinja_undefined(name)},
        {"nextitem", i + 1 < count ? loop->items->items[i + 1] : jinja_undefined(name)},
    };
    for (size_t k = 0; k < sizeof attributes / sizeof *attributes; k++) {
        if (is(name, attributes[k].name)) {
            return attributes[k].value;
        }
    }
    return jinja_undefined(name);
}

/// A method comes before a key of the same name, as in Python.
tr_status jinja_attribute(jinja_value_t *result, jinja_run_t *run, const jinja_value_t *object,
                          jinja_text_t name)
{
    const jinja_value_t *found = NULL;
    if (object->type == JINJA_UNDEFINED) {
        return jinja_fail(run, "'%.*s' is undefined, and its '%.*s' is asked for",
                          (int)object->text.length, object->text.data, (int)name.length, name.data);
    }
    const jinja_builtin_t *method = jinja_method_find(object, name);
    if (method != NULL) {
        *result = jinja_bound(run, method, object);
        return TR_OK;
    }
    if (object->type == JINJA_DICT || object->type == JINJA_NAMESPACE) {
        TR_TRY(jinja_spend(run, object->dict->count / 16));
        found = jinja_dict_find(object->dict, name);
    }
    *result = found != NULL                ? *found
              : object->type == JINJA_LOOP ? loop_attribute(object->loop, name)
                                           : jinja_undefined(name);
    return TR_OK;
}

/// A bound as Python clips it: into low..high, from the end where it is negative.
static tr_status slice_bound(int64_t *bound, jinja_run_t *run, const jinja_value_t *value,
                             int64_t initial, int64_t count, int64_t low, int64_t high)
{
    if (value->type == JINJA_UNDEFINED || value->type == JINJA_NONE) {
        *bound = initial;
        return TR_OK;
    }
    if (value->type != JINJA_INTEGER && value->type != JINJA_BOOL) {
        return jinja_fail(run, "a slice's bound is a %s", jinja_type_name(value));
    }
    int64_t at = jinja_whole(value);
    at = at < 0 && at >= -count ? at + count : at < 0 ? low : at;
    *bound = at < low ? low : at > high ? high : at;
    return TR_OK;
}

/// The step of a slice; 1 where it is left out.
static tr_status slice_step(int64_t *step, jinja_run_t *run, const jinja_value_t *value)
{
    bool left_out = value->type == JINJA_UNDEFINED || value->type == JINJA_NONE;
    *step = left_out ? 1 : value->type == JINJA_INTEGER ? value->integer : 0;
    return *step != 0 ? TR_OK : jinja_fail(run, "a slice's step is no whole number, or zero");
}

/// Items from..to-1 by steps; where the step is negative, down to to+1.
static tr_status slice_items(jinja_list_t *taken, jinja_run_t *run, const jinja_list_t *items,
                             int64_t from, int64_t to, int64_t step)
{
    for (int64_t at = from; step < 0 ? at > to : at < to;) {
        TR_TRY(jinja_spend(run, 1));
        jinja_list_add(&run->memory, taken, items->items[at]);
        if (__builtin_add_overflow(at, step, &at)) {
            break;
        }
    }
    return TR_OK;
}

/// Characters from..to-1.
static jinja_value_t part_of_text(jinja_text_t text, int64_t from, int64_t to)
{
    size_t start = jinja_offset(text, (size_t)from);
    jinja_text_t rest = {text.data + start, text.length - start};
    return jinja_text(rest.data, to > from ? jinja_offset(rest, (size_t)(to - from)) : 0);
}

/// Every step'th character: rare, so by way of a list.
static tr_status slice_text(jinja_value_t *result, jinja_run_t *run, const jinja_value_t *text,
                            int64_t from, int64_t to, int64_t step)
{
    jinja_builder_t builder = {.run = run};
    jinja_value_t taken = jinja_list(&run->memory, JINJA_LIST);
    const jinja_list_t *items;
    TR_TRY(jinja_iterate(&items, run, text));
    TR_TRY(slice_items(taken.list, run, items, from, to, step));
    for (size_t i = 0; i < taken.list->count; i++) {
        jinja_append_text(&builder, taken.list->items[i].text);
    }
    return jinja_finish(result, &builder);
}

tr_status jinja_slice(jinja_value_t *result, jinja_run_t *run, const jinja_value_t *object,
                      const jinja_value_t bounds[3])
{
    int64_t from = 0, to = 0, step = 1;
    bool text = object->type == JINJA_TEXT;
    if (object->type == JINJA_UNDEFINED) {
        return jinja_fail(run, "'%.*s' is undefined", (int)object->text.length, object->text.data);
    }
    if (!text && !jinja_is_sequence(object)) {
        *result = jinja_undefined(JINJA_LITERAL("a slice"));
        return TR_OK;
    }
    TR_TRY(jinja_spend(run, text ? object->text.length / 64 : 0));
    TR_TRY(slice_step(&step, run, &bounds[2]));
    int64_t count = (int64_t)(text ? jinja_count(object->text) : object->list->count);
    int64_t low = step < 0 ? -1 : 0, high = step < 0 ? count - 1 : count;
    TR_TRY(slice_bound(&from, run, &bounds[0], step < 0 ? high : 0, count, low, high));
    TR_TRY(slice_bound(&to, run, &bounds[1], step < 0 ? -1 : count, count, low, high));
    if (text && step == 1) {
        *result = part_of_text(object->text, from, to);
        return TR_OK;
    }
    if (text) {
        return slice_text(result, run, object, from, to, step);
    }
    *result = jinja_list(&run->memory, object->type);
    return slice_items(result->list, run, object->list, from, to, step);
}
