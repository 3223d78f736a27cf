/// Responses to a step's prompts: divided among the rollouts, and sent to the judges as they
/// arrive.
#ifndef CONTROLLER_GENERATION_H
#define CONTROLLER_GENERATION_H

#include "controller/context.h"
#include "controller/experience.h"

/// Prompts that get responses, and the random numbers that these are sampled with.
typedef struct controller_prompts {
    const char *phase;     ///< what is being done with them, for people
    const tr_rows_t *rows; ///< all of these
    uint64_t seed;
    uint64_t number;  ///< of the first: seed, number and sample's number address a response's draws
    int64_t first_id; ///< of the responses' ids for judges, which count on from it
    const tr_generation_options_t *generation; ///< NULL: the recipe's
} controller_prompts_t;

/// Fills *experience with as many responses to each of the prompts, generated with the
/// published weights. The judges' requests are on their way: their scores are complete
/// (controller_judges_scores) after controller_calls_finish. Failures as controller_calls_until;
/// there is then nothing to release.
tr_status controller_generate(controller_experience_t *experience, controller_run_t *run,
                              const controller_prompts_t *prompts, tr_error_t *err);

/// rows as the prompts of training step `step`: a prompt that returns in a later epoch is sampled
/// anew.
controller_prompts_t controller_prompts_of_step(const controller_run_t *run, uint64_t step,
                                                const tr_rows_t *rows);

/// Adds the metrics of the responses themselves (lengths, ends, kept tokens), for every algorithm
/// that generates.
tr_status controller_generation_report(const controller_run_t *run,
                                       const controller_experience_t *experience,
                                       controller_record_t *record, tr_error_t *err);

/// Writes to samples.jsonl, when due, the first responses of the step's batch with their scores;
/// without training, all of them. rows: its prompts.
tr_status controller_generation_write_samples(const controller_run_t *run, const tr_rows_t *rows,
                                              uint64_t step,
                                              const controller_experience_t *experience,
                                              tr_error_t *err);

/// Writes the first `most` responses, or all, to prompts of `rows`. split: "eval" for held-out
/// prompts, else NULL.
tr_status controller_generation_write(const controller_run_t *run, const tr_rows_t *rows,
                                      const char *split, uint64_t step,
                                      const controller_experience_t *experience, size_t most,
                                      tr_error_t *err);

/// Says at once, and once in a run, that the KL to the reference cannot be right.
void controller_generation_doubt(controller_run_t *run, uint64_t step,
                                 const controller_experience_t *experience);

/// The promise of exactness: the rollouts' log-probs and the actor's are the same bits.
/// TR_ERR_NUMERIC where they are not, and TR_ERR_PROTOCOL where the actor does not say.
tr_status controller_generation_check_exact(const controller_record_t *record, tr_error_t *err);

#endif
