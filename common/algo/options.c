#include "common/algo/options.h"

#include <string.h>

void tr_ppo_options_init(tr_ppo_options_t *options)
{
    *options = (tr_ppo_options_t){
        .num_ppo_epochs = 4,
        .num_mini_batches = 1,
        .kl_coef = 0.05,
        .kl_estimator = TR_KL_K1,
        .cliprange = 0.2,
        .vf_coef = 0.1,
        .cliprange_value = 0.2,
        .gamma = 1.0,
        .lam = 0.95,
        .whiten_rewards = false,
        .has_missing_eos_penalty = false,
        .missing_eos_penalty = 0.0,
    };
}

const char *tr_kl_estimator_name(tr_kl_estimator_t estimator)
{
    return estimator == TR_KL_K3 ? "k3" : "k1";
}

bool tr_kl_estimator_from_name(tr_kl_estimator_t *estimator, const char *name)
{
    if (strcmp(name, "k1") == 0) {
        *estimator = TR_KL_K1;
        return true;
    }
    if (strcmp(name, "k3") == 0) {
        *estimator = TR_KL_K3;
        return true;
    }
    return false;
}
