/// One step of the algorithms that choose among a prompt's own responses: rollouts generate, judges
/// score, and the actor trains on the choice.
///
///     online_dpo          DPO on the best and the worst response of each prompt (Guo et al. 2024,
///                         with judges' scores)
///     rejection_sampling  SFT on the best of them (best-of-n; RAFT, Dong et al. 2023)
///     sample              no training: responses and scores go to samples.jsonl
#ifndef CONTROLLER_ONLINE_STEP_H
#define CONTROLLER_ONLINE_STEP_H

#include "controller/context.h"

/// Takes step `step` (from 1). The record gets the metrics of the loss, those of the judges and
/// objective/. Failures as controller_calls_finish.
tr_status controller_online_step(controller_run_t *run, uint64_t step, controller_record_t *record,
                                 tr_error_t *err);

#endif
