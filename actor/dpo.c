// DPO and its relatives in the actor: pairs of completions, their summed log-probs, and the losses
// of common/algo/dpo.h.
//
// Sequences come as chosen, rejected, chosen, rejected... Losses that couple the pairs of a batch
// (aot) need all of them at once: a pass over the whole batch without gradients comes first, and
// the chunks of the update then use its slopes.
#include <stdlib.h>

#include "actor/algorithms.h"

/// The inputs and outputs of the loss for some pairs, in two blocks of memory.
typedef struct pairs {
    tr_dpo_pairs_t view;
    double *chosen, *rejected, *reference_chosen, *reference_rejected, *weights;
    double *dchosen, *drejected; ///< written by the loss: its slopes
    size_t *chosen_tokens, *rejected_tokens, *order;
} pairs_t;

/// Room for `count` pairs, zeroed.
static void pairs_new(pairs_t *p, size_t count)
{
    double *reals = tr_calloc(7 * count, sizeof *reals);
    size_t *wholes = tr_calloc(4 * count, sizeof *wholes);
    *p = (pairs_t){
        .chosen = reals,
        .rejected = reals + count,
        .reference_chosen = reals + 2 * count,
        .reference_rejected = reals + 3 * count,
        .weights = reals + 4 * count,
        .dchosen = reals + 5 * count,
        .drejected = reals + 6 * count,
        .chosen_tokens = wholes,
        .rejected_tokens = wholes + count,
        .order = wholes + 2 * count,
    };
    p->view.pairs = count;
}

static void pairs_free(pairs_t *p)
{
    free(p->chosen_tokens);
    free(p->chosen);
}

typedef struct dpo_context {
    const tr_dpo_options_t *options;
    const float *reference; // over all response tokens, or NULL
    actor_dpo_report_t *report;
    double nll;            // sft's part of the slope of each chosen token
    const pairs_t *before; // all pairs of the batch, when the loss couples them; else NULL
} dpo_context_t;

/// The length of the shorter completion: LD-DPO counts the tokens up to it in full.
static size_t shared_of(const pairs_t *p, size_t i)
{
    return p->chosen_tokens[i] < p->rejected_tokens[i] ? p->chosen_tokens[i]
                                                       : p->rejected_tokens[i];
}

/// WPO's weight of a completion. collisions: log of the sum of squared probabilities, by token.
static double weight_of(const float *logprobs, const tr_token_facts_t *facts, size_t n)
{
    float *collisions = tr_calloc(n, sizeof *collisions);
    for (size_t t = 0; t < n; t++) {
        collisions[t] = facts[t].collision;
    }
    double weight = tr_dpo_weight(logprobs, collisions, n);
    free(collisions);
    return weight;
}

/// Fills the pairs from the sequences chosen: [2 * pairs], whose response tokens follow one another
/// in logprobs and facts.
static void measure(pairs_t *p, const dpo_context_t *context, const tr_sequences_t *sequences,
                    const uint32_t *chosen, const float *logprobs, const tr_token_facts_t *facts)
{
    const tr_dpo_options_t *options = context->options;
    const double ld = options->ld_alpha;
    size_t at = 0;
    for (size_t i = 0; i < p->view.pairs; i++) {
        uint32_t w = chosen[2 * i], l = chosen[2 * i + 1];
        size_t n_w = actor_tokens_of(sequences, w), n_l = actor_tokens_of(sequences, l);
        p->chosen_tokens[i] = n_w;
        p->rejected_tokens[i] = n_l;
        size_t shared = shared_of(p, i);
        p->chosen[i] = tr_dpo_sum(logprobs + at, n_w, shared, ld);
        p->rejected[i] = tr_dpo_sum(logprobs + at + n_w, n_l, shared, ld);
        if (context->reference != NULL) {
            // The reference's log-probs are of the whole batch, the policy's of this chunk.
            const int32_t *starts = sequences->response_starts;
            p->reference_chosen[i] = tr_dpo_sum(context->reference + starts[w], n_w, shared, ld);
            p->reference_rejected[i] = tr_dpo_sum(context->reference + starts[l], n_l, shared, ld);
        }
        // WPO multiplies the weights of both completions.
        p->weights[i] = weight_of(logprobs + at, facts + at, n_w) *
                        weight_of(logprobs + at + n_w, facts + at + n_w, n_l);
        at += n_w + n_l;
    }
    // The view has NULL where the loss reads nothing.
    p->view.chosen = p->chosen;
    p->view.rejected = p->rejected;
    p->view.reference_chosen = context->reference != NULL ? p->reference_chosen : NULL;
    p->view.reference_rejected = context->reference != NULL ? p->reference_rejected : NULL;
    p->view.chosen_tokens = p->chosen_tokens;
    p->view.rejected_tokens = p->rejected_tokens;
    p->view.weights = options->use_weighting ? p->weights : NULL;
    p->view.order = p->order;
}

