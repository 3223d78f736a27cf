#include "actor/preference.h"

#include <stdlib.h>
#include <string.h>

enum { WHOLE_CHUNK = 16 }; // sequences a pass where nothing is learnt

static size_t tokens_of(const tr_sequences_t *sequences, uint32_t s)
{
    return (size_t)(sequences->response_starts[s + 1] - sequences->response_starts[s]);
}

static void note_tokens(actor_tokens_t *tokens, const tr_token_facts_t *facts, size_t n)
{
    for (size_t t = 0; t < n; t++) {
        tokens->entropy += (double)facts[t].entropy;
        tokens->logits += (double)facts[t].logit;
        tokens->greedy += (double)facts[t].greedy;
    }
    tokens->count += n;
}

// DPO

/// What the loss reads of some pairs, in one piece of memory.
typedef struct pairs {
    tr_dpo_pairs_t view;
    double *chosen, *rejected, *reference_chosen, *reference_rejected, *weights;
    double *dchosen, *drejected; ///< the loss's answer
    size_t *chosen_tokens, *rejected_tokens, *order;
} pairs_t;

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
    double nll;            // what sft's part gives each chosen token
    const pairs_t *before; // of the whole batch, where the loss couples pairs; else NULL
} dpo_context_t;

/// Tokens up to the shorter completion's length, which LD-DPO counts whole.
static size_t shared_of(const pairs_t *p, size_t i)
{
    return p->chosen_tokens[i] < p->rejected_tokens[i] ? p->chosen_tokens[i]
                                                       : p->rejected_tokens[i];
}

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

/// Fills the pairs of sequences chosen: [2 * pairs], whose response tokens stand one after another in logprobs and facts.
static void measure(pairs_t *p, const dpo_context_t *context, const tr_sequences_t *sequences,
                    const uint32_t *chosen, const float *logprobs, const tr_token_facts_t *facts)
{
    const tr_dpo_options_t *options = context->options;
    const double ld = options->ld_alpha;
    size_t at = 0;
    for (size_t i = 0; i < p->view.pairs; i++) {
        uint32_t w = chosen[2 * i], l = chosen[2 * i + 1];
        size_t n_w = tokens_of(sequences, w), n_l = tokens_of(sequences, l);
        p->chosen_tokens[i] = n_w;
        p->rejected_tokens[i] = n_l;
        size_t shared = shared_of(p, i);
        p->chosen[i] = tr_dpo_sum(logprobs + at, n_w, shared, ld);
        p->rejected[i] = tr_dpo_sum(logprobs + at + n_w, n_l, shared, ld);
        if (context->reference != NULL) {
            const int32_t *starts = sequences->response_starts;
            p->reference_chosen[i] = tr_dpo_sum(context->reference + starts[w], n_w, shared, ld);
            p->reference_rejected[i] = tr_dpo_sum(context->reference + starts[l], n_l, shared, ld);
        }
        p->weights[i] = weight_of(logprobs + at, facts + at, n_w) *
                        weight_of(logprobs + at + n_w, facts + at + n_w, n_l);
        at += n_w + n_l;
    }
    p->view.chosen = p->chosen;
    p->view.rejected = p->rejected;
    p->view.reference_chosen = context->reference != NULL ? p->reference_chosen : NULL;
    p->view.reference_rejected = context->reference != NULL ? p->reference_rejected : NULL;
    p->view.chosen_tokens = p->chosen_tokens;
    p->view.rejected_tokens = p->rejected_tokens;
    p->view.weights = options->use_weighting ? p->weights : NULL;
    p->view.order = p->order;
}

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
        size_t pair = chunk->chosen[2 * i] / 2;
        double dw = context->before != NULL ? context->before->dchosen[pair] : p.dchosen[i];
        double dl = context->before != NULL ? context->before->drejected[pair] : p.drejected[i];
        tr_dpo_spread(dout + at, dw, n_w, shared, ld, context->nll);
        tr_dpo_spread(dout + at + n_w, dl, n_l, shared, ld, 0.0);
        report->nll -= tr_dpo_sum(chunk->out + at, n_w, n_w, 1.0);
        note_tokens(&report->chosen, chunk->facts + at, n_w);
        note_tokens(&report->rejected, chunk->facts + at + n_w, n_l);
        at += n_w + n_l;
    }
    pairs_free(&p);
    return TR_OK;
}

