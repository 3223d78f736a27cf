// KTO's losses, KL estimate and gradients against TRL (tests/golden/preference.json), and the
// advice on its weights.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/algo/kto.h"
#include "tests/support/golden.h"

enum { ROWS = 6, MOST = 64 };

static const char *path_of(const char *name, const char *key)
{
    static char path[96];
    snprintf(path, sizeof path, "kto/%s/%s", name, key);
    return path;
}

/// The sums over completions first..first + ROWS - 1 of the golden lengths.
static void sum_rows(double *sums, const float *tokens, const size_t *lengths, size_t first)
{
    size_t at = 0;
    for (size_t i = 0; i < ROWS; i++) {
        sums[i] = 0.0;
        for (size_t t = 0; t < lengths[first + i]; t++) {
            sums[i] += (double)tokens[at++];
        }
    }
}

static size_t tokens_before(const size_t *lengths, size_t rows)
{
    size_t tokens = 0;
    for (size_t i = 0; i < rows; i++) {
        tokens += lengths[i];
    }
    return tokens;
}

static void expect_metric(golden_t *golden, const char *name, const char *metric, double value)
{
    char key[64];
    snprintf(key, sizeof key, "metrics/%s", metric);
    if (golden_has(golden, path_of(name, key))) {
        golden_expect_number(golden, path_of(name, key), value, 1e-6, 1e-7);
    }
}

static void expect_case(golden_t *golden, const char *name)
{
    tr_kto_options_t options;
    tr_kto_sums_t sums = {0};
    size_t n;
    double logps[ROWS], reference[ROWS], mismatched[ROWS], ref_mismatched[ROWS], slopes[ROWS];
    bool desirable[ROWS];
    float gradient[MOST];
    const size_t *lengths = golden_sizes(golden, "lengths", NULL);
    size_t half = tokens_before(lengths, ROWS);
    tr_fields_init(&options, &tr_kto_fields);
    options.loss_type =
        strcmp(name, "apo_zero_unpaired") == 0 ? TR_KTO_APO_ZERO_UNPAIRED : TR_KTO_KTO;
    options.beta = golden_number(golden, path_of(name, "options/beta"));
    options.desirable_weight = golden_number(golden, path_of(name, "options/desirable_weight"));
    options.undesirable_weight = golden_number(golden, path_of(name, "options/undesirable_weight"));
    const size_t *labels = golden_sizes(golden, path_of(name, "labels"), &n);
    cr_assert(n == ROWS && half <= MOST);
    for (size_t i = 0; i < ROWS; i++) {
        desirable[i] = labels[i] != 0;
    }
    sum_rows(logps, golden_floats(golden, "policy", NULL), lengths, 0);
    sum_rows(reference, golden_floats(golden, "reference", NULL), lengths, 0);
    sum_rows(mismatched, golden_floats(golden, path_of(name, "mismatched"), NULL), lengths, ROWS);
    sum_rows(ref_mismatched, golden_floats(golden, "reference", NULL) + half, lengths, ROWS);
    double kl = tr_kto_kl(mismatched, ref_mismatched, ROWS);
    for (size_t i = 0, at = 0; i < ROWS; i++) {
        slopes[i] = tr_kto_loss(&sums, logps[i], reference[i], desirable[i], kl, ROWS, &options);
        for (size_t t = 0; t < lengths[i]; t++) {
            gradient[at++] = (float)slopes[i];
        }
    }
    golden_expect_number(golden, path_of(name, "loss"), sums.loss / ROWS, 1e-6, 1e-9);
    golden_expect(golden, path_of(name, "gradient"), gradient, half, 1e-6, 1e-9);
    if (options.loss_type == TR_KTO_KTO) {
        expect_metric(golden, name, "kl", kl);
    }
    expect_metric(golden, name, "rewards_chosen", sums.chosen_rewards / (double)sums.chosen);
    expect_metric(golden, name, "rewards_rejected", sums.rejected_rewards / (double)sums.rejected);
    expect_metric(golden, name, "logps_chosen", sums.chosen_logps / (double)sums.chosen);
    expect_metric(golden, name, "logps_rejected", sums.rejected_logps / (double)sums.rejected);
}

Test(kto, losses_kl_and_gradients_equal_trl)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/preference.json");
    expect_case(golden, "kto");
    expect_case(golden, "weights");
    expect_case(golden, "no_kl");
    expect_case(golden, "one_class");
    expect_case(golden, "apo_zero_unpaired");
    golden_close(&golden);
}

Test(kto, kl_is_never_negative_and_a_nan_stays_one)
{
    const double low[2] = {-3.0, -1.0}, high[2] = {-1.0, -2.0}, bad[2] = {NAN, 0.0};
    cr_assert(tr_kto_kl(low, high, 2) == 0.0);
    cr_assert(tr_kto_kl(high, low, 2) == 0.5);
    cr_assert(isnan(tr_kto_kl(bad, low, 2)));
}

// Eq. 9 by hand: 100 desirable and 300 undesirable rows want desirable_weight in [3, 3.99], or
// undesirable_weight in [0.25, 0.33].
Test(kto, advice_balances_the_classes)
{
    tr_kto_options_t options;
    tr_kto_advice_t advice;
    tr_fields_init(&options, &tr_kto_fields);
    tr_kto_advise(&advice, 100, 300, &options);
    cr_assert(!advice.balanced);
    cr_assert(advice.desirable_low == 3.0 && advice.desirable_high == 3.99);
    cr_assert(advice.undesirable_low == 0.25 && advice.undesirable_high == 0.33);
    options.desirable_weight = 3.5;
    tr_kto_advise(&advice, 100, 300, &options);
    cr_assert(advice.balanced);
    tr_fields_init(&options, &tr_kto_fields);
    tr_kto_advise(&advice, 7, 7, &options);
    cr_assert(advice.balanced);
    // TRL: max(rows of the class, 1)
    tr_kto_advise(&advice, 10, 0, &options);
    cr_assert(advice.desirable_low == 0.1 && advice.undesirable_high == 10.0);
    tr_kto_advise(&advice, 0, 10, &options);
    cr_assert(advice.desirable_low == 10.0 && advice.undesirable_high == 0.1);
}
