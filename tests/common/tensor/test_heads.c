/// The heads: log-probabilities, facts, gradients and sampling against the definitions in double,
/// and laws about bits: whole or in parts, one row or many, sampled or given.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "common/base/rng.h"
#include "tests/support/tensors.h"

enum { R = 37, H = 40 };

static const size_t vocabularies[] = {5, 512, 777, 32000};

typedef struct inputs {
    size_t rows, vocabulary;
    float *hidden, *head;
    int32_t *targets;
    int32_t *offsets, *kept; // offsets NULL: nothing was cut
    float cap;               // of logits; 0: none
} inputs_t;

static inputs_t inputs_new(rig_t *rig, size_t rows, size_t vocabulary, bool truncated)
{
    inputs_t in = {.rows = rows, .vocabulary = vocabulary};
    in.hidden = rig_random(rig, rows * H, 1);
    in.head = rig_random(rig, vocabulary * H, 2);
    in.targets = rig_memory(rig, rows * sizeof(int32_t));
    in.offsets = truncated ? rig_memory(rig, (rows + 1) * sizeof(int32_t)) : NULL;
    in.kept = rig_memory(rig, rows * vocabulary * sizeof(int32_t));
    for (size_t r = 0, n = 0; r < rows; r++) {
        in.targets[r] = (int32_t)(r * 31 % vocabulary);
        for (size_t v = 0; truncated && r % 4 != 3 && v < vocabulary;
             v++) { // every fourth row keeps the whole vocabulary
            if (v == (size_t)in.targets[r] || (v * 7 + r) % 5 < 2) {
                in.kept[n++] = (int32_t)v;
            }
        }
        if (truncated) {
            in.offsets[r + 1] = (int32_t)n;
        }
    }
    return in;
}

static bool is_kept(const inputs_t *in, size_t r, size_t v)
{
    if (in->offsets == NULL || in->offsets[r] == in->offsets[r + 1]) {
        return true;
    }
    for (int32_t i = in->offsets[r]; i < in->offsets[r + 1]; i++) {
        if ((size_t)in->kept[i] == v) {
            return true;
        }
    }
    return false;
}

static tr_kept_t kept_of(rig_t *rig, const inputs_t *in)
{
    tr_kept_t kept = {0};
    if (in->offsets != NULL) {
        kept.offsets = rig_indices(rig, 1, in->rows + 1, in->offsets);
        kept.ids = rig_indices(rig, 1, (size_t)in->offsets[in->rows] + 1, in->kept);
    }
    return kept;
}

/// Where the logits of the first rows are kept; of no row nowhere.
static tr_tensor_t logits_of(rig_t *rig, const inputs_t *in, size_t rows)
{
    return rows > 0 ? rig_zeros(rig, rows, in->vocabulary) : (tr_tensor_t){0};
}

static tr_head_t packed(rig_t *rig, const inputs_t *in)
{
    return (tr_head_t){rig_pack(rig, rig_tensor(rig, in->vocabulary, H, in->head)), in->cap};
}

/// [rows] log-probabilities, [rows, TR_FACTS] facts.
static float *logprob_keeping(rig_t *rig, tr_tensor_t logits, const inputs_t *in, float temperature)
{
    tr_tensor_t both = rig_zeros(rig, 1 + TR_FACTS, in->rows);
    rig->ops->logprob(rig->queue, tr_tensor_rows(both, 0, 1), tr_tensor_rows(both, 1, TR_FACTS),
                      logits, rig_tensor(rig, in->rows, H, in->hidden), packed(rig, in),
                      in->vocabulary, rig_indices(rig, 1, in->rows, in->targets), temperature,
                      kept_of(rig, in));
    return rig_read(rig, both);
}

static float *logprob(rig_t *rig, const inputs_t *in, float temperature)
{
    return logprob_keeping(rig, (tr_tensor_t){0}, in, temperature);
}

/// A logit, capped; *slope: the derivative of the cap.
static double logit_of(double *slope, const inputs_t *in, size_t r, size_t v)
{
    double z = 0.0, bent = 0.0;
    for (size_t i = 0; i < H; i++) {
        z += (double)in->hidden[r * H + i] * (double)in->head[v * H + i];
    }
    if (in->cap > 0.0f) {
        bent = tanh(z / (double)in->cap);
        z = (double)in->cap * bent;
    }
    *slope = 1.0 - bent * bent;
    return z;
}

