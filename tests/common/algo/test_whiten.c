// Whitening against TRL's masked_whiten (tests/golden/ppo.json), and what it must leave unchanged.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "common/algo/ppo.h"
#include "common/algo/statistics.h"
#include "common/base/rng.h"
#include "tests/support/golden.h"

enum { N = 999 };

static void random_values(float *values)
{
    for (uint32_t t = 0; t < N; t++) {
        values[t] = 5.0f + 3.0f * tr_rng_normal(4, TR_RNG_INIT, t, 0, 0);
    }
}

Test(whiten, equals_trl_masked_whiten)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/ppo.json");
    static const char *const CASES[][3] = {
        {"ragged/raw", "ragged/advantages", "shift"},
        {"ragged_k3/raw", "ragged_k3/advantages", "shift"},
        {"ragged/rewards", "ragged/whitened_rewards"},
        {"ragged_k3/rewards", "ragged_k3/whitened_rewards"},
    };
    for (size_t i = 0; i < 4; i++) {
        size_t n;
        float values[128];
        const float *before = golden_floats(golden, CASES[i][0], &n);
        cr_assert(n <= 128);
        memcpy(values, before, n * sizeof *values);
        tr_whiten(values, n, CASES[i][2] != NULL);
        golden_expect(golden, CASES[i][1], values, n, 1e-6, 1e-6);
    }
    golden_close(&golden);
}

Test(whiten, gives_mean_zero_and_variance_one)
{
    float values[N];
    tr_statistics_t after;
    random_values(values);
    tr_whiten(values, N, true);
    after = tr_statistics(values, N);
    cr_assert_float_eq(after.mean, 0.0, 1e-7);
    cr_assert_float_eq(after.variance, 1.0, 1e-6);
}

Test(whiten, keeps_the_mean_when_it_is_not_shifted)
{
    float values[N];
    tr_statistics_t before;
    tr_statistics_t after;
    random_values(values);
    before = tr_statistics(values, N);
    tr_whiten(values, N, false);
    after = tr_statistics(values, N);
    cr_assert_float_eq(after.mean, before.mean, 1e-6);
    cr_assert_float_eq(after.variance, 1.0, 1e-6);
}

Test(whiten, does_not_care_for_scale_and_offset)
{
    float values[N];
    float scaled[N];
    random_values(values);
    for (size_t t = 0; t < N; t++) {
        scaled[t] = 4.0f * values[t] - 8.0f;
    }
    tr_whiten(values, N, true);
    tr_whiten(scaled, N, true);
    expect_near("scaled", scaled, values, N, 1e-5, 1e-6);
}

Test(whiten, equal_values_and_a_single_one_become_zero)
{
    float values[3] = {2.0f, 2.0f, 2.0f};
    tr_whiten(values, 3, true);
    cr_assert(values[0] == 0.0f && values[1] == 0.0f && values[2] == 0.0f);
    float single = 7.0f;
    tr_whiten(&single, 1, true);
    cr_assert(single == 0.0f);
    single = 7.0f;
    tr_whiten(&single, 1, false);
    cr_assert(single == 7.0f);
    tr_whiten(NULL, 0, true);
}
