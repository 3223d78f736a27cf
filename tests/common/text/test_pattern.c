/// Texts cut at patterns, as tokenizer.json's Split says it, and Oniguruma's expressions read by
/// PCRE2. Expected pieces are those of the `tokenizers` library.
#include "common/text/pattern.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/// The pieces of a text with a bar after each.
typedef struct pieces {
    const char *text;
    char found[256];
    size_t length;
    size_t most; // pieces taken before it fails
} pieces_t;

static tr_status take(void *context, size_t start, size_t length)
{
    pieces_t *pieces = context;
    if (pieces->most-- == 0) {
        return TR_ERR_INTERRUPTED;
    }
    cr_expect(length > 0, "an empty piece");
    memcpy(pieces->found + pieces->length, pieces->text + start, length);
    pieces->length += length;
    pieces->found[pieces->length++] = '|';
    return TR_OK;
}

static tr_pattern_t *pattern_of(const char *text, tr_pattern_kind_t kind)
{
    tr_pattern_t *pattern;
    tr_error_t err = {0};
    cr_assert_eq(tr_pattern_new(&pattern, text, strlen(text), kind, &err), TR_OK, "%s", err.text);
    return pattern;
}

/// The pieces of text are `expected`.
static void expect_cut(const char *expression, tr_pattern_kind_t kind, tr_cut_t cut, bool invert,
                       const char *text, const char *expected)
{
    pieces_t pieces = {.text = text, .most = SIZE_MAX};
    tr_pattern_t *pattern = pattern_of(expression, kind);
    tr_error_t err = {0};
    cr_assert_eq(tr_pattern_cut(pattern, cut, invert, text, strlen(text), take, &pieces, &err),
                 TR_OK, "%s", err.text);
    cr_expect_str_eq(pieces.found, expected, "'%s' in '%s'", expression, text);
    tr_pattern_destroy(&pattern);
    tr_pattern_destroy(&pattern);
}

/// Matches are pieces of their own.
static void expect_pieces(const char *expression, const char *text, const char *expected)
{
    expect_cut(expression, TR_PATTERN_REGEX, TR_CUT_ISOLATED, false, text, expected);
}

Test(pattern, a_piece_that_is_not_taken_ends_the_walk)
{
    static const char *const expected[] = {"", "a|", "a|1|"};
    tr_pattern_t *pattern = pattern_of("[0-9]", TR_PATTERN_REGEX);
    for (size_t most = 0; most < 3; most++) {
        pieces_t pieces = {.text = "a1b", .most = most};
        tr_error_t err = {0};
        cr_expect_eq(tr_pattern_cut(pattern, TR_CUT_ISOLATED, false, "a1b", 3, take, &pieces, &err),
                     TR_ERR_INTERRUPTED);
        cr_expect_str_eq(pieces.found, expected[most]);
    }
    tr_pattern_destroy(&pattern);
}

Test(pattern, each_cut_gives_a_match_to_its_side)
{
    static const struct {
        const char *name, *plain, *inverted;
    } cuts[] = {
        {"Removed", "The|final|countdown|", "-|-|-|"},
        {"Isolated", "The|-|final|-|-|countdown|", "The|-|final|-|-|countdown|"},
        {"MergedWithPrevious", "The-|final-|-|countdown|", "The|-final|-|-countdown|"},
        {"MergedWithNext", "The|-final|-|-countdown|", "The-|final-|-|countdown|"},
        {"Contiguous", "The|-|final|--|countdown|", "The|-|final|--|countdown|"},
    };
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        tr_cut_t cut = TR_CUT_REMOVED;
        cr_assert(tr_cut_find(&cut, cuts[i].name));
        expect_cut("-", TR_PATTERN_TEXT, cut, false, "The-final--countdown", cuts[i].plain);
        expect_cut("-", TR_PATTERN_REGEX, cut, true, "The-final--countdown", cuts[i].inverted);
    }
    tr_cut_t cut;
    cr_expect_not(tr_cut_find(&cut, "Merged"));
}

Test(pattern, an_empty_match_cuts_once)
{
    expect_pieces("[0-9]", "ab12cd", "ab|1|2|cd|");
    expect_pieces("x", "", "");
    expect_pieces("(?=[0-9])", "a12b", "a|1|2b|");
    expect_pieces("(?=(\\d{3})+(?!\\d))", "1234567", "1|234|567|");
    expect_pieces("x*", "axb", "a|x|b|");
}

Test(pattern, a_literal_is_no_expression)
{
    expect_pieces("a.c", "abca.c", "abc|a.c|");
    expect_cut("a.c", TR_PATTERN_TEXT, TR_CUT_ISOLATED, false, "abca.c", "abc|a.c|");
    expect_cut("(", TR_PATTERN_TEXT, TR_CUT_ISOLATED, false, "f(x)", "f|(|x)|");
}

