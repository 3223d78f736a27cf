/// Learning rates over the updates, as transformers' get_scheduler gives them. Pure; called by
/// actor and critic.
#ifndef TR_OPTIM_SCHEDULE_H
#define TR_OPTIM_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum tr_schedule_kind {
    TR_SCHEDULE_CONSTANT = 0, ///< "constant"; with warm-up it is transformers' constant_with_warmup
    TR_SCHEDULE_LINEAR = 1,   ///< "linear": down to 0 at total_steps
    TR_SCHEDULE_COSINE = 2    ///< "cosine": half a cosine down to 0 at total_steps
} tr_schedule_kind_t;

typedef struct tr_schedule {
    tr_schedule_kind_t kind; ///< default TR_SCHEDULE_LINEAR, as TRL's PPO
    double learning_rate;    ///< the peak; default 3e-6
    uint64_t warmup_steps;   ///< steps of linear rise from 0; default 0
    uint64_t
        total_steps; ///< steps of the whole run, warm-up included; not read when constant; default 0
} tr_schedule_t;

void tr_schedule_init(tr_schedule_t *schedule);

/// The rate after `step` steps of the scheduler, so 0 for the first update (which warm-up therefore
/// leaves at rate 0, as transformers does). A step of PPO is one batch of prompts, whatever its
/// epochs and minibatches, as in TRL. Past total_steps linear stays at 0, cosine at 0 too
/// (transformers lets it rise again).
double tr_schedule_rate(const tr_schedule_t *schedule, uint64_t step);

/// "constant", "linear", "cosine".
const char *tr_schedule_kind_name(tr_schedule_kind_t kind);

/// The reverse; "constant_with_warmup" is constant. False, and kind untouched, for another word.
bool tr_schedule_kind_from_name(tr_schedule_kind_t *kind, const char *name);

#endif
