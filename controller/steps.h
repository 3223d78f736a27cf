/// The steps of the algorithms, a file each: ppo_step.c, grpo_step.c, rows_step.c, online_step.c.
#ifndef CONTROLLER_STEPS_H
#define CONTROLLER_STEPS_H

#include "controller/context.h"

/// Each takes step `step` (from 1) with the weights of step - 1, which must be published where the
/// algorithm generates, and fills the record with its metrics. Failures as controller_calls_finish;
/// TR_ERR_NUMERIC when a promise about numbers is broken: a NaN, or rollouts and actor that
/// disagree about a log-probability.
typedef tr_status (*controller_step_fn)(controller_run_t *run, uint64_t step,
                                        controller_record_t *record, tr_error_t *err);

/// PPO, from prompts to new weights.
tr_status controller_ppo_step(controller_run_t *run, uint64_t step, controller_record_t *record,
                              tr_error_t *err);

/// GRPO and its kin, likewise.
tr_status controller_grpo_step(controller_run_t *run, uint64_t step, controller_record_t *record,
                               tr_error_t *err);

/// Algorithms that train on rows (SFT, reward models, DPO, KTO): a batch, the reference's log-probs
/// where the loss reads them, one update of the actor.
tr_status controller_rows_step(controller_run_t *run, uint64_t step, controller_record_t *record,
                               tr_error_t *err);

/// Algorithms that choose among a prompt's own responses: rollouts generate, judges score, and the
/// actor trains on the choice.
///
///     online_dpo          DPO on the best and the worst response of each prompt (Guo et al. 2024,
///                         with judges' scores)
///     rejection_sampling  SFT on the best of them (best-of-n; RAFT, Dong et al. 2023)
///     sample              no training: responses and scores go to samples.jsonl
tr_status controller_online_step(controller_run_t *run, uint64_t step, controller_record_t *record,
                                 tr_error_t *err);

// Parts of a step on rows

/// One update of the actor on the rows, for step `step`: rows of files, or made from responses. The
/// record gets the metrics of the algorithm. No rows: the step counts, and nothing is learnt.
tr_status controller_rows_train(controller_run_t *run, const tr_rows_t *rows, uint64_t step,
                                controller_record_t *record, tr_error_t *err);

/// The same without the update, on the held-out rows under the weights of run->step: adds eval_loss
/// and the other metrics, each with the prefix `eval_`.
tr_status controller_rows_evaluate(controller_run_t *run, controller_record_t *record,
                                   tr_error_t *err);

/// Advice to the user about the rows, all of which were looked at: KTO's weights when its two
/// classes are out of balance. NULL: none. Owned by the caller (free).
char *controller_rows_advice(const controller_run_t *run);

#endif
