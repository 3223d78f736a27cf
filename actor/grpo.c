// GRPO and its kin in the actor: a policy loss over a step's responses, without a critic.
//
// As in PPO (ppo.c), the first pass proves that rollouts and actor agree. The losses are in
// common/algo/policy_loss.c, a response at a time; advantages come from the controller.
#include <stdlib.h>

#include "actor/training.h"
#include "common/algo/statistics.h"

/// The numbers of a chunk's tokens, gathered from the batch in the order of the chunk; one block.
typedef struct gathered {
    float *old, *advantages;
    float *reference, *mask, *weights; // NULL where the batch has none
} gathered_t;

static float *gather(const float *from, const tr_chunk_t *chunk, float **at)
{
    float *to = from == NULL ? NULL : *at;
    if (from != NULL) {
        tr_response_select(to, from, chunk->sequences, chunk->chosen, chunk->count);
        *at += chunk->n;
    }
    return to;
}

static gathered_t gather_all(const actor_grpo_t *grpo, const tr_chunk_t *chunk)
{
    float *at = tr_calloc(5 * chunk->n + 1, sizeof *at);
    gathered_t g;
    g.old = gather(grpo->logprobs, chunk, &at);
    g.advantages = gather(grpo->advantages, chunk, &at);
    g.reference = gather(grpo->reference, chunk, &at);
    g.mask = gather(grpo->mask, chunk, &at);
    g.weights = gather(grpo->weights, chunk, &at);
    return g;
}

/// Tokens of these sequences that count.
static double counted(const actor_grpo_t *grpo, const tr_sequences_t *sequences,
                      const uint32_t *chosen, size_t count)
{
    double sum = 0.0;
    for (size_t i = 0; i < count; i++) {
        const int32_t *starts = sequences->response_starts + chosen[i];
        for (int32_t t = starts[0]; t < starts[1]; t++) {
            sum += grpo->mask == NULL || grpo->mask[t] != 0.0F ? 1.0 : 0.0;
        }
    }
    return sum;
}

/// At least one, so that a minibatch without a token that counts has loss 0.
static double at_least_one(double x)
{
    return x < 1.0 ? 1.0 : x;
}

/// The loss of a chunk, its gradient by each log-prob, and the sums for metrics.
static tr_status grpo_loss(void *argument, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    actor_grpo_t *grpo = argument;
    const gathered_t g = gather_all(grpo, chunk);
    const tr_policy_normalizer_t normalizer = {
        grpo->batch_tokens,
        at_least_one(counted(grpo, chunk->sequences, chunk->minibatch, chunk->total)),
        (double)chunk->total};
    (void)err;
    // Before the first update new and old log-probs are of the same weights.
    if (chunk->first) {
        grpo->mismatch =
            fmaxf(grpo->mismatch, actor_largest_difference(g.old, chunk->out, chunk->n));
    }
    for (size_t i = 0, at = 0; i < chunk->count; i++) {
        const tr_policy_response_t response = {
            .n = actor_tokens_of(chunk->sequences, chunk->chosen[i]),
            .logprobs = chunk->out + at,
            .old_logprobs = g.old + at,
            .advantages = g.advantages + at,
            .reference = g.reference == NULL ? NULL : g.reference + at,
            .mask = g.mask == NULL ? NULL : g.mask + at,
            .weights = g.weights == NULL ? NULL : g.weights + at,
        };
        tr_policy_loss(dout + at, &grpo->sums, &response, &normalizer, grpo->options);
        at += response.n;
    }
    for (size_t t = 0; t < chunk->n; t++) {
        grpo->entropy_sum +=
            g.mask == NULL || g.mask[t] != 0.0F ? (double)chunk->facts[t].entropy : 0.0;
    }
    free(g.old);
    return TR_OK;
}

// The tokens of the highest entropy

