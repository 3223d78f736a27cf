/// Uniform numbers of one address: the same however many are asked for, and those of
/// tr_rng_uniform.
#include "common/base/rng.h"

#include <criterion/criterion.h>
#include <string.h>

Test(rng, many_uniform_numbers_do_not_depend_on_how_many_and_begin_blocks_of_four_as_one_does)
{
    float many[101], few[37];
    tr_rng_uniforms(many, 101, 5, TR_RNG_NOISE, 2, 3);
    tr_rng_uniforms(few, 37, 5, TR_RNG_NOISE, 2, 3);
    cr_expect_eq(memcmp(many, few, sizeof few), 0);
    for (size_t i = 0; i < 101; i++) {
        cr_expect(many[i] >= 0.0f && many[i] < 1.0f);
        if (i % 4 == 0) {
            cr_expect_eq(many[i], tr_rng_uniform(5, TR_RNG_NOISE, 2, 3, (uint32_t)(i / 4)));
        }
    }
}