/// The loss of a chunk of pairs. Its slope by a completion's log-prob is spread over the tokens.
static tr_status dpo_loss(void *argument, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    dpo_context_t *context = argument;
    actor_dpo_report_t *report = context->report;
    const double ld = context->options->ld_alpha;
    pairs_t p;
    (void)err;
    pairs_new(&p, chunk->count / 2);
    measure(&p, context, chunk->sequences, chunk->chosen, chunk->out, chunk->facts);
    if (context->before == NULL) {
        tr_dpo_loss(p.dchosen, p.drejected, &report->sums, &p.view, chunk->total / 2,
                    context->options);
    }
    for (size_t i = 0, at = 0; i < p.view.pairs; i++) {
        size_t n_w = p.chosen_tokens[i], n_l = p.rejected_tokens[i], shared = shared_of(&p, i);
        // The slopes of a coupled loss are stored by the pair's place in the batch.
        size_t pair = chunk->chosen[2 * i] / 2;
        double dw = context->before != NULL ? context->before->dchosen[pair] : p.dchosen[i];
        double dl = context->before != NULL ? context->before->drejected[pair] : p.drejected[i];
        // Only the chosen completion has sft's part.
        tr_dpo_spread(dout + at, dw, n_w, shared, ld, context->nll);
        tr_dpo_spread(dout + at + n_w, dl, n_l, shared, ld, 0.0);
        // Always summed; put_metrics reports it only where sft is one of the losses.
        report->nll -= tr_dpo_sum(chunk->out + at, n_w, n_w, 1.0);
        actor_tokens_add(&report->chosen, chunk->facts + at, n_w);
        actor_tokens_add(&report->rejected, chunk->facts + at + n_w, n_l);
        at += n_w + n_l;
    }
    pairs_free(&p);
    return TR_OK;
}

/// The indices 0..count - 1. Owned by the caller.
static uint32_t *all_of(size_t count)
{
    uint32_t *all = tr_calloc(count + 1, sizeof *all);
    for (size_t i = 0; i < count; i++) {
        all[i] = (uint32_t)i;
    }
    return all;
}

/// The slopes of a loss that couples pairs, from a forward pass over the whole batch.
static tr_status whole_batch(pairs_t *p, const dpo_context_t *context, tr_trainer_t *trainer,
                             const tr_sequences_t *sequences, tr_error_t *err)
{
    size_t tokens = (size_t)sequences->response_starts[sequences->count];
    float *logprobs = tr_calloc(tokens + 1, sizeof *logprobs);
    tr_token_facts_t *facts = tr_calloc(tokens + 1, sizeof *facts);
    uint32_t *all = all_of(sequences->count);
    tr_status status = tr_response_forward_all(tr_trainer_pass(trainer), sequences, TR_INFER_CHUNK,
                                               1.0f, logprobs, facts, err);
    if (status == TR_OK) {
        measure(p, context, sequences, all, logprobs, facts);
        tr_dpo_loss(p->dchosen, p->drejected, &context->report->sums, &p->view,
                    sequences->count / 2, context->options);
    }
    free(all);
    free(facts);
    free(logprobs);
    return status;
}

