// A run from its first step to its last: which file takes a step, what is measured around it, and
// how a run starts, recovers and ends.
//
// Checkpoints and the way back to them are in checkpoint.c; the state that algorithms share is
// context.h; a step itself is ppo_step.c, grpo_step.c, rows_step.c or online_step.c.
#include "controller/run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/base/clock.h"
#include "controller/checkpoint.h"
#include "controller/evaluation.h"
#include "controller/events.h"
#include "controller/metric_table.h"
#include "controller/reference.h"
#include "controller/rows.h"
#include "controller/steps.h"
#include "controller/troubles.h"
#include "proto/endpoint.h"

enum { RETURNS_MAX = 3 }; // to a checkpoint, without progress in between

/// The function that takes a step, by the algorithm's name.
static const struct {
    const char *algorithm;
    controller_step_fn step;
} pages[] = {
    {"ppo", controller_ppo_step},
    {"grpo", controller_grpo_step},
    {"rloo", controller_grpo_step},
    {"reinforce_plus_plus", controller_grpo_step},
    {"reinforce_plus_plus_baseline", controller_grpo_step},
    {"opo", controller_grpo_step},
    {"flash_reinforce", controller_grpo_step},
    {"remax", controller_grpo_step},
    {"sft", controller_rows_step},
    {"reward", controller_rows_step},
    {"dpo", controller_rows_step},
    {"kto", controller_rows_step},
    {"online_dpo", controller_online_step},
    {"rejection_sampling", controller_online_step},
    {"sample", controller_online_step},
};

/// The function of the algorithm. Each algorithm of the table must have one.
static controller_step_fn page_of(const tr_algorithm_t *algorithm)
{
    size_t i = 0;
    while (i < sizeof pages / sizeof pages[0] && strcmp(pages[i].algorithm, algorithm->name) != 0) {
        i++;
    }
    // The recipe has been checked, so a name without a page is a mistake of ours.
    TR_ASSERT(i < sizeof pages / sizeof pages[0], "no page takes steps of '%s'", algorithm->name);
    return pages[i].step;
}

// Steps

/// Adds time/step, episodes a second (eps), and the idle time of each role that the run uses.
static tr_status report_time(controller_run_t *run, controller_record_t *record, double seconds,
                             tr_error_t *err)
{
    const tr_recipe_t *recipe = run->recipe;
    // In the actor's process the reference is part of the actor's time.
    bool separate = recipe->roles.reference.separate && tr_recipe_reads_reference(recipe);
    const tr_order_t order = controller_run_order(run, &run->data.rows);
    uint64_t prompts =
        tr_order_taken(&order, record->step) - tr_order_taken(&order, record->step - 1);
    double episodes = (double)(prompts * recipe->generation.samples);
    // Behind the algorithm's own metrics, in every line of the file.
    TR_TRY(controller_record_set(record, "time/step", seconds, err));
    if (tr_algorithm_generates(run->algorithm)) {
        TR_TRY(controller_record_set(record, "eps", episodes / seconds, err));
    }
    for (size_t role = 0; role < TR_ROLE_COUNT; role++) {
        // A role that the recipe does not start has no idle time to report.
        const bool used[TR_ROLE_COUNT] = {
            [TR_ROLE_ACTOR] = tr_algorithm_learns(run->algorithm),
            [TR_ROLE_CRITIC] = tr_algorithm_has_critic(run->algorithm),
            [TR_ROLE_ROLLOUT] = tr_algorithm_generates(run->algorithm),
            [TR_ROLE_REWARD] = tr_algorithm_generates(run->algorithm),
            [TR_ROLE_REFERENCE] = separate,
        };
        if (used[role]) {
            // Calls may overlap the edges of the step, so the busy share is bounded by 1.
            double busy = controller_calls_busy(run->calls, (tr_role_t)role) / seconds;
            char *name = tr_format("idle/%s", tr_role_name((tr_role_t)role));
            tr_status status =
                controller_record_set(record, name, busy < 1.0 ? 1.0 - busy : 0.0, err);
            free(name);
            TR_TRY(status);
        }
    }
    return TR_OK;
}

