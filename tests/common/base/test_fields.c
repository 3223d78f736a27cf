/// Tables of fields: defaults, values from texts, nulls, choices, what depends on another field,
/// and sentences of what is expected. test_fields_json.c has their way into messages and back. Both
/// use one table with a field of every kind.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/every_kind.h"

/// Parses into a fresh record's field; false, and checked that nothing changed, for what is
/// refused.
static bool parses(every_kind_t *record, const char *name, const char *text, bool quoted)
{
    const tr_field_t *field = tr_fields_find(&every_kind_fields, name);
    every_kind_t fresh = {0};
    cr_assert_not_null(field, "%s", name);
    tr_fields_release(record, &every_kind_fields);
    tr_fields_init(record, &every_kind_fields);
    tr_fields_init(&fresh, &every_kind_fields);
    bool read = tr_field_parse(record, field, text, quoted);
    for (size_t i = 0; i < every_kind_fields.count; i++) {
        const tr_field_t *other = &every_kind_fields.items[i];
        if (!read || other != field) {
            cr_expect(tr_field_equal(record, &fresh, other), "'%s' into %s changed %s", text, name,
                      other->name);
        }
    }
    tr_fields_release(&fresh, &every_kind_fields);
    return read;
}

/// texts: with NULL at the end.
static void expect_refused(const char *name, bool quoted, const char *const *texts)
{
    every_kind_t record = {0};
    for (size_t i = 0; texts[i] != NULL; i++) {
        cr_expect_not(parses(&record, name, texts[i], quoted), "%s takes '%s'", name, texts[i]);
    }
    tr_fields_release(&record, &every_kind_fields);
}

#define EXPECT_REFUSED(name, quoted, ...) \
    expect_refused(name, quoted, (const char *const[]){__VA_ARGS__, NULL})

Test(fields, defaults_are_what_the_table_says)
{
    every_kind_t r;
    memset(&r, 0x5A, sizeof r); // whatever was there
    tr_fields_init(&r, &every_kind_fields);
    cr_expect_str_eq(r.text, "plain");
    cr_expect_null(r.none);
    cr_expect_str_eq(r.device, "cpu");
    cr_expect_eq(r.whole, 3U);
    cr_expect_eq(r.bound, 0U);
    cr_expect_eq(r.real, 0.25);
    cr_expect_eq(r.scale, 1.0, "what null stands for");
    cr_expect(r.truth);
    cr_expect_eq(r.colour, 2);
    cr_expect_eq(r.shape, 1);
    cr_assert_eq(r.several.count, 1U);
    cr_expect_eq(r.several.items[0], 1);
    cr_expect_eq(r.reals.count, 0U);
    cr_assert_eq(r.devices.count, 1U);
    cr_expect_str_eq(r.devices.items[0], "cpu");
    cr_expect_eq(r.ids.count, 0U);
    cr_expect_eq(r.words.count, 0U);
    cr_expect_eq(r.required, 0U, "without a default: zero");
    tr_fields_release(&r, &every_kind_fields);
    cr_expect_null(r.text);
    cr_expect_null(r.devices.items);
    tr_fields_release(&r, &every_kind_fields);
}

Test(fields, a_default_in_quotes_is_a_text_with_its_escapes)
{
    every_kind_t r;
    tr_fields_init(&r, &every_kind_fields);
    cr_expect_str_eq(r.separator, "\n");
    tr_fields_release(&r, &every_kind_fields);
}

Test(fields, a_field_is_found_by_both_of_its_names)
{
    const tr_field_t *field = tr_fields_find(&every_kind_fields, "whole");
    cr_expect_eq(tr_fields_find(&every_kind_fields, "number"), field);
    cr_expect_null(tr_fields_find(&every_kind_fields, "whol"));
    cr_expect_null(tr_fields_find(&every_kind_fields, "deep"), "its name is 'section.deep'");
    cr_expect_not_null(tr_fields_find(&every_kind_fields, "section.deep"));
}

Test(fields, a_whole_number_is_digits_in_range)
{
    every_kind_t r = {0};
    cr_assert(parses(&r, "whole", "1", false));
    cr_expect_eq(r.whole, 1U);
    cr_assert(parses(&r, "whole", "1000", false));
    cr_expect_eq(r.whole, 1000U);
    cr_assert(parses(&r, "whole", "0017", false));
    cr_expect_eq(r.whole, 17U);
    EXPECT_REFUSED("whole", false, "0", "1001", "-1", "+1", "1.0", "1e2", "0x10", " 1", "1 ", "",
                   "one", "9223372036854775808", "18446744073709551617", "null", "~");
    EXPECT_REFUSED("whole", true, "1", "null");
    tr_fields_release(&r, &every_kind_fields);
}

