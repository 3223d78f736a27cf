// Filters of texts, numbers and single values. Jinja's filters of texts take any value and write it
// first.
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/text/jinja/case.h"
#include "common/text/jinja/filters.h"
#include "common/text/jinja/strings.h"

/// A truth value of an argument; left out: the fallback.
static bool flag(const jinja_value_t *value, bool fallback)
{
    return value == NULL ? fallback : jinja_truth(value);
}

static tr_status expect_number(jinja_run_t *run, const jinja_value_t *value)
{
    return jinja_is_number(value)
               ? TR_OK
               : jinja_fail(run, "expected a number, found a %s", jinja_type_name(value));
}

// Texts

static tr_status filter_string(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    *result = (jinja_value_t){.type = JINJA_TEXT};
    return jinja_to_text(&result->text, run, call->self);
}

static tr_status filter_safe(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    TR_TRY(filter_string(result, run, call));
    result->safe = true;
    return TR_OK;
}

static tr_status filter_trim(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    const jinja_value_t *set = call->given[0];
    bool spaces = set == NULL || set->type == JINJA_NONE;
    if (!spaces && set->type != JINJA_TEXT) {
        return jinja_fail(run, "trim: expected a text, found a %s", jinja_type_name(set));
    }
    TR_TRY(filter_string(result, run, call));
    size_t characters = spaces ? 1 : set->text.length / 8 + 1, length = result->text.length;
    result->text = jinja_strip(result->text, spaces ? NULL : &set->text, true, true);
    return jinja_spend(run, (length - result->text.length) / 4 * characters);
}

/// text in other cases: its first character in `first`, the others in `rest`.
static void append_cased(jinja_builder_t *builder, jinja_text_t text, jinja_case_t first,
                         jinja_case_t rest)
{
    char bytes[JINJA_CASE_BYTES];
    for (size_t at = 0; at < text.length;) {
        size_t n = jinja_change_case(bytes, at == 0 ? first : rest, text, at);
        jinja_append_text(builder, (jinja_text_t){bytes, n});
        at += tr_utf8_next(NULL, text.data + at, text.length - at);
    }
}

static tr_status change(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call,
                        jinja_case_t first, jinja_case_t rest)
{
    jinja_builder_t builder = {.run = run};
    TR_TRY(filter_string(result, run, call));
    TR_TRY(jinja_spend(run, result->text.length / 4));
    append_cased(&builder, result->text, first, rest);
    return jinja_finish(result, &builder);
}

static tr_status filter_upper(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    return change(result, run, call, JINJA_UPPER, JINJA_UPPER);
}

static tr_status filter_lower(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    return change(result, run, call, JINJA_LOWER, JINJA_LOWER);
}

static tr_status filter_capitalize(jinja_value_t *result, jinja_run_t *run,
                                   const jinja_call_t *call)
{
    return change(result, run, call, JINJA_TITLE, JINJA_LOWER);
}

/// Whether a word of Jinja's begins behind the character at text[at]: after white space and opening
/// brackets.
static bool divides(jinja_text_t text, size_t at, size_t length)
{
    return strchr("-({[<", text.data[at]) != NULL ||
           jinja_leading_space(text.data + at, length) > 0;
}

/// Each word by itself, also where a letter's small form depends on what is around it.
static tr_status filter_title(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    jinja_builder_t builder = {.run = run};
    TR_TRY(filter_string(result, run, call));
    jinja_text_t text = result->text;
    TR_TRY(jinja_spend(run, text.length / 4));
    for (size_t at = 0, end; at < text.length; at = end) {
        size_t n = tr_utf8_next(NULL, text.data + at, text.length - at);
        bool between = divides(text, at, n);
        char bytes[JINJA_CASE_BYTES];
        size_t first = jinja_change_case(bytes, JINJA_UPPER, text, at);
        jinja_append_text(&builder, (jinja_text_t){bytes, first});
        for (end = at + n; end < text.length; end += n) {
            n = tr_utf8_next(NULL, text.data + end, text.length - end);
            if (divides(text, end, n) != between) {
                break;
            }
        }
        n = tr_utf8_next(NULL, text.data + at, text.length - at);
        append_cased(&builder, (jinja_text_t){text.data + at + n, end - at - n}, JINJA_LOWER,
                     JINJA_LOWER);
    }
    return jinja_finish(result, &builder);
}

