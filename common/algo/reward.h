/// From scores to rewards per token, and the `objective/` metrics. Pure; called by the controller.
///
/// A score is what the judge says of a whole response; a reward belongs to a token (Ziegler et al.
/// 2019, eq. 2). Responses are ragged: their tokens stand one after another, and response i owns
/// tokens starts[i]..starts[i + 1] - 1, at least one; starts: [responses + 1], starts[0] = 0.
#ifndef TR_ALGO_REWARD_H
#define TR_ALGO_REWARD_H

#include <stddef.h>
#include <stdint.h>

/// rewards: [starts[responses]], written: -kl_coef * kl[t], plus scores[i] at the last token of
/// response i. kl: [starts[responses]]. scores: [responses], after tr_missing_eos_penalty. rewards
/// may be kl.
void tr_rewards(float *rewards, const float *kl, const float *scores, const size_t *starts,
                size_t responses, double kl_coef);

/// Takes penalty from the score of each response that holds none of the eos ids. scores:
/// [responses], updated. tokens: [starts[responses]]. eos: [eos_count], none: every response is
/// penalised. Returns how many were.
size_t tr_missing_eos_penalty(float *scores, const int32_t *tokens, const size_t *starts,
                              size_t responses, const int32_t *eos, size_t eos_count,
                              double penalty);

/// How many of tokens: [n] are one of ids: [count]. For val/num_eos_tokens.
size_t tr_count_tokens(const int32_t *tokens, size_t n, const int32_t *ids, size_t count);

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
                  const float *scores, const size_t *starts, size_t responses, double kl_coef);

#endif
