/// A binary counter of partial sums: node i has the sum of 2^levels[i] leaves, and a new leaf
/// carries as one added to a number does. Apart from accumulator.c because its shape is what makes
/// sums independent of ranks.
#include "common/optim/tree.h"

#include <stdlib.h>

enum { LEVELS = 33 }; // more leaves than 2^32 never come

/// Node i is the sum of 2^levels[i] leaves; levels descend.
typedef struct shape {
    size_t count;
    unsigned levels[LEVELS + 1];
} shape_t;

/// Buffers are allocated when a level is first reached, and reused from then on.
struct tr_tree {
    tr_backend_t *backend;
    tr_queue_t *queue;
    size_t n; // elements of a leaf
    shape_t shape;
    tr_buffer_t *buffers[LEVELS + 1]; // of the nodes; those from shape.count on are kept for reuse
};

tr_tree_t *tr_tree_new(tr_backend_t *backend, tr_queue_t *queue, size_t n)
{
    tr_tree_t *tree = tr_calloc(1, sizeof *tree);
    tree->backend = backend;
    tree->queue = queue;
    tree->n = n;
    return tree;
}

void tr_tree_destroy(tr_tree_t **self)
{
    if (*self != NULL) {
        for (size_t i = 0; i <= LEVELS; i++) {
            (*self)->backend->ops->buffer_destroy(&(*self)->buffers[i]);
        }
        free(*self);
        *self = NULL;
    }
}

/// Elements first..first + count - 1 of a node.
static tr_tensor_t node(const tr_tree_t *tree, size_t index, size_t first, size_t count)
{
    return (tr_tensor_t){tree->buffers[index], first * sizeof(float), TR_F32, 1, count};
}

/// Allocates buffers for that many nodes, where there are none yet.
static tr_status need(tr_tree_t *tree, size_t nodes, tr_error_t *err)
{
    TR_ASSERT(nodes <= LEVELS + 1, "a gradient tree of %zu levels", nodes);
    // Existing buffers stay: a minibatch of as many chunks as the last one allocates nothing.
    for (size_t i = 0; i < nodes; i++) {
        if (tree->buffers[i] == NULL) {
            TR_TRY(tree->backend->ops->buffer_new(tree->backend, &tree->buffers[i],
                                                  tree->n * sizeof(float), err));
        }
    }
    return TR_OK;
}

/// The last two nodes become one, in the shape and in elements first..first + count - 1.
static void merge(tr_tree_t *tree, shape_t *shape, size_t first, size_t count)
{
    // The sum takes the left node's buffer, so the right one's is free for the next leaf.
    tr_tensor_t left = node(tree, shape->count - 2, first, count);
    tree->backend->ops->add(tree->queue, left, left, node(tree, shape->count - 1, first, count));
    shape->levels[shape->count - 2]++;
    shape->count--;
}

/// Whether the last two nodes have equally many leaves, so that they can become one.
static bool is_ripe(const shape_t *shape)
{
    return shape->count >= 2 && shape->levels[shape->count - 2] == shape->levels[shape->count - 1];
}

tr_status tr_tree_leaf(tr_tree_t *tree, tr_tensor_t *leaf, tr_error_t *err)
{
    shape_t *shape = &tree->shape;
    // The leaf before is complete now, and so are sums that it completes. Merging first frees a
    // node, which saves a buffer.
    while (is_ripe(shape)) {
        merge(tree, shape, 0, tree->n);
    }
    TR_TRY(need(tree, shape->count + 1, err));
    // The new leaf is a node of its own until the next leaf comes: the backward pass is still to
    // write it.
    shape->levels[shape->count] = 0;
    *leaf = node(tree, shape->count++, 0, tree->n);
    tree->backend->ops->zero(tree->queue, *leaf);
    return TR_OK;
}

/// Changes the shape as that many new leaves do; returns the greatest number of nodes on the way.
static size_t follow(shape_t *shape, size_t leaves)
{
    size_t most = shape->count;
    for (size_t i = 0; i < leaves; i++) {
        shape->levels[shape->count++] = 0;
        most = shape->count > most ? shape->count : most;
        // What merge does to the shape, without the additions.
        while (is_ripe(shape)) {
            shape->levels[shape->count - 2]++;
            shape->count--;
        }
    }
    return most;
}

/// All ranks reserve before any sends: a rank that failed later would leave the others waiting.
tr_status tr_tree_reserve(tr_tree_t *tree, size_t count, tr_error_t *err)
{
    shape_t shape = tree->shape;
    return need(tree, follow(&shape, count), err);
}

/// Ranges of the same leaves come one after another, and each must find the shape that the first
/// one found: the tree's own changes in tr_tree_grow only.
void tr_tree_push(tr_tree_t *tree, size_t first, const tr_tensor_t *leaves, size_t count)
{
    shape_t shape = tree->shape; // every range starts from the same one
    for (size_t i = 0; i < count; i++) {
        size_t n = tr_tensor_count(leaves[i]);
        // An odd leaf is added to its neighbour as it arrives, without a buffer of its own.
        if (shape.count > 0 && shape.levels[shape.count - 1] == 0) { // its partner waits
            tr_tensor_t left = node(tree, shape.count - 1, first, n);
            tree->backend->ops->add(tree->queue, left, left, leaves[i]);
            shape.levels[shape.count - 1]++;
        } else {
            tree->backend->ops->copy(tree->queue, node(tree, shape.count, first, n), leaves[i]);
            shape.levels[shape.count++] = 0;
        }
        while (is_ripe(&shape)) {
            merge(tree, &shape, first, n);
        }
    }
}

void tr_tree_grow(tr_tree_t *tree, size_t count)
{
    follow(&tree->shape, count);
}

void tr_tree_add(tr_tree_t *tree, size_t first, tr_tensor_t values)
{
    // A chain is a tree of one node: sums of the library, whose order is not ours to fix.
    tr_tensor_t sum = node(tree, 0, first, tr_tensor_count(values));
    if (tree->shape.count == 0) {
        tree->backend->ops->copy(tree->queue, sum, values);
    } else {
        tree->backend->ops->add(tree->queue, sum, sum, values);
    }
}

size_t tr_tree_count(const tr_tree_t *tree)
{
    return tree->shape.count;
}

tr_tensor_t tr_tree_sum(tr_tree_t *tree)
{
    TR_ASSERT(tree->shape.count > 0, "the sum of no leaf");
    // From the right: the nodes that remain are of different levels.
    while (tree->shape.count >= 2) {
        merge(tree, &tree->shape, 0, tree->n);
    }
    tree->shape.count = 0;
    return node(tree, 0, 0, tree->n);
}

void tr_tree_clear(tr_tree_t *tree)
{
    tree->shape.count = 0;
}
