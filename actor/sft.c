// Supervised fine-tuning in the actor: the mean loss of the tokens that count.
//
// A mask says which response tokens count (assistants' turns). Means divide by the tokens that
// count in the whole batch, so a masked batch is one minibatch. The equations are in
// common/algo/sft.c.
#include <stdlib.h>
#include <string.h>

#include "actor/algorithms.h"

typedef struct sft_context {
    const tr_sft_options_t *options;
    const float *mask; // NULL: every token counts
    size_t counted;    // tokens that count in the whole batch; not read without a mask
    actor_sft_report_t *report;
} sft_context_t;

/// The indices of the chunk's tokens that count: [*n], owned by the caller.
static size_t *places_of(size_t *n, const tr_chunk_t *chunk, const float *mask)
{
    size_t *places = tr_calloc(chunk->n + 1, sizeof *places);
    float *counts = tr_calloc(chunk->n + 1, sizeof *counts);
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
    const sft_context_t *context = argument;
    actor_sft_report_t *report = context->report;
    size_t n, *places = places_of(&n, chunk, context->mask);
    // One block: log-probs and vocabulary means, then the gradients of both.
    float *logprobs = tr_calloc(4 * n + 1, sizeof *logprobs), *means = logprobs + n;
    float *dlogprobs = means + n, *dmeans = dlogprobs + n;
    (void)err;
    for (size_t i = 0; i < n; i++) {
        logprobs[i] = chunk->out[places[i]];
        means[i] = chunk->facts[places[i]].mean;
        report->entropy_sum += (double)chunk->facts[places[i]].entropy;
        report->greedy_sum += (double)chunk->facts[places[i]].greedy;
    }
    tr_sft_loss(dlogprobs, dmeans, &report->sums, logprobs, means, n,
                context->mask != NULL ? context->counted : chunk->normalizer, context->options);
    memset(dout, 0, chunk->n * sizeof *dout);
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

tr_status actor_learn_sft(actor_sft_report_t *report, tr_trainer_t *trainer,
                          const tr_sequences_t *sequences, const float *mask,
                          const tr_sft_options_t *options, const tr_train_pass_t *pass,
                          tr_error_t *err)
{
    *report = (actor_sft_report_t){0};
    sft_context_t context = {.options = options, .mask = mask, .report = report};
    // Only the forward pass can give the vocabulary's mean, and add NEFTune's noise.
    tr_train_pass_t smoothing = *pass;
    smoothing.smooths = options->label_smoothing_factor > 0.0;
    smoothing.neftune_noise_alpha = options->neftune_noise_alpha;
    size_t tokens = (size_t)sequences->response_starts[sequences->count];
    for (size_t t = 0; mask != NULL && t < tokens; t++) {
        context.counted += mask[t] != 0.0f;
    }
    if (mask != NULL && (context.counted == 0 || pass->minibatches != 1)) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "a mask of %zu tokens, in %zu minibatches: expected some tokens, in one",
                       context.counted, pass->minibatches);
    }
    return tr_trainer_run_pass(trainer, sequences, &smoothing, sft_loss, &context, &report->pass,
                               err);
}

/// The tally under TRL's names.
static tr_status put_metrics(actor_training_t *t, const actor_sft_report_t *report, tr_error_t *err)
{
    const double n = (double)report->sums.tokens;
    TR_TRY(actor_training_put(t, "loss", report->sums.loss, n, err));
    TR_TRY(actor_training_put_norm(t, "grad_norm", &report->pass, err));
    TR_TRY(actor_training_put(t, "entropy", report->entropy_sum, n, err));
    return actor_training_put(t, "mean_token_accuracy", report->greedy_sum, n, err);
}

/// Serves train_sft: tensor mask, where some tokens do not count.
static tr_status train(actor_training_t *t, const void *options, tr_error_t *err)
{
    const tr_sft_options_t *sft = options;
    const float *mask = NULL;
    actor_sft_report_t report;
    tr_view_t view;
    // The recipe is checked too; a message is not trusted to come from a checked recipe.
    if (sft->loss_type == TR_SFT_DFT && sft->label_smoothing_factor > 0.0) {
        return tr_fail(err, TR_ERR_PROTOCOL,
                       "train_sft: label_smoothing_factor: %g with loss_type 'dft'",
                       sft->label_smoothing_factor);
    }
    if (tr_message_tensor(&view, t->request, "mask")) {
        TR_TRY(actor_training_take(&mask, t, "mask", err));
    }
    actor_training_begins(t);
    TR_TRY(actor_learn_sft(&report, t->learner->trainer, &t->sequences, mask, sft, &t->pass, err));
    return put_metrics(t, &report, err);
}

const actor_algorithm_t actor_sft = {"train_sft", &tr_sft_fields, false, train};
