/// Next-token training: the mean negative log-likelihood, or dynamic fine-tuning. Pure.
#ifndef TR_ALGO_SFT_H
#define TR_ALGO_SFT_H

#include "common/base/fields.h"

typedef enum tr_sft_loss_type {
    TR_SFT_NLL, ///< -log p
    TR_SFT_DFT  ///< -p log p, where the factor p is a constant to the gradient (Wu et al. 2025)
} tr_sft_loss_type_t;

/// TRL's names and defaults (tr_sft_fields).
typedef struct tr_sft_options {
    int loss_type; ///< a tr_sft_loss_type_t
    /// How much of the loss is the mean of -log p over the vocabulary (Szegedy et al. 2016;
    /// transformers' LabelSmoother): (1 - e) (-log p) + e mean(-log p). Below 1; for dft 0.
    double label_smoothing_factor;
    double neftune_noise_alpha; ///< noise on the embeddings while training
                                ///< (common/model/response.h); 0: none
} tr_sft_options_t;

extern const tr_fields_t tr_sft_fields;

/// Sums over the tokens of a batch. Start from all zeros ({0}).
typedef struct tr_sft_sums {
    size_t tokens;
    double loss; ///< divide by tokens for the mean
} tr_sft_sums_t;

/// dlogprobs: [n], written: -(1 - e) / normalizer, for dft -p / normalizer. sums: continued.
/// logprobs: [n], those of the tokens that are trained on (without the prompt's, where only
/// completions are). means: [n], the mean log-prob over the vocabulary at each token, and dmeans:
/// [n], written: -e / normalizer; both may be NULL where e is 0. normalizer: tokens that are
/// trained on in the WHOLE batch, so that chunks add up to its mean.
void tr_sft_loss(float *dlogprobs, float *dmeans, tr_sft_sums_t *sums, const float *logprobs,
                 const float *means, size_t n, size_t normalizer, const tr_sft_options_t *options);

#endif
