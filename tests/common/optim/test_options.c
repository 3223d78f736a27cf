/// The tables of the optimizer's options: defaults, and names by the enums that the code switches
/// on.
#include <criterion/criterion.h>

#include "common/optim/options.h"
#include "tests/support/fields.h"

Test(optimizer_options, defaults_are_trls_and_those_of_adamw_in_transformers)
{
    tr_optimizer_options_t options;
    tr_fields_init(&options, &tr_optimizer_fields);
    cr_expect_eq(options.learning_rate, 0.0, "the algorithm's");
    cr_expect_eq(options.schedule, TR_SCHEDULE_LINEAR);
    cr_expect_eq(options.warmup, 0U);
    cr_expect_eq(options.clip, 1.0);
    cr_expect_eq(options.beta1, 0.9);
    cr_expect_eq(options.beta2, 0.999);
    cr_expect_eq(options.epsilon, 1e-8);
    cr_expect_eq(options.weight_decay, 0.0);
    cr_expect_eq(options.chunk, 8U);
    cr_expect_not(options.gradient_checkpointing);
    cr_expect_not(options.offload);
    cr_expect_eq(options.rounding, TR_ROUNDING_NEAREST);
}

Test(optimizer_options, roundings_have_the_names_of_their_enum)
{
    static const char *const names[] = {
        [TR_ROUNDING_NEAREST] = "nearest", [TR_ROUNDING_STOCHASTIC] = "stochastic", NULL};
    fields_check_choices(&tr_optimizer_fields, "rounding", names);
}

Test(sharing_options, gradients_are_sharded_and_added_by_the_tree_unless_said)
{
    static const char *const names[] = {
        [TR_GRADIENT_SUM_TREE] = "tree", [TR_GRADIENT_SUM_ALL_REDUCE] = "all_reduce", NULL};
    tr_sharing_options_t options;
    tr_fields_init(&options, &tr_sharing_fields);
    cr_expect_eq(options.zero_stage, 2U);
    cr_expect_eq(options.gradient_sum, TR_GRADIENT_SUM_TREE);
    fields_check_choices(&tr_sharing_fields, "gradient_sum", names);
}
