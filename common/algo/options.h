/// The knobs of PPO, under TRL's names and with TRL's defaults.
///
/// Plain records for the recipe, the controller (rewards, advantages) and the learners (losses).
/// See docs/algorithms.md for what each one does.
#ifndef TR_ALGO_OPTIONS_H
#define TR_ALGO_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

typedef enum tr_kl_estimator {
    TR_KL_K1 = 0, ///< log ratio: unbiased, either sign for one token
    TR_KL_K3 = 1  ///< exp(d) - 1 - d, d = reference - policy: unbiased, never negative
} tr_kl_estimator_t;

typedef struct tr_ppo_options {
    uint32_t num_ppo_epochs;        ///< passes over a step's batch; default 4
    uint32_t num_mini_batches;      ///< optimizer updates a pass; default 1
    double kl_coef;                 ///< weight of the KL penalty in the rewards; default 0.05
    tr_kl_estimator_t kl_estimator; ///< default TR_KL_K1
    double cliprange;               ///< the ratio is clipped to 1 +- this; default 0.2
    double vf_coef;                 ///< weight of the value loss; default 0.1
    double cliprange_value;         ///< a value may move this far from the old one; default 0.2
    double gamma;                   ///< discount; default 1
    double lam;                     ///< lambda of the advantage estimate; default 0.95
    bool whiten_rewards;            ///< default false
    bool has_missing_eos_penalty;   ///< false: none; default
    double
        missing_eos_penalty; ///< taken from the score of a response without end-of-sequence token
} tr_ppo_options_t;

/// Fills options with TRL's defaults.
void tr_ppo_options_init(tr_ppo_options_t *options);

/// "k1" or "k3".
const char *tr_kl_estimator_name(tr_kl_estimator_t estimator);

/// The reverse. False, and estimator untouched, for another word.
bool tr_kl_estimator_from_name(tr_kl_estimator_t *estimator, const char *name);

#endif
