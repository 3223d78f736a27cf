/// Which rows a step takes.
#include "common/data/order.h"

#include <criterion/criterion.h>
#include <string.h>

static tr_order_t seven_rows(uint64_t seed, size_t batch, bool drop_last)
{
    return (tr_order_t){7, batch, seed, .shuffle = true, .drop_last = drop_last};
}

/// Twenty epochs, in which no row comes twice; each takes `taken` rows in `steps` steps.
static void expect_epochs(bool drop_last, uint64_t steps, size_t taken)
{
    const tr_order_t order = seven_rows(5, 2, drop_last);
    cr_assert_eq(tr_order_steps(&order), steps);
    for (uint64_t step = 0, all = 0; step < 20 * steps;) {
        unsigned seen = 0;
        for (uint64_t s = 0; s < steps; s++, step++) {
            uint32_t rows[2];
            size_t count = tr_order_batch(rows, &order, step);
            for (size_t i = 0; i < count; i++) {
                cr_assert_lt(rows[i], 7U);
                cr_assert_eq(seen & (1U << rows[i]), 0U, "row %u twice", rows[i]);
                seen |= 1U << rows[i];
            }
            all += count;
            cr_assert_eq(tr_order_taken(&order, step + 1), all);
        }
        cr_assert_eq((size_t)__builtin_popcount(seen), taken);
    }
}

// PyTorch's DataLoader on 7 rows in batches of 2, without drop_last and with it.
Test(order, an_epoch_takes_every_row_once_or_leaves_out_what_fills_no_batch)
{
    expect_epochs(false, 4, 7);
    expect_epochs(true, 3, 6);
}

// KTO's: seven rows in batches of three and, as one row alone has none to meet, four.
Test(order, a_last_batch_that_is_too_small_joins_the_one_before)
{
    const tr_order_t order = {.size = 7, .batch = 3, .least = 2};
    const tr_order_t enough = {.size = 8, .batch = 3, .least = 2};
    uint32_t rows[5];
    cr_assert_eq(tr_order_steps(&order), 2);
    cr_assert_eq(tr_order_batch(rows, &order, 0), 3);
    cr_assert_eq(tr_order_batch(rows, &order, 3), 4);
    cr_assert(rows[0] == 3 && rows[3] == 6);
    cr_assert_eq(tr_order_taken(&order, 3), 10);
    cr_assert_eq(tr_order_steps(&enough), 3);
    cr_assert_eq(tr_order_batch(rows, &enough, 2), 2);
}

Test(order, depends_on_seed_and_epoch_only)
{
    const tr_order_t whole = seven_rows(1, 7, true), other = seven_rows(2, 7, true),
                     parts = seven_rows(1, 3, false);
    uint32_t a[7], b[7];
    tr_order_batch(a, &whole, 0);
    tr_order_batch(b, &whole, 1);
    cr_assert_neq(memcmp(a, b, sizeof a), 0);
    tr_order_batch(b, &other, 0);
    cr_assert_neq(memcmp(a, b, sizeof a), 0);
    tr_order_batch(b, &whole, 0);
    cr_assert_eq(memcmp(a, b, sizeof a), 0);
    // The second batch of three continues the first epoch's order, and the third ends it.
    cr_assert_eq(tr_order_batch(b, &parts, 1), 3);
    cr_assert_eq(memcmp(a + 3, b, 3 * sizeof *b), 0);
    cr_assert_eq(tr_order_batch(b, &parts, 2), 1);
    cr_assert_eq(a[6], b[0]);
}

Test(order, without_shuffling_rows_come_as_in_the_files)
{
    tr_order_t order = {.size = 7, .batch = 3, .seed = 9};
    uint32_t rows[3];
    cr_assert_eq(tr_order_batch(rows, &order, 1), 3);
    cr_assert(rows[0] == 3 && rows[1] == 4 && rows[2] == 5);
    cr_assert_eq(tr_order_batch(rows, &order, 2), 1);
    cr_assert_eq(rows[0], 6);
    order.drop_last = true;
    cr_assert_eq(tr_order_batch(rows, &order, 2), 3);
    cr_assert(rows[0] == 0 && rows[1] == 1 && rows[2] == 2);
}
