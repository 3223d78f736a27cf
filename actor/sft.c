// Supervised fine-tuning in the actor: the mean loss of the tokens that count.
//
// A mask says which response tokens count (assistants' turns). Means divide by the tokens that
// count in the whole batch, so a masked batch is one minibatch. The equations are in
// common/algo/sft.c.
#include <stdlib.h>

#include "actor/training.h"

/// The indices of the chunk's tokens that count: [*n], owned by the caller.
static size_t *places_of(size_t *n, const tr_chunk_t *chunk, const float *mask)
{
    size_t *places = tr_calloc(chunk->n + 1, sizeof *places);
    float *counts = tr_calloc(chunk->n + 1, sizeof *counts);
    // The mask is of the whole batch; the chunk has its own order of sequences.
    if (mask != NULL) {
        tr_response_select(counts, mask, chunk->sequences, chunk->chosen, chunk->count);
    }
    *n = 0;
    for (size_t i = 0; i < chunk->n; i++) {
        if (mask == NULL || counts[i] != 0.0f) {
            places[(*n)++] = i;
        }
    }
    free(counts);
    return places;
}

/// The loss of a chunk. Tokens that count are gathered, and their gradients scattered back; the
/// others get a gradient of 0.
static tr_status sft_loss(void *argument, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    actor_sft_t *sft = argument;
    size_t n, *places = places_of(&n, chunk, sft->mask);
    // One block: log-probs and vocabulary means, then the gradients of both.
    float *logprobs = tr_calloc(4 * n + 1, sizeof *logprobs), *means = logprobs + n;
    float *dlogprobs = means + n, *dmeans = dlogprobs + n;
    (void)err;
    for (size_t i = 0; i < n; i++) {
        logprobs[i] = chunk->out[places[i]];
        means[i] = chunk->facts[places[i]].mean;
        sft->entropy_sum += (double)chunk->facts[places[i]].entropy;
        sft->greedy_sum += (double)chunk->facts[places[i]].greedy;
    }
    tr_sft_loss(dlogprobs, dmeans, &sft->sums, logprobs, means, n,
                sft->mask != NULL ? sft->counted : chunk->normalizer, sft->options);
    // A token with a gradient of 0 is still context for those behind it.
    for (size_t i = 0; i < n; i++) {
        dout[places[i]] = dlogprobs[i];
        // Label smoothing has a second gradient, by the mean log-prob of the vocabulary.
        if (chunk->dmean != NULL) {
            chunk->dmean[places[i]] = dmeans[i];
        }
    }
    free(logprobs);
    free(places);
    return TR_OK;
}

tr_status actor_learn_sft(actor_sft_t *sft, tr_trainer_t *trainer, const tr_sequences_t *sequences,
                          const tr_train_pass_t *pass, tr_error_t *err)
{
    // Both cost time in every pass, so a pass has them only where an option asks.
    // Only the forward pass can give the vocabulary's mean, and add NEFTune's noise.
    tr_train_pass_t smoothing = *pass;
    smoothing.smooths = sft->options->label_smoothing_factor > 0.0;
    smoothing.neftune_noise_alpha = sft->options->neftune_noise_alpha;
    // Here alone: TRL's other trainers disable dropout, and a rollout has none.
    smoothing.dropout = true;
    size_t tokens = (size_t)sequences->response_starts[sequences->count];
    sft->counted = 0;
    for (size_t t = 0; sft->mask != NULL && t < tokens; t++) {
        sft->counted += sft->mask[t] != 0.0f;
    }
    if (sft->mask != NULL && (sft->counted == 0 || pass->minibatches != 1)) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "a mask of %zu tokens, in %zu minibatches: expected some tokens, in one",
                       sft->counted, pass->minibatches);
    }
    return tr_trainer_run_pass(trainer, sequences, &smoothing, sft_loss, sft, &sft->result, err);
}

/// The tally under TRL's names.
static tr_status put_metrics(json_t *m, const actor_sft_t *sft, tr_error_t *err)
{
    const double n = (double)sft->sums.tokens;
    TR_TRY(tr_tally_put(m, "loss", sft->sums.loss, n, err));
    TR_TRY(tr_tally_put(m, "grad_norm", sft->result.norm_sum, (double)sft->result.updates, err));
    TR_TRY(tr_learner_put_balance(m, &sft->result, err));
    TR_TRY(tr_tally_put(m, "entropy", sft->entropy_sum, n, err));
    return tr_tally_put(m, "mean_token_accuracy", sft->greedy_sum, n, err);
}

/// Serves train_sft: tensor mask, where some tokens do not count.
static tr_status train(actor_training_t *t, const void *options, tr_error_t *err)
{
    actor_sft_t sft = {.options = options};
    double smoothing = sft.options->label_smoothing_factor;
    tr_view_t view;
    // The recipe is checked too; a message is not trusted to come from a checked recipe.
    if (sft.options->loss_type == TR_SFT_DFT && smoothing > 0.0) {
        return tr_fail(err, TR_ERR_PROTOCOL,
                       "train_sft: label_smoothing_factor: %g with loss_type 'dft'", smoothing);
    }
    // No mask is the usual case: rows of which every response token counts.
    if (tr_message_tensor(&view, t->request, "mask")) {
        TR_TRY(actor_training_take(&sft.mask, t, "mask", err));
    }
    actor_training_begins(t);
    TR_TRY(actor_learn_sft(&sft, t->learner->trainer, &t->sequences, &t->pass, err));
    return put_metrics(t->metrics, &sft, err);
}

const actor_algorithm_t actor_sft = {"train_sft", &tr_sft_fields, false, train};
