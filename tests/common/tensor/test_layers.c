/// Norms, positions, activations, embeddings and the scalar head: formulas in double, gradients by
/// differences, and equal bits for every instruction set and number of threads.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "common/base/rng.h"
#include "tests/support/tensors.h"

enum { T = 23, H = 172, V = 50 };

static const tr_norm_t rms = {.epsilon = 1e-5f};

/// Everything that one operator wrote, as one array, to be compared across forms.
typedef float *run_fn(rig_t *rig, size_t *count);

/// Runs fn in every instruction set with 1 and 3 threads and wants the bits of the plain form with
/// one.
static void check_all_forms(run_fn *fn, const char *what)
{
    rig_t plain;
    size_t count, same;
    rig_open(&plain, "generic", 1);
    float *want = fn(&plain, &count);
    for (size_t i = 0; i < RIG_ISAS; i++) {
        for (size_t threads = 1; threads <= 3; threads += 2) {
            rig_t rig;
            if (rig_open(&rig, rig_isas[i], threads)) {
                float *got = fn(&rig, &same);
                cr_assert_eq(count, same);
                check_same(got, want, count, what);
                rig_close(&rig);
            }
        }
    }
    rig_close(&plain);
}

static float *join(rig_t *rig, size_t *count, tr_tensor_t a, tr_tensor_t b)
{
    size_t first = tr_tensor_count(a), second = tr_tensor_count(b);
    float *all = rig_memory(rig, (first + second) * sizeof *all);
    memcpy(all, rig_read(rig, a), first * sizeof *all);
    memcpy(all + first, rig_read(rig, b), second * sizeof *all);
    *count = first + second;
    return all;
}

static float *norm(rig_t *rig, size_t *count)
{
    tr_tensor_t y = rig_zeros(rig, T, H), rstd = rig_zeros(rig, 1, T);
    rig->ops->rmsnorm(rig->queue, y, rstd, rig_tensor(rig, T, H, rig_random(rig, T * H, 1)),
                      rig_tensor(rig, 1, H, rig_random(rig, H, 2)), rms);
    return join(rig, count, y, rstd);
}

Test(rmsnorm, equals_the_formula)
{
    rig_t rig;
    size_t count;
    rig_open(&rig, NULL, 2);
    float *x = rig_random(&rig, T * H, 1), *w = rig_random(&rig, H, 2);
    double want[T * H + T];
    for (size_t t = 0; t < T; t++) {
        double sum = 0.0;
        for (size_t i = 0; i < H; i++) {
            sum += (double)x[t * H + i] * (double)x[t * H + i];
        }
        want[T * H + t] = 1.0 / sqrt(sum / H + (double)1e-5f);
        for (size_t i = 0; i < H; i++) {
            want[t * H + i] = (double)x[t * H + i] * want[T * H + t] * (double)w[i];
        }
    }
    float *got = norm(&rig, &count);
    check_close(got, want, count, 1e-6, "y, rstd");
    rig_close(&rig);
    check_all_forms(norm, "rmsnorm");
}

static float *norm_gradient(rig_t *rig, size_t *count)
{
    tr_tensor_t x = rig_tensor(rig, T, H, rig_random(rig, T * H, 1)),
                w = rig_tensor(rig, 1, H, rig_random(rig, H, 2));
    tr_tensor_t y = rig_zeros(rig, T, H), rstd = rig_zeros(rig, 1, T);
    rig->ops->rmsnorm(rig->queue, y, rstd, x, w, rms);
    tr_tensor_t dx = rig_tensor(rig, T, H, rig_random(rig, T * H, 4));
    tr_tensor_t dw = rig_tensor(rig, 1, H, rig_random(rig, H, 5));
    tr_tensor_t dy = rig_tensor(rig, T, H, rig_random(rig, T * H, 3));
    rig->ops->rmsnorm_gradient(rig->queue, dx, dw, dy, x, rstd, w, rms);
    return join(rig, count, dx, dw);
}

