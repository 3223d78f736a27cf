/// One step of next-token training: a batch of rows, one update of the actor.
#ifndef CONTROLLER_SFT_STEP_H
#define CONTROLLER_SFT_STEP_H

#include "controller/run.h"

/// Step `step` (from 1). The record gets TRL's metrics of SFT. Failures as controller_calls_finish.
tr_status controller_sft_step(controller_run_t *run, uint64_t step, controller_record_t *record,
                              tr_error_t *err);

/// Adds eval_loss to the record: the mean negative log-likelihood of run->eval_rows under the weights of run->step.
tr_status controller_sft_evaluate(controller_run_t *run, controller_record_t *record,
                                  tr_error_t *err);

#endif
