// The reference: requests for its log-probs, the precomputed ones and their file, and its mixing
// with the policy.
//
// The reference is part of the actor's process, or a process of its own (roles.reference.separate);
// only controller_reference_call knows which. The file saves a resumed run the pass over all rows.
// Next: actor/main.c, which answers.
#include "controller/reference.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/hf/safetensors.h"
#include "controller/steps.h"

// Requests

controller_call_t controller_reference_call(const controller_run_t *run, const char *method)
{
    controller_call_t call = controller_run_learner_call(TR_ROLE_ACTOR, method);
    if (run->recipe->roles.reference.separate) {
        call.role = TR_ROLE_REFERENCE;
        // Any process with the frozen model will do: it has no state to lose.
        call.worker = NULL;
    }
    return call;
}

/// logprobs: [batch->trained], written: those of the batch's response tokens.
static tr_status ask(float *logprobs, controller_run_t *run, const controller_batch_t *batch,
                     tr_error_t *err)
{
    controller_vector_t vector = {"logprobs", logprobs, batch->trained};
    // Rows were not sampled, so their log-probs are those of the untempered model.
    controller_run_infer(run, controller_reference_call(run, "logprobs"), &batch->sequences, 1.0,
                         run->recipe->optimizer.chunk, &vector);
    return controller_calls_finish(run->calls, err);
}

tr_status controller_reference_forget(controller_run_t *run, tr_error_t *err)
{
    const controller_call_t call = controller_reference_call(run, "forget");
    return controller_run_ask(run, &call, json_object(), err);
}

tr_status controller_reference_sync(controller_run_t *run, uint64_t step, tr_error_t *err)
{
    const tr_recipe_t *recipe = run->recipe;
    // TR-DPO: every ref_model_sync_steps, reference = alpha policy + (1 - alpha) reference.
    if (!tr_recipe_syncs_reference(recipe) || step % recipe->dpo.ref_model_sync_steps != 0) {
        return TR_OK;
    }
    // Only an actor has both models: a recipe that syncs has no separate reference.
    const controller_call_t call = controller_run_learner_call(TR_ROLE_ACTOR, "mix_reference");
    return controller_run_ask(run, &call,
                              json_pack("{s:I, s:f}", "step", (json_int_t)step, "alpha",
                                        recipe->dpo.ref_model_mixup_alpha),
                              err);
}

// Precomputed log-probs

/// How rows are asked: each once and in no order, or with mismatched completions in the batches
/// that training and evaluation will take.
static tr_order_t order_of(const controller_run_t *run, const tr_corpus_t *corpus)
{
    return tr_recipe_mismatches(run->recipe)
               ? controller_run_order(run, corpus)
               : (tr_order_t){.size = corpus->count, .batch = run->recipe->data.batch};
}

/// Number of batches to request: each row once, or with mismatched completions each step.
static size_t batches_of(const controller_run_t *run, const tr_corpus_t *corpus)
{
    const tr_order_t order = order_of(run, corpus);
    return tr_recipe_mismatches(run->recipe) && corpus == &run->data.rows ? run->recipe->steps
                                                                          : tr_order_steps(&order);
}

/// The ragged batch `index` of its rows; the caller releases both, after a failure too.
static tr_status make_batch(controller_batch_t *batch, tr_rows_t *rows, const controller_run_t *run,
                            tr_corpus_t *corpus, size_t index, tr_error_t *err)
{
    const tr_order_t order = order_of(run, corpus);
    *batch = (controller_batch_t){0};
    TR_TRY(controller_run_read(rows, corpus, &order, index, err));
    controller_batch_init(batch, rows, tr_recipe_mismatches(run->recipe));
    return TR_OK;
}

/// The log-probs of a corpus while they are laid out.
typedef struct layout {
    size_t n;         // log-probs so far
    XXH64_hash_t key; // of the tokens, of where they are cut, and of the reference's directory
} layout_t;

/// Where the log-probs of batch `index` begin: one start a batch where rows are mismatched, else
/// one a row.
static void lay_out_batch(layout_t *layout, tr_corpus_t *corpus, const controller_batch_t *batch,
                          bool mismatched, size_t index)
{
    const tr_sequences_t *s = &batch->sequences;
    const tr_rows_t *rows = batch->rows;
    if (mismatched) {
        corpus->reference_starts[index] = layout->n;
    }
    for (size_t i = 0; !mismatched && i < rows->count; i++) {
        corpus->reference_starts[rows->numbers[i]] =
            layout->n + (size_t)s->response_starts[rows->starts[i]];
    }
    // Cut sequences have fewer tokens than their rows: only the batch knows how many.
    layout->n += batch->trained;
    // Chained: each hash is the seed of the next, so the order of batches counts.
    layout->key = XXH3_64bits_withSeed(batch->ids, batch->tokens * sizeof *batch->ids, layout->key);
    layout->key = XXH3_64bits_withSeed(s->response_starts,
                                       (s->count + 1) * sizeof *s->response_starts, layout->key);
}

