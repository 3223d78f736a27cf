/// The tables of the algorithms' options: defaults and names are those of TRL, by the enums that
/// the code switches on.
#include <criterion/criterion.h>

#include "common/algo/bradley_terry.h"
#include "common/algo/dpo.h"
#include "common/algo/kto.h"
#include "common/algo/ppo.h"
#include "common/algo/sft.h"
#include "tests/support/fields.h"
#include "tests/support/golden.h"

Test(ppo_options, defaults_are_those_of_trl)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/ppo.json");
    tr_ppo_options_t options;
    tr_fields_init(&options, &tr_ppo_fields);
    const struct {
        const char *name;
        double value;
    } FIELDS[] = {
        {"defaults/num_ppo_epochs", (double)options.num_ppo_epochs},
        {"defaults/num_mini_batches", (double)options.num_mini_batches},
        {"defaults/kl_coef", options.kl_coef},
        {"defaults/cliprange", options.cliprange},
        {"defaults/vf_coef", options.vf_coef},
        {"defaults/cliprange_value", options.cliprange_value},
        {"defaults/gamma", options.gamma},
        {"defaults/lam", options.lam},
        {"defaults/whiten_rewards", options.whiten_rewards},
    };
    for (size_t i = 0; i < sizeof FIELDS / sizeof FIELDS[0]; i++) {
        golden_expect_number(golden, FIELDS[i].name, FIELDS[i].value, 0, 0);
    }
    cr_assert_str_eq(fields_choice(&tr_ppo_fields, "kl_estimator", options.kl_estimator),
                     golden_string(golden, "defaults/kl_estimator"));
    cr_assert_not(golden_has(golden, "defaults/missing_eos_penalty")); // None in TRL
    cr_assert_eq(options.missing_eos_penalty, 0.0);
    golden_close(&golden);
}

Test(ppo_options, an_estimator_is_found_by_its_name_and_another_word_changes_nothing)
{
    static const char *const names[] = {[TR_KL_K1] = "k1", [TR_KL_K3] = "k3", NULL};
    fields_check_choices(&tr_ppo_fields, "kl_estimator", names);
}

Test(sft_options, defaults_and_names_are_trls)
{
    static const char *const names[] = {[TR_SFT_NLL] = "nll", [TR_SFT_DFT] = "dft", NULL};
    tr_sft_options_t options;
    tr_fields_init(&options, &tr_sft_fields);
    cr_expect_eq(options.loss_type, TR_SFT_NLL);
    cr_expect_eq(options.label_smoothing_factor, 0.0);
    cr_expect_eq(options.neftune_noise_alpha, 0.0);
    fields_check_choices(&tr_sft_fields, "loss_type", names);
}

Test(reward_options, defaults_are_trls)
{
    tr_reward_options_t options;
    tr_fields_init(&options, &tr_reward_fields);
    cr_expect_eq(options.center_rewards_coefficient, 0.0);
}

Test(kto_options, defaults_and_names_are_trls)
{
    static const char *const names[] = {
        [TR_KTO_KTO] = "kto", [TR_KTO_APO_ZERO_UNPAIRED] = "apo_zero_unpaired", NULL};
    tr_kto_options_t options;
    tr_fields_init(&options, &tr_kto_fields);
    cr_expect_eq(options.loss_type, TR_KTO_KTO);
    cr_expect_eq(options.beta, 0.1);
    cr_expect_eq(options.desirable_weight, 1.0);
    cr_expect_eq(options.undesirable_weight, 1.0);
    fields_check_choices(&tr_kto_fields, "loss_type", names);
}

Test(dpo_options, defaults_are_trls)
{
    tr_dpo_options_t options;
    tr_fields_init(&options, &tr_dpo_fields);
    cr_expect_eq(options.beta, 0.1);
    cr_assert_eq(options.loss_type.count, 1U);
    cr_expect_eq(options.loss_type.items[0], TR_DPO_SIGMOID);
    cr_expect_eq(options.loss_weights.count, 0U);
    cr_expect_eq(options.label_smoothing, 0.0);
    cr_expect_eq(options.f_divergence_type, TR_F_REVERSE_KL);
    cr_expect_eq(options.f_alpha_divergence_coef, 0.5);
    cr_expect_eq(options.ld_alpha, 1.0); // None in TRL: as the other tokens
    cr_expect_eq(options.discopop_tau, 0.05);
    cr_expect_eq(options.simpo_gamma, 0.5);
    cr_expect_not(options.use_weighting);
    cr_expect_not(options.reference_free);
}

Test(dpo_options, names_are_trls_and_read_back)
{
    static const char *const losses[] = {
        [TR_DPO_SIGMOID] = "sigmoid",
        [TR_DPO_HINGE] = "hinge",
        [TR_DPO_IPO] = "ipo",
        [TR_DPO_EXO_PAIR] = "exo_pair",
        [TR_DPO_NCA_PAIR] = "nca_pair",
        [TR_DPO_ROBUST] = "robust",
        [TR_DPO_BCO_PAIR] = "bco_pair",
        [TR_DPO_SPPO_HARD] = "sppo_hard",
        [TR_DPO_AOT] = "aot",
        [TR_DPO_AOT_UNPAIRED] = "aot_unpaired",
        [TR_DPO_APO_ZERO] = "apo_zero",
        [TR_DPO_APO_DOWN] = "apo_down",
        [TR_DPO_DISCOPOP] = "discopop",
        [TR_DPO_SFT] = "sft",
        [TR_DPO_SIGMOID_NORM] = "sigmoid_norm",
        [TR_DPO_CPO] = "cpo",
        [TR_DPO_SIMPO] = "simpo",
        [TR_DPO_ORPO] = "orpo",
        [TR_DPO_LOSS_COUNT] = NULL,
    };
    static const char *const divergences[] = {
        [TR_F_REVERSE_KL] = "reverse_kl",
        [TR_F_FORWARD_KL] = "forward_kl",
        [TR_F_JS_DIVERGENCE] = "js_divergence",
        [TR_F_ALPHA_DIVERGENCE] = "alpha_divergence",
        NULL,
    };
    fields_check_choices(&tr_dpo_fields, "loss_type", losses);
    fields_check_choices(&tr_dpo_fields, "f_divergence_type", divergences);
}
