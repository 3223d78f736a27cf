// Process reward models in the actor: whether each step of a response is right.
//
// The scalar head's output before a token is the logit that the step which ended there is right.
// Labels come with the tokens, most of them "no step". The equations are in
// common/algo/process_reward.c.
#include <stdlib.h>
#include <string.h>

#include "actor/training.h"

typedef struct steps {
    const int32_t *labels; // [response tokens], each of the token before it (TR_STEP_NONE, ...)
    size_t count;          // labelled steps
    tr_process_reward_sums_t sums;
} steps_t;

/// The loss of a chunk: gathers the labels of its sequences. Tokens without one get a gradient of
/// 0.
static tr_status steps_loss(void *argument, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    steps_t *steps = argument;
    int32_t *labels = tr_calloc(chunk->n + 1, sizeof *labels), *at = labels;
    (void)err;
    for (size_t i = 0; i < chunk->count; i++) {
        const int32_t *starts = chunk->sequences->response_starts + chunk->chosen[i];
        size_t n = (size_t)(starts[1] - starts[0]);
        // The chunk's sequences are shuffled; labels follow them.
        memcpy(at, steps->labels + starts[0], n * sizeof *at);
        at += n;
    }
    tr_process_reward_loss(dout, &steps->sums, chunk->out, labels, chunk->n, steps->count);
    free(labels);
    return TR_OK;
}

/// Reads the labels, of which some must be of a step.
static tr_status take_labels(steps_t *steps, const actor_training_t *t, tr_error_t *err)
{
    tr_view_t view;
    TR_TRY(tr_message_expect_tensor(&view, t->request, "labels", TR_I32, t->tokens, err));
    steps->labels = view.data;
    for (size_t i = 0; i < t->tokens; i++) {
        // From another process, so checked before it is an index or a sign.
        if (steps->labels[i] < TR_STEP_NONE || steps->labels[i] > TR_STEP_RIGHT) {
            return tr_fail(err, TR_ERR_ARGUMENT, "label %zu is %d: expected -1, 0 or 1", i,
                           steps->labels[i]);
        }
        steps->count += steps->labels[i] != TR_STEP_NONE;
    }
    // The mean is over labelled steps of the batch, so minibatches would change it.
    if (steps->count == 0 || t->pass.minibatches != 1) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "%zu labelled steps in %zu minibatches: expected some, in one", steps->count,
                       t->pass.minibatches);
    }
    return TR_OK;
}

/// Serves train_steps: tensor labels.
static tr_status train(actor_training_t *t, const void *options, tr_error_t *err)
{
    steps_t steps = {0};
    tr_train_pass_result_t result;
    (void)options;
    TR_TRY(take_labels(&steps, t, err));
    actor_training_begins(t);
    TR_TRY(tr_trainer_run_pass(t->learner->trainer, &t->sequences, &t->pass, steps_loss, &steps,
                               &result, err));
    double n = (double)steps.sums.steps;
    TR_TRY(tr_tally_put(t->metrics, "loss", steps.sums.loss, n, err));
    TR_TRY(tr_tally_put(t->metrics, "grad_norm", result.norm_sum, (double)result.updates, err));
    TR_TRY(tr_learner_put_balance(t->metrics, &result, err));
    TR_TRY(tr_tally_put(t->metrics, "accuracy", steps.sums.accuracies, n, err));
    return tr_tally_put(t->metrics, "mean_step_score", steps.sums.chances, n, err);
}

const actor_algorithm_t actor_steps = {"train_steps", NULL, true, train};
