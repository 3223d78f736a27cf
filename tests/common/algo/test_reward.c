// From KL and scores to rewards, the penalty for a missing end, and the objective/ metrics, against
// TRL (tests/golden/ppo.json).
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "common/algo/ppo.h"
#include "tests/support/golden.h"

static void rewards_of_case(golden_t *golden, const char *name)
{
    char path[64];
#define AT(key) (snprintf(path, sizeof path, "%s/" key, name), path)
    float rewards[128];
    size_t n;
    size_t responses;
    const float *kl = golden_floats(golden, AT("kl"), &n);
    const float *scores = golden_floats(golden, AT("scores"), &responses);
    const int32_t *starts = golden_ints(golden, AT("starts"), NULL);
    cr_assert(n <= 128 && (size_t)starts[responses] == n);
    tr_rewards(rewards, kl, scores, starts, responses,
               golden_number(golden, AT("options/kl_coef")));
    golden_expect(golden, AT("rewards"), rewards, n, 1e-6, 1e-8);
#undef AT
}

Test(reward, kl_and_score_equal_trl)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/ppo.json");
    rewards_of_case(golden, "full");
    rewards_of_case(golden, "discounted_k3");
    rewards_of_case(golden, "ragged");
    rewards_of_case(golden, "ragged_k3");
    golden_close(&golden);
}

Test(reward, the_score_lands_on_the_last_token_and_nowhere_else)
{
    const float kl[6] = {0.5f, -0.25f, 1.0f, 2.0f, 6.0f, 4.0f};
    const float scores[3] = {10.0f, -20.0f, 30.0f};
    const int32_t starts[4] = {0, 3, 4, 6};
    const float expected[6] = {-0.25f, 0.125f, 9.5f, -21.0f, -3.0f, 28.0f};
    float rewards[6];
    tr_rewards(rewards, kl, scores, starts, 3, 0.5);
    cr_assert_arr_eq(rewards, expected, sizeof rewards);
    memcpy(rewards, kl, sizeof kl); // in place
    tr_rewards(rewards, rewards, scores, starts, 3, 0.5);
    cr_assert_arr_eq(rewards, expected, sizeof rewards);
}

Test(reward, no_kl_penalty_leaves_the_scores_alone)
{
    const float kl[3] = {0.5f, 3.0f, 1.0f};
    const float scores[1] = {1.25f};
    const int32_t starts[2] = {0, 3};
    float rewards[3];
    tr_rewards(rewards, kl, scores, starts, 1, 0.0);
    cr_assert(rewards[0] == 0.0f && rewards[1] == 0.0f && rewards[2] == 1.25f);
}

/// Penalises each of the ragged responses that needs it; returns how many do.
static size_t penalise(float *scores, const int32_t *tokens, const int32_t *starts,
                       size_t responses, const int32_t *eos, size_t eos_count, double penalty)
{
    size_t penalised = 0;
    for (size_t i = 0; i < responses; i++) {
        penalised +=
            tr_missing_eos_penalty(&scores[i], tokens + starts[i],
                                   (size_t)(starts[i + 1] - starts[i]), eos, eos_count, penalty);
    }
    return penalised;
}

Test(reward, missing_eos_penalty_equals_trl)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/ppo.json");
    size_t responses;
    float scores[8];
    const float *before = golden_floats(golden, "penalty/scores", &responses);
    memcpy(scores, before, responses * sizeof *scores);
    size_t penalised = penalise(scores, golden_ints(golden, "penalty/tokens", NULL),
                                golden_ints(golden, "penalty/starts", NULL), responses,
                                golden_ints(golden, "penalty/eos", NULL), 1,
                                golden_number(golden, "penalty/penalty"));
    golden_expect(golden, "penalty/penalised", scores, responses, 1e-7, 0);
    cr_assert_eq(penalised, 2);
    golden_close(&golden);
}

Test(reward, any_of_several_eos_ids_saves_a_response)
{
    const int32_t tokens[5] = {7, 3, 4, 9, 1};
    const int32_t starts[4] = {0, 2, 4, 5};
    const int32_t eos[2] = {3, 9};
    float scores[3] = {1.0f, 1.0f, 1.0f};
    cr_assert_eq(penalise(scores, tokens, starts, 3, eos, 2, 0.5), 1);
    cr_assert(scores[0] == 1.0f && scores[1] == 1.0f && scores[2] == 0.5f);
    cr_assert_eq(penalise(scores, tokens, starts, 3, eos, 0, 0.5), 3);
    cr_assert_eq(tr_count_tokens(tokens, 5, eos, 2), 2);
}

static void objective_of_case(golden_t *golden, const char *name)
{
    char path[64];
#define AT(key) (snprintf(path, sizeof path, "%s/" key, name), path)
    size_t responses;
    const float *kl = golden_floats(golden, AT("kl"), NULL);
    const float *logprobs = golden_floats(golden, AT("logprobs"), NULL);
    const float *scores = golden_floats(golden, AT("scores"), &responses);
    const int32_t *starts = golden_ints(golden, AT("starts"), NULL);
    tr_objective_t objective;
    tr_objective(&objective, kl, logprobs, scores, starts, responses,
                 golden_number(golden, AT("options/kl_coef")));
    golden_expect_number(golden, AT("objective/kl"), objective.kl, 1e-6, 0);
    golden_expect_number(golden, AT("objective/entropy"), objective.entropy, 1e-6, 0);
    golden_expect_number(golden, AT("objective/non_score_reward"), objective.non_score_reward, 1e-6,
                         0);
    golden_expect_number(golden, AT("objective/rlhf_reward"), objective.rlhf_reward, 1e-6, 0);
    golden_expect_number(golden, AT("objective/scores"), objective.scores, 1e-6, 0);
#undef AT
}

Test(reward, objective_metrics_equal_trl)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/ppo.json");
    objective_of_case(golden, "full");
    objective_of_case(golden, "whitened_rewards");
    objective_of_case(golden, "discounted_k3");
    golden_close(&golden);
}

// TRL sums its entropy over padding too, where its log-prob is the constant 1.
Test(reward, entropy_counts_real_tokens_only)
{
    const float kl[3] = {0, 0, 0};
    const float logprobs[3] = {-1.0f, -2.0f, -4.0f};
    const float scores[2] = {1.0f, 2.0f};
    const int32_t starts[3] = {0, 1, 3};
    tr_objective_t objective;
    tr_objective(&objective, kl, logprobs, scores, starts, 2, 0.05);
    cr_assert(objective.entropy == 3.5 && objective.scores == 1.5 && objective.rlhf_reward == 1.5);
}
