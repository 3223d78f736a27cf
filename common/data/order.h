/// The order in which training takes rows: a pure function of the seed and the step.
#ifndef TR_DATA_ORDER_H
#define TR_DATA_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// How training takes rows 0..size - 1: epochs follow each other, each a permutation of its own, in
/// batches of which the last of an epoch may be smaller.
typedef struct tr_order {
    size_t size;    ///< at least 1
    size_t batch;   ///< at least 1
    uint64_t seed;  ///< of the permutations
    bool shuffle;   ///< else every epoch is ascending
    bool drop_last; ///< a smaller last batch is left out; batch <= size
    size_t least;   ///< a last batch of fewer rows joins the one before it; at most size
} tr_order_t;

/// Steps of an epoch.
uint64_t tr_order_steps(const tr_order_t *order);

/// Rows that the first `steps` steps take, over all epochs.
uint64_t tr_order_taken(const tr_order_t *order, uint64_t steps);

/// The rows of step `step` (from 0): a pure function of its arguments. rows: [batch + least], of
/// which as many are written as it returns.
size_t tr_order_batch(uint32_t *rows, const tr_order_t *order, uint64_t step);

#endif