Test(fields, whole_numbers_go_to_the_largest_of_63_bits)
{
    uint64_t value = 5;
    cr_assert(tr_whole_parse(&value, "9223372036854775807"));
    cr_expect_eq(value, (uint64_t)INT64_MAX);
    cr_expect_not(tr_whole_parse(&value, "9223372036854775808"));
    cr_expect_not(tr_whole_parse(&value, "99999999999999999999"));
    cr_expect_eq(value, (uint64_t)INT64_MAX, "what is refused changes nothing");
}

Test(fields, a_real_number_is_a_finite_decimal_in_range)
{
    static const struct {
        const char *text;
        double value;
    } good[] = {{"0", 0.0},     {"1", 1.0},      {"0.5", 0.5},  {".5", 0.5},    {"+.5", 0.5},
                {"1e-3", 1e-3}, {"1.E-3", 1e-3}, {"5e-1", 0.5}, {"1e-400", 0.0}};
    every_kind_t r = {0};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        cr_assert(parses(&r, "real", good[i].text, false), "%s", good[i].text);
        cr_expect_eq(r.real, good[i].value, "%s", good[i].text);
    }
    cr_assert(parses(&r, "real", "-0", false));
    cr_expect_not(signbit(r.real), "-0 is 0");
    EXPECT_REFUSED("real", false, "1.5", "-0.1", "1e999", "inf", "nan", "0x1p-2", ".", "e1", "1e",
                   "1e+", "0,5", "", "null", "0.5 ");
    EXPECT_REFUSED("real", true, "0.5");
    tr_fields_release(&r, &every_kind_fields);
}

Test(fields, ends_of_ranges_are_in_them_unless_open)
{
    cr_expect(tr_range_holds(&tr_range_fraction, 0) && tr_range_holds(&tr_range_fraction, 1));
    cr_expect_not(tr_range_holds(&tr_range_fraction, nextafter(1.0, 2.0)));
    cr_expect_not(tr_range_holds(&tr_range_fraction, -5e-324));
    cr_expect_not(tr_range_holds(&tr_range_positive, 0));
    cr_expect(tr_range_holds(&tr_range_positive, 1e-45));
    cr_expect_not(tr_range_holds(&tr_range_positive, 1e-46), "0 as a float");
    cr_expect_not(tr_range_holds(&tr_range_positive, 1e39), "infinite as a float");
    cr_expect_not(tr_range_holds(&tr_range_below_1, nextafter(1.0, 0.0)), "1 as a float");
    cr_expect(tr_range_holds(&tr_range_below_1, 0));
    cr_expect_not(tr_range_holds(&tr_range_below_1, 1));
    cr_expect_not(tr_range_holds(&tr_range_above_0_to_1, 0));
    cr_expect(tr_range_holds(&tr_range_above_0_to_1, 1));
    cr_expect_not(tr_range_holds(&tr_range_any, NAN));
}

Test(fields, null_is_the_number_that_the_row_says_or_no_text)
{
    static const char *const words[] = {"null", "Null", "NULL", "~", ""};
    every_kind_t r = {0};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        cr_assert(parses(&r, "bound", words[i], false));
        cr_expect_eq(r.bound, 0U);
        cr_assert(parses(&r, "scale", words[i], false));
        cr_expect_eq(r.scale, 1.0);
        cr_assert(parses(&r, "none", words[i], false));
        cr_expect_null(r.none);
        cr_assert(parses(&r, "shape", words[i], false));
        cr_expect_eq(r.shape, 0, "a choice of that name");
        cr_expect_not(parses(&r, "text", words[i], false), "it cannot be null");
        cr_expect_not(parses(&r, "colour", words[i], false), "no choice has that name");
        cr_expect_not(parses(&r, "truth", words[i], false));
    }
    cr_assert(parses(&r, "none", "null", true));
    cr_expect_str_eq(r.none, "null", "in quotes it is a text");
    EXPECT_REFUSED("none", true, "");
    tr_fields_release(&r, &every_kind_fields);
}

Test(fields, truth_values_are_true_and_false_alone)
{
    every_kind_t r = {0};
    cr_assert(parses(&r, "truth", "true", false) && r.truth);
    cr_assert(parses(&r, "truth", "True", false) && r.truth);
    cr_assert(parses(&r, "truth", "FALSE", false) && !r.truth);
    EXPECT_REFUSED("truth", false, "yes", "no", "1", "0", "on", "tru", "true|True", "", "tRUE");
    EXPECT_REFUSED("truth", true, "true");
    tr_fields_release(&r, &every_kind_fields);
}

