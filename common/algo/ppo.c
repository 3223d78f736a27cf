#include "common/algo/ppo.h"

#include "common/algo/exponential.h"
#include "common/algo/gae.h"
#include "common/algo/kl.h"
#include "common/algo/reward.h"
#include "common/algo/whiten.h"
#include "common/base/status.h"

void tr_ppo_advantages(float *kl, float *rewards, float *advantages, float *returns,
                       const float *logprobs, const float *reference, const float *values,
                       const float *scores, const size_t *starts, size_t responses,
                       const tr_ppo_options_t *options)
{
    size_t tokens = starts[responses];
    tr_kl(kl, logprobs, reference, tokens, options->kl_estimator);
    tr_rewards(rewards, kl, scores, starts, responses, options->kl_coef);
    if (options->whiten_rewards) {
        tr_whiten(rewards, tokens, false);
    }
    tr_gae_ragged(advantages, returns, rewards, values, starts, responses, options->gamma,
                  options->lam);
    tr_whiten(advantages, tokens, true);
}

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

void tr_ppo_policy_loss(float *dlogprobs, tr_ppo_policy_sums_t *sums, const float *logprobs,
                        const float *old_logprobs, const float *advantages, size_t n,
                        size_t normalizer, const tr_ppo_options_t *options)
{
    TR_ASSERT(normalizer > 0, "a mean over no tokens");
    for (size_t t = 0; t < n; t++) {
        double difference = (double)logprobs[t] - (double)old_logprobs[t];
        double ratio = exponential(difference);
        double advantage = (double)advantages[t];
        double plain = -advantage * ratio;
        double held = -advantage * clamp(ratio, 1.0 - options->cliprange, 1.0 + options->cliprange);
        bool clipped = held > plain;
        // d ratio / d logprob = ratio, so the gradient of the unclipped side is its own value.
        dlogprobs[t] = clipped ? 0.0f : (float)(plain / (double)normalizer);
        sums->loss += clipped ? held : plain;
        sums->clipped += clipped;
        sums->approxkl += 0.5 * difference * difference;
        sums->ratio += ratio;
        sums->ratio_squared += ratio * ratio;
    }
    sums->tokens += n;
}

void tr_ppo_value_loss(float *dvalues, tr_ppo_value_sums_t *sums, const float *values,
                       const float *old_values, const float *returns, size_t n, size_t normalizer,
                       const tr_ppo_options_t *options)
{
    TR_ASSERT(normalizer > 0, "a mean over no tokens");
    double range = options->cliprange_value;
    for (size_t t = 0; t < n; t++) {
        double old = (double)old_values[t];
        double target = (double)returns[t];
        double error = (double)values[t] - target;
        double held_error = clamp((double)values[t], old - range, old + range) - target;
        bool clipped = held_error * held_error > error * error;
        double worst = clipped ? held_error : error;
        dvalues[t] = clipped ? 0.0f : (float)(options->vf_coef * error / (double)normalizer);
        sums->loss += 0.5 * worst * worst;
        sums->clipped += clipped;
    }
    sums->tokens += n;
}