/// p: [vocabulary] of row r in double, zero where cut. facts: [TR_FACTS], written.
static void reference(double *p, double *facts, const inputs_t *in, size_t r, double temperature)
{
    double max = -INFINITY, sum = 0.0, total = 0.0, count = 0.0, squares = 0.0, entropy = 0.0;
    for (size_t v = 0; v < in->vocabulary; v++) {
        double slope;
        p[v] = logit_of(&slope, in, r, v) / temperature;
        total += is_kept(in, r, v) ? p[v] : 0.0;
        count += is_kept(in, r, v);
        p[v] = is_kept(in, r, v) ? p[v] : -INFINITY;
        max = p[v] > max ? p[v] : max;
    }
    for (size_t v = 0; v < in->vocabulary; v++) {
        p[v] = exp(p[v] - max);
        sum += p[v];
    }
    for (size_t v = 0; v < in->vocabulary; v++) {
        p[v] /= sum;
        squares += p[v] * p[v];
        entropy -= p[v] > 0.0 ? p[v] * log(p[v]) : 0.0;
    }
    facts[0] = entropy;
    facts[1] = squares > 0.0 ? log(squares) : -INFINITY;
    facts[2] = total / count;
    facts[3] = p[in->targets[r]] == 1.0 / sum;
    facts[4] = facts[2] - max - log(sum);
}

static void check_logprob(bool truncated, float cap)
{
    for (size_t i = 0; i < 3; i++) {
        rig_t rig;
        rig_open(&rig, NULL, 2);
        inputs_t in = inputs_new(&rig, R, vocabularies[i], truncated);
        in.cap = cap;
        float *got = logprob(&rig, &in, 0.7f);
        double *want = rig_memory(&rig, (1 + TR_FACTS) * R * sizeof *want),
               *p = rig_memory(&rig, in.vocabulary * sizeof *p);
        for (size_t r = 0; r < R; r++) {
            reference(p, want + R + r * TR_FACTS, &in, r, (double)0.7f);
            want[r] = log(p[in.targets[r]]);
        }
        check_close(got, want, (1 + TR_FACTS) * R, 2e-6, "logprob, facts");
        rig_close(&rig);
    }
}

Test(logprob, equals_the_formula)
{
    check_logprob(false, 0.0f);
    check_logprob(false, 1.5f);
    check_logprob(false, 3000.0f); // what the cap's tanh loses near 0 would be multiplied by it
}

/// Twenty likely tokens and a long tail, of which each is less than the rounding of their sum.
Test(logprob, of_a_vocabulary_as_large_as_real_ones_equals_the_formula)
{
    rig_t rig;
    rig_open(&rig, NULL, 2);
    inputs_t in = inputs_new(&rig, 2, 151936, false);
    double squared = 0.0;
    for (size_t i = 0; i < H; i++) {
        squared += (double)in.hidden[i] * (double)in.hidden[i];
    }
    const float towards = (float)(17.0 / squared); // twenty tokens' logit in the first row is 17
    for (size_t i = 0; i < in.vocabulary * H; i++) {
        in.head[i] = i < 20 * H ? towards * in.hidden[i % H] : in.head[i] / 8.0f;
    }
    in.targets[0] = 3;
    in.targets[1] = 151935;
    float *got = logprob(&rig, &in, 1.0f);
    double want[2 + 2 * TR_FACTS], *p = rig_memory(&rig, in.vocabulary * sizeof *p);
    for (size_t r = 0; r < 2; r++) {
        reference(p, want + 2 + r * TR_FACTS, &in, r, 1.0);
        want[r] = log(p[in.targets[r]]);
    }
    check_close(got, want, 2 + 2 * TR_FACTS, 2e-6, "logprob, facts");
    rig_close(&rig);
}

Test(logprob, of_a_kept_set_equals_the_formula)
{
    check_logprob(true, 0.0f);
    check_logprob(true, 1.5f);
}