/// Every place, or the first `count` ones; an empty text is between all characters.
static tr_status filter_replace(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    jinja_builder_t builder = {.run = run};
    jinja_text_t text, old, new;
    int64_t most = -1;
    size_t from = 0, at;
    TR_TRY(jinja_to_text(&text, run, call->self));
    TR_TRY(jinja_to_text(&old, run, call->given[0]));
    TR_TRY(jinja_to_text(&new, run, call->given[1]));
    if (call->given[2] != NULL && call->given[2]->type != JINJA_NONE) {
        TR_TRY(expect_number(run, call->given[2]));
        most = jinja_whole(call->given[2]);
    }
    while (most-- != 0 && (at = jinja_find(text, old, from)) != SIZE_MAX) {
        // After an empty text, one character goes on.
        size_t next =
            old.length > 0 ? 0 : jinja_offset((jinja_text_t){text.data + at, text.length - at}, 1);
        TR_TRY(jinja_spend(run, 1));
        jinja_append(&builder, text.data + from, at - from);
        jinja_append_text(&builder, new);
        from = at + old.length;
        if (old.length == 0 && from == text.length) {
            break;
        }
        jinja_append(&builder, text.data + from, next);
        from += next;
    }
    jinja_append(&builder, text.data + from, text.length - from);
    return jinja_finish(result, &builder);
}

static tr_status filter_escape(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    static const char from[] = "&<>'\"";
    static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    jinja_builder_t builder = {.run = run};
    TR_TRY(filter_string(result, run, call));
    TR_TRY(jinja_spend(run, result->text.length / 8));
    for (size_t i = 0; i < result->text.length; i++) {
        const char *c = &result->text.data[i];
        const char *known = *c == '\0' || call->self->safe ? NULL : strchr(from, *c);
        jinja_append(&builder, known != NULL ? to[known - from] : c,
                     known != NULL ? strlen(to[known - from]) : 1);
    }
    TR_TRY(jinja_finish(result, &builder));
    result->safe = true;
    return TR_OK;
}

/// What a line is moved in by: a number of spaces, or a text.
static tr_status indentation(jinja_text_t *text, jinja_run_t *run, const jinja_value_t *width,
                             int64_t fallback)
{
    jinja_builder_t builder = {.run = run};
    jinja_value_t made;
    if (width != NULL && width->type == JINJA_TEXT) {
        *text = width->text;
        return TR_OK;
    }
    if (width != NULL && width->type != JINJA_INTEGER) {
        return jinja_fail(run, "an indentation is a %s", jinja_type_name(width));
    }
    for (int64_t i = width == NULL ? fallback : width->integer; i > 0 && !run->full; i--) {
        jinja_append(&builder, " ", 1);
        run->steps++;
    }
    TR_TRY(jinja_finish(&made, &builder));
    *text = made.text;
    return TR_OK;
}

/// Lines from the second on (first: all) are moved in, and empty ones only where `blank`.
static tr_status filter_indent(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    jinja_builder_t builder = {.run = run};
    jinja_text_t margin, text;
    bool first = flag(call->given[1], false), blank = flag(call->given[2], false);
    TR_TRY(indentation(&margin, run, call->given[0], 4));
    TR_TRY(jinja_to_text(&text, run, call->self));
    for (size_t line = 0, more = 1; more > 0; line++) {
        size_t ending, length = jinja_line(&ending, text);
        TR_TRY(jinja_spend(run, 1 + length / 16));
        if (line == 0 ? first : blank || length > 0) {
            jinja_append_text(&builder, margin);
        }
        jinja_append(&builder, text.data, length);
        more = ending;
        jinja_append(&builder, "\n", more > 0);
        text.data += length + ending;
        text.length -= length + ending;
    }
    return jinja_finish(result, &builder);
}

