/// How parameters are updated: the recipe's section `optimizer`, and how ranks share the work.
///
/// One struct for all its readers: the controller (rate, chunk), the learners (rounding,
/// checkpointing) and the optimizer (AdamW's numbers, clip, offload).
#ifndef TR_OPTIM_OPTIONS_H
#define TR_OPTIM_OPTIONS_H

#include "common/base/fields.h"

typedef enum tr_schedule_kind {
    TR_SCHEDULE_CONSTANT, ///< with warm-up it is transformers' constant_with_warmup
    TR_SCHEDULE_LINEAR,   ///< down to 0 at the last step
    TR_SCHEDULE_COSINE    ///< half a cosine down to 0 at the last step
} tr_schedule_kind_t;

typedef enum tr_rounding {
    TR_ROUNDING_NEAREST,   ///< f32 parameters, beside those in bf16 on a GPU
    TR_ROUNDING_STOCHASTIC ///< bf16 parameters alone
} tr_rounding_t;

typedef struct tr_optimizer_options {
    double learning_rate; ///< the peak
    int schedule;         ///< a tr_schedule_kind_t
    uint64_t warmup;      ///< steps in which the rate rises from 0
    double clip;          ///< greatest global gradient norm; 0: no clipping
    double beta1;
    double beta2;
    double epsilon;
    double weight_decay;         ///< decoupled
    uint64_t chunk;              ///< sequences a gradient chunk; another value gives other bits
    bool gradient_checkpointing; ///< the same bits
    double router_aux_loss_coef; ///< times the routers' balance loss (model.h) is added to the loss
    bool offload;  ///< moments in memory of the host (backend.h, buffer_new_host); the same bits
    int rounding;  ///< a tr_rounding_t: of parameters that are updated
    uint64_t seed; ///< of stochastic rounding; the run's, and no key of this table
} tr_optimizer_options_t;

extern const tr_fields_t tr_optimizer_fields;

/// The learning rate after `step` steps of the scheduler, as transformers' get_scheduler gives it,
/// so 0 for the first update (which warm-up therefore leaves at rate 0, as transformers does). A
/// step of PPO is one batch of prompts, whatever its epochs and minibatches, as in TRL. Past
/// `steps` linear stays at 0, cosine at 0 too (transformers lets it rise again). peak: of the role,
/// in place of options' learning_rate. steps: of the whole run, warm-up included; not read when
/// constant.
double tr_schedule_rate(const tr_optimizer_options_t *options, double peak, uint64_t steps,
                        uint64_t step);

typedef enum tr_gradient_sum {
    TR_GRADIENT_SUM_TREE,      ///< the fixed tree: the same bits for any number of ranks
    TR_GRADIENT_SUM_ALL_REDUCE ///< each rank's own chunks in a chain, then the library's sum: less
                               ///< is sent
} tr_gradient_sum_t;

/// How the ranks of a role share the work.
typedef struct tr_sharing_options {
    uint64_t zero_stage; ///< what is sharded: 1 moments; 2 also gradients, sent while the backward
                         ///< pass runs; 3 also parameters
    int gradient_sum;    ///< a tr_gradient_sum_t
} tr_sharing_options_t;

extern const tr_fields_t tr_sharing_fields;

#endif
