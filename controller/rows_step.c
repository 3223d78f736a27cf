// A step on rows: a batch, the reference's log-probs, one update, and TRL's metrics.
//
// Nothing here knows which algorithm runs: the table of algorithms (common/recipe/algorithms.c)
// gives the actor's method and the options that travel with it, and the actor returns a tally of
// metrics under their own names. Next: actor/training.c, which receives the request.
#include "controller/steps.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "controller/batch.h"
#include "controller/reference.h"
#include "proto/learner/tally.h"

/// Rows of a step, or a batch of the held-out rows, on their way through reference and actor.
typedef struct batch {
    controller_run_t *run;
    controller_batch_t ragged; // the rows' sequences
    float *reference;          // [ragged.trained]; NULL: the loss reads none
    json_t *metrics;           // the actor's answer
} batch_t;

// Batches

static void batch_release(batch_t *batch)
{
    free(batch->reference);
    controller_batch_release(&batch->ragged);
    json_decref(batch->metrics);
}

/// Labels of steps: the mask of a token (0 none, 1 wrong, 2 right) less 1.
static void put_step_labels(tr_message_t *message, const controller_batch_t *ragged)
{
    // TR_MASK_WRONG_STEP and _RIGHT_STEP of common/data are 1 and 2; TR_STEP_NONE is -1.
    int32_t *labels = tr_calloc(ragged->trained + 1, sizeof *labels);
    for (size_t t = 0; t < ragged->trained; t++) {
        labels[t] = (int32_t)ragged->mask[t] - 1;
    }
    tr_message_add_vector(message, "labels", TR_I32, ragged->trained, labels);
    free(labels);
}

/// Adds the tensors beside the sequences: labels and margins a row, masks a token.
static void put_columns(tr_message_t *message, const controller_batch_t *ragged)
{
    const tr_rows_t *rows = ragged->rows;
    int32_t *labels = tr_calloc(rows->count, sizeof *labels);
    float *margins = tr_calloc(rows->count, sizeof *margins);
    for (size_t i = 0; i < rows->count; i++) {
        // The chosen side of a pair comes first, and has its margin.
        const tr_sequence_t *first = &rows->sequences[rows->starts[i]];
        labels[i] = first->label;
        margins[i] = first->margin;
    }
    if (rows->labelled) {
        tr_message_add_vector(message, "desirable", TR_I32, rows->count, labels);
    }
    // Labelled steps use the mask as their labels, so it does not go along as a mask too.
    if (rows->steps) {
        put_step_labels(message, ragged);
    } else if (ragged->mask != NULL) {
        tr_message_add_vector(message, "mask", TR_F32, ragged->trained, ragged->mask);
    }
    if (rows->margins) {
        tr_message_add_vector(message, "margins", TR_F32, rows->count, margins);
    }
    free(margins);
    free(labels);
}

/// Sends the batch to the actor and waits. body: of the pass; taken.
static tr_status ask_actor(batch_t *batch, json_t *body, tr_error_t *err)
{
    controller_run_t *run = batch->run;
    const tr_algorithm_t *algorithm = run->algorithm;
    // Rows with labelled steps train a process reward model, a method of its own.
    controller_call_t call = controller_run_learner_call(
        TR_ROLE_ACTOR, batch->ragged.rows->steps ? "train_steps" : algorithm->method);
    call.take = controller_run_take_metrics;
    call.context = &batch->metrics;
    // The loss's options stand beside the pass, under the names of the recipe.
    tr_fields_to_json(body, (const char *)run->recipe + algorithm->loss_offset, algorithm->loss);
    tr_message_t *message = tr_message_new("request");
    tr_message_set_body(message, body);
    // Without a row there is no tensor, and no epoch either.
    if (batch->ragged.rows->count > 0) {
        tr_sequences_put(message, &batch->ragged.sequences);
        put_columns(message, &batch->ragged);
    }
    if (batch->reference != NULL) {
        tr_message_add_vector(message, "reference", TR_F32, batch->ragged.trained,
                              batch->reference);
    }
    controller_calls_ask(run->calls, &call, &message);
    return controller_calls_finish(run->calls, err);
}

/// Sends rows through reference and actor. index: controller_reference_logprobs. body: of the pass;
/// taken. The caller releases *batch, after a failure too.
static tr_status batch_run(batch_t *batch, controller_run_t *run, const tr_rows_t *rows,
                           size_t index, json_t *body, tr_error_t *err)
{
    // From here on there is something to release, whatever fails.
    *batch = (batch_t){.run = run};
    controller_batch_init(&batch->ragged, rows, tr_recipe_mismatches(run->recipe));
    // The reference first: its log-probs are an input of the loss.
    if (rows->count > 0 && tr_recipe_reads_reference(run->recipe)) {
        batch->reference = tr_calloc(batch->ragged.trained + 1, sizeof *batch->reference);
        tr_status status =
            controller_reference_logprobs(batch->reference, run, &batch->ragged, index, err);
        if (status != TR_OK) {
            // ask_actor would have taken it.
            json_decref(body);
            return status;
        }
    }
    return ask_actor(batch, body, err);
}

// Metrics

/// TRL's margin of KTO: the difference of the means of the two classes, when a batch has both. DPO
/// reports its own, of pairs.
static tr_status put_margin(controller_record_t *record, const char *prefix, tr_error_t *err)
{
    // Found by name, because the tally is the actor's and nothing here knows its algorithm.
    char *margins = tr_format("%srewards/margins", prefix);
    char *chosen_name = tr_format("%srewards/chosen", prefix);
    char *rejected_name = tr_format("%srewards/rejected", prefix);
    // Pointers into the record: read before the next set, which may move it.
    const double *chosen = controller_record_find(record, chosen_name);
    const double *rejected = controller_record_find(record, rejected_name);
    tr_status status = TR_OK;
    if (chosen != NULL && rejected != NULL && controller_record_find(record, margins) == NULL) {
        status = controller_record_set(record, margins, *chosen - *rejected, err);
    }
    free(rejected_name);
    free(chosen_name);
    free(margins);
    return status;
}

