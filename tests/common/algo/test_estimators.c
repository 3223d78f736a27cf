// The estimators: each against TRL's and verl's own code (tests/golden/grpo.json), also where
// responses have no score.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

#include "common/algo/estimators.h"
#include "tests/support/golden.h"

enum { MOST = 128, SAMPLES = 4 };

/// The weighted sum of two judges' scores, of which one may be missing; NaN where both are.
static float sum_of(float first, float second)
{
    double sum = isnan(first) ? 0.0 : (double)first;
    sum += isnan(second) ? 0.0 : 0.5 * (double)second;
    return isnan(first) && isnan(second) ? NAN : (float)sum;
}

static void expect(golden_t *golden, const char *scene, const char *name,
                   const tr_estimator_t *estimator, tr_estimator_options_t options)
{
    char key[96];
    float rewards[MOST], advantages[MOST];
    int32_t starts[MOST + 1];
    size_t n;
    snprintf(key, sizeof key, "trl_estimators/%s/scores", scene);
    const float *scores = golden_floats(golden, key, &n);
    n /= 2;
    // A response of one token each: its reward is the score.
    const bool gdpo = options.multi_objective_aggregation == TR_NORMALIZE_THEN_SUM;
    float judged[2 * MOST];
    for (size_t judge = 0; judge < 2; judge++) {
        for (size_t i = 0; i < n; i++) {
            judged[judge * n + i] = scores[2 * i + judge] < 1e29F ? scores[2 * i + judge] : NAN;
        }
        if (gdpo) {
            tr_group_normalize(judged + judge * n, n, SAMPLES);
        }
    }
    for (size_t i = 0; i < n; i++) {
        rewards[i] = sum_of(judged[i], judged[n + i]);
        starts[i] = (int32_t)i;
    }
    starts[n] = (int32_t)n;
    const tr_group_rewards_t group = {rewards, starts, n, SAMPLES, NULL};
    estimator->advantages(advantages, &group, &options);
    snprintf(key, sizeof key, "trl_estimators/%s/%s/advantages", scene, name);
    golden_expect(golden, key, advantages, n, 1e-6, 2e-6);
    snprintf(key, sizeof key, "trl_estimators/%s/%s/frac_reward_zero_std", scene, name);
    golden_expect_number(golden, key, tr_zero_spread(&group, &options), 0, 1e-12);
}

Test(estimators, grpo_and_rloo_equal_trl_with_and_without_missing_scores)
{
    static const char *const scenes[] = {"known", "nulls"};
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/grpo.json");
    for (size_t i = 0; i < 2; i++) {
        const tr_estimator_options_t group = {.gamma = 1.0},
                                     batch = {.scale_rewards = TR_SCALE_BATCH},
                                     none = {.scale_rewards = TR_SCALE_NONE},
                                     normalized = {.normalize_advantages = true},
                                     gdpo = {.multi_objective_aggregation = TR_NORMALIZE_THEN_SUM};
        expect(golden, scenes[i], "grpo_group", &tr_estimator_grpo, group);
        expect(golden, scenes[i], "grpo_batch", &tr_estimator_grpo, batch);
        expect(golden, scenes[i], "grpo_none", &tr_estimator_grpo, none);
        expect(golden, scenes[i], "gdpo", &tr_estimator_grpo, gdpo);
        expect(golden, scenes[i], "rloo", &tr_estimator_rloo, group);
        expect(golden, scenes[i], "rloo_normalized", &tr_estimator_rloo, normalized);
    }
    golden_close(&golden);
}

Test(estimators, each_equals_verl_on_rewards_of_tokens)
{
    static const struct {
        const char *name;
        const tr_estimator_t *estimator;
    } cases[] = {
        {"rloo", &tr_estimator_rloo},
        {"opo", &tr_estimator_opo},
        {"grpo_none", &tr_estimator_grpo},
        {"remax", &tr_estimator_remax},
        {"reinforce_plus_plus", &tr_estimator_reinforce_plus_plus},
        {"reinforce_plus_plus_baseline", &tr_estimator_reinforce_plus_plus_baseline},
    };
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/grpo.json");
    size_t responses;
    const int32_t *starts = golden_ints(golden, "verl_estimators/starts", &responses);
    const tr_group_rewards_t group = {golden_floats(golden, "verl_estimators/rewards", NULL),
                                      starts, responses - 1, SAMPLES,
                                      golden_floats(golden, "verl_estimators/baselines", NULL)};
    const tr_estimator_options_t options = {
        .scale_rewards = TR_SCALE_NONE, .gamma = golden_number(golden, "verl_estimators/gamma")};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char key[96];
        float advantages[MOST];
        cases[i].estimator->advantages(advantages, &group, &options);
        snprintf(key, sizeof key, "verl_estimators/%s", cases[i].name);
        golden_expect(golden, key, advantages, (size_t)starts[responses - 1], 1e-6, 2e-6);
    }
    golden_close(&golden);
}

Test(estimators, flash_reinforce_is_against_the_mean_of_the_step)
{
    const float rewards[] = {0.0F, 1.0F, 2.0F, 5.0F, NAN};
    const int32_t starts[] = {0, 2, 3, 4, 5}; // the first response has two tokens
    const float expected[] = {-5.0F / 3.0F, -5.0F / 3.0F, -2.0F / 3.0F, 7.0F / 3.0F, 0.0F};
    const tr_group_rewards_t group = {rewards, starts, 4, 1, NULL};
    const tr_estimator_options_t options = {.scale_rewards = TR_SCALE_NONE};
    float advantages[5];
    tr_estimator_flash_reinforce.advantages(advantages, &group, &options);
    expect_near("advantages", advantages, expected, 5, 0, 1e-6);
}
