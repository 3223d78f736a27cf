// DPO and its relatives in the actor: pairs of completions, their summed log-probs, and the losses
// of common/algo/dpo.h.
//
// Sequences come as chosen, rejected, chosen, rejected... Losses that couple the pairs of a batch
// (aot) need all of them at once: a pass over the whole batch without gradients comes first, and
// the chunks of the update then use its slopes.
#include <stdlib.h>

#include "actor/training.h"

/// The length of the shorter completion: LD-DPO counts the tokens up to it in full.
static size_t shared_of(const tr_dpo_pair_t *pair)
{
    return pair->chosen_tokens < pair->rejected_tokens ? pair->chosen_tokens
                                                       : pair->rejected_tokens;
}

/// WPO's weight of a completion. collisions: log of the sum of squared probabilities, by token.
static double weight_of(const float *logprobs, const tr_token_facts_t *facts, size_t n)
{
    // A batch of facts is an array of records; the loss wants one field of it as a vector.
    float *collisions = tr_calloc(n, sizeof *collisions);
    for (size_t t = 0; t < n; t++) {
        collisions[t] = facts[t].collision;
    }
    double weight = tr_dpo_weight(logprobs, collisions, n);
    free(collisions);
    return weight;
}

/// The pair of sequences w and l, whose response tokens follow one another in logprobs and facts.
static tr_dpo_pair_t measure(const actor_dpo_t *dpo, const tr_sequences_t *sequences, uint32_t w,
                             uint32_t l, const float *logprobs, const tr_token_facts_t *facts)
{
    const double ld = dpo->options->ld_alpha;
    size_t n_w = actor_tokens_of(sequences, w), n_l = actor_tokens_of(sequences, l);
    tr_dpo_pair_t pair = {.chosen_tokens = n_w, .rejected_tokens = n_l, .weight = 1.0};
    // Policy and reference are cut at the same token, so that their difference is of the same text.
    size_t shared = shared_of(&pair);
    pair.chosen = tr_dpo_sum(logprobs, n_w, shared, ld);
    pair.rejected = tr_dpo_sum(logprobs + n_w, n_l, shared, ld);
    if (dpo->reference != NULL) {
        // The reference's log-probs are of the whole batch, the policy's of this chunk.
        const int32_t *starts = sequences->response_starts;
        pair.reference_chosen = tr_dpo_sum(dpo->reference + starts[w], n_w, shared, ld);
        pair.reference_rejected = tr_dpo_sum(dpo->reference + starts[l], n_l, shared, ld);
    }
    if (dpo->options->use_weighting) {
        // WPO multiplies the weights of both completions.
        pair.weight = weight_of(logprobs, facts, n_w) * weight_of(logprobs + n_w, facts + n_w, n_l);
    }
    return pair;
}

/// The pairs of the chunk, with the slopes of their losses. Owned by the caller.
static tr_dpo_pair_t *pairs_of(actor_dpo_t *dpo, const tr_chunk_t *chunk)
{
    size_t n = chunk->count / 2, at = 0;
    tr_dpo_pair_t *pairs = tr_calloc(n, sizeof *pairs);
    for (size_t i = 0; i < n; i++) {
        uint32_t w = chunk->chosen[2 * i];
        // Slopes of a coupled loss are known already, by the pair's place in the batch.
        pairs[i] = dpo->coupled != NULL
                       ? dpo->coupled[w / 2]
                       : measure(dpo, chunk->sequences, w, chunk->chosen[2 * i + 1],
                                 chunk->out + at, chunk->facts + at);
        at += pairs[i].chosen_tokens + pairs[i].rejected_tokens;
    }
    if (dpo->coupled == NULL) {
        tr_dpo_loss(pairs, n, NULL, &dpo->sums, chunk->total / 2, dpo->options);
    }
    return pairs;
}

/// The loss of a chunk of pairs. Its slope by a completion's log-prob is spread over the tokens.
static tr_status dpo_loss(void *argument, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    actor_dpo_t *dpo = argument;
    const double ld = dpo->options->ld_alpha;
    tr_dpo_pair_t *pairs = pairs_of(dpo, chunk);
    (void)err;
    // out, facts and dout have the chunk's response tokens in a row: chosen, rejected, chosen...
    for (size_t i = 0, at = 0; i < chunk->count / 2; i++) {
        const tr_dpo_pair_t *pair = &pairs[i];
        size_t n_w = pair->chosen_tokens, n_l = pair->rejected_tokens, shared = shared_of(pair);
        // Only the chosen completion has sft's part.
        tr_dpo_spread(dout + at, pair->dchosen, n_w, shared, ld, dpo->nll_slope);
        tr_dpo_spread(dout + at + n_w, pair->drejected, n_l, shared, ld, 0.0);
        // Always summed; put_metrics reports it only where sft is one of the losses.
        dpo->nll -= tr_dpo_sum(chunk->out + at, n_w, n_w, 1.0);
        actor_tokens_add(&dpo->chosen, chunk->facts + at, n_w);
        actor_tokens_add(&dpo->rejected, chunk->facts + at + n_w, n_l);
        at += n_w + n_l;
    }
    free(pairs);
    return TR_OK;
}

