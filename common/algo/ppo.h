/// Proximal policy optimization (Schulman et al. 2017) for language models (Ziegler et al. 2019),
/// as TRL's PPOTrainer computes it: from a step's scores to rewards, advantages and returns, and
/// the two clipped losses with their gradients.
///
/// Pure: arrays in, arrays and gradients out. The controller calls the first half, actor and critic
/// the losses.
///
/// A score belongs to a whole response, a reward to a token. Responses are ragged: their tokens
/// follow one another, and response i has tokens starts[i]..starts[i + 1] - 1, at least one;
/// starts: [responses + 1], starts[0] = 0.
///
/// A minibatch may be processed in chunks (gradient accumulation). Each call of a loss gets its
/// chunk's tokens and `normalizer`, the tokens of the WHOLE minibatch, so that gradients add up to
/// those of the mean over the whole. It continues the sums it is given, so that chunks in order
/// give the sums of the whole bit for bit.
#ifndef TR_ALGO_PPO_H
#define TR_ALGO_PPO_H

#include "common/base/fields.h"

typedef enum tr_kl_estimator {
    TR_KL_K1, ///< log ratio: unbiased, either sign for one token
    TR_KL_K3  ///< exp(d) - 1 - d, d = reference - policy: unbiased, never negative
} tr_kl_estimator_t;

/// TRL's names and defaults (tr_ppo_fields).
typedef struct tr_ppo_options {
    uint64_t num_ppo_epochs;   ///< passes over a step's batch
    uint64_t num_mini_batches; ///< optimizer updates a pass
    double kl_coef;            ///< weight of the KL penalty in the rewards
    int kl_estimator;          ///< a tr_kl_estimator_t
    double cliprange;          ///< the ratio is clipped to 1 +- this
    double vf_coef;            ///< weight of the value loss
    double cliprange_value;    ///< a value may move this far from the old one
    double gamma;              ///< discount
    double lam;                ///< lambda of the advantage estimate
    double target_kl;    ///< the policy's epochs end after one whose approxkl is above; 0: never
    bool whiten_rewards; ///< whether rewards are scaled to variance 1
    double missing_eos_penalty; ///< taken from the score of a response that nothing ended; 0: none
} tr_ppo_options_t;

extern const tr_fields_t tr_ppo_fields;

// From scores to advantages

/// Estimates of the KL divergence between policy and reference, token by token (Schulman 2020,
/// "Approximating KL divergence", joschu.net/blog/kl-approx.html). kl: [n], written. policy,
/// reference: [n] log-probs of the same tokens, drawn from the policy and taken from the same kind
/// of distribution (same temperature, same kept set): only then is the expectation not negative. A
/// NaN stays a NaN.
void tr_kl(float *kl, const float *policy, const float *reference, size_t n,
           tr_kl_estimator_t estimator);

/// Subtracts the penalty from the score of a response that holds none of the eos ids; returns
/// whether it did. *score: updated. tokens: [n], the response. eos: [eos_count]; an empty list
/// penalises every response.
bool tr_missing_eos_penalty(float *score, const int32_t *tokens, size_t n, const int32_t *eos,
                            size_t eos_count, double penalty);

/// How many of tokens: [n] are one of ids: [count]. For val/num_eos_tokens.
size_t tr_count_tokens(const int32_t *tokens, size_t n, const int32_t *ids, size_t count);

/// rewards: [starts[responses]], written: -kl_coef * kl[t], plus scores[i] at the last token of
/// response i (Ziegler et al. 2019, eq. 2). kl: [starts[responses]]. scores: [responses], after
/// tr_missing_eos_penalty. rewards may be kl.
void tr_rewards(float *rewards, const float *kl, const float *scores, const int32_t *starts,
                size_t responses, double kl_coef);

/// values: [n], replaced by (v - mean) / sqrt(variance + 1e-8), plus mean when shift_mean is false.
/// The variance is Bessel-corrected (n - 1). Sums in double, ascending. A single value has variance
/// 0 (TRL divides by zero there).
void tr_whiten(float *values, size_t n, bool shift_mean);

/// Generalised advantage estimation over one response (Schulman et al. 2016, eq. 16), summed in
/// double from the end: delta[t] = rewards[t] + gamma * values[t + 1] - values[t]; A[t] = delta[t]
/// + gamma * lambda * A[t + 1]. advantages, returns (A + values): [n], written. rewards, values:
/// [n], one a token, values[t] read before token t is emitted; the value past the end is 0. n >= 1.
/// advantages may be rewards; returns may be values.
void tr_gae(float *advantages, float *returns, const float *rewards, const float *values, size_t n,
            double gamma, double lambda);

/// The same for each of the ragged responses; all arrays: [starts[responses]].
void tr_gae_ragged(float *advantages, float *returns, const float *rewards, const float *values,
                   const int32_t *starts, size_t responses, double gamma, double lambda);

/// Everything between the workers' answers and the first update: KL, rewards, their whitening if
/// asked for, advantages and returns, whitening of the advantages over the batch. T =
/// starts[responses] tokens. Written, each [T]: kl, rewards, advantages, returns (of the advantages
/// before whitening). Distinct arrays. logprobs, reference, values: [T]. scores: [responses], after
/// tr_missing_eos_penalty.
void tr_ppo_advantages(float *kl, float *rewards, float *advantages, float *returns,
                       const float *logprobs, const float *reference, const float *values,
                       const float *scores, const int32_t *starts, size_t responses,
                       const tr_ppo_options_t *options);

/// The KL of the policy that sampled to the reference, by k1: the mean over responses of log-probs
/// less the reference's, summed over a response's tokens, and the mean's standard error. No
/// divergence is negative, so a mean that is, by several errors, is of log-probs that do not belong
/// together. logprobs, reference: [starts[responses]]. responses >= 1; the error of one is 0.
typedef struct tr_kl_estimate {
    double mean, error;
} tr_kl_estimate_t;

tr_kl_estimate_t tr_kl_estimate(const float *logprobs, const float *reference,
                                const int32_t *starts, size_t responses);

/// TRL's `objective/` metrics of one step: means over responses of sums over their tokens.
typedef struct tr_objective {
    double kl;               ///< objective/kl
    double entropy;          ///< objective/entropy: of -log-prob of the sampled tokens
    double non_score_reward; ///< objective/non_score_reward: of -kl_coef * kl
    double rlhf_reward;      ///< objective/rlhf_reward: non_score_reward + scores
    double scores;           ///< objective/scores
} tr_objective_t;

/// kl, logprobs: [starts[responses]] (logprobs of the policy that sampled). scores: [responses].
/// responses >= 1.
void tr_objective(tr_objective_t *objective, const float *kl, const float *logprobs,
                  const float *scores, const int32_t *starts, size_t responses, double kl_coef);

// The losses

/// Sums over the tokens of a minibatch. Start from all zeros ({0}). Divide by tokens for TRL's
/// means.
typedef struct tr_ppo_policy_sums {
    size_t tokens;
    double loss;     ///< loss/policy_avg
    double clipped;  ///< policy/clipfrac_avg: tokens whose clipped loss was the larger
    double approxkl; ///< policy/approxkl_avg: 0.5 * (new - old)^2
    double ratio;    ///< val/ratio
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
