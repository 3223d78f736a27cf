#include "common/algo/sft.h"

#include <string.h>

#include "common/algo/exponential.h"
#include "common/base/status.h"

static const char *const NAMES[TR_SFT_LOSS_COUNT] = {"nll", "dft"};

const char *tr_sft_loss_name(tr_sft_loss_type_t type)
{
    return type < TR_SFT_LOSS_COUNT ? NAMES[type] : "unknown";
}

bool tr_sft_loss_from_name(tr_sft_loss_type_t *type, const char *name)
{
    for (size_t i = 0; i < TR_SFT_LOSS_COUNT; i++) {
        if (strcmp(NAMES[i], name) == 0) {
            *type = (tr_sft_loss_type_t)i;
            return true;
        }
    }
    return false;
}

void tr_sft_loss(float *dlogprobs, tr_sft_sums_t *sums, const float *logprobs, size_t n,
                 size_t normalizer, tr_sft_loss_type_t type)
{
    TR_ASSERT(normalizer > 0, "a mean over no tokens");
    for (size_t t = 0; t < n; t++) {
        double weight = type == TR_SFT_DFT ? exponential((double)logprobs[t]) : 1.0;
        dlogprobs[t] = (float)(-weight / (double)normalizer);
        sums->loss -= weight * (double)logprobs[t];
    }
    sums->tokens += n;
}
