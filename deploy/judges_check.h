/// The judges' programs of a recipe, looked at before anything starts.
#ifndef DEPLOY_JUDGES_CHECK_H
#define DEPLOY_JUDGES_CHECK_H

#include "common/recipe/recipe.h"

/// Fails where an interpreter of `exec` has a script that is not there, or that Python cannot
/// compile, or that imports a module which that Python lacks. The sentence begins with the recipe's
/// key.
tr_status judges_check(const tr_recipe_t *recipe, tr_error_t *err);

#endif
