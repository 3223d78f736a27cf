/// Responses in steps have the tokens that TRL gives them, and one more.
#include <criterion/criterion.h>

#include "common/text/steps.h"
#include "tests/support/golden.h"

static tr_tokenizer_t *tokenizer;

static void setup(void)
{
    tr_error_t err = {0};
    cr_assert_eq(tr_tokenizer_new(&tokenizer, TEST_SOURCE_DIR "/examples/models/stories", &err),
                 TR_OK, "%s", err.text);
}

static void teardown(void)
{
    tr_tokenizer_destroy(&tokenizer);
}

TestSuite(steps, .init = setup, .fini = teardown);

static const char *const TEXTS[] = {"It was happy.", "It was a dog."};

Test(steps, tokens_are_those_of_trl_and_one_more)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/process_reward.json");
    tr_error_t err = {0};
    tr_steps_t steps;
    size_t n, count;
    const int32_t *ids = golden_ints(golden, "ids", &n);
    const size_t *ends = golden_sizes(golden, "ends", &count);
    cr_assert_eq(tr_steps_encode(&steps, tokenizer, "Once there was a cat.", TEXTS, 2, "\n", &err),
                 TR_OK, "%s", err.text);
    cr_assert_eq(steps.length, n + 1);
    cr_assert_eq(steps.count, count);
    cr_expect_arr_eq(steps.ids, ids, n * sizeof *ids);
    cr_expect_arr_eq(steps.ends, ends, count * sizeof *ends);
    cr_expect_lt(steps.prompt, ends[0]);
    tr_steps_release(&steps);
    golden_close(&golden);
}

Test(steps, a_separator_without_tokens_is_refused)
{
    tr_error_t err = {0};
    tr_steps_t steps;
    cr_assert_eq(tr_steps_encode(&steps, tokenizer, "Once", TEXTS, 2, "", &err), TR_ERR_ARGUMENT);
    tr_steps_release(&steps);
}
