// Reward models in the actor: pairs of completions, scored at their last tokens.
//
// The equations are in common/algo/bradley_terry.c. TRL reports a mean and a standard deviation of
// scores; squares travel instead of the latter, because they add up (controller/metrics.c).
#include "actor/algorithms.h"

typedef struct reward_context {
    const float *margins; // [pairs] or NULL
    double center;
    actor_reward_report_t *report;
} reward_context_t;

/// The loss of a chunk of pairs; out and dout have one score a sequence.
static tr_status reward_loss(void *argument, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    reward_context_t *context = argument;
    (void)err;
    for (size_t i = 0; i < chunk->count; i += 2) {
        // Margins are of the whole batch, indexed by pair.
        size_t pair = chunk->chosen[i] / 2;
        tr_bradley_terry_loss(dout + i, dout + i + 1, &context->report->sums, chunk->out + i,
                              chunk->out + i + 1,
                              context->margins != NULL ? context->margins + pair : NULL, 1,
                              chunk->total / 2, context->center);
    }
    return TR_OK;
}

tr_status actor_learn_reward(actor_reward_report_t *report, tr_trainer_t *trainer,
                             const tr_sequences_t *sequences, const float *margins, double center,
                             const tr_train_pass_t *pass, tr_error_t *err)
{
    *report = (actor_reward_report_t){0};
    reward_context_t context = {margins, center, report};
    tr_train_pass_t pairwise = *pass;
    pairwise.group = 2;     // a chunk never separates a pair
    pairwise.scores = true; // one output a sequence, at its last token
    return tr_trainer_run_pass(trainer, sequences, &pairwise, reward_loss, &context, &report->pass,
                               err);
}

/// The tally under TRL's names.
static tr_status put_metrics(actor_training_t *t, const actor_reward_report_t *report,
                             tr_error_t *err)
{
    const tr_bradley_terry_sums_t *sums = &report->sums;
    double pairs = (double)sums->pairs;
    TR_TRY(actor_training_put(t, "loss", sums->loss, pairs, err));
    TR_TRY(actor_training_put_norm(t, "grad_norm", &report->pass, err));
    TR_TRY(actor_training_put(t, "accuracy", sums->accuracies, pairs, err));
    TR_TRY(actor_training_put(t, "margin", sums->margins, pairs, err));
    TR_TRY(actor_training_put(t, "mean_reward", sums->scores, 2.0 * pairs, err));
    TR_TRY(actor_training_put(t, "mean_squared_reward", sums->squares, 2.0 * pairs, err));
    // Extremes do not add up; over batches these become means of extremes.
    TR_TRY(actor_training_put(t, "min_reward", sums->least, 1.0, err));
    return actor_training_put(t, "max_reward", sums->most, 1.0, err);
}

/// Serves train_reward: tensor margins, where rows have them.
static tr_status train(actor_training_t *t, const void *options, tr_error_t *err)
{
    const tr_reward_options_t *reward = options;
    tr_view_t margins = {0};
    actor_reward_report_t report;
    // Margins are optional: rows may have none.
    if (tr_message_tensor(&margins, t->request, "margins")) {
        TR_TRY(tr_message_expect_tensor(&margins, t->request, "margins", TR_F32,
                                        t->sequences.count / 2, err));
    }
    actor_training_begins(t);
    TR_TRY(actor_learn_reward(&report, t->learner->trainer, &t->sequences, margins.data,
                              reward->center_rewards_coefficient, &t->pass, err));
    return put_metrics(t, &report, err);
}

const actor_algorithm_t actor_reward = {"train_reward", &tr_reward_fields, true, train};
