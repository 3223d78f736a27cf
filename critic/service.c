// The critic's methods. Values are a forward pass; updates are in ppo.c; the rest is
// proto/learner/learner.c.
#include "critic/service.h"

#include <stdlib.h>

#include "critic/ppo.h"

/// A learner is all the state of a critic.
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
    // true: a critic is a language model with a scalar head.
    return tr_learner_open(&service->learner, config, true, service->options, err);
}

tr_status critic_service_values(void *context, const tr_message_t *request, tr_message_t *reply,
                                tr_error_t *err)
{
    critic_service_t *service = context;
    // Values do not name a step: they are asked before training, of the weights at hand.
    TR_TRY(tr_learner_holds(&service->learner, err));
    tr_trainer_t *trainer = service->learner.trainer;
    return tr_learner_infer(tr_trainer_pass(trainer), tr_trainer_model(trainer), "values", request,
                            reply, err);
}

tr_status critic_service_train(void *context, const tr_message_t *request, tr_message_t *reply,
                               tr_error_t *err)
{
    critic_service_t *service = context;
    return critic_train_ppo(&service->learner, request, reply, err);
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