/// sum(dy * y) in double, as a function of x and w.
static double norm_loss(const double *x, const double *w, const float *dy)
{
    double loss = 0.0;
    for (size_t t = 0; t < T; t++) {
        double sum = 0.0;
        for (size_t i = 0; i < H; i++) {
            sum += x[t * H + i] * x[t * H + i];
        }
        double rstd = 1.0 / sqrt(sum / H + (double)1e-5f);
        for (size_t i = 0; i < H; i++) {
            loss += (double)dy[t * H + i] * x[t * H + i] * rstd * w[i];
        }
    }
    return loss;
}

Test(rmsnorm, gradient_equals_finite_differences_and_adds_to_what_is_there)
{
    rig_t rig;
    size_t count;
    rig_open(&rig, NULL, 2);
    float *x = rig_random(&rig, T * H, 1), *w = rig_random(&rig, H, 2),
          *dy = rig_random(&rig, T * H, 3);
    float *start = rig_random(&rig, T * H, 4), *start_w = rig_random(&rig, H, 5);
    double point[T * H + H], want[1];
    for (size_t i = 0; i < T * H + H; i++) {
        point[i] = (double)(i < T * H ? x[i] : w[i - T * H]);
    }
    float *got = norm_gradient(&rig, &count);
    for (size_t i = 0; i < T * H + H; i += 37) {
        double keep = point[i], h = 1e-5;
        point[i] = keep + h;
        want[0] = norm_loss(point, point + T * H, dy);
        point[i] = keep - h;
        want[0] = (want[0] - norm_loss(point, point + T * H, dy)) / (2 * h);
        want[0] += (double)(i < T * H ? start[i] : start_w[i - T * H]);
        point[i] = keep;
        check_close(got + i, want, 1, 3e-6, "dx, dweight");
    }
    rig_close(&rig);
    check_all_forms(norm_gradient, "rmsnorm_gradient");
}

/// x with a mean that is greater than what it varies by.
static float *far_from_zero(rig_t *rig)
{
    float *x = rig_random(rig, T * H, 1);
    for (size_t i = 0; i < T * H; i++) {
        x[i] += 2.5f;
    }
    return x;
}

/// y and moments, dx and dweight.
static float *layernorm(rig_t *rig, size_t *count)
{
    tr_tensor_t x = rig_tensor(rig, T, H, far_from_zero(rig)),
                w = rig_tensor(rig, 1, 2 * H, rig_random(rig, 2 * H, 2));
    tr_tensor_t y = rig_zeros(rig, T, H), moments = rig_zeros(rig, 2, T);
    tr_tensor_t dx = rig_tensor(rig, T, H, rig_random(rig, T * H, 4));
    tr_tensor_t dw = rig_tensor(rig, 1, 2 * H, rig_random(rig, 2 * H, 5));
    tr_tensor_t dy = rig_tensor(rig, T, H, rig_random(rig, T * H, 3));
    rig->ops->layernorm(rig->queue, y, moments, x, w, rms);
    rig->ops->layernorm_gradient(rig->queue, dx, dw, dy, x, moments, w);
    size_t half, other;
    float *first = join(rig, &half, y, moments), *second = join(rig, &other, dx, dw);
    float *all = rig_memory(rig, (half + other) * sizeof *all);
    memcpy(all, first, half * sizeof *all);
    memcpy(all + half, second, other * sizeof *all);
    *count = half + other;
    return all;
}

/// What `layernorm` writes, by the textbook (Ba et al. 2016, equation 4, and its derivative).
static void layernorm_formula(double *want, const float *x, const float *w, const float *dy)
{
    double *mean = want + T * H, *dx = want + T * (H + 2), *dw = dx + T * H;
    for (size_t t = 0; t < T; t++) {
        double sum = 0.0, squares = 0.0, shift = 0.0, pull = 0.0, z[H];
        for (size_t i = 0; i < H; i++) {
            sum += (double)x[t * H + i] / H;
        }
        for (size_t i = 0; i < H; i++) {
            squares += pow((double)x[t * H + i] - sum, 2.0) / H;
        }
        const double rstd = 1.0 / sqrt(squares + (double)1e-5f);
        mean[t] = sum;
        mean[T + t] = rstd;
        for (size_t i = 0; i < H; i++) {
            const double d = (double)dy[t * H + i];
            z[i] = ((double)x[t * H + i] - sum) * rstd;
            want[t * H + i] = z[i] * (double)w[i] + (double)w[H + i];
            shift += d * (double)w[i] / H;
            pull += d * (double)w[i] * z[i] / H;
            dw[i] += d * z[i];
            dw[H + i] += d;
        }
        for (size_t i = 0; i < H; i++) {
            dx[t * H + i] += rstd * ((double)dy[t * H + i] * (double)w[i] - shift - z[i] * pull);
        }
    }
}