/// The metrics of the actor's tally, and those that only the controller knows.
static tr_status report(const batch_t *batch, uint64_t step, double rate, double seconds,
                        controller_record_t *record, tr_error_t *err)
{
    controller_run_t *run = batch->run;
    const tr_order_t order = controller_run_order(run, &run->data.rows);
    TR_TRY(controller_record_add_tally(record, batch->metrics, "", err));
    // Behind the tally, of whose means it is made.
    TR_TRY(put_margin(record, "", err));
    TR_TRY(controller_record_set(record, "learning_rate", rate, err));
    TR_TRY(controller_record_set(record, "num_tokens", (double)run->tokens, err));
    // A smaller last batch counts as a step of its epoch like the others, as in TRL.
    TR_TRY(
        controller_record_set(record, "epoch", (double)step / (double)tr_order_steps(&order), err));
    TR_TRY(controller_record_set(record, "time/train", seconds, err));
    return controller_record_set(record, "tokens_per_second/train",
                                 (double)batch->ragged.tokens / seconds, err);
}

/// Tokens of the rows that are trained on, prompts too, as TRL counts num_tokens. Mismatched
/// completions do not count.
static uint64_t tokens_of(const batch_t *batch)
{
    // `matched` of the sequences are rows; the start of the next one is the sum of their lengths.
    return (uint64_t)batch->ragged.sequences.starts[batch->ragged.matched];
}

tr_status controller_rows_train(controller_run_t *run, const tr_rows_t *rows, uint64_t step,
                                controller_record_t *record, tr_error_t *err)
{
    // Rows of online_dpo come from this step's responses; the update is the same.
    double rate = controller_run_rate(run, run->recipe->optimizer.learning_rate, step);
    batch_t batch;
    double began = controller_run_phase(run, "train");
    // One epoch of one minibatch: these algorithms make one update a step, or none where
    // online_dpo's responses are all ties.
    tr_status status =
        batch_run(&batch, run, rows, step - 1,
                  controller_run_train_pass(run, step, rows->count > 0, 1, rate), err);
    if (status == TR_OK) {
        // Only of steps that succeeded: a repeated step counts once.
        run->tokens += tokens_of(&batch);
        status = report(&batch, step, rate, tr_clock_seconds() - began, record, err);
    }
    if (status == TR_OK) {
        // After the update, because the reference follows the policy that this step made.
        status = controller_reference_sync(run, step, err);
    }
    batch_release(&batch);
    return status;
}

tr_status controller_rows_step(controller_run_t *run, uint64_t step, controller_record_t *record,
                               tr_error_t *err)
{
    const tr_order_t order = controller_run_order(run, &run->data.rows);
    tr_rows_t rows;
    tr_status status = controller_run_read(&rows, &run->data.rows, &order, step - 1, err);
    if (status == TR_OK) {
        status = controller_rows_train(run, &rows, step, record, err);
    }
    tr_rows_release(&rows);
    return status;
}

// Evaluation

/// Evaluates batch `index` of the held-out rows and adds its metrics to the tally.
static tr_status measure(json_t *tally, controller_run_t *run, const tr_order_t *order,
                         size_t index, tr_error_t *err)
{
    batch_t batch = {0};
    tr_rows_t rows;
    tr_status status = controller_run_read(&rows, &run->data.eval_rows, order, index, err);
    if (status != TR_OK) {
        goto done;
    }
    // The step that is finished: the learner refuses any other. The rate changes nothing.
    json_t *body = controller_run_train_pass(run, run->step, 1, 1, 0.0);
    json_object_set_new(body, "evaluate", json_true());
    status = batch_run(&batch, run, &rows, index, body, err);
    if (status == TR_OK) {
        status = tr_tally_add(tally, batch.metrics, "metrics", err);
    }
done:
    batch_release(&batch);
    tr_rows_release(&rows);
    return status;
}

tr_status controller_rows_evaluate(controller_run_t *run, controller_record_t *record,
                                   tr_error_t *err)
{
    // Batches of tallies add up to means over all held-out rows: sums with their weights, so that
    // a smaller last batch counts for less.
    const tr_order_t order = controller_run_order(run, &run->data.eval_rows);
    json_t *tally = json_object();
    tr_status status = TR_OK;
    controller_run_phase(run, "evaluate");
    for (size_t i = 0; i < tr_order_steps(&order) && status == TR_OK; i++) {
        status = measure(tally, run, &order, i, err);
    }
    if (status == TR_OK) {
        status = controller_record_add_tally(record, tally, "eval_", err);
    }
    if (status == TR_OK) {
        status = put_margin(record, "eval_", err);
    }
    json_decref(tally);
    return status;
}

// KTO's rows

char *controller_rows_advice(const controller_run_t *run)
{
    tr_kto_advice_t advice;
    if (!run->data.rows.labelled) {
        return NULL;
    }
    // KTO's rows have one sequence each.
    const size_t desirable = tr_corpus_desirable(&run->data.rows);
    tr_kto_advise(&advice, desirable, run->data.rows.count - desirable, &run->recipe->kto.loss);
    return advice.balanced
               ? NULL
               : tr_format("kto: %zu desirable and %zu undesirable rows: either "
                           "desirable_weight in [%g, %g] or undesirable_weight in [%g, %g] would "
                           "balance them",
                           desirable, run->data.rows.count - desirable, advice.desirable_low,
                           advice.desirable_high, advice.undesirable_low, advice.undesirable_high);
}
