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

void tr_sft_options_init(tr_sft_options_t *options)
{
    *options = (tr_sft_options_t){.loss_type = TR_SFT_NLL};
}

/// The vocabulary's part of the loss.
static void smooth(float *dmeans, tr_sft_sums_t *sums, const float *means, size_t n,
                   size_t normalizer, double factor)
{
    for (size_t t = 0; t < n; t++) {
        dmeans[t] = (float)(-factor / (double)normalizer);
        sums->loss -= factor * (double)means[t];
    }
}

void tr_sft_loss(float *dlogprobs, float *dmeans, tr_sft_sums_t *sums, const float *logprobs,
                 const float *means, size_t n, size_t normalizer, const tr_sft_options_t *options)
{
    const double factor = options->label_smoothing_factor;
    const bool dft = options->loss_type == TR_SFT_DFT;
    TR_ASSERT(normalizer > 0, "a mean over no tokens");
    TR_ASSERT(factor == 0.0 || !dft, "dft does not smooth labels");
    for (size_t t = 0; t < n; t++) {
        double weight = dft ? exponential((double)logprobs[t]) : 1.0 - factor;
        dlogprobs[t] = (float)(-weight / (double)normalizer);
        sums->loss -= weight * (double)logprobs[t];
    }
    if (factor > 0.0) {
        smooth(dmeans, sums, means, n, normalizer, factor);
    }
    sums->tokens += n;
}