Test(layernorm, and_its_gradient_equal_the_formula)
{
    rig_t rig;
    size_t count;
    rig_open(&rig, NULL, 2);
    float *got = layernorm(&rig, &count), *dx = rig_random(&rig, T * H, 4),
          *dw = rig_random(&rig, 2 * H, 5);
    double *want = rig_memory(&rig, count * sizeof *want);
    for (size_t i = 0; i < T * H; i++) {
        want[T * (H + 2) + i] = (double)dx[i];
    }
    for (size_t i = 0; i < 2 * H; i++) {
        want[T * (2 * H + 2) + i] = (double)dw[i];
    }
    layernorm_formula(want, far_from_zero(&rig), rig_random(&rig, 2 * H, 2),
                      rig_random(&rig, T * H, 3));
    check_close(got, want, count, 3e-6, "y, moments, dx, dweight");
    rig_close(&rig);
    check_all_forms(layernorm, "layernorm");
}

enum { GROUPS = 3, PIECE = 20, FIRST = 7 }; // of rows of H columns

static const tr_norm_t plus_one = {.epsilon = 1e-6f, .offset = 1.0f};

/// y, rstd, d and dweight of the groups.
static float *group_norm(rig_t *rig, size_t *count)
{
    tr_tensor_t x = rig_tensor(rig, T, H, rig_random(rig, T * H, 1)),
                w = rig_tensor(rig, 1, PIECE, rig_random(rig, PIECE, 2));
    tr_tensor_t y = rig_tensor(rig, T, H, rig_random(rig, T * H, 1)),
                rstd = rig_zeros(rig, T, GROUPS);
    tr_tensor_t d = rig_tensor(rig, T, H, rig_random(rig, T * H, 3)),
                dw = rig_tensor(rig, 1, PIECE, rig_random(rig, PIECE, 4));
    rig->ops->group_norm(rig->queue, y, rstd, x, w, FIRST, GROUPS, plus_one);
    rig->ops->group_norm_gradient(rig->queue, d, dw, x, rstd, w, FIRST, GROUPS, plus_one);
    float *first = join(rig, count, y, rstd);
    size_t half = *count, other;
    float *second = join(rig, &other, d, dw);
    float *all = rig_memory(rig, (half + other) * sizeof *all);
    memcpy(all, first, half * sizeof *all);
    memcpy(all + half, second, other * sizeof *all);
    *count = half + other;
    return all;
}

/// The groups of a matrix as rows of one of their own.
static float *groups_of(rig_t *rig, const float *x)
{
    float *rows = rig_memory(rig, T * GROUPS * PIECE * sizeof *rows);
    for (size_t i = 0; i < T * GROUPS; i++) {
        memcpy(rows + i * PIECE, x + i / GROUPS * H + FIRST + i % GROUPS * PIECE,
               PIECE * sizeof *rows);
    }
    return rows;
}

