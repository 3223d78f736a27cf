/// Asks each judge of the recipe for the scores of responses, and adds them up.
///
/// Judging of a response may begin as soon as it is there. A step's scores are placed by response,
/// so the order in which judges answer decides nothing. A missing score is never a number: the wait
/// ends only when all are there.
#ifndef CONTROLLER_JUDGES_H
#define CONTROLLER_JUDGES_H

#include "common/data/rows.h"
#include "common/judge/judge.h"
#include "controller/calls.h"
#include "controller/metrics.h"
#include "proto/responses.h"

typedef struct controller_judges controller_judges_t;

/// All borrowed.
controller_judges_t *controller_judges_new(const tr_judges_t *judges, const tr_rows_t *rows,
                                           const tr_tokenizer_t *tokenizer,
                                           controller_calls_t *calls);
void controller_judges_destroy(controller_judges_t **judges);

/// A step's scores begin: `count` responses, whose sample ids start at first_id.
void controller_judges_begin(controller_judges_t *judges, size_t count, int64_t first_id);

/// Asks every judge about responses first..first + part->count - 1. rows: [part->count], their
/// prompts. part is copied.
void controller_judges_ask(controller_judges_t *judges, size_t first, const tr_responses_t *part,
                           const uint32_t *rows);

/// scores: [count], the weighted sums. Every judge must have answered (controller_calls_finish).
void controller_judges_scores(const controller_judges_t *judges, float *scores);

/// Adds rewards/NAME/mean and rewards/NAME/std for each judge, and judge/NAME/EXTRA, the mean of a
/// named extra over the responses for which it was given.
tr_status controller_judges_report(const controller_judges_t *judges, controller_record_t *record,
                                   tr_error_t *err);

#endif
