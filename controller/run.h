/// A run from its first step to its last: what the steps share, checkpoints, and the way back to them.
///
/// A run is a function of recipe, data and seed. Whatever goes wrong with a learner (its process dies, its weights are
/// gone), the run goes back to the last checkpoint and on from there, with the same bytes as if nothing had happened.
#ifndef CONTROLLER_RUN_H
#define CONTROLLER_RUN_H

#include "common/data/rows.h"
#include "common/model/config.h"
#include "controller/calls.h"
#include "controller/events.h"
#include "controller/judges.h"
#include "controller/metrics.h"
#include "controller/progress.h"
#include "controller/rundir.h"
#include "controller/samples.h"

typedef struct controller_run {
    const tr_recipe_t *recipe;
    controller_rundir_t *rundir;
    tr_broker_t *broker;
    controller_calls_t *calls;
    tr_tokenizer_t *tokenizer; ///< the policy's
    tr_model_config_t model;   ///< the policy's
    tr_rows_t rows;
    tr_rows_t eval_rows;         ///< sft: empty without data.eval
    controller_judges_t *judges; ///< NULL for what learns from rows
    controller_progress_t *progress;
    controller_metrics_t *metrics;
    controller_samples_t *samples;
    controller_events_t *events;
    bool reference_known; ///< the rows' log-probs under the reference were precomputed
    json_t *weights;      ///< description of the weights that rollouts speak with, NULL: none yet
    json_t *
        scores; ///< reward.normalize: {mean, std} of the held-out pairs at the step finished; NULL: not measured
    uint64_t step;   ///< steps finished
    uint64_t tokens; ///< of the rows seen so far, prompts included (num_tokens; sft)
} controller_run_t;

/// Runs the recipe of a run directory to its end: from its last checkpoint when resume, else from the beginning. stop: set
/// by a signal handler. TR_ERR_INTERRUPTED after a stop; the last checkpoint then stands.
tr_status controller_run(const char *directory, bool resume, const volatile sig_atomic_t *stop,
                         tr_error_t *err);

// For the steps

/// Says what begins now: to progress and `troupe status`. Returns tr_clock_seconds.
double controller_run_phase(controller_run_t *run, const char *phase);

/// A call to a learner, by its name.
controller_call_t controller_run_learner_call(tr_role_t role, const char *method);

/// A request's body for training step `step`: what tr_learner_read_train_pass reads.
json_t *controller_run_train_pass(const controller_run_t *run, uint64_t step, uint64_t epochs,
                                  uint64_t minibatches, double learning_rate);

/// The learning rate of a step, given the peak.
double controller_run_rate(const controller_run_t *run, double peak, uint64_t step);

/// A real number of a worker's answer, into the record under `name`.
tr_status controller_run_copy_metric(controller_record_t *record, const char *name,
                                     const json_t *body, const char *key, tr_error_t *err);

/// Asks the actor to publish the weights of the step that is finished; run->weights describes them.
tr_status controller_run_publish(controller_run_t *run, uint64_t step, tr_error_t *err);

#endif
