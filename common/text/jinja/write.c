// Values as text: Python's str and repr, and tojson, which is its json.dumps.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/text/jinja/case.h"
#include "common/text/jinja/run.h"
#include "common/text/jinja/strings.h"

void jinja_append_text(jinja_builder_t *builder, jinja_text_t text)
{
    jinja_append(builder, text.data, text.length);
}

void jinja_append_point(jinja_builder_t *builder, uint32_t point)
{
    char bytes[4];
    jinja_append(builder, bytes, jinja_utf8_put(bytes, point));
}

static void append_string(jinja_builder_t *builder, const char *text)
{
    jinja_append(builder, text, strlen(text));
}

static void append_integer(jinja_builder_t *builder, int64_t integer)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%lld", (long long)integer);
    append_string(builder, digits);
}

/// The shortest digits that read back as the number: "d.ddde+xx". digits: [32], written.
static void shortest(char *digits, double real)
{
    for (int precision = 0; precision < 17; precision++) {
        snprintf(digits, 32, "%.*e", precision, real);
        if (strtod(digits, NULL) == real) {
            return;
        }
    }
}

void jinja_append_real(jinja_builder_t *builder, double real)
{
    char digits[32], fixed[64];
    if (isnan(real) || isinf(real)) {
        append_string(builder, isnan(real) ? "nan" : real > 0 ? "inf" : "-inf");
        return;
    }
    shortest(digits, real);
    char *exponent = strchr(digits, 'e');
    int scale = (int)strtol(exponent + 1, NULL, 10);
    if (scale < -4 || scale >= 16) { // "1e+16": with at least two digits, as C has it
        append_string(builder, digits);
        return;
    }
    int written = (int)(exponent - digits) - (digits[0] == '-'); // "d" or "d.ddd"
    int decimals = (written > 1 ? written - 2 : 0) - scale;
    snprintf(fixed, sizeof fixed, "%.*f", decimals > 1 ? decimals : 1, real);
    append_string(builder, fixed);
}

// repr

static void append_escape(jinja_builder_t *builder, const char *format, uint32_t point)
{
    char escape[16];
    snprintf(escape, sizeof escape, format, point);
    append_string(builder, escape);
}

static void append_quoted(jinja_builder_t *builder, jinja_text_t text)
{
    bool single = memchr(text.data, '\'', text.length) != NULL;
    bool both = single && memchr(text.data, '"', text.length) != NULL;
    uint32_t quote = single && !both ? '"' : '\'';
    jinja_append_point(builder, quote);
    for (size_t at = 0, n; at < text.length; at += n) {
        uint32_t point = 0;
        n = tr_utf8_next(&point, text.data + at, text.length - at);
        builder->run->steps += 4;
        if (point == '\n' || point == '\r' || point == '\t') {
            append_string(builder, point == '\n' ? "\\n" : point == '\r' ? "\\r" : "\\t");
        } else if (point == quote || point == '\\') {
            jinja_append(builder, "\\", 1);
            jinja_append_point(builder, point);
        } else if (jinja_is_printable(point)) {
            jinja_append(builder, text.data + at, n);
        } else {
            append_escape(builder,
                          point < 0x100     ? "\\x%02x"
                          : point < 0x10000 ? "\\u%04x"
                                            : "\\U%08x",
                          point);
        }
    }
    jinja_append_point(builder, quote);
}

static tr_status append_list(jinja_builder_t *builder, const jinja_value_t *value)
{
    const jinja_list_t *list = value->list;
    append_string(builder, value->type == JINJA_LIST ? "[" : "(");
    for (size_t i = 0; i < list->count; i++) {
        append_string(builder, i > 0 ? ", " : "");
        TR_TRY(jinja_append_value(builder, &list->items[i], true));
    }
    append_string(builder, value->type == JINJA_LIST ? "]" : list->count == 1 ? ",)" : ")");
    return TR_OK;
}

static tr_status append_dict(jinja_builder_t *builder, const jinja_dict_t *dict)
{
    append_string(builder, "{");
    for (size_t i = 0; i < dict->count; i++) {
        append_string(builder, i > 0 ? ", " : "");
        TR_TRY(jinja_append_value(builder, &dict->keys[i], true));
        append_string(builder, ": ");
        TR_TRY(jinja_append_value(builder, &dict->values[i], true));
    }
    append_string(builder, "}");
    return TR_OK;
}