static uint32_t *all_of(size_t count)
{
    uint32_t *all = tr_calloc(count + 1, sizeof *all);
    for (size_t i = 0; i < count; i++) {
        all[i] = (uint32_t)i;
    }
    return all;
}

/// The loss of a whole batch whose pairs it couples, from a pass before the update.
static tr_status whole_batch(pairs_t *p, const dpo_context_t *context, tr_trainer_t *trainer,
                             const tr_sequences_t *sequences, tr_error_t *err)
{
    size_t tokens = (size_t)sequences->response_starts[sequences->count];
    float *logprobs = tr_calloc(tokens + 1, sizeof *logprobs);
    tr_token_facts_t *facts = tr_calloc(tokens + 1, sizeof *facts);
    uint32_t *all = all_of(sequences->count);
    tr_status status = tr_response_forward_all(tr_trainer_pass(trainer), sequences, WHOLE_CHUNK,
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

static size_t chosen_tokens(const tr_sequences_t *sequences)
{
    size_t tokens = 0;
    for (size_t s = 0; s < sequences->count; s += 2) {
        tokens += tokens_of(sequences, (uint32_t)s);
    }
    return tokens;
}

/// Each sequence must have something to learn.
static tr_status expect_tokens(const tr_sequences_t *sequences, size_t group, tr_error_t *err)
{
    if (sequences->count == 0 || sequences->count % group != 0) {
        return tr_fail(err, TR_ERR_ARGUMENT, "%zu sequences are not groups of %zu",
                       sequences->count, group);
    }
    for (size_t s = 0; s < sequences->count; s++) {
        if (tokens_of(sequences, (uint32_t)s) == 0) {
            return tr_fail(err, TR_ERR_ARGUMENT, "completion %zu has no token", s);
        }
    }
    return TR_OK;
}

tr_status actor_learn_dpo(actor_dpo_report_t *report, tr_trainer_t *trainer,
                          const tr_sequences_t *sequences, const float *reference,
                          const tr_dpo_options_t *options, const tr_train_pass_t *walk,
                          tr_error_t *err)
{
    *report = (actor_dpo_report_t){0};
    TR_TRY(expect_tokens(sequences, 2, err));
    dpo_context_t context = {.options = options, .reference = reference, .report = report};
    tr_train_pass_t pairwise = *walk;
    pairs_t before;
    tr_status status = TR_OK;
    pairwise.group = 2;
    if (options->used[TR_DPO_SFT]) {
        context.nll = options->weights[TR_DPO_SFT] / (double)chosen_tokens(sequences);
    }
    pairs_new(&before, sequences->count / 2);
    if (tr_dpo_couples_pairs(options)) {
        TR_TRY_GOTO(whole_batch(&before, &context, trainer, sequences, err), done);
        context.before = &before;
    }
    status =
        tr_trainer_run_pass(trainer, sequences, &pairwise, dpo_loss, &context, &report->walk, err);
done:
    pairs_free(&before);
    return status;
}

// KTO

typedef struct kto_context {
    const tr_kto_options_t *options;
    const float *reference; // over all response tokens
    const bool *desirable;
    actor_kto_report_t *report;
} kto_context_t;

static tr_status kto_loss(void *argument, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    kto_context_t *context = argument;
    actor_kto_report_t *report = context->report;
    size_t at = 0;
    (void)err;
    for (size_t i = 0; i < chunk->count; i++) {
        uint32_t s = chunk->chosen[i];
        size_t n = tokens_of(chunk->sequences, s);
        const float *reference = context->reference + chunk->sequences->response_starts[s];
        double logp = tr_dpo_sum(chunk->out + at, n, n, 1.0);
        double old = tr_dpo_sum(reference, n, n, 1.0), slope;
        tr_kto_loss(&slope, &report->sums, &logp, &old, &context->desirable[s], 1, report->kl,
                    chunk->total, context->options);
        tr_dpo_spread(dout + at, slope, n, n, 1.0, 0.0);
        note_tokens(context->desirable[s] ? &report->chosen : &report->rejected, chunk->facts + at,
                    n);
        at += n;
    }
    return TR_OK;
}

/// Sums over each sequence's response tokens; values as response_starts counts them.
static void sum_sequences(double *sums, const tr_sequences_t *sequences, const float *values)
{
    for (size_t s = 0; s < sequences->count; s++) {
        size_t n = tokens_of(sequences, (uint32_t)s);
        sums[s] = tr_dpo_sum(values + sequences->response_starts[s], n, n, 1.0);
    }
}

/// The KL estimate from completions under prompts of other rows.
static tr_status estimate_kl(double *kl, tr_trainer_t *trainer, const tr_sequences_t *mismatched,
                             const float *reference, tr_error_t *err)
{
    size_t end = (size_t)mismatched->response_starts[mismatched->count];
    float *logprobs = tr_calloc(end + 1, sizeof *logprobs);
    double *sums = tr_calloc(2 * mismatched->count, sizeof *sums);
    tr_status status = tr_response_forward_all(tr_trainer_pass(trainer), mismatched, WHOLE_CHUNK,
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
                          const tr_train_pass_t *walk, tr_error_t *err)
{
    *report = (actor_kto_report_t){0};
    TR_TRY(expect_tokens(sequences, 1, err));
    kto_context_t context = {options, reference, desirable, report};
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
    return tr_trainer_run_pass(trainer, &matched, walk, kto_loss, &context, &report->walk, err);
}

// Reward models

typedef struct reward_context {
    const float *margins; // [pairs] or NULL
    double center;
    actor_reward_report_t *report;
} reward_context_t;

static tr_status reward_loss(void *argument, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    reward_context_t *context = argument;
    (void)err;
    for (size_t i = 0; i < chunk->count; i += 2) {
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
                             const tr_train_pass_t *walk, tr_error_t *err)
{
    *report = (actor_reward_report_t){0};
    reward_context_t context = {margins, center, report};
    tr_train_pass_t pairwise = *walk;
    pairwise.group = 2;
    pairwise.scores = true;
    return tr_trainer_run_pass(trainer, sequences, &pairwise, reward_loss, &context, &report->walk,
                               err);
}

// Process reward models

typedef struct steps_context {
    const int32_t *labels;
    size_t count; // labelled steps
    actor_steps_report_t *report;
} steps_context_t;

static tr_status steps_loss(void *argument, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    const steps_context_t *context = argument;
    int32_t *labels = tr_calloc(chunk->n + 1, sizeof *labels), *at = labels;
    (void)err;
    for (size_t i = 0; i < chunk->count; i++) {
        const int32_t *starts = chunk->sequences->response_starts + chunk->chosen[i];
        size_t n = (size_t)(starts[1] - starts[0]);
        memcpy(at, context->labels + starts[0], n * sizeof *at);
        at += n;
    }
    tr_process_reward_loss(dout, &context->report->sums, chunk->out, labels, chunk->n,
                           context->count);
    free(labels);
    return TR_OK;
}

tr_status actor_learn_steps(actor_steps_report_t *report, tr_trainer_t *trainer,
                            const tr_sequences_t *sequences, const int32_t *labels,
                            const tr_train_pass_t *walk, tr_error_t *err)
{
    *report = (actor_steps_report_t){0};
    steps_context_t context = {.labels = labels, .report = report};
    size_t tokens = (size_t)sequences->response_starts[sequences->count];
    for (size_t t = 0; t < tokens; t++) {
        if (labels[t] < TR_STEP_NONE || labels[t] > TR_STEP_RIGHT) {
            return tr_fail(err, TR_ERR_ARGUMENT, "label %zu is %d: expected -1, 0 or 1", t,
                           labels[t]);
        }
        context.count += labels[t] != TR_STEP_NONE;
    }
    if (context.count == 0 || walk->minibatches != 1) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "%zu labelled steps in %zu minibatches: expected some, in one",
                       context.count, walk->minibatches);
    }
    return tr_trainer_run_pass(trainer, sequences, walk, steps_loss, &context, &report->walk, err);
}
