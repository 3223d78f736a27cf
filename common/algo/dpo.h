/// Losses on pairs: direct preference optimization (Rafailov et al. 2023) and its relatives, as
/// TRL's DPOTrainer, CPOTrainer and ORPOTrainer compute them. Pure.
///
/// A pair is a prompt with a chosen (w) and a rejected (l) completion. L are the log-probs of a
/// completion's tokens under the policy, summed, R under the frozen reference, c = L_w - R_w and j
/// = L_l - R_l. f is the score of the f-divergence, D = f(c) - f(j), n the tokens of a completion,
/// b beta, e label_smoothing, s the logistic function.
#ifndef TR_ALGO_DPO_H
#define TR_ALGO_DPO_H

#include "common/base/fields.h"

/// TRL's names in lower case. The loss of one pair:
typedef enum tr_dpo_loss_type {
    TR_DPO_SIGMOID,  ///< -(1-e) log s(bD) - e log s(-bD): DPO, with e cDPO (TRL's ignores e here)
    TR_DPO_HINGE,    ///< max(0, 1 - bD): SLiC (Zhao et al. 2023)
    TR_DPO_IPO,      ///< (f(c)/n_w - f(j)/n_l - 1/2b)^2 (Azar et al. 2023, eq. 17)
    TR_DPO_EXO_PAIR, ///< KL(s(bD) || 1-e) (Ji et al. 2024, eq. 16); e > 0
    TR_DPO_NCA_PAIR, ///< -log s(bf(c)) - log s(-bf(c))/2 - log s(-bf(j))/2 (Chen et al. 2024)
    TR_DPO_ROBUST, ///< [-(1-e) log s(bD) + e log s(-bD)] / (1-2e) (Chowdhury et al. 2024); e < 1/2
    TR_DPO_BCO_PAIR,  ///< -log s(bf(c)) - log s(-bf(j)) (Jung et al. 2024)
    TR_DPO_SPPO_HARD, ///< (f(c) - 1/2b)^2 + (f(j) + 1/2b)^2 (Wu et al. 2024)
    TR_DPO_AOT, ///< sigmoid of b(sorted (L_w-L_l) - sorted (R_w-R_l)) over the batch (Melnyk et al.
                ///< 2024)
    TR_DPO_AOT_UNPAIRED, ///< sigmoid of b(sorted c - sorted j) over the batch
    TR_DPO_APO_ZERO,     ///< 1 - s(bc) + s(bj) (D'Oosterlinck et al. 2024, eq. 7)
    TR_DPO_APO_DOWN,     ///< s(bc) + 1 - s(bD) (eq. 8)
    TR_DPO_DISCOPOP, ///< -log s(z)(1-m) + e^-z m, z = bD, m = s(z/discopop_tau) (Lu et al. 2024,
                     ///< eq. 5)
    TR_DPO_SFT,      ///< negative log-likelihood of the chosen completions, a mean over the batch's
                     ///< tokens (RPO, MPO)
    TR_DPO_SIGMOID_NORM, ///< -log s(b(f(c)/n_w - f(j)/n_l))
    TR_DPO_CPO,          ///< sigmoid of b(L_w - L_l), without a reference (Xu et al. 2024)
    TR_DPO_SIMPO, ///< sigmoid of b(L_w/n_w - L_l/n_l) - simpo_gamma, without a reference (Meng et
                  ///< al. 2024)
    TR_DPO_ORPO,  ///< -b log s(log odds ratio of the mean log-probs), without a reference (Hong et
                  ///< al. 2024)
    TR_DPO_LOSS_COUNT
} tr_dpo_loss_type_t;

typedef enum tr_f_divergence {
    TR_F_REVERSE_KL,      ///< f(u) = u
    TR_F_FORWARD_KL,      ///< f(u) = -e^-u
    TR_F_JS_DIVERGENCE,   ///< f(u) = log s(u)
    TR_F_ALPHA_DIVERGENCE ///< f(u) = e^((a-1)u) / (a-1), a = f_alpha_divergence_coef
} tr_f_divergence_t;