/// Whether the finished step gets a checkpoint; the last one always does.
static bool checkpoint_due(const controller_run_t *run)
{
    uint64_t every = run->recipe->checkpoint.every;
    return run->step == run->recipe->steps || (every > 0 && run->step % every == 0);
}

/// Remembers the scores' mean and deviation for reward.normalize: checkpoint.c passes them to the
/// actor, which saves them with the reward model.
static void note_scores(controller_run_t *run, const controller_record_t *record)
{
    const double *mean = controller_record_find(record, "eval_mean_reward");
    const double *deviation = controller_record_find(record, "eval_reward_std");
    // Only evaluations measure them; between two of them the last ones stand.
    if (run->recipe->reward.normalize && mean != NULL && deviation != NULL) {
        json_decref(run->scores);
        run->scores = json_pack("{s:f, s:f}", "mean", *mean, "std", *deviation);
    }
}

/// Stops the program at a metric without documentation: docs/metrics.md is made from the table.
static void expect_documented(const controller_record_t *record)
{
    for (size_t i = 0; i < record->count; i++) {
        // eval_ and the judges' names are covered by the rows' patterns.
        TR_ASSERT(controller_metric_row(record->items[i].name) != NULL,
                  "metric '%s' has no row in controller/metric_table.c", record->items[i].name);
    }
}

/// One step of the algorithm, its evaluation when due, and its line in every output.
static tr_status take_step(controller_run_t *run, controller_record_t *record, tr_error_t *err)
{
    double began = tr_clock_seconds();
    // Idle times are of this step.
    controller_calls_reset(run->calls);
    TR_TRY(page_of(run->algorithm)(run, record->step, record, err));
    // From here on the step counts: the learners have finished it.
    run->step = record->step;
    json_object_del(controller_run_note(run), "failure");
    if (controller_evaluation_due(run, checkpoint_due(run))) {
        TR_TRY(controller_evaluation_take(run, record, err));
        note_scores(run, record);
    }
    TR_TRY(report_time(run, record, tr_clock_seconds() - began, err));
    expect_documented(record);
    // A return to a checkpoint before this step cuts its lines again.
    TR_TRY(controller_metrics_append(run->metrics, record, err));
    TR_TRY(controller_events_append(run->events, record, tr_clock_wall(), err));
    controller_progress_step(run->progress, record, tr_clock_seconds());
    return TR_OK;
}

/// Whether run->step is the last one.
static bool is_over(const controller_run_t *run)
{
    char *early = controller_evaluation_ends(run);
    free(early);
    return early != NULL || run->step == run->recipe->steps;
}

/// Reports the rows that data.on_bad_row left out.
static void note_dropped(controller_run_t *run, const tr_corpus_t *corpus, const char *key)
{
    // A corpus without a survey is empty. In the end no bad row is left that was not dropped.
    size_t dropped = corpus->survey != NULL ? tr_survey_wait(corpus->survey)->bad : 0;
    if (dropped > 0) {
        controller_run_warn(run, "data",
                            tr_format("%s: %zu of %zu rows are bad and were dropped; "
                                      "logs/controller.log names them",
                                      key, dropped, dropped + tr_dataset_size(corpus->dataset)));
    }
}

/// Reports the prompts behind which the model has no room for max_new_tokens.
static void note_room(controller_run_t *run)
{
    const size_t positions = run->data.model.max_positions;
    const tr_found_t *found = tr_survey_wait(run->data.rows.survey);
    if (found->crowded > 0) {
        controller_run_warn(
            run, "data",
            tr_format("generation.max_new_tokens is %" PRIu64 ", and the model has %zu positions: "
                      "responses to %zu of %zu prompts are cut earlier, behind the longest prompt "
                      "after %zu tokens",
                      run->recipe->generation.max_new_tokens, positions, found->crowded,
                      run->data.rows.count, positions - found->longest_prompt));
    }
}

/// Whether every row was looked at.
static bool surveyed(const void *context)
{
    const controller_run_t *run = context;
    return controller_data_surveyed(&run->data);
}

