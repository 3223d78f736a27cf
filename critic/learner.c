#include "critic/learner.h"

#include <stdlib.h>

typedef struct value_context {
    const critic_experience_t *experience;
    const tr_ppo_options_t *options;
    critic_report_t *report;
} value_context_t;

static tr_status value_loss(void *argument, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    value_context_t *context = argument;
    (void)err;
    float *old = tr_calloc(2 * chunk->n + 1, sizeof *old);
    float *returns = old + chunk->n;
    tr_response_select(old, context->experience->values, chunk->sequences, chunk->chosen,
                       chunk->count);
    tr_response_select(returns, context->experience->returns, chunk->sequences, chunk->chosen,
                       chunk->count);
    tr_ppo_value_loss(dout, &context->report->sums, chunk->out, old, returns, chunk->n,
                      chunk->normalizer, context->options);
    free(old);
    return TR_OK;
}

tr_status critic_learn_ppo(critic_report_t *report, tr_trainer_t *trainer,
                           const critic_experience_t *experience, const tr_ppo_options_t *options,
                           const tr_train_pass_t *walk, tr_error_t *err)
{
    *report = (critic_report_t){0};
    value_context_t context = {.experience = experience, .options = options, .report = report};
    return tr_trainer_run_pass(trainer, &experience->sequences, walk, value_loss, &context,
                               &report->walk, err);
}
