// KTO in the actor: single completions that are desirable or not, and the KL estimate from
// mismatched ones.
//
// A batch has its completions and then, for loss_type kto, as many mismatched ones: prompts with
// the response of another row. A forward pass over these before the update gives the reference
// point of the loss; no gradient flows through it.
#include <stdlib.h>

#include "actor/algorithms.h"

typedef struct kto_context {
    const tr_kto_options_t *options;
    const float *reference; // over all response tokens
    const bool *desirable;
    actor_kto_report_t *report;
} kto_context_t;

/// The loss of a chunk, one completion at a time.
static tr_status kto_loss(void *argument, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    kto_context_t *context = argument;
    actor_kto_report_t *report = context->report;
    size_t at = 0;
    (void)err;
    for (size_t i = 0; i < chunk->count; i++) {
        uint32_t s = chunk->chosen[i];
        size_t n = actor_tokens_of(chunk->sequences, s);
        const float *reference = context->reference + chunk->sequences->response_starts[s];
        double logp = tr_dpo_sum(chunk->out + at, n, n, 1.0);
        // Sums as DPO makes them, with every token in full (ld_alpha 1).
        double old = tr_dpo_sum(reference, n, n, 1.0), slope;
        tr_kto_loss(&slope, &report->sums, &logp, &old, &context->desirable[s], 1, report->kl,
                    chunk->total, context->options);
        tr_dpo_spread(dout + at, slope, n, n, 1.0, 0.0);
        actor_tokens_add(context->desirable[s] ? &report->chosen : &report->rejected,
                         chunk->facts + at, n);
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
    float *logprobs = tr_calloc(end + 1, sizeof *logprobs);
    double *sums = tr_calloc(2 * mismatched->count, sizeof *sums);
    tr_status status = tr_response_forward_all(tr_trainer_pass(trainer), mismatched, TR_INFER_CHUNK,
                                               1.0f, logprobs, NULL, err);
    if (status == TR_OK) {
        sum_sequences(sums, mismatched, logprobs);
        sum_sequences(sums + mismatched->count, mismatched, reference);
        *kl = tr_kto_kl(sums, sums + mismatched->count, mismatched->count);
    }
    free(sums);
    free(logprobs);
    return status;
}

tr_status actor_learn_kto(actor_kto_report_t *report, tr_trainer_t *trainer,
                          const tr_sequences_t *sequences, size_t rows, const float *reference,
                          const bool *desirable, const tr_kto_options_t *options,
                          const tr_train_pass_t *pass, tr_error_t *err)
{
    *report = (actor_kto_report_t){0};
    TR_TRY(actor_expect_tokens(sequences, 1, err));
    kto_context_t context = {options, reference, desirable, report};
    // Two views of one batch: starts are moved, and offsets into ids and log-probs stay valid.
    tr_sequences_t matched = *sequences, mismatched = *sequences;
    matched.count = rows;
    mismatched.count = sequences->count - rows;
    mismatched.starts += rows;
    mismatched.prompt_lengths += rows;
    mismatched.response_starts += rows;
    if (options->loss_type == TR_KTO_KTO) {
        if (mismatched.count != rows) {
            return tr_fail(err, TR_ERR_ARGUMENT, "%zu mismatched completions for %zu rows",
                           mismatched.count, rows);
        }
        TR_TRY(estimate_kl(&report->kl, trainer, &mismatched, reference, err));
    }
    return tr_trainer_run_pass(trainer, &matched, pass, kto_loss, &context, &report->pass, err);
}

/// Reads the labels. *desirable: [*rows], owned by the caller.
static tr_status take_labels(bool **desirable, size_t *rows, const actor_training_t *t,
                             const tr_kto_options_t *options, tr_error_t *err)
{
    tr_view_t view;
    // With loss kto half of the sequences are mismatched completions, which have no label.
    *rows = t->sequences.count / (options->loss_type == TR_KTO_KTO ? 2 : 1);
    TR_TRY(tr_message_expect_tensor(&view, t->request, "desirable", TR_I32, *rows, err));
    const int32_t *labels = view.data;
    *desirable = tr_calloc(*rows + 1, sizeof **desirable);
    for (size_t i = 0; i < *rows; i++) {
        (*desirable)[i] = labels[i] != 0;
    }
    return TR_OK;
}

/// The tally under TRL's names. A batch without one class does not report it.
static tr_status put_metrics(actor_training_t *t, const actor_kto_report_t *report, tr_error_t *err)
{
    const tr_kto_sums_t *sums = &report->sums;
    double good = (double)sums->chosen, bad = (double)sums->rejected;
    const actor_class_t chosen = {good, sums->chosen_rewards, sums->chosen_logps, &report->chosen};
    const actor_class_t rejected = {bad, sums->rejected_rewards, sums->rejected_logps,
                                    &report->rejected};
    TR_TRY(actor_training_put(t, "loss", sums->loss, good + bad, err));
    TR_TRY(actor_training_put_norm(t, "grad_norm", &report->pass, err));
    // One estimate for the batch, weighted by its rows so that batches average.
    TR_TRY(actor_training_put(t, "kl", report->kl * (good + bad), good + bad, err));
    return actor_put_classes(t, &chosen, &rejected, err);
}

/// Serves train_kto: tensors reference and desirable.
static tr_status train(actor_training_t *t, const void *options, tr_error_t *err)
{
    const float *reference;
    bool *desirable = NULL;
    size_t rows;
    actor_kto_report_t report;
    TR_TRY(actor_training_take(&reference, t, "reference", err));
    TR_TRY(take_labels(&desirable, &rows, t, options, err));
    actor_training_begins(t);
    tr_status status = actor_learn_kto(&report, t->learner->trainer, &t->sequences, rows, reference,
                                       desirable, options, &t->pass, err);
    free(desirable);
    TR_TRY(status);
    return put_metrics(t, &report, err);
}

const actor_algorithm_t actor_kto = {"train_kto", &tr_kto_fields, false, train};
