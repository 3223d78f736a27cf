// Completions as DPO and KTO read them: their tokens, and the metrics of the two classes.
//
// Apart from dpo.c and kto.c because TRL reports both under the same names.
#include "actor/training.h"

size_t actor_tokens_of(const tr_sequences_t *sequences, uint32_t s)
{
    return (size_t)(sequences->response_starts[s + 1] - sequences->response_starts[s]);
}

void actor_tokens_add(actor_tokens_t *tokens, const tr_token_facts_t *facts, size_t n)
{
    // Sums in double: the f32 facts of a batch would lose digits when they are added up.
    for (size_t t = 0; t < n; t++) {
        tokens->entropy += (double)facts[t].entropy;
        tokens->logits += (double)facts[t].logit;
        tokens->greedy += (double)facts[t].greedy;
    }
    // Counted apart: rows of a batch differ in length.
    tokens->count += n;
}

tr_status actor_expect_tokens(const tr_sequences_t *sequences, size_t group, tr_error_t *err)
{
    if (sequences->count == 0 || sequences->count % group != 0) {
        return tr_fail(err, TR_ERR_ARGUMENT, "%zu sequences are not groups of %zu",
                       sequences->count, group);
    }
    // Checked for every loss, though only some divide by the length: one rule for all rows.
    // The mean log-prob of an empty completion does not exist.
    for (size_t s = 0; s < sequences->count; s++) {
        if (actor_tokens_of(sequences, (uint32_t)s) == 0) {
            return tr_fail(err, TR_ERR_ARGUMENT, "completion %zu has no token", s);
        }
    }
    return TR_OK;
}

tr_status actor_put_classes(json_t *m, const actor_class_t *chosen, const actor_class_t *rejected,
                            tr_error_t *err)
{
    // A batch of KTO may lack one class: a metric whose weight is 0 is left out (tr_tally_put).
    // w for the winner, l for the loser, as in the papers. Entropy is over the tokens of both.
    const actor_tokens_t *w = chosen->tokens, *l = rejected->tokens;
    TR_TRY(tr_tally_put(m, "rewards/chosen", chosen->rewards, chosen->count, err));
    TR_TRY(tr_tally_put(m, "rewards/rejected", rejected->rewards, rejected->count, err));
    TR_TRY(tr_tally_put(m, "logps/chosen", chosen->logps, chosen->count, err));
    TR_TRY(tr_tally_put(m, "logps/rejected", rejected->logps, rejected->count, err));
    TR_TRY(tr_tally_put(m, "logits/chosen", w->logits, (double)w->count, err));
    TR_TRY(tr_tally_put(m, "logits/rejected", l->logits, (double)l->count, err));
    return tr_tally_put(m, "entropy", w->entropy + l->entropy, (double)(w->count + l->count), err);
}