Test(logprob, of_a_row_does_not_depend_on_the_others_nor_on_threads_nor_on_the_instruction_set)
{
    for (size_t j = 0; j < 4; j++) {
        rig_t plain;
        rig_open(&plain, "generic", 1);
        size_t rows = vocabularies[j] > 10000 ? 5 : R;
        inputs_t in = inputs_new(&plain, rows, vocabularies[j], vocabularies[j] < 10000);
        float *want = logprob(&plain, &in, 0.7f);
        for (size_t i = 0; i < RIG_ISAS; i++) {
            rig_t rig;
            if (rig_open(&rig, rig_isas[i], 2)) {
                check_same(logprob(&rig, &in, 0.7f), want, (1 + TR_FACTS) * rows, rig_isas[i]);
                inputs_t one = in;
                one.rows = 1;
                check_same(logprob(&rig, &one, 0.7f), want, 1, "one row");
                rig_close(&rig);
            }
        }
        rig_close(&plain);
    }
}

Test(logprob, of_logits_that_are_nan_is_nan)
{
    rig_t rig;
    rig_open(&rig, NULL, 1);
    inputs_t in = inputs_new(&rig, 2, 512, false);
    in.hidden[0] = NAN;
    float *got = logprob(&rig, &in, 0.7f);
    cr_assert(isnan(got[0]) && isfinite(got[1]));
    rig_close(&rig);
}

typedef struct gradients {
    float *dhidden, *dhead;
} gradients_t;

/// dmean: NULL, or [rows]. logits: kept by logprob_keeping, or none.
static gradients_t gradient(rig_t *rig, const inputs_t *in, const float *dlogprob,
                            const float *dmean, tr_tensor_t logits, float temperature)
{
    tr_tensor_t even = dmean != NULL ? rig_tensor(rig, 1, in->rows, dmean) : (tr_tensor_t){0};
    tr_tensor_t head = rig_tensor(rig, in->vocabulary, H, in->head),
                hidden = rig_tensor(rig, in->rows, H, in->hidden);
    tr_tensor_t dhidden = rig_zeros(rig, in->rows, H);
    tr_tensor_t dhead = rig_tensor(rig, in->vocabulary, H, rig_random(rig, in->vocabulary * H, 9));
    rig->ops->logprob_gradient(rig->queue, dhidden, dhead, rig_tensor(rig, 1, in->rows, dlogprob),
                               even, logits, hidden, (tr_head_t){head, in->cap},
                               rig_indices(rig, 1, in->rows, in->targets), temperature,
                               kept_of(rig, in));
    return (gradients_t){rig_read(rig, dhidden), rig_read(rig, dhead)};
}

static void check_gradient(bool truncated, bool smooth, float cap)
{
    rig_t rig;
    rig_open(&rig, NULL, 2);
    inputs_t in = inputs_new(&rig, R, 512, truncated);
    in.cap = cap;
    float *d = rig_random(&rig, R, 8), *start = rig_random(&rig, in.vocabulary * H, 9);
    float *even = smooth ? rig_random(&rig, R, 10) : rig_memory(&rig, R * sizeof *even);
    double *dhidden = rig_memory(&rig, R * H * sizeof *dhidden),
           *p = rig_memory(&rig, in.vocabulary * sizeof *p);
    double *dhead = rig_memory(&rig, in.vocabulary * H * sizeof *dhead);
    for (size_t i = 0; i < in.vocabulary * H; i++) {
        dhead[i] = (double)start[i];
    }
    for (size_t r = 0; r < R; r++) {
        double facts[TR_FACTS];
        reference(p, facts, &in, r, (double)0.7f);
        double n = 0.0;
        for (size_t v = 0; v < in.vocabulary; v++) {
            n += is_kept(&in, r, v);
        }
        for (size_t v = 0; v < in.vocabulary; v++) {
            double dz = (double)d[r] * ((v == (size_t)in.targets[r]) - p[v]) +
                        (double)even[r] * (is_kept(&in, r, v) / n - p[v]);
            double slope;
            logit_of(&slope, &in, r, v);
            dz *= slope / (double)0.7f;
            for (size_t i = 0; i < H; i++) {
                dhidden[r * H + i] += dz * (double)in.head[v * H + i];
                dhead[v * H + i] += dz * (double)in.hidden[r * H + i];
            }
        }
    }
    gradients_t got = gradient(&rig, &in, d, smooth ? even : NULL, (tr_tensor_t){0}, 0.7f);
    check_close(got.dhidden, dhidden, R * H, 3e-6, "dhidden");
    check_close(got.dhead, dhead, in.vocabulary * H, 3e-6, "dhead");
    rig_close(&rig);
}

Test(logprob_gradient, equals_the_formula)
{
    check_gradient(false, false, 0.0f);
    check_gradient(false, false, 1.5f);
}

