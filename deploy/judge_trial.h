/// A judge of a recipe at work without a run: its processes, and a broker that asks them.
///
/// `troupe judge` uses it. What is asked and what is said of the answers is command_judge.c's.
#ifndef DEPLOY_JUDGE_TRIAL_H
#define DEPLOY_JUDGE_TRIAL_H

#include <jansson.h>

#include "common/recipe/recipe.h"

typedef struct judge_trial judge_trial_t;

/// Starts the processes of the recipe's first judge (borrowed); of one that is started by hand,
/// says how. Logs lie in a directory below /tmp that destroy removes.
tr_status judge_trial_new(judge_trial_t **trial, tr_recipe_t *recipe, tr_error_t *err);
void judge_trial_destroy(judge_trial_t **trial);

/// Asks for the scores of samples (an array as `score` has it, borrowed; not empty). scores: [as
/// many], written, NaN for null. *extras: a new reference, NULL after a failure. *seconds: until
/// the reply came. TR_ERR_TIMEOUT after the judge's timeout_s; TR_ERR_PEER with its last words when
/// its process ends, which starts again for the next question; TR_ERR_INTERRUPTED by a signal.
tr_status judge_trial_ask(judge_trial_t *trial, float *scores, json_t **extras, double *seconds,
                          json_t *samples, tr_error_t *err);

#endif
