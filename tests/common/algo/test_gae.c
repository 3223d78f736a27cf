// Advantages against TRL (tests/golden/ppo.json), and the special cases in closed form.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/algo/ppo.h"
#include "common/base/rng.h"
#include "tests/support/golden.h"

enum { N = 24 };

static void random_case(float *rewards, float *values, uint32_t number)
{
    for (uint32_t t = 0; t < N; t++) {
        rewards[t] = tr_rng_normal(3, TR_RNG_INIT, number, 0, t);
        values[t] = tr_rng_normal(3, TR_RNG_INIT, number, 1, t);
    }
}

static void equals_golden(golden_t *golden, const char *name, const char *advantage)
{
    char path[64];
#define AT(key) (snprintf(path, sizeof path, "%s/%s", name, key), path)
    size_t n;
    size_t responses;
    float advantages[128];
    float returns[128];
    const float *rewards = golden_floats(golden, AT("rewards"), &n);
    const float *values = golden_floats(golden, AT("values"), NULL);
    const int32_t *starts = golden_ints(golden, AT("starts"), &responses);
    tr_gae_ragged(advantages, returns, rewards, values, starts, responses - 1,
                  golden_number(golden, AT("options/gamma")),
                  golden_number(golden, AT("options/lam")));
    golden_expect(golden, AT("returns"), returns, n, 1e-6, 1e-6);
    if (advantage != NULL) {
        golden_expect(golden, AT(advantage), advantages, n, 1e-6, 1e-6);
    }
#undef AT
}

Test(gae, equals_trl)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/ppo.json");
    equals_golden(golden, "full", NULL); // its advantages are whitened: test_ppo.c
    equals_golden(golden, "discounted_k3", NULL);
    equals_golden(golden, "ragged", "raw");
    equals_golden(golden, "ragged_k3", "raw");
    golden_close(&golden);
}

Test(gae, lambda_one_equals_return_minus_value)
{
    float rewards[N];
    float values[N];
    float advantages[N];
    float returns[N];
    const double gamma = 0.9;
    random_case(rewards, values, 0);
    tr_gae(advantages, returns, rewards, values, N, gamma, 1.0);
    double discounted = 0.0;
    for (size_t t = N; t-- > 0;) {
        discounted = (double)rewards[t] + gamma * discounted;
        cr_assert_float_eq(advantages[t], discounted - (double)values[t], 1e-5);
        cr_assert_float_eq(returns[t], discounted, 1e-5);
    }
}

Test(gae, lambda_zero_equals_the_one_step_error)
{
    float rewards[N];
    float values[N];
    float advantages[N];
    float returns[N];
    random_case(rewards, values, 1);
    tr_gae(advantages, returns, rewards, values, N, 0.7, 0.0);
    for (size_t t = 0; t < N; t++) {
        double next = t + 1 < N ? (double)values[t + 1] : 0.0;
        cr_assert_float_eq(advantages[t], (double)rewards[t] + 0.7 * next - (double)values[t],
                           1e-6);
    }
}

Test(gae, gamma_zero_looks_at_one_reward)
{
    float rewards[N];
    float values[N];
    float advantages[N];
    float returns[N];
    random_case(rewards, values, 2);
    tr_gae(advantages, returns, rewards, values, N, 0.0, 0.95);
    for (size_t t = 0; t < N; t++) {
        cr_assert_float_eq(returns[t], rewards[t], 1e-6);
    }
}

Test(gae, a_perfect_critic_leaves_no_advantage)
{
    float values[N];
    float rewards[N] = {0};
    float advantages[N];
    float returns[N];
    for (size_t t = 0; t < N; t++) {
        values[t] = 2.5f;
    }
    rewards[N - 1] = 2.5f;
    tr_gae(advantages, returns, rewards, values, N, 1.0, 0.95);
    for (size_t t = 0; t < N; t++) {
        cr_assert(advantages[t] == 0.0f && returns[t] == 2.5f);
    }
}

Test(gae, one_token_has_reward_minus_value)
{
    const float reward = 3.0f;
    const float value = 1.0f;
    float advantage;
    float target;
    tr_gae(&advantage, &target, &reward, &value, 1, 1.0, 0.95);
    cr_assert(advantage == 2.0f && target == 3.0f);
}

Test(gae, a_response_does_not_see_its_neighbours)
{
    float rewards[N];
    float values[N];
    float together[2][N];
    float alone[2][N];
    const int32_t starts[4] = {0, 5, 6, N};
    random_case(rewards, values, 4);
    tr_gae_ragged(together[0], together[1], rewards, values, starts, 3, 0.99, 0.95);
    for (size_t i = 0; i < 3; i++) {
        size_t first = (size_t)starts[i];
        tr_gae(alone[0] + first, alone[1] + first, rewards + first, values + first,
               (size_t)starts[i + 1] - first, 0.99, 0.95);
    }
    cr_assert_arr_eq(together, alone, sizeof alone);
}

Test(gae, works_in_place)
{
    float rewards[N];
    float values[N];
    float advantages[N];
    float returns[N];
    random_case(rewards, values, 5);
    tr_gae(advantages, returns, rewards, values, N, 0.99, 0.95);
    tr_gae(rewards, values, rewards, values, N, 0.99, 0.95);
    cr_assert_arr_eq(rewards, advantages, sizeof advantages);
    cr_assert_arr_eq(values, returns, sizeof returns);
}
