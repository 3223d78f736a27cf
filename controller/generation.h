/// Responses to a step's prompts: dealt out to the rollouts, and to the judges as they come.
#ifndef CONTROLLER_GENERATION_H
#define CONTROLLER_GENERATION_H

#include "controller/context.h"
#include "controller/experience.h"

/// Fills *experience with generation.samples responses to each of rows: [prompts], made with the published weights. The
/// judges have been asked: their scores are there (controller_judges_scores) after controller_calls_finish. Failures as
/// controller_calls_until; there is then nothing to release.
tr_status controller_generate(controller_experience_t *experience, controller_run_t *run,
                              uint64_t step, const uint32_t *rows, size_t prompts, tr_error_t *err);

/// The record's metrics of the responses themselves, whatever becomes of them.
tr_status controller_generation_report(const controller_run_t *run,
                                       const controller_experience_t *experience,
                                       controller_record_t *record, tr_error_t *err);

/// What response `index` says, without special tokens. *length: its bytes. Owned by the caller (free).
char *controller_generation_text(const controller_run_t *run,
                                 const controller_experience_t *experience, size_t index,
                                 size_t *length);

/// samples.jsonl, when it is due: the first responses of the batch with their scores; all of them where nothing learns.
tr_status controller_generation_write_samples(const controller_run_t *run, uint64_t step,
                                              const controller_experience_t *experience,
                                              tr_error_t *err);

#endif
