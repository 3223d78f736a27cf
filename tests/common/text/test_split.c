/// Texts cut by regular expressions: the pieces joined are the text.
#include "common/text/split.h"

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

/// The pieces of text are `expected`.
static void expect_pieces(const char *pattern, bool literal, const char *text, const char *expected)
{
    pieces_t pieces = {.text = text, .most = SIZE_MAX};
    tr_split_t *split;
    tr_error_t err = {0};
    cr_assert_eq(tr_split_new(&split, pattern, strlen(pattern), literal, &err), TR_OK, "%s",
                 err.text);
    cr_assert_eq(tr_split_run(split, text, strlen(text), take, &pieces, &err), TR_OK, "%s",
                 err.text);
    cr_expect_str_eq(pieces.found, expected);
    tr_split_destroy(&split);
    tr_split_destroy(&split);
}

Test(split, a_piece_that_is_not_taken_ends_the_walk)
{
    for (size_t most = 0; most < 3; most++) {
        static const char *const expected[] = {"", "a|", "a|1|"};
        pieces_t pieces = {.text = "a1b", .most = most};
        tr_split_t *split;
        tr_error_t err = {0};
        cr_assert_eq(tr_split_new(&split, "[0-9]", 5, false, &err), TR_OK);
        cr_expect_eq(tr_split_run(split, "a1b", 3, take, &pieces, &err), TR_ERR_INTERRUPTED);
        cr_expect_str_eq(pieces.found, expected[most]);
        tr_split_destroy(&split);
    }
}

Test(split, a_match_is_a_piece_and_so_is_what_lies_between)
{
    expect_pieces("[0-9]", false, "ab12cd", "ab|1|2|cd|");
    expect_pieces("[0-9]+", false, "12", "12|");
    expect_pieces("x", false, "abc", "abc|");
    expect_pieces("x*", false, "axb", "a|x|b|"); // no match is empty
    expect_pieces("x", false, "", "");
}

Test(split, a_literal_is_no_expression)
{
    expect_pieces("a.c", false, "abca.c", "abc|a.c|");
    expect_pieces("a.c", true, "abca.c", "abc|a.c|");
    expect_pieces("(", true, "f(x)", "f|(|x)|");
}

Test(split, gpt2s_expression_keeps_a_words_space_and_contractions)
{
    expect_pieces(TR_SPLIT_GPT2, false, "I'll go  to 12 caf\xC3\xA9s!\n",
                  "I|'ll| go| | to| 12| caf\xC3\xA9s|!|\n|");
}

Test(split, what_is_not_understood_is_named)
{
    tr_split_t *split;
    tr_error_t err = {0};
    cr_expect_eq(tr_split_new(&split, "a(b", 3, false, &err), TR_ERR_UNSUPPORTED);
    cr_expect_null(split);
    cr_expect_not_null(strstr(err.text, "regular expression 'a(b' is not understood at byte 3"),
                       "%s", err.text);
}
