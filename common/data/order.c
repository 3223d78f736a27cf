// Which rows a step takes: epochs one after the other, a permutation each.
#include "common/data/order.h"

#include <stdlib.h>

#include "common/base/rng.h"
#include "common/base/status.h"

/// The permutations of minibatches are drawn by the same generator from the same seed, with a
/// second number that counts passes. This one they never reach, so that no epoch repeats one of
/// theirs.
static const uint32_t EPOCH_PASS = UINT32_MAX;

uint64_t tr_order_steps(const tr_order_t *order)
{
    const size_t rest = order->size % order->batch;
    return order->size / order->batch + (rest > 0 && !order->drop_last && rest >= order->least);
}

uint64_t tr_order_taken(const tr_order_t *order, uint64_t steps)
{
    const uint64_t epoch = tr_order_steps(order);
    const uint64_t rows = order->drop_last ? epoch * order->batch : order->size;
    // Within an epoch all batches but the last are full.
    return steps / epoch * rows + steps % epoch * order->batch;
}

size_t tr_order_batch(uint32_t *rows, const tr_order_t *order, uint64_t step)
{
    // Everything follows from the step's number, so that a run that is resumed at step n takes the
    // rows that it would have taken.
    const uint64_t steps = tr_order_steps(order);
    const size_t first = (size_t)(step % steps) * order->batch;
    const bool ends = step % steps == steps - 1 && !order->drop_last;
    const size_t count = ends ? order->size - first : order->batch;
    uint32_t *permutation = NULL;
    if (order->shuffle) {
        // The whole permutation, for each step: a checkpoint then has no order to hold.
        permutation = tr_alloc(order->size * sizeof *permutation);
        tr_rng_permutation(permutation, order->size, order->seed, (uint32_t)(step / steps),
                           EPOCH_PASS);
    }
    for (size_t i = 0; i < count; i++) {
        rows[i] = permutation != NULL ? permutation[first + i] : (uint32_t)(first + i);
    }
    free(permutation);
    return count;
}