/// Fills reference_starts, of rows or of batches, and allocates the log-probs.
static tr_status lay_out(layout_t *layout, const controller_run_t *run, tr_corpus_t *corpus,
                         tr_error_t *err)
{
    const tr_recipe_t *recipe = run->recipe;
    // By its path: hashing the weights would read the whole model at every start.
    const char *model = recipe->reference != NULL ? recipe->reference : recipe->model;
    size_t batches = batches_of(run, corpus);
    // Room for either kind of start. An attempt that failed (a lost learner) has left some.
    corpus->reference_starts = tr_realloc(
        corpus->reference_starts, (corpus->count + batches + 1) * sizeof *corpus->reference_starts);
    *layout = (layout_t){.key = XXH3_64bits(model, strlen(model))};
    for (size_t i = 0; i < batches; i++) {
        controller_batch_t batch;
        tr_rows_t rows;
        // The batch is made twice, here and for the request: keeping all would hold the data.
        tr_status status = make_batch(&batch, &rows, run, corpus, i, err);
        if (status == TR_OK) {
            lay_out_batch(layout, corpus, &batch, tr_recipe_mismatches(recipe), i);
        }
        controller_batch_release(&batch);
        tr_rows_release(&rows);
        TR_TRY(status);
    }
    // + 1: not NULL even without a token, since NULL means that nothing was precomputed.
    corpus->reference = tr_realloc(corpus->reference, (layout->n + 1) * sizeof *corpus->reference);
    return TR_OK;
}

/// Requests the log-probs of all batches, in order.
static tr_status ask_all(controller_run_t *run, tr_corpus_t *corpus, tr_error_t *err)
{
    size_t batches = batches_of(run, corpus);
    // In the order in which lay_out counted them.
    float *at = corpus->reference;
    controller_run_phase(run, "reference");
    for (size_t i = 0; i < batches; i++) {
        controller_batch_t batch;
        tr_rows_t rows;
        tr_status status = make_batch(&batch, &rows, run, corpus, i, err);
        // One at a time: a request's memory is that of a step's.
        status = status == TR_OK ? ask(at, run, &batch, err) : status;
        at += batch.trained;
        controller_batch_release(&batch);
        tr_rows_release(&rows);
        TR_TRY(status);
    }
    return TR_OK;
}

/// Reads the file if it has this key. *found: whether it has.
static tr_status read_all(bool *found, tr_corpus_t *rows, size_t n, const char *path,
                          const char *key, tr_error_t *err)
{
    tr_safetensors_t *file = NULL;
    *found = false;
    TR_TRY(tr_safetensors_open(&file, path, err));
    // Another key is no error: the data, the template or the reference has changed.
    const char *written = tr_safetensors_metadata(file, "key");
    tr_status status = TR_OK;
    if (written != NULL && strcmp(written, key) == 0) {
        status = tr_safetensors_copy(file, "logprobs", TR_F32, rows->reference, n, err);
        *found = status == TR_OK;
    }
    tr_safetensors_close(&file);
    return status;
}

/// Writes the log-probs with their key.
static tr_status write_all(const tr_corpus_t *rows, size_t n, const char *path, const char *key,
                           tr_error_t *err)
{
    const tr_safetensors_entry_t entry = {"logprobs", TR_F32, 1, {n}, rows->reference, NULL};
    const tr_safetensors_pair_t pair = {"key", key};
    return tr_safetensors_write(path, &entry, 1, &pair, err);
}

/// Reads the log-probs from the file, or requests them and writes it.
static tr_status fill(controller_run_t *run, tr_corpus_t *rows, size_t n, const char *path,
                      const char *key, tr_error_t *err)
{
    bool found = false;
    if (access(path, F_OK) == 0 && read_all(&found, rows, n, path, key, err) != TR_OK) {
        // A damaged file costs time, not the run.
        tr_log(TR_LOG_WARN, "reference", "\"asked anew: %s\"", err->text);
        *err = (tr_error_t){0};
    }
    if (found) {
        return TR_OK;
    }
    // What is read from the file is the same bytes that would come from the reference.
    TR_TRY(ask_all(run, rows, err));
    return write_all(rows, n, path, key, err);
}

tr_status controller_reference_precompute(controller_run_t *run, tr_corpus_t *rows,
                                          const char *name, tr_error_t *err)
{
    layout_t layout;
    TR_TRY(lay_out(&layout, run, rows, err));
    char key[17], *file = tr_format("reference-%s.safetensors", name);
    char *path = controller_rundir_file(run->rundir, file);
    // In hexadecimal: metadata of safetensors are texts.
    snprintf(key, sizeof key, "%016llx", (unsigned long long)layout.key);
    tr_status status = fill(run, rows, layout.n, path, key, err);
    if (status != TR_OK) { // no half-filled log-probs
        free(rows->reference);
        rows->reference = NULL;
    }
    free(path);
    free(file);
    return status;
}

/// Copies the precomputed log-probs of the batch's sequences, in order.
static void recall(float *logprobs, const controller_batch_t *batch)
{
    const tr_rows_t *rows = batch->rows;
    const int32_t *starts = batch->sequences.response_starts;
    for (size_t i = 0; i < rows->count; i++) {
        // Cut as in the batch that was sent: lay_out counted the same tokens.
        size_t first = (size_t)starts[rows->starts[i]], end = (size_t)starts[rows->starts[i + 1]];
        memcpy(logprobs + first,
               rows->corpus->reference + rows->corpus->reference_starts[rows->numbers[i]],
               (end - first) * sizeof *logprobs);
    }
}

tr_status controller_reference_logprobs(float *logprobs, controller_run_t *run,
                                        const controller_batch_t *batch, size_t index,
                                        tr_error_t *err)
{
    const tr_corpus_t *corpus = batch->rows->corpus;
    if (corpus == NULL || corpus->reference == NULL) {
        return ask(logprobs, run, batch, err);
    }
    if (tr_recipe_mismatches(run->recipe)) {
        // Mismatched completions depend on the batch, so whole batches were precomputed, not rows.
        memcpy(logprobs, corpus->reference + corpus->reference_starts[index],
               batch->trained * sizeof *logprobs);
    } else {
        recall(logprobs, batch);
    }
    return TR_OK;
}
