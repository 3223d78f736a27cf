/// The heads on a GPU: in f32 they have the CPU's bits; in bf16 they are close, and sampling and
/// log-probabilities share one arithmetic. The GPU is the emulated one unless TROUPE_CUDA_MODULE
/// names a real one's module.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "common/base/rng.h"
#include "tests/support/tensors.h"

enum { R = 9, H = 40 };

static const size_t vocabularies[] = {50, 1000, 4999};
enum { VOCABULARIES = sizeof vocabularies / sizeof vocabularies[0] };

typedef struct inputs {
    size_t rows, vocabulary;
    float *hidden, *head;
    int32_t *targets;
    int32_t *offsets, *kept; // offsets NULL: nothing was cut
} inputs_t;

/// Rounded to bf16, which any backend holds exactly.
static inputs_t inputs_new(rig_t *rig, size_t rows, size_t vocabulary, bool truncated)
{
    inputs_t in = {.rows = rows, .vocabulary = vocabulary};
    in.hidden = rig_random(rig, rows * H, 1);
    in.head = rig_random(rig, vocabulary * H, 2);
    rig_round(in.hidden, rows * H);
    rig_round(in.head, vocabulary * H);
    in.targets = rig_memory(rig, rows * sizeof(int32_t));
    in.offsets = truncated ? rig_memory(rig, (rows + 1) * sizeof(int32_t)) : NULL;
    in.kept = rig_memory(rig, rows * vocabulary * sizeof(int32_t));
    for (size_t r = 0, n = 0; r < rows; r++) {
        in.targets[r] = (int32_t)(r * 31 % vocabulary);
        // Every fourth row keeps the whole vocabulary; the targets of some others are cut.
        for (size_t v = 0; truncated && r % 4 != 3 && v < vocabulary; v++) {
            if ((v == (size_t)in.targets[r] && r % 4 != 2) || (v * 7 + r) % 5 < 2) {
                in.kept[n++] = (int32_t)v;
            }
        }
        if (truncated) {
            in.offsets[r + 1] = (int32_t)n;
        }
    }
    return in;
}

/// Rows first..first+count-1.
static inputs_t inputs_rows(const inputs_t *in, size_t first, size_t count)
{
    inputs_t part = *in;
    part.rows = count;
    part.hidden += first * H;
    part.targets += first;
    return part;
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

static void open_both(rig_t *cpu, rig_t *gpu, tr_dtype_t precision)
{
    rig_open_gpu(gpu, precision);
    rig_open(cpu, NULL, 1);
}

static void close_both(rig_t *cpu, rig_t *gpu)
{
    rig_close(cpu);
    rig_close(gpu);
}

/// [rows] log-probabilities, [rows, TR_FACTS] facts. logits: where they are kept, or nowhere.
static float *logprob_keeping(rig_t *rig, tr_tensor_t logits, const inputs_t *in, float temperature)
{
    tr_tensor_t both = rig_zeros(rig, 1 + TR_FACTS, in->rows);
    rig->ops->logprob(rig->queue, tr_tensor_rows(both, 0, 1), tr_tensor_rows(both, 1, TR_FACTS),
                      logits, rig_real(rig, in->rows, H, in->hidden),
                      (tr_head_t){.weight = rig_real(rig, in->vocabulary, H, in->head)},
                      in->vocabulary, rig_indices(rig, 1, in->rows, in->targets), temperature,
                      kept_of(rig, in));
    return rig_read(rig, both);
}

static float *logprob(rig_t *rig, const inputs_t *in, float temperature)
{
    return logprob_keeping(rig, (tr_tensor_t){0}, in, temperature);
}

static void widen(double *to, const float *from, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        to[i] = (double)from[i];
    }
}

static void check_near(rig_t *rig, const float *got, const float *want, size_t count,
                       const char *what)
{
    double *wide = rig_memory(rig, count * sizeof *wide);
    widen(wide, want, count);
    check_close(got, wide, count, 1e-2, what);
}

/// Log-probabilities of cut targets are -infinity in both; the others are compared.
static void check_logprob_near(rig_t *rig, float *got, float *want)
{
    for (size_t r = 0; r < R; r++) {
        cr_assert_eq(isinf(got[r]), isinf(want[r]));
        got[r] = isinf(got[r]) ? 0.0f : got[r];
        want[r] = isinf(want[r]) ? 0.0f : want[r];
    }
    check_near(rig, got, want, (1 + TR_FACTS) * R, "logprob, facts");
}

