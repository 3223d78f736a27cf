/// The processes of a run: from a recipe to the supervisor's plan.
#ifndef DEPLOY_PROCESS_GROUP_H
#define DEPLOY_PROCESS_GROUP_H

#include <stdbool.h>

#include "common/base/status.h"
#include "common/recipe/recipe.h"
#include "deploy/supervisor.h"

/// The plan of a run; our own programs lie where this one does. *plan is to be released after a
/// failure too. recipe, run_directory: borrowed as long as it is used; the recipe says how external
/// workers are started, when they can come.
///
///     actor           where something is trained
///     reference       when it has a process of its own
///     critic          where the algorithm has one
///     rollout-0..     where responses are generated; external ones are not started
///     NAME-0..        for each judge, in the group NAME; external ones are not started
///
/// An actor or critic of several ranks is one worker here: mpirun, which starts, watches and ends
/// them. TR_ERR_UNSUPPORTED when there is no MPI for these, TR_ERR_IO when a program is missing,
/// TR_ERR_ARGUMENT when two workers would bear one name.
tr_status process_group_init(supervisor_plan_t *plan, tr_recipe_t *recipe,
                             const char *run_directory, bool resume, tr_error_t *err);
void process_group_release(supervisor_plan_t *plan);

/// Starts all, and waits for the end; as supervisor_run. Of a run whose controller was killed, what
/// it left behind is removed.
tr_status process_group_run(int *exit_code, const supervisor_plan_t *plan, tr_error_t *err);

#endif
