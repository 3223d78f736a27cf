#include "controller/sft_step.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "proto/sequences.h"

static tr_status take_report(void *context, size_t index, const tr_message_t *reply,
                             tr_error_t *err)
{
    json_t **report = context;
    (void)index, (void)err;
    *report = json_incref(tr_message_body(reply));
    return TR_OK;
}

/// The rows as sequences whose responses are what is learnt. Returns the tokens that are.
static size_t put_rows(const controller_run_t *run, const uint32_t *rows, size_t count,
                       tr_message_t *message)
{
    size_t tokens = 0, learnt = 0;
    for (size_t i = 0; i < count; i++) {
        tokens += run->rows.items[rows[i]].length;
        learnt += run->rows.items[rows[i]].length - run->rows.items[rows[i]].prompt;
    }
    int32_t *ids = tr_calloc(tokens + 3 * count + 2, sizeof *ids);
    int32_t *starts = ids + tokens, *prompts = starts + count + 1, *responses = prompts + count;
    for (size_t i = 0; i < count; i++) {
        const controller_row_t *row = &run->rows.items[rows[i]];
        memcpy(ids + starts[i], row->ids, row->length * sizeof *ids);
        starts[i + 1] = starts[i] + (int32_t)row->length;
        prompts[i] = (int32_t)row->prompt;
        responses[i + 1] = responses[i] + (int32_t)(row->length - row->prompt);
    }
    const tr_sequences_t sequences = {
        .count = count,
        .ids = ids,
        .starts = starts,
        .prompt_lengths = prompts,
        .response_starts = responses,
    };
    tr_sequences_put(message, &sequences);
    free(ids);
    return learnt;
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
    size_t tokens = put_rows(run, rows, count, message);
    controller_call_t call = controller_run_learner_call(TR_ROLE_ACTOR, "train_sft");
    call.take = take_report;
    call.context = &body;
    controller_calls_ask(run->calls, &call, &message);
    TR_TRY_GOTO(controller_calls_finish(run->calls, err), done);
    run->tokens += tokens;
    status = report(run, step, body, rate, tr_clock_seconds() - began, tokens, record, err);
done:
    json_decref(body);
    free(rows);
    return status;
}