/// Response tokens of all chosen completions: the divisor of sft's mean.
static size_t chosen_tokens(const tr_sequences_t *sequences)
{
    size_t tokens = 0;
    for (size_t s = 0; s < sequences->count; s += 2) {
        tokens += actor_tokens_of(sequences, (uint32_t)s);
    }
    return tokens;
}

tr_status actor_learn_dpo(actor_dpo_report_t *report, tr_trainer_t *trainer,
                          const tr_sequences_t *sequences, const float *reference,
                          const tr_dpo_options_t *options, const tr_train_pass_t *pass,
                          tr_error_t *err)
{
    *report = (actor_dpo_report_t){0};
    TR_TRY(actor_expect_tokens(sequences, 2, err));
    dpo_context_t context = {.options = options, .reference = reference, .report = report};
    tr_train_pass_t pairwise = *pass;
    pairs_t before;
    tr_status status = TR_OK;
    pairwise.group = 2; // a chunk never separates a pair
    if (tr_dpo_uses(options, TR_DPO_SFT)) {
        // The divisor is the whole batch's, so that chunks add up to its mean.
        context.nll = tr_dpo_loss_weight(options, TR_DPO_SFT) / (double)chosen_tokens(sequences);
    }
    pairs_new(&before, sequences->count / 2);
    if (tr_dpo_couples_pairs(options)) {
        TR_TRY_GOTO(whole_batch(&before, &context, trainer, sequences, err), done);
        context.before = &before;
    }
    status =
        tr_trainer_run_pass(trainer, sequences, &pairwise, dpo_loss, &context, &report->pass, err);
done:
    pairs_free(&before);
    return status;
}

/// The tally under TRL's names. The loss includes sft's part, which is a mean over tokens.
static tr_status put_metrics(actor_training_t *t, const actor_dpo_report_t *report,
                             const tr_dpo_options_t *options, tr_error_t *err)
{
    const tr_dpo_sums_t *sums = &report->sums;
    double pairs = (double)sums->pairs, tokens = (double)report->chosen.count;
    bool sft = tr_dpo_uses(options, TR_DPO_SFT);
    double nll = sft ? tr_dpo_loss_weight(options, TR_DPO_SFT) * report->nll / tokens : 0.0;
    const actor_class_t chosen = {pairs, sums->chosen_rewards, sums->chosen_logps, &report->chosen};
    const actor_class_t rejected = {pairs, sums->rejected_rewards, sums->rejected_logps,
                                    &report->rejected};
    TR_TRY(actor_training_put(t, "loss", sums->loss + nll * pairs, pairs, err));
    TR_TRY(actor_training_put_norm(t, "grad_norm", &report->pass, err));
    TR_TRY(actor_put_classes(t, &chosen, &rejected, err));
    TR_TRY(actor_training_put(t, "rewards/accuracies", sums->accuracies, pairs, err));
    TR_TRY(actor_training_put(t, "rewards/margins", sums->chosen_rewards - sums->rejected_rewards,
                              pairs, err));
    TR_TRY(actor_training_put(t, "mean_token_accuracy", report->chosen.greedy, tokens, err));
    return actor_training_put(t, "nll_loss", sft ? report->nll : 0.0, sft ? tokens : 0.0, err);
}

/// Serves train_dpo: tensor reference, where a loss reads it.
static tr_status train(actor_training_t *t, const void *options, tr_error_t *err)
{
    const float *reference = NULL;
    actor_dpo_report_t report;
    if (tr_dpo_needs_reference(options)) {
        TR_TRY(actor_training_take(&reference, t, "reference", err));
    }
    actor_training_begins(t);
    TR_TRY(actor_learn_dpo(&report, t->learner->trainer, &t->sequences, reference, options,
                           &t->pass, err));
    return put_metrics(t, &report, options, err);
}

const actor_algorithm_t actor_dpo = {"train_dpo", &tr_dpo_fields, false, train};
