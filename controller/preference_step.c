#include "controller/preference_step.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "controller/batch.h"
#include "controller/losses.h"
#include "controller/reference.h"
#include "proto/body.h"
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
    tr_algorithm_t algorithm = piece->run->recipe->algorithm;
    int32_t *labels = tr_calloc(piece->count, sizeof *labels);
    float *margins = tr_calloc(piece->count, sizeof *margins);
    for (size_t i = 0; i < piece->count; i++) {
        const tr_sequence_t *item = &rows->sequences[rows->starts[piece->chosen[i]]];
        labels[i] = item->label;
        margins[i] = item->margin;
    }
    if (algorithm == TR_ALGORITHM_KTO) {
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
    if (controller_losses_mismatch(piece->run->recipe)) {
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
    json_t *metrics;
    (void)index;
    TR_TRY(tr_body_object(&metrics, tr_message_body(reply), "metrics", "reply", err));
    json_decref(piece->metrics);
    piece->metrics = json_object();
    return tr_tally_add(piece->metrics, metrics, "metrics", err);
}

/// body: of the walk; taken.
static tr_status ask_actor(piece_t *piece, json_t *body, tr_error_t *err)
{
    controller_run_t *run = piece->run;
    controller_call_t call = controller_run_learner_call(
        TR_ROLE_ACTOR, piece->rows->steps ? "train_steps" : controller_losses_method(run->recipe));
    json_t *options = controller_losses_options(run->recipe);
    call.take = take_metrics;
    call.context = piece;
    json_object_update(body, options);
    json_decref(options);
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
                          controller_losses_mismatch(recipe));
    if (controller_losses_read_reference(recipe)) {
        tr_status status = find_reference(piece, err);
        if (status != TR_OK) {
            json_decref(body);
            return status;
        }
    }
    return ask_actor(piece, body, err);
}

// Metrics

static const char SQUARES[] = "mean_squared_reward"; // adds up, where a deviation does not

/// Of a reward model's scores.
static tr_status put_deviation(controller_record_t *record, const json_t *tally, const char *prefix,
                               tr_error_t *err)
{
    const json_t *squares = json_object_get(tally, SQUARES);
    if (squares == NULL) {
        return TR_OK;
    }
    double mean = tr_tally_mean(json_object_get(tally, "mean_reward"));
    double variance = tr_tally_mean(squares) - mean * mean;
    char *name = tr_format("%sreward_std", prefix);
    tr_status status =
        controller_record_set(record, name, variance > 0.0 ? sqrt(variance) : 0.0, err);
    free(name);
    return status;
}

static tr_status copy_metrics(controller_record_t *record, const json_t *tally, const char *prefix,
                              tr_error_t *err)
{
    const char *name;
    json_t *entry;
    json_object_foreach((json_t *)tally, name, entry)
    {
        char *full = tr_format("%s%s", prefix, name);
        tr_status status = strcmp(name, SQUARES) == 0
                               ? TR_OK
                               : controller_record_set(record, full, tr_tally_mean(entry), err);
        free(full);
        TR_TRY(status);
    }
    return put_deviation(record, tally, prefix, err);
}

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
    TR_TRY(copy_metrics(record, piece->metrics, "", err));
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

tr_status controller_preference_learn(controller_run_t *run, const tr_rows_t *rows,
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

tr_status controller_preference_step(controller_run_t *run, uint64_t step,
                                     controller_record_t *record, tr_error_t *err)
{
    const tr_recipe_t *recipe = run->recipe;
    size_t count = recipe->data.batch;
    uint32_t *chosen = tr_calloc(count, sizeof *chosen);
    tr_status status = tr_dataset_batch(chosen, run->rows.count, recipe->seed, step - 1, count,
                                        recipe->data.shuffle, err);
    if (status == TR_OK) {
        status = controller_preference_learn(run, &run->rows, chosen, count, step, record, err);
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

tr_status controller_preference_evaluate(controller_run_t *run, controller_record_t *record,
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
        status = copy_metrics(record, tally, "eval_", err);
    }
    if (status == TR_OK) {
        status = put_margin(record, "eval_", err);
    }
    json_decref(tally);
    return status;
}
