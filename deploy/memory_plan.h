/// The memory that a recipe's processes take of this machine, against what it has: the table of
/// `troupe check`, and why `troupe run` would refuse.
///
/// A learner is taken at its largest pass (optimizer.chunk rows, each as long as the longest of the
/// data), a rollout at as many of the longest responses as it decodes at once. memory.h measures
/// them.
#ifndef DEPLOY_MEMORY_PLAN_H
#define DEPLOY_MEMORY_PLAN_H

#include <stdio.h>

#include "common/data/corpus.h"
#include "common/recipe/recipe.h"
#include "deploy/memory.h"

/// A line of the table: processes of one role on one device.
typedef struct memory_plan_line {
    const char *name; ///< "actor", "reference", "rollout", or a judge's, borrowed from the recipe
    size_t processes;
    bool within;        ///< the processes of the line before, whose budget it shares
    const char *device; ///< borrowed from the recipe
    size_t budget;      ///< bytes of a GPU that each may use; 0: no bound
    memory_t memory;    ///< of each
} memory_plan_line_t;

typedef struct memory_plan {
    memory_plan_line_t *lines; ///< [count], by role, and a role's by device
    size_t count;
    size_t longest; ///< tokens of the longest prompt (where responses are generated) or row
    size_t host;    ///< bytes of the host that no line has: published weights, offloaded moments
    size_t shared;  ///< of these, in /dev/shm
} memory_plan_t;

/// Reads the models' configurations. rows: the recipe's, whose lengths count; NULL: rows are taken
/// as long as the recipe lets them be. *plan: to be released, after a failure too.
tr_status memory_plan_init(memory_plan_t *plan, const tr_recipe_t *recipe, const tr_corpus_t *rows,
                           tr_error_t *err);
void memory_plan_release(memory_plan_t *plan);

/// Opens every GPU that the recipe names, and gives it back: TR_ERR_UNSUPPORTED, in one sentence,
/// where one cannot be had.
tr_status memory_plan_check_devices(const tr_recipe_t *recipe, tr_error_t *err);

/// TR_ERR_MEMORY with the sum, where processes need more than their budgets, or together more than
/// a device has free.
tr_status memory_plan_check_memory(const memory_plan_t *plan, tr_error_t *err);

/// The table: a line a role, then a line a device.
void memory_plan_print(FILE *out, const memory_plan_t *plan);

/// Whether a run can begin. Data are read only if the recipe's bounds alone
/// do not fit.
tr_status memory_plan_check(const tr_recipe_t *recipe, tr_error_t *err);

#endif
