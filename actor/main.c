/// troupe-actor: trains the policy and publishes its weights; with --role reference, computes
/// log-probs of the frozen policy. The methods are service.c.
#include "actor/service.h"

int main(int argc, char **argv)
{
    static const tr_method_t methods[] = {
        {"logprobs", actor_service_logprobs},
        {"forget", actor_service_forget},
        {"mix_reference", actor_service_mix_reference},
        {"save_reference", actor_service_save_reference},
        // One handler for all: training.c finds the algorithm by the method.
        {"train", actor_service_train},
        {"train_sft", actor_service_train},
        {"train_dpo", actor_service_train},
        {"train_kto", actor_service_train},
        {"train_reward", actor_service_train},
        {"train_steps", actor_service_train},
        {"publish", actor_service_publish},
        {"save", actor_service_save},
        {"restore", actor_service_restore},
    };
    tr_service_options_t options;
    tr_error_t err = {0};
    tr_service_options_init(&options, TR_ROLE_ACTOR);
    tr_service_parse(&options, argc, argv, "learns the policy of a Troupe run");
    actor_service_t *service = actor_service_new(&options);
    options.welcome = actor_service_welcome;
    tr_status status = tr_service_join(&options, &err);
    if (status == TR_OK) {
        status = tr_service_run(&options, methods, sizeof methods / sizeof *methods, service, &err);
    }
    actor_service_destroy(&service);
    tr_service_options_release(&options);
    return tr_service_exit(status, &err);
}
