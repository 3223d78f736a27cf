// Descriptive statistics, worked out by hand.
#include <criterion/criterion.h>
#include <math.h>

#include "common/algo/statistics.h"

Test(statistics, of_five_numbers_by_hand)
{
    const float values[5] = {2.0f, 4.0f, -1.0f, 7.0f, 3.0f};
    const tr_statistics_t s = tr_statistics(values, 5);
    cr_assert_float_eq(s.mean, 3.0, 1e-15);
    cr_assert_float_eq(s.variance, 8.5, 1e-14);
    cr_assert_float_eq(s.deviation, sqrt(8.5), 1e-14);
}

Test(statistics, a_large_offset_loses_nothing)
{
    const float values[3] = {1048576.0f, 1048577.0f, 1048578.0f};
    const tr_statistics_t s = tr_statistics(values, 3);
    cr_assert(s.mean == 1048577.0 && s.variance == 1.0);
}

Test(statistics, none_and_one_have_no_variance)
{
    tr_statistics_t s = tr_statistics(NULL, 0);
    cr_assert(s.mean == 0.0 && s.variance == 0.0 && s.deviation == 0.0);
    const float one = 4.0f;
    s = tr_statistics(&one, 1);
    cr_assert(s.mean == 4.0 && s.variance == 0.0 && s.deviation == 0.0);
}

Test(statistics, a_nan_is_not_hidden)
{
    const float values[3] = {1.0f, NAN, 2.0f};
    const tr_statistics_t s = tr_statistics(values, 3);
    cr_assert(isnan(s.mean) && isnan(s.variance) && isnan(s.deviation));
}

Test(statistics, of_the_scored_alone)
{
    // of 1 and 2: mean 3/2, variance 1/2
    const float scores[3] = {1.0f, NAN, 2.0f};
    const tr_statistics_t s = tr_statistics_scored(scores, 3);
    cr_assert(s.mean == 1.5 && s.variance == 0.5);
    cr_assert_eq(tr_count_scored(scores, 3), 2);
    cr_assert_eq(tr_count_scored(scores + 1, 1), 0);
    cr_assert(tr_statistics_scored(scores + 1, 1).mean == 0.0);
}

Test(statistics, explained_variance_is_one_for_a_perfect_critic_and_zero_for_a_constant)
{
    const float returns[4] = {1.0f, -2.0f, 3.0f, 0.5f};
    const float offset[4] = {2.0f, -1.0f, 4.0f, 1.5f};
    const float constant[4] = {9.0f, 9.0f, 9.0f, 9.0f};
    const float reversed[4] = {-1.0f, 2.0f, -3.0f, -0.5f};
    cr_assert_float_eq(tr_explained_variance(returns, returns, 4), 1.0, 1e-15);
    cr_assert_float_eq(tr_explained_variance(offset, returns, 4), 1.0, 1e-15);
    cr_assert_float_eq(tr_explained_variance(constant, returns, 4), 0.0, 1e-15);
    cr_assert_float_eq(tr_explained_variance(reversed, returns, 4), -3.0, 1e-14);
    cr_assert(tr_explained_variance(returns, constant, 4) == 0.0);
}

Test(statistics, best_and_worst_differ_wherever_there_are_two)
{
    const struct {
        float scores[4];
        size_t n, best, worst;
    } cases[] = {{{1.0f}, 1, 0, 0},
                 {{2.0f, 2.0f}, 2, 0, 1},
                 {{0.5f, 3.0f, -1.0f, 3.0f}, 4, 1, 2},
                 {{-1.0f, 0.0f, -1.0f, 0.0f}, 4, 1, 2},
                 {{NAN, 1.0f, NAN, 2.0f}, 4, 3, 1},
                 {{NAN, 1.0f, NAN}, 3, 1, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t best, worst;
        cr_expect(tr_best_and_worst(&best, &worst, cases[i].scores, cases[i].n));
        cr_expect_eq(best, cases[i].best, "case %zu", i);
        cr_expect_eq(worst, cases[i].worst, "case %zu", i);
    }
    size_t best, worst;
    cr_expect_not(tr_best_and_worst(&best, &worst, (const float[]){NAN, NAN}, 2));
}
