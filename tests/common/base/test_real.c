/// Numbers of 16 bits.
#include "common/base/real.h"

#include <criterion/criterion.h>
#include <math.h>

Test(real, every_half_comes_back)
{
    for (uint32_t half = 0; half < 0x10000; half++) {
        float x = tr_real_from_f16((uint16_t)half);
        if (isnan(x)) {
            cr_assert(isnan(tr_real_from_f16(tr_real_to_f16(x))));
        } else {
            cr_assert_eq(tr_real_to_f16(x), half, "%04x is %a", half, (double)x);
        }
    }
}

Test(real, a_float_becomes_the_nearest_half_and_the_even_one_of_two)
{
    for (uint16_t half = 0; half < 0x7bff; half++) {
        // exact: neighbours differ by a power of two
        float low = tr_real_from_f16(half), high = tr_real_from_f16((uint16_t)(half + 1));
        float middle = low + (high - low) / 2.0f;
        uint16_t even = (uint16_t)(half + (half & 1));
        cr_assert_eq(tr_real_to_f16(middle), even);
        cr_assert_eq(tr_real_to_f16(-middle), even | 0x8000);
        cr_assert_eq(tr_real_to_f16(nextafterf(middle, 0.0f)), half);
        cr_assert_eq(tr_real_to_f16(nextafterf(middle, high)), half + 1);
    }
}

Test(real, what_is_beyond_a_half_is_infinite)
{
    cr_expect_eq(tr_real_to_f16(65504.0f), 0x7bff);
    cr_expect_eq(tr_real_to_f16(nextafterf(65520.0f, 0.0f)), 0x7bff);
    cr_expect_eq(tr_real_to_f16(65520.0f), 0x7c00);
    cr_expect_eq(tr_real_to_f16(-INFINITY), 0xfc00);
    cr_expect_eq(tr_real_to_f16(0x1p-26f), 0);
}
