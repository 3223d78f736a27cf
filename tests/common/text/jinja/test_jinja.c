/// Templates against Jinja as transformers sets it up (a golden file), their bounds, and templates
/// that are broken at random.
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/text/jinja/jinja.h"
#include "common/text/utf8.h"

static json_t *golden(void)
{
    json_t *file = json_load_file(TEST_SOURCE_DIR "/tests/golden/jinja.json", 0, NULL);
    cr_assert_not_null(file);
    return file;
}

/// Parses and renders.
static tr_status render(tr_jinja_text_t *text, const char *source, size_t length,
                        const json_t *variables, tr_error_t *err)
{
    tr_jinja_t *template;
    tr_status status = tr_jinja_new(&template, source, length, err);
    cr_assert_eq(template != NULL, status == TR_OK);
    if (status == TR_OK) {
        status = tr_jinja_render(text, template, variables, err);
    }
    tr_jinja_destroy(&template);
    return status;
}

static void expect_rendered(const tr_jinja_text_t *text, const json_t *wanted, const char *source)
{
    const json_t *spans = json_object_get(wanted, "spans");
    cr_expect_str_eq(text->text.data, json_string_value(json_object_get(wanted, "text")), "%s",
                     source);
    cr_assert_eq(text->span_count, json_array_size(spans), "%s", source);
    for (size_t i = 0; i < text->span_count; i++) {
        const json_t *span = json_array_get(spans, i);
        cr_expect_eq((json_int_t)text->spans[i].from, json_integer_value(json_array_get(span, 0)),
                     "%s", source);
        cr_expect_eq((json_int_t)text->spans[i].to, json_integer_value(json_array_get(span, 1)),
                     "%s", source);
    }
}

Test(jinja, templates_write_what_transformers_has_them_write)
{
    json_t *file = golden();
    const json_t *cases = json_object_get(file, "cases");
    cr_assert_geq(json_array_size(cases), 70);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *template = json_object_get(json_array_get(cases, i), "template");
        const json_t *wanted = json_object_get(json_array_get(cases, i), "rendered");
        const char *source = json_string_value(template);
        tr_jinja_text_t text = {0};
        tr_error_t err = {0};
        tr_status status = render(&text, source, json_string_length(template),
                                  json_object_get(file, "variables"), &err);
        // Where Jinja raises, nothing is written here either.
        cr_expect_eq(status == TR_OK, json_is_object(wanted), "%s: %s", source, err.text);
        if (status == TR_OK) {
            expect_rendered(&text, wanted, source);
        } else {
            cr_expect_eq(strncmp(err.text, "line ", 5), 0, "%s", err.text);
            cr_expect_null(text.text.data);
        }
        tr_jinja_text_release(&text);
    }
    json_decref(file);
}

/// FNV-1a of bytes behind others.
static uint64_t hash(uint64_t value, const char *data, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        value = (value ^ (unsigned char)data[i]) * 0x100000001B3U;
    }
    return value;
}

/// The hash goes on with what the template makes of x, which is emptied.
static uint64_t hash_rendered(uint64_t value, const json_t *template, tr_bytes_t *x)
{
    json_t *variables = json_pack("{s:s%}", "x", x->data, x->length);
    tr_jinja_text_t text = {0};
    tr_error_t err = {0};
    cr_assert_eq(
        render(&text, json_string_value(template), json_string_length(template), variables, &err),
        TR_OK, "%s", err.text);
    value = hash(value, text.text.data, text.text.length);
    tr_jinja_text_release(&text);
    json_decref(variables);
    x->length = 0;
    return value;
}

