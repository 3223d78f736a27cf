// Methods of texts: Python's str.
#include <string.h>

#include "common/text/jinja/case.h"
#include "common/text/jinja/methods.h"
#include "common/text/jinja/strings.h"

/// An argument that must be a text.
static tr_status expect_text(jinja_run_t *run, const jinja_value_t *value)
{
    return value->type == JINJA_TEXT
               ? TR_OK
               : jinja_fail(run, "expected a text, found a %s", jinja_type_name(value));
}

/// An optional whole number; left out or none: the fallback.
static tr_status take_whole(int64_t *number, jinja_run_t *run, const jinja_value_t *value,
                            int64_t fallback)
{
    *number = fallback;
    if (value == NULL || value->type == JINJA_NONE) {
        return TR_OK;
    }
    if (value->type != JINJA_INTEGER && value->type != JINJA_BOOL) {
        return jinja_fail(run, "expected a whole number, found a %s", jinja_type_name(value));
    }
    *number = jinja_whole(value);
    return TR_OK;
}

static jinja_value_t text_value(jinja_text_t text)
{
    return jinja_text(text.data, text.length);
}

static tr_status strip(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call,
                       bool start, bool end)
{
    const jinja_value_t *set = call->given[0];
    bool spaces = set == NULL || set->type == JINJA_NONE;
    if (!spaces) {
        TR_TRY(expect_text(run, set));
    }
    *result = text_value(jinja_strip(call->self->text, spaces ? NULL : &set->text, start, end));
    // What it costs is what it takes off, each character against the set.
    size_t taken = call->self->text.length - result->text.length;
    return jinja_spend(run, taken / 4 * (spaces ? 1 : set->text.length / 8 + 1));
}

static tr_status method_strip(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    return strip(result, run, call, true, true);
}

static tr_status method_lstrip(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    return strip(result, run, call, true, false);
}

static tr_status method_rstrip(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    return strip(result, run, call, false, true);
}

static void add_text(jinja_run_t *run, jinja_value_t *list, const char *data, size_t length)
{
    jinja_list_add(&run->memory, list->list, jinja_text(data, length));
}

/// By white space: runs of it count once, and none is left at the ends.
static tr_status split_words(jinja_value_t *list, jinja_run_t *run, jinja_text_t text, int64_t most)
{
    size_t length = text.length;
    text = jinja_strip(text, NULL, true, false);
    TR_TRY(jinja_spend(run, (length - text.length) / 4));
    while (text.length > 0) {
        size_t end = 0;
        TR_TRY(jinja_spend(run, 1));
        while (end < text.length && jinja_leading_space(text.data + end, text.length - end) == 0) {
            end++;
        }
        TR_TRY(jinja_spend(run, end / 4));
        if (most == 0) { // the rest as it is
            end = text.length;
        }
        add_text(run, list, text.data, end);
        size_t left = text.length - end;
        text = jinja_strip((jinja_text_t){text.data + end, left}, NULL, true, false);
        TR_TRY(jinja_spend(run, (left - text.length) / 4));
        most--;
    }
    return TR_OK;
}

static tr_status method_split(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    const jinja_value_t *by = call->given[0];
    jinja_text_t text = call->self->text;
    int64_t most;
    TR_TRY(take_whole(&most, run, call->given[1], -1));
    *result = jinja_list(&run->memory, JINJA_LIST);
    if (by == NULL || by->type == JINJA_NONE) {
        return split_words(result, run, text, most);
    }
    TR_TRY(expect_text(run, by));
    if (by->text.length == 0) {
        return jinja_fail(run, "split: the separator is empty");
    }
    size_t from = 0, at;
    while (most-- != 0 && (at = jinja_find(text, by->text, from)) != SIZE_MAX) {
        TR_TRY(jinja_spend(run, 1 + (at - from) / 64));
        add_text(run, result, text.data + from, at - from);
        from = at + by->text.length;
    }
    add_text(run, result, text.data + from, text.length - from);
    return jinja_spend(run, text.length / 64);
}

static void reverse(jinja_list_t *list)
{
    for (size_t i = 0; i < list->count / 2; i++) {
        jinja_value_t item = list->items[i];
        list->items[i] = list->items[list->count - 1 - i];
        list->items[list->count - 1 - i] = item;
    }
}

/// From the end; by a separator only, which is how templates use it.
static tr_status method_rsplit(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    const jinja_value_t *by = call->given[0];
    jinja_text_t text = call->self->text;
    int64_t most;
    TR_TRY(expect_text(run, by));
    TR_TRY(take_whole(&most, run, call->given[1], -1));
    if (by->text.length == 0) {
        return jinja_fail(run, "rsplit: the separator is empty");
    }
    *result = jinja_list(&run->memory, JINJA_LIST);
    size_t at;
    while (most-- != 0 && (at = jinja_rfind(text, by->text)) != SIZE_MAX) {
        TR_TRY(jinja_spend(run, 1 + (text.length - at) / 16 * (by->text.length / 64 + 1)));
        size_t rest = at + by->text.length;
        add_text(run, result, text.data + rest, text.length - rest);
        text.length = at;
    }
    add_text(run, result, text.data, text.length);
    reverse(result->list);
    return jinja_spend(run, text.length / 16 * (by->text.length / 64 + 1));
}

