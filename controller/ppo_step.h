/// One step of PPO, from prompts to new weights.
#ifndef CONTROLLER_PPO_STEP_H
#define CONTROLLER_PPO_STEP_H

#include "controller/context.h"

/// Takes step `step` (from 1) with the weights of step - 1, which must be published. The record
/// gets the step's metrics. Failures as controller_calls_finish; TR_ERR_NUMERIC when rollouts and
/// actor disagree about a log-probability.
tr_status controller_ppo_step(controller_run_t *run, uint64_t step, controller_record_t *record,
                              tr_error_t *err);

#endif
