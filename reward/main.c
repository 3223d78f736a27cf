// troupe-reward: scores responses by a model, a word list, a regular expression or their length.
//
// Options, connection and the loop are proto/service.h's; the judge is service.c's.
#include "reward/service.h"

int main(int argc, char **argv)
{
    static const tr_method_t methods[] = {{"score", reward_service_score}};
    tr_service_options_t options;
    tr_error_t err = {0};
    tr_service_options_init(&options, TR_ROLE_REWARD);
    tr_service_parse(&options, argc, argv, "scores responses for a Troupe run");
    reward_service_t *service = reward_service_new(&options);
    options.welcome = reward_service_welcome;
    tr_status status = tr_service_run(&options, methods, 1, service, &err);
    reward_service_destroy(&service);
    tr_service_options_release(&options);
    return tr_status_report(status, &err);
}
