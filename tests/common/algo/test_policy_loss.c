// The policy losses: each, with its gradient and metrics, against TRL's and verl's own code
// (tests/golden/grpo.json), and what holds for all of them.
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/algo/policy_loss.h"
#include "common/algo/statistics.h"
#include "common/base/status.h"
#include "tests/support/golden.h"

#define FILE_NAME TEST_SOURCE_DIR "/tests/golden/grpo.json"

enum { MOST = 128 };

static const tr_policy_defaults_t GRPO = {0.0, TR_KL_IN_LOSS, TR_LOSS_DAPO, TR_RATIO_TOKEN};

/// The golden responses.
typedef struct scene {
    golden_t *golden;
    const int32_t *starts;
    size_t responses, tokens;
    tr_policy_response_t all; // of all responses, one after another
} scene_t;

static scene_t scene_open(bool masked)
{
    scene_t s = {.golden = golden_open(FILE_NAME)};
    s.starts = golden_ints(s.golden, "tensors/starts", &s.responses);
    s.responses--;
    s.tokens = (size_t)s.starts[s.responses];
    s.all.logprobs = golden_floats(s.golden, "tensors/logprobs", NULL);
    s.all.old_logprobs = golden_floats(s.golden, "tensors/old", NULL);
    s.all.reference = golden_floats(s.golden, "tensors/reference", NULL);
    s.all.advantages = golden_floats(s.golden, "tensors/advantages", NULL);
    s.all.mask = masked ? golden_floats(s.golden, "tensors/mask", NULL) : NULL;
    return s;
}

