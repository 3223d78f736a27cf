/// Requests scores of responses from each judge of the recipe, and adds them up.
///
/// A response can be judged as soon as it is generated. Scores are placed by response, so the order
/// in which judges answer changes nothing. A missing score never becomes a number: the wait ends
/// only when all have arrived.
#ifndef CONTROLLER_JUDGES_H
#define CONTROLLER_JUDGES_H

#include "common/data/rows.h"
#include "common/judge/judge.h"
#include "controller/calls.h"
#include "controller/metrics.h"
#include "proto/responses.h"

typedef struct controller_judges controller_judges_t;

/// All borrowed.
controller_judges_t *controller_judges_new(const tr_judges_t *judges,
                                           const tr_tokenizer_t *tokenizer,
                                           controller_calls_t *calls);
void controller_judges_destroy(controller_judges_t **judges);

/// Starts a step: `count` responses to prompts of rows (borrowed), whose sample ids start at
/// first_id. Forgets the step before.
void controller_judges_begin(controller_judges_t *judges, const tr_rows_t *rows, size_t count,
                             int64_t first_id);

/// Requests scores of responses first..first + responses->count - 1 from every judge. rows:
/// [responses->count], their prompts. responses is copied.
void controller_judges_ask(controller_judges_t *judges, size_t first,
                           const tr_responses_t *responses, const uint32_t *rows);

/// scores: [count], the weighted sums over the judges that scored the response; NaN where all of
/// them said null. Every judge must have answered (controller_calls_finish).
void controller_judges_scores(const controller_judges_t *judges, float *scores);

/// The same of each judge's scores after tr_group_normalize, in groups of `samples` responses.
void controller_judges_normalized(const controller_judges_t *judges, float *scores, size_t samples);

/// Adds rewards/NAME/mean and rewards/NAME/std over the responses that each judge scored,
/// rewards/NAME/unscored where it said null, and judge/NAME/EXTRA, the mean of a named extra over
/// the responses for which it was given.
tr_status controller_judges_report(const controller_judges_t *judges, controller_record_t *record,
                                   tr_error_t *err);

#endif
