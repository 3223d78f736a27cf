/// The judge `regex`: where an expression matches, and expressions that cannot be used.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/judging.h"

static json_t *a_regex(const char *pattern, double score)
{
    return json_pack("{s:s, s:f}", "pattern", pattern, "score", score);
}

Test(regex, a_match_anywhere_gives_the_score_once)
{
    judging_t judge;
    judging_open(&judge, tr_judge_kind_find("regex"), a_regex("\\bthe end\\b", -0.25));
    cr_expect_eq(judging_score(&judge, "This is the end.", 0), -0.25f);
    cr_expect_eq(judging_score(&judge, "the end the end", 0), -0.25f);
    cr_expect_eq(judging_score(&judge, "bathe endlessly", 0), 0.0f);
    cr_expect_eq(judging_score(&judge, "", 0), 0.0f);
    judging_close(&judge);
}

Test(regex, characters_are_code_points)
{
    cr_expect_eq(judging_once(tr_judge_kind_find("regex"), a_regex("^.$", 1.0), "\xe2\x82\xac", 0),
                 1.0f);
    cr_expect_eq(
        judging_once(tr_judge_kind_find("regex"), a_regex("(?i)^\xc3\xbc$", 1.0), "\xc3\x9c", 0),
        1.0f);
}

Test(regex, a_long_response_is_no_reason_to_give_up)
{
    enum { LENGTH = 200000 };
    char *text = tr_alloc(LENGTH + 1);
    for (size_t i = 0; i < LENGTH; i++) {
        text[i] = i % 2 == 0 ? 'a' : 'b';
    }
    text[LENGTH - 1] = 'c';
    text[LENGTH] = '\0';
    cr_expect_eq(judging_once(tr_judge_kind_find("regex"), a_regex("^(?:(a)|b)*c$", 1.0), text, 0),
                 1.0f);
    free(text);
}

Test(regex, an_expression_that_backtracks_without_end_is_an_error, .timeout = 20)
{
    judging_t judge;
    tr_error_t err = {0};
    float score;
    judging_open(&judge, tr_judge_kind_find("regex"), a_regex("^(a+)+$", 1.0));
    cr_expect_eq(judging_text(&score, &judge,
                              "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", 0, &err),
                 TR_ERR_ARGUMENT);
    cr_expect_not_null(strstr(err.text, "sample 41: "), "%s", err.text);
    judging_close(&judge);
}

Test(regex, a_pattern_that_does_not_compile_is_refused_at_its_byte)
{
    judging_expect_refused(tr_judge_kind_find("regex"), a_regex("ab(c", 1.0), TR_ERR_ARGUMENT,
                           "regex.pattern: expected a regular expression, found 'ab(c': missing "
                           "closing parenthesis at byte 4");
    judging_expect_refused(tr_judge_kind_find("regex"), json_object(), TR_ERR_ARGUMENT,
                           "regex.pattern: expected a regular expression, found none");
}
