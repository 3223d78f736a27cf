/// What the algorithms' losses read, from the recipe: whether they ask the reference, and the options that the actor is told.
#ifndef CONTROLLER_LOSSES_H
#define CONTROLLER_LOSSES_H

#include <jansson.h>
#include <stdbool.h>

#include "common/base/recipe.h"

/// Whether the run asks for log-probs of the frozen reference.
bool controller_losses_read_reference(const tr_recipe_t *recipe);

/// Whether the reference is asked once, before the first step.
bool controller_losses_precompute_reference(const tr_recipe_t *recipe);

/// Whether the reference follows the policy (dpo.sync_ref_model).
bool controller_losses_sync_reference(const tr_recipe_t *recipe);

/// Whether batches bring mismatched completions too, from which KTO estimates the KL divergence.
bool controller_losses_mismatch(const tr_recipe_t *recipe);

/// The actor's method that trains (actor/service.h); NULL where nothing learns.
const char *controller_losses_method(const tr_recipe_t *recipe);

/// What that method reads beside the walk (actor/training.h); for PPO nothing. A new reference.
json_t *controller_losses_options(const tr_recipe_t *recipe);

#endif