static tr_status filter_tojson(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    jinja_builder_t builder = {.run = run};
    const jinja_value_t *indent = call->given[1], *separators = call->given[2];
    jinja_text_t margin;
    bool lines = indent != NULL && indent->type != JINJA_NONE;
    TR_TRY(indentation(&margin, run, lines ? indent : NULL, 0));
    jinja_json_form_t form = {.indent = lines ? &margin : NULL,
                              .item = lines ? JINJA_LITERAL(",") : JINJA_LITERAL(", "),
                              .key = JINJA_LITERAL(": "),
                              .ascii = flag(call->given[0], false),
                              .sorted = flag(call->given[3], false)};
    if (separators != NULL && separators->type != JINJA_NONE) {
        if (!jinja_is_list(separators) || separators->list->count != 2) {
            return jinja_fail(run, "tojson: separators: expected two texts");
        }
        TR_TRY(jinja_to_text(&form.item, run, &separators->list->items[0]));
        TR_TRY(jinja_to_text(&form.key, run, &separators->list->items[1]));
    }
    TR_TRY(jinja_append_json(&builder, call->self, &form));
    return jinja_finish(result, &builder);
}

// Single values

static tr_status filter_default(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    (void)run;
    const jinja_value_t *self = call->self;
    bool missing = flag(call->given[1], false) ? !jinja_truth(self) : self->type == JINJA_UNDEFINED;
    *result = !missing ? *self : call->given[0] != NULL ? *call->given[0] : jinja_text("", 0);
    return TR_OK;
}

static tr_status filter_length(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    const jinja_value_t *self = call->self;
    switch (self->type) {
    case JINJA_UNDEFINED: *result = jinja_integer(0); return TR_OK;
    case JINJA_TEXT:
        *result = jinja_integer((int64_t)jinja_count(self->text));
        return jinja_spend(run, self->text.length / 64);
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_RANGE:
    case JINJA_VIEW: *result = jinja_integer((int64_t)self->list->count); return TR_OK;
    case JINJA_DICT: *result = jinja_integer((int64_t)self->dict->count); return TR_OK;
    default: return jinja_fail(run, "a %s has no length", jinja_type_name(self));
    }
}

/// A text as C writes a number; false: it is none. Python takes white space around it and `_`
/// within.
static bool plain_number(char digits[64], jinja_text_t text)
{
    size_t length = 0;
    text = jinja_strip(text, NULL, true, true);
    for (size_t i = 0; i < text.length; i++) {
        if (length + 1 == 64 || strchr("xXpP(", text.data[i]) != NULL) {
            return false;
        }
        digits[length] = text.data[i];
        length += text.data[i] != '_';
    }
    digits[length] = '\0';
    return length > 0;
}

static bool parse_number(double *number, jinja_text_t text)
{
    char digits[64], *end;
    if (!plain_number(digits, text)) {
        return false;
    }
    *number = strtod(digits, &end);
    return *end == '\0';
}

/// A whole number that a double may not hold.
static bool parse_whole(int64_t *number, jinja_text_t text)
{
    char digits[64], *end;
    if (!plain_number(digits, text)) {
        return false;
    }
    errno = 0;
    *number = strtoll(digits, &end, 10);
    return *end == '\0' && errno == 0;
}

static tr_status filter_int(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    const jinja_value_t *self = call->self;
    double number = NAN;
    int64_t whole;
    if (call->given[1] != NULL) {
        return jinja_fail(run, "int: a base is not understood");
    }
    if (self->type == JINJA_INTEGER || self->type == JINJA_BOOL) {
        *result = jinja_integer(jinja_whole(self));
        return TR_OK;
    }
    *result = call->given[0] != NULL ? *call->given[0] : jinja_integer(0);
    if (self->type == JINJA_REAL) {
        number = self->real;
    } else if (self->type == JINJA_TEXT) {
        if (parse_whole(&whole, self->text)) {
            *result = jinja_integer(whole);
            return TR_OK;
        }
        number = parse_number(&number, self->text) ? number : NAN;
    }
    if (fabs(number) < 0x1p63) {
        *result = jinja_integer((int64_t)number);
    } else if (isfinite(number) || (isinf(number) && self->type == JINJA_REAL)) {
        return jinja_fail(run, "int: a number has more than 64 bits");
    }
    return TR_OK;
}