static void check_logprob(tr_dtype_t precision, bool truncated)
{
    rig_t cpu, gpu;
    open_both(&cpu, &gpu, precision);
    for (size_t i = 0; i < (precision == TR_F32 ? VOCABULARIES : 2); i++) {
        inputs_t in = inputs_new(&cpu, R, vocabularies[i], truncated);
        for (int tempered = 0; tempered < 2; tempered++) {
            float temperature = tempered != 0 ? 0.7f : 1.0f;
            float *got = logprob(&gpu, &in, temperature), *want = logprob(&cpu, &in, temperature);
            if (precision == TR_F32) {
                check_same(got, want, (1 + TR_FACTS) * R, "logprob, facts");
            } else {
                check_logprob_near(&cpu, got, want);
            }
        }
    }
    close_both(&cpu, &gpu);
}

Test(cuda_logprob, in_f32_has_the_bits_of_the_cpu)
{
    check_logprob(TR_F32, false);
}

Test(cuda_logprob, of_a_kept_set_in_f32_has_the_bits_of_the_cpu)
{
    check_logprob(TR_F32, true);
}

Test(cuda_logprob, in_bf16_is_close_to_the_cpu)
{
    check_logprob(TR_BF16, false);
}

Test(cuda_logprob, of_a_kept_set_in_bf16_is_close_to_the_cpu)
{
    check_logprob(TR_BF16, true);
}

static void check_rows_alone(tr_dtype_t precision)
{
    rig_t gpu;
    rig_open_gpu(&gpu, precision);
    inputs_t in = inputs_new(&gpu, R, 777, false);
    float *all = logprob(&gpu, &in, 0.7f);
    for (size_t r = 0; r < R; r += 4) {
        inputs_t one = inputs_rows(&in, r, 1);
        float *alone = logprob(&gpu, &one, 0.7f);
        check_same(alone, all + r, 1, "the logprob of one row");
        check_same(alone + 1, all + R + r * TR_FACTS, TR_FACTS, "its facts");
    }
    rig_close(&gpu);
}

Test(cuda_logprob, of_a_row_does_not_depend_on_the_rows_beside_it)
{
    check_rows_alone(TR_F32);
    check_rows_alone(TR_BF16);
}

Test(cuda_logprob, of_an_id_that_is_no_token_is_nan)
{
    rig_t gpu;
    rig_open_gpu(&gpu, TR_F32);
    for (int truncated = 0; truncated < 2; truncated++) {
        inputs_t in = inputs_new(&gpu, R, 50, truncated != 0);
        in.targets[1] = 50;
        in.targets[2] = -1;
        if (truncated != 0) {
            in.kept[in.offsets[1] - 1] = INT32_MAX; // of row 0
        }
        float *got = logprob(&gpu, &in, 0.7f);
        cr_assert_eq(isnan(got[0]), truncated != 0);
        cr_assert(isnan(got[1]) && isnan(got[2]) && isfinite(got[3]));
    }
    rig_close(&gpu);
}

typedef struct gradients {
    float *dhidden, *dhead;
} gradients_t;

/// dmean: NULL, or [rows]. parts: how many calls take the rows, a part each. keep: how many rows of
/// a part have their logits kept from the forward pass.
static gradients_t gradient(rig_t *rig, const inputs_t *in, const float *dlogprob,
                            const float *dmean, size_t parts, size_t keep)
{
    tr_tensor_t head = rig_real(rig, in->vocabulary, H, in->head);
    tr_tensor_t dhidden = rig_real(rig, in->rows, H, NULL);
    tr_tensor_t dhead = rig_tensor(rig, in->vocabulary, H, rig_random(rig, in->vocabulary * H, 9));
    for (size_t p = 0; p < parts; p++) {
        size_t first = in->rows * p / parts, count = in->rows * (p + 1) / parts - first;
        inputs_t part = inputs_rows(in, first, count);
        part.offsets = in->offsets == NULL ? NULL : in->offsets + first;
        tr_tensor_t even =
            dmean != NULL ? rig_tensor(rig, 1, count, dmean + first) : (tr_tensor_t){0};
        tr_tensor_t logits = keep > 0 ? rig_zeros(rig, keep, in->vocabulary) : (tr_tensor_t){0};
        logprob_keeping(rig, logits, &part, 0.7f);
        rig->ops->logprob_gradient(
            rig->queue, tr_tensor_rows(dhidden, first, count), dhead,
            rig_tensor(rig, 1, count, dlogprob + first), even, logits,
            rig_real(rig, count, H, part.hidden), (tr_head_t){.weight = head},
            rig_indices(rig, 1, count, part.targets), 0.7f, kept_of(rig, &part));
    }
    return (gradients_t){rig_read(rig, dhidden), rig_read(rig, dhead)};
}

