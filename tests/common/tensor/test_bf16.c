/// Products with weights in bf16: against exact arithmetic (tests/golden/bf16.py), and laws about
/// bits: packed or stored, in parts, among few rows or many, with any number of threads, by the
/// processor's instruction or what stands for it, a row has the same ones.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/real.h"
#include "common/tensor/cpu/cpu.h"
#include "tests/support/golden.h"
#include "tests/support/tensors.h"

typedef struct shape {
    size_t t, n, k;
} shape_t;

static const shape_t shapes[] = {{1, 1, 1},      {3, 33, 7},     {12, 32, 64},   {13, 172, 64},
                                 {40, 64, 172},  {25, 512, 65},  {7, 100, 129},  {100, 96, 100},
                                 {17, 20, 4},    {5, 300, 31},   {70, 512, 200}, {30, 40, 8192},
                                 {61, 1100, 96}, {8, 1024, 1024}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static float *forward(rig_t *rig, const float *x, const float *w, shape_t s, bool packed)
{
    tr_tensor_t weight = rig_weight(rig, s.n, s.k, w), y = rig_zeros(rig, s.t, s.n);
    rig->ops->matmul(rig->queue, y, rig_tensor(rig, s.t, s.k, x),
                     packed ? rig_pack(rig, weight) : weight, false);
    return rig_read(rig, y);
}

static float *input_gradient(rig_t *rig, const float *dy, const float *w, shape_t s)
{
    tr_tensor_t dx = rig_zeros(rig, s.t, s.k);
    rig->ops->matmul_input_gradient(rig->queue, dx, rig_tensor(rig, s.t, s.n, dy),
                                    rig_weight(rig, s.n, s.k, w));
    return rig_read(rig, dx);
}

static float *weight_gradient(rig_t *rig, const float *start, const float *dy, const float *x,
                              shape_t s, size_t piece)
{
    tr_tensor_t dw = rig_tensor(rig, s.n, s.k, start);
    tr_tensor_t left = rig_tensor(rig, s.t, s.n, dy), right = rig_tensor(rig, s.t, s.k, x);
    for (size_t t = 0; t < s.t; t += piece) {
        size_t rows = s.t - t < piece ? s.t - t : piece;
        rig->ops->matmul_weight_gradient(rig->queue, dw, tr_tensor_rows(left, t, rows),
                                         tr_tensor_rows(right, t, rows));
    }
    return rig_read(rig, dw);
}

/// Golden bits of f32, or where shift is 16 of bf16, as floats.
static float *from_bits(rig_t *rig, golden_t *golden, const char *name, unsigned shift)
{
    size_t n;
    const double *bits = golden_doubles(golden, name, &n);
    float *values = rig_memory(rig, n * sizeof *values);
    for (size_t i = 0; i < n; i++) {
        const uint32_t wide = (uint32_t)bits[i] << shift;
        memcpy(&values[i], &wide, sizeof wide);
    }
    return values;
}

#define AT(key) (snprintf(path, sizeof path, "%s/%s", name, key), path)

/// As sums over tokens, which start at any content. The other products have the same kernel.
static void check_golden(const char *isa, golden_t *golden, const char *name)
{
    rig_t rig;
    char path[64];
    if (!rig_open_bf16(&rig, isa, 2)) {
        return;
    }
    const shape_t s = {(size_t)golden_number(golden, AT("chain")),
                       (size_t)golden_number(golden, AT("rows")),
                       (size_t)golden_number(golden, AT("columns"))};
    float *start = from_bits(&rig, golden, AT("starts"), 0),
          *want = from_bits(&rig, golden, AT("sums"), 0),
          *left = from_bits(&rig, golden, AT("left"), 16),
          *right = from_bits(&rig, golden, AT("right"), 16);
    check_same(weight_gradient(&rig, start, left, right, s, s.t), want, s.n * s.k, AT(isa));
    rig_close(&rig);
}

Test(bf16, products_are_those_of_exact_arithmetic)
{
    static const char *const names[] = {
        "ordinary",          "blocks", "whole_blocks",
        "cancelling",        "ties",   "denormal_results",
        "denormal_sums",     "edge",   "negative_zeros",
        "denormal_operands", "wide",   "overflow",
    };
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/bf16.json");
    for (size_t i = 0; i < RIG_ISAS; i++) {
        for (size_t j = 0; j < sizeof names / sizeof names[0]; j++) {
            check_golden(rig_isas[i], golden, names[j]);
        }
    }
    golden_close(&golden);
}

Test(bf16, rounding_is_to_nearest_even_and_keeps_denormals)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/bf16.json");
    for (size_t i = 0; i < RIG_ISAS; i++) {
        rig_t rig;
        if (!rig_open_bf16(&rig, rig_isas[i], 1)) {
            continue;
        }
        size_t n;
        float *want = from_bits(&rig, golden, "rounding/halves", 16);
        golden_doubles(golden, "rounding/halves", &n);
        tr_tensor_t rounded = rig_weight(&rig, 1, n, NULL), back = rig_zeros(&rig, 1, n);
        rig.ops->cast(rig.queue, rounded,
                      rig_tensor(&rig, 1, n, from_bits(&rig, golden, "rounding/floats", 0)));
        check_same(rig_read(&rig, rounded), want, n, rig_isas[i]);
        rig.ops->cast(rig.queue, back, rounded);
        check_same(rig_read(&rig, back), want, n, "widened");
        rig_close(&rig);
    }
    golden_close(&golden);
}

