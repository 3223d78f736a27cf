#include "common/algo/reward.h"

#include <stdbool.h>

#include "common/base/status.h"

void tr_rewards(float *rewards, const float *kl, const float *scores, const size_t *starts,
                size_t responses, double kl_coef)
{
    for (size_t i = 0; i < responses; i++) {
        TR_ASSERT(starts[i] < starts[i + 1], "response %zu has no tokens", i);
        size_t last = starts[i + 1] - 1;
        for (size_t t = starts[i]; t < last; t++) {
            rewards[t] = (float)(-kl_coef * (double)kl[t]);
        }
        rewards[last] = (float)(-kl_coef * (double)kl[last] + (double)scores[i]);
    }
}

static bool contains(const int32_t *ids, size_t count, int32_t id)
{
    for (size_t i = 0; i < count; i++) {
        if (ids[i] == id) {
            return true;
        }
    }
    return false;
}

size_t tr_count_tokens(const int32_t *tokens, size_t n, const int32_t *ids, size_t count)
{
    size_t found = 0;
    for (size_t t = 0; t < n; t++) {
        found += contains(ids, count, tokens[t]);
    }
    return found;
}

size_t tr_missing_eos_penalty(float *scores, const int32_t *tokens, const size_t *starts,
                              size_t responses, const int32_t *eos, size_t eos_count,
                              double penalty)
{
    size_t penalised = 0;
    for (size_t i = 0; i < responses; i++) {
        size_t n = starts[i + 1] - starts[i];
        if (tr_count_tokens(tokens + starts[i], n, eos, eos_count) == 0) {
            scores[i] = (float)((double)scores[i] - penalty);
            penalised++;
        }
    }
    return penalised;
}

static double sum(const float *values, size_t n)
{
    double total = 0.0;
    for (size_t t = 0; t < n; t++) {
        total += (double)values[t];
    }
    return total;
}

void tr_objective(tr_objective_t *objective, const float *kl, const float *logprobs,
                  const float *scores, const size_t *starts, size_t responses, double kl_coef)
{
    TR_ASSERT(responses > 0, "no responses");
    double count = (double)responses;
    objective->kl = sum(kl, starts[responses]) / count;
    objective->entropy = -sum(logprobs, starts[responses]) / count;
    objective->non_score_reward = -kl_coef * objective->kl;
    objective->scores = sum(scores, responses) / count;
    objective->rlhf_reward = objective->non_score_reward + objective->scores;
}
