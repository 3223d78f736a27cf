/// Who is to run: from a recipe to the supervisor's plan.
#ifndef DEPLOY_PROCESS_GROUP_H
#define DEPLOY_PROCESS_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "common/base/status.h"
#include "common/recipe/recipe.h"
#include "deploy/supervisor.h"

typedef struct company {
    supervisor_process_t leader;   ///< the controller
    supervisor_process_t *workers; ///< [count]
    size_t count;
} company_t;

/// The company of a run; our own programs lie where this one does. *company is to be released after
/// a failure too.
///
///     actor where something learns, reference when it is separate, critic for ppo; where prompts are answered
///     rollout-0.. and for each judge NAME-0.. in the group NAME; what is external is not started
///
/// An actor or critic of several ranks is one worker here: mpirun, which starts, watches and ends them.
/// TR_ERR_UNSUPPORTED when there is no MPI for these, TR_ERR_IO when a program is missing, TR_ERR_ARGUMENT when two workers would bear one name.
tr_status company_init(company_t *company, const tr_recipe_t *recipe, const char *run_directory,
                       bool resume, tr_error_t *err);
void company_release(company_t *company);

/// Starts all, and waits for the end; as supervisor_run. recipe: says how external workers are started, when they can come.
tr_status company_run(int *exit_code, const company_t *company, tr_recipe_t *recipe,
                      const char *run_directory, tr_error_t *err);

/// Removes the file that says where the controller listens, of a run that is over.
void company_forget_endpoint(const char *run_directory);

/// How somebody starts the external judges and rollouts by hand; nothing when the recipe has none.
void company_print_external(FILE *out, const tr_recipe_t *recipe, const char *endpoint);

#endif
