// The loss of pairs, its metrics and its gradient, against TRL (tests/golden/preference.json).
#include <criterion/criterion.h>
#include <stdio.h>

#include "common/algo/bradley_terry.h"
#include "tests/support/golden.h"

enum { PAIRS = 6 };

static const char *path_of(const char *name, const char *key)
{
    static char path[96];
    snprintf(path, sizeof path, "reward/%s/%s", name, key);
    return path;
}

static void expect_case(golden_t *golden, const char *name)
{
    tr_bradley_terry_sums_t sums = {0};
    float gradient[2 * PAIRS];
    size_t n, margin_count;
    const float *scores = golden_floats(golden, path_of(name, "scores"), &n);
    const float *margins = golden_floats(golden, path_of(name, "margins"), &margin_count);
    const tr_reward_options_t options = {.center_rewards_coefficient =
                                             golden_number(golden, path_of(name, "center"))};
    cr_assert_eq(n, 2 * PAIRS);
    for (size_t i = 0; i < PAIRS; i++) {
        tr_bradley_terry_loss(&gradient[i], &gradient[PAIRS + i], &sums, scores[i],
                              scores[PAIRS + i], margin_count > 0 ? margins[i] : 0.0f, PAIRS,
                              &options);
    }
    golden_expect_number(golden, path_of(name, "loss"), sums.loss / PAIRS, 1e-6, 0);
    golden_expect(golden, path_of(name, "gradient"), gradient, n, 1e-6, 1e-9);
    golden_expect_number(golden, path_of(name, "metrics/min_reward"), sums.least, 1e-6, 0);
    golden_expect_number(golden, path_of(name, "metrics/max_reward"), sums.most, 1e-6, 0);
    golden_expect_number(golden, path_of(name, "metrics/mean_reward"), sums.scores / (2 * PAIRS),
                         1e-6, 1e-9);
    golden_expect_number(golden, path_of(name, "metrics/accuracy"), sums.accuracies / PAIRS, 1e-6,
                         0);
    golden_expect_number(golden, path_of(name, "metrics/margin"), sums.margins / PAIRS, 1e-6, 1e-9);
}

Test(bradley_terry, losses_metrics_and_gradients_equal_trl)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/preference.json");
    expect_case(golden, "plain");
    expect_case(golden, "margin");
    expect_case(golden, "centered");
    golden_close(&golden);
}
