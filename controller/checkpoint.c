// Checkpoints of a run: what roles save, the controller's own state, and the way back.
//
// A checkpoint is complete or absent: everything is written and synced under another name, which
// rundir_checkpoints.c then renames. Metrics, samples and events are synced before that, so a
// resumed run finds at least the lines up to its step, and cuts those that came later.
#include "controller/checkpoint.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/hf/json_file.h"
#include "common/model/trainer.h"
#include "common/text/chat.h"
#include "controller/events.h"
#include "controller/lines.h"
#include "controller/role_config.h"
#include "proto/body.h"
#include "proto/weights/weights.h"

// The file has a few keys; the bound keeps a wrong file from being read into memory.
enum { STATE_LIMIT = 1 << 16 }; // bytes of state.json

// Saving

/// Has a learner save its model in the directory: with its optimizer's state, in fp32, to go on
/// from, or alone, as the recipe wants the last one.
static tr_status save_role(controller_run_t *run, tr_role_t role, const char *directory,
                           bool optimizer, uint64_t step, tr_error_t *err)
{
    const tr_recipe_t *recipe = run->recipe;
    int dtype = optimizer ? TR_SAVE_F32 : recipe->save_dtype;
    // With ranks, all get the request, and rank 0 writes (proto/learner/learner.h).
    const controller_call_t call = controller_run_learner_call(role, "save");
    char *chat = NULL;
    // A model that learnt by another template than its own is saved with that.
    if (recipe->data.chat_template != NULL) {
        TR_TRY(tr_encoder_find_chat(&run->data.rows.encoder, err));
        chat = tr_chat_saved(run->data.rows.encoder.chat);
    }
    json_t *body =
        json_pack("{s:I, s:s, s:b, s:s}", "step", (json_int_t)step, "directory", directory,
                  "optimizer", (int)optimizer, "dtype", tr_save_dtype_names[dtype]);
    json_object_set_new(body, "chat_template", chat != NULL ? json_string(chat) : json_null());
    free(chat);
    // reward.normalize: config.json then says by what scores are to be shifted and scaled.
    if (run->scores != NULL) {
        json_object_set(body, "scores", run->scores);
    }
    return controller_run_ask(run, &call, body, err);
}

/// Has the actor save a reference that follows the policy, which no other file could restore.
static tr_status save_reference(controller_run_t *run, const char *directory, uint64_t step,
                                tr_error_t *err)
{
    const controller_call_t call = controller_run_learner_call(TR_ROLE_ACTOR, "save_reference");
    return controller_run_ask(
        run, &call, json_pack("{s:I, s:s}", "step", (json_int_t)step, "directory", directory), err);
}

/// In hexadecimal: JSON's integers end below 2^63.
static void put_checksum(json_t *state, const char *key, uint64_t checksum)
{
    char text[17];
    snprintf(text, sizeof text, "%016" PRIx64, checksum);
    json_object_set_new(state, key, json_string(text));
}

/// Writes state.json: what the controller itself must know to go on.
static tr_status write_state(const controller_run_t *run, const char *directory, uint64_t step,
                             tr_error_t *err)
{
    char *path = tr_format("%s/state.json", directory);
    // Random numbers are functions of the step, so no state of a generator is kept.
    json_t *state = json_pack("{s:s, s:I, s:I}", "algorithm", run->algorithm->name, "step",
                              (json_int_t)step, "num_tokens", (json_int_t)run->tokens);
    put_checksum(state, "rows_files", run->checksum);
    put_checksum(state, "eval_files", run->eval_checksum);
    if (run->best.step > 0) {
        json_object_set_new(state, "best",
                            json_pack("{s:s, s:I, s:f, s:I}", "metric",
                                      run->recipe->checkpoint.best, "step",
                                      (json_int_t)run->best.step, "value", run->best.value, "later",
                                      (json_int_t)run->best.later));
    }
    // For people to read: the only file of a checkpoint that is not the model's.
    char *text = json_dumps(state, JSON_INDENT(2));
    tr_status status = tr_file_write_atomic(path, text, strlen(text), err);
    free(text);
    json_decref(state);
    free(path);
    TR_TRY(status);
    // what the run was then: `troupe resume` compares
    path = tr_format("%s/recipe.yaml", directory);
    status = tr_recipe_write(run->recipe, path, err);
    free(path);
    return status;
}

