// PPO in the actor: the clipped policy loss over a step's responses.
//
// The first pass of a step also proves that rollouts and actor agree: its log-probs, computed
// before any update, must be those that the rollouts reported, bit for bit
// (exact/logprob_mismatch). The equations are in common/algo/ppo.c; the critic has its own file
// (critic/ppo.c); advantages come from the controller.
#include <math.h>
#include <stdlib.h>

#include "actor/training.h"

typedef struct ppo_context {
    actor_ppo_t *ppo;
    size_t minibatch_tokens;       // tokens of the current minibatch so far
    double minibatch_ratio;        // sum of their ratios
    double mean_sum, mean_squares; // of the minibatches' mean ratios
    size_t minibatches;
    size_t tokens_before;   // of the epochs that are over,
    double approxkl_before; // and their sum of approxkl
} ppo_context_t;

/// Adds a chunk's ratios, and ends the minibatch when all its tokens (normalizer) are counted:
/// val/ratio_var is the variance of the minibatches' means.
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

/// The loss of a chunk, its gradient by each log-prob, and the sums for metrics.
static tr_status ppo_loss(void *argument, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    ppo_context_t *context = argument;
    actor_ppo_t *ppo = context->ppo;
    (void)err;
    // The chunk's tokens, gathered from the batch in the order of the chunk.
    float *old = tr_calloc(2 * chunk->n + 1, sizeof *old);
    float *advantages = old + chunk->n;
    tr_response_select(old, ppo->logprobs, chunk->sequences, chunk->chosen, chunk->count);
    tr_response_select(advantages, ppo->advantages, chunk->sequences, chunk->chosen, chunk->count);
    // Before the first update new and old log-probs are of the same weights.
    if (chunk->first) {
        ppo->mismatch = fmaxf(ppo->mismatch, actor_largest_difference(old, chunk->out, chunk->n));
    }
    // The sums go on over all chunks; the difference is this chunk's part.
    double before = ppo->sums.ratio;
    tr_ppo_policy_loss(dout, &ppo->sums, chunk->out, old, advantages, chunk->n, chunk->normalizer,
                       ppo->options);
    count_ratio(context, chunk->n, ppo->sums.ratio - before, chunk->normalizer);
    for (size_t i = 0; i < chunk->n; i++) {
        ppo->entropy_sum += (double)chunk->facts[i].entropy;
    }
    free(old);
    return TR_OK;
}

/// Whether the epoch moved the policy further from the one that sampled than target_kl allows. All
/// ranks have the sums of all chunks, so all decide alike.
static bool moved_too_far(void *argument)
{
    ppo_context_t *context = argument;
    const tr_ppo_policy_sums_t *sums = &context->ppo->sums;
    double tokens = (double)(sums->tokens - context->tokens_before);
    double approxkl = (sums->approxkl - context->approxkl_before) / tokens;
    context->tokens_before = sums->tokens;
    context->approxkl_before = sums->approxkl;
    return approxkl > context->ppo->options->target_kl;
}

tr_status actor_learn_ppo(actor_ppo_t *ppo, tr_trainer_t *trainer, const tr_sequences_t *sequences,
                          const tr_train_pass_t *pass, tr_error_t *err)
{
    ppo_context_t context = {.ppo = ppo};
    // Epochs end early only where target_kl asks for it.
    tr_train_pass_t own = *pass;
    own.ends = ppo->options->target_kl > 0.0 ? moved_too_far : NULL;
    TR_TRY(tr_trainer_run_pass(trainer, sequences, &own, ppo_loss, &context, &ppo->result, err));
    // Bessel-corrected, from sums: rounding can take it below 0.
    if (context.minibatches > 1) {
        double n = (double)context.minibatches;
        double variance =
            (context.mean_squares - context.mean_sum * context.mean_sum / n) / (n - 1.0);
        ppo->ratio_variance = variance > 0.0 ? variance : 0.0;
    }
    return TR_OK;
}

/// The tally under TRL's names.
static tr_status put_metrics(json_t *m, const actor_ppo_t *ppo, tr_error_t *err)
{
    const tr_ppo_policy_sums_t *sums = &ppo->sums;
    const double n = (double)sums->tokens;
    TR_TRY(tr_tally_put(m, "policy/approxkl_avg", sums->approxkl, n, err));
    TR_TRY(tr_tally_put(m, "policy/clipfrac_avg", sums->clipped, n, err));
    TR_TRY(tr_tally_put(m, "policy/entropy_avg", ppo->entropy_sum, n, err));
    TR_TRY(tr_tally_put(m, "loss/policy_avg", sums->loss, n, err));
    TR_TRY(tr_tally_put(m, "policy/epochs", (double)ppo->result.epochs, 1.0, err));
    TR_TRY(tr_tally_put(m, "val/ratio", sums->ratio, n, err));
    TR_TRY(tr_tally_put(m, "val/ratio_var", ppo->ratio_variance, 1.0, err));
    TR_TRY(
        tr_tally_put(m, "grad_norm/actor", ppo->result.norm_sum, (double)ppo->result.updates, err));
    TR_TRY(tr_learner_put_balance(m, &ppo->result, err));
    return tr_tally_put(m, "exact/logprob_mismatch", (double)ppo->mismatch, 1.0, err);
}

/// Serves train: tensors logprobs and advantages.
static tr_status train(actor_training_t *t, const void *options, tr_error_t *err)
{
    actor_ppo_t ppo = {.options = options};
    // Old log-probs and advantages exist for generated responses only.
    if (t->pass.evaluate) {
        return tr_fail(err, TR_ERR_UNSUPPORTED, "train: PPO has nothing to evaluate");
    }
    TR_TRY(actor_training_take(&ppo.logprobs, t, "logprobs", err));
    TR_TRY(actor_training_take(&ppo.advantages, t, "advantages", err));
    actor_training_begins(t);
    TR_TRY(actor_learn_ppo(&ppo, t->learner->trainer, &t->sequences, &t->pass, err));
    return put_metrics(t->metrics, &ppo, err);
}

const actor_algorithm_t actor_ppo = {"train", &tr_ppo_fields, false, train};