Test(logprob_gradient, of_a_kept_set_equals_the_formula)
{
    check_gradient(true, false, 0.0f);
    check_gradient(true, false, 1.5f);
}

Test(logprob_gradient, of_the_mean_logprob_too_equals_the_formula)
{
    check_gradient(false, true, 0.0f);
    check_gradient(false, true, 1.5f);
    check_gradient(true, true, 0.0f);
    check_gradient(true, true, 1.5f);
}

Test(logprob_gradient, has_the_same_bits_for_any_threads_and_instruction_set)
{
    rig_t plain;
    rig_open(&plain, "generic", 1);
    inputs_t in = inputs_new(&plain, R, 777, true);
    float *d = rig_random(&plain, R, 8), *even = rig_random(&plain, R, 10);
    gradients_t want = gradient(&plain, &in, d, even, (tr_tensor_t){0}, 0.7f);
    for (size_t i = 0; i < RIG_ISAS; i++) {
        rig_t rig;
        if (rig_open(&rig, rig_isas[i], 2)) {
            gradients_t got = gradient(&rig, &in, d, even, (tr_tensor_t){0}, 0.7f);
            check_same(got.dhidden, want.dhidden, R * H, rig_isas[i]);
            check_same(got.dhead, want.dhead, in.vocabulary * H, rig_isas[i]);
            rig_close(&rig);
        }
    }
    rig_close(&plain);
}

Test(logprob_gradient, has_the_same_bits_with_the_logits_of_any_rows_kept)
{
    static const size_t keeps[] = {1, R / 2, R};
    static const float temperatures[] = {1.0f, 0.7f};
    for (size_t i = 0; i < 24; i++) {
        rig_t rig;
        const float temperature = temperatures[i / 3 % 2];
        rig_open(&rig, NULL, 2);
        inputs_t in = inputs_new(&rig, R, 777, i / 6 % 2 == 1);
        in.cap = i < 12 ? 0.0f : 1.5f;
        const float *d = rig_random(&rig, R, 8),
                    *even = i % 2 == 0 ? rig_random(&rig, R, 10) : NULL;
        tr_tensor_t logits = logits_of(&rig, &in, keeps[i % 3]);
        float *want = logprob(&rig, &in, temperature);
        gradients_t again = gradient(&rig, &in, d, even, (tr_tensor_t){0}, temperature);
        check_same(logprob_keeping(&rig, logits, &in, temperature), want, (1 + TR_FACTS) * R,
                   "logprob, facts");
        gradients_t kept = gradient(&rig, &in, d, even, logits, temperature);
        check_same(kept.dhidden, again.dhidden, R * H, "dhidden");
        check_same(kept.dhead, again.dhead, in.vocabulary * H, "dhead");
        rig_close(&rig);
    }
}

typedef struct drawn {
    int32_t *tokens, *count, *ids;
    float *logprob, *raw;
} drawn_t;

static drawn_t sample(rig_t *rig, const inputs_t *in, const float *uniform, tr_sampling_t sampling)
{
    size_t rows = in->rows;
    int32_t *zeros = rig_memory(rig, rows * in->vocabulary * sizeof *zeros);
    tr_tensor_t tokens = rig_indices(rig, 1, rows, zeros), count = rig_indices(rig, 1, rows, zeros);
    tr_tensor_t ids = rig_indices(rig, rows, in->vocabulary, zeros);
    tr_tensor_t logprobs = rig_zeros(rig, 1, rows), raw = rig_zeros(rig, 1, rows);
    rig->ops->sample(rig->queue, tokens, logprobs, raw, count, ids,
                     rig_tensor(rig, rows, H, in->hidden), packed(rig, in), in->vocabulary,
                     rig_tensor(rig, 1, rows, uniform), sampling);
    return (drawn_t){rig_read_indices(rig, tokens), rig_read_indices(rig, count),
                     rig_read_indices(rig, ids), rig_read(rig, logprobs), rig_read(rig, raw)};
}

static float *uniforms(rig_t *rig, size_t rows)
{
    float *uniform = rig_memory(rig, rows * sizeof *uniform);
    for (size_t r = 0; r < rows; r++) {
        uniform[r] = tr_rng_uniform(3, TR_RNG_SAMPLE, 0, 0, (uint32_t)r);
    }
    return uniform;
}