void controller_checkpoint_announce(controller_run_t *run, uint64_t step)
{
    char *checkpoint = step > 0 ? controller_rundir_checkpoint(run->rundir, step) : NULL;
    const controller_start_t start = {checkpoint, step, controller_rundir_path(run->rundir),
                                      tr_tokenizer_eos(run->data.tokenizer)};
    controller_role_config_set(run->broker, run->recipe, &start);
    free(checkpoint);
}

tr_status controller_checkpoint_save(controller_run_t *run, uint64_t step, tr_error_t *err)
{
    char *path = NULL, *critic = NULL, *reference = NULL;
    tr_status status;
    // Saves run one after another: each writes several times the size of a model.
    controller_run_phase(run, "checkpoint");
    // Under a name that no reader takes for a checkpoint (rundir_checkpoints.c).
    TR_TRY_GOTO(controller_rundir_checkpoint_begin(&path, run->rundir, step, err), done);
    if (tr_algorithm_learns(run->algorithm)) {
        TR_TRY_GOTO(save_role(run, TR_ROLE_ACTOR, path, true, step, err), done);
    }
    if (tr_recipe_syncs_reference(run->recipe)) {
        reference = tr_format("%s/reference", path);
        TR_TRY_GOTO(save_reference(run, reference, step, err), done);
    }
    if (tr_algorithm_has_critic(run->algorithm)) {
        // The actor's model is the checkpoint directory itself, so that any tool can load it.
        critic = tr_format("%s/critic", path);
        TR_TRY_GOTO(save_role(run, TR_ROLE_CRITIC, critic, true, step, err), done);
    }
    // All other writes come before the rename that makes the checkpoint count.
    TR_TRY_GOTO(write_state(run, path, step, err), done);
    TR_TRY_GOTO(controller_appender_sync(run->metrics, err), done);
    TR_TRY_GOTO(controller_appender_sync(run->samples, err), done);
    TR_TRY_GOTO(controller_appender_sync(run->events, err), done);
    // From here on the checkpoint exists; until here a crash leaves the one before.
    TR_TRY_GOTO(controller_rundir_checkpoint_commit(run->rundir, step, err), done);
    TR_TRY_GOTO(controller_rundir_link_best(run->rundir, run->best.step, err), done);
    // Older ones go only when the new one is on the disk.
    TR_TRY_GOTO(controller_rundir_checkpoint_prune(run->rundir, run->recipe->checkpoint.keep,
                                                   run->best.step, err),
                done);
    // Workers that join from now on begin from this checkpoint.
    controller_checkpoint_announce(run, step);
done:
    free(reference);
    free(critic);
    free(path);
    return status;
}

/// A state without the checksum is an older program's.
static bool has_checksum(const json_t *state, const char *key, uint64_t checksum)
{
    const char *text = json_string_value(json_object_get(state, key));
    return text == NULL || strtoull(text, NULL, 16) == checksum;
}

/// Other rows would give the steps that follow another meaning.
static tr_status check_rows(const json_t *state, const tr_recipe_t *recipe, uint64_t checksum,
                            tr_error_t *err)
{
    bool generates = tr_algorithm_generates(tr_recipe_algorithm(recipe));
    return has_checksum(state, "rows_files", checksum)
               ? TR_OK
               : tr_fail(err, TR_ERR_ARGUMENT,
                         "the rows of %s%s are others than when the run was saved: put the files "
                         "back, or start a new run",
                         generates ? "data.prompts" : "data.train",
                         recipe->data.chat_template != NULL ? " or data.chat_template" : "");
}

