/// Reward models from pairs (Bradley and Terry 1952), as TRL's RewardTrainer trains them. Pure.
#ifndef TR_ALGO_BRADLEY_TERRY_H
#define TR_ALGO_BRADLEY_TERRY_H

#include "common/base/fields.h"

/// TRL's names and defaults (tr_reward_fields).
typedef struct tr_reward_options {
    double center_rewards_coefficient; ///< weight of the squared sum of a pair's scores; 0: none
} tr_reward_options_t;

extern const tr_fields_t tr_reward_fields;

/// Sums over pairs, for TRL's metrics. Start from all zeros ({0}).
typedef struct tr_bradley_terry_sums {
    size_t pairs;
    double loss;        ///< divide by pairs
    double accuracies;  ///< pairs whose chosen score is above the rejected one
    double margins;     ///< chosen - rejected
    double scores;      ///< of both; divide by 2 pairs
    double squares;     ///< of the squared scores, likewise
    double least, most; ///< of all scores so far; 0 while there are none
} tr_bradley_terry_sums_t;

/// The loss of one pair: -log s(chosen - rejected - margin) + center (chosen + rejected)^2 (Touvron
/// et al. 2023, eq. 2; Eisenstein et al. 2023, eq. 2). dchosen, drejected: written: d (loss /
/// normalizer) / d score. chosen, rejected: scores. margin: 0 for none.
/// center: center_rewards_coefficient. normalizer: pairs of the whole batch. sums: continued.
void tr_bradley_terry_loss(float *dchosen, float *drejected, tr_bradley_terry_sums_t *sums,
                           float chosen, float rejected, float margin, size_t normalizer,
                           const tr_reward_options_t *options);

#endif
