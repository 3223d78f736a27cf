/// UTF-8 by Unicode's table of well-formed sequences, and ill-formed bytes as U+FFFD.
#include "common/text/utf8.h"

#include <criterion/criterion.h>
#include <string.h>

Test(utf8, well_formed_characters_have_their_length_and_point)
{
    static const struct {
        const char *text;
        size_t length;
        uint32_t point;
    } cases[] = {
        {"A", 1, 0x41},
        {"\x7F", 1, 0x7F},
        {"\xC2\x80", 2, 0x80},
        {"\xC3\xA9", 2, 0xE9},
        {"\xDF\xBF", 2, 0x7FF},
        {"\xE0\xA0\x80", 3, 0x800},
        {"\xED\x9F\xBF", 3, 0xD7FF},
        {"\xEE\x80\x80", 3, 0xE000},
        {"\xEF\xBF\xBF", 3, 0xFFFF},
        {"\xF0\x90\x80\x80", 4, 0x10000},
        {"\xF4\x8F\xBF\xBF", 4, 0x10FFFF},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t point = 0;
        cr_expect_eq(tr_utf8_next(&point, cases[i].text, 5), cases[i].length, "case %zu", i);
        cr_expect_eq(point, cases[i].point, "case %zu", i);
        cr_expect_eq(tr_utf8_next(NULL, cases[i].text, cases[i].length - 1), 0, "case %zu", i);
    }
}

Test(utf8, overlong_forms_surrogates_and_points_past_the_end_are_none)
{
    static const char *const bad[] = {
        "\x80",         "\xBF",         "\xC0\x80",         "\xC1\xBF",         "\xE0\x9F\xBF",
        "\xED\xA0\x80", "\xED\xBF\xBF", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
        "\xFF",         "\xC3("};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(tr_utf8_next(NULL, bad[i], strlen(bad[i])), 0, "case %zu", i);
    }
    cr_expect_eq(tr_utf8_valid("ab\xC3\xA9\xFFz", 6), 4);
    cr_expect_eq(tr_utf8_valid("a\0b", 3), 3);
    cr_expect_eq(tr_utf8_valid("a\xC3", 2), 1);
}

/// Draining the first n bytes, and then all of them, gives these texts.
static void expect_drained(const char *bytes, size_t n, const char *before, const char *all)
{
    tr_bytes_t pending = {0}, out = {0};
    tr_bytes_append(&out, "", 0);
    tr_bytes_append(&pending, bytes, n);
    tr_utf8_drain(&out, &pending, false);
    cr_expect_str_eq(out.data, before);
    tr_bytes_append(&pending, bytes + n, strlen(bytes) - n);
    tr_utf8_drain(&out, &pending, true);
    cr_expect_str_eq(out.data, all);
    cr_expect_eq(pending.length, 0);
    tr_bytes_release(&pending);
    tr_bytes_release(&out);
    cr_expect_null(out.data);
}

#define MARK "\xEF\xBF\xBD" // U+FFFD

Test(utf8, a_character_comes_when_it_is_complete)
{
    expect_drained("a\xE2\x82\xAC", 2, "a", "a\xE2\x82\xAC");
    expect_drained("a\xE2\x82\xAC", 3, "a", "a\xE2\x82\xAC");
    expect_drained("a\xE2\x82", 3, "a", "a" MARK); // the end cuts it off
}

// The examples of Unicode's section 3.9, table 3-8 and on.
Test(utf8, each_maximal_ill_formed_part_is_one_mark)
{
    expect_drained("\xC0\xAF\xE0\x80\xBF", 5, MARK MARK MARK MARK MARK, MARK MARK MARK MARK MARK);
    expect_drained("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", 9, MARK MARK MARK MARK "A",
                   MARK MARK MARK MARK "A");
}

Test(utf8, white_space_is_unicodes)
{
    static const uint32_t spaces[] = {0x09, 0x0D, 0x20, 0x85, 0xA0, 0x1680, 0x2000, 0x200A, 0x3000};
    static const uint32_t others[] = {0x08, 0x0E, 0x1C, 0x200B, 0xFEFF, 'a'};
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
        cr_expect(tr_utf8_is_space(spaces[i]), "U+%04X", spaces[i]);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        cr_expect_not(tr_utf8_is_space(others[i]), "U+%04X", others[i]);
    }
}

Test(utf8, buffers_grow_and_end_with_a_nul)
{
    tr_bytes_t bytes = {0};
    tr_ids_t ids = {0};
    for (int32_t i = 0; i < 1000; i++) {
        tr_bytes_append(&bytes, "\0x", 2);
        tr_ids_append(&ids, i);
    }
    cr_expect(bytes.length == 2000 && bytes.data[1999] == 'x' && bytes.data[2000] == '\0');
    cr_expect(ids.count == 1000 && ids.data[999] == 999);
    tr_bytes_release(&bytes);
    tr_ids_release(&ids);
    cr_expect(ids.data == NULL && ids.count == 0);
}