Test(jinja, letters_and_white_space_are_pythons_for_every_character)
{
    json_t *file = golden(), *row, *range;
    json_int_t chunk = json_integer_value(json_object_get(file, "chunk"));
    size_t i, j, wanted = getenv("TROUPE_TEST_BRIEF") == NULL ? SIZE_MAX : 3;
    json_array_foreach(json_object_get(file, "every"), i, row)
    {
        if (i == wanted) {
            break;
        }
        const json_t *template = json_array_get(row, 0);
        uint64_t value = 0xCBF29CE484222325U;
        tr_bytes_t x = {0};
        json_int_t count = 0;
        json_array_foreach(json_object_get(file, "ranges"), j, range)
        {
            json_int_t last = json_integer_value(json_array_get(range, 1));
            for (json_int_t p = json_integer_value(json_array_get(range, 0)); p <= last; p++) {
                char bytes[4];
                tr_bytes_append(&x, bytes, tr_utf8_put(bytes, (uint32_t)p));
                if (++count % chunk == 0) {
                    value = hash_rendered(value, template, &x);
                }
            }
        }
        value = x.length > 0 ? hash_rendered(value, template, &x) : value;
        char *found = tr_format("%016llx", (unsigned long long)value);
        cr_expect_str_eq(found, json_string_value(json_array_get(row, 1)), "%s",
                         json_string_value(template));
        free(found);
        tr_bytes_release(&x);
    }
    cr_assert(i > 2);
    json_decref(file);
}

static void expect_refused(const char *source, const char *sentence)
{
    tr_jinja_text_t text = {0};
    tr_error_t err = {0};
    json_t *variables = json_pack("{s:s}", "t", "text");
    cr_expect_neq(render(&text, source, strlen(source), variables, &err), TR_OK, "%s", source);
    cr_expect_str_eq(err.text, sentence, "%s", source);
    cr_expect_null(text.text.data);
    json_decref(variables);
}

Test(jinja, a_mistake_is_a_sentence_with_its_line)
{
    expect_refused("\n\n{{ t", "line 3: a tag has no end");
    expect_refused("{% if t %}\n", "line 1: the template ends before 'elif'");
    expect_refused("\n{% endif %}", "line 2: the tag 'endif' is not understood");
    expect_refused("{{ t\n | frobnicate }}", "line 2: the filter 'frobnicate' is not known");
    expect_refused("{{ t is frobnicated }}", "line 1: the test 'frobnicated' is not known");
    expect_refused("\n{{ messages[0].role }}", "line 2: 'messages' is undefined");
    expect_refused("{{ t.x.y }}", "line 1: 'x' is undefined, and its 'y' is asked for");
    expect_refused("{{ t + 1 }}", "line 1: +: a text and a whole number do not go together");
    expect_refused("a\n{{ raise_exception('no ' ~ t) }}", "line 2: the template says: no text");
    expect_refused("{{ t | join }}{{ t | replace('a') }}",
                   "line 1: replace: the argument 'new' is missing");
    expect_refused("{{ t | upper(1) }}", "line 1: upper does not take all of its arguments");
    expect_refused("{{ '\\ud800' }}", "line 1: an escape in a string is no character");
    expect_refused("{{ (t] }}", "line 1: a bracket closes that was not opened");
    expect_refused("{{ t ? 1 : 2 }}", "line 1: '?' has no meaning here");
    expect_refused("\xFF", "the template is not UTF-8");
}

Test(jinja, what_is_left_out_is_refused_by_name)
{
    expect_refused("{% block a %}{% endblock %}", "line 1: the tag 'block' is not understood");
    expect_refused("{% include 'a' %}", "line 1: the tag 'include' is not understood");
    expect_refused("{% for a in t recursive %}{% endfor %}",
                   "line 1: recursive loops are not understood");
    expect_refused("{{ f(*t) }}", "line 1: '*' and '**' in calls are not understood");
    expect_refused("{{ '%s' % t }}", "line 1: %: a text and a text do not go together");
    expect_refused("{{ t.format(1) }}", "line 1: 'format' is undefined");
    expect_refused("{{ 9223372036854775807 + 1 }}", "line 1: a whole number has more than 64 bits");
    expect_refused("{{ (t | safe) + '<' }}",
                   "line 1: HTML is added to a text that went through 'safe': use '~'");
}

