/// AdamW over a model's flat parameter vector, and the fixed shape in which gradients add up.
///
/// A minibatch is cut into chunks of sequences. Each chunk's gradient is one vector; the vectors
/// are added as a binary tree over the chunks in order (chunk 0 with 1, 2 with 3, their sums, ...,
/// and at the end what is left from the right: five chunks are ((0+1)+(2+3))+4), so neither threads
/// nor, later, ranks change a bit. Memory: one vector a level of the tree, two moments.
#ifndef TR_OPTIM_OPTIMIZER_H
#define TR_OPTIM_OPTIMIZER_H

#include "common/tensor/backend.h"

typedef struct tr_optimizer_options {
    double beta1;        ///< 0.9
    double beta2;        ///< 0.999
    double epsilon;      ///< 1e-8
    double weight_decay; ///< 0; decoupled
    double clip;         ///< greatest global gradient norm; 0: no clipping
} tr_optimizer_options_t;

typedef struct tr_optimizer tr_optimizer_t;

/// parameters: f32 vector, updated in place by tr_optimizer_step; it must outlive the optimizer.
tr_status tr_optimizer_new(tr_optimizer_t **optimizer, tr_backend_t *backend, tr_queue_t *queue,
                           tr_tensor_t parameters, const tr_optimizer_options_t *options,
                           tr_error_t *err);
void tr_optimizer_destroy(tr_optimizer_t **optimizer);

/// A zeroed vector for the next chunk's gradient; the next call adds the one before to the tree.
tr_status tr_optimizer_chunk(tr_optimizer_t *optimizer, tr_tensor_t *gradient, tr_error_t *err);

/// Forgets the chunks since the last step: for a caller that fails between two of them.
void tr_optimizer_discard(tr_optimizer_t *optimizer);

/// Adds up what is left of the tree, clips, updates the parameters, forgets the gradient. *norm:
/// the global norm before clipping. A norm that is not finite fails with TR_ERR_NUMERIC and changes
/// neither parameters nor moments nor the number of updates; the gradient is forgotten too.
tr_status tr_optimizer_step(tr_optimizer_t *optimizer, double learning_rate, double *norm,
                            tr_error_t *err);

/// Updates so far.
uint64_t tr_optimizer_steps(const tr_optimizer_t *optimizer);

/// First and second moment, for a checkpoint: [parameters] each, written by whoever restores one, who then says how many
/// updates they have seen.
tr_tensor_t tr_optimizer_first_moment(const tr_optimizer_t *optimizer);
tr_tensor_t tr_optimizer_second_moment(const tr_optimizer_t *optimizer);
void tr_optimizer_resume(tr_optimizer_t *optimizer, uint64_t steps);

#endif
