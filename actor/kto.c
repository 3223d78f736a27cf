// KTO in the actor: single completions that are desirable or not, and the KL estimate from
// mismatched ones.
//
// A batch has its completions and then, for loss_type kto, as many mismatched ones: prompts with
// the response of another row. A forward pass over these before the update gives the reference
// point of the loss; no gradient flows through it.
#include <stdlib.h>

#include "actor/training.h"

/// The loss of a chunk, one completion at a time.
static tr_status kto_loss(void *argument, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    actor_kto_t *kto = argument;
    size_t at = 0;
    (void)err;
    for (size_t i = 0; i < chunk->count; i++) {
        uint32_t s = chunk->chosen[i];
        size_t n = actor_tokens_of(chunk->sequences, s);
        const float *reference = kto->reference + chunk->sequences->response_starts[s];
        bool desirable = kto->desirable[s] != 0;
        // Sums as DPO makes them, with every token in full (ld_alpha 1).
        double slope = tr_kto_loss(&kto->sums, tr_dpo_sum(chunk->out + at, n, n, 1.0),
                                   tr_dpo_sum(reference, n, n, 1.0), desirable, kto->kl,
                                   chunk->total, kto->options);
        tr_dpo_spread(dout + at, slope, n, n, 1.0, 0.0);
        actor_tokens_add(desirable ? &kto->chosen : &kto->rejected, chunk->facts + at, n);
        at += n;
    }
    return TR_OK;
}

/// The sum over each sequence's response tokens. values: indexed as response_starts says.
static void sum_sequences(double *sums, const tr_sequences_t *sequences, const float *values)
{
    for (size_t s = 0; s < sequences->count; s++) {
        size_t n = actor_tokens_of(sequences, (uint32_t)s);
        sums[s] = tr_dpo_sum(values + sequences->response_starts[s], n, n, 1.0);
    }
}

/// The KL estimate from mismatched completions: policy against reference, before the update.
static tr_status estimate_kl(double *kl, tr_trainer_t *trainer, const tr_sequences_t *mismatched,
                             const float *reference, tr_error_t *err)
{
    size_t end = (size_t)mismatched->response_starts[mismatched->count];
    // Offsets of the second half count from the batch's start, so the array covers all of it.
    float *logprobs = tr_calloc(end + 1, sizeof *logprobs);
    double *sums = tr_calloc(2 * mismatched->count, sizeof *sums);
    tr_status status = tr_response_forward_all(tr_trainer_pass(trainer), mismatched, TR_INFER_CHUNK,
                                               1.0f, logprobs, NULL, err);
    if (status == TR_OK) {
        sum_sequences(sums, mismatched, logprobs);
        sum_sequences(sums + mismatched->count, mismatched, reference);
        // Of the policy before this update, and constant for the whole batch.
        *kl = tr_kto_kl(sums, sums + mismatched->count, mismatched->count);
    }
    free(sums);
    free(logprobs);
    return status;
}

/// The rows among `count` sequences: with loss kto the other half is mismatched.
static size_t rows_of(const tr_kto_options_t *options, size_t count)
{
    return count / (options->loss_type == TR_KTO_KTO ? 2 : 1);
}

tr_status actor_learn_kto(actor_kto_t *kto, tr_trainer_t *trainer, const tr_sequences_t *sequences,
                          const tr_train_pass_t *pass, tr_error_t *err)
{
    size_t rows = rows_of(kto->options, sequences->count);
    // The loss trains on the first half; the second half is only measured.
    // Two views of one batch: starts are moved, and offsets into ids and log-probs stay valid.
    tr_sequences_t matched = *sequences, mismatched = *sequences;
    TR_TRY(actor_expect_tokens(sequences, 1, err));
    // apo_zero_unpaired has no second half: mismatched is then empty.
    matched.count = rows;
    mismatched.count = sequences->count - rows;
    mismatched.starts += rows;
    mismatched.prompt_lengths += rows;
    mismatched.response_starts += rows;
    if (kto->options->loss_type == TR_KTO_KTO) {
        if (mismatched.count != rows) {
            return tr_fail(err, TR_ERR_ARGUMENT, "%zu mismatched completions for %zu rows",
                           mismatched.count, rows);
        }
        TR_TRY(estimate_kl(&kto->kl, trainer, &mismatched, kto->reference, err));
    }
    return tr_trainer_run_pass(trainer, &matched, pass, kto_loss, kto, &kto->result, err);
}

/// The tally under TRL's names. A batch without one class does not report it.
static tr_status put_metrics(json_t *m, const actor_kto_t *kto, tr_error_t *err)
{
    const tr_kto_sums_t *sums = &kto->sums;
    double good = (double)sums->chosen, bad = (double)sums->rejected;
    const actor_class_t chosen = {good, sums->chosen_rewards, sums->chosen_logps, &kto->chosen};
    const actor_class_t rejected = {bad, sums->rejected_rewards, sums->rejected_logps,
                                    &kto->rejected};
    TR_TRY(tr_tally_put(m, "loss", sums->loss, good + bad, err));
    TR_TRY(tr_tally_put(m, "grad_norm", kto->result.norm_sum, (double)kto->result.updates, err));
    TR_TRY(tr_learner_put_balance(m, &kto->result, err));
    // One estimate for the batch, weighted by its rows so that batches average.
    TR_TRY(tr_tally_put(m, "kl", kto->kl * (good + bad), good + bad, err));
    return actor_put_classes(m, &chosen, &rejected, err);
}

/// Serves train_kto: tensors reference and desirable.
static tr_status train(actor_training_t *t, const void *options, tr_error_t *err)
{
    actor_kto_t kto = {.options = options};
    // Mismatched completions have no label.
    size_t rows = rows_of(options, t->sequences.count);
    tr_view_t labels;
    TR_TRY(actor_training_take(&kto.reference, t, "reference", err));
    TR_TRY(tr_message_expect_tensor(&labels, t->request, "desirable", TR_I32, rows, err));
    kto.desirable = labels.data;
    actor_training_begins(t);
    TR_TRY(actor_learn_kto(&kto, t->learner->trainer, &t->sequences, &t->pass, err));
    return put_metrics(t->metrics, &kto, err);
}

const actor_algorithm_t actor_kto = {"train_kto", &tr_kto_fields, false, train};