/// TRL's names and defaults (tr_dpo_fields).
typedef struct tr_dpo_options {
    double beta;
    tr_choices_t loss_type;         ///< of tr_dpo_loss_type_t; their weighted sum is the loss
    tr_reals_t loss_weights;        ///< one a loss, or none: all 1
    double label_smoothing;         ///< how often a label is wrong
    int f_divergence_type;          ///< a tr_f_divergence_t
    double f_alpha_divergence_coef; ///< a
    double ld_alpha; ///< weight of the tokens past the shorter completion's length (LD-DPO, Liu et
                     ///< al. 2024); 1: as the others
    double discopop_tau;
    double simpo_gamma;
    bool use_weighting;  ///< WPO (Zhou et al. 2024); not with sft
    bool reference_free; ///< R = 0
} tr_dpo_options_t;

extern const tr_fields_t tr_dpo_fields;

/// Whether the loss is among options->loss_type.
bool tr_dpo_uses(const tr_dpo_options_t *options, tr_dpo_loss_type_t type);

/// How much the loss counts in the sum; 0 where it is not used.
double tr_dpo_loss_weight(const tr_dpo_options_t *options, tr_dpo_loss_type_t type);

/// Whether some loss reads the reference's log-probs.
bool tr_dpo_needs_reference(const tr_dpo_options_t *options);

/// Whether a pair's loss depends on the other pairs of the batch (aot): all must then be given in
/// one call.
bool tr_dpo_couples_pairs(const tr_dpo_options_t *options);

/// A pair of a batch; each completion has at least one token.
typedef struct tr_dpo_pair {
    double chosen, rejected;                     ///< L, from tr_dpo_sum
    double reference_chosen, reference_rejected; ///< R, likewise; 0 where there is no reference
    size_t chosen_tokens, rejected_tokens;       ///< n
    double weight;             ///< of the pair's loss: tr_dpo_weight of both completions, or 1
    double dchosen, drejected; ///< written by tr_dpo_loss
} tr_dpo_pair_t;

/// Sums over pairs, for TRL's metrics. Start from all zeros ({0}).
typedef struct tr_dpo_sums {
    size_t pairs;
    double loss;                         ///< divide by pairs; without sft's part
    double chosen_rewards;               ///< b c (simpo, orpo: b L_w/n_w)
    double rejected_rewards;             ///< b j
    double accuracies;                   ///< pairs with the chosen reward above the rejected one
    double chosen_logps, rejected_logps; ///< L
} tr_dpo_sums_t;

/// pairs: [n], of which dchosen and drejected are written: d (sum of the pairs' losses /
/// normalizer) / d L, sft's part excepted, whose gradient is -weight / (chosen tokens of the WHOLE
/// batch) for each chosen token. order: [2 n] scratch, for losses that couple pairs; else NULL.
/// normalizer: pairs of the whole batch. sums: continued.
void tr_dpo_loss(tr_dpo_pair_t *pairs, size_t n, size_t *order, tr_dpo_sums_t *sums,
                 size_t normalizer, const tr_dpo_options_t *options);

/// The sum of a completion's log-probs: [n], of which those past `shared` tokens count ld_alpha.
double tr_dpo_sum(const float *logprobs, size_t n, size_t shared, double ld_alpha);

/// The reverse of tr_dpo_sum: dlogprobs: [n], written: slope (d loss / d sum) for each token, times
/// ld_alpha past `shared`, minus nll. nll is sft's part: for each chosen token its weight / (chosen
/// tokens of the batch); 0 for a rejected one.
void tr_dpo_spread(float *dlogprobs, double slope, size_t n, size_t shared, double ld_alpha,
                   double nll);

/// WPO's weight of a completion (eq. 2 in its sampled-alignment form): e to the mean over tokens of
/// log p(y_t) - log sum_v p(v)^2. logprobs, collisions (the second term): [n], n >= 1.
double tr_dpo_weight(const float *logprobs, const float *collisions, size_t n);

#endif
