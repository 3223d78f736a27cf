// Process reward models in the actor: whether each step of a response is right.
//
// The scalar head's output before a token is the logit that the step which ended there is right.
// Labels come with the tokens, most of them "no step". The equations are in
// common/algo/process_reward.c.
#include <stdlib.h>
#include <string.h>

#include "actor/algorithms.h"

typedef struct steps_context {
    const int32_t *labels;
    size_t count; // labelled steps
    actor_steps_report_t *report;
} steps_context_t;

/// The loss of a chunk: gathers the labels of its sequences. Tokens without one get a gradient of
/// 0.
static tr_status steps_loss(void *argument, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    const steps_context_t *context = argument;
    int32_t *labels = tr_calloc(chunk->n + 1, sizeof *labels), *at = labels;
    (void)err;
    for (size_t i = 0; i < chunk->count; i++) {
        const int32_t *starts = chunk->sequences->response_starts + chunk->chosen[i];
        size_t n = (size_t)(starts[1] - starts[0]);
        memcpy(at, context->labels + starts[0], n * sizeof *at);
        at += n;
    }
    tr_process_reward_loss(dout, &context->report->sums, chunk->out, labels, chunk->n,
                           context->count);
    free(labels);
    return TR_OK;
}

tr_status actor_learn_steps(actor_steps_report_t *report, tr_trainer_t *trainer,
                            const tr_sequences_t *sequences, const int32_t *labels,
                            const tr_train_pass_t *pass, tr_error_t *err)
{
    *report = (actor_steps_report_t){0};
    steps_context_t context = {.labels = labels, .report = report};
    size_t tokens = (size_t)sequences->response_starts[sequences->count];
    for (size_t t = 0; t < tokens; t++) {
        // From another process, so checked before it is an index or a sign.
        if (labels[t] < TR_STEP_NONE || labels[t] > TR_STEP_RIGHT) {
            return tr_fail(err, TR_ERR_ARGUMENT, "label %zu is %d: expected -1, 0 or 1", t,
                           labels[t]);
        }
        context.count += labels[t] != TR_STEP_NONE;
    }
    // The mean is over labelled steps of the batch, so minibatches would change it.
    if (context.count == 0 || pass->minibatches != 1) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "%zu labelled steps in %zu minibatches: expected some, in one",
                       context.count, pass->minibatches);
    }
    return tr_trainer_run_pass(trainer, sequences, pass, steps_loss, &context, &report->pass, err);
}

/// Serves train_steps: tensor labels.
static tr_status train(actor_training_t *t, const void *options, tr_error_t *err)
{
    tr_view_t labels;
    actor_steps_report_t report;
    (void)options;
    TR_TRY(tr_message_expect_tensor(&labels, t->request, "labels", TR_I32, t->tokens, err));
    actor_training_begins(t);
    TR_TRY(
        actor_learn_steps(&report, t->learner->trainer, &t->sequences, labels.data, &t->pass, err));
    double steps = (double)report.sums.steps;
    TR_TRY(actor_training_put(t, "loss", report.sums.loss, steps, err));
    TR_TRY(actor_training_put_norm(t, "grad_norm", &report.pass, err));
    TR_TRY(actor_training_put(t, "accuracy", report.sums.accuracies, steps, err));
    return actor_training_put(t, "mean_step_score", report.sums.chances, steps, err);
}

const actor_algorithm_t actor_steps = {"train_steps", NULL, true, train};
