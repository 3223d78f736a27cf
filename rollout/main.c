// troupe-rollout: generates responses with the weights that the actor published. The work is in
// service.c, the daemon in proto/service.h. A rollout is one process: it joins no ranks, and more
// rollouts (roles.rollout.workers) share the prompts instead.
#include "rollout/service.h"

int main(int argc, char **argv)
{
    static const tr_method_t methods[] = {{"generate", rollout_service_generate}};
    tr_service_options_t options;
    tr_error_t err = {0};
    tr_service_options_init(&options, TR_ROLE_ROLLOUT);
    tr_service_parse(&options, argc, argv, "generates responses for a Troupe run");
    rollout_service_t *service = rollout_service_new(&options);
    options.welcome = rollout_service_welcome;
    tr_status status = tr_service_run(&options, methods, 1, service, &err);
    rollout_service_destroy(&service);
    tr_service_options_release(&options);
    return tr_status_report(status, &err);
}
