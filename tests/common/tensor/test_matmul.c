/// Matrix products against the plain formula, and laws about bits: packed or stored, whole or in
/// parts, among few rows or many, with any number of threads and any instruction set, a row has the
/// same ones.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/tensors.h"

typedef struct shape {
    size_t t, n, k;
} shape_t;

static const shape_t shapes[] = {{1, 1, 1},     {3, 33, 7},    {12, 32, 64},  {13, 172, 64},
                                 {40, 64, 172}, {25, 512, 64}, {7, 100, 129}, {100, 96, 100},
                                 {17, 20, 4},   {5, 300, 31}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

/// y = x W^T, in double.
static double *product(rig_t *rig, const float *x, const float *w, shape_t s)
{
    double *y = rig_memory(rig, s.t * s.n * sizeof *y);
    for (size_t t = 0; t < s.t; t++) {
        for (size_t n = 0; n < s.n; n++) {
            for (size_t k = 0; k < s.k; k++) {
                y[t * s.n + n] += (double)x[t * s.k + k] * (double)w[n * s.k + k];
            }
        }
    }
    return y;
}

static float *forward(rig_t *rig, const float *x, const float *w, shape_t s)
{
    tr_tensor_t packed = rig_pack(rig, rig_tensor(rig, s.n, s.k, w));
    tr_tensor_t y = rig_zeros(rig, s.t, s.n);
    rig->ops->matmul(rig->queue, y, rig_tensor(rig, s.t, s.k, x), packed, false);
    return rig_read(rig, y);
}

/// The same from the weight as it is stored.
static float *forward_plain(rig_t *rig, const float *x, const float *w, shape_t s)
{
    tr_tensor_t y = rig_zeros(rig, s.t, s.n);
    rig->ops->matmul(rig->queue, y, rig_tensor(rig, s.t, s.k, x), rig_tensor(rig, s.n, s.k, w),
                     false);
    return rig_read(rig, y);
}

static float *input_gradient(rig_t *rig, const float *dy, const float *w, shape_t s)
{
    tr_tensor_t dx = rig_zeros(rig, s.t, s.k);
    rig->ops->matmul_input_gradient(rig->queue, dx, rig_tensor(rig, s.t, s.n, dy),
                                    rig_tensor(rig, s.n, s.k, w));
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

Test(matmul, equals_the_formula)
{
    for (size_t i = 0; i < SHAPES; i++) {
        rig_t rig;
        rig_open(&rig, NULL, 2);
        shape_t s = shapes[i];
        float *x = rig_random(&rig, s.t * s.k, 1), *w = rig_random(&rig, s.n * s.k, 2);
        check_close(forward(&rig, x, w, s), product(&rig, x, w, s), s.t * s.n, 1e-5, "y");
        rig_close(&rig);
    }
}

Test(matmul, accumulates_with_one_addition)
{
    rig_t rig;
    rig_open(&rig, NULL, 1);
    shape_t s = {9, 45, 33};
    float *x = rig_random(&rig, s.t * s.k, 1), *w = rig_random(&rig, s.n * s.k, 2),
          *start = rig_random(&rig, s.t * s.n, 3);
    float *plain = forward(&rig, x, w, s);
    tr_tensor_t y = rig_tensor(&rig, s.t, s.n, start);
    tr_tensor_t packed = rig_pack(&rig, rig_tensor(&rig, s.n, s.k, w));
    rig.ops->matmul(rig.queue, y, rig_tensor(&rig, s.t, s.k, x), packed, true);
    for (size_t i = 0; i < s.t * s.n; i++) {
        plain[i] = start[i] + plain[i];
    }
    check_same(rig_read(&rig, y), plain, s.t * s.n, "y + product");
    rig_close(&rig);
}

Test(matmul, each_element_is_one_ascending_chain)
{
    rig_t rig;
    rig_open(&rig, NULL, 2);
    shape_t s = {31, 70, 4099};
    float *x = rig_random(&rig, s.t * s.k, 1), *w = rig_random(&rig, s.n * s.k, 2);
    float *want = rig_memory(&rig, s.t * s.n * sizeof *want);
    for (size_t t = 0; t < s.t; t++) {
        for (size_t n = 0; n < s.n; n++) {
            float sum = 0.0f;
            for (size_t k = 0; k < s.k; k++) {
                sum = fmaf(x[t * s.k + k], w[n * s.k + k], sum);
            }
            want[t * s.n + n] = sum;
        }
    }
    check_same(forward(&rig, x, w, s), want, s.t * s.n, "chain");
    check_same(forward_plain(&rig, x, w, s), want, s.t * s.n, "chain, from the weight as stored");
    float *turned = rig_memory(&rig, s.n * s.k * sizeof *turned);
    for (size_t i = 0; i < s.n * s.k; i++) {
        turned[i % s.k * s.n + i / s.k] = w[i];
    }
    check_same(input_gradient(&rig, x, turned, (shape_t){s.t, s.k, s.n}), want, s.t * s.n,
               "chain over outputs");
    rig_close(&rig);
}

Test(matmul, input_gradient_equals_the_formula)
{
    for (size_t i = 0; i < SHAPES; i++) {
        rig_t rig;
        rig_open(&rig, NULL, 2);
        shape_t s = shapes[i];
        float *dy = rig_random(&rig, s.t * s.n, 1), *w = rig_random(&rig, s.n * s.k, 2);
        double *want = rig_memory(&rig, s.t * s.k * sizeof *want);
        for (size_t t = 0; t < s.t; t++) {
            for (size_t n = 0; n < s.n; n++) {
                for (size_t k = 0; k < s.k; k++) {
                    want[t * s.k + k] += (double)dy[t * s.n + n] * (double)w[n * s.k + k];
                }
            }
        }
        check_close(input_gradient(&rig, dy, w, s), want, s.t * s.k, 1e-5, "dx");
        rig_close(&rig);
    }
}

Test(matmul, weight_gradient_continues_its_chain_from_the_content)
{
    static const shape_t wide = {6, 2500, 70}; // its outputs are taken in pieces
    for (size_t i = 0; i <= SHAPES; i++) {
        rig_t rig;
        rig_open(&rig, NULL, 2);
        shape_t s = i < SHAPES ? shapes[i] : wide;
        float *dy = rig_random(&rig, s.t * s.n, 1), *x = rig_random(&rig, s.t * s.k, 2);
        float *start = rig_random(&rig, s.n * s.k, 3);
        float *want = rig_memory(&rig, s.n * s.k * sizeof *want);
        memcpy(want, start, s.n * s.k * sizeof *want);
        for (size_t t = 0; t < s.t; t++) {
            for (size_t n = 0; n < s.n; n++) {
                for (size_t k = 0; k < s.k; k++) {
                    want[n * s.k + k] = fmaf(dy[t * s.n + n], x[t * s.k + k], want[n * s.k + k]);
                }
            }
        }
        check_same(weight_gradient(&rig, start, dy, x, s, s.t), want, s.n * s.k, "dw");
        rig_close(&rig);
    }
}

Test(matmul, weight_gradient_in_pieces_equals_the_whole)
{
    rig_t rig;
    rig_open(&rig, NULL, 2);
    shape_t s = {1100, 50, 40};
    float *dy = rig_random(&rig, s.t * s.n, 1), *x = rig_random(&rig, s.t * s.k, 2),
          *start = rig_random(&rig, s.n * s.k, 3);
    float *whole = weight_gradient(&rig, start, dy, x, s, s.t);
    check_same(weight_gradient(&rig, start, dy, x, s, 1), whole, s.n * s.k, "one by one");
    check_same(weight_gradient(&rig, start, dy, x, s, 371), whole, s.n * s.k, "371 at a time");
    rig_close(&rig);
}

Test(matmul, a_row_does_not_depend_on_the_rows_beside_it)
{
    for (size_t i = 0; i < RIG_ISAS; i++) {
        rig_t rig;
        if (!rig_open(&rig, rig_isas[i], 2)) {
            continue;
        }
        shape_t s = {40, 45, 5120}; // few rows take k at once, many in pieces
        float *x = rig_random(&rig, s.t * s.k, 1), *w = rig_random(&rig, s.n * s.k, 2);
        float *all = forward(&rig, x, w, s);
        for (size_t rows = 1; rows <= 40; rows++) {
            char what[64];
            snprintf(what, sizeof what, "%s, %zu rows", rig_isas[i], rows);
            shape_t part = {rows, s.n, s.k};
            check_same(forward(&rig, x, w, part), all, rows * s.n, what);
        }
        float *last = forward(&rig, x + 39 * s.k, w, (shape_t){1, s.n, s.k});
        check_same(last, all + 39 * s.n, s.n, "the last row alone");
        rig_close(&rig);
    }
}

Test(matmul, threads_and_instruction_sets_give_the_same_bits)
{
    // Large enough for the team; k in pieces, and rows a multiple of 4096 bytes long; a gradient of
    // long rows.
    static const shape_t large[] = {{70, 512, 200}, {30, 40, 4096}, {60, 1100, 96}};
    for (size_t j = 0; j < SHAPES + 3; j++) {
        shape_t s = j < SHAPES ? shapes[j] : large[j - SHAPES];
        rig_t plain;
        rig_open(&plain, "generic", 1);
        float *x = rig_random(&plain, s.t * s.k, 1), *w = rig_random(&plain, s.n * s.k, 2);
        float *dy = rig_random(&plain, s.t * s.n, 3), *start = rig_random(&plain, s.n * s.k, 4);
        float *y = forward(&plain, x, w, s), *dx = input_gradient(&plain, dy, w, s);
        float *dw = weight_gradient(&plain, start, dy, x, s, s.t);
        for (size_t i = 0; i < RIG_ISAS; i++) {
            for (size_t threads = 1; threads <= 3; threads++) {
                rig_t rig;
                if (!rig_open(&rig, rig_isas[i], threads)) {
                    continue;
                }
                check_same(forward(&rig, x, w, s), y, s.t * s.n, rig_isas[i]);
                check_same(forward_plain(&rig, x, w, s), y, s.t * s.n, rig_isas[i]);
                check_same(input_gradient(&rig, dy, w, s), dx, s.t * s.k, rig_isas[i]);
                check_same(weight_gradient(&rig, start, dy, x, s, s.t), dw, s.n * s.k, rig_isas[i]);
                rig_close(&rig);
            }
        }
        rig_close(&plain);
    }
}
