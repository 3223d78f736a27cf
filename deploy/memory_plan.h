/// What a recipe's processes need of this machine's memory, against what it has: the table of `troupe check`, and why `troupe
/// run` would refuse.
///
/// A learner is taken at its largest pass (optimizer.chunk rows, each as long as the longest of the data), a rollout at as many
/// of the longest responses as it decodes at once. Estimates: common/model/memory.h.
#ifndef DEPLOY_MEMORY_PLAN_H
#define DEPLOY_MEMORY_PLAN_H

#include <stdio.h>

#include "common/model/memory.h"
#include "common/recipe/recipe.h"

/// Processes of one role on one device.
typedef struct needs_role {
    char *name; ///< "actor", "reference", "rollout", or a judge's
    size_t processes;
    bool within;        ///< the processes of the role before, whose budget it shares
    const char *device; ///< borrowed from the recipe
    size_t budget;      ///< bytes of a GPU that each may use; 0: no bound
    tr_memory_t memory; ///< of each
} needs_role_t;

typedef struct needs {
    needs_role_t *roles; ///< [count], by device as they come
    size_t count;
    size_t longest; ///< tokens of the longest prompt (what generates) or row
    size_t
        host; ///< bytes of host memory that no role's line has: published weights, moments of optimizer.offload
} needs_t;

/// Reads the models' configurations and the data, as the controller does. measure false: no data; rows are taken as long as the
/// recipe lets them be. *needs: to be released, after a failure too.
tr_status needs_init(needs_t *needs, const tr_recipe_t *recipe, bool measure, tr_error_t *err);
void needs_release(needs_t *needs);

/// Opens every GPU that the recipe names, and gives it back: TR_ERR_UNSUPPORTED, in one sentence, where one cannot be had.
tr_status needs_check_devices(const tr_recipe_t *recipe, tr_error_t *err);

/// TR_ERR_MEMORY with the sum, where processes need more than their budgets, or together more than a device has free.
tr_status needs_check_memory(const needs_t *needs, tr_error_t *err);

/// The table: a line a role, then a line a device.
void needs_print(FILE *out, const needs_t *needs);

/// Whether a run can begin: devices, then memory. Data are read only if the recipe's bounds alone do not fit.
tr_status needs_check(const tr_recipe_t *recipe, tr_error_t *err);

#endif