static tr_status filter_float(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    (void)run;
    const jinja_value_t *self = call->self;
    double number;
    if (jinja_is_number(self)) {
        *result = jinja_real(jinja_number(self));
    } else if (self->type == JINJA_TEXT && parse_number(&number, self->text)) {
        *result = jinja_real(number);
    } else {
        *result = call->given[0] != NULL ? *call->given[0] : jinja_real(0);
    }
    return TR_OK;
}

static tr_status filter_abs(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    TR_TRY(expect_number(run, call->self));
    if (call->self->type == JINJA_REAL) {
        *result = jinja_real(fabs(call->self->real));
        return TR_OK;
    }
    const jinja_value_t zero = jinja_integer(0), whole = jinja_integer(jinja_whole(call->self));
    return jinja_binary(result, run, whole.integer < 0 ? JINJA_SUBTRACT : JINJA_ADD, &zero, &whole);
}

/// As Python's round: to even digits, decided by the exact number.
static tr_status filter_round(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    char digits[512];
    jinja_text_t method = JINJA_LITERAL("common");
    int64_t precision = call->given[0] == NULL ? 0 : call->given[0]->integer;
    TR_TRY(expect_number(run, call->self));
    if ((call->given[0] != NULL && call->given[0]->type != JINJA_INTEGER) || precision < 0 ||
        precision > 100) {
        return jinja_fail(run, "round: expected digits from 0 to 100");
    }
    if (call->given[1] != NULL) {
        TR_TRY(jinja_to_text(&method, run, call->given[1]));
    }
    double number = jinja_number(call->self), scale = pow(10, (double)precision);
    if (jinja_text_equal(method, JINJA_LITERAL("ceil"))) {
        *result = jinja_real(ceil(number * scale) / scale);
    } else if (jinja_text_equal(method, JINJA_LITERAL("floor"))) {
        *result = jinja_real(floor(number * scale) / scale);
    } else if (!jinja_text_equal(method, JINJA_LITERAL("common"))) {
        return jinja_fail(run, "round: expected common, ceil or floor");
    } else if (call->self->type != JINJA_REAL) { // Python's round of a whole number is one
        *result = jinja_integer(jinja_whole(call->self));
    } else {
        snprintf(digits, sizeof digits, "%.*f", (int)precision, number);
        *result = jinja_real(strtod(digits, NULL));
    }
    return TR_OK;
}

static tr_status filter_attr(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    if (call->given[0]->type != JINJA_TEXT) {
        return jinja_fail(run, "attr: expected a name");
    }
    return jinja_attribute(result, run, call->self, call->given[0]->text);
}

static const jinja_builtin_t FILTERS[] = {
    {"trim", "|chars ", filter_trim},
    {"tojson", "|ensure_ascii indent separators sort_keys ", filter_tojson},
    {"length", "", filter_length},
    {"count", "", filter_length},
    {"default", "|default_value boolean ", filter_default},
    {"d", "|default_value boolean ", filter_default},
    {"string", "", filter_string},
    {"safe", "", filter_safe},
    {"upper", "", filter_upper},
    {"lower", "", filter_lower},
    {"capitalize", "", filter_capitalize},
    {"title", "", filter_title},
    {"replace", "old new |count ", filter_replace},
    {"escape", "", filter_escape},
    {"e", "", filter_escape},
    {"indent", "|width first blank ", filter_indent},
    {"int", "|default base ", filter_int},
    {"float", "|default ", filter_float},
    {"abs", "", filter_abs},
    {"round", "|precision method ", filter_round},
    {"attr", "name ", filter_attr},
};

const jinja_builtin_t *jinja_value_filter_find(jinja_text_t name)
{
    return jinja_builtin_find(FILTERS, sizeof FILTERS / sizeof *FILTERS, name);
}

const jinja_builtin_t *jinja_filter_find(jinja_text_t name)
{
    const jinja_builtin_t *filter = jinja_value_filter_find(name);
    return filter != NULL ? filter : jinja_list_filter_find(name);
}
