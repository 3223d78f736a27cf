/// The fixed shape in which gradients add up.
///
/// A minibatch is cut into chunks of sequences. Each chunk's gradient is one vector, a leaf; leaves
/// are added as a binary tree in their order (leaf 0 with 1, 2 with 3, their sums, ..., and at the
/// end what is left from the right: five leaves are ((0+1)+(2+3))+4), so neither threads nor ranks
/// change a bit. Memory: one vector a level. An element's sum depends on that element alone: leaves
/// may come whole, or a range of elements at a time.
#ifndef TR_OPTIM_TREE_H
#define TR_OPTIM_TREE_H

#include "common/tensor/backend.h"

typedef struct tr_tree tr_tree_t;

/// A tree of vectors of n elements.
tr_tree_t *tr_tree_new(tr_backend_t *backend, tr_queue_t *queue, size_t n);
void tr_tree_destroy(tr_tree_t **tree);

/// The next leaf: zeroed, to be written before the next call.
tr_status tr_tree_leaf(tr_tree_t *tree, tr_tensor_t *leaf, tr_error_t *err);

/// Allocates memory for `count` more leaves, which then come range by range.
tr_status tr_tree_reserve(tr_tree_t *tree, size_t count, tr_error_t *err);
/// Adds elements first.. of the next `count` leaves, each a vector of the same length; only read.
void tr_tree_push(tr_tree_t *tree, size_t first, const tr_tensor_t *leaves, size_t count);
/// Ends the `count` leaves: all their ranges have been pushed.
void tr_tree_grow(tr_tree_t *tree, size_t count);

/// Adds values to elements first.. of the only leaf, in a chain instead of a tree; writes them
/// while the tree is empty. After its first ranges, tr_tree_grow by 1.
void tr_tree_add(tr_tree_t *tree, size_t first, tr_tensor_t values);

size_t tr_tree_count(const tr_tree_t *tree); ///< nodes that are not merged yet; 0: empty

/// The sum of all leaves, at least one; valid until the next leaf. The tree is then empty.
tr_tensor_t tr_tree_sum(tr_tree_t *tree);

/// Empties it.
void tr_tree_clear(tr_tree_t *tree);

#endif
