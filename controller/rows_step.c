// A step on rows: batch, reference, one update, and TRL's metrics of it.
//
// Nothing here knows which algorithm runs: the table of algorithms (common/recipe/algorithms.c)
// says which method the actor is asked for and which options it is told, and the actor's page
// reports a tally of metrics under their own names.
#include "controller/rows_step.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "controller/batch.h"
#include "controller/reference.h"
#include "proto/learner/tally.h"

/// Rows of a step or of a piece of the held-out ones, on their way through reference and actor.
typedef struct piece {
    controller_run_t *run;
    const tr_rows_t *rows;
    uint32_t *chosen; // [count]
    size_t count;
    size_t index; // of the batch among all that are to come, or the pieces
    controller_batch_t batch;
    float *reference; // [batch.learnt]; NULL: not asked
    json_t *metrics;  // the actor's answer
} piece_t;

// Pieces

static void piece_init(piece_t *piece, controller_run_t *run, const tr_rows_t *rows, size_t count)
{
    *piece = (piece_t){.run = run, .rows = rows, .count = count};
    piece->chosen = tr_calloc(count, sizeof *piece->chosen);
}

static void piece_release(piece_t *piece)
{
    free(piece->chosen);
    free(piece->reference);
    controller_batch_release(&piece->batch);
    json_decref(piece->metrics);
}

static void put_step_labels(tr_message_t *message, const controller_batch_t *batch)
{
    int32_t *labels = tr_calloc(batch->learnt + 1, sizeof *labels);
    for (size_t t = 0; t < batch->learnt; t++) {
        labels[t] = (int32_t)batch->mask[t] - 1;
    }
    tr_message_add_vector(message, "labels", TR_I32, batch->learnt, labels);
    free(labels);
}

/// What stands beside the sequences: one label or margin a row or pair.
static void put_columns(tr_message_t *message, const piece_t *piece)
{
    const tr_rows_t *rows = piece->rows;
    int32_t *labels = tr_calloc(piece->count, sizeof *labels);
    float *margins = tr_calloc(piece->count, sizeof *margins);
    for (size_t i = 0; i < piece->count; i++) {
        const tr_sequence_t *item = &rows->sequences[rows->starts[piece->chosen[i]]];
        labels[i] = item->label;
        margins[i] = item->margin;
    }
    if (rows->labelled) {
        tr_message_add_vector(message, "desirable", TR_I32, piece->count, labels);
    }
    if (rows->steps) {
        put_step_labels(message, &piece->batch);
    } else if (piece->batch.mask != NULL) {
        tr_message_add_vector(message, "mask", TR_F32, piece->batch.learnt, piece->batch.mask);
    }
    if (rows->margins) {
        tr_message_add_vector(message, "margins", TR_F32, piece->count, margins);
    }
    free(margins);
    free(labels);
}

/// From what was asked once, or by asking now.
static tr_status find_reference(piece_t *piece, tr_error_t *err)
{
    const tr_rows_t *rows = piece->rows;
    piece->reference = tr_calloc(piece->batch.learnt + 1, sizeof *piece->reference);
    if (rows->reference == NULL) {
        return controller_reference_ask(piece->reference, piece->run, &piece->batch, err);
    }
    if (controller_rows_mismatched(piece->run->recipe)) {
        controller_reference_recall_batch(piece->reference, rows, piece->index,
                                          piece->batch.learnt);
    } else {
        controller_reference_recall(piece->reference, rows, piece->chosen, piece->count);
    }
    return TR_OK;
}

static tr_status take_metrics(void *context, size_t index, const tr_message_t *reply,
                              tr_error_t *err)
{
    piece_t *piece = context;
    (void)index;
    return controller_run_take_metrics(&piece->metrics, reply, err);
}

/// body: of the pass; taken.
static tr_status ask_actor(piece_t *piece, json_t *body, tr_error_t *err)
{
    controller_run_t *run = piece->run;
    const tr_algorithm_t *algorithm = tr_recipe_algorithm(run->recipe);
    controller_call_t call = controller_run_learner_call(
        TR_ROLE_ACTOR, piece->rows->steps ? "train_steps" : algorithm->method);
    call.take = take_metrics;
    call.context = piece;
    tr_fields_to_json(body, (const char *)run->recipe + algorithm->loss_offset, algorithm->loss);
    tr_message_t *message = tr_message_new("request");
    tr_message_set_body(message, body);
    tr_sequences_put(message, &piece->batch.sequences);
    put_columns(message, piece);
    if (piece->reference != NULL) {
        tr_message_add_vector(message, "reference", TR_F32, piece->batch.learnt, piece->reference);
    }
    controller_calls_ask(run->calls, &call, &message);
    return controller_calls_finish(run->calls, err);
}

/// The chosen rows through reference and actor.
static tr_status piece_run(piece_t *piece, json_t *body, tr_error_t *err)
{
    const tr_recipe_t *recipe = piece->run->recipe;
    controller_batch_init(&piece->batch, piece->rows, piece->chosen, piece->count,
                          controller_rows_mismatched(recipe));
    if (tr_recipe_reads_reference(recipe)) {
        tr_status status = find_reference(piece, err);
        if (status != TR_OK) {
            json_decref(body);
            return status;
        }
    }
    return ask_actor(piece, body, err);
}

// Metrics

