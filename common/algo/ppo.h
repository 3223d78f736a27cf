/// Proximal policy optimization (Schulman et al. 2017): the step's advantages, and the clipped
/// losses with their gradients. Pure: arrays in, arrays and gradients out.
///
/// A minibatch may be processed in chunks (gradient accumulation). Each call takes its chunk's
/// tokens and `normalizer`, the tokens of the WHOLE minibatch, so that gradients add up to those of
/// the mean over the whole, and continues the sums it is given, so that chunks in order give the
/// sums of the whole bit for bit.
#ifndef TR_ALGO_PPO_H
#define TR_ALGO_PPO_H

#include <stddef.h>

#include "common/algo/options.h"

/// Everything between the workers' answers and the first update: KL, rewards, their whitening if
/// asked for, advantages and returns, whitening of the advantages over the batch. T =
/// starts[responses] tokens, ragged (reward.h). Written, each [T]: kl, rewards, advantages, returns
/// (of the advantages before whitening). Distinct arrays. logprobs, reference, values: [T]. scores:
/// [responses], after tr_missing_eos_penalty.
void tr_ppo_advantages(float *kl, float *rewards, float *advantages, float *returns,
                       const float *logprobs, const float *reference, const float *values,
                       const float *scores, const size_t *starts, size_t responses,
                       const tr_ppo_options_t *options);

/// Sums over the tokens of a minibatch. Start from all zeros ({0}). Divide by tokens for TRL's
/// means.
typedef struct tr_ppo_policy_sums {
    size_t tokens;
    double loss;          ///< loss/policy_avg
    double clipped;       ///< policy/clipfrac_avg: tokens whose clipped loss was the larger
    double approxkl;      ///< policy/approxkl_avg: 0.5 * (new - old)^2
    double ratio;         ///< val/ratio
    double ratio_squared; ///< for the variance of the ratio over tokens
} tr_ppo_policy_sums_t;

/// The clipped surrogate (eq. 7): with ratio = exp(new - old), loss[t] = max(-A ratio, -A
/// clip(ratio, 1 +- cliprange)). dlogprobs: [n], written: d(sum of loss / normalizer) / d logprobs;
/// 0 where the clipped side wins. sums: continued. logprobs (new), old_logprobs, advantages: [n].
/// normalizer >= 1. A NaN in gives NaNs out.
void tr_ppo_policy_loss(float *dlogprobs, tr_ppo_policy_sums_t *sums, const float *logprobs,
                        const float *old_logprobs, const float *advantages, size_t n,
                        size_t normalizer, const tr_ppo_options_t *options);

/// Sums over the tokens of a minibatch. Start from all zeros ({0}).
typedef struct tr_ppo_value_sums {
    size_t tokens;
    double loss;    ///< loss/value_avg, without vf_coef
    double clipped; ///< val/clipfrac_avg: tokens whose clipped loss was the larger
} tr_ppo_value_sums_t;

/// The clipped value loss: loss[t] = 0.5 * max((V - R)^2, (clip(V, V_old +- cliprange_value) -
/// R)^2). dvalues: [n], written: vf_coef * d(sum of loss / normalizer) / d values; 0 where the
/// clipped side wins. sums: continued. values (new), old_values, returns: [n]. normalizer >= 1.
void tr_ppo_value_loss(float *dvalues, tr_ppo_value_sums_t *sums, const float *values,
                       const float *old_values, const float *returns, size_t n, size_t normalizer,
                       const tr_ppo_options_t *options);

#endif