static bool surveyed_or_stopped(const void *context)
{
    const controller_run_t *run = context;
    return surveyed(run) || *run->stop > 0;
}

/// Once every row was looked at: what is to be said of them, or what is wrong with them. wait: for
/// that; else it may be done by a later call.
static tr_status settle_data(controller_run_t *run, bool wait, tr_error_t *err)
{
    if (run->settled || !(wait || surveyed(run))) {
        return TR_OK;
    }
    if (!surveyed(run)) { // workers are heard meanwhile, and whoever stops the run
        controller_run_phase(run, "check rows");
        TR_TRY(controller_calls_until(run->calls, surveyed_or_stopped, run, err));
        if (!surveyed(run)) {
            return tr_fail(err, TR_ERR_INTERRUPTED, "stopped before all rows were checked");
        }
    }
    tr_status status = controller_data_settle(&run->data, run->recipe, err);
    if (status != TR_OK) {
        controller_data_print_mistakes(stdout, &run->data);
        if (run->step > 0) { // a large file's: the small ones' are known before
            char *sentence = tr_strdup(err->text);
            *err = (tr_error_t){0};
            tr_fail(err, status,
                    "%s; correct them and start a new run: this one took %" PRIu64
                    " steps on rows that are then others",
                    sentence, run->step);
            free(sentence);
        }
        return status;
    }
    run->settled = true;
    bool generates = tr_algorithm_generates(run->algorithm);
    note_dropped(run, &run->data.rows, generates ? "data.prompts" : "data.train");
    note_dropped(run, &run->data.eval_rows, "data.eval");
    if (generates) {
        note_room(run);
    }
    char *advice = controller_rows_advice(run);
    if (advice != NULL) {
        controller_run_warn(run, "data", advice);
    }
    return TR_OK;
}

/// The next step, and its checkpoint when one is due.
static tr_status advance(controller_run_t *run, tr_error_t *err)
{
    controller_record_t record;
    // The record's step is what the page takes; run->step grows when it is finished.
    controller_record_init(&record, run->step + 1);
    tr_status status = take_step(run, &record, err);
    controller_record_release(&record);
    TR_TRY(status);
    // A bad row of a large file ends the run as soon as it is known.
    TR_TRY(settle_data(run, false, err));
    // The best weights so far are kept, and the last ones are those that final/ has.
    run->stopping = *run->stop > 0;
    bool due = checkpoint_due(run) || run->best.step == run->step || is_over(run) || run->stopping;
    return due ? controller_checkpoint_save(run, run->step, err) : TR_OK;
}

/// Work that is done once, before the first step: log-probs of the reference.
static tr_status prepare(controller_run_t *run, tr_error_t *err)
{
    // Known once, known for the whole process: rows and reference do not change.
    if (!tr_recipe_precomputes_reference(run->recipe) || run->reference_known) {
        return TR_OK;
    }
    TR_TRY(controller_reference_precompute(run, &run->data.rows, "train", err));
    if (run->data.eval_rows.count > 0) {
        TR_TRY(controller_reference_precompute(run, &run->data.eval_rows, "eval", err));
    }
    run->reference_known = true;
    // The log-probs are all that is read of the reference, so its memory is released.
    return controller_reference_forget(run, err);
}

/// Goes to the last checkpoint, or to the beginning. restore: the learners are running and must be
/// rolled back too.
static tr_status begin(controller_run_t *run, bool restore, tr_error_t *err)
{
    // Outputs and learners first: the reference may be part of the actor's process.
    TR_TRY(controller_checkpoint_return(run, restore, err));
    return prepare(run, err);
}