/// The slopes of a loss that couples pairs, from a forward pass over the whole batch. pairs: [n],
/// written.
static tr_status couple(tr_dpo_pair_t *pairs, size_t n, actor_dpo_t *dpo, tr_trainer_t *trainer,
                        const tr_sequences_t *sequences, tr_error_t *err)
{
    // Without gradients, so any number of pairs fits: only log-probs and facts are kept.
    const int32_t *starts = sequences->response_starts;
    size_t tokens = (size_t)starts[sequences->count];
    size_t *order = tr_calloc(2 * n, sizeof *order);
    float *logprobs = tr_calloc(tokens + 1, sizeof *logprobs);
    tr_token_facts_t *facts = tr_calloc(tokens + 1, sizeof *facts);
    tr_status status = tr_response_forward_all(tr_trainer_pass(trainer), sequences, TR_INFER_CHUNK,
                                               1.0f, logprobs, facts, err);
    if (status == TR_OK) {
        for (uint32_t i = 0; i < n; i++) {
            int32_t at = starts[2 * i];
            pairs[i] = measure(dpo, sequences, 2 * i, 2 * i + 1, logprobs + at, facts + at);
        }
        // These sums are complete here; the chunks of the update add none of their own.
        tr_dpo_loss(pairs, n, order, &dpo->sums, n, dpo->options);
    }
    free(facts);
    free(logprobs);
    free(order);
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

tr_status actor_learn_dpo(actor_dpo_t *dpo, tr_trainer_t *trainer, const tr_sequences_t *sequences,
                          const tr_train_pass_t *pass, tr_error_t *err)
{
    TR_TRY(actor_expect_tokens(sequences, 2, err));
    size_t n = sequences->count / 2;
    tr_dpo_pair_t *pairs = tr_calloc(n, sizeof *pairs);
    tr_train_pass_t pairwise = *pass;
    tr_status status;
    pairwise.group = 2; // a chunk never separates a pair
    if (tr_dpo_uses(dpo->options, TR_DPO_SFT)) {
        // The divisor is the whole batch's, so that chunks add up to its mean.
        dpo->nll_slope =
            tr_dpo_loss_weight(dpo->options, TR_DPO_SFT) / (double)chosen_tokens(sequences);
    }
    if (tr_dpo_couples_pairs(dpo->options)) {
        TR_TRY_GOTO(couple(pairs, n, dpo, trainer, sequences, err), done);
        dpo->coupled = pairs;
    }
    status = tr_trainer_run_pass(trainer, sequences, &pairwise, dpo_loss, dpo, &dpo->result, err);
done:
    dpo->coupled = NULL;
    free(pairs);
    return status;
}

/// The tally under TRL's names. The loss includes sft's part, which is a mean over tokens.
static tr_status put_metrics(json_t *m, const actor_dpo_t *dpo, tr_error_t *err)
{
    const tr_dpo_sums_t *sums = &dpo->sums;
    double pairs = (double)sums->pairs, tokens = (double)dpo->chosen.count;
    bool sft = tr_dpo_uses(dpo->options, TR_DPO_SFT);
    // A mean over tokens: times the pairs, it survives the division by them.
    double nll = sft ? tr_dpo_loss_weight(dpo->options, TR_DPO_SFT) * dpo->nll / tokens : 0.0;
    const actor_class_t chosen = {pairs, sums->chosen_rewards, sums->chosen_logps, &dpo->chosen};
    const actor_class_t rejected = {pairs, sums->rejected_rewards, sums->rejected_logps,
                                    &dpo->rejected};
    TR_TRY(tr_tally_put(m, "loss", sums->loss + nll * pairs, pairs, err));
    TR_TRY(tr_tally_put(m, "grad_norm", dpo->result.norm_sum, (double)dpo->result.updates, err));
    TR_TRY(tr_learner_put_balance(m, &dpo->result, err));
    // In this order the names stand in metrics.jsonl.
    TR_TRY(actor_put_classes(m, &chosen, &rejected, err));
    TR_TRY(tr_tally_put(m, "rewards/accuracies", sums->accuracies, pairs, err));
    // The difference of the sums is the sum of the differences: all pairs have both sides.
    TR_TRY(tr_tally_put(m, "rewards/margins", sums->chosen_rewards - sums->rejected_rewards, pairs,
                        err));
    TR_TRY(tr_tally_put(m, "mean_token_accuracy", dpo->chosen.greedy, tokens, err));
    // Weight 0 leaves it out where sft is none of the losses.
    return tr_tally_put(m, "nll_loss", sft ? dpo->nll : 0.0, sft ? tokens : 0.0, err);
}

/// Serves train_dpo: tensor reference, where a loss reads it.
static tr_status train(actor_training_t *t, const void *options, tr_error_t *err)
{
    actor_dpo_t dpo = {.options = options};
    if (tr_dpo_needs_reference(options)) {
        TR_TRY(actor_training_take(&dpo.reference, t, "reference", err));
    }
    actor_training_begins(t);
    TR_TRY(actor_learn_dpo(&dpo, t->learner->trainer, &t->sequences, &t->pass, err));
    return put_metrics(t->metrics, &dpo, err);
}

const actor_algorithm_t actor_dpo = {"train_dpo", &tr_dpo_fields, false, train};
