// Evaluation: what held-out rows and prompts say of the weights, which step's were the best, and
// when that ends the run.
//
// Rows are measured by the learner (rows_step.c), prompts by responses and judges, here.
#include "controller/evaluation.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/algo/ppo.h"
#include "common/algo/statistics.h"
#include "common/model/response.h"
#include "controller/generation.h"
#include "controller/metric_table.h"
#include "controller/reference.h"
#include "controller/steps.h"

// Held-out prompts

/// The mean KL of a response, of policy against reference, estimated as the steps do.
static tr_status measure_kl(double *kl, controller_run_t *run, controller_experience_t *e,
                            tr_error_t *err)
{
    const tr_recipe_t *recipe = run->recipe;
    controller_vector_t reference = {"logprobs", e->reference, e->tokens};
    tr_objective_t objective;
    controller_run_infer(run, controller_reference_call(run, "logprobs"), &e->sequences,
                         recipe->generation.temperature, TR_INFER_CHUNK, &reference);
    TR_TRY(controller_calls_finish(run->calls, err));
    tr_kl(e->kl, e->logprobs, e->reference, e->tokens, (tr_kl_estimator_t)recipe->ppo.kl_estimator);
    tr_objective(&objective, e->kl, e->logprobs, e->scores, e->response_starts, e->count, 0.0);
    *kl = objective.kl;
    return TR_OK;
}

/// The evaluation's numbers, under the names that they have in training.
static tr_status measure(controller_run_t *run, controller_experience_t *e,
                         controller_record_t *record, tr_error_t *err)
{
    controller_judges_scores(run->judges, e->scores);
    const tr_statistics_t scores = tr_statistics_scored(e->scores, e->count);
    if (tr_count_scored(e->scores, e->count) > 0) {
        TR_TRY(controller_record_set(record, "objective/scores", scores.mean, err));
        TR_TRY(controller_record_set(record, "objective/scores_std", scores.deviation, err));
    }
    if (tr_recipe_reads_reference(run->recipe)) {
        double kl;
        TR_TRY(measure_kl(&kl, run, e, err));
        TR_TRY(controller_record_set(record, "objective/kl", kl, err));
    }
    TR_TRY(controller_generation_report(run, e, record, err));
    return controller_judges_report(run->judges, record, err);
}

/// Generates, measures, and writes samples.
static tr_status evaluate(controller_run_t *run, const controller_prompts_t *prompts,
                          controller_record_t *record, tr_error_t *err)
{
    controller_experience_t experience;
    TR_TRY(controller_generate(&experience, run, prompts, err));
    tr_status status = controller_calls_finish(run->calls, err);
    if (status == TR_OK) {
        status = measure(run, &experience, record, err);
    }
    if (status == TR_OK) {
        status = controller_generation_write(run, prompts->rows, "eval", run->step, &experience,
                                             run->recipe->samples.count, err);
    }
    controller_experience_release(&experience);
    return status;
}

/// Responses to all held-out prompts.
static tr_status evaluate_prompts(controller_run_t *run, controller_record_t *record,
                                  tr_error_t *err)
{
    // Ids of training count responses from 0, and stay far below.
    static const int64_t EVAL_IDS = (int64_t)1 << 52;
    // No seed of a recipe: those are below 2^63.
    static const uint64_t EVAL_SEED = 0x4556414C00000000; // "EVAL"
    size_t count = run->data.eval_rows.count;
    const tr_order_t all = {.size = count, .batch = count};
    controller_record_t own;
    tr_rows_t rows;
    const controller_prompts_t prompts = {
        .phase = "evaluate",
        .rows = &rows,
        .seed = (run->recipe->seed ^ EVAL_SEED) & INT64_MAX,
        .first_id = EVAL_IDS + (int64_t)(run->step * count * run->recipe->generation.samples),
    };
    controller_record_init(&own, run->step);
    tr_status status = controller_run_read(&rows, &run->data.eval_rows, &all, 0, err);
    status = status == TR_OK ? evaluate(run, &prompts, &own, err) : status;
    for (size_t i = 0; i < own.count && status == TR_OK; i++) {
        char *name = tr_format("eval_%s", own.items[i].name);
        status = controller_record_set(record, name, own.items[i].value, err);
        free(name);
    }
    controller_record_release(&own);
    tr_rows_release(&rows);
    return status;
}

// The evaluation of a step

bool controller_evaluation_due(const controller_run_t *run, bool checkpoint)
{
    uint64_t every = run->recipe->evaluation.every;
    return run->data.eval_rows.count > 0 &&
           (run->step == run->recipe->steps || (every > 0 ? run->step % every == 0 : checkpoint));
}

static bool less_is_better(const char *metric)
{
    return controller_metric_row(metric)->better == CONTROLLER_BETTER_LESS;
}

/// Keeps the value of checkpoint.best, if it is the best so far.
static void note_best(controller_run_t *run, double value)
{
    controller_best_t *best = &run->best;
    bool less = less_is_better(run->recipe->checkpoint.best);
    best->later++;
    if (best->step == 0 || (less ? value < best->value : value > best->value)) {
        *best = (controller_best_t){.step = run->step, .value = value};
    }
}

tr_status controller_evaluation_take(controller_run_t *run, controller_record_t *record,
                                     tr_error_t *err)
{
    const char *name = run->recipe->checkpoint.best;
    TR_TRY(tr_algorithm_generates(run->algorithm) ? evaluate_prompts(run, record, err)
                                                  : controller_rows_evaluate(run, record, err));
    if (name == NULL) {
        return TR_OK;
    }
    const double *value = controller_record_find(record, name);
    // Its name has a row, but this algorithm or its judges do not measure it.
    if (value == NULL) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "checkpoint.best is '%s', which the evaluation of step %" PRIu64
                       " has not: metrics.jsonl shows the names that it has",
                       name, run->step);
    }
    note_best(run, *value);
    return TR_OK;
}

char *controller_evaluation_ends(const controller_run_t *run)
{
    const tr_recipe_evaluation_t *options = &run->recipe->evaluation;
    const controller_best_t *best = &run->best;
    const char *name = run->recipe->checkpoint.best;
    if (best->step == 0) {
        return NULL;
    }
    bool less = less_is_better(name);
    if (options->target != TR_NO_TARGET &&
        (less ? best->value <= options->target : best->value >= options->target)) {
        return tr_format("%s reached %g at step %" PRIu64 " (evaluation.target): the run ends",
                         name, best->value, best->step);
    }
    if (options->patience > 0 && best->later >= options->patience) {
        return tr_format("%s has not been better than at step %" PRIu64 " (%g) for %" PRIu64
                         " evaluations (evaluation.patience): the run ends",
                         name, best->step, best->value, best->later);
    }
    return NULL;
}

tr_status controller_evaluation_check(const tr_recipe_t *recipe, tr_error_t *err)
{
    const char *name = recipe->checkpoint.best;
    const controller_metric_row_t *row = name == NULL ? NULL : controller_metric_row(name);
    if (name == NULL || (row != NULL && row->better != CONTROLLER_BETTER_NEITHER &&
                         strncmp(name, "eval_", 5) == 0)) {
        return TR_OK;
    }
    return tr_fail(err, TR_ERR_ARGUMENT,
                   "checkpoint.best: expected a metric of evaluations that is better when it is "
                   "greater or less, such as eval_loss or eval_objective/scores, found '%s'",
                   name);
}