static const tr_sampling_t samplings[] = {
    {1.0f, 0, 1.0f, 0.0f},   {0.7f, 0, 1.0f, 0.0f},     {0.7f, 20, 1.0f, 0.0f},
    {1.3f, 0, 0.9f, 0.0f},   {0.7f, 50, 0.8f, 0.0f},    {2.0f, 3, 0.99f, 0.0f},
    {1.0f, 0, 0.01f, 0.0f},  {1.0f, 0, 0.99999f, 0.0f}, {1.0f, 0, 1.0f, 0.3f},
    {0.7f, 40, 0.9f, 0.05f}, {3.0f, 0, 0.95f, 0.5f}};
enum { SAMPLINGS = sizeof samplings / sizeof samplings[0] };

Test(sample, returns_the_bits_that_logprob_gives_for_the_same_kept_set)
{
    for (size_t j = 0; j < 3; j++) {
        for (size_t k = 0; k < SAMPLINGS; k++) {
            rig_t rig;
            rig_open(&rig, NULL, 2);
            inputs_t in = inputs_new(&rig, R, vocabularies[j], false);
            drawn_t drawn = sample(&rig, &in, uniforms(&rig, R), samplings[k]);
            in.targets = drawn.tokens;
            check_same(drawn.raw, logprob(&rig, &in, 1.0f), R, "raw");
            in.offsets = rig_memory(&rig, (R + 1) * sizeof(int32_t));
            for (size_t r = 0; r < R; r++) {
                size_t n = (size_t)drawn.count[r], at = (size_t)in.offsets[r];
                memcpy(in.kept + at, drawn.ids + r * in.vocabulary, n * sizeof(int32_t));
                in.offsets[r + 1] = (int32_t)(at + n);
            }
            check_same(drawn.logprob, logprob(&rig, &in, samplings[k].temperature), R, "logprob");
            rig_close(&rig);
        }
    }
}

/// The kept set by the definition: sort by (logit, id), cut to top_k, then to the smallest set of
/// mass top_p, then to the tokens of at least min_p times the greatest probability.
static size_t reference_kept(bool *kept, const float *logits, size_t n, tr_sampling_t s)
{
    size_t count = s.top_k > 0 && (size_t)s.top_k < n ? (size_t)s.top_k : n, taken = 0;
    double max = -INFINITY, total = 0.0, mass = 0.0;
    memset(kept, 0, n);
    for (size_t v = 0; v < n; v++) {
        max = (double)logits[v] > max ? (double)logits[v] : max;
    }
    for (int pass = 0; pass < 2; pass++) { // the first finds the mass of top_k, the second cuts
        memset(kept, 0, n);
        for (taken = 0;
             taken < count && (pass == 0 || mass < (double)s.top_p * total || taken == 0);
             taken++) {
            size_t best = n;
            for (size_t v = 0; v < n; v++) {
                if (!kept[v] && (best == n || logits[v] > logits[best])) {
                    best = v;
                }
            }
            kept[best] = true;
            double e = exp(((double)logits[best] - max) / (double)s.temperature);
            total += pass == 0 ? e : 0.0;
            mass += pass == 1 ? e : 0.0;
        }
    }
    // min_p: the likeliest has e = 1. The kept tokens stand in no order here, so each is asked.
    for (size_t v = 0; v < n && s.min_p > 0.0f; v++) {
        double e = exp(((double)logits[v] - max) / (double)s.temperature);
        if (kept[v] && e < (double)s.min_p) {
            kept[v] = false;
            taken--;
        }
    }
    return taken;
}

Test(sample, keeps_what_top_k_top_p_and_then_min_p_define)
{
    for (size_t k = 0; k < SAMPLINGS; k++) {
        rig_t rig;
        rig_open(&rig, NULL, 2);
        inputs_t in = inputs_new(&rig, 8, 512, false);
        tr_tensor_t logits = rig_zeros(&rig, 8, 512);
        rig.ops->matmul(rig.queue, logits, rig_tensor(&rig, 8, H, in.hidden),
                        rig_pack(&rig, rig_tensor(&rig, 512, H, in.head)), false);
        float *z = rig_read(&rig, logits);
        drawn_t drawn = sample(&rig, &in, uniforms(&rig, 8), samplings[k]);
        for (size_t r = 0; r < 8; r++) {
            bool kept[512];
            size_t count = reference_kept(kept, z + r * 512, 512, samplings[k]);
            if (samplings[k].top_p > 0.9999f && samplings[k].top_p < 1.0f) {
                continue; // the cut lies within the rounding of the sums
            }
            cr_assert_eq((size_t)drawn.count[r], count == 512 ? 0 : count,
                         "setting %zu row %zu: %d, expected %zu", k, r, drawn.count[r], count);
            for (int32_t i = 0; i < drawn.count[r]; i++) {
                cr_assert(kept[drawn.ids[r * 512 + (size_t)i]]);
                cr_assert(i == 0 ||
                          drawn.ids[r * 512 + (size_t)i - 1] < drawn.ids[r * 512 + (size_t)i]);
            }
        }
        rig_close(&rig);
    }
}

