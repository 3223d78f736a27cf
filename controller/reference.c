#include "controller/reference.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/hub/safetensors.h"
#include "controller/losses.h"

// Asking

typedef struct question {
    float *logprobs; // [n]
    size_t n;
} question_t;

static tr_status take_logprobs(void *context, size_t index, const tr_message_t *reply,
                               tr_error_t *err)
{
    question_t *question = context;
    tr_view_t view;
    (void)index;
    TR_TRY(tr_message_expect_tensor(&view, reply, "logprobs", TR_F32, question->n, err));
    memcpy(question->logprobs, view.data, question->n * sizeof *question->logprobs);
    return TR_OK;
}

/// A call to whoever holds the reference.
static controller_call_t call_of(const controller_run_t *run, const char *method)
{
    controller_call_t call = controller_run_learner_call(TR_ROLE_ACTOR, method);
    if (run->recipe->roles.reference.separate) {
        call.role = TR_ROLE_REFERENCE;
        call.worker = NULL;
    }
    return call;
}

tr_status controller_reference_ask(float *logprobs, controller_run_t *run,
                                   const controller_batch_t *batch, tr_error_t *err)
{
    question_t question = {logprobs, batch->learnt};
    controller_call_t call = call_of(run, "logprobs");
    call.take = take_logprobs;
    call.context = &question;
    tr_message_t *message = tr_message_new("request");
    tr_message_set_body(message, json_pack("{s:f, s:I}", "temperature", 1.0, "chunk",
                                           (json_int_t)run->recipe->optimizer.chunk));
    tr_sequences_put(message, &batch->sequences);
    controller_calls_ask(run->calls, &call, &message);
    return controller_calls_finish(run->calls, err);
}

tr_status controller_reference_forget(controller_run_t *run, tr_error_t *err)
{
    const controller_call_t call = call_of(run, "forget");
    tr_message_t *message = tr_message_new("request");
    tr_message_set_body(message, json_object());
    controller_calls_ask(run->calls, &call, &message);
    return controller_calls_finish(run->calls, err);
}

tr_status controller_reference_sync(controller_run_t *run, uint64_t step, tr_error_t *err)
{
    const tr_recipe_t *recipe = run->recipe;
    if (!controller_losses_sync_reference(recipe) || step % recipe->dpo.ref_model_sync_steps != 0) {
        return TR_OK;
    }
    const controller_call_t call = controller_run_learner_call(TR_ROLE_ACTOR, "mix_reference");
    tr_message_t *message = tr_message_new("request");
    tr_message_set_body(message, json_pack("{s:I, s:f}", "step", (json_int_t)step, "alpha",
                                           recipe->dpo.ref_model_mixup_alpha));
    controller_calls_ask(run->calls, &call, &message);
    return controller_calls_finish(run->calls, err);
}

// All rows

/// Gives each item of rows first..first + count - 1 its part of logprobs.
static void deal(controller_rows_t *rows, size_t first, size_t count, const float *logprobs)
{
    for (size_t i = rows->starts[first]; i < rows->starts[first + count]; i++) {
        controller_row_t *item = &rows->items[i];
        size_t n = controller_row_learnt(rows, item);
        item->reference = tr_realloc(item->reference, n * sizeof *item->reference);
        memcpy(item->reference, logprobs, n * sizeof *item->reference);
        logprobs += n;
    }
}

static tr_status ask_piece(controller_run_t *run, controller_rows_t *rows, size_t first,
                           size_t count, tr_error_t *err)
{
    controller_batch_t batch;
    uint32_t *chosen = tr_calloc(count, sizeof *chosen);
    for (size_t i = 0; i < count; i++) {
        chosen[i] = (uint32_t)(first + i);
    }
    controller_batch_init(&batch, rows, chosen, count, false);
    float *logprobs = tr_calloc(batch.learnt + 1, sizeof *logprobs);
    tr_status status = controller_reference_ask(logprobs, run, &batch, err);
    if (status == TR_OK) {
        deal(rows, first, count, logprobs);
    }
    free(logprobs);
    controller_batch_release(&batch);
    free(chosen);
    return status;
}

