/// Responses to a step's prompts: divided among the rollouts, and sent to the judges as they
/// arrive.
#ifndef CONTROLLER_GENERATION_H
#define CONTROLLER_GENERATION_H

#include "controller/context.h"
#include "controller/experience.h"

/// Fills *experience with generation.samples responses to each of rows: [prompts], generated with
/// the published weights. The judges' requests are on their way: their scores are complete
/// (controller_judges_scores) after controller_calls_finish. Failures as controller_calls_until;
/// there is then nothing to release.
tr_status controller_generate(controller_experience_t *experience, controller_run_t *run,
                              uint64_t step, const uint32_t *rows, size_t prompts, tr_error_t *err);

/// Adds the metrics of the responses themselves (lengths, ends, kept tokens), for every algorithm
/// that generates.
tr_status controller_generation_report(const controller_run_t *run,
                                       const controller_experience_t *experience,
                                       controller_record_t *record, tr_error_t *err);

/// Writes to samples.jsonl, when due, the first responses of the batch with their scores; without
/// training, all of them.
tr_status controller_generation_write_samples(const controller_run_t *run, uint64_t step,
                                              const controller_experience_t *experience,
                                              tr_error_t *err);

#endif