/// Values that have no text of their own in Python either, but an address.
static tr_status refuse(jinja_builder_t *builder, const jinja_value_t *value)
{
    return jinja_fail(builder->run, "a %s cannot be written", jinja_type_name(value));
}

static tr_status append_simple(jinja_builder_t *builder, const jinja_value_t *value, bool repr)
{
    switch (value->type) {
    case JINJA_UNDEFINED: append_string(builder, repr ? "Undefined" : ""); return TR_OK;
    case JINJA_NONE: append_string(builder, "None"); return TR_OK;
    case JINJA_BOOL: append_string(builder, value->truth ? "True" : "False"); return TR_OK;
    case JINJA_INTEGER: append_integer(builder, value->integer); return TR_OK;
    case JINJA_REAL: jinja_append_real(builder, value->real); return TR_OK;
    default: return refuse(builder, value);
    }
}

tr_status jinja_append_value(jinja_builder_t *builder, const jinja_value_t *value, bool repr)
{
    tr_status status;
    TR_TRY(jinja_enter(builder->run));
    if (value->type == JINJA_TEXT && !repr) {
        jinja_append_text(builder, value->text);
        status = TR_OK;
    } else if (value->type == JINJA_TEXT) {
        append_quoted(builder, value->text);
        status = TR_OK;
    } else if (jinja_is_list(value)) {
        status = append_list(builder, value);
    } else if (value->type == JINJA_DICT) {
        status = append_dict(builder, value->dict);
    } else {
        status = append_simple(builder, value, repr);
    }
    jinja_leave(builder->run);
    return status;
}

tr_status jinja_to_text(jinja_text_t *text, jinja_run_t *run, const jinja_value_t *value)
{
    jinja_builder_t builder = {.run = run};
    jinja_value_t written = *value;
    if (value->type != JINJA_TEXT) {
        TR_TRY(jinja_append_value(&builder, value, false));
        TR_TRY(jinja_finish(&written, &builder));
    }
    *text = written.text;
    return TR_OK;
}

// JSON

static void append_json_point(jinja_builder_t *builder, uint32_t point, bool ascii)
{
    static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
    const char *known = point != 0 && point < 0x80 ? strchr(from, (int)point) : NULL;
    if (known != NULL) {
        jinja_append(builder, "\\", 1);
        jinja_append(builder, &to[known - from], 1);
    } else if (point >= 0x10000 && ascii) { // UTF-16's pair
        append_escape(builder, "\\u%04x", 0xD800 + ((point - 0x10000) >> 10));
        append_escape(builder, "\\u%04x", 0xDC00 + ((point - 0x10000) & 0x3FF));
    } else if (point < 0x20 || (point >= 0x7F && ascii)) {
        append_escape(builder, "\\u%04x", point);
    } else {
        jinja_append_point(builder, point);
    }
}

static void append_json_text(jinja_builder_t *builder, jinja_text_t text, bool ascii)
{
    jinja_append(builder, "\"", 1);
    for (size_t at = 0, n; at < text.length; at += n) {
        uint32_t point = 0;
        n = tr_utf8_next(&point, text.data + at, text.length - at);
        append_json_point(builder, point, ascii);
    }
    builder->run->steps += text.length / 16;
    jinja_append(builder, "\"", 1);
}

/// A value at a level of nesting.
static tr_status append_json(jinja_builder_t *builder, const jinja_value_t *value,
                             const jinja_json_form_t *form, size_t level);

/// A line's end, and the level's indentation.
static void append_line(jinja_builder_t *builder, const jinja_json_form_t *form, size_t level)
{
    if (form->indent == NULL) {
        return;
    }
    append_string(builder, "\n");
    for (size_t i = 0; i < level; i++) {
        jinja_append_text(builder, *form->indent);
    }
}