static void check_gradient(tr_dtype_t precision, size_t vocabulary, bool truncated, bool smooth)
{
    rig_t cpu, gpu;
    open_both(&cpu, &gpu, precision);
    inputs_t in = inputs_new(&cpu, R, vocabulary, truncated);
    float *d = rig_random(&cpu, R, 8), *even = smooth ? rig_random(&cpu, R, 10) : NULL;
    gradients_t want = gradient(&cpu, &in, d, even, 1, 0);
    gradients_t got = gradient(&gpu, &in, d, even, 1, 0);
    for (size_t keep = R; keep > 0; keep /= 2) { // all rows are a tile, which is kept as a whole
        gradients_t kept = gradient(&gpu, &in, d, even, 1, keep);
        check_same(kept.dhidden, got.dhidden, R * H, "dhidden of kept logits");
        check_same(kept.dhead, got.dhead, vocabulary * H, "dhead of kept logits");
    }
    if (precision == TR_F32) {
        gradients_t apart = gradient(&gpu, &in, d, even, 3, 0);
        check_same(got.dhidden, want.dhidden, R * H, "dhidden");
        check_same(got.dhead, want.dhead, vocabulary * H, "dhead");
        check_same(apart.dhidden, want.dhidden, R * H, "dhidden in parts");
        check_same(apart.dhead, want.dhead, vocabulary * H, "dhead in parts");
    } else {
        check_near(&cpu, got.dhidden, want.dhidden, R * H, "dhidden");
        check_near(&cpu, got.dhead, want.dhead, vocabulary * H, "dhead");
    }
    close_both(&cpu, &gpu);
}

Test(cuda_logprob_gradient, in_f32_has_the_bits_of_the_cpu_whole_and_in_parts)
{
    check_gradient(TR_F32, 50, false, false);
    check_gradient(TR_F32, 1000, false, false);
    check_gradient(TR_F32, 777, false, true);
}

Test(cuda_logprob_gradient, of_a_kept_set_in_f32_has_the_bits_of_the_cpu)
{
    check_gradient(TR_F32, 50, true, false);
    check_gradient(TR_F32, 777, true, true);
}

Test(cuda_logprob_gradient, in_bf16_is_close_to_the_cpu)
{
    check_gradient(TR_BF16, 777, false, false);
    check_gradient(TR_BF16, 777, true, true);
}

typedef struct drawn {
    int32_t *tokens, *count, *ids;
    float *logprob, *raw;
} drawn_t;

static drawn_t sample(rig_t *rig, const inputs_t *in, const float *uniform, tr_sampling_t sampling)
{
    size_t rows = in->rows;
    tr_tensor_t tokens = rig_indices(rig, 1, rows, NULL), count = rig_indices(rig, 1, rows, NULL);
    tr_tensor_t ids = rig_indices(rig, rows, in->vocabulary, NULL);
    tr_tensor_t logprobs = rig_zeros(rig, 1, rows), raw = rig_zeros(rig, 1, rows);
    rig->ops->sample(rig->queue, tokens, logprobs, raw, count, ids,
                     rig_real(rig, rows, H, in->hidden),
                     (tr_head_t){.weight = rig_real(rig, in->vocabulary, H, in->head)},
                     in->vocabulary, rig_tensor(rig, 1, rows, uniform), sampling);
    return (drawn_t){rig_read_indices(rig, tokens), rig_read_indices(rig, count),
                     rig_read_indices(rig, ids), rig_read(rig, logprobs), rig_read(rig, raw)};
}

/// In [0, 1), both ends among them.
static float *uniforms(rig_t *rig, size_t rows)
{
    float *uniform = rig_memory(rig, rows * sizeof *uniform);
    for (size_t r = 0; r < rows; r++) {
        uniform[r] = tr_rng_uniform(3, TR_RNG_SAMPLE, 0, 0, (uint32_t)r);
    }
    uniform[0] = 0.0f;
    uniform[rows - 1] = 0x1.fffffep-1f;
    return uniform;
}

/// Greedy; plain; cut by count, by mass, by both; cuts of most of 4999 tokens, which take several
/// sorted pieces.
static const tr_sampling_t samplings[] = {
    {0.0f, 0, 1.0f, 0.0f},     {1.0f, 0, 1.0f, 0.0f},     {0.7f, 0, 1.0f, 0.0f},
    {0.7f, 20, 1.0f, 0.0f},    {1.3f, 0, 0.9f, 0.0f},     {0.7f, 50, 0.8f, 0.0f},
    {1.0f, 0, 0.01f, 0.0f},    {1.0f, 0, 0.99999f, 0.0f}, {5.0f, 0, 0.98f, 0.0f},
    {9.0f, 4000, 0.95f, 0.0f}, {2.0f, 3, 0.99f, 0.0f},    {1.0f, 3000, 1.0f, 0.0f},
    {1.0f, 0, 1.0f, 0.3f},     {0.7f, 40, 0.9f, 0.05f},   {3.0f, 0, 0.95f, 0.5f}};
