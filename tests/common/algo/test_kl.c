// Both KL estimators: against TRL, by their formulas, and by their expectation over a distribution.
#include <criterion/criterion.h>
#include <math.h>

#include "common/algo/ppo.h"
#include "common/base/rng.h"
#include "tests/support/golden.h"

Test(kl, both_estimators_equal_trl)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/ppo.json");
    static const char *const CASES[][4] = {
        {"full/logprobs", "full/ref_logprobs", "full/kl"},
        {"discounted_k3/logprobs", "discounted_k3/ref_logprobs", "discounted_k3/kl", "k3"},
        {"ragged/logprobs", "ragged/ref_logprobs", "ragged/kl"},
        {"ragged_k3/logprobs", "ragged_k3/ref_logprobs", "ragged_k3/kl", "k3"},
    };
    for (size_t i = 0; i < 4; i++) {
        float kl[128];
        size_t n;
        const float *policy = golden_floats(golden, CASES[i][0], &n);
        const float *reference = golden_floats(golden, CASES[i][1], NULL);
        cr_assert(n <= 128);
        tr_kl(kl, policy, reference, n, CASES[i][3] ? TR_KL_K3 : TR_KL_K1);
        golden_expect(golden, CASES[i][2], kl, n, 1e-6, 1e-9);
    }
    golden_close(&golden);
}

Test(kl, equal_logprobs_give_exactly_zero)
{
    const float logprobs[4] = {-0.1f, -3.25f, -17.0f, 0.0f};
    for (int estimator = TR_KL_K1; estimator <= TR_KL_K3; estimator++) {
        float kl[4] = {9, 9, 9, 9};
        tr_kl(kl, logprobs, logprobs, 4, (tr_kl_estimator_t)estimator);
        for (int t = 0; t < 4; t++) {
            cr_assert(kl[t] == 0.0f, "%g", (double)kl[t]);
        }
    }
}

Test(kl, k3_is_never_negative)
{
    for (uint32_t i = 0; i < 20000; i++) {
        float scale = i % 3 == 0 ? 1e-4f : i % 3 == 1 ? 1.0f : 500.0f;
        float policy = scale * tr_rng_normal(1, TR_RNG_INIT, i, 0, 0);
        float reference = scale * tr_rng_normal(1, TR_RNG_INIT, i, 1, 0);
        float kl;
        tr_kl(&kl, &policy, &reference, 1, TR_KL_K3);
        cr_assert(kl >= 0.0f, "policy %g reference %g: %g", (double)policy, (double)reference,
                  (double)kl);
    }
}

Test(kl, estimators_follow_their_formulae_from_near_to_far)
{
    for (float d = -60.0f; d <= 60.0f; d += 0.125f) {
        const float policy = -61.0f;
        const float reference = policy + d;
        float kl;
        tr_kl(&kl, &policy, &reference, 1, TR_KL_K1);
        cr_assert_float_eq(kl, -(double)d, 0.0);
        tr_kl(&kl, &policy, &reference, 1, TR_KL_K3);
        double k3 = expm1((double)d) - (double)d;
        cr_assert_float_eq(kl, k3, 1e-6 * k3 + 1e-12, "d %g: %g, expected %g", (double)d,
                           (double)kl, k3);
    }
}

// A token that the policy found impossible: e^5000 is no number that fits, and no crash either.
Test(kl, logprobs_absurdly_far_apart_give_infinity_for_k3)
{
    const float policy[2] = {-5000.0f, 0.0f};
    const float reference[2] = {0.0f, -5000.0f};
    float kl[2];
    tr_kl(kl, policy, reference, 2, TR_KL_K3);
    cr_assert(isinf(kl[0]) && kl[0] > 0.0f && kl[1] == 4999.0f);
}

Test(kl, a_nan_is_not_hidden)
{
    const float policy[2] = {NAN, -1.0f};
    const float reference[2] = {-1.0f, NAN};
    for (int estimator = TR_KL_K1; estimator <= TR_KL_K3; estimator++) {
        float kl[2];
        tr_kl(kl, policy, reference, 2, (tr_kl_estimator_t)estimator);
        cr_assert(isnan(kl[0]) && isnan(kl[1]));
    }
}

enum { WORDS = 5 };

/// The estimator's expectation under weights (a distribution over the words).
static double expectation(const double *weights, const double *policy, const double *reference,
                          tr_kl_estimator_t estimator)
{
    double sum = 0.0;
    for (int i = 0; i < WORDS; i++) {
        if (weights[i] == 0.0) {
            continue;
        }
        float p = (float)log(policy[i]);
        float q = (float)log(reference[i]);
        float kl;
        tr_kl(&kl, &p, &q, 1, estimator);
        sum += weights[i] * (double)kl;
    }
    return sum;
}

static const double POLICY[WORDS] = {0.4, 0.3, 0.2, 0.06, 0.04};
static const double REFERENCE[WORDS] = {0.5, 0.32, 0.16, 0.01, 0.01};

Test(kl, both_expectations_are_the_divergence_itself)
{
    double exact = 0.0;
    for (int i = 0; i < WORDS; i++) {
        exact += POLICY[i] * log(POLICY[i] / REFERENCE[i]);
    }
    cr_assert(exact > 0.0);
    cr_assert_float_eq(expectation(POLICY, POLICY, REFERENCE, TR_KL_K1), exact, 1e-6);
    cr_assert_float_eq(expectation(POLICY, POLICY, REFERENCE, TR_KL_K3), exact, 1e-6);
}

// A KL that is negative on average is not noise: the tokens were drawn from another distribution
// than the log-probs are of. Here top-k 2 draws them, and the log-probs are of the whole
// vocabulary.
Test(kl, a_negative_mean_needs_logprobs_of_another_distribution_than_was_sampled)
{
    const double drawn[WORDS] = {4.0 / 7.0, 3.0 / 7.0, 0, 0, 0};
    cr_assert_lt(expectation(drawn, POLICY, REFERENCE, TR_KL_K1), -0.1);
    const double mass = REFERENCE[0] + REFERENCE[1];
    const double kept[WORDS] = {REFERENCE[0] / mass, REFERENCE[1] / mass, 0, 0, 0};
    cr_assert_geq(expectation(drawn, drawn, kept, TR_KL_K1), 0.0); // the kept set on both sides
}