Test(bf16, a_nan_stays_one)
{
    rig_t rig;
    rig_open_bf16(&rig, NULL, 1);
    const uint32_t bits = 0x7f800001; // whose upper half is that of an infinity
    float nan;
    memcpy(&nan, &bits, sizeof nan);
    tr_tensor_t rounded = rig_weight(&rig, 1, 1, NULL);
    rig.ops->cast(rig.queue, rounded, rig_tensor(&rig, 1, 1, &nan));
    cr_expect(isnan(rig_read(&rig, rounded)[0]));
    cr_expect(isnan(forward(&rig, &nan, &(float){1.0f}, (shape_t){1, 1, 1}, true)[0]));
    rig_close(&rig);
}

Test(bf16, operands_are_rounded_and_sums_are_not)
{
    for (size_t i = 0; i < SHAPES; i++) {
        rig_t rig;
        rig_open_bf16(&rig, NULL, 2);
        shape_t s = shapes[i];
        float *x = rig_random(&rig, s.t * s.k, 1), *w = rig_random(&rig, s.n * s.k, 2);
        float *got = forward(&rig, x, w, s, true);
        double *want = rig_memory(&rig, s.t * s.n * sizeof *want);
        rig_round(x, s.t * s.k);
        rig_round(w, s.n * s.k);
        for (size_t j = 0; j < s.t * s.n; j++) {
            for (size_t k = 0; k < s.k; k++) {
                want[j] += (double)x[j / s.n * s.k + k] * (double)w[j % s.n * s.k + k];
            }
        }
        check_close(got, want, s.t * s.n, 1e-4, "y");
        rig_close(&rig);
    }
}

Test(bf16, accumulates_with_one_addition)
{
    for (size_t i = 0; i < RIG_ISAS; i++) {
        rig_t rig;
        if (!rig_open_bf16(&rig, rig_isas[i], 1)) {
            continue;
        }
        shape_t s = {9, 45, 33};
        float *x = rig_random(&rig, s.t * s.k, 1), *w = rig_random(&rig, s.n * s.k, 2),
              *start = rig_random(&rig, s.t * s.n, 3);
        float *plain = forward(&rig, x, w, s, true);
        tr_tensor_t y = rig_tensor(&rig, s.t, s.n, start);
        rig.ops->matmul(rig.queue, y, rig_tensor(&rig, s.t, s.k, x),
                        rig_pack(&rig, rig_weight(&rig, s.n, s.k, w)), true);
        for (size_t j = 0; j < s.t * s.n; j++) {
            plain[j] = start[j] + plain[j];
        }
        check_same(rig_read(&rig, y), plain, s.t * s.n, rig_isas[i]);
        rig_close(&rig);
    }
}

Test(bf16, the_input_gradient_is_the_product_with_the_weight_turned)
{
    for (size_t i = 0; i < SHAPES; i++) {
        rig_t rig;
        rig_open_bf16(&rig, NULL, 2);
        shape_t s = shapes[i];
        float *dy = rig_random(&rig, s.t * s.n, 1), *w = rig_random(&rig, s.n * s.k, 2);
        float *turned = rig_memory(&rig, s.n * s.k * sizeof *turned);
        for (size_t j = 0; j < s.n * s.k; j++) {
            turned[j % s.k * s.n + j / s.k] = w[j];
        }
        check_same(input_gradient(&rig, dy, w, s),
                   forward(&rig, dy, turned, (shape_t){s.t, s.k, s.n}, true), s.t * s.k, "dx");
        rig_close(&rig);
    }
}

Test(bf16, the_weight_gradient_in_whole_blocks_equals_the_whole)
{
    rig_t rig;
    rig_open_bf16(&rig, NULL, 2);
    shape_t s = {2101, 50, 40};
    float *dy = rig_random(&rig, s.t * s.n, 1), *x = rig_random(&rig, s.t * s.k, 2),
          *start = rig_random(&rig, s.n * s.k, 3);
    float *whole = weight_gradient(&rig, start, dy, x, s, s.t);
    check_same(weight_gradient(&rig, start, dy, x, s, 32), whole, s.n * s.k, "a block at a time");
    check_same(weight_gradient(&rig, start, dy, x, s, 352), whole, s.n * s.k, "352 at a time");
    rig_close(&rig);
}

