/// Losses on single completions that are desirable or not: Kahneman-Tversky optimization
/// (Ethayarajh et al. 2024), as TRL's KTOTrainer computes it. Pure.
#ifndef TR_ALGO_KTO_H
#define TR_ALGO_KTO_H

#include "common/base/fields.h"

typedef enum tr_kto_loss_type {
    TR_KTO_KTO,              ///< eq. 8, with the KL estimate as the reference point
    TR_KTO_APO_ZERO_UNPAIRED ///< the reference point is 0 (D'Oosterlinck et al. 2024, eq. 7)
} tr_kto_loss_type_t;

/// TRL's names and defaults (tr_kto_fields).
typedef struct tr_kto_options {
    int loss_type; ///< a tr_kto_loss_type_t
    double beta;   ///< how strongly the policy is held to the reference
    double desirable_weight;
    double undesirable_weight;
} tr_kto_options_t;

extern const tr_fields_t tr_kto_fields;

/// The estimate of the KL divergence: the mean over the batch of policy - reference, at least 0.
/// policy, reference: [n], n >= 1: summed log-probs of completions under the prompts of other rows.
double tr_kto_kl(const double *policy, const double *reference, size_t n);

/// Sums over completions, for TRL's metrics. Start from all zeros ({0}).
typedef struct tr_kto_sums {
    size_t chosen, rejected;                 ///< desirable completions, and others
    double loss;                             ///< divide by the number of both
    double chosen_rewards, rejected_rewards; ///< beta u
    double chosen_logps, rejected_logps;
} tr_kto_sums_t;

/// The loss of one completion: with u = logp - reference, z = kl: desirable_weight (1 - s(beta (u -
/// z))) for a desirable one, undesirable_weight (1 - s(beta (z - u))) for another. Returns d (loss
/// / normalizer) / d logp (kl is a constant). logp, reference: log-probs summed over the
/// completion. normalizer: completions of the whole batch. sums: continued.
double tr_kto_loss(tr_kto_sums_t *sums, double logp, double reference, bool desirable, double kl,
                   size_t normalizer, const tr_kto_options_t *options);

/// Ranges for the weights, one of which should hold its weight, so that `desirable` and
/// `undesirable` rows are balanced (eq. 9); in hundredths, as TRL advises. balanced: whether one
/// does.
typedef struct tr_kto_advice {
    double desirable_low, desirable_high;
    double undesirable_low, undesirable_high;
    bool balanced;
} tr_kto_advice_t;

void tr_kto_advise(tr_kto_advice_t *advice, size_t desirable, size_t undesirable,
                   const tr_kto_options_t *options);

#endif