Test(pattern, what_oniguruma_reads_otherwise_is_rewritten)
{
    expect_pieces("\\h+", "xyz0Fg", "xyz|0F|g|"); // hexadecimal digits
    expect_pieces("[\\h_]+", "xa_fg", "x|a_f|g|");
    expect_pieces("\\s", "a\xE1\xA0\x8E z", "a\xE1\xA0\x8E| |z|"); // U+180E is no space
    expect_pieces("[^\\s]+", "a\xE1\xA0\x8E z", "a\xE1\xA0\x8E| |z|");
    expect_pieces("\\w+", "e\xCC\x81\xC2\xB2-", "e\xCC\x81\xC2\xB2|-|"); // marks, superscripts
    expect_pieces("[\\w]+", "e\xCC\x81\xC2\xB2-", "e\xCC\x81|\xC2\xB2-|");
    expect_pieces("\\W+", "a--b", "a|--|b|");
    expect_pieces("\\b", "ab cd", "ab| |cd|");
    expect_pieces("(?m:a.b)", "a\nb", "a\nb|"); // Ruby's m
    expect_pieces("a.b", "a\nba\rb", "a\nb|a\rb|");
    expect_pieces("^b", "a\nb", "a\n|b|");
    expect_pieces("\\u0062", "abc", "a|b|c|");
    expect_pieces("a{,2}b", "aab", "aab|");
    expect_pieces("a{,b", "a{,b", "a{,b|");
    expect_pieces("\\p{Han}+", "a\xE3\x80\x81\xE4\xB8\xAD", "a\xE3\x80\x81|\xE4\xB8\xAD|");
    expect_pieces("\\p{^L}", "a1", "a|1|");
    expect_pieces("\\P{^L}", "a1", "a|1|");
    expect_pieces("\\p{N}", "a\xF0\x96\xB5\xB0", "a|\xF0\x96\xB5\xB0|"); // a digit of Unicode 16
}

Test(pattern, what_cannot_be_rewritten_is_refused_by_name)
{
    static const struct {
        const char *expression, *name;
    } cases[] = {
        {"a(b", "is not understood"},
        {"[a&&b]", "an intersection of classes"},
        {"[a[b]]", "a class within a class"},
        {"[[:alpha:]]", "a class within a class"},
        {"[\\W]", "an escape"},
        {"\\X", "an escape"},
        {"\\p{Alphabetic}", "a property"},
        {"\\p{Cyrillic}", "a property"},
        {"\\p{L", "a property without its end"},
        {"a{2}+", "a quantifier behind {n}"},
        {"a{2}?", "a quantifier behind {n}"},
        {"[]a]", "an empty class"},
        {"a\\", "a backslash at the end"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tr_pattern_t *pattern;
        tr_error_t err = {0};
        const char *text = cases[i].expression;
        cr_expect_eq(tr_pattern_new(&pattern, text, strlen(text), TR_PATTERN_REGEX, &err),
                     TR_ERR_UNSUPPORTED, "%s", text);
        cr_expect_null(pattern);
        cr_expect_not_null(strstr(err.text, cases[i].name), "%s: %s", text, err.text);
        cr_expect_not_null(strstr(err.text, text), "%s", err.text);
    }
}

Test(pattern, a_match_is_replaced_wherever_it_is)
{
    tr_pattern_t *pattern = pattern_of("[ ]+", TR_PATTERN_REGEX);
    tr_bytes_t text = {0}, to = {0};
    tr_error_t err = {0};
    tr_bytes_append(&text, " a  b ", 6);
    tr_bytes_append(&to, "_", 1);
    cr_assert_eq(tr_pattern_replace(&text, pattern, &to, NULL, &err), TR_OK, "%s", err.text);
    cr_expect_str_eq(text.data, "_a_b_");
    tr_bytes_release(&text);
    tr_bytes_release(&to);
    tr_pattern_destroy(&pattern);
}

Test(pattern, a_replacement_that_would_fill_the_memory_is_refused)
{
    tr_pattern_t *pattern = pattern_of("a", TR_PATTERN_TEXT);
    tr_bytes_t text = {0}, to = {0};
    tr_error_t err = {0};
    for (size_t i = 0; i < 4096; i++) { // to 4096 * 64 KiB
        tr_bytes_append(&text, "a", 1);
        tr_bytes_append(&to, "aaaaaaaaaaaaaaaa", 16);
    }
    cr_assert_eq(tr_pattern_replace(&text, pattern, &to, NULL, &err), TR_ERR_ARGUMENT);
    cr_expect_not_null(strstr(err.text, "of a text of 4096"), "%s", err.text);
    cr_expect_eq(text.length, 4096U);
    tr_bytes_release(&text);
    tr_bytes_release(&to);
    tr_pattern_destroy(&pattern);
}
