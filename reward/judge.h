/// A judge at work: the options of a kind of common/judge, from a message, and its scores, checked.
///
/// service.c makes one from the map that the controller's welcome holds for its group
/// (proto/score.h says what is in it), then has it score request after request. The kinds are
/// common/judge's.
#ifndef REWARD_JUDGE_H
#define REWARD_JUDGE_H

#include "proto/score.h"

typedef struct reward_judge reward_judge_t;

/// name: the group's, for sentences; copied. config: the group's map. host: borrowed until destroy.
/// Fails for a kind that Troupe does not score by (TR_ERR_UNSUPPORTED), for settings that cannot be
/// used, and when a model cannot be opened; the sentence begins with the judge's name.
tr_status reward_judge_new(reward_judge_t **judge, const char *name, const json_t *config,
                           const tr_judge_host_t *host, tr_error_t *err);
void reward_judge_destroy(reward_judge_t **judge);

/// scores: [count], written; NaN for null, where the kind may say null. Fails with a sentence that
/// names the judge and the sample: any other score that is not finite is TR_ERR_NUMERIC; a sample
/// that is longer than the model's positions or that an expression gives up on is TR_ERR_ARGUMENT;
/// TR_ERR_INTERRUPTED when the daemon was asked to leave meanwhile.
tr_status reward_judge_score(reward_judge_t *judge, float *scores, const tr_sample_t *samples,
                             size_t count, tr_error_t *err);

#endif