/// The parts before, at and after a separator.
static tr_status part(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call, bool last)
{
    jinja_text_t text = call->self->text;
    const jinja_value_t *by = call->given[0];
    TR_TRY(expect_text(run, by));
    TR_TRY(jinja_spend(run, text.length / 16 * (by->text.length / 64 + 1)));
    size_t at = last ? jinja_rfind(text, by->text) : jinja_find(text, by->text, 0);
    bool found = at != SIZE_MAX;
    size_t before = found ? at : last ? 0 : text.length;
    size_t after = found ? at + by->text.length : before;
    *result = jinja_list(&run->memory, JINJA_TUPLE);
    add_text(run, result, text.data, before);
    add_text(run, result, text.data + before, after - before);
    add_text(run, result, text.data + after, text.length - after);
    return TR_OK;
}

static tr_status method_partition(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    return part(result, run, call, false);
}

static tr_status method_rpartition(jinja_value_t *result, jinja_run_t *run,
                                   const jinja_call_t *call)
{
    return part(result, run, call, true);
}

static tr_status method_splitlines(jinja_value_t *result, jinja_run_t *run,
                                   const jinja_call_t *call)
{
    jinja_text_t text = call->self->text;
    bool keep = call->given[0] != NULL && jinja_truth(call->given[0]);
    *result = jinja_list(&run->memory, JINJA_LIST);
    while (text.length > 0) {
        size_t ending, length = jinja_line(&ending, text);
        TR_TRY(jinja_spend(run, 1 + length / 16));
        add_text(run, result, text.data, length + (keep ? ending : 0));
        text.data += length + ending;
        text.length -= length + ending;
    }
    return TR_OK;
}

/// A text, or any of a tuple.
static tr_status affix(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call,
                       bool (*has)(jinja_text_t text, jinja_text_t part))
{
    const jinja_value_t *given = call->given[0];
    size_t count = given->type == JINJA_TUPLE ? given->list->count : 1;
    *result = jinja_bool(false);
    for (size_t i = 0; i < count && !result->truth; i++) {
        const jinja_value_t *one = given->type == JINJA_TUPLE ? &given->list->items[i] : given;
        TR_TRY(expect_text(run, one));
        TR_TRY(jinja_spend(run, one->text.length / 64));
        result->truth = has(call->self->text, one->text);
    }
    return TR_OK;
}

static tr_status method_startswith(jinja_value_t *result, jinja_run_t *run,
                                   const jinja_call_t *call)
{
    return affix(result, run, call, jinja_starts);
}

static tr_status method_endswith(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    return affix(result, run, call, jinja_ends);
}

static tr_status method_removeprefix(jinja_value_t *result, jinja_run_t *run,
                                     const jinja_call_t *call)
{
    jinja_text_t text = call->self->text;
    TR_TRY(expect_text(run, call->given[0]));
    size_t length = jinja_starts(text, call->given[0]->text) ? call->given[0]->text.length : 0;
    *result = jinja_text(text.data + length, text.length - length);
    return TR_OK;
}

static tr_status method_removesuffix(jinja_value_t *result, jinja_run_t *run,
                                     const jinja_call_t *call)
{
    jinja_text_t text = call->self->text;
    TR_TRY(expect_text(run, call->given[0]));
    size_t length = jinja_ends(text, call->given[0]->text) ? call->given[0]->text.length : 0;
    *result = jinja_text(text.data, text.length - length);
    return TR_OK;
}

/// Where a part stands, in characters; -1: nowhere.
static tr_status find(int64_t *place, jinja_run_t *run, const jinja_call_t *call, bool last)
{
    jinja_text_t text = call->self->text;
    const jinja_value_t *given = call->given[0];
    TR_TRY(expect_text(run, given));
    TR_TRY(jinja_spend(run, text.length / 16 * (last ? given->text.length / 64 + 1 : 1)));
    size_t at = last ? jinja_rfind(text, given->text) : jinja_find(text, given->text, 0);
    *place = at == SIZE_MAX ? -1 : (int64_t)jinja_count((jinja_text_t){text.data, at});
    return TR_OK;
}

static tr_status method_find(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    *result = jinja_integer(0);
    return find(&result->integer, run, call, false);
}

static tr_status method_rfind(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    *result = jinja_integer(0);
    return find(&result->integer, run, call, true);
}

static tr_status method_text_index(jinja_value_t *result, jinja_run_t *run,
                                   const jinja_call_t *call)
{
    TR_TRY(method_find(result, run, call));
    return result->integer >= 0 ? TR_OK : jinja_fail(run, "index: the text is not in it");
}