/// The best evaluation so far, which a run without checkpoint.best has not.
static tr_status read_best(controller_best_t *best, const json_t *state, const char *path,
                           tr_error_t *err)
{
    json_t *object;
    int64_t step, later;
    *best = (controller_best_t){0};
    if (json_object_get(state, "best") == NULL) {
        return TR_OK;
    }
    TR_TRY(tr_body_object(&object, state, "best", path, err));
    TR_TRY(tr_body_integer(&step, object, "step", 1, INT64_MAX, path, err));
    TR_TRY(tr_body_integer(&later, object, "later", 0, INT64_MAX, path, err));
    TR_TRY(tr_body_real(&best->value, object, "value", path, err));
    best->step = (uint64_t)step;
    best->later = (uint64_t)later;
    return TR_OK;
}

/// Values of other held-out rows, or of another metric, are not to be compared: then the next
/// evaluation is the first.
static void forget_best(controller_run_t *run, const json_t *state)
{
    const char *now = run->recipe->checkpoint.best;
    const char *then = json_string_value(json_object_get(json_object_get(state, "best"), "metric"));
    bool same_rows = has_checksum(state, "eval_files", run->eval_checksum);
    if (run->best.step > 0 &&
        (!same_rows || (then != NULL && now != NULL && strcmp(then, now) != 0))) {
        controller_run_warn(
            run, "evaluation",
            tr_format("%s: the best step so far, %" PRIu64 ", is forgotten",
                      same_rows ? "checkpoint.best is another metric" : "data.eval has other rows",
                      run->best.step));
        run->best = (controller_best_t){0};
    }
}

/// Reads state.json of the checkpoint, which must be that of its directory's step.
static tr_status read_state(controller_run_t *run, uint64_t step, tr_error_t *err)
{
    char *directory = controller_rundir_checkpoint(run->rundir, step);
    char *path = tr_format("%s/state.json", directory);
    json_t *state = NULL;
    int64_t found, tokens;
    tr_status status;
    TR_TRY_GOTO(tr_json_file_read(&state, path, STATE_LIMIT, err), done);
    // A directory that was renamed or copied by hand would resume at the wrong step.
    TR_TRY_GOTO(tr_body_integer(&found, state, "step", 1, INT64_MAX, path, err), done);
    TR_TRY_GOTO(tr_body_integer(&tokens, state, "num_tokens", 0, INT64_MAX, path, err), done);
    TR_TRY_GOTO(check_rows(state, run->recipe, run->checksum, err), done);
    TR_TRY_GOTO(read_best(&run->best, state, path, err), done);
    forget_best(run, state);
    if ((uint64_t)found != step) {
        status =
            tr_fail(err, TR_ERR_FORMAT, "'%s': step %" PRId64 " in the checkpoint of step %" PRIu64,
                    path, found, step);
        goto done;
    }
    // num_tokens is a sum over the run, which no other file of the checkpoint has.
    run->tokens = (uint64_t)tokens;
done:
    json_decref(state);
    free(path);
    free(directory);
    return status;
}

tr_status controller_checkpoint_check_rows(const controller_rundir_t *rundir, uint64_t step,
                                           const tr_recipe_t *recipe, uint64_t checksum,
                                           tr_error_t *err)
{
    char *directory = controller_rundir_checkpoint(rundir, step);
    char *path = tr_format("%s/state.json", directory);
    json_t *state = NULL;
    tr_status status = tr_json_file_read(&state, path, STATE_LIMIT, err);
    status = status == TR_OK ? check_rows(state, recipe, checksum, err) : status;
    json_decref(state);
    free(path);
    free(directory);
    return status;
}

void controller_checkpoint_close_outputs(controller_run_t *run)
{
    controller_appender_destroy(&run->metrics);
    controller_appender_destroy(&run->samples);
    controller_appender_destroy(&run->events);
}

