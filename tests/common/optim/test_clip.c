// Clipping by the global norm, against PyTorch (tests/golden/optim.json).
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

#include "common/optim/optimizer_private.h"
#include "tests/support/golden.h"

/// The golden gradients, one after another, scaled by what tr_clip says of their sums of squares.
static void equals_torch(golden_t *golden, const char *name)
{
    char path[64];
#define AT(key) (snprintf(path, sizeof path, "%s/" key, name), path)
    size_t tensors;
    size_t n;
    const size_t *sizes = golden_sizes(golden, AT("sizes"), &tensors);
    const float *before = golden_floats(golden, AT("before"), &n);
    float squares[8] = {0};
    float after[64];
    size_t next = 0;
    for (size_t i = 0; i < tensors; i++) {
        for (size_t k = 0; k < sizes[i]; k++, next++) {
            squares[i] += before[next] * before[next];
        }
    }
    float scale;
    double norm;
    tr_error_t err;
    cr_assert_eq(
        tr_clip(&scale, &norm, squares, tensors, golden_number(golden, AT("max_norm")), &err),
        TR_OK);
    golden_expect_number(golden, AT("norm"), norm, 1e-6, 0);
    for (size_t k = 0; k < n; k++) {
        after[k] = before[k] * scale;
    }
    golden_expect(golden, AT("after"), after, n, 1e-6, 0);
#undef AT
}

Test(clip, equals_clip_grad_norm_of_torch)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/optim.json");
    equals_torch(golden, "clip_large");
    equals_torch(golden, "clip_small");
    equals_torch(golden, "clip_half");
    golden_close(&golden);
}

Test(clip, a_short_gradient_and_a_bound_of_zero_leave_everything)
{
    const float squares[2] = {9.0f, 16.0f};
    float scale;
    double norm;
    cr_assert_eq(tr_clip(&scale, &norm, squares, 2, 5.1, NULL), TR_OK);
    cr_assert(scale == 1.0f && norm == 5.0);
    cr_assert_eq(tr_clip(&scale, &norm, squares, 2, 0.0, NULL), TR_OK);
    cr_assert(scale == 1.0f && norm == 5.0);
    cr_assert_eq(tr_clip(&scale, &norm, squares, 2, 2.5, NULL), TR_OK);
    cr_assert_float_eq(scale, 0.5, 1e-6);
}

Test(clip, a_gradient_that_is_not_finite_is_refused_by_number)
{
    const float bad[2] = {NAN, INFINITY};
    for (int i = 0; i < 2; i++) {
        const float squares[3] = {1.0f, 2.0f, bad[i]};
        float scale;
        double norm;
        tr_error_t err;
        cr_assert_eq(tr_clip(&scale, &norm, squares, 3, 1.0, &err), TR_ERR_NUMERIC);
        cr_assert_eq(err.status, TR_ERR_NUMERIC);
        cr_assert(strstr(err.text, "part 2") != NULL, "%s", err.text);
    }
}