Test(group_norm, a_group_is_a_row_of_its_own_and_other_columns_stay)
{
    rig_t rig;
    size_t count;
    rig_open(&rig, NULL, 2);
    float *x = rig_random(&rig, T * H, 1), *dy = rig_random(&rig, T * H, 3);
    float *got = group_norm(&rig, &count);
    const size_t rows = T * GROUPS, dat = T * H + rows;
    tr_tensor_t tx = rig_tensor(&rig, rows, PIECE, groups_of(&rig, x)),
                w = rig_tensor(&rig, 1, PIECE, rig_random(&rig, PIECE, 2));
    tr_tensor_t y = rig_zeros(&rig, rows, PIECE), rstd = rig_zeros(&rig, 1, rows),
                dx = rig_zeros(&rig, rows, PIECE),
                dw = rig_tensor(&rig, 1, PIECE, rig_random(&rig, PIECE, 4));
    rig.ops->rmsnorm(rig.queue, y, rstd, tx, w, plus_one);
    rig.ops->rmsnorm_gradient(rig.queue, dx, dw, rig_tensor(&rig, rows, PIECE, groups_of(&rig, dy)),
                              tx, rstd, w, plus_one);
    check_same(groups_of(&rig, got), rig_read(&rig, y), rows * PIECE, "y");
    check_same(got + T * H, rig_read(&rig, rstd), rows, "rstd");
    check_same(groups_of(&rig, got + dat), rig_read(&rig, dx), rows * PIECE, "dx");
    check_same(got + dat + T * H, rig_read(&rig, dw), PIECE, "dweight");
    for (size_t i = 0; i < T * H; i++) {
        if (i % H < FIRST || i % H >= FIRST + GROUPS * PIECE) {
            cr_assert(got[i] == x[i] && got[dat + i] == dy[i], "column %zu", i % H);
        }
    }
    rig_close(&rig);
    check_all_forms(group_norm, "group_norm");
}

static float *bias(rig_t *rig, size_t *count)
{
    tr_tensor_t y = rig_tensor(rig, T, H, rig_random(rig, T * H, 1)),
                d = rig_tensor(rig, 1, H, rig_random(rig, H, 3));
    rig->ops->add_bias(rig->queue, y, rig_tensor(rig, 1, H, rig_random(rig, H, 2)));
    rig->ops->bias_gradient(rig->queue, d, rig_tensor(rig, T, H, rig_random(rig, T * H, 4)));
    return join(rig, count, y, d);
}

Test(bias, is_added_to_each_row_and_its_gradient_is_their_sum)
{
    rig_t rig;
    size_t count;
    rig_open(&rig, NULL, 2);
    float *y = rig_random(&rig, T * H, 1), *b = rig_random(&rig, H, 2);
    float *d = rig_random(&rig, H, 3), *dy = rig_random(&rig, T * H, 4);
    float *got = bias(&rig, &count);
    for (size_t i = 0; i < H; i++) {
        float sum = d[i];
        for (size_t t = 0; t < T; t++) {
            sum += dy[t * H + i];
            cr_assert(got[t * H + i] == y[t * H + i] + b[i]);
        }
        cr_assert(got[T * H + i] == sum, "one chain over the rows");
    }
    rig_close(&rig);
    check_all_forms(bias, "bias");
}

static const tr_heads_t rope_heads = {.query = 5, .key_value = 1, .dim = 24};

static float *rope(rig_t *rig, size_t *count)
{
    size_t width = 7 * 24;
    int32_t positions[T];
    for (int32_t i = 0; i < T; i++) {
        positions[i] = (i * 5) % 31;
    }
    tr_tensor_t qkv = rig_tensor(rig, T, width, rig_random(rig, T * width, 1));
    tr_tensor_t table = rig_tensor(rig, 31, 24, rig_random(rig, 31 * 24, 2));
    rig->ops->rope(rig->queue, qkv, rig_indices(rig, 1, T, positions), table, rope_heads, false);
    *count = T * width;
    return rig_read(rig, qkv);
}

Test(rope, turns_queries_and_keys_and_leaves_values)
{
    rig_t rig;
    size_t count, width = 7 * 24;
    rig_open(&rig, NULL, 2);
    float *x = rig_random(&rig, T * width, 1), *table = rig_random(&rig, 31 * 24, 2),
          *got = rope(&rig, &count);
    for (size_t t = 0; t < T; t++) {
        const float *row = table + (t * 5) % 31 * 24;
        for (size_t i = 0; i < width; i++) {
            size_t at = t * width + i, d = i % 24, pair = d < 12 ? d + 12 : d - 12;
            double cosine = (double)row[d % 12], sine = (double)row[12 + d % 12];
            double other = (double)x[t * width + i / 24 * 24 + pair];
            double want = (double)x[at] * cosine + (d < 12 ? -other : other) * sine;
            want = i < 6 * 24 ? want : (double)x[at];
            check_close(got + at, &want, 1, 3e-7, "rope");
        }
    }
    rig_close(&rig);
    check_all_forms(rope, "rope");
}

