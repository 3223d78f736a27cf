/// Learning rates over the updates, as transformers' get_scheduler gives them. Pure; called by the
/// controller.
#ifndef TR_OPTIM_SCHEDULE_H
#define TR_OPTIM_SCHEDULE_H

#include "common/optim/options.h"

typedef struct tr_schedule {
    tr_schedule_kind_t kind;
    double learning_rate;  ///< the peak
    uint64_t warmup_steps; ///< steps of linear rise from 0
    uint64_t total_steps;  ///< of the whole run, warm-up included; not read when constant
} tr_schedule_t;

/// The rate after `step` steps of the scheduler, so 0 for the first update (which warm-up therefore
/// leaves at rate 0, as transformers does). A step of PPO is one batch of prompts, whatever its
/// epochs and minibatches, as in TRL. Past total_steps linear stays at 0, cosine at 0 too
/// (transformers lets it rise again).
double tr_schedule_rate(const tr_schedule_t *schedule, uint64_t step);

#endif
