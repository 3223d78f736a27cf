/// Policy losses of GRPO and its kin: what becomes of a token's ratio and advantage, what is made
/// of a response's tokens, and the KL penalty in the loss. Names and defaults are those of TRL's
/// GRPOConfig; docs/algorithms.md has the formulas and their papers.
///
/// Pure: arrays in, gradients out. The actor calls a loss response by response (actor/grpo.c); PPO
/// has the clipped surrogate in common.
///
/// A loss is a row of a table (policy_loss.c): a surrogate, which is a function of one log ratio
/// and one advantage, and what it differs in besides: the level of its ratio and how tokens are
/// added up.
#ifndef TR_ALGO_POLICY_LOSS_H
#define TR_ALGO_POLICY_LOSS_H

#include "common/base/fields.h"

// Choices; 0 is null: as the algorithm (tr_policy_resolve) or the loss has it.

typedef enum tr_loss_type {
    TR_LOSS_OF_ALGORITHM,
    TR_LOSS_GRPO,    ///< clipped; a mean over responses of means over their tokens
    TR_LOSS_BNPO,    ///< clipped; a mean over the tokens of the minibatch
    TR_LOSS_DR_GRPO, ///< clipped; a sum by responses times max_completion_length
    TR_LOSS_DAPO,    ///< clipped; a sum by the step's tokens of an update
    TR_LOSS_LUSPO,   ///< clipped; a mean over responses of sums over their tokens
    TR_LOSS_SAPO,    ///< a soft gate instead of clipping
    TR_LOSS_VESPO,   ///< the log-prob, weighted by a gamma density of the response's ratio
    TR_LOSS_GMPO,    ///< the geometric mean of clipped ratios
    TR_LOSS_CISPO,   ///< the log-prob, weighted by the ratio, which is held constant and capped
    TR_LOSS_COUNT
} tr_loss_type_t;

typedef enum tr_aggregation {
    TR_AGGREGATION_OF_LOSS,
    TR_AGGREGATION_BATCH_TOKEN_MEAN,       ///< by the tokens of the step, shared by its minibatches
    TR_AGGREGATION_TOKEN_MEAN,             ///< by the tokens of the minibatch
    TR_AGGREGATION_SEQ_MEAN_TOKEN_MEAN,    ///< mean over responses of means over tokens
    TR_AGGREGATION_SEQ_MEAN_TOKEN_SUM,     ///< mean over responses of sums over tokens
    TR_AGGREGATION_SEQ_MEAN_TOKEN_SUM_NORM ///< the same by max_completion_length
} tr_aggregation_t;

typedef enum tr_ratio_level {
    TR_RATIO_OF_ALGORITHM,
    TR_RATIO_TOKEN,          ///< of each token
    TR_RATIO_SEQUENCE,       ///< one of a response: the geometric mean of its tokens' (GSPO)
    TR_RATIO_SEQUENCE_TOKEN, ///< the same, whose gradient is each token's own (GSPO-token)
    TR_RATIO_SEQUENCE_SUM    ///< one of a response: the product of its tokens' (RLOO)
} tr_ratio_level_t;

typedef enum tr_kl_place { TR_KL_AS_ALGORITHM, TR_KL_IN_LOSS, TR_KL_IN_REWARD } tr_kl_place_t;

typedef enum tr_kl_term {
    TR_KL_TERM_OF_PLACE, ///< k3 in the loss, k1 in the reward
    TR_KL_TERM_K1,
    TR_KL_TERM_K2, ///< half of the squared log ratio
    TR_KL_TERM_K3,
    TR_KL_TERM_ABS
} tr_kl_term_t;

