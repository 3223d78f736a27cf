/// troupe-critic: predicts the value of every response token, and trains to. The methods are
/// service.c.
#include "critic/service.h"

int main(int argc, char **argv)
{
    static const tr_method_t methods[] = {
        {"values", critic_service_values},
        {"train", critic_service_train},
        {"save", critic_service_save},
        {"restore", critic_service_restore},
    };
    tr_service_options_t options;
    tr_error_t err = {0};
    tr_service_options_init(&options, TR_ROLE_CRITIC);
    tr_service_parse(&options, argc, argv, "predicts values in a Troupe run");
    critic_service_t *service = critic_service_new(&options);
    options.welcome = critic_service_welcome;
    tr_status status = tr_service_join(&options, &err);
    if (status == TR_OK) {
        status = tr_service_run(&options, methods, sizeof methods / sizeof *methods, service, &err);
    }
    critic_service_destroy(&service);
    tr_service_options_release(&options);
    return tr_service_exit(status, &err);
}
