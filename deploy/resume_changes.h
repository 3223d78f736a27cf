/// What `troupe resume RUN KEY=VALUE ...` changes in a run: its recipe, from its last checkpoint
/// on, and a line of changes.jsonl that tells of it.
#ifndef DEPLOY_RESUME_CHANGES_H
#define DEPLOY_RESUME_CHANGES_H

#include <stdbool.h>

#include "common/recipe/recipe.h"

/// Compares the recipe with the one that the run was saved with, and writes what may change to the
/// run. *finished: the run has all its steps, so there is nothing to do. TR_ERR_ARGUMENT names what
/// may not change; nothing is written then. TR_ERR_IO.
tr_status resume_changes(bool *finished, const tr_recipe_t *recipe, const char *directory,
                         tr_error_t *err);

#endif