static size_t learnt_tokens(const controller_rows_t *rows)
{
    size_t n = 0;
    for (size_t i = 0; i < rows->starts[rows->count]; i++) {
        n += controller_row_learnt(rows, &rows->items[i]);
    }
    return n;
}

/// What the log-probs are of: the rows' tokens, where they are cut, and the reference's directory. [17]
static void key_of(char *key, const controller_run_t *run, const controller_rows_t *rows)
{
    const tr_recipe_t *recipe = run->recipe;
    const char *model = recipe->reference != NULL ? recipe->reference : recipe->model;
    XXH64_hash_t hash = XXH3_64bits_withSeed(model, strlen(model), rows->keep_end);
    for (size_t i = 0; i < rows->starts[rows->count]; i++) {
        const controller_row_t *item = &rows->items[i];
        hash = XXH3_64bits_withSeed(item->ids, item->length * sizeof *item->ids,
                                    hash + item->prompt + controller_row_learnt(rows, item));
    }
    snprintf(key, 17, "%016llx", (unsigned long long)hash);
}

/// Deals out what a file holds. *found: whether it is of these rows.
static tr_status read_all(bool *found, controller_rows_t *rows, const char *path, const char *key,
                          tr_error_t *err)
{
    tr_safetensors_t *file = NULL;
    size_t n = learnt_tokens(rows);
    float *logprobs = tr_calloc(n + 1, sizeof *logprobs);
    tr_status status;
    *found = false;
    TR_TRY_GOTO(tr_safetensors_open(&file, path, err), done);
    const char *written = tr_safetensors_metadata(file, "key");
    if (written == NULL || strcmp(written, key) != 0) {
        goto done;
    }
    TR_TRY_GOTO(tr_safetensors_copy(file, "logprobs", TR_F32, logprobs, n, err), done);
    deal(rows, 0, rows->count, logprobs);
    *found = true;
done:
    tr_safetensors_close(&file);
    free(logprobs);
    return status;
}

static tr_status write_all(const controller_rows_t *rows, const char *path, const char *key,
                           tr_error_t *err)
{
    size_t n = learnt_tokens(rows), at = 0;
    float *logprobs = tr_calloc(n + 1, sizeof *logprobs);
    for (size_t i = 0; i < rows->starts[rows->count]; i++) {
        size_t length = controller_row_learnt(rows, &rows->items[i]);
        memcpy(logprobs + at, rows->items[i].reference, length * sizeof *logprobs);
        at += length;
    }
    const tr_safetensors_entry_t entry = {"logprobs", TR_F32, 1, {n}, logprobs, NULL};
    const tr_safetensors_pair_t pair = {"key", key};
    tr_status status = tr_safetensors_write(path, &entry, 1, &pair, 1, err);
    free(logprobs);
    return status;
}

static tr_status ask_all(controller_run_t *run, controller_rows_t *rows, tr_error_t *err)
{
    size_t batch = run->recipe->data.batch;
    controller_run_phase(run, "reference");
    for (size_t first = 0; first < rows->count; first += batch) {
        size_t left = rows->count - first;
        TR_TRY(ask_piece(run, rows, first, left < batch ? left : batch, err));
    }
    return TR_OK;
}

tr_status controller_reference_precompute(controller_run_t *run, controller_rows_t *rows,
                                          const char *name, tr_error_t *err)
{
    char *file = tr_format("reference-%s.safetensors", name);
    char *path = controller_rundir_file(run->rundir, file);
    char key[17];
    bool found = false;
    tr_status status = TR_OK;
    key_of(key, run, rows);
    if (access(path, F_OK) == 0 && read_all(&found, rows, path, key, err) != TR_OK) {
        tr_log(TR_LOG_WARN, "reference", "\"asked anew: %s\"", err->text);
        *err = (tr_error_t){0};
    }
    if (!found) {
        TR_TRY_GOTO(ask_all(run, rows, err), done);
        TR_TRY_GOTO(write_all(rows, path, key, err), done);
    }
done:
    free(path);
    free(file);
    return status;
}
