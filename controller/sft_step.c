#include "controller/sft_step.h"

#include <stdlib.h>

#include "common/base/clock.h"
#include "proto/body.h"

static tr_status take_report(void *context, size_t index, const tr_message_t *reply,
                             tr_error_t *err)
{
    json_t **report = context;
    (void)index, (void)err;
    *report = json_incref(tr_message_body(reply));
    return TR_OK;
}

static tr_status report(controller_run_t *run, uint64_t step, const json_t *body, double rate,
                        double seconds, size_t tokens, controller_record_t *record, tr_error_t *err)
{
    size_t epoch_steps = run->rows.count / run->recipe->data.batch;
    TR_TRY(controller_run_copy_metric(record, "loss", body, "loss", err));
    TR_TRY(controller_run_copy_metric(record, "grad_norm", body, "grad_norm", err));
    TR_TRY(controller_record_set(record, "learning_rate", rate, err));
    TR_TRY(controller_run_copy_metric(record, "entropy", body, "entropy", err));
    TR_TRY(controller_record_set(record, "num_tokens", (double)run->tokens, err));
    TR_TRY(controller_record_set(record, "epoch", (double)step / (double)epoch_steps, err));
    TR_TRY(controller_record_set(record, "time/train", seconds, err));
    return controller_record_set(record, "tokens_per_second/train", (double)tokens / seconds, err);
}

/// All tokens of the chosen rows, prompts too, as TRL counts num_tokens.
static size_t tokens_of(const controller_rows_t *rows, const uint32_t *chosen, size_t count)
{
    size_t tokens = 0;
    for (size_t i = 0; i < count; i++) {
        tokens += rows->items[chosen[i]].length;
    }
    return tokens;
}

tr_status controller_sft_step(controller_run_t *run, uint64_t step, controller_record_t *record,
                              tr_error_t *err)
{
    const tr_recipe_t *recipe = run->recipe;
    double rate = controller_run_rate(run, recipe->optimizer.learning_rate, step);
    size_t count = recipe->data.batch;
    uint32_t *rows = tr_calloc(count, sizeof *rows);
    json_t *body = NULL;
    tr_status status;
    TR_TRY_GOTO(tr_dataset_batch(rows, run->rows.dataset, recipe->seed, step - 1, count,
                                 recipe->data.shuffle, err),
                done);
    double began = controller_run_phase(run, "train");
    tr_message_t *message = tr_message_new("request");
    tr_message_set_body(message, controller_run_walk(run, step, 1, 1, rate));
    size_t tokens = controller_rows_put(&run->rows, rows, count, message);
    controller_call_t call = controller_run_learner_call(TR_ROLE_ACTOR, "train_sft");
    call.take = take_report;
    call.context = &body;
    controller_calls_ask(run->calls, &call, &message);
    TR_TRY_GOTO(controller_calls_finish(run->calls, err), done);
    run->tokens += tokens_of(&run->rows, rows, count);
    status = report(run, step, body, rate, tr_clock_seconds() - began, tokens, record, err);
done:
    json_decref(body);
    free(rows);
    return status;
}

// Evaluation

typedef struct evaluation {
    double *losses; // [batches] sums over tokens
    size_t tokens;
} evaluation_t;

static tr_status take_loss(void *context, size_t index, const tr_message_t *reply, tr_error_t *err)
{
    evaluation_t *evaluation = context;
    return tr_body_real(&evaluation->losses[index], tr_message_body(reply), "loss_sum", "evaluate",
                        err);
}

/// Asks about rows first..first + count - 1.
static void ask_evaluation(controller_run_t *run, evaluation_t *evaluation, size_t index,
                           size_t first, size_t count)
{
    uint32_t *chosen = tr_calloc(count, sizeof *chosen);
    for (size_t i = 0; i < count; i++) {
        chosen[i] = (uint32_t)(first + i);
    }
    tr_message_t *message = tr_message_new("request");
    tr_message_set_body(message, json_pack("{s:I}", "step", (json_int_t)run->step));
    evaluation->tokens += controller_rows_put(&run->eval_rows, chosen, count, message);
    controller_call_t call = controller_run_learner_call(TR_ROLE_ACTOR, "evaluate");
    call.take = take_loss;
    call.context = evaluation;
    call.index = index;
    controller_calls_ask(run->calls, &call, &message);
    free(chosen);
}

tr_status controller_sft_evaluate(controller_run_t *run, controller_record_t *record,
                                  tr_error_t *err)
{
    size_t rows = run->eval_rows.count, batch = run->recipe->data.batch;
    size_t batches = (rows + batch - 1) / batch;
    evaluation_t evaluation = {.losses = tr_calloc(batches, sizeof(double))};
    controller_run_phase(run, "evaluate");
    for (size_t b = 0; b < batches; b++) {
        size_t left = rows - b * batch;
        ask_evaluation(run, &evaluation, b, b * batch, left < batch ? left : batch);
    }
    tr_status status = controller_calls_finish(run->calls, err);
    double sum = 0.0;
    for (size_t b = 0; b < batches; b++) {
        sum += evaluation.losses[b];
    }
    free(evaluation.losses);
    TR_TRY(status);
    return controller_record_set(record, "eval_loss", sum / (double)evaluation.tokens, err);
}
