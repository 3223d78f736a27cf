/// The judge `length`: tables of lengths, worked out by hand from its head comment.
#include <criterion/criterion.h>

#include "tests/support/judging.h"

static json_t *a_length(int target, int min, int max, const char *unit)
{
    return json_pack("{s:i, s:i, s:i, s:s}", "target", target, "min", min, "max", max, "unit",
                     unit);
}

Test(length, a_target_pays_by_the_distance_to_it)
{
    judging_t judge;
    judging_open(&judge, tr_judge_kind_find("length"), a_length(8, 0, 0, "tokens"));
    static const struct {
        size_t tokens;
        float score;
    } rows[] = {{0, 0.0f},  {2, 0.25f}, {8, 1.0f},   {10, 0.75f},
                {16, 0.0f}, {17, 0.0f}, {1000, 0.0f}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cr_expect_eq(judging_score(&judge, "any text", rows[i].tokens), rows[i].score, "%zu",
                     rows[i].tokens);
    }
    judging_close(&judge);
}

Test(length, bounds_are_inclusive_and_the_upper_may_be_missing)
{
    static const struct {
        int min, max;
        size_t tokens;
        float score;
    } rows[] = {{3, 5, 2, 0}, {3, 5, 3, 1},   {3, 5, 5, 1}, {3, 5, 6, 0},
                {3, 0, 2, 0}, {3, 0, 900, 1}, {0, 5, 0, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cr_expect_eq(judging_once(tr_judge_kind_find("length"),
                                  a_length(0, rows[i].min, rows[i].max, "tokens"), "",
                                  rows[i].tokens),
                     rows[i].score, "%zu in %d..%d", rows[i].tokens, rows[i].min, rows[i].max);
    }
}

Test(length, words_and_characters_are_those_of_the_text)
{
    static const struct {
        const char *text;
        int words, characters;
    } rows[] = {{"one", 1, 3},
                {" one  two\n\tthree ", 3, 17},
                {"na\xc3\xafve \xe2\x82\xac"
                 "5",
                 2, 8},
                {"a\xc2\xa0"
                 "b\xe3\x80\x80"
                 "c",
                 3, 5}, // no-break and ideographic space
                {"don't stop-now", 2, 14}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const int words = rows[i].words, characters = rows[i].characters;
        cr_expect_eq(judging_once(tr_judge_kind_find("length"), a_length(0, words, words, "words"),
                                  rows[i].text, 99),
                     1.0f, "'%s'", rows[i].text);
        cr_expect_eq(judging_once(tr_judge_kind_find("length"),
                                  a_length(0, characters, characters, "characters"), rows[i].text,
                                  99),
                     1.0f, "'%s'", rows[i].text);
    }
    cr_expect_eq(judging_once(tr_judge_kind_find("length"), a_length(0, 1, 0, "words"), " \n ", 99),
                 0.0f);
    cr_expect_eq(
        judging_once(tr_judge_kind_find("length"), a_length(0, 1, 0, "characters"), "", 99), 0.0f);
}

Test(length, an_unknown_unit_is_refused)
{
    judging_expect_refused(tr_judge_kind_find("length"), a_length(1, 0, 0, "lines"),
                           TR_ERR_PROTOCOL,
                           "unit: expected 'tokens', 'words' or 'characters', found \"lines\"");
}

Test(length, a_target_and_bounds_exclude_each_other_and_one_of_them_is_needed)
{
    judging_expect_refused(tr_judge_kind_find("length"), a_length(2, 0, 3, "tokens"),
                           TR_ERR_ARGUMENT,
                           "length: expected target, or min and max, found both kinds");
    judging_expect_refused(tr_judge_kind_find("length"), a_length(0, 0, 0, "tokens"),
                           TR_ERR_ARGUMENT,
                           "length: expected a target, a min or a max above 0, found none");
    judging_expect_refused(tr_judge_kind_find("length"), a_length(0, 3, 2, "tokens"),
                           TR_ERR_ARGUMENT, "length: min is above max");
}
