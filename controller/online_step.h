/// One step of what chooses among a prompt's own responses: rollouts answer, judges score, and the
/// actor learns from the choice.
///
///     online_dpo          DPO on the best and the worst of each prompt's responses (Guo et al.
///     2024, with judges' scores) rejection_sampling  SFT on the best of them (best-of-n; RAFT,
///     Dong et al. 2023) sample              nothing learns: responses and scores go to
///     samples.jsonl
#ifndef CONTROLLER_ONLINE_STEP_H
#define CONTROLLER_ONLINE_STEP_H

#include "controller/context.h"

/// Step `step` (from 1). The record gets the metrics of the loss, those of the judges and
/// objective/. Failures as controller_calls_finish.
tr_status controller_online_step(controller_run_t *run, uint64_t step, controller_record_t *record,
                                 tr_error_t *err);

#endif