/// TRL's names and defaults (tr_policy_fields); the actor gets them resolved.
typedef struct tr_policy_options {
    uint64_t num_iterations;       ///< passes over a step's responses
    uint64_t steps_per_generation; ///< updates a pass
    double beta;                   ///< weight of the KL penalty; below 0: the algorithm's
    int kl_in;                     ///< a tr_kl_place_t
    int kl_estimator;              ///< a tr_kl_term_t
    bool use_bias_correction_kl;   ///< whether the loss's KL is multiplied by the ratio
    int loss_type;                 ///< a tr_loss_type_t
    int loss_agg_mode;             ///< a tr_aggregation_t
    int importance_sampling_level; ///< a tr_ratio_level_t
    double epsilon;                ///< a ratio gains nothing below 1 - this,
    double epsilon_high;           ///< or above 1 + this; of cispo its cap. 0: epsilon
    double delta;                  ///< and costs no more above this (dual clip); 0: no bound
    double top_entropy_quantile;   ///< share of the tokens whose ratios are learnt, by entropy
    double sapo_temperature_pos, sapo_temperature_neg; ///< of advantages above 0, and others
    double vespo_k_pos, vespo_lambda_pos; ///< shape of the weight, of advantages from 0 up,
    double vespo_k_neg, vespo_lambda_neg; ///< and below
    uint64_t max_completion_length;       ///< generation.max_new_tokens; no key of its own
} tr_policy_options_t;

extern const tr_fields_t tr_policy_fields;

/// What an algorithm has where a recipe says null.
typedef struct tr_policy_defaults {
    double beta;
    tr_kl_place_t kl_in;
    tr_loss_type_t loss_type;
    tr_ratio_level_t level;
} tr_policy_defaults_t;

/// Replaces what is null by the algorithm's default, or the loss's.
void tr_policy_resolve(tr_policy_options_t *options, const tr_policy_defaults_t *defaults);

/// A loss of one log ratio and one advantage.
typedef struct tr_surrogate {
    double loss;
    double by_ratio;   ///< d loss / d log ratio
    double by_logprob; ///< d loss / d log-prob beside the ratio's
    bool clipped;      ///< the clipped side counts
} tr_surrogate_t;

/// The clipped surrogate (Schulman et al. 2017, eq. 7; with `most`, the dual clip of Ye et al.
/// 2020): with r = exp(log_ratio), -min(min(r, most) A, clip(r, low, high) A). A NaN gives NaNs.
tr_surrogate_t tr_clipped_surrogate(double log_ratio, double advantage, double low, double high,
                                    double most);

/// A KL penalty of one token and its derivative by the policy's log-prob.
typedef struct tr_kl_penalty {
    double value, slope;
} tr_kl_penalty_t;

tr_kl_penalty_t tr_kl_penalty(double logprob, double reference, tr_kl_term_t term);

/// One response. Arrays: [n], borrowed.
typedef struct tr_policy_response {
    size_t n;
    const float *logprobs, *old_logprobs, *advantages;
    const float *reference; ///< log-probs; NULL: no KL in the loss
    const float *mask;      ///< 0 for tokens that do not count; NULL: all do
    const float *weights;   ///< of the tokens' losses before the KL; NULL: 1
} tr_policy_response_t;

/// What means are over.
typedef struct tr_policy_normalizer {
    double batch_tokens; ///< that count, of the step's responses, by its minibatches
    double tokens;       ///< that count, of the minibatch
    double responses;    ///< of the minibatch; those without a token that counts too
} tr_policy_normalizer_t;

/// Sums over responses for metrics. Start from all zeros ({0}).
typedef struct tr_policy_sums {
    double loss;                 ///< adds up to the minibatches' losses
    double tokens;               ///< that count
    double kl;                   ///< of the loss, over tokens
    double ratios;               ///< how many there are: of tokens, or of responses
    double low, high;            ///< ratios that were clipped from below, from above
    double low_least, high_most; ///< shares of a response's tokens
    double phi;                  ///< vespo's weights, over responses
    double responses;            ///< with a token that counts
} tr_policy_sums_t;

/// The loss of a response within its minibatch. dlogprobs: [n], written: its gradient. sums:
/// continued. options: resolved. A response without a token that counts adds nothing.
void tr_policy_loss(float *dlogprobs, tr_policy_sums_t *sums, const tr_policy_response_t *response,
                    const tr_policy_normalizer_t *normalizer, const tr_policy_options_t *options);

#endif