static tr_status append_json_list(jinja_builder_t *builder, const jinja_list_t *list,
                                  const jinja_json_form_t *form, size_t level)
{
    append_string(builder, "[");
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0) {
            jinja_append_text(builder, form->item);
        }
        append_line(builder, form, level + 1);
        TR_TRY(append_json(builder, &list->items[i], form, level + 1));
    }
    if (list->count > 0) {
        append_line(builder, form, level);
    }
    append_string(builder, "]");
    return TR_OK;
}

static tr_status append_json_key(jinja_builder_t *builder, const jinja_value_t *key,
                                 const jinja_json_form_t *form)
{
    if (key->type == JINJA_TEXT) {
        append_json_text(builder, key->text, form->ascii);
        return TR_OK;
    }
    append_string(builder, "\"");
    TR_TRY(append_json(builder, key, form, 0));
    append_string(builder, "\"");
    return TR_OK;
}

static tr_status key_less(bool *less, jinja_run_t *run, const void *context, const jinja_value_t *a,
                          const jinja_value_t *b)
{
    (void)context;
    return jinja_compare(less, run, JINJA_LESS, a, b);
}

/// The mapping's keys, sorted where the form says so.
static tr_status json_keys(jinja_value_t **keys, jinja_run_t *run, const jinja_dict_t *dict,
                           const jinja_json_form_t *form)
{
    *keys = jinja_alloc(&run->memory, (dict->count + 1) * sizeof **keys);
    for (size_t i = 0; i < dict->count; i++) {
        (*keys)[i] = dict->keys[i];
    }
    return form->sorted ? jinja_sort(run, *keys, dict->count, key_less, NULL) : TR_OK;
}

static tr_status append_json_dict(jinja_builder_t *builder, const jinja_dict_t *dict,
                                  const jinja_json_form_t *form, size_t level)
{
    jinja_value_t *keys;
    TR_TRY(json_keys(&keys, builder->run, dict, form));
    append_string(builder, "{");
    for (size_t i = 0; i < dict->count; i++) {
        const jinja_value_t *sorted =
            form->sorted && keys[i].type == JINJA_TEXT ? jinja_dict_find(dict, keys[i].text) : NULL;
        if (i > 0) {
            jinja_append_text(builder, form->item);
        }
        append_line(builder, form, level + 1);
        TR_TRY(append_json_key(builder, &keys[i], form));
        jinja_append_text(builder, form->key);
        TR_TRY(append_json(builder, sorted != NULL ? sorted : &dict->values[i], form, level + 1));
    }
    if (dict->count > 0) {
        append_line(builder, form, level);
    }
    append_string(builder, "}");
    return TR_OK;
}

/// What JSON spells otherwise than Python.
static tr_status append_json_word(jinja_builder_t *builder, const jinja_value_t *value)
{
    if (value->type == JINJA_NONE) {
        append_string(builder, "null");
    } else if (value->type == JINJA_BOOL) {
        append_string(builder, value->truth ? "true" : "false");
    } else if (value->type == JINJA_REAL && !isfinite(value->real)) {
        append_string(builder, isnan(value->real) ? "NaN"
                               : value->real > 0  ? "Infinity"
                                                  : "-Infinity");
    } else if (value->type == JINJA_INTEGER || value->type == JINJA_REAL) {
        return append_simple(builder, value, true);
    } else {
        return jinja_fail(builder->run, "tojson: a value that is %s has no JSON",
                          jinja_type_name(value));
    }
    return TR_OK;
}

static tr_status append_json(jinja_builder_t *builder, const jinja_value_t *value,
                             const jinja_json_form_t *form, size_t level)
{
    tr_status status = TR_OK;
    TR_TRY(jinja_enter(builder->run));
    if (value->type == JINJA_TEXT) {
        append_json_text(builder, value->text, form->ascii);
    } else if (jinja_is_list(value)) {
        status = append_json_list(builder, value->list, form, level);
    } else if (value->type == JINJA_DICT) {
        status = append_json_dict(builder, value->dict, form, level);
    } else {
        status = append_json_word(builder, value);
    }
    jinja_leave(builder->run);
    return status;
}

tr_status jinja_append_json(jinja_builder_t *builder, const jinja_value_t *value,
                            const jinja_json_form_t *form)
{
    return append_json(builder, value, form, 0);
}