Test(bf16, a_row_does_not_depend_on_the_rows_beside_it)
{
    for (size_t i = 0; i < RIG_ISAS; i++) {
        rig_t rig;
        if (!rig_open_bf16(&rig, rig_isas[i], 2)) {
            continue;
        }
        shape_t s = {40, 45, 5121}; // few rows take k at once, many in pieces
        float *x = rig_random(&rig, s.t * s.k, 1), *w = rig_random(&rig, s.n * s.k, 2);
        float *all = forward(&rig, x, w, s, true);
        for (size_t rows = 1; rows <= 40; rows += i == 0 ? 6 : 1) { // generic is slow
            char what[64];
            snprintf(what, sizeof what, "%s, %zu rows", rig_isas[i], rows);
            check_same(forward(&rig, x, w, (shape_t){rows, s.n, s.k}, true), all, rows * s.n, what);
        }
        float *last = forward(&rig, x + 39 * s.k, w, (shape_t){1, s.n, s.k}, false);
        check_same(last, all + 39 * s.n, s.n, "the last row alone");
        rig_close(&rig);
    }
}

/// Operands of all three products, and what they gave.
typedef struct trial {
    shape_t s;
    float *x, *w, *dy, *start; // given
    float *y, *dx, *dw;
} trial_t;

static void check_trial(const trial_t *trial, const char *isa, size_t threads)
{
    const shape_t s = trial->s;
    rig_t rig;
    if (!rig_open_bf16(&rig, isa, threads)) {
        return;
    }
    check_same(forward(&rig, trial->x, trial->w, s, true), trial->y, s.t * s.n, isa);
    check_same(forward(&rig, trial->x, trial->w, s, false), trial->y, s.t * s.n, isa);
    check_same(input_gradient(&rig, trial->dy, trial->w, s), trial->dx, s.t * s.k, isa);
    check_same(weight_gradient(&rig, trial->start, trial->dy, trial->x, s, s.t), trial->dw,
               s.n * s.k, isa);
    rig_close(&rig);
}

/// Numbers around 2^exponent, over as many powers of two to either side, every tenth a zero.
static float *scattered(rig_t *rig, size_t count, uint64_t seed, int exponent, float powers)
{
    float *data = rig_random(rig, count, seed), *scale = rig_random(rig, count, seed + 100);
    for (size_t i = 0; i < count; i++) {
        data[i] = i % 10 == 9 ? 0.0f : ldexpf(data[i], exponent + (int)(powers * scale[i]));
    }
    return data;
}

/// powers 0: ordinary numbers.
static trial_t trial_new(rig_t *plain, shape_t s, int exponent, float powers)
{
    trial_t trial = {s,
                     scattered(plain, s.t * s.k, 1, exponent, powers),
                     scattered(plain, s.n * s.k, 2, exponent, powers),
                     scattered(plain, s.t * s.n, 3, exponent, powers),
                     scattered(plain, s.n * s.k, 4, 2 * exponent, powers),
                     NULL,
                     NULL,
                     NULL};
    trial.y = forward(plain, trial.x, trial.w, s, true);
    trial.dx = input_gradient(plain, trial.dy, trial.w, s);
    trial.dw = weight_gradient(plain, trial.start, trial.dy, trial.x, s, s.t);
    return trial;
}

Test(bf16, threads_and_instruction_sets_give_the_same_bits)
{
    for (size_t j = 0; j < SHAPES; j++) {
        rig_t plain;
        rig_open_bf16(&plain, "generic", 1);
        const trial_t trial = trial_new(&plain, shapes[j], 0, 0.0f);
        for (size_t i = 0; i < RIG_ISAS; i++) {
            for (size_t threads = i == 0 ? 3 : 1; threads <= 3; threads++) { // generic is slow
                check_trial(&trial, rig_isas[i], threads);
            }
        }
        rig_close(&plain);
    }
}

Test(bf16, the_processors_instructions_have_the_bits_of_what_stands_for_them)
{
    // Wide ranges; products at the edge of the denormals, and beyond it; near infinity.
    static const struct {
        int exponent;
        float powers;
    } ranges[] = {{0, 30.0f}, {-63, 3.0f}, {-65, 10.0f}, {-70, 60.0f}, {40, 20.0f}};
    static const shape_t s = {37, 131, 77};
    for (size_t j = 0; j < sizeof ranges / sizeof ranges[0]; j++) {
        rig_t plain;
        rig_open_bf16(&plain, "generic", 1);
        const trial_t trial = trial_new(&plain, s, ranges[j].exponent, ranges[j].powers);
        for (size_t i = 1; i < RIG_ISAS; i++) { // those that this processor has
            check_trial(&trial, rig_isas[i], 1);
        }
        rig_close(&plain);
    }
}

