#include "actor/learner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct ppo_context {
    const actor_experience_t *experience;
    const tr_ppo_options_t *options;
    actor_report_t *report;
    size_t minibatch_tokens;       // seen of the minibatch at hand
    double minibatch_ratio;        // their sum of ratios
    double mean_sum, mean_squares; // of the minibatches' mean ratios
    size_t minibatches;
} ppo_context_t;

/// The largest difference between what the rollouts said and what the actor computes; infinite when one is NaN.
static float largest_difference(const float *a, const float *b, size_t n)
{
    float largest = 0.0f;
    for (size_t i = 0; i < n; i++) {
        float difference = fabsf(a[i] - b[i]);
        if (isnan(difference)) {
            return INFINITY;
        }
        largest = difference > largest ? difference : largest;
    }
    return largest;
}

static void count_ratio(ppo_context_t *context, size_t tokens, double ratios, size_t normalizer)
{
    context->minibatch_tokens += tokens;
    context->minibatch_ratio += ratios;
    if (context->minibatch_tokens == normalizer) {
        double mean = context->minibatch_ratio / (double)normalizer;
        context->mean_sum += mean;
        context->mean_squares += mean * mean;
        context->minibatches++;
        context->minibatch_tokens = 0;
        context->minibatch_ratio = 0.0;
    }
}

static tr_status ppo_loss(void *argument, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    ppo_context_t *context = argument;
    actor_report_t *report = context->report;
    (void)err;
    float *old = tr_calloc(2 * chunk->n + 1, sizeof *old);
    float *advantages = old + chunk->n;
    tr_response_select(old, context->experience->logprobs, chunk->sequences, chunk->chosen,
                       chunk->count);
    tr_response_select(advantages, context->experience->advantages, chunk->sequences, chunk->chosen,
                       chunk->count);
    if (chunk->first) {
        report->mismatch = fmaxf(report->mismatch, largest_difference(old, chunk->out, chunk->n));
    }
    double before = report->sums.ratio;
    tr_ppo_policy_loss(dout, &report->sums, chunk->out, old, advantages, chunk->n,
                       chunk->normalizer, context->options);
    count_ratio(context, chunk->n, report->sums.ratio - before, chunk->normalizer);
    for (size_t i = 0; i < chunk->n; i++) {
        report->entropy_sum += (double)chunk->facts[i].entropy;
    }
    free(old);
    return TR_OK;
}

tr_status actor_learn_ppo(actor_report_t *report, tr_trainer_t *trainer,
                          const actor_experience_t *experience, const tr_ppo_options_t *options,
                          const tr_train_pass_t *walk, tr_error_t *err)
{
    *report = (actor_report_t){0};
    ppo_context_t context = {.experience = experience, .options = options, .report = report};
    TR_TRY(tr_trainer_run_pass(trainer, &experience->sequences, walk, ppo_loss, &context,
                               &report->walk, err));
    if (context.minibatches > 1) {
        double n = (double)context.minibatches;
        double variance =
            (context.mean_squares - context.mean_sum * context.mean_sum / n) / (n - 1.0);
        report->ratio_variance = variance > 0.0 ? variance : 0.0;
    }
    return TR_OK;
}

typedef struct sft_context {
    const tr_sft_options_t *options;
    const float *mask; // NULL: every token counts
    size_t counted;    // tokens that count, of all sequences
    actor_sft_report_t *report;
} sft_context_t;

/// The places in a chunk of the tokens that count: [*n], owned by the caller.
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

static tr_status sft_loss(void *argument, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    const sft_context_t *context = argument;
    actor_sft_report_t *report = context->report;
    size_t n, *places = places_of(&n, chunk, context->mask);
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
                          const tr_sft_options_t *options, const tr_train_pass_t *walk,
                          tr_error_t *err)
{
    *report = (actor_sft_report_t){0};
    sft_context_t context = {.options = options, .mask = mask, .report = report};
    tr_train_pass_t smoothing = *walk;
    smoothing.smooths = options->label_smoothing_factor > 0.0;
    size_t tokens = (size_t)sequences->response_starts[sequences->count];
    for (size_t t = 0; mask != NULL && t < tokens; t++) {
        context.counted += mask[t] != 0.0f;
    }
    if (mask != NULL && (context.counted == 0 || walk->minibatches != 1)) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "a mask of %zu tokens, in %zu minibatches: expected some tokens, in one",
                       context.counted, walk->minibatches);
    }
    return tr_trainer_run_pass(trainer, sequences, &smoothing, sft_loss, &context, &report->walk,
                               err);
}
