/// The judge `repetition`: scores worked out by hand from its head comment.
#include <criterion/criterion.h>

#include "tests/support/judging.h"

static float score(int ngram_size, double max_penalty, const char *text)
{
    return judging_once(
        tr_judge_kind_find("repetition"),
        json_pack("{s:i, s:f}", "ngram_size", ngram_size, "max_penalty", max_penalty), text, 9);
}

Test(repetition, the_share_of_runs_said_again_is_taken)
{
    cr_expect_eq(score(1, -1.0, "a b a a"), -0.5f);   // 2 of 4 words are distinct
    cr_expect_eq(score(2, -1.0, "a b a b a"), -0.5f); // ab ba ab ba
    cr_expect_eq(score(3, -2.0, "x x x x x"), (float)(-2.0 * (1.0 - 1.0 / 3.0)));
    cr_expect_eq(score(2, -1.0, "one two three four"), 0.0f);
}

Test(repetition, words_are_parts_between_white_space_whatever_their_case)
{
    cr_expect_eq(score(1, -1.0, "  The\tthe\nTHE\xc2\xa0the "), -0.75f);
    cr_expect_eq(score(1, -1.0, "the the."), 0.0f);
    cr_expect_eq(score(1, -1.0, "\xc3\x84 \xc3\xa4"), 0.0f); // other letters keep their case
}

Test(repetition, a_text_without_a_run_loses_nothing)
{
    cr_expect_eq(score(3, -1.0, ""), 0.0f);
    cr_expect_eq(score(3, -1.0, "a a"), 0.0f);
    cr_expect_eq(score(1, -1.0, " \n "), 0.0f);
}

Test(repetition, a_reward_for_repetition_is_refused)
{
    judging_expect_refused(tr_judge_kind_find("repetition"),
                           json_pack("{s:i, s:f}", "ngram_size", 3, "max_penalty", 1.0),
                           TR_ERR_PROTOCOL,
                           "max_penalty: expected a number of at most 0, found 1.0");
}