/// Takes all steps. A lost learner (TR_ERR_VERSION) sends the run back to its last checkpoint; the
/// run gives up when the same step fails again and again.
static tr_status take_all_steps(controller_run_t *run, tr_error_t *err)
{
    tr_status status = begin(run, false, err);
    // Progress is a step that was never finished before, however often the run went back.
    uint64_t furthest = run->step;
    unsigned returns = 0;
    while (status == TR_ERR_VERSION || (status == TR_OK && !is_over(run))) {
        if (status == TR_ERR_VERSION) {
            // A step that kills its learner each time would go on for ever.
            if (returns++ == RETURNS_MAX) {
                return tr_error_prefix(err, "step %" PRIu64 " failed %u times", run->step + 1,
                                       returns);
            }
            tr_log(TR_LOG_WARN, "run", "step=%" PRIu64 " \"back to the last checkpoint: %s\"",
                   run->step + 1, err->text);
            // The error is dealt with; a later one must not carry its text.
            *err = (tr_error_t){0};
            status = begin(run, true, err);
            continue;
        }
        status = advance(run, err);
        if (status == TR_OK && run->stopping && !is_over(run)) {
            return tr_fail(err, TR_ERR_INTERRUPTED, "stopped after step %" PRIu64, run->step);
        }
        // Steps that are repeated after a return are no progress.
        if (run->step > furthest) {
            furthest = run->step;
            returns = 0;
        }
    }
    return status;
}

// Life cycle

/// What `troupe check` reads too. After a failure close_run releases what was read.
static tr_status load_data(controller_run_t *run, tr_error_t *err)
{
    tr_status status = controller_data_load(&run->data, run->recipe, false, err);
    // standard output is the user's terminal, standard error a log
    controller_data_print_mistakes(stdout, &run->data);
    TR_TRY(status);
    const tr_dataset_t *held_out = run->data.eval_rows.dataset;
    run->eval_checksum = held_out != NULL ? tr_dataset_checksum(held_out) : 0;
    return controller_data_checksum(&run->checksum, &run->data, run->recipe, err);
}

/// Says that what texts are learnt to end with is none of the model's end tokens.
static void note_end(controller_run_t *run)
{
    int32_t eos = tr_tokenizer_eos(run->data.tokenizer);
    if (run->data.end_added) {
        controller_run_warn(
            run, "data",
            tr_format("the tokenizer's end token %s (%d) is none of the model's "
                      "(eos_token_id): it ends responses as they do, and saved models say so",
                      tr_tokenizer_token(run->data.tokenizer, eos), eos));
    }
}

/// Listens on network.bind, or on a socket of this machine that only this run uses.
static tr_status open_broker(controller_run_t *run, tr_error_t *err)
{
    const tr_recipe_network_t *network = &run->recipe->network;
    tr_dispatch_options_t options;
    char *endpoint = NULL;
    tr_status status;
    tr_dispatch_options_init(&options);
    // The supervisor gives it to the workers that it starts.
    options.token = getenv("TROUPE_TOKEN");
    // With bind, workers may come from other machines; then the address is the user's.
    if (network->bind != NULL) {
        endpoint = tr_strdup(network->bind);
    } else {
        // Absolute: others may ask from another directory.
        char *directory = realpath(controller_rundir_path(run->rundir), NULL);
        status = tr_endpoint_default(
            &endpoint, directory != NULL ? directory : controller_rundir_path(run->rundir), err);
        free(directory);
        TR_TRY(status);
    }
    status = tr_broker_new(&run->broker, endpoint, network->keys, &options, err);
    free(endpoint);
    return status;
}

/// Everything that a run holds but the outputs, which controller_checkpoint_return opens.
static tr_status open_run(controller_run_t *run, const volatile sig_atomic_t *stop, tr_error_t *err)
{
    TR_TRY(controller_evaluation_check(run->recipe, err));
    // Data first: a mistake in it is reported before a worker can join.
    TR_TRY(load_data(run, err));
    TR_TRY(open_broker(run, err));
    run->calls = controller_calls_new(run->broker, stop);
    if (tr_algorithm_generates(run->algorithm)) {
        // Judges score responses, so algorithms on rows have none.
        run->judges =
            controller_judges_new(&run->recipe->roles.reward, run->data.tokenizer, run->calls);
    }
    uint64_t done;
    char *damage;
    TR_TRY(controller_rundir_checkpoint_verify(&done, &damage, run->rundir, err));
    // A resumed run's bar begins where its checkpoint ends.
    run->progress = controller_progress_new(stdout, done, run->recipe->steps);
    if (damage != NULL) {
        controller_run_warn(run, "checkpoint", damage);
    }
    TR_TRY(settle_data(run, false, err));
    note_end(run);
    controller_troubles_watch(run);
    controller_checkpoint_announce(run, done); // before workers can come
    // Workers read the address from this file, so it is written when all else is ready.
    return controller_rundir_write_endpoint(run->rundir, tr_broker_endpoint(run->broker), err);
}