Test(sample, inverts_the_cumulative_distribution_in_order_of_ids)
{
    rig_t rig;
    rig_open(&rig, NULL, 1);
    inputs_t in = inputs_new(&rig, R, 512, false);
    double *p = rig_memory(&rig, 512 * sizeof *p);
    float *uniform = uniforms(&rig, R);
    uniform[0] = 0.0f;
    uniform[1] = 0x1.fffffep-1f;
    drawn_t drawn = sample(&rig, &in, uniform, samplings[1]);
    for (size_t r = 0; r < R; r++) {
        double before = 0.0;
        double facts[TR_FACTS];
        reference(p, facts, &in, r, (double)0.7f);
        for (int32_t v = 0; v < drawn.tokens[r]; v++) {
            before += p[v];
        }
        cr_assert_leq(before, (double)uniform[r] + 1e-5);
        cr_assert_geq(before + p[drawn.tokens[r]], (double)uniform[r] - 1e-5);
    }
    rig_close(&rig);
}

Test(sample, ties_go_to_the_lower_id)
{
    rig_t rig;
    rig_open(&rig, NULL, 1);
    inputs_t in = inputs_new(&rig, 2, 100, false);
    memset(in.head, 0, 100 * H * sizeof *in.head); // all logits are 0
    float uniform[2] = {0.999f, 0.5f};
    drawn_t greedy = sample(&rig, &in, uniform, (tr_sampling_t){0.0f, 0, 1.0f, 0.0f});
    cr_assert_eq(greedy.tokens[0], 0);
    cr_assert_eq(greedy.logprob[0], 0.0f);
    cr_assert_eq(greedy.count[0], 0);
    cr_assert_lt(fabs((double)greedy.raw[0] + log(100.0)), 1e-5);
    drawn_t top = sample(&rig, &in, uniform, (tr_sampling_t){1.0f, 7, 1.0f, 0.0f});
    cr_assert_eq(top.count[0], 7);
    cr_assert_eq(top.tokens[0], 6);
    drawn_t mass = sample(&rig, &in, uniform, (tr_sampling_t){1.0f, 0, 0.255f, 0.0f});
    cr_assert_eq(mass.count[1], 26);
    cr_assert_eq(mass.ids[100 + 25], 25);
    rig_close(&rig);
}

Test(sample, does_not_depend_on_the_rows_beside_it_threads_or_instruction_set)
{
    for (size_t k = 0; k < SAMPLINGS; k++) {
        rig_t plain;
        rig_open(&plain, "generic", 1);
        inputs_t in = inputs_new(&plain, R, 777, false);
        float *uniform = uniforms(&plain, R);
        drawn_t want = sample(&plain, &in, uniform, samplings[k]);
        for (size_t i = 0; i < RIG_ISAS; i++) {
            rig_t rig;
            if (!rig_open(&rig, rig_isas[i], 2)) {
                continue;
            }
            inputs_t one = in;
            for (one.rows = 1; one.rows <= R; one.rows += R - 1) {
                drawn_t got = sample(&rig, &one, uniform, samplings[k]);
                check_same(got.logprob, want.logprob, one.rows, rig_isas[i]);
                check_same(got.raw, want.raw, one.rows, rig_isas[i]);
                cr_assert_arr_eq(got.tokens, want.tokens, one.rows * sizeof(int32_t));
                cr_assert_arr_eq(got.count, want.count, one.rows * sizeof(int32_t));
                cr_assert_arr_eq(got.ids, want.ids, one.rows * 777 * sizeof(int32_t));
            }
            rig_close(&rig);
        }
        rig_close(&plain);
    }
}