Test(rope, a_narrow_table_rotates_the_first_elements_of_a_head)
{
    enum { HEADS = 3, DIM = 14, TURNED = 6 };
    const tr_heads_t wide = {.query = 2, .key_value = 1, .dim = DIM},
                     narrow = {.query = 2, .key_value = 1, .dim = TURNED};
    rig_t rig;
    rig_open(&rig, NULL, 1);
    int32_t position[1] = {2};
    float *x = rig_random(&rig, (HEADS + 1) * DIM, 1), part[(HEADS + 1) * TURNED] = {0};
    for (size_t i = 0; i < HEADS * TURNED; i++) {
        part[i] = x[i / TURNED * DIM + i % TURNED];
    }
    tr_tensor_t table = rig_tensor(&rig, 3, TURNED, rig_random(&rig, 3 * TURNED, 3)),
                rows = rig_indices(&rig, 1, 1, position);
    tr_tensor_t all = rig_tensor(&rig, 1, (HEADS + 1) * DIM, x),
                some = rig_tensor(&rig, 1, (HEADS + 1) * TURNED, part);
    rig.ops->rope(rig.queue, all, rows, table, wide, false);
    rig.ops->rope(rig.queue, some, rows, table, narrow, false);
    const float *got = rig_read(&rig, all), *want = rig_read(&rig, some);
    for (size_t i = 0; i < (HEADS + 1) * DIM; i++) {
        bool turned = i < HEADS * DIM && i % DIM < TURNED;
        cr_assert(got[i] == (turned ? want[i / DIM * TURNED + i % DIM] : x[i]), "element %zu", i);
    }
    rig_close(&rig);
}

Test(rope, inverse_is_the_transpose)
{
    rig_t rig;
    rig_open(&rig, NULL, 1);
    tr_heads_t heads = {.query = 2, .key_value = 1, .dim = 8};
    int32_t position[1] = {0};
    float *a = rig_random(&rig, 32, 1), *b = rig_random(&rig, 32, 2),
          *table = rig_random(&rig, 8, 3);
    tr_tensor_t ta = rig_tensor(&rig, 1, 32, a), tb = rig_tensor(&rig, 1, 32, b),
                rows = rig_indices(&rig, 1, 1, position);
    rig.ops->rope(rig.queue, ta, rows, rig_tensor(&rig, 1, 8, table), heads, false);
    rig.ops->rope(rig.queue, tb, rows, rig_tensor(&rig, 1, 8, table), heads, true);
    float *turned_a = rig_read(&rig, ta), *turned_b = rig_read(&rig, tb);
    double left = 0.0, right = 0.0;
    for (size_t i = 0; i < 32; i++) { // <R a, b> = <a, R' b>
        left += (double)turned_a[i] * (double)b[i];
        right += (double)a[i] * (double)turned_b[i];
    }
    cr_assert_lt(fabs(left - right), 1e-6, "%g and %g", left, right);
    rig_close(&rig);
}

static float *swiglu(rig_t *rig, size_t *count)
{
    float *x = rig_random(rig, T * 2 * H, 1);
    for (size_t i = 0; i < T * 2 * H; i++) {
        x[i] *= i % 3 == 0 ? 100.0f : 5.0f; // both tails of the sigmoid
    }
    tr_tensor_t gate_up = rig_tensor(rig, T, 2 * H, x), y = rig_zeros(rig, T, H),
                d = rig_zeros(rig, T, 2 * H);
    rig->ops->swiglu(rig->queue, y, gate_up);
    rig->ops->swiglu_gradient(rig->queue, d, rig_tensor(rig, T, H, rig_random(rig, T * H, 2)),
                              gate_up);
    return join(rig, count, y, d);
}

