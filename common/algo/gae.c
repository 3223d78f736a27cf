#include "common/algo/gae.h"

void tr_gae(float *advantages, float *returns, const float *rewards, const float *values, size_t n,
            double gamma, double lambda)
{
    double advantage = 0.0;
    double next_value = 0.0;
    for (size_t t = n; t-- > 0;) {
        double value = (double)values[t];
        double delta = (double)rewards[t] + gamma * next_value - value;
        advantage = delta + gamma * lambda * advantage;
        advantages[t] = (float)advantage;
        returns[t] = (float)(advantage + value);
        next_value = value;
    }
}

void tr_gae_ragged(float *advantages, float *returns, const float *rewards, const float *values,
                   const size_t *starts, size_t responses, double gamma, double lambda)
{
    for (size_t i = 0; i < responses; i++) {
        size_t first = starts[i];
        tr_gae(advantages + first, returns + first, rewards + first, values + first,
               starts[i + 1] - first, gamma, lambda);
    }
}
