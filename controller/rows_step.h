/// A step of the algorithms that train on rows (SFT, reward models, DPO, KTO): a batch, the
/// reference's log-probs of it where the loss reads them, one update of the actor. And the
/// measurement of held-out rows, which is the same without the update. Rows may also be made of
/// responses (controller/online_step.c).
#ifndef CONTROLLER_ROWS_STEP_H
#define CONTROLLER_ROWS_STEP_H

#include "controller/context.h"

/// Step `step` (from 1). The record gets TRL's metrics of the algorithm. Failures as
/// controller_calls_finish.
tr_status controller_rows_step(controller_run_t *run, uint64_t step, controller_record_t *record,
                               tr_error_t *err);

/// One update of the actor on the chosen rows: [count], for step `step`. The record gets the
/// algorithm's metrics.
tr_status controller_rows_learn(controller_run_t *run, const tr_rows_t *rows,
                                const uint32_t *chosen, size_t count, uint64_t step,
                                controller_record_t *record, tr_error_t *err);

/// Adds eval_loss and the other metrics, each after `eval_`, to the record: of run->eval_rows under
/// the weights of run->step.
tr_status controller_rows_evaluate(controller_run_t *run, controller_record_t *record,
                                   tr_error_t *err);

/// Whether batches bring mismatched completions too, from which KTO estimates the KL divergence.
bool controller_rows_mismatched(const tr_recipe_t *recipe);

/// A sentence for the user about the rows that were loaded, or NULL: KTO's advice on its weights
/// where the two classes are out of balance. Owned by the caller (free).
char *controller_rows_advice(const controller_run_t *run);

#endif
