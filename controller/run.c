#include "controller/run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/algo/kto.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/hf/json_file.h"
#include "common/optim/schedule.h"
#include "controller/losses.h"
#include "controller/online_step.h"
#include "controller/ppo_step.h"
#include "controller/preference_step.h"
#include "controller/reference.h"
#include "controller/role_config.h"
#include "controller/rows.h"
#include "proto/body.h"
#include "proto/endpoint.h"
#include "proto/weights/weights.h"

enum { RETURNS_MAX = 3, STATE_LIMIT = 1 << 16 };

// For the steps

double controller_run_phase(controller_run_t *run, const char *phase)
{
    double now = tr_clock_seconds();
    json_t *version = json_object_get(run->weights, "version");
    tr_broker_set_note(run->broker,
                       json_pack("{s:s, s:I, s:I, s:s, s:f, s:O}", "algorithm",
                                 tr_algorithm_name(run->recipe->algorithm), "step",
                                 (json_int_t)run->step + 1, "steps", (json_int_t)run->recipe->steps,
                                 "phase", phase, "phase_since", tr_clock_wall(), "weights_version",
                                 version != NULL ? version : json_null()));
    controller_progress_phase(run->progress, phase, now);
    return now;
}

controller_call_t controller_run_learner_call(tr_role_t role, const char *method)
{
    return (controller_call_t){.role = role, .worker = tr_role_name(role), .method = method};
}

json_t *controller_run_train_pass(const controller_run_t *run, uint64_t step, uint64_t epochs,
                                  uint64_t minibatches, double learning_rate)
{
    const tr_recipe_t *recipe = run->recipe;
    bool ppo = recipe->algorithm == TR_ALGORITHM_PPO;
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:f, s:f}", "step", (json_int_t)step, "epochs",
                     (json_int_t)epochs, "minibatches", (json_int_t)minibatches, "chunk",
                     (json_int_t)recipe->optimizer.chunk, "seed", (json_int_t)recipe->seed,
                     "learning_rate", learning_rate, "temperature",
                     ppo ? recipe->generation.temperature : 1.0);
}

double controller_run_rate(const controller_run_t *run, double peak, uint64_t step)
{
    const tr_recipe_t *recipe = run->recipe;
    const tr_schedule_t schedule = {
        .kind = (tr_schedule_kind_t)recipe->optimizer.schedule,
        .learning_rate = peak,
        .warmup_steps = recipe->optimizer.warmup,
        .total_steps = recipe->steps,
    };
    return tr_schedule_rate(&schedule, step - 1);
}

tr_status controller_run_copy_metric(controller_record_t *record, const char *name,
                                     const json_t *body, const char *key, tr_error_t *err)
{
    double value;
    TR_TRY(tr_body_real(&value, body, key, "a learner's report", err));
    return controller_record_set(record, name, value, err);
}

static tr_status take_weights(void *context, size_t index, const tr_message_t *reply,
                              tr_error_t *err)
{
    controller_run_t *run = context;
    json_t *weights;
    (void)index;
    TR_TRY(tr_body_object(&weights, tr_message_body(reply), "weights", "reply", err));
    json_decref(run->weights);
    run->weights = json_incref(weights);
    return TR_OK;
}

tr_status controller_run_publish(controller_run_t *run, uint64_t step, tr_error_t *err)
{
    controller_call_t call = controller_run_learner_call(TR_ROLE_ACTOR, "publish");
    tr_message_t *message = tr_message_new("request");
    tr_message_set_body(message, json_pack("{s:I}", "step", (json_int_t)step));
    call.take = take_weights;
    call.context = run;
    controller_run_phase(run, "publish");
    controller_calls_ask(run->calls, &call, &message);
    TR_TRY(controller_calls_finish(run->calls, err));
    const char *checksum = json_string_value(json_object_get(run->weights, "checksum"));
    tr_log(TR_LOG_INFO, "weights", "version=%" PRIu64 " checksum=%s \"published\"", step,
           checksum != NULL ? checksum : "?");
    return TR_OK;
}