/// Opens metrics, samples and events, each cut after the last finished step.
static tr_status open_outputs(controller_run_t *run, tr_error_t *err)
{
    char *metrics = controller_rundir_file(run->rundir, "metrics.jsonl");
    char *samples = controller_rundir_file(run->rundir, "samples.jsonl");
    const char *directory = controller_rundir_path(run->rundir);
    tr_status status;
    controller_checkpoint_close_outputs(run);
    // Opened anew after a return, too: opening is what cuts them.
    TR_TRY_GOTO(controller_lines_open(&run->metrics, metrics, run->step, err), done);
    TR_TRY_GOTO(controller_lines_open(&run->samples, samples, run->step, err), done);
    status = controller_events_open(&run->events, directory, run->step, err);
done:
    free(samples);
    free(metrics);
    return status;
}

// Recovery

/// Rolls running learners back to the checkpoint. One that starts anew gets it with its config.
static tr_status restore_learners(controller_run_t *run, tr_error_t *err)
{
    char *checkpoint = run->step > 0 ? controller_rundir_checkpoint(run->rundir, run->step) : NULL;
    const controller_start_t start = {checkpoint, run->step, controller_rundir_path(run->rundir),
                                      tr_tokenizer_eos(run->data.tokenizer)};
    // Both at once: each reads its own part of the checkpoint.
    const controller_call_t actor = controller_run_learner_call(TR_ROLE_ACTOR, "restore");
    const controller_call_t critic = controller_run_learner_call(TR_ROLE_CRITIC, "restore");
    tr_message_t *message = tr_message_new("request");
    tr_message_set_body(message, controller_role_config_actor(run->recipe, &start));
    controller_calls_ask(run->calls, &actor, &message);
    if (tr_algorithm_has_critic(run->algorithm)) {
        message = tr_message_new("request");
        tr_message_set_body(message, controller_role_config_critic(run->recipe, &start));
        controller_calls_ask(run->calls, &critic, &message);
    }
    free(checkpoint);
    return controller_calls_finish(run->calls, err);
}

tr_status controller_checkpoint_return(controller_run_t *run, bool restore, tr_error_t *err)
{
    run->tokens = 0;
    run->best = (controller_best_t){0};
    TR_TRY(controller_rundir_checkpoint_latest(&run->step, run->rundir, err));
    if (run->step > 0) {
        TR_TRY(read_state(run, run->step, err));
    }
    TR_TRY(controller_rundir_link_best(run->rundir, run->best.step, err));
    // Outputs and configs first: a worker may join while the learners are restored.
    TR_TRY(open_outputs(run, err));
    controller_checkpoint_announce(run, run->step);
    // At the start there is nothing to roll back: workers begin with the config announced above.
    if (restore && tr_algorithm_learns(run->algorithm)) {
        controller_run_phase(run, "restore");
        TR_TRY(restore_learners(run, err));
    }
    // Nothing trains: rollouts keep the model that they were started with.
    if (!tr_algorithm_learns(run->algorithm)) {
        json_decref(run->weights);
        run->weights = json_pack("{s:i, s:s}", "version", 0, "checksum", TR_WEIGHTS_FROZEN);
        return TR_OK;
    }
    // Rollouts may hold weights of a step that is undone: they must be told the right ones.
    return tr_algorithm_generates(run->algorithm) ? controller_run_publish(run, run->step, err)
                                                  : TR_OK;
}

tr_status controller_checkpoint_save_final(controller_run_t *run, tr_error_t *err)
{
    // Without the optimizer's state, which only a resumed run reads.
    // final/ also marks the run as finished, so sampling makes an empty one.
    char *path = controller_rundir_file(run->rundir, "final");
    // Written with the run's last step, whose checkpoint is already on the disk.
    tr_status status = !tr_algorithm_learns(run->algorithm)
                           ? tr_directory_make(path, err)
                           : save_role(run, TR_ROLE_ACTOR, path, false, run->step, err);
    free(path);
    return status;
}
