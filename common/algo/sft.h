/// Next-token training: the mean negative log-likelihood, or dynamic fine-tuning. Pure.
#ifndef TR_ALGO_SFT_H
#define TR_ALGO_SFT_H

#include <stdbool.h>
#include <stddef.h>

typedef enum tr_sft_loss_type {
    TR_SFT_NLL, ///< -log p
    TR_SFT_DFT, ///< -p log p, where the factor p is a constant to the gradient (Wu et al. 2025)
    TR_SFT_LOSS_COUNT
} tr_sft_loss_type_t;

/// "nll", "dft".
const char *tr_sft_loss_name(tr_sft_loss_type_t type);
/// False, and type untouched, for another word.
bool tr_sft_loss_from_name(tr_sft_loss_type_t *type, const char *name);

/// Sums over the tokens of a batch. Start from all zeros ({0}).
typedef struct tr_sft_sums {
    size_t tokens;
    double loss; ///< divide by tokens for the mean
} tr_sft_sums_t;

typedef struct tr_sft_options {
    tr_sft_loss_type_t loss_type; ///< nll
    /// Of the loss, how much is the mean of -log p over the vocabulary (Szegedy et al. 2016; transformers' LabelSmoother):
    /// (1 - e) (-log p) + e mean(-log p). 0, and for dft always; below 1.
    double label_smoothing_factor;
} tr_sft_options_t;

void tr_sft_options_init(tr_sft_options_t *options);

/// dlogprobs: [n], written: -(1 - e) / normalizer, for dft -p / normalizer. sums: continued. logprobs: [n] of the
/// tokens that are learnt (none of the prompt's, if only completions are). means: [n], of the log-probs of the whole vocabulary, and
/// dmeans: [n], written: -e / normalizer; both may be NULL where e is 0. normalizer: such tokens in
/// the WHOLE batch, so that chunks add up to its mean.
void tr_sft_loss(float *dlogprobs, float *dmeans, tr_sft_sums_t *sums, const float *logprobs,
                 const float *means, size_t n, size_t normalizer, const tr_sft_options_t *options);

#endif