enum { SAMPLINGS = sizeof samplings / sizeof samplings[0] };

static void check_drawn(const drawn_t *got, const drawn_t *want, size_t rows, size_t vocabulary,
                        size_t setting)
{
    check_same(got->logprob, want->logprob, rows, "logprob");
    check_same(got->raw, want->raw, rows, "raw");
    for (size_t r = 0; r < rows; r++) {
        cr_assert_eq(got->tokens[r], want->tokens[r], "setting %zu row %zu: token %d, expected %d",
                     setting, r, got->tokens[r], want->tokens[r]);
        cr_assert_eq(got->count[r], want->count[r], "setting %zu row %zu: %d kept, expected %d",
                     setting, r, got->count[r], want->count[r]);
        cr_assert_arr_eq(got->ids + r * vocabulary, want->ids + r * vocabulary,
                         (size_t)want->count[r] * sizeof(int32_t), "setting %zu row %zu", setting,
                         r);
    }
}

static void check_sample(size_t vocabulary)
{
    rig_t cpu, gpu;
    open_both(&cpu, &gpu, TR_F32);
    inputs_t in = inputs_new(&cpu, R, vocabulary, false);
    float *uniform = uniforms(&cpu, R);
    for (size_t k = 0; k < SAMPLINGS; k++) {
        drawn_t want = sample(&cpu, &in, uniform, samplings[k]),
                got = sample(&gpu, &in, uniform, samplings[k]);
        check_drawn(&got, &want, R, vocabulary, k);
    }
    close_both(&cpu, &gpu);
}

Test(cuda_sample, in_f32_has_the_bits_of_the_cpu)
{
    check_sample(50);
    check_sample(1000);
}

Test(cuda_sample, of_a_greater_vocabulary_in_f32_has_the_bits_of_the_cpu)
{
    check_sample(4999);
}

Test(cuda_sample, ties_go_to_the_lower_id)
{
    rig_t cpu, gpu;
    open_both(&cpu, &gpu, TR_F32);
    inputs_t in = inputs_new(&cpu, 3, 4999, false);
    float *uniform = uniforms(&cpu, 3);
    for (size_t levels = 1; levels <= 3; levels += 2) { // of logits
        memset(in.head, 0, in.vocabulary * H * sizeof *in.head);
        for (size_t v = 0; v < in.vocabulary; v++) {
            in.head[v * H] = (float)(v * 7 % levels);
        }
        for (size_t k = 0; k < SAMPLINGS; k++) {
            drawn_t want = sample(&cpu, &in, uniform, samplings[k]),
                    got = sample(&gpu, &in, uniform, samplings[k]);
            check_drawn(&got, &want, 3, in.vocabulary, k);
        }
    }
    close_both(&cpu, &gpu);
}

Test(cuda_sample, in_bf16_returns_the_bits_that_logprob_gives_for_the_same_kept_set)
{
    rig_t gpu;
    rig_open_gpu(&gpu, TR_BF16);
    for (size_t k = 1; k < SAMPLINGS; k++) {
        inputs_t in = inputs_new(&gpu, R, 1000, false);
        drawn_t drawn = sample(&gpu, &in, uniforms(&gpu, R), samplings[k]);
        in.targets = drawn.tokens;
        check_same(drawn.raw, logprob(&gpu, &in, 1.0f), R, "raw");
        in.offsets = rig_memory(&gpu, (R + 1) * sizeof(int32_t));
        for (size_t r = 0; r < R; r++) {
            size_t n = (size_t)drawn.count[r], at = (size_t)in.offsets[r];
            memcpy(in.kept + at, drawn.ids + r * in.vocabulary, n * sizeof(int32_t));
            in.offsets[r + 1] = (int32_t)(at + n);
        }
        check_same(drawn.logprob, logprob(&gpu, &in, samplings[k].temperature), R, "logprob");
    }
    rig_close(&gpu);
}