// Checkpoints

/// Whether there is a critic.
static bool is_ppo(const controller_run_t *run)
{
    return run->recipe->algorithm == TR_ALGORITHM_PPO;
}

static bool generates(const controller_run_t *run)
{
    return tr_algorithm_generates(run->recipe->algorithm);
}

static bool learns(const controller_run_t *run)
{
    return tr_algorithm_learns(run->recipe->algorithm);
}

static tr_status save_role(controller_run_t *run, tr_role_t role, const char *directory,
                           bool optimizer, uint64_t step, tr_error_t *err)
{
    const controller_call_t call = controller_run_learner_call(role, "save");
    tr_message_t *message = tr_message_new("request");
    json_t *body = json_pack("{s:I, s:s, s:b}", "step", (json_int_t)step, "directory", directory,
                             "optimizer", (int)optimizer);
    if (run->scores != NULL) {
        json_object_set(body, "scores", run->scores);
    }
    tr_message_set_body(message, body);
    controller_calls_ask(run->calls, &call, &message);
    return controller_calls_finish(run->calls, err);
}

/// Of a reference that follows the policy.
static tr_status save_reference(controller_run_t *run, const char *directory, uint64_t step,
                                tr_error_t *err)
{
    const controller_call_t call = controller_run_learner_call(TR_ROLE_ACTOR, "save_reference");
    tr_message_t *message = tr_message_new("request");
    tr_message_set_body(message,
                        json_pack("{s:I, s:s}", "step", (json_int_t)step, "directory", directory));
    controller_calls_ask(run->calls, &call, &message);
    return controller_calls_finish(run->calls, err);
}

static tr_status write_state(const controller_run_t *run, const char *directory, uint64_t step,
                             tr_error_t *err)
{
    char *path = tr_format("%s/state.json", directory);
    json_t *state =
        json_pack("{s:s, s:I, s:I}", "algorithm", tr_algorithm_name(run->recipe->algorithm), "step",
                  (json_int_t)step, "num_tokens", (json_int_t)run->tokens);
    char *text = json_dumps(state, JSON_INDENT(2));
    tr_status status = tr_file_write_atomic(path, text, strlen(text), err);
    free(text);
    json_decref(state);
    free(path);
    return status;
}

/// Where learners begin from now on: the checkpoint of a step, or the recipe's models for step 0.
static void welcome_from(controller_run_t *run, uint64_t step)
{
    char *checkpoint = step > 0 ? controller_rundir_checkpoint(run->rundir, step) : NULL;
    const controller_start_t start = {checkpoint, step, controller_rundir_path(run->rundir)};
    controller_role_config_set(run->broker, run->recipe, &start);
    free(checkpoint);
}

static tr_status save_checkpoint(controller_run_t *run, uint64_t step, tr_error_t *err)
{
    char *path = NULL, *critic = NULL, *reference = NULL;
    tr_status status;
    controller_run_phase(run, "checkpoint");
    TR_TRY_GOTO(controller_rundir_checkpoint_begin(&path, run->rundir, step, err), done);
    if (learns(run)) {
        TR_TRY_GOTO(save_role(run, TR_ROLE_ACTOR, path, true, step, err), done);
    }
    if (controller_losses_sync_reference(run->recipe)) {
        reference = tr_format("%s/reference", path);
        TR_TRY_GOTO(save_reference(run, reference, step, err), done);
    }
    if (is_ppo(run)) {
        critic = tr_format("%s/critic", path);
        TR_TRY_GOTO(save_role(run, TR_ROLE_CRITIC, critic, true, step, err), done);
    }
    TR_TRY_GOTO(write_state(run, path, step, err), done);
    TR_TRY_GOTO(controller_metrics_sync(run->metrics, err), done);
    TR_TRY_GOTO(controller_samples_sync(run->samples, err), done);
    TR_TRY_GOTO(controller_events_sync(run->events, err), done);
    TR_TRY_GOTO(controller_rundir_checkpoint_commit(run->rundir, step, err), done);
    TR_TRY_GOTO(controller_rundir_checkpoint_prune(run->rundir, run->recipe->checkpoint.keep, err),
                done);
    welcome_from(run, step);
done:
    free(reference);
    free(critic);
    free(path);
    return status;
}