Test(swiglu, and_its_gradient_equal_the_formula)
{
    rig_t rig;
    size_t count;
    rig_open(&rig, NULL, 2);
    float *x = rig_random(&rig, T * 2 * H, 1), *dy = rig_random(&rig, T * H, 2),
          *got = swiglu(&rig, &count);
    double *want = rig_memory(&rig, count * sizeof *want);
    for (size_t t = 0; t < T; t++) {
        for (size_t i = 0; i < H; i++) {
            size_t at = t * 2 * H + i;
            double gate = (double)(x[at] * (at % 3 == 0 ? 100.0f : 5.0f));
            double up = (double)(x[at + H] * ((at + H) % 3 == 0 ? 100.0f : 5.0f));
            double s = 1.0 / (1.0 + exp(-gate)), d = (double)dy[t * H + i];
            want[t * H + i] = gate * s * up;
            want[T * H + at] = d * up * s * (1.0 + gate * (1.0 - s));
            want[T * H + at + H] = d * gate * s;
        }
    }
    check_close(got, want, count, 1e-6, "y, dgate_up");
    rig_close(&rig);
    check_all_forms(swiglu, "swiglu");
}

/// y, scaled by 0.3 in place, and dgate_up.
/// Numbers of addresses by their definition (rng.h), and what they let through.
Test(dropout, lets_through_by_addresses_and_keeps_the_mean)
{
    enum { ROWS = 70, WIDE = 331 };
    const tr_dropout_t dropout = {0.3f, 12345678901u, 9};
    for (size_t i = 0; i < RIG_ISAS; i++) {
        rig_t rig;
        if (!rig_open(&rig, rig_isas[i], 1 + i)) {
            continue;
        }
        int32_t addresses[ROWS];
        float numbers[WIDE];
        const float *x = rig_random(&rig, ROWS * WIDE, 1);
        float *want = rig_memory(&rig, ROWS * WIDE * sizeof *want);
        double kept = 0.0;
        for (size_t r = 0; r < ROWS; r++) {
            addresses[r] = (int32_t)(1000003 * r % 997);
            tr_rng_uniforms(numbers, WIDE, dropout.seed, TR_RNG_DROPOUT, dropout.a,
                            (uint32_t)addresses[r]);
            for (size_t c = 0; c < WIDE; c++) {
                const bool through = numbers[c] >= dropout.chance;
                want[r * WIDE + c] = through ? x[r * WIDE + c] * (1.0f / (1.0f - 0.3f)) : 0.0f;
                kept += through;
            }
        }
        tr_tensor_t y = rig_zeros(&rig, ROWS, WIDE);
        rig.ops->dropout(rig.queue, y, rig_tensor(&rig, ROWS, WIDE, x),
                         rig_indices(&rig, 1, ROWS, addresses), dropout);
        check_same(rig_read(&rig, y), want, ROWS * WIDE, rig_isas[i]);
        const double n = ROWS * WIDE; // five deviations
        cr_expect_float_eq(kept / n, 0.7, 5.0 * sqrt(0.7 * 0.3 / n));
        rig_close(&rig);
    }
}

static float *geglu(rig_t *rig, size_t *count)
{
    float *x = rig_random(rig, T * 2 * H, 1);
    for (size_t i = 0; i < T * 2 * H; i++) {
        x[i] *= i % 3 == 0 ? 30.0f : 2.0f; // both tails, and where the slope turns
    }
    tr_tensor_t gate_up = rig_tensor(rig, T, 2 * H, x), y = rig_zeros(rig, T, H),
                d = rig_zeros(rig, T, 2 * H);
    rig->ops->geglu(rig->queue, y, gate_up);
    rig->ops->geglu_gradient(rig->queue, d, rig_tensor(rig, T, H, rig_random(rig, T * H, 2)),
                             gate_up);
    rig->ops->scale(rig->queue, y, y, 0.3f);
    return join(rig, count, y, d);
}

