// troupe-critic: predicts the value of every response token, and trains to.
//
// Values are a forward pass; updates are in ppo.c; the rest is proto/learner/learner.c.
#include "critic/ppo.h"

/// A learner is all the state of a critic.
typedef struct critic_service {
    const tr_service_options_t *options;
    tr_learner_t learner;
} critic_service_t;

/// Reads the controller's config: what tr_learner_open reads.
static tr_status welcome(void *context, const json_t *config, tr_error_t *err)
{
    critic_service_t *service = context;
    tr_learner_close(&service->learner);
    // true: a critic is a language model with a scalar head.
    return tr_learner_open(&service->learner, config, true, service->options, err);
}

/// `values`: {temperature, chunk}, sequences as tensors (proto/sequences.h) -> tensor values f32
/// [response tokens], each read before its token is emitted.
static tr_status values(void *context, const tr_message_t *request, tr_message_t *reply,
                        tr_error_t *err)
{
    critic_service_t *service = context;
    // Values do not name a step: they are asked before training, of the weights at hand.
    TR_TRY(tr_learner_holds(&service->learner, err));
    tr_trainer_t *trainer = service->learner.trainer;
    return tr_learner_infer(tr_trainer_pass(trainer), tr_trainer_model(trainer), "values", request,
                            reply, err);
}

/// `train`: an update (critic/ppo.h).
static tr_status train(void *context, const tr_message_t *request, tr_message_t *reply,
                       tr_error_t *err)
{
    critic_service_t *service = context;
    return critic_train_ppo(&service->learner, request, reply, err);
}

/// `save`: see proto/learner/learner.h; no tensors.
static tr_status save(void *context, const tr_message_t *request, tr_message_t *reply,
                      tr_error_t *err)
{
    critic_service_t *service = context;
    (void)reply;
    return tr_learner_save(&service->learner, request, err);
}

/// `restore`: likewise.
static tr_status restore(void *context, const tr_message_t *request, tr_message_t *reply,
                         tr_error_t *err)
{
    critic_service_t *service = context;
    (void)reply;
    return tr_learner_restore(&service->learner, tr_message_body(request), true, service->options,
                              err);
}

int main(int argc, char **argv)
{
    // The same names as the actor's, so that the controller asks both learners alike.
    static const tr_method_t methods[] = {
        {"values", values},
        {"train", train},
        {"save", save},
        {"restore", restore},
    };
    tr_service_options_t options;
    tr_error_t err = {0};
    tr_service_options_init(&options, TR_ROLE_CRITIC);
    tr_service_parse(&options, argc, argv, "predicts values in a Troupe run");
    critic_service_t service = {.options = &options};
    options.welcome = welcome;
    // Before the service runs: all ranks must have met when the first config comes.
    tr_status status = tr_service_join(&options, &err);
    if (status == TR_OK) {
        status =
            tr_service_run(&options, methods, sizeof methods / sizeof *methods, &service, &err);
    }
    tr_learner_close(&service.learner);
    tr_service_options_release(&options);
    return tr_status_report(status, &err);
}
