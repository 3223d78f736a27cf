#include "common/algo/sft.h"

#include "common/base/status.h"

void tr_sft_loss(float *dlogprobs, tr_sft_sums_t *sums, const float *logprobs, size_t n,
                 size_t normalizer)
{
    TR_ASSERT(normalizer > 0, "a mean over no tokens");
    float gradient = (float)(-1.0 / (double)normalizer);
    for (size_t t = 0; t < n; t++) {
        dlogprobs[t] = gradient;
        sums->loss -= (double)logprobs[t];
    }
    sums->tokens += n;
}
