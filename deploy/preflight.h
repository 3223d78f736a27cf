/// What can be found wrong with a run before it begins, but for its memory and its data: one
/// function, so that `troupe check` refuses what `run`, `resume` and `sample` refuse.
#ifndef DEPLOY_PREFLIGHT_H
#define DEPLOY_PREFLIGHT_H

#include "deploy/process_group.h"

/// Makes the plan as process_group_init does, and checks that a new run's directory is vacant, the
/// metric of checkpoint.best, the models, the judges' scripts and the GPUs. *plan is to be released
/// after a failure too.
tr_status preflight(supervisor_plan_t *plan, tr_recipe_t *recipe, const char *run_directory,
                    bool resume, tr_error_t *err);

#endif
