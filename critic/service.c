#include "critic/service.h"

#include <stdlib.h>

#include "critic/learner.h"
#include "proto/body.h"
#include "proto/learner/learner.h"

struct critic_service {
    const tr_service_options_t *options;
    tr_learner_t learner;
};

critic_service_t *critic_service_new(const tr_service_options_t *options)
{
    critic_service_t *service = tr_calloc(1, sizeof *service);
    service->options = options;
    return service;
}

void critic_service_destroy(critic_service_t **service)
{
    if (*service != NULL) {
        tr_learner_close(&(*service)->learner);
        free(*service);
        *service = NULL;
    }
}

tr_status critic_service_welcome(void *context, const json_t *config, tr_error_t *err)
{
    critic_service_t *service = context;
    tr_learner_close(&service->learner);
    return tr_learner_open(&service->learner, config, true, service->options, err);
}

tr_status critic_service_values(void *context, const tr_message_t *request, tr_message_t *reply,
                                tr_error_t *err)
{
    critic_service_t *service = context;
    TR_TRY(tr_learner_holds(&service->learner, err));
    tr_trainer_t *trainer = service->learner.trainer;
    return tr_learner_infer(tr_trainer_pass(trainer), tr_trainer_model(trainer), "values", request,
                            reply, err);
}

static tr_status take_experience(critic_experience_t *experience, int32_t **owned,
                                 const critic_service_t *service, const tr_message_t *request,
                                 tr_error_t *err)
{
    tr_view_t values, returns;
    TR_TRY(tr_learner_take(&experience->sequences, owned,
                           tr_trainer_model(service->learner.trainer), request, err));
    const tr_sequences_t *sequences = &experience->sequences;
    size_t tokens = (size_t)sequences->response_starts[sequences->count];
    TR_TRY(tr_message_expect_tensor(&values, request, "values", TR_F32, tokens, err));
    TR_TRY(tr_message_expect_tensor(&returns, request, "returns", TR_F32, tokens, err));
    experience->values = values.data;
    experience->returns = returns.data;
    return TR_OK;
}

tr_status critic_service_train(void *context, const tr_message_t *request, tr_message_t *reply,
                               tr_error_t *err)
{
    critic_service_t *service = context;
    const json_t *body = tr_message_body(request);
    critic_experience_t experience;
    critic_report_t report;
    tr_ppo_options_t options;
    tr_train_pass_t walk;
    int32_t *owned = NULL;
    tr_status status;
    TR_TRY(tr_learner_read_train_pass(&walk, &service->learner, body, err));
    TR_TRY(tr_learner_read_ppo(&options, body, err));
    TR_TRY_GOTO(take_experience(&experience, &owned, service, request, err), done);
    service->learner.step = TR_LEARNER_STALE;
    TR_TRY_GOTO(
        critic_learn_ppo(&report, service->learner.trainer, &experience, &options, &walk, err),
        done);
    service->learner.step = walk.step;
    double n = (double)report.sums.tokens;
    tr_message_set_body(reply, json_pack("{s:f, s:f, s:f}", "loss", report.sums.loss / n,
                                         "clipfrac", report.sums.clipped / n, "grad_norm",
                                         report.walk.norm_sum / (double)report.walk.updates));
done:
    free(owned);
    return status;
}

tr_status critic_service_save(void *context, const tr_message_t *request, tr_message_t *reply,
                              tr_error_t *err)
{
    critic_service_t *service = context;
    (void)reply;
    return tr_learner_save(&service->learner, request, err);
}

tr_status critic_service_restore(void *context, const tr_message_t *request, tr_message_t *reply,
                                 tr_error_t *err)
{
    critic_service_t *service = context;
    (void)reply;
    return tr_learner_restore(&service->learner, tr_message_body(request), true, service->options,
                              err);
}