static tr_status read_state(controller_run_t *run, uint64_t step, tr_error_t *err)
{
    char *directory = controller_rundir_checkpoint(run->rundir, step);
    char *path = tr_format("%s/state.json", directory);
    json_t *state = NULL;
    int64_t found = 0, tokens = 0;
    tr_status status = tr_json_file_read(&state, path, STATE_LIMIT, err);
    if (status == TR_OK) {
        status = tr_body_integer(&found, state, "step", 1, INT64_MAX, path, err);
    }
    if (status == TR_OK) {
        status = tr_body_integer(&tokens, state, "num_tokens", 0, INT64_MAX, path, err);
    }
    if (status == TR_OK && (uint64_t)found != step) {
        status =
            tr_fail(err, TR_ERR_FORMAT, "'%s': step %" PRId64 " in the checkpoint of step %" PRIu64,
                    path, found, step);
    }
    run->tokens = (uint64_t)tokens;
    json_decref(state);
    free(path);
    free(directory);
    return status;
}

static void close_outputs(controller_run_t *run)
{
    controller_metrics_destroy(&run->metrics);
    controller_samples_destroy(&run->samples);
    controller_events_destroy(&run->events);
}

/// Opens metrics, samples and events, cut after the step that is finished.
static tr_status open_outputs(controller_run_t *run, tr_error_t *err)
{
    char *metrics = controller_rundir_file(run->rundir, "metrics.jsonl");
    char *samples = controller_rundir_file(run->rundir, "samples.jsonl");
    const char *directory = controller_rundir_path(run->rundir);
    tr_status status;
    close_outputs(run);
    TR_TRY_GOTO(controller_metrics_open(&run->metrics, metrics, run->step, err), done);
    TR_TRY_GOTO(controller_samples_open(&run->samples, samples, run->step, err), done);
    status = controller_events_open(&run->events, directory, run->step, err);
done:
    free(samples);
    free(metrics);
    return status;
}

/// Learners that live on forget what they learnt since the checkpoint.
static tr_status restore_learners(controller_run_t *run, tr_error_t *err)
{
    char *checkpoint = run->step > 0 ? controller_rundir_checkpoint(run->rundir, run->step) : NULL;
    const controller_start_t start = {checkpoint, run->step, controller_rundir_path(run->rundir)};
    const controller_call_t actor = controller_run_learner_call(TR_ROLE_ACTOR, "restore");
    const controller_call_t critic = controller_run_learner_call(TR_ROLE_CRITIC, "restore");
    tr_message_t *message = tr_message_new("request");
    tr_message_set_body(message, controller_role_config_actor(run->recipe, &start));
    controller_calls_ask(run->calls, &actor, &message);
    if (is_ppo(run)) {
        message = tr_message_new("request");
        tr_message_set_body(message, controller_role_config_critic(run->recipe, &start));
        controller_calls_ask(run->calls, &critic, &message);
    }
    free(checkpoint);
    return controller_calls_finish(run->calls, err);
}

/// To the last checkpoint, or the beginning. restore: learners are there already.
static tr_status go_to_checkpoint(controller_run_t *run, bool restore, tr_error_t *err)
{
    bool found;
    run->tokens = 0;
    TR_TRY(controller_rundir_checkpoint_latest(&run->step, &found, run->rundir, err));
    if (found) {
        TR_TRY(read_state(run, run->step, err));
    }
    TR_TRY(open_outputs(run, err));
    welcome_from(run, run->step);
    if (restore && learns(run)) {
        controller_run_phase(run, "restore");
        TR_TRY(restore_learners(run, err));
    }
    if (!learns(run)) {
        json_decref(run->weights);
        run->weights = json_pack("{s:i, s:s}", "version", 0, "checksum", TR_WEIGHTS_FROZEN);
        return TR_OK;
    }
    return generates(run) ? controller_run_publish(run, run->step, err) : TR_OK;
}