Test(bf16, layers_read_rounded_weights)
{
    enum { T = 5, H = 37 };
    rig_t plain, rig;
    rig_open(&plain, NULL, 1);
    rig_open_bf16(&rig, NULL, 1);
    float *x = rig_random(&plain, T * H, 1), *w = rig_random(&plain, T * H, 2);
    const int32_t ids[T] = {4, 0, 2, 2, 1};
    rig_round(w, T * H);
    rig_t *const rigs[] = {&plain, &rig};
    float *y[2], *norm[2], *values[2], *embedding[2];
    for (size_t i = 0; i < 2; i++) {
        rig_t *r = rigs[i];
        tr_tensor_t in = rig_tensor(r, T, H, x), out = rig_tensor(r, T, H, x),
                    vector = rig_weight(r, 1, H, w), rstd = rig_zeros(r, 1, T),
                    scores = rig_zeros(r, 1, T), rows = rig_zeros(r, T, H);
        r->ops->add_bias(r->queue, out, vector);
        y[i] = rig_read(r, out);
        r->ops->rmsnorm(r->queue, out, rstd, in, vector, (tr_norm_t){1e-6f, 1.0f});
        norm[i] = rig_read(r, out);
        r->ops->scalar_head(r->queue, scores, in, vector);
        values[i] = rig_read(r, scores);
        r->ops->gather_rows(r->queue, rows, rig_weight(r, T, H, w), rig_indices(r, 1, T, ids));
        embedding[i] = rig_read(r, rows);
    }
    check_same(y[1], y[0], T * H, "bias");
    check_same(norm[1], norm[0], T * H, "norm");
    check_same(values[1], values[0], T, "scalar head");
    check_same(embedding[1], embedding[0], T * H, "embedding");
    rig_close(&plain);
    rig_close(&rig);
}

typedef struct pair {
    float first, second;
} pair_t;

/// What other processors might do with a block of pairs.
typedef float block_fn(float sum, const pair_t *a, const pair_t *b, size_t pairs);

/// As AVX512-BF16 does: the second product of a pair is added first, to the sum so far.
static float one_chain(float sum, const pair_t *a, const pair_t *b, size_t pairs)
{
    for (size_t k = 0; k < pairs; k++) {
        sum = fmaf(a[k].first, b[k].first, fmaf(a[k].second, b[k].second, sum));
    }
    return sum;
}

static float chains_that_start_at_the_sum(float sum, const pair_t *a, const pair_t *b, size_t pairs)
{
    float second = 0.0f;
    for (size_t k = 0; k < pairs; k++) {
        sum = fmaf(a[k].first, b[k].first, sum);
        second = fmaf(a[k].second, b[k].second, second);
    }
    return sum + second;
}

static float denormals_kept(float sum, const pair_t *a, const pair_t *b, size_t pairs)
{
    float first = 0.0f, second = 0.0f;
    for (size_t k = 0; k < pairs; k++) {
        first = fmaf(a[k].first, b[k].first, first);
        second = fmaf(a[k].second, b[k].second, second);
    }
    return sum + (first + second);
}

static block_fn *other;

/// Element (row, k) of a, or of b's panels, as f32.
static pair_t read_pair(const float *at)
{
    uint16_t halves[2];
    memcpy(halves, at, sizeof halves);
    return (pair_t){tr_real_from_bf16(halves[0]), tr_real_from_bf16(halves[1])};
}

static void gemm_of_other(const cpu_gemm_t *g)
{
    pair_t a[CPU_PAIR_BLOCK], b[CPU_PAIR_BLOCK];
    for (size_t i = 0; i < g->rows * g->columns; i++) {
        const size_t r = i / g->columns, c = i % g->columns;
        float *y = &g->y[r * g->y_stride + c];
        for (size_t first = 0; first < g->k; first += CPU_PAIR_BLOCK) {
            const size_t pairs = g->k - first < CPU_PAIR_BLOCK ? g->k - first : CPU_PAIR_BLOCK;
            for (size_t k = 0; k < pairs; k++) {
                a[k] = read_pair(&g->a[r * g->a_row + first + k]);
                b[k] = read_pair(
                    &g->b[c / CPU_PANEL * g->b_panel + (first + k) * g->b_k + c % CPU_PANEL]);
            }
            *y = other(*y, a, b, pairs);
        }
    }
}

Test(bf16, a_processor_that_rounds_otherwise_is_not_taken)
{
    static block_fn *const others[] = {one_chain, chains_that_start_at_the_sum, denormals_kept};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        other = others[i];
        cr_expect_not(cpu_same_pairs(&(cpu_kernels_t){.gemm_pairs = gemm_of_other}), "%zu", i);
    }
    cr_expect(cpu_same_pairs(&cpu_kernels_generic));
}