Test(fields, choices_are_found_by_name_in_arrays_and_in_tables)
{
    static const char *const colours[] = {"red", "green", "blue", NULL};
    static const char *const shapes[] = {"null", "round", "square", NULL};
    static const char *const letters[] = {"a", "b", "c", NULL};
    fields_check_choices(&every_kind_fields, "colour", colours);
    fields_check_choices(&every_kind_fields, "shape", shapes); // rows of a table, by their stride
    fields_check_choices(&every_kind_fields, "several", letters);
    EXPECT_REFUSED("colour", false, "Red", "re", "redd", "0", "");
    EXPECT_REFUSED("several", false, "d", "a,b", "");
}

Test(fields, texts_and_lists_of_them_name_devices_where_they_should)
{
    every_kind_t r = {0};
    cr_assert(parses(&r, "text", "17", false));
    cr_expect_str_eq(r.text, "17");
    cr_assert(parses(&r, "device", "cuda:3", false));
    cr_expect_str_eq(r.device, "cuda:3");
    cr_assert(parses(&r, "devices", "cuda", false));
    cr_assert_eq(r.devices.count, 1U);
    cr_expect_str_eq(r.devices.items[0], "cuda");
    EXPECT_REFUSED("device", false, "gpu", "cuda:", "CPU", "");
    EXPECT_REFUSED("devices", false, "gpu", "", "null");
    tr_fields_release(&r, &every_kind_fields);
}

Test(fields, lists_of_several_are_no_single_text)
{
    EXPECT_REFUSED("reals", false, "1.0", "", "[]");
    EXPECT_REFUSED("ids", false, "1", "[1]");
    EXPECT_REFUSED("words", false, "a", "{}");
}

Test(fields, a_field_may_be_read_only_where_a_choice_says_so)
{
    const tr_field_t *cold = tr_fields_find(&every_kind_fields, "cold");
    const tr_field_t *wide = tr_fields_find(&every_kind_fields, "wide");
    every_kind_t r;
    tr_fields_init(&r, &every_kind_fields);
    for (int colour = 0; colour < 3; colour++) {
        r.colour = colour;
        cr_expect_eq(tr_field_is_read(&r, &every_kind_fields, cold), colour != 0); // green|blue
    }
    for (int letter = 0; letter < 3; letter++) {
        r.several = (tr_choices_t){1, {letter}};
        cr_expect_eq(tr_field_is_read(&r, &every_kind_fields, wide), letter == 2); // c
    }
    r.several = (tr_choices_t){2, {0, 2}};
    cr_expect(tr_field_is_read(&r, &every_kind_fields, wide), "one of several is enough");
    cr_expect(tr_field_is_read(&r, &every_kind_fields, &every_kind_fields.items[0]));
    tr_fields_release(&r, &every_kind_fields);
}

Test(fields, each_field_that_differs_is_unequal)
{
    every_kind_t a, b;
    tr_fields_init(&a, &every_kind_fields);
    every_kind_fill(&b);
    for (size_t i = 0; i < every_kind_fields.count; i++) {
        const tr_field_t *field = &every_kind_fields.items[i];
        cr_expect(tr_field_equal(&a, &a, field), "%s", field->name);
        cr_expect_not(tr_field_equal(&a, &b, field), "%s", field->name);
        cr_expect_not(tr_field_equal(&b, &a, field), "%s", field->name);
    }
    tr_fields_release(&a, &every_kind_fields);
    tr_fields_release(&b, &every_kind_fields);
}

Test(fields, choices_know_what_is_among_them)
{
    const tr_choices_t choices = {2, {4, 1}};
    cr_expect(tr_choices_has(&choices, 4) && tr_choices_has(&choices, 1));
    cr_expect_not(tr_choices_has(&choices, 0));
}

Test(fields, what_is_expected_is_said_in_words)
{
    static const struct {
        const char *name, *expected;
    } rows[] = {
        {"text", "a text"},
        {"none", "a text, or null"},
        {"device", "'cpu', 'cuda' or 'cuda:N'"},
        {"devices", "'cpu', 'cuda' or 'cuda:N', or a list of them"},
        {"directory", "a directory"},
        {"model", "a Hugging Face directory"},
        {"program", "a list of a program and its arguments"},
        {"files", "a list of files"},
        {"whole", "a whole number from 1 to 1000"},
        {"bound", "a whole number from 1 to 1000, or null"},
        {"real", "a number from 0 to 1"},
        {"scale", "a number above 0 and at most 1, or null"},
        {"truth", "true or false"},
        {"colour", "'red', 'green' or 'blue'"},
        {"shape", "null, 'round' or 'square'"},
        {"several", "'a', 'b' or 'c'"},
        {"reals", "a list of numbers"},
        {"ids", "a list of token ids"},
        {"words", "words, each with a number"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *expected = tr_field_expected(tr_fields_find(&every_kind_fields, rows[i].name));
        cr_expect_str_eq(expected, rows[i].expected);
        free(expected);
    }
}