// Steps

static tr_status report_time(controller_run_t *run, controller_record_t *record, double seconds,
                             tr_error_t *err)
{
    const tr_recipe_t *recipe = run->recipe;
    bool separate = recipe->roles.reference.separate && controller_losses_read_reference(recipe);
    double episodes = (double)(recipe->data.batch * recipe->generation.samples);
    TR_TRY(controller_record_set(record, "time/step", seconds, err));
    if (generates(run)) {
        TR_TRY(controller_record_set(record, "eps", episodes / seconds, err));
    }
    for (size_t role = 0; role < TR_ROLE_COUNT; role++) {
        const bool used[TR_ROLE_COUNT] = {
            [TR_ROLE_ACTOR] = learns(run),      [TR_ROLE_CRITIC] = is_ppo(run),
            [TR_ROLE_ROLLOUT] = generates(run), [TR_ROLE_REWARD] = generates(run),
            [TR_ROLE_REFERENCE] = separate,
        };
        if (used[role]) {
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

/// After the step that is finished, and always after the last.
static bool checkpoint_due(const controller_run_t *run)
{
    uint64_t every = run->recipe->checkpoint.every;
    return run->step == run->recipe->steps || (every > 0 && run->step % every == 0);
}

typedef tr_status (*step_fn)(controller_run_t *run, uint64_t step, controller_record_t *record,
                             tr_error_t *err);

static step_fn step_of(tr_algorithm_t algorithm)
{
    switch (algorithm) {
    case TR_ALGORITHM_PPO: return controller_ppo_step;
    case TR_ALGORITHM_ONLINE_DPO:
    case TR_ALGORITHM_REJECTION_SAMPLING:
    case TR_ALGORITHM_SAMPLE: return controller_online_step;
    case TR_ALGORITHM_SFT:
    case TR_ALGORITHM_REWARD:
    case TR_ALGORITHM_DPO:
    case TR_ALGORITHM_KTO: break;
    }
    return controller_preference_step;
}

/// For those who save the model: what its scores are like.
static void note_scores(controller_run_t *run, const controller_record_t *record)
{
    const double *mean = controller_record_find(record, "eval_mean_reward");
    const double *deviation = controller_record_find(record, "eval_reward_std");
    if (run->recipe->reward.normalize && mean != NULL && deviation != NULL) {
        json_decref(run->scores);
        run->scores = json_pack("{s:f, s:f}", "mean", *mean, "std", *deviation);
    }
}

static tr_status take_step(controller_run_t *run, controller_record_t *record, tr_error_t *err)
{
    double began = tr_clock_seconds();
    controller_calls_reset(run->calls);
    TR_TRY(step_of(run->recipe->algorithm)(run, record->step, record, err));
    run->step = record->step;
    if (run->eval_rows.count > 0 && checkpoint_due(run)) {
        TR_TRY(controller_preference_evaluate(run, record, err));
        note_scores(run, record);
    }
    TR_TRY(report_time(run, record, tr_clock_seconds() - began, err));
    TR_TRY(controller_metrics_append(run->metrics, record, err));
    TR_TRY(controller_events_append(run->events, record, tr_clock_wall(), err));
    controller_progress_step(run->progress, record, tr_clock_seconds());
    return TR_OK;
}

/// The next step, and its checkpoint when one is due.
static tr_status advance(controller_run_t *run, tr_error_t *err)
{
    controller_record_t record;
    controller_record_init(&record, run->step + 1);
    tr_status status = take_step(run, &record, err);
    controller_record_release(&record);
    TR_TRY(status);
    return checkpoint_due(run) ? save_checkpoint(run, run->step, err) : TR_OK;
}

/// What is asked once, before the first step.
static tr_status prepare(controller_run_t *run, tr_error_t *err)
{
    if (!controller_losses_precompute_reference(run->recipe) || run->reference_known) {
        return TR_OK;
    }
    TR_TRY(controller_reference_precompute(run, &run->rows, "train", err));
    if (run->eval_rows.count > 0) {
        TR_TRY(controller_reference_precompute(run, &run->eval_rows, "eval", err));
    }
    run->reference_known = true;
    return controller_reference_forget(run, err);
}

/// Back to the last checkpoint, or to the beginning; restore: learners are there already.
static tr_status begin(controller_run_t *run, bool restore, tr_error_t *err)
{
    TR_TRY(go_to_checkpoint(run, restore, err));
    return prepare(run, err);
}

/// All steps. A lost learner sends the run back, but not for ever over the same step.
static tr_status take_all_steps(controller_run_t *run, tr_error_t *err)
{
    tr_status status = begin(run, false, err);
    uint64_t furthest = run->step;
    unsigned returns = 0;
    while (status == TR_ERR_VERSION || (status == TR_OK && run->step < run->recipe->steps)) {
        if (status == TR_ERR_VERSION) {
            if (returns++ == RETURNS_MAX) {
                return tr_error_prefix(err, "step %" PRIu64 " failed %u times", run->step + 1,
                                       returns);
            }
            tr_log(TR_LOG_WARN, "run", "step=%" PRIu64 " \"back to the last checkpoint: %s\"",
                   run->step + 1, err->text);
            *err = (tr_error_t){0};
            status = begin(run, true, err);
            continue;
        }
        status = advance(run, err);
        if (run->step > furthest) {
            furthest = run->step;
            returns = 0;
        }
    }
    return status;
}

static tr_status save_final(controller_run_t *run, tr_error_t *err)
{
    char *path = controller_rundir_file(run->rundir, "final");
    tr_status status = !learns(run)
                           ? tr_directory_make(path, err)
                           : save_role(run, TR_ROLE_ACTOR, path, false, run->recipe->steps, err);
    free(path);
    return status;
}

// Life cycle

static tr_status load_rows(controller_run_t *run, tr_error_t *err)
{
    const tr_recipe_t *recipe = run->recipe;
    TR_TRY(tr_tokenizer_new(&run->tokenizer, recipe->model, err));
    TR_TRY(tr_model_config_load(&run->model, recipe->model, err));
    size_t ids = tr_tokenizer_vocab_size(run->tokenizer);
    if (ids > run->model.vocabulary) {
        return tr_fail(
            err, TR_ERR_ARGUMENT,
            "'%s': the tokenizer has %zu ids and the model's vocabulary %zu: they do not "
            "belong together",
            recipe->model, ids, run->model.vocabulary);
    }
    size_t positions = run->model.max_positions;
    TR_TRY(controller_rows_load(&run->rows, recipe, run->tokenizer, positions, err));
    if (!generates(run) && recipe->data.eval.count > 0) {
        TR_TRY(controller_rows_load_eval(&run->eval_rows, recipe, run->tokenizer, positions, err));
    }
    if (learns(run) && recipe->data.batch > run->rows.count) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "data.batch is %" PRIu64 " and the files hold %zu rows: lower it",
                       recipe->data.batch, run->rows.count);
    }
    return TR_OK;
}

/// Says it to the user and to the log.
static void note(controller_run_t *run, char *sentence)
{
    tr_log(TR_LOG_WARN, "data", "\"%s\"", sentence);
    controller_progress_note(run->progress, sentence);
    free(sentence);
}

static void note_dropped(controller_run_t *run, const tr_rows_t *rows, const char *key)
{
    size_t dropped = rows->dataset != NULL ? tr_dataset_dropped(rows->dataset) : 0;
    if (dropped > 0) {
        note(run, tr_format("%s: %zu of %zu rows are bad and were dropped; "
                            "logs/controller.log names them",
                            key, dropped, dropped + tr_dataset_size(rows->dataset)));
    }
}

/// TRL's advice on KTO's weights, where the two classes are out of balance.
static void note_balance(controller_run_t *run)
{
    const tr_recipe_kto_t *kto = &run->recipe->kto;
    const tr_kto_options_t options = {.desirable_weight = kto->desirable_weight,
                                      .undesirable_weight = kto->undesirable_weight};
    tr_kto_advice_t advice;
    size_t desirable = 0;
    for (size_t i = 0; i < run->rows.count; i++) {
        desirable += run->rows.sequences[i].label;
    }
    tr_kto_advise(&advice, desirable, run->rows.count - desirable, &options);
    if (!advice.balanced) {
        note(run,
             tr_format("kto: %zu desirable and %zu undesirable rows: either "
                       "desirable_weight in [%g, %g] or undesirable_weight in [%g, %g] would "
                       "balance them",
                       desirable, run->rows.count - desirable, advice.desirable_low,
                       advice.desirable_high, advice.undesirable_low, advice.undesirable_high));
    }
}

static tr_status open_broker(controller_run_t *run, tr_error_t *err)
{
    const tr_recipe_network_t *network = &run->recipe->network;
    tr_dispatch_options_t options;
    char *endpoint = NULL;
    tr_dispatch_options_init(&options);
    if (network->bind != NULL) {
        endpoint = tr_strdup(network->bind);
    } else {
        TR_TRY(tr_endpoint_default(&endpoint, controller_rundir_path(run->rundir), err));
    }
    tr_status status = tr_broker_new(&run->broker, endpoint, network->keys, &options, err);
    free(endpoint);
    return status;
}

static tr_status open_run(controller_run_t *run, const volatile sig_atomic_t *stop, tr_error_t *err)
{
    TR_TRY(load_rows(run, err));
    TR_TRY(open_broker(run, err));
    run->calls = controller_calls_new(run->broker, stop);
    if (generates(run)) {
        run->judges = controller_judges_new(&run->recipe->roles.reward, &run->rows, run->tokenizer,
                                            run->calls);
    }
    uint64_t done;
    bool found;
    TR_TRY(controller_rundir_checkpoint_latest(&done, &found, run->rundir, err));
    run->progress = controller_progress_new(stdout, done, run->recipe->steps);
    note_dropped(run, &run->rows, generates(run) ? "data.prompts" : "data.train");
    note_dropped(run, &run->eval_rows, "data.eval");
    if (run->recipe->algorithm == TR_ALGORITHM_KTO) {
        note_balance(run);
    }
    welcome_from(run, done); // before workers can come
    return controller_rundir_write_endpoint(run->rundir, tr_broker_endpoint(run->broker), err);
}

static void close_run(controller_run_t *run)
{
    controller_progress_destroy(&run->progress);
    controller_judges_destroy(&run->judges);
    controller_calls_destroy(&run->calls);
    tr_broker_destroy(&run->broker);
    close_outputs(run);
    tr_rows_release(&run->rows);
    tr_rows_release(&run->eval_rows);
    tr_tokenizer_destroy(&run->tokenizer);
    json_decref(run->weights);
    json_decref(run->scores);
}

static tr_status run_recipe(controller_run_t *run, const volatile sig_atomic_t *stop,
                            tr_error_t *err)
{
    tr_status status = open_run(run, stop, err);
    if (status == TR_OK) {
        status = take_all_steps(run, err);
    }
    if (status == TR_OK) {
        status = save_final(run, err);
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
    bool found;
    uint64_t step;
    tr_status status;
    TR_TRY(controller_rundir_open(&run.rundir, directory, err));
    TR_TRY_GOTO(load_recipe(&recipe, run.rundir, err), done);
    TR_TRY_GOTO(controller_rundir_checkpoint_latest(&step, &found, run.rundir, err), done);
    if (found && !resume) {
        status = tr_fail(err, TR_ERR_ARGUMENT,
                         "'%s' has run already: `troupe resume %s` goes on with it", directory,
                         directory);
        goto done;
    }
    if (has_file(run.rundir, "final")) {
        tr_log(TR_LOG_INFO, "run", "\"finished already\"");
        goto done;
    }
    run.recipe = recipe;
    status = run_recipe(&run, stop, err);
done:
    controller_rundir_destroy(&run.rundir);
    tr_recipe_destroy(&recipe);
    return status;
}