/// A tr_loss_fn that keeps the entropy of each response token.
static tr_status note_entropies(void *argument, const tr_chunk_t *chunk, float *dout,
                                tr_error_t *err)
{
    float *entropies = argument;
    (void)dout;
    (void)err;
    for (size_t i = 0, at = 0; i < chunk->count; i++) {
        const int32_t *starts = chunk->sequences->response_starts + chunk->chosen[i];
        for (int32_t t = starts[0]; t < starts[1]; t++) {
            entropies[t] = chunk->facts[at++].entropy;
        }
    }
    return TR_OK;
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/// entropies: [tokens], replaced by 1 for the share of the tokens that count whose entropy is
/// highest, and 0 for the others.
static void choose(float *entropies, const float *mask, size_t tokens, double share)
{
    float *sorted = tr_calloc(tokens + 1, sizeof *sorted);
    size_t n = 0;
    for (size_t t = 0; t < tokens; t++) {
        sorted[n] = entropies[t];
        n += mask == NULL || mask[t] != 0.0F ? 1 : 0;
    }
    qsort(sorted, n, sizeof *sorted, ascending);
    const float least = n > 0 ? (float)tr_quantile(sorted, n, 1.0 - share) : 0.0F;
    for (size_t t = 0; t < tokens; t++) {
        entropies[t] = entropies[t] >= least ? 1.0F : 0.0F;
    }
    free(sorted);
}

/// A pass before the first update, by the policy that sampled. The caller frees *weights.
static tr_status weigh(float **weights, const actor_grpo_t *grpo, tr_trainer_t *trainer,
                       const tr_sequences_t *sequences, const tr_train_pass_t *pass,
                       tr_error_t *err)
{
    const size_t tokens = (size_t)sequences->response_starts[sequences->count];
    tr_train_pass_t look = *pass;
    tr_train_pass_result_t result;
    look.evaluate = true;
    look.epochs = look.minibatches = 1;
    *weights = tr_calloc(tokens + 1, sizeof **weights);
    TR_TRY(tr_trainer_run_pass(trainer, sequences, &look, note_entropies, *weights, &result, err));
    choose(*weights, grpo->mask, tokens, grpo->options->top_entropy_quantile);
    return TR_OK;
}

tr_status actor_learn_grpo(actor_grpo_t *grpo, tr_trainer_t *trainer,
                           const tr_sequences_t *sequences, const tr_train_pass_t *pass,
                           tr_error_t *err)
{
    double tokens = 0.0;
    float *weights = NULL;
    tr_status status = TR_OK;
    for (uint32_t i = 0; i < sequences->count; i++) {
        tokens += counted(grpo, sequences, &i, 1);
    }
    // Each minibatch takes its share, however many of them it has itself.
    grpo->batch_tokens = at_least_one(tokens) / (double)pass->minibatches;
    if (grpo->options->top_entropy_quantile < 1.0) {
        status = weigh(&weights, grpo, trainer, sequences, pass, err);
        grpo->weights = weights;
    }
    if (status == TR_OK) {
        status = tr_trainer_run_pass(trainer, sequences, pass, grpo_loss, grpo, &grpo->result, err);
    }
    grpo->weights = NULL;
    free(weights);
    return status;
}

/// What a loss says of its ratios, under TRL's names.
static tr_status put_ratios(json_t *m, const actor_grpo_t *grpo, tr_error_t *err)
{
    const tr_policy_sums_t *sums = &grpo->sums;
    switch (grpo->options->loss_type) {
    case TR_LOSS_SAPO:
    case TR_LOSS_GMPO: return TR_OK;
    case TR_LOSS_CISPO: return tr_tally_put(m, "cispo_clip_ratio", sums->high, sums->ratios, err);
    case TR_LOSS_VESPO:
        return tr_tally_put(m, "vespo/phi_seq_mean", sums->phi, sums->responses, err);
    default: break;
    }
    double any = sums->responses > 0.0 ? 1.0 : 0.0;
    TR_TRY(tr_tally_put(m, "clip_ratio/low_mean", sums->low, sums->ratios, err));
    TR_TRY(tr_tally_put(m, "clip_ratio/low_min", sums->low_least, any, err));
    TR_TRY(tr_tally_put(m, "clip_ratio/high_mean", sums->high, sums->ratios, err));
    TR_TRY(tr_tally_put(m, "clip_ratio/high_max", sums->high_most, any, err));
    return tr_tally_put(m, "clip_ratio/region_mean", sums->low + sums->high, sums->ratios, err);
}

static tr_status put_metrics(json_t *m, const actor_grpo_t *grpo, tr_error_t *err)
{
    const tr_policy_sums_t *sums = &grpo->sums;
    const double updates = (double)grpo->result.updates;
    TR_TRY(tr_tally_put(m, "loss", sums->loss, updates, err));
    TR_TRY(tr_tally_put(m, "grad_norm", grpo->result.norm_sum, updates, err));
    TR_TRY(tr_tally_put(m, "entropy", grpo->entropy_sum, sums->tokens, err));
    if (grpo->reference != NULL) {
        TR_TRY(tr_tally_put(m, "kl", sums->kl, sums->tokens, err));
    }
    TR_TRY(put_ratios(m, grpo, err));
    TR_TRY(tr_learner_put_balance(m, &grpo->result, err));
    return tr_tally_put(m, "exact/logprob_mismatch", (double)grpo->mismatch, 1.0, err);
}

/// Reads a tensor that may be missing.
static tr_status take_optional(const float **values, const actor_training_t *t, const char *name,
                               tr_error_t *err)
{
    tr_view_t view;
    return tr_message_tensor(&view, t->request, name) ? actor_training_take(values, t, name, err)
                                                      : TR_OK;
}

/// Serves train_grpo: tensors logprobs and advantages; reference where the loss has a KL penalty,
/// mask where some tokens do not count.
static tr_status train(actor_training_t *t, const void *options, tr_error_t *err)
{
    actor_grpo_t grpo = {.options = options};
    if (t->pass.evaluate) {
        return tr_fail(err, TR_ERR_UNSUPPORTED, "train_grpo: there is nothing to evaluate");
    }
    TR_TRY(actor_training_take(&grpo.logprobs, t, "logprobs", err));
    TR_TRY(actor_training_take(&grpo.advantages, t, "advantages", err));
    TR_TRY(take_optional(&grpo.reference, t, "reference", err));
    TR_TRY(take_optional(&grpo.mask, t, "mask", err));
    actor_training_begins(t);
    TR_TRY(actor_learn_grpo(&grpo, t->learner->trainer, &t->sequences, &t->pass, err));
    return put_metrics(t->metrics, &grpo, err);
}

const actor_algorithm_t actor_grpo = {"train_grpo", &tr_policy_fields, false, train};
