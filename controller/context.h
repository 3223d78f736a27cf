/// State that the steps of a run share (recipe, workers, data, outputs), and the calls that every
/// algorithm makes.
///
/// run.c makes one and takes the steps; the file of an algorithm (ppo_step.c, grpo_step.c,
/// rows_step.c, online_step.c) receives it.
#ifndef CONTROLLER_CONTEXT_H
#define CONTROLLER_CONTEXT_H

#include "common/data/order.h"
#include "common/recipe/recipe.h"
#include "controller/calls.h"
#include "controller/judges.h"
#include "controller/metrics.h"
#include "controller/progress.h"
#include "controller/rows.h"
#include "controller/rundir.h"
#include "proto/sequences.h"

/// The best evaluation so far, by checkpoint.best.
typedef struct controller_best {
    uint64_t step; ///< 0: there was none
    double value;
    uint64_t later; ///< evaluations after it, which were not better
} controller_best_t;

typedef struct controller_run {
    const tr_recipe_t *recipe;
    const tr_algorithm_t *algorithm; ///< the recipe's
    controller_rundir_t *rundir;
    const volatile sig_atomic_t *stop; ///< above 0: the run is to end after its step
    tr_broker_t *broker;
    controller_calls_t *calls;
    controller_data_t data;      ///< the policy's tokenizer and shape, and the rows
    bool settled;                ///< every row was looked at, and the user was told what was found
    controller_judges_t *judges; ///< NULL for algorithms that train on rows
    controller_progress_t *progress;
    controller_appender_t *metrics, *samples, *events; ///< the run's outputs
    bool reference_known; ///< the rows' log-probs under the reference were precomputed
    json_t *weights; ///< description of the weights that rollouts generate with, NULL: none yet
    json_t *scores;  ///< reward.normalize: {mean, std} of the held-out pairs at the step finished;
                     ///< NULL: not measured
    json_t *note;    ///< what `troupe status` says of the run; NULL: nothing yet
    double told_at;  ///< when the terminal was told of a failure; 0: never
    bool doubted;    ///< that a KL can be what it is: said once
    uint64_t checksum;      ///< controller_data_checksum: a checkpoint is of these rows
    uint64_t eval_checksum; ///< of data.eval; without it 0
    uint64_t step;          ///< steps finished
    bool stopping;          ///< it ends here, with a checkpoint
    controller_best_t best;
    uint64_t tokens; ///< of the rows seen so far, prompts included (num_tokens; sft)
} controller_run_t;

/// Announces the phase that begins, to the terminal and to `troupe status`. Returns the time,
/// tr_clock_seconds.
double controller_run_phase(controller_run_t *run, const char *phase);

/// The map that `troupe status` shows of the run, to be changed. Borrowed.
json_t *controller_run_note(controller_run_t *run);

/// Shows a sentence (taken) on the terminal, and writes it to the log as a warning.
void controller_run_warn(controller_run_t *run, const char *subsystem, char *sentence);

/// A call to a learner: a worker that has the name of its role.
controller_call_t controller_run_learner_call(tr_role_t role, const char *method);

/// A request's body for training step `step`: what tr_learner_read_train_pass reads.
json_t *controller_run_train_pass(const controller_run_t *run, uint64_t step, uint64_t epochs,
                                  uint64_t minibatches, double learning_rate);

/// Minibatches of a pass over `count` responses of the order's prompts. A smaller last batch has no
/// more than it needs for none to be larger than those of the other steps.
uint64_t controller_run_minibatches(const controller_run_t *run, const tr_order_t *order,
                                    size_t count);

/// How the steps take the rows (run->data.rows), or evaluation the held-out ones. Evaluation and
/// sampling go through all of them, as the files have them.
tr_order_t controller_run_order(const controller_run_t *run, const tr_corpus_t *rows);

/// Reads batch `index` (from 0) of the order. The caller releases rows, after a failure too. Errors
/// as tr_corpus_read.
tr_status controller_run_read(tr_rows_t *rows, tr_corpus_t *corpus, const tr_order_t *order,
                              uint64_t index, tr_error_t *err);

/// The learning rate of a step, given the peak.
double controller_run_rate(const controller_run_t *run, double peak, uint64_t step);

/// Sends a request that has no tensors and waits for the reply. body: taken.
tr_status controller_run_ask(controller_run_t *run, const controller_call_t *call, json_t *body,
                             tr_error_t *err);

/// Where the reply's tensor `name` goes: f32 [n], one number a response token.
typedef struct controller_vector {
    const char *name;
    float *values;
    size_t n;
} controller_vector_t;

/// Sends a request for one number a response token: log-probs or values, `chunk` sequences a pass.
/// vector: borrowed, and written, until the call ends.
void controller_run_infer(controller_run_t *run, controller_call_t call,
                          const tr_sequences_t *sequences, double temperature, uint64_t chunk,
                          controller_vector_t *vector);

/// A controller_take_fn: adds the reply's {metrics: a tally} to the json_t * that context points
/// to, a new reference, NULL until the first reply.
tr_status controller_run_take_metrics(void *context, size_t index, const tr_message_t *reply,
                                      tr_error_t *err);

/// Asks the actor to publish the weights of the step that is finished; run->weights describes them.
tr_status controller_run_publish(controller_run_t *run, uint64_t step, tr_error_t *err);

#endif
