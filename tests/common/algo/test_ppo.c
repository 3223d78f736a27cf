// PPO as a whole: advantages from a step's answers, then both clipped losses with their gradients,
// against TRL (tests/golden/ppo.json) and by finite differences.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/algo/ppo.h"
#include "common/base/rng.h"
#include "tests/support/golden.h"

enum { MOST = 128, N = 60 };

static const char *const CASES[] = {"full", "whitened_rewards", "discounted_k3", "ragged",
                                    "ragged_k3"};
enum { CASE_COUNT = 5 };

/// A golden case and the keys within it.
typedef struct scene {
    golden_t *golden;
    const char *name;
    char path[64];
    tr_ppo_options_t options;
} scene_t;

static const char *at(scene_t *scene, const char *key)
{
    snprintf(scene->path, sizeof scene->path, "%s/%s", scene->name, key);
    return scene->path;
}

static const float *floats(scene_t *scene, const char *key, size_t *n)
{
    const float *values = golden_floats(scene->golden, at(scene, key), n);
    cr_assert(n == NULL || *n <= MOST);
    return values;
}

static double number(scene_t *scene, const char *key)
{
    return golden_number(scene->golden, at(scene, key));
}

static scene_t scene_of(golden_t *golden, const char *name)
{
    scene_t scene = {.golden = golden, .name = name};
    tr_fields_init(&scene.options, &tr_ppo_fields);
    scene.options.kl_coef = number(&scene, "options/kl_coef");
    scene.options.kl_estimator = number(&scene, "options/k3") != 0.0 ? TR_KL_K3 : TR_KL_K1;
    scene.options.cliprange = number(&scene, "options/cliprange");
    scene.options.vf_coef = number(&scene, "options/vf_coef");
    scene.options.cliprange_value = number(&scene, "options/cliprange_value");
    scene.options.gamma = number(&scene, "options/gamma");
    scene.options.lam = number(&scene, "options/lam");
    scene.options.whiten_rewards = number(&scene, "options/whiten_rewards") != 0.0;
    return scene;
}

Test(ppo, advantages_from_answers_equal_trl)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/ppo.json");
    for (size_t i = 0; i < CASE_COUNT; i++) {
        scene_t scene = scene_of(golden, CASES[i]);
        float kl[MOST];
        float rewards[MOST];
        float advantages[MOST];
        float returns[MOST];
        size_t n;
        size_t responses;
        const float *logprobs = floats(&scene, "logprobs", &n);
        const float *scores = floats(&scene, "scores", &responses);
        tr_ppo_advantages(kl, rewards, advantages, returns, logprobs,
                          floats(&scene, "ref_logprobs", NULL), floats(&scene, "values", NULL),
                          scores, golden_ints(golden, at(&scene, "starts"), NULL), responses,
                          &scene.options);
        golden_expect(golden, at(&scene, "kl"), kl, n, 1e-6, 1e-8);
        golden_expect(golden, at(&scene, "rewards"), rewards, n, 1e-6, 1e-7);
        golden_expect(golden, at(&scene, "returns"), returns, n, 1e-6, 1e-6);
        golden_expect(golden, at(&scene, "advantages"), advantages, n, 1e-6, 2e-6);
    }
    golden_close(&golden);
}

Test(ppo, policy_loss_gradient_and_statistics_equal_trl)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/ppo.json");
    for (size_t i = 0; i < CASE_COUNT; i++) {
        scene_t scene = scene_of(golden, CASES[i]);
        float dlogprobs[MOST];
        tr_ppo_policy_sums_t sums = {0};
        size_t n;
        const float *logprobs = floats(&scene, "losses/new_logprobs", &n);
        tr_ppo_policy_loss(dlogprobs, &sums, logprobs, floats(&scene, "logprobs", NULL),
                           floats(&scene, "losses/advantages", NULL), n, n, &scene.options);
        double count = (double)n;
        cr_assert(sums.tokens == n && sums.clipped > 0.0 && sums.clipped < count);
        golden_expect(golden, at(&scene, "losses/dlogprobs"), dlogprobs, n, 1e-6, 1e-9);
        golden_expect_number(golden, at(&scene, "losses/pg_loss"), sums.loss / count, 1e-6, 1e-8);
        golden_expect_number(golden, at(&scene, "losses/clipfrac"), sums.clipped / count, 1e-6, 0);
        golden_expect_number(golden, at(&scene, "losses/approxkl"), sums.approxkl / count, 1e-6, 0);
        golden_expect_number(golden, at(&scene, "losses/ratio"), sums.ratio / count, 1e-6, 0);
    }
    golden_close(&golden);
}