/// Releases everything, in the reverse of the order in which open_run made it.
static void close_run(controller_run_t *run)
{
    // First, so that the last line is complete before anything else may print.
    controller_progress_destroy(&run->progress);
    controller_judges_destroy(&run->judges);
    controller_calls_destroy(&run->calls);
    tr_broker_destroy(&run->broker);
    controller_checkpoint_close_outputs(run);
    controller_data_release(&run->data);
    json_decref(run->weights);
    json_decref(run->scores);
    json_decref(run->note);
}

/// Runs from open to close; what open_run has opened is closed after a failure too.
static tr_status run_recipe(controller_run_t *run, const volatile sig_atomic_t *stop,
                            tr_error_t *err)
{
    tr_status status = open_run(run, stop, err);
    if (status == TR_OK) {
        // TR_ERR_INTERRUPTED leaves everything as it is: the last checkpoint stands.
        status = take_all_steps(run, err);
    }
    if (status == TR_OK) {
        status = settle_data(run, true, err); // no final weights of files with a bad row
    }
    if (status == TR_OK) {
        char *early = controller_evaluation_ends(run);
        if (early != NULL) {
            controller_run_warn(run, "evaluation", early);
        }
        status = controller_checkpoint_save_final(run, err);
    }
    close_run(run);
    return status;
}

static bool has_file(const controller_rundir_t *rundir, const char *name)
{
    char *path = controller_rundir_file(rundir, name);
    bool there = access(path, F_OK) == 0;
    free(path);
    return there;
}

/// Reads the run's own recipe.yaml, of which only the first problem is reported: it was checked
/// when the run was made.
static tr_status load_recipe(tr_recipe_t **recipe, const controller_rundir_t *rundir,
                             tr_error_t *err)
{
    char *path = controller_rundir_file(rundir, "recipe.yaml");
    tr_recipe_problems_t problems = {0};
    tr_status status = tr_recipe_load(recipe, path, NULL, 0, &problems);
    if (status != TR_OK) {
        tr_fail(err, status, "%s", problems.texts[0]);
    }
    tr_recipe_problems_release(&problems);
    free(path);
    return status;
}

tr_status controller_run(const char *directory, bool resume, const volatile sig_atomic_t *stop,
                         tr_error_t *err)
{
    controller_run_t run = {0};
    tr_recipe_t *recipe = NULL;
    uint64_t step;
    tr_status status;
    // The lock comes with it, so from here on this is the run's only controller.
    TR_TRY(controller_rundir_open(&run.rundir, directory, err));
    TR_TRY_GOTO(load_recipe(&recipe, run.rundir, err), done);
    TR_TRY_GOTO(controller_rundir_checkpoint_latest(&step, run.rundir, err), done);
    // Starting again would overwrite what is there.
    if (step > 0 && !resume) {
        status = tr_fail(err, TR_ERR_ARGUMENT,
                         "'%s' has run already: `troupe resume %s` goes on with it", directory,
                         directory);
        goto done;
    }
    // final/ is written last: such a run has ended, and there is nothing to do.
    if (has_file(run.rundir, "final")) {
        tr_log(TR_LOG_INFO, "run", "\"finished already\"");
        goto done;
    }
    run.stop = stop;
    run.recipe = recipe;
    run.algorithm = tr_recipe_algorithm(recipe);
    status = run_recipe(&run, stop, err);
done:
    controller_rundir_destroy(&run.rundir);
    tr_recipe_destroy(&recipe);
    return status;
}
