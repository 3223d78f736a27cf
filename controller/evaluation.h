/// Evaluation of held-out rows or prompts (data.eval): when it is due, which step's weights were
/// the best (checkpoint.best), and whether that ends the run (section `evaluation`).
#ifndef CONTROLLER_EVALUATION_H
#define CONTROLLER_EVALUATION_H

#include "controller/context.h"

/// TR_ERR_ARGUMENT unless checkpoint.best is null or the metric of an evaluation that has a better
/// side (controller/metric_table.h).
tr_status controller_evaluation_check(const tr_recipe_t *recipe, tr_error_t *err);

/// Whether run->step, which is finished, is evaluated. checkpoint: whether it gets a checkpoint in
/// any case.
bool controller_evaluation_due(const controller_run_t *run, bool checkpoint);

/// Evaluates the held-out rows under the weights of run->step: adds the metrics, each with the
/// prefix `eval_`, and keeps the best step in run->best. Prompts get responses with the same random
/// numbers each time, so that two evaluations differ by the weights alone; the first samples.count
/// go to samples.jsonl.
tr_status controller_evaluation_take(controller_run_t *run, controller_record_t *record,
                                     tr_error_t *err);

/// Why the run ends here, before its last step: a sentence, owned by the caller (free). NULL: it
/// goes on.
char *controller_evaluation_ends(const controller_run_t *run);

#endif