Test(cuda_sample, of_a_row_in_bf16_does_not_depend_on_the_rows_beside_it)
{
    rig_t gpu;
    rig_open_gpu(&gpu, TR_BF16);
    inputs_t in = inputs_new(&gpu, R, 777, false);
    float *uniform = uniforms(&gpu, R);
    for (size_t k = 0; k < SAMPLINGS; k++) {
        drawn_t all = sample(&gpu, &in, uniform, samplings[k]);
        inputs_t one = inputs_rows(&in, 4, 1);
        drawn_t alone = sample(&gpu, &one, uniform + 4, samplings[k]);
        drawn_t want = {all.tokens + 4, all.count + 4, all.ids + 4 * 777, all.logprob + 4,
                        all.raw + 4};
        check_drawn(&alone, &want, 1, 777, k);
    }
    rig_close(&gpu);
}

/// 600 draws from one row of 8 tokens, all of them or the likeliest 5. Pearson's statistic stays
/// below the value that chance exceeds once in 10^5 times.
Test(cuda_sample, draws_tokens_as_often_as_they_are_likely)
{
    enum { DRAWS = 600, TOKENS = 8 };
    rig_t gpu;
    rig_open_gpu(&gpu, TR_F32);
    inputs_t in = inputs_new(&gpu, DRAWS, TOKENS, false);
    for (size_t r = 1; r < DRAWS; r++) {
        memcpy(in.hidden + r * H, in.hidden, H * sizeof *in.hidden);
    }
    for (int32_t top_k = 0; top_k <= 5; top_k += 5) {
        double statistic = 0.0, whole = 0.0, seen[TOKENS] = {0}, p[TOKENS] = {0};
        tr_sampling_t sampling = {3.0f, top_k, 1.0f, 0.0f};
        drawn_t drawn = sample(&gpu, &in, uniforms(&gpu, DRAWS), sampling);
        for (size_t r = 0; r < DRAWS; r++) {
            seen[drawn.tokens[r]] += 1.0;
            p[drawn.tokens[r]] = exp((double)drawn.logprob[r]);
        }
        for (size_t v = 0; v < TOKENS; v++) {
            double expected = p[v] * DRAWS;
            statistic += expected > 0.0 ? pow(seen[v] - expected, 2.0) / expected : 0.0;
            whole += p[v];
        }
        cr_assert_lt(fabs(whole - 1.0), 1e-5, "top_k %d: all tokens are drawn", top_k);
        cr_assert_lt(statistic, 35.3, "top_k %d: %g", top_k, statistic);
    }
    rig_close(&gpu);
}

typedef struct scalars {
    float *values, *dhidden, *dweight;
} scalars_t;

static scalars_t scalar_head(rig_t *rig, size_t rows, size_t width)
{
    float *x = rig_random(rig, rows * width, 1), *w = rig_random(rig, width, 2);
    rig_round(x, rows * width);
    rig_round(w, width);
    tr_tensor_t hidden = rig_real(rig, rows, width, x), weight = rig_real(rig, 1, width, w);
    tr_tensor_t values = rig_zeros(rig, 1, rows), dhidden = rig_real(rig, rows, width, NULL);
    tr_tensor_t dweight = rig_tensor(rig, 1, width, rig_random(rig, width, 3));
    rig->ops->scalar_head(rig->queue, values, hidden, weight);
    rig->ops->scalar_head_gradient(rig->queue, dhidden, dweight,
                                   rig_tensor(rig, 1, rows, rig_random(rig, rows, 4)), hidden,
                                   weight);
    return (scalars_t){rig_read(rig, values), rig_read(rig, dhidden), rig_read(rig, dweight)};
}

Test(cuda_scalar_head, and_its_gradient_in_f32_have_the_bits_of_the_cpu)
{
    static const size_t widths[] = {5, 40, 777};
    for (size_t i = 0; i < 3; i++) {
        rig_t cpu, gpu;
        open_both(&cpu, &gpu, TR_F32);
        scalars_t want = scalar_head(&cpu, 21, widths[i]), got = scalar_head(&gpu, 21, widths[i]);
        check_same(got.values, want.values, 21, "values");
        check_same(got.dhidden, want.dhidden, 21 * widths[i], "dhidden");
        check_same(got.dweight, want.dweight, widths[i], "dweight");
        close_both(&cpu, &gpu);
    }
}

Test(cuda_scalar_head, and_its_gradient_in_bf16_are_close_to_the_cpu)
{
    rig_t cpu, gpu;
    open_both(&cpu, &gpu, TR_BF16);
    scalars_t want = scalar_head(&cpu, 21, 777), got = scalar_head(&gpu, 21, 777);
    check_near(&cpu, got.values, want.values, 21, "values");
    check_near(&cpu, got.dhidden, want.dhidden, (size_t)21 * 777, "dhidden");
    check_near(&cpu, got.dweight, want.dweight, 777, "dweight");
    close_both(&cpu, &gpu);
}
