/// The samples of a `score` request, read from its body: the other end of tr_score_sample.
#ifndef REWARD_SAMPLES_H
#define REWARD_SAMPLES_H

#include "proto/score.h"

/// Strings and columns are borrowed from the body. Starts as {0}.
typedef struct reward_samples {
    tr_sample_t *items; ///< [count]
    size_t count;
    int32_t *ids; ///< what the items' prompt_ids and response_ids point into
} reward_samples_t;

/// body: {"samples": [...]}. TR_ERR_PROTOCOL names the sample's place and the key; samples is to be
/// released also then.
tr_status reward_samples_read(reward_samples_t *samples, const json_t *body, tr_error_t *err);
void reward_samples_release(reward_samples_t *samples);

#endif
