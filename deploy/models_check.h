/// The model directories of a recipe, opened before anything starts: `troupe check`, `run` and
/// `sample` ask.
#ifndef DEPLOY_MODELS_CHECK_H
#define DEPLOY_MODELS_CHECK_H

#include "common/recipe/recipe.h"

/// Reads of each directory the configuration, the headers of its weights and its tokenizer, and no
/// weight. Fails where one is broken, has another head than its role needs, another vocabulary than
/// the policy, or fewer positions than its sequences may have; the sentence begins with the
/// recipe's key.
tr_status models_check(const tr_recipe_t *recipe, tr_error_t *err);

#endif
