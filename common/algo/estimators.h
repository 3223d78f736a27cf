/// Estimators of advantages without a critic: what becomes of the rewards of a prompt's responses.
/// GRPO (Shao et al. 2024), RLOO (Ahmadian et al. 2024), REINFORCE++ and its form with a baseline
/// (Hu 2025), OPO (Hao et al. 2025), ReMax (Li et al. 2023) and FlashREINFORCE.
///
/// Pure: arrays in, arrays out. The controller calls them between the judges' scores and the first
/// update. An estimator is a row of the table of estimators.c, and an algorithm of
/// common/recipe/algorithms.c names one.
///
/// Responses are ragged (common/algo/ppo.h), those of a prompt together. A response that no judge
/// could score has a NaN: it is no part of a baseline or a deviation, and its advantage is 0.
#ifndef TR_ALGO_ESTIMATORS_H
#define TR_ALGO_ESTIMATORS_H

#include "common/algo/policy_loss.h"

typedef enum tr_scale_rewards {
    TR_SCALE_GROUP, ///< by the deviation within a prompt's responses
    TR_SCALE_BATCH, ///< by that of all responses of the step
    TR_SCALE_NONE   ///< not at all (Dr. GRPO)
} tr_scale_rewards_t;

/// "group", "batch", "none" and NULL.
extern const char *const tr_scale_rewards_names[];

typedef enum tr_objectives {
    TR_SUM_THEN_NORMALIZE, ///< the judges' weighted sum is compared within the group
    TR_NORMALIZE_THEN_SUM  ///< each judge's scores are (GDPO), and their sums within the step
} tr_objectives_t;

/// "sum_then_normalize", "normalize_then_sum" and NULL.
extern const char *const tr_objectives_names[];

/// TRL's names; each is read by some of the estimators (common/recipe/sections.c).
typedef struct tr_estimator_options {
    int scale_rewards;               ///< a tr_scale_rewards_t, of GRPO
    int multi_objective_aggregation; ///< a tr_objectives_t, of GRPO
    bool normalize_advantages;       ///< of RLOO: whether they are whitened over responses
    double gamma;                    ///< of REINFORCE++: discount
} tr_estimator_options_t;

/// What an estimator reads.
typedef struct tr_group_rewards {
    const float *rewards;  ///< [starts[responses]] as tr_rewards makes them
    const int32_t *starts; ///< [responses + 1]
    size_t responses;
    size_t samples;         ///< to each prompt; divides responses
    const float *baselines; ///< [responses / samples] scores of greedy responses; NULL: none
} tr_group_rewards_t;

typedef struct tr_estimator {
    /// advantages: [starts[responses]], written: one a token.
    void (*advantages)(float *advantages, const tr_group_rewards_t *rewards,
                       const tr_estimator_options_t *options);
    tr_policy_defaults_t defaults;
    bool greedy; ///< it reads baselines
} tr_estimator_t;

extern const tr_estimator_t tr_estimator_grpo, tr_estimator_rloo, tr_estimator_reinforce_plus_plus,
    tr_estimator_reinforce_plus_plus_baseline, tr_estimator_opo, tr_estimator_flash_reinforce,
    tr_estimator_remax;

/// One judge's scores, [responses], each less the mean of its group and by its deviation: GDPO (Liu
/// et al. 2026), before the judges' weighted sum.
void tr_group_normalize(float *scores, size_t responses, size_t samples);

/// Share of the groups whose rewards are all the same, and which teach nothing: TRL's
/// frac_reward_zero_std. Where rewards are compared within the step, all responses are one group.
double tr_zero_spread(const tr_group_rewards_t *rewards, const tr_estimator_options_t *options);

#endif