/// TRL's margin of KTO: of the means of the two classes, where a batch has both.
static tr_status put_margin(controller_record_t *record, const char *prefix, tr_error_t *err)
{
    char *margins = tr_format("%srewards/margins", prefix);
    char *chosen_name = tr_format("%srewards/chosen", prefix);
    char *rejected_name = tr_format("%srewards/rejected", prefix);
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

static tr_status report(const piece_t *piece, uint64_t step, double rate, double seconds,
                        controller_record_t *record, tr_error_t *err)
{
    controller_run_t *run = piece->run;
    size_t epoch_steps = run->rows.count / run->recipe->data.batch;
    TR_TRY(controller_record_add_tally(record, piece->metrics, "", err));
    TR_TRY(put_margin(record, "", err));
    TR_TRY(controller_record_set(record, "learning_rate", rate, err));
    TR_TRY(controller_record_set(record, "num_tokens", (double)run->tokens, err));
    TR_TRY(controller_record_set(record, "epoch", (double)step / (double)epoch_steps, err));
    TR_TRY(controller_record_set(record, "time/train", seconds, err));
    return controller_record_set(record, "tokens_per_second/train",
                                 (double)piece->batch.tokens / seconds, err);
}

/// All tokens of the rows that are learnt, prompts too, as TRL counts num_tokens.
static uint64_t tokens_of(const piece_t *piece)
{
    return (uint64_t)piece->batch.sequences.starts[piece->batch.matched];
}

tr_status controller_rows_learn(controller_run_t *run, const tr_rows_t *rows,
                                const uint32_t *chosen, size_t count, uint64_t step,
                                controller_record_t *record, tr_error_t *err)
{
    double rate = controller_run_rate(run, run->recipe->optimizer.learning_rate, step);
    piece_t piece;
    piece_init(&piece, run, rows, count);
    piece.index = step - 1;
    memcpy(piece.chosen, chosen, count * sizeof *chosen);
    double began = controller_run_phase(run, "train");
    tr_status status = piece_run(&piece, controller_run_train_pass(run, step, 1, 1, rate), err);
    if (status == TR_OK) {
        run->tokens += tokens_of(&piece);
        status = report(&piece, step, rate, tr_clock_seconds() - began, record, err);
    }
    if (status == TR_OK) {
        status = controller_reference_sync(run, step, err);
    }
    piece_release(&piece);
    return status;
}

tr_status controller_rows_step(controller_run_t *run, uint64_t step, controller_record_t *record,
                               tr_error_t *err)
{
    const tr_recipe_t *recipe = run->recipe;
    size_t count = recipe->data.batch;
    uint32_t *chosen = tr_calloc(count, sizeof *chosen);
    tr_status status = tr_dataset_batch(chosen, run->rows.count, recipe->seed, step - 1, count,
                                        recipe->data.shuffle, err);
    if (status == TR_OK) {
        status = controller_rows_learn(run, &run->rows, chosen, count, step, record, err);
    }
    free(chosen);
    return status;
}

// Evaluation

static tr_status measure(json_t *tally, controller_run_t *run, size_t first, size_t count,
                         tr_error_t *err)
{
    piece_t piece;
    piece_init(&piece, run, &run->eval_rows, count);
    piece.index = first / run->recipe->data.batch;
    for (size_t i = 0; i < count; i++) {
        piece.chosen[i] = (uint32_t)(first + i);
    }
    json_t *body = controller_run_train_pass(run, run->step, 1, 1, 0.0);
    json_object_set_new(body, "evaluate", json_true());
    tr_status status = piece_run(&piece, body, err);
    if (status == TR_OK) {
        status = tr_tally_add(tally, piece.metrics, "metrics", err);
    }
    piece_release(&piece);
    return status;
}

tr_status controller_rows_evaluate(controller_run_t *run, controller_record_t *record,
                                   tr_error_t *err)
{
    size_t rows = run->eval_rows.count, batch = run->recipe->data.batch;
    json_t *tally = json_object();
    tr_status status = TR_OK;
    controller_run_phase(run, "evaluate");
    for (size_t first = 0; first < rows && status == TR_OK; first += batch) {
        size_t left = rows - first;
        status = measure(tally, run, first, left < batch ? left : batch, err);
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

// What KTO's rows are

bool controller_rows_mismatched(const tr_recipe_t *recipe)
{
    return (tr_recipe_algorithm(recipe)->reads & TR_READS_KTO) != 0 &&
           recipe->kto.loss.loss_type == TR_KTO_KTO;
}

char *controller_rows_advice(const controller_run_t *run)
{
    tr_kto_advice_t advice;
    size_t desirable = 0;
    if (!run->rows.labelled) {
        return NULL;
    }
    for (size_t i = 0; i < run->rows.count; i++) {
        desirable += run->rows.sequences[i].label;
    }
    tr_kto_advise(&advice, desirable, run->rows.count - desirable, &run->recipe->kto.loss);
    return advice.balanced
               ? NULL
               : tr_format("kto: %zu desirable and %zu undesirable rows: either "
                           "desirable_weight in [%g, %g] or undesirable_weight in [%g, %g] would "
                           "balance them",
                           desirable, run->rows.count - desirable, advice.desirable_low,
                           advice.desirable_high, advice.undesirable_low, advice.undesirable_high);
}
