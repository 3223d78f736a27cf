// Reward models in the actor: pairs of completions, scored at their last tokens.
//
// The equations are in common/algo/bradley_terry.c. TRL reports a mean and a standard deviation of
// scores; squares travel instead of the latter, because they add up (controller/metrics.c).
#include "actor/training.h"

/// The loss of a chunk of pairs; out and dout have one score a sequence.
static tr_status reward_loss(void *argument, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    actor_reward_t *reward = argument;
    (void)err;
    for (size_t i = 0; i < chunk->count; i += 2) {
        // Margins are of the whole batch, indexed by pair.
        float margin = reward->margins != NULL ? reward->margins[chunk->chosen[i] / 2] : 0.0f;
        tr_bradley_terry_loss(&dout[i], &dout[i + 1], &reward->sums, chunk->out[i],
                              chunk->out[i + 1], margin, chunk->total / 2, reward->options);
    }
    return TR_OK;
}

tr_status actor_learn_reward(actor_reward_t *reward, tr_trainer_t *trainer,
                             const tr_sequences_t *sequences, const tr_train_pass_t *pass,
                             tr_error_t *err)
{
    tr_train_pass_t pairwise = *pass;
    pairwise.group = 2;     // a chunk never separates a pair
    pairwise.scores = true; // one output a sequence, at its last token
    return tr_trainer_run_pass(trainer, sequences, &pairwise, reward_loss, reward, &reward->result,
                               err);
}

/// The tally under TRL's names.
static tr_status put_metrics(json_t *m, const actor_reward_t *reward, tr_error_t *err)
{
    const tr_bradley_terry_sums_t *sums = &reward->sums;
    double pairs = (double)sums->pairs, updates = (double)reward->result.updates;
    TR_TRY(tr_tally_put(m, "loss", sums->loss, pairs, err));
    TR_TRY(tr_tally_put(m, "grad_norm", reward->result.norm_sum, updates, err));
    TR_TRY(tr_learner_put_balance(m, &reward->result, err));
    TR_TRY(tr_tally_put(m, "accuracy", sums->accuracies, pairs, err));
    TR_TRY(tr_tally_put(m, "margin", sums->margins, pairs, err));
    TR_TRY(tr_tally_put(m, "mean_reward", sums->scores, 2.0 * pairs, err));
    TR_TRY(tr_tally_put(m, "mean_squared_reward", sums->squares, 2.0 * pairs, err));
    // Extremes do not add up; over batches these become means of extremes.
    TR_TRY(tr_tally_put(m, "min_reward", sums->least, 1.0, err));
    return tr_tally_put(m, "max_reward", sums->most, 1.0, err);
}

/// Serves train_reward: tensor margins, where rows have them.
static tr_status train(actor_training_t *t, const void *options, tr_error_t *err)
{
    actor_reward_t reward = {.options = options};
    tr_view_t margins;
    // Margins are optional: rows may have none.
    if (tr_message_tensor(&margins, t->request, "margins")) {
        TR_TRY(tr_message_expect_tensor(&margins, t->request, "margins", TR_F32,
                                        t->sequences.count / 2, err));
        reward.margins = margins.data;
    }
    actor_training_begins(t);
    TR_TRY(actor_learn_reward(&reward, t->learner->trainer, &t->sequences, &t->pass, err));
    return put_metrics(t->metrics, &reward, err);
}

const actor_algorithm_t actor_reward = {"train_reward", &tr_reward_fields, true, train};