Test(geglu, and_its_gradient_equal_the_formula)
{
    const double k = sqrt(2.0 / 3.14159265358979323846), c = 0.044715;
    rig_t rig;
    size_t count;
    rig_open(&rig, NULL, 2);
    float *x = rig_random(&rig, T * 2 * H, 1), *dy = rig_random(&rig, T * H, 2),
          *got = geglu(&rig, &count);
    double *want = rig_memory(&rig, count * sizeof *want);
    for (size_t t = 0; t < T; t++) {
        for (size_t i = 0; i < H; i++) {
            size_t at = t * 2 * H + i;
            double g = (double)(x[at] * (at % 3 == 0 ? 30.0f : 2.0f));
            double up = (double)(x[at + H] * ((at + H) % 3 == 0 ? 30.0f : 2.0f));
            double bent = tanh(k * (g + c * g * g * g)), d = (double)dy[t * H + i];
            double slope =
                0.5 * (1.0 + bent) + 0.5 * g * (1.0 - bent * bent) * k * (1.0 + 3.0 * c * g * g);
            want[t * H + i] = 0.5 * g * (1.0 + bent) * up * (double)0.3f;
            want[T * H + at] = d * up * slope;
            want[T * H + at + H] = d * 0.5 * g * (1.0 + bent);
        }
    }
    check_close(got, want, count, 1e-6, "y, dgate_up");
    rig_close(&rig);
    check_all_forms(geglu, "geglu");
}

/// y and dx of both forms, the second's in place.
static float *gelu(rig_t *rig, size_t *count)
{
    float *all = rig_memory(rig, 4 * T * H * sizeof *all);
    for (size_t exact = 0; exact < 2; exact++) {
        float *values = rig_random(rig, T * H, 1);
        for (size_t i = 0; i < T * H; i++) {
            values[i] *= i % 3 == 0 ? 12.0f : 2.0f; // both tails, and where the slope turns
        }
        tr_tensor_t x = rig_tensor(rig, T, H, values), y = rig_zeros(rig, T, H),
                    d = rig_tensor(rig, T, H, rig_random(rig, T * H, 2));
        rig->ops->gelu_gradient(rig->queue, d, d, x, exact == 1);
        rig->ops->gelu(rig->queue, exact == 1 ? x : y, x, exact == 1);
        memcpy(all + 2 * exact * T * H, join(rig, count, exact == 1 ? x : y, d),
               2 * T * H * sizeof *all);
    }
    *count = 4 * T * H;
    return all;
}

Test(gelu, and_its_gradient_equal_the_formula_in_both_forms)
{
    const double pi = 3.14159265358979323846, k = sqrt(2.0 / pi), c = 0.044715;
    rig_t rig;
    size_t count;
    rig_open(&rig, NULL, 2);
    float *x = rig_random(&rig, T * H, 1), *dy = rig_random(&rig, T * H, 2),
          *got = gelu(&rig, &count);
    double *want = rig_memory(&rig, count * sizeof *want), *exact = want + 2 * T * H;
    for (size_t i = 0; i < T * H; i++) {
        const double g = (double)(x[i] * (i % 3 == 0 ? 12.0f : 2.0f)), d = (double)dy[i];
        const double bent = tanh(k * (g + c * g * g * g)), below = 0.5 * erfc(-g / sqrt(2.0));
        want[i] = 0.5 * g * (1.0 + bent);
        want[T * H + i] =
            d * (0.5 * (1.0 + bent) + 0.5 * g * (1.0 - bent * bent) * k * (1.0 + 3.0 * c * g * g));
        exact[i] = g * below;
        exact[T * H + i] = d * (below + g * exp(-0.5 * g * g) / sqrt(2.0 * pi));
    }
    check_close(got, want, count, 1e-6, "y, dx");
    rig_close(&rig);
    check_all_forms(gelu, "gelu");
}

static float *embedding(rig_t *rig, size_t *count)
{
    int32_t ids[T];
    for (int32_t i = 0; i < T; i++) {
        ids[i] = (i * i) % 7; // repeated ids add up in the order of the rows
    }
    tr_tensor_t rows = rig_indices(rig, 1, T, ids), y = rig_zeros(rig, T, H);
    tr_tensor_t table = rig_tensor(rig, V, H, rig_random(rig, V * H, 1));
    rig->ops->gather_rows(rig->queue, y, table, rows);
    rig->ops->embedding_gradient(rig->queue, table,
                                 rig_tensor(rig, T, H, rig_random(rig, T * H, 2)), rows);
    return join(rig, count, y, table);
}