static tr_status method_text_count(jinja_value_t *result, jinja_run_t *run,
                                   const jinja_call_t *call)
{
    jinja_text_t text = call->self->text, part = call->given[0]->text;
    int64_t count = 0;
    TR_TRY(expect_text(run, call->given[0]));
    TR_TRY(jinja_spend(run, text.length / 16));
    for (size_t at = 0; (at = jinja_find(text, part, at)) != SIZE_MAX; at += part.length) {
        count++;
        if (part.length == 0) { // between all characters, and at the ends
            count = (int64_t)jinja_count(text) + 1;
            break;
        }
    }
    *result = jinja_integer(count);
    return TR_OK;
}

/// The filter of the same name does the same.
static tr_status by_filter(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call,
                           jinja_text_t name)
{
    return jinja_filter(result, run, name, call->self, call->arguments);
}

static tr_status method_upper(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    return by_filter(result, run, call, JINJA_LITERAL("upper"));
}

static tr_status method_lower(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    return by_filter(result, run, call, JINJA_LITERAL("lower"));
}

static tr_status method_capitalize(jinja_value_t *result, jinja_run_t *run,
                                   const jinja_call_t *call)
{
    return by_filter(result, run, call, JINJA_LITERAL("capitalize"));
}

static tr_status method_replace(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    TR_TRY(expect_text(run, call->given[0]));
    TR_TRY(expect_text(run, call->given[1]));
    return by_filter(result, run, call, JINJA_LITERAL("replace"));
}

/// The first letter of each word; a word is a run of letters.
static tr_status method_title(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    jinja_text_t text = call->self->text;
    jinja_builder_t builder = {.run = run};
    bool inside = false;
    TR_TRY(jinja_spend(run, text.length));
    for (size_t at = 0, n; at < text.length; at += n) {
        uint32_t point = 0;
        char bytes[JINJA_CASE_BYTES];
        size_t length = jinja_change_case(bytes, inside ? JINJA_LOWER : JINJA_TITLE, text, at);
        jinja_append_text(&builder, (jinja_text_t){bytes, length});
        n = tr_utf8_next(&point, text.data + at, text.length - at);
        inside = jinja_is_cased(point);
    }
    return jinja_finish(result, &builder);
}

static tr_status method_join(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    const jinja_list_t *items;
    jinja_builder_t builder = {.run = run};
    TR_TRY(jinja_iterate(&items, run, call->given[0]));
    for (size_t i = 0; i < items->count; i++) {
        TR_TRY(expect_text(run, &items->items[i]));
        TR_TRY(jinja_spend(run, 1));
        jinja_append_text(&builder, i > 0 ? call->self->text : JINJA_LITERAL(""));
        jinja_append_text(&builder, items->items[i].text);
    }
    return jinja_finish(result, &builder);
}

/// Whether there are characters, and all are of the class.
static tr_status all_are(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call,
                         bool (*is)(uint32_t point))
{
    jinja_text_t text = call->self->text;
    *result = jinja_bool(text.length > 0);
    TR_TRY(jinja_spend(run, text.length));
    for (size_t at = 0, n; at < text.length && result->truth; at += n) {
        uint32_t point = 0;
        n = tr_utf8_next(&point, text.data + at, text.length - at);
        result->truth = is(point);
    }
    return TR_OK;
}

static bool is_digit(uint32_t point)
{
    return point >= '0' && point <= '9';
}

static bool is_space(uint32_t point)
{
    return tr_utf8_is_space(point) || (point >= 0x1C && point <= 0x1F);
}

static tr_status method_isdigit(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    return all_are(result, run, call, is_digit);
}

static tr_status method_isspace(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    return all_are(result, run, call, is_space);
}

static tr_status method_isalpha(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    return all_are(result, run, call, jinja_is_alpha);
}

static const jinja_builtin_t TEXT_METHODS[] = {
    {"strip", "|chars ", method_strip},
    {"lstrip", "|chars ", method_lstrip},
    {"rstrip", "|chars ", method_rstrip},
    {"split", "|sep maxsplit ", method_split},
    {"rsplit", "sep |maxsplit ", method_rsplit},
    {"partition", "sep ", method_partition},
    {"rpartition", "sep ", method_rpartition},
    {"splitlines", "|keepends ", method_splitlines},
    {"startswith", "prefix ", method_startswith},
    {"endswith", "suffix ", method_endswith},
    {"removeprefix", "prefix ", method_removeprefix},
    {"removesuffix", "suffix ", method_removesuffix},
    {"find", "sub ", method_find},
    {"rfind", "sub ", method_rfind},
    {"index", "sub ", method_text_index},
    {"count", "sub ", method_text_count},
    {"upper", "", method_upper},
    {"lower", "", method_lower},
    {"capitalize", "", method_capitalize},
    {"title", "", method_title},
    {"replace", "old new |count ", method_replace},
    {"join", "iterable ", method_join},
    {"isdigit", "", method_isdigit},
    {"isspace", "", method_isspace},
    {"isalpha", "", method_isalpha},
};

const jinja_builtin_t *jinja_text_method_find(jinja_text_t name)
{
    return jinja_builtin_find(TEXT_METHODS, sizeof TEXT_METHODS / sizeof *TEXT_METHODS, name);
}
