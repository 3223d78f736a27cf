// PPO in the critic: the clipped value loss over a step's responses.
//
// The actor has its own file (actor/ppo.c); both take their epochs at the same time. Returns come
// from the controller. The equations are in common/algo/ppo.c.
#include "critic/ppo.h"

#include <stdlib.h>

#include "proto/learner/tally.h"

/// The loss of a chunk and its gradient by each value. The values that were predicted when the
/// responses were generated bound how far the new ones move.
static tr_status value_loss(void *argument, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    critic_ppo_t *ppo = argument;
    (void)err;
    // The chunk's tokens, gathered from the batch in the order of the chunk.
    float *old = tr_calloc(2 * chunk->n + 1, sizeof *old), *returns = old + chunk->n;
    tr_response_select(old, ppo->values, chunk->sequences, chunk->chosen, chunk->count);
    tr_response_select(returns, ppo->returns, chunk->sequences, chunk->chosen, chunk->count);
    tr_ppo_value_loss(dout, &ppo->sums, chunk->out, old, returns, chunk->n, chunk->normalizer,
                      ppo->options);
    // Both vectors are in one block.
    free(old);
    return TR_OK;
}

tr_status critic_learn_ppo(critic_ppo_t *ppo, tr_trainer_t *trainer,
                           const tr_sequences_t *sequences, const tr_train_pass_t *pass,
                           tr_error_t *err)
{
    return tr_trainer_run_pass(trainer, sequences, pass, value_loss, ppo, &ppo->result, err);
}

/// Reads the request's tensors. *owned: to be freed by the caller.
static tr_status take_tensors(critic_ppo_t *ppo, tr_sequences_t *sequences, int32_t **owned,
                              const tr_learner_t *learner, const tr_message_t *request,
                              tr_error_t *err)
{
    tr_view_t values, returns;
    TR_TRY(tr_learner_take(sequences, owned, tr_trainer_model(learner->trainer), request, err));
    size_t tokens = (size_t)sequences->response_starts[sequences->count];
    TR_TRY(tr_message_expect_tensor(&values, request, "values", TR_F32, tokens, err));
    TR_TRY(tr_message_expect_tensor(&returns, request, "returns", TR_F32, tokens, err));
    ppo->values = values.data;
    ppo->returns = returns.data;
    return TR_OK;
}

/// The tally under TRL's names.
static tr_status put_metrics(json_t *m, const critic_ppo_t *ppo, tr_error_t *err)
{
    const double n = (double)ppo->sums.tokens;
    // Sums over all epochs, divided by all their tokens.
    TR_TRY(tr_tally_put(m, "loss/value_avg", ppo->sums.loss, n, err));
    TR_TRY(tr_tally_put(m, "val/clipfrac_avg", ppo->sums.clipped, n, err));
    return tr_tally_put(m, "grad_norm/critic", ppo->result.norm_sum, (double)ppo->result.updates,
                        err);
}

tr_status critic_train_ppo(tr_learner_t *learner, const tr_message_t *request, tr_message_t *reply,
                           tr_error_t *err)
{
    const json_t *body = tr_message_body(request);
    // The actor's training.c does the same for many algorithms; a critic has one.
    json_t *metrics = json_object();
    tr_ppo_options_t options;
    critic_ppo_t ppo = {.options = &options};
    tr_sequences_t sequences;
    tr_train_pass_t pass;
    int32_t *owned = NULL;
    tr_status status;
    // Everything is read and checked before the learner is marked as stale.
    TR_TRY_GOTO(tr_learner_read_train_pass(&pass, learner, body, err), done);
    TR_TRY_GOTO(tr_fields_from_json(&options, &tr_ppo_fields, body, "train", err), done);
    TR_TRY_GOTO(take_tensors(&ppo, &sequences, &owned, learner, request, err), done);
    // Returns exist for generated responses only.
    if (pass.evaluate) {
        status = tr_fail(err, TR_ERR_UNSUPPORTED, "train: PPO has nothing to evaluate");
        goto done;
    }
    learner->step = TR_LEARNER_STALE; // until the update is complete
    TR_TRY_GOTO(critic_learn_ppo(&ppo, learner->trainer, &sequences, &pass, err), done);
    TR_TRY_GOTO(put_metrics(metrics, &ppo, err), done);
    learner->step = pass.step;
    // Only now: after a failure the controller must not take the step as finished.
    json_object_set(tr_message_body(reply), "metrics", metrics);
done:
    free(owned);
    json_decref(metrics);
    return status;
}