Test(embedding, takes_rows_and_adds_gradients_in_token_order)
{
    rig_t rig;
    size_t count;
    rig_open(&rig, NULL, 2);
    float *table = rig_random(&rig, V * H, 1), *dy = rig_random(&rig, T * H, 2),
          *got = embedding(&rig, &count);
    for (size_t t = 0; t < T; t++) {
        check_same(got + t * H, table + t * t % 7 * H, H, "y");
    }
    for (size_t t = 0; t < T; t++) {
        for (size_t i = 0; i < H; i++) {
            table[t * t % 7 * H + i] += dy[t * H + i];
        }
    }
    check_same(got + T * H, table, V * H, "dtable");
    rig_close(&rig);
    check_all_forms(embedding, "embedding");
}

Test(rows, scatter_add_is_the_transpose_of_gather)
{
    rig_t rig;
    rig_open(&rig, NULL, 2);
    const int32_t rows[3] = {4, 0, 2};
    float *x = rig_random(&rig, 5 * H, 1), *dy = rig_random(&rig, 3 * H, 2);
    tr_tensor_t tx = rig_tensor(&rig, 5, H, x), y = rig_zeros(&rig, 3, H),
                index = rig_indices(&rig, 1, 3, rows);
    rig.ops->gather_rows(rig.queue, y, tx, index);
    rig.ops->scatter_rows_add(rig.queue, tx, rig_tensor(&rig, 3, H, dy), index);
    float *taken = rig_read(&rig, y), *added = rig_read(&rig, tx);
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < H; j++) {
            size_t at = (size_t)rows[i] * H + j;
            cr_assert_eq(taken[i * H + j], x[at]);
            cr_assert_eq(added[at], x[at] + dy[i * H + j]);
        }
    }
    check_same(added + H, x + H, H, "an untouched row");
    rig_close(&rig);
}

Test(add, is_element_by_element_also_in_place)
{
    rig_t rig;
    rig_open(&rig, NULL, 3);
    size_t n = 200003;
    float *a = rig_random(&rig, n, 1), *b = rig_random(&rig, n, 2);
    tr_tensor_t ta = rig_tensor(&rig, 1, n, a), tb = rig_tensor(&rig, 1, n, b);
    rig.ops->add(rig.queue, ta, ta, tb);
    float *got = rig_read(&rig, ta);
    for (size_t i = 0; i < n; i++) {
        cr_assert_eq(got[i], a[i] + b[i], "[%zu]", i);
    }
    rig_close(&rig);
}

static float *scalar_head(rig_t *rig, size_t *count)
{
    tr_tensor_t x = rig_tensor(rig, T, H, rig_random(rig, T * H, 1)),
                w = rig_tensor(rig, 1, H, rig_random(rig, H, 2));
    tr_tensor_t values = rig_zeros(rig, 1, T), dx = rig_zeros(rig, T, H);
    tr_tensor_t dw = rig_tensor(rig, 1, H, rig_random(rig, H, 3));
    rig->ops->scalar_head(rig->queue, values, x, w);
    rig->ops->scalar_head_gradient(rig->queue, dx, dw, values, x, w);
    float *first = join(rig, count, values, dx);
    float *all = rig_memory(rig, (*count + H) * sizeof *all);
    memcpy(all, first, *count * sizeof *all);
    memcpy(all + *count, rig_read(rig, dw), H * sizeof *all);
    *count += H;
    return all;
}

Test(scalar_head, and_its_gradient_equal_the_formula)
{
    rig_t rig;
    size_t count;
    rig_open(&rig, NULL, 2);
    float *x = rig_random(&rig, T * H, 1), *w = rig_random(&rig, H, 2),
          *dw = rig_random(&rig, H, 3);
    double *want = rig_memory(&rig, (T + T * H + H) * sizeof *want);
    for (size_t i = 0; i < H; i++) {
        want[T + T * H + i] = (double)dw[i];
    }
    for (size_t t = 0; t < T; t++) {
        for (size_t i = 0; i < H; i++) {
            want[t] += (double)x[t * H + i] * (double)w[i];
        }
        for (size_t i = 0; i < H; i++) {
            want[T + t * H + i] = want[t] * (double)w[i];
            want[T + T * H + i] += want[t] * (double)x[t * H + i];
        }
    }
    float *got = scalar_head(&rig, &count);
    check_close(got, want, count, 3e-6, "values, dhidden, dweight");
    rig_close(&rig);
    check_all_forms(scalar_head, "scalar_head");
}
