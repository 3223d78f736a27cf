/// The shape in which gradients add up, as far as ranks see it: leaves that come in ranges.
#include "common/optim/tree.h"

#include <criterion/criterion.h>

#include "tests/support/tensors.h"

enum { N = 103, CUT = 40, MOST = 11 };

/// Chunk i's gradient.
static float *leaf_values(rig_t *rig, size_t i)
{
    return rig_random(rig, N, 20 + i);
}

/// The sum of `count` leaves, written whole, one after another.
static float *whole(rig_t *rig, size_t count)
{
    tr_tree_t *tree = tr_tree_new(rig->backend, rig->queue, N);
    tr_error_t err = {0};
    for (size_t i = 0; i < count; i++) {
        tr_tensor_t leaf;
        cr_assert_eq(tr_tree_leaf(tree, &leaf, &err), TR_OK, "%s", err.text);
        rig->ops->write(rig->queue, leaf, leaf_values(rig, i));
    }
    float *sum = rig_read(rig, tr_tree_sum(tree));
    cr_assert_eq(tr_tree_count(tree), 0u);
    tr_tree_destroy(&tree);
    return sum;
}

/// Elements first.. of leaves from..from+count-1.
static void push(rig_t *rig, tr_tree_t *tree, size_t from, size_t count, size_t first, size_t n)
{
    tr_tensor_t leaves[MOST];
    for (size_t i = 0; i < count; i++) {
        leaves[i] = rig_tensor(rig, 1, n, leaf_values(rig, from + i) + first);
    }
    tr_tree_push(tree, first, leaves, count);
}

/// The same, in rounds of `ranks` leaves that come as two ranges, the last range first.
static float *in_ranges(rig_t *rig, size_t count, size_t ranks)
{
    tr_tree_t *tree = tr_tree_new(rig->backend, rig->queue, N);
    tr_error_t err = {0};
    for (size_t from = 0; from < count; from += ranks) {
        size_t leaves = count - from < ranks ? count - from : ranks;
        cr_assert_eq(tr_tree_reserve(tree, leaves, &err), TR_OK, "%s", err.text);
        push(rig, tree, from, leaves, CUT, N - CUT);
        push(rig, tree, from, leaves, 0, CUT);
        tr_tree_grow(tree, leaves);
    }
    float *sum = rig_read(rig, tr_tree_sum(tree));
    tr_tree_destroy(&tree);
    return sum;
}

Test(tree, any_number_of_ranks_gives_the_bits_of_one)
{
    rig_t rig;
    rig_open(&rig, NULL, 1);
    for (size_t count = 1; count <= MOST; count++) {
        const float *want = whole(&rig, count);
        for (size_t ranks = 1; ranks <= 5; ranks++) {
            check_same(in_ranges(&rig, count, ranks), want, N, "sum");
        }
    }
    rig_close(&rig);
}

Test(tree, a_chain_adds_in_order)
{
    rig_t rig;
    rig_open(&rig, NULL, 1);
    tr_error_t err = {0};
    tr_tree_t *tree = tr_tree_new(rig.backend, rig.queue, N);
    float want[N] = {0};
    cr_assert_eq(tr_tree_reserve(tree, 1, &err), TR_OK, "%s", err.text);
    for (size_t i = 0; i < 3; i++) {
        const float *values = leaf_values(&rig, i);
        tr_tree_add(tree, 0, rig_tensor(&rig, 1, N, values));
        tr_tree_grow(tree, i == 0);
        for (size_t k = 0; k < N; k++) {
            want[k] = i == 0 ? values[k] : want[k] + values[k];
        }
    }
    check_same(rig_read(&rig, tr_tree_sum(tree)), want, N, "chain");
    tr_tree_destroy(&tree);
    rig_close(&rig);
}
