/// What may be another in a recipe when its run goes on.
#ifndef TR_RECIPE_RESUMED_H
#define TR_RECIPE_RESUMED_H

#include "common/recipe/recipe.h"

/// Compares the recipe that a run goes on with (to) with the one that it has run by (from). A key
/// that decides what was learnt so far may not change: TR_ERR_ARGUMENT, by name. changes: what
/// changed, "KEY: OLD -> NEW" each; released by the caller (tr_texts_release), after a failure too.
tr_status tr_recipe_compare_resumed(tr_texts_t *changes, const tr_recipe_t *from,
                                    const tr_recipe_t *to, tr_error_t *err);
/// Frees the texts and leaves none.
void tr_texts_release(tr_texts_t *texts);

#endif