Test(ppo, value_loss_gradient_and_statistics_equal_trl)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/ppo.json");
    for (size_t i = 0; i < CASE_COUNT; i++) {
        scene_t scene = scene_of(golden, CASES[i]);
        float dvalues[MOST];
        tr_ppo_value_sums_t sums = {0};
        size_t n;
        const float *values = floats(&scene, "losses/new_values", &n);
        tr_ppo_value_loss(dvalues, &sums, values, floats(&scene, "values", NULL),
                          floats(&scene, "losses/returns", NULL), n, n, &scene.options);
        double count = (double)n;
        cr_assert(sums.tokens == n && sums.clipped > 0.0 && sums.clipped < count);
        golden_expect(golden, at(&scene, "losses/dvalues"), dvalues, n, 1e-6, 1e-9);
        golden_expect_number(golden, at(&scene, "losses/vf_loss"), sums.loss / count, 1e-6, 0);
        golden_expect_number(golden, at(&scene, "losses/vf_clipfrac"), sums.clipped / count, 1e-6,
                             0);
    }
    golden_close(&golden);
}

/// Random tokens: logprobs around old ones, so that some ratios are clipped on either side.
typedef struct tokens {
    float old[N];
    float new[N];
    float target[N]; // advantage or return
} tokens_t;

static void random_tokens(tokens_t *tokens, uint32_t number)
{
    for (uint32_t t = 0; t < N; t++) {
        tokens->old[t] = -2.0f + tr_rng_normal(5, TR_RNG_INIT, number, 0, t);
        tokens->new[t] = tokens->old[t] + 0.3f * tr_rng_normal(5, TR_RNG_INIT, number, 1, t);
        tokens->target[t] = tr_rng_normal(5, TR_RNG_INIT, number, 2, t);
    }
}

static double policy_loss(const tokens_t *tokens, const tr_ppo_options_t *options)
{
    float ignored[N];
    tr_ppo_policy_sums_t sums = {0};
    tr_ppo_policy_loss(ignored, &sums, tokens->new, tokens->old, tokens->target, N, N, options);
    return sums.loss / N;
}

static double value_loss(const tokens_t *tokens, const tr_ppo_options_t *options)
{
    float ignored[N];
    tr_ppo_value_sums_t sums = {0};
    tr_ppo_value_loss(ignored, &sums, tokens->new, tokens->old, tokens->target, N, N, options);
    return options->vf_coef * sums.loss / N;
}

/// Central differences in steps that a float holds exactly; a token beside a kink is passed over.
static void expect_differences(double (*loss)(const tokens_t *, const tr_ppo_options_t *),
                               tokens_t *tokens, const float *gradient,
                               const tr_ppo_options_t *options)
{
    size_t smooth = 0;
    for (size_t t = 0; t < N; t++) {
        float centre = tokens->new[t];
        double middle = loss(tokens, options);
        tokens->new[t] = centre + 0x1p-10f;
        double up = (double)tokens->new[t] - (double)centre;
        double right = (loss(tokens, options) - middle) / up;
        tokens->new[t] = centre - 0x1p-10f;
        double down = (double)centre - (double)tokens->new[t];
        double left = (middle - loss(tokens, options)) / down;
        tokens->new[t] = centre;
        if (fabs(right - left) > 0.01 * (fabs(right) + fabs(left)) + 1e-9) {
            continue;
        }
        smooth++;
        double slope = 0.5 * (left + right);
        cr_assert_float_eq(gradient[t], slope, 1e-4 * fabs(slope) + 1e-7, "[%zu] %g, slope %g", t,
                           (double)gradient[t], slope);
    }
    cr_assert_gt(smooth, N * 9 / 10);
}

Test(ppo, policy_gradient_equals_finite_differences)
{
    tr_ppo_options_t options;
    tr_fields_init(&options, &tr_ppo_fields);
    for (uint32_t i = 0; i < 5; i++) {
        tokens_t tokens;
        float gradient[N];
        tr_ppo_policy_sums_t sums = {0};
        random_tokens(&tokens, i);
        tr_ppo_policy_loss(gradient, &sums, tokens.new, tokens.old, tokens.target, N, N, &options);
        expect_differences(policy_loss, &tokens, gradient, &options);
    }
}

Test(ppo, value_gradient_equals_finite_differences)
{
    tr_ppo_options_t options;
    tr_fields_init(&options, &tr_ppo_fields);
    for (uint32_t i = 0; i < 5; i++) {
        tokens_t tokens;
        float gradient[N];
        tr_ppo_value_sums_t sums = {0};
        random_tokens(&tokens, 10 + i);
        tr_ppo_value_loss(gradient, &sums, tokens.new, tokens.old, tokens.target, N, N, &options);
        expect_differences(value_loss, &tokens, gradient, &options);
    }
}