static double counted(const scene_t *s)
{
    double sum = 0.0;
    for (size_t t = 0; t < s->tokens; t++) {
        sum += s->all.mask == NULL ? 1.0 : (double)s->all.mask[t];
    }
    return sum;
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/// 1 for the tokens of the highest entropy, of those that count.
static void choose(float *weights, const scene_t *s, double share)
{
    const float *entropies = golden_floats(s->golden, "tensors/entropies", NULL);
    float sorted[MOST] = {0};
    size_t n = 0;
    for (size_t t = 0; t < s->tokens; t++) {
        sorted[n] = entropies[t];
        n += s->all.mask == NULL || s->all.mask[t] != 0.0F ? 1 : 0;
    }
    qsort(sorted, n, sizeof *sorted, ascending);
    for (size_t t = 0; t < s->tokens; t++) {
        weights[t] = (double)entropies[t] >= tr_quantile(sorted, n, 1.0 - share) ? 1.0F : 0.0F;
    }
}

/// The loss of the responses as one minibatch.
static tr_policy_sums_t loss_of(float *gradient, const scene_t *s, const tr_policy_options_t *o)
{
    const tr_policy_normalizer_t normalizer = {golden_number(s->golden, "batch_tokens"), counted(s),
                                               (double)s->responses};
    tr_policy_sums_t sums = {0};
    float weights[MOST];
    choose(weights, s, o->top_entropy_quantile);
    for (size_t i = 0; i < s->responses; i++) {
        size_t at = (size_t)s->starts[i];
        const tr_policy_response_t *a = &s->all;
        const tr_policy_response_t r = {
            .n = (size_t)s->starts[i + 1] - at,
            .logprobs = a->logprobs + at,
            .old_logprobs = a->old_logprobs + at,
            .advantages = a->advantages + at,
            .reference = o->beta > 0.0 ? a->reference + at : NULL,
            .mask = a->mask == NULL ? NULL : a->mask + at,
            .weights = o->top_entropy_quantile < 1.0 ? weights + at : NULL,
        };
        tr_policy_loss(gradient + at, &sums, &r, &normalizer, o);
    }
    return sums;
}

/// The options of a golden case, resolved.
static tr_policy_options_t options_of(const json_t *options, double most_tokens)
{
    tr_policy_options_t o;
    const char *name;
    json_t *value;
    tr_fields_init(&o, &tr_policy_fields);
    json_object_foreach((json_t *)options, name, value)
    {
        const tr_field_t *field = tr_fields_find(&tr_policy_fields, name);
        cr_assert_not_null(field, "%s", name);
        cr_assert(tr_field_take(&o, field, value), "%s", name);
    }
    tr_policy_resolve(&o, &GRPO);
    o.max_completion_length = (uint64_t)most_tokens;
    return o;
}

static void expect(scene_t *s, const char *path, const char *key, double actual)
{
    char name[128];
    snprintf(name, sizeof name, "%s/%s", path, key);
    if (golden_has(s->golden, name)) {
        // TRL takes the means of clipped tokens in single precision.
        golden_expect_number(s->golden, name, actual, 1e-6, 1e-7);
    }
}

static void expect_metrics(scene_t *s, const char *path, const tr_policy_options_t *o)
{
    float gradient[MOST];
    scene_t whole = *s;
    whole.all.mask = NULL;
    const tr_policy_sums_t sums = loss_of(gradient, &whole, o);
    expect(s, path, "kl", sums.kl / sums.tokens);
    expect(s, path, "low", sums.low / sums.ratios);
    expect(s, path, "high", sums.high / sums.ratios);
    expect(s, path, "low_least", sums.low_least);
    expect(s, path, "high_most", sums.high_most);
    expect(s, path, "phi", sums.phi / sums.responses);
}

static void expect_cases(const char *program, bool masked)
{
    scene_t s = scene_open(masked);
    json_t *file = json_load_file(FILE_NAME, 0, NULL), *one;
    const char *name;
    cr_assert_not_null(file);
    json_object_foreach(json_object_get(file, program), name, one)
    {
        char path[64], key[128];
        float gradient[MOST];
        const tr_policy_options_t o =
            options_of(json_object_get(one, "options"), golden_number(s.golden, "most_tokens"));
        const tr_policy_sums_t sums = loss_of(gradient, &s, &o);
        snprintf(path, sizeof path, "%s/%s", program, name);
        snprintf(key, sizeof key, "%s/gradient", path);
        golden_expect(s.golden, key, gradient, s.tokens, 1e-6, 1e-8);
        expect(&s, path, "loss", sums.loss);
        expect_metrics(&s, path, &o);
    }
    json_decref(file);
    golden_close(&s.golden);
}

Test(policy_loss, each_loss_its_gradient_and_metrics_equal_trl)
{
    expect_cases("trl", true);
    expect_cases("rloo", false);
}

Test(policy_loss, each_loss_and_aggregation_equals_verl)
{
    expect_cases("verl", false);
}

Test(policy_loss, each_kl_estimator_and_its_slope_equal_verl)
{
    static const char *const names[] = {[TR_KL_TERM_K1] = "k1",
                                        [TR_KL_TERM_K2] = "k2",
                                        [TR_KL_TERM_K3] = "k3",
                                        [TR_KL_TERM_ABS] = "abs"};
    scene_t s = scene_open(false);
    for (size_t term = TR_KL_TERM_K1; term <= TR_KL_TERM_ABS; term++) {
        float values[MOST], slopes[MOST];
        char key[64];
        for (size_t t = 0; t < s.tokens; t++) {
            const tr_kl_penalty_t kl = tr_kl_penalty(
                (double)s.all.logprobs[t], (double)s.all.reference[t], (tr_kl_term_t)term);
            values[t] = (float)kl.value;
            slopes[t] = (float)kl.slope;
        }
        snprintf(key, sizeof key, "kl/%s/values", names[term]);
        golden_expect(s.golden, key, values, s.tokens, 1e-6, 1e-8);
        snprintf(key, sizeof key, "kl/%s/gradient", names[term]);
        golden_expect(s.golden, key, slopes, s.tokens, 1e-6, 1e-8);
    }
    golden_close(&s.golden);
}

Test(policy_loss, where_nothing_moved_yet_every_loss_has_the_policy_gradient)
{
    scene_t s = scene_open(false);
    s.all.old_logprobs = s.all.logprobs;
    for (int type = TR_LOSS_GRPO; type < TR_LOSS_COUNT; type++) {
        tr_policy_options_t o;
        float gradient[MOST];
        tr_fields_init(&o, &tr_policy_fields);
        o.loss_type = type;
        o.loss_agg_mode = TR_AGGREGATION_TOKEN_MEAN;
        o.epsilon_high = 5.0;
        tr_policy_resolve(&o, &GRPO);
        loss_of(gradient, &s, &o);
        for (size_t t = 0; t < s.tokens; t++) {
            cr_assert_float_eq(gradient[t], -s.all.advantages[t] / (float)s.tokens, 1e-7,
                               "loss %d token %zu: %g", type, t, (double)gradient[t]);
        }
    }
    golden_close(&s.golden);
}
