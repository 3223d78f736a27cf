/// Next-token training: the mean negative log-likelihood. Pure.
#ifndef TR_ALGO_SFT_H
#define TR_ALGO_SFT_H

#include <stddef.h>

/// Sums over the tokens of a batch. Start from all zeros ({0}).
typedef struct tr_sft_sums {
    size_t tokens;
    double loss; ///< negative log-likelihood; divide by tokens for the mean
} tr_sft_sums_t;

/// dlogprobs: [n], written: -1 / normalizer. sums: continued. logprobs: [n] of the tokens that are
/// learnt (none of the prompt's, if only completions are). normalizer: such tokens in the WHOLE
/// batch, so that chunks add up to its mean.
void tr_sft_loss(float *dlogprobs, tr_sft_sums_t *sums, const float *logprobs, size_t n,
                 size_t normalizer);

#endif
