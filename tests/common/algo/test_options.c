#include <criterion/criterion.h>

#include "common/algo/ppo.h"
#include "tests/support/golden.h"

Test(ppo_options, defaults_are_those_of_trl)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/ppo.json");
    tr_ppo_options_t options;
    tr_ppo_options_init(&options);
    const struct {
        const char *name;
        double value;
    } FIELDS[] = {
        {"defaults/num_ppo_epochs", options.num_ppo_epochs},
        {"defaults/num_mini_batches", options.num_mini_batches},
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
    cr_assert_str_eq(tr_kl_estimator_name(options.kl_estimator),
                     golden_string(golden, "defaults/kl_estimator"));
    cr_assert_eq(options.has_missing_eos_penalty,
                 golden_has(golden, "defaults/missing_eos_penalty")); // None in TRL
    golden_close(&golden);
}

Test(ppo_options, an_estimator_is_found_by_its_name_and_another_word_changes_nothing)
{
    tr_kl_estimator_t estimator = TR_KL_K1;
    cr_assert(tr_kl_estimator_from_name(&estimator, "k3"));
    cr_assert_eq(estimator, TR_KL_K3);
    cr_assert_not(tr_kl_estimator_from_name(&estimator, "k2"));
    cr_assert_eq(estimator, TR_KL_K3);
    cr_assert(tr_kl_estimator_from_name(&estimator, "k1"));
    cr_assert_eq(estimator, TR_KL_K1);
}