// Elsewhere gradients were wrong by 0.5 to 4 times when each chunk was divided by its own length.
Test(ppo, a_minibatch_in_chunks_gives_the_bits_of_the_whole)
{
    tr_ppo_options_t options;
    tr_fields_init(&options, &tr_ppo_fields);
    tokens_t tokens;
    random_tokens(&tokens, 20);
    float whole[2][N];
    float parts[2][N];
    tr_ppo_policy_sums_t policy[2] = {{0}, {0}};
    tr_ppo_value_sums_t value[2] = {{0}, {0}};
    tr_ppo_policy_loss(whole[0], &policy[0], tokens.new, tokens.old, tokens.target, N, N, &options);
    tr_ppo_value_loss(whole[1], &value[0], tokens.new, tokens.old, tokens.target, N, N, &options);
    static const size_t EDGES[] = {0, 1, 1, 18, 41, N};
    for (size_t i = 0; i + 1 < sizeof EDGES / sizeof EDGES[0]; i++) {
        size_t a = EDGES[i];
        size_t n = EDGES[i + 1] - a;
        tr_ppo_policy_loss(parts[0] + a, &policy[1], tokens.new + a, tokens.old + a,
                           tokens.target + a, n, N, &options);
        tr_ppo_value_loss(parts[1] + a, &value[1], tokens.new + a, tokens.old + a,
                          tokens.target + a, n, N, &options);
    }
    cr_assert_arr_eq(whole, parts, sizeof whole);
    cr_assert_arr_eq(&policy[0], &policy[1], sizeof policy[0]);
    cr_assert(value[0].tokens == value[1].tokens && value[0].loss == value[1].loss &&
              value[0].clipped == value[1].clipped);
}

Test(ppo, before_the_first_update_the_ratio_is_one_and_the_gradient_minus_the_advantage)
{
    tr_ppo_options_t options;
    tr_fields_init(&options, &tr_ppo_fields);
    tokens_t tokens;
    float gradient[N];
    tr_ppo_policy_sums_t sums = {0};
    random_tokens(&tokens, 30);
    tr_ppo_policy_loss(gradient, &sums, tokens.old, tokens.old, tokens.target, N, 1, &options);
    cr_assert(sums.ratio == (double)N);
    cr_assert(sums.approxkl == 0.0 && sums.clipped == 0.0);
    for (size_t t = 0; t < N; t++) {
        cr_assert(gradient[t] == -tokens.target[t]);
    }
}

Test(ppo, clipping_stops_only_the_moves_that_the_advantage_asked_for)
{
    tr_ppo_options_t options;
    tr_fields_init(&options, &tr_ppo_fields);
    const float old[4] = {-1.0f, -1.0f, -1.0f, -1.0f};
    const float new[4] = {-0.5f, -0.5f, -1.5f, -1.5f}; // ratios 1.65 and 0.61
    const float advantages[4] = {1.0f, -1.0f, 1.0f, -1.0f};
    float gradient[4];
    tr_ppo_policy_sums_t sums = {0};
    tr_ppo_policy_loss(gradient, &sums, new, old, advantages, 4, 4, &options);
    cr_assert(gradient[0] == 0.0f && gradient[3] == 0.0f);
    cr_assert_float_eq(gradient[1], exp(0.5) / 4, 1e-7);
    cr_assert_float_eq(gradient[2], -exp(-0.5) / 4, 1e-7);
    cr_assert_float_eq(sums.loss, -1.2 + exp(0.5) - exp(-0.5) + 0.8, 1e-12);
    cr_assert(sums.clipped == 2.0);
}

Test(ppo, a_wide_value_range_is_the_plain_squared_error)
{
    tr_ppo_options_t options;
    tr_fields_init(&options, &tr_ppo_fields);
    options.cliprange_value = 1e6;
    options.vf_coef = 1.0;
    tokens_t tokens;
    float gradient[N];
    tr_ppo_value_sums_t sums = {0};
    random_tokens(&tokens, 40);
    tr_ppo_value_loss(gradient, &sums, tokens.new, tokens.old, tokens.target, N, 1, &options);
    double loss = 0.0;
    for (size_t t = 0; t < N; t++) {
        double error = (double)tokens.new[t] - (double)tokens.target[t];
        loss += 0.5 * error * error;
        cr_assert_float_eq(gradient[t], error, 1e-6);
    }
    cr_assert(sums.clipped == 0.0);
    cr_assert_float_eq(sums.loss, loss, 1e-12);
}

Test(ppo, a_nan_reaches_the_gradient_and_the_loss)
{
    tr_ppo_options_t options;
    tr_fields_init(&options, &tr_ppo_fields);
    const float bad[2] = {NAN, -1.0f};
    const float good[2] = {-1.0f, -1.0f};
    float gradient[2];
    tr_ppo_policy_sums_t policy = {0};
    tr_ppo_policy_loss(gradient, &policy, bad, good, good, 2, 2, &options);
    cr_assert(isnan(gradient[0]) && !isnan(gradient[1]) && isnan(policy.loss));
    tr_ppo_value_sums_t value = {0};
    tr_ppo_value_loss(gradient, &value, bad, good, good, 2, 2, &options);
    cr_assert(isnan(gradient[0]) && !isnan(gradient[1]) && isnan(value.loss));
}