Test(jinja, a_template_without_end_ends)
{
    expect_refused("{% for a in range(99999) %}{% for b in range(99999) %}{% set c = b %}"
                   "{% endfor %}{% endfor %}",
                   "line 1: the template writes more than fits in memory: 512 MiB, 64 a text");
    expect_refused("{% set n = namespace(x='ab') %}{% for i in range(99) %}"
                   "{% set n.x = n.x ~ n.x %}{% endfor %}",
                   "line 1: the template writes more than fits in memory: 512 MiB, 64 a text");
    expect_refused("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
                   "line 1: calls or values are nested more than 500 deep");
    expect_refused("{{ 'x' * 99999999999 }}",
                   "line 1: the template takes more than 20000000 steps");
    expect_refused("{% set n = namespace(x=[]) %}{% for i in range(999) %}"
                   "{% set n.x = [n.x] %}{% endfor %}{{ n.x | tojson }}",
                   "line 1: calls or values are nested more than 500 deep");
}

Test(jinja, the_clock_is_that_of_the_environment)
{
    const char source[] = "{{ strftime_now('%d %B %Y, %H:%M') }}";
    tr_jinja_text_t text = {0};
    tr_error_t err = {0};
    setenv("SOURCE_DATE_EPOCH", "1721952000", 1); // GNU date: Fri Jul 26 00:00:00 UTC 2024
    cr_assert_eq(render(&text, source, strlen(source), NULL, &err), TR_OK, "%s", err.text);
    cr_expect_str_eq(text.text.data, "26 July 2024, 00:00");
    tr_jinja_text_release(&text);
}

// Templates that are broken at random

/// A number below `end`, of a sequence that is the same in every run.
static size_t below(uint64_t *state, size_t end)
{
    *state = *state * 6364136223846793005U + 1442695040888963407U;
    return (size_t)(*state >> 33) % end;
}

/// A piece of one of the golden templates.
static const char *piece_of(size_t *length, const json_t *cases, uint64_t *rng)
{
    const json_t *other = json_array_get(cases, below(rng, json_array_size(cases)));
    const json_t *template = json_object_get(other, "template");
    size_t all = json_string_length(template);
    size_t from = below(rng, all + 1);
    *length = below(rng, all - from + 1) % 24;
    return json_string_value(template) + from;
}

/// The template with pieces left out, or taken from others.
static tr_bytes_t broken(const json_t *template, const json_t *cases, uint64_t *rng)
{
    tr_bytes_t text = {0};
    const char *source = json_string_value(template);
    size_t length = json_string_length(template), at = 0;
    for (size_t cuts = 1 + below(rng, 4); cuts > 0; cuts--) {
        size_t to = at + below(rng, length - at + 1), more;
        const char *piece = piece_of(&more, cases, rng);
        tr_bytes_append(&text, source + at, to - at);
        tr_bytes_append(&text, piece, more);
        at = to + below(rng, 4);
        at = at < length ? at : length;
    }
    tr_bytes_append(&text, source + at, length - at);
    return text;
}

Test(jinja, a_broken_template_writes_or_says_why_not)
{
    json_t *file = golden();
    const json_t *cases = json_object_get(file, "cases");
    size_t rounds = getenv("TROUPE_TEST_BRIEF") != NULL ? 4 : 40, written = 0, refused = 0;
    uint64_t rng = 5;
    for (size_t i = 0; i < rounds * json_array_size(cases); i++) {
        const json_t *one = json_array_get(cases, i % json_array_size(cases));
        tr_bytes_t source = broken(json_object_get(one, "template"), cases, &rng);
        tr_jinja_text_t text = {0};
        tr_error_t err = {0};
        if (render(&text, source.data, source.length, json_object_get(file, "variables"), &err) ==
            TR_OK) {
            cr_expect_eq(tr_utf8_valid(text.text.data, text.text.length), text.text.length);
            written++;
        } else {
            cr_expect_neq(err.text[0], '\0');
            refused++;
        }
        tr_jinja_text_release(&text);
        tr_bytes_release(&source);
    }
    cr_expect_gt(written, 10);
    cr_expect_gt(refused, 100);
    json_decref(file);
}
