/// A step of the algorithms that train on rows (SFT, reward models, DPO, KTO): a batch, the
/// reference's log-probs where the loss reads them, one update of the actor. The evaluation of
/// held-out rows is the same without the update. Rows may also be made from responses
/// (controller/online_step.c).
#ifndef CONTROLLER_ROWS_STEP_H
#define CONTROLLER_ROWS_STEP_H

#include "controller/context.h"

/// Takes step `step` (from 1). The record gets TRL's metrics of the algorithm. Failures as
/// controller_calls_finish.
tr_status controller_rows_step(controller_run_t *run, uint64_t step, controller_record_t *record,
                               tr_error_t *err);

/// One update of the actor on the chosen rows: [count], for step `step`. The record gets the
/// metrics of the algorithm.
tr_status controller_rows_train(controller_run_t *run, const tr_rows_t *rows,
                                const uint32_t *chosen, size_t count, uint64_t step,
                                controller_record_t *record, tr_error_t *err);

/// Adds eval_loss and the other metrics, each with the prefix `eval_`: those of run->eval_rows
/// under the weights of run->step.
tr_status controller_rows_evaluate(controller_run_t *run, controller_record_t *record,
                                   tr_error_t *err);

/// Whether batches hold mismatched completions too, from which KTO estimates the KL divergence.
bool controller_rows_mismatched(const tr_recipe_t *recipe);

/// Advice to the user about the rows: KTO's weights when its two classes are out of balance. NULL:
/// none. Owned by the caller (free).
char *controller_rows_advice(const controller_run_t *run);

#endif
