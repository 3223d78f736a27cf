// Supervised fine-tuning: the options, and the loss over the tokens that are trained on.
//
// Which tokens these are (completions alone, assistants' turns alone) is decided where rows become
// tokens (common/data); noise on the embeddings belongs to the forward pass
// (common/model/response.c).
#include "common/algo/sft.h"

#include "common/algo/logistic.h"

static const char *const loss_types[] = {"nll", "dft", NULL}; // tr_sft_loss_type_t

#define FIELD(...) TR_FIELD(tr_sft_options_t, __VA_ARGS__)

static const tr_field_t fields[] = {
    FIELD(loss_type, TR_FIELD_CHOICE, "nll", .choices = loss_types,
          .help = "`nll`: negative log-likelihood; `dft`: each token's weighted by its probability "
                  "(Wu et al. 2025)."),
    FIELD(label_smoothing_factor, TR_FIELD_REAL, "0.0", .range = &tr_range_below_1,
          .when = "loss_type", .is = "nll",
          .help =
              "How much of the loss of `nll` is its mean over the vocabulary, whatever the token."),
    FIELD(neftune_noise_alpha, TR_FIELD_REAL, "null", .nullable = true, .range = &tr_range_positive,
          .help = "Noise on the embeddings while training, uniform and of this size over the root "
                  "of a row's numbers (Jain et "
                  "al. 2023); null: none."),
};

const tr_fields_t tr_sft_fields = TR_FIELDS(tr_sft_options_t, fields);

/// Label smoothing: e times the mean of -log p over the vocabulary, and its gradient.
static void smooth(float *dmeans, tr_sft_sums_t *sums, const float *means, size_t n,
                   size_t normalizer, double factor)
{
    for (size_t t = 0; t < n; t++) {
        // The loss is linear in the mean, so the gradient is the same for every token.
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
        // dft weighs a token by its probability, which is a constant to the gradient.
        double weight = dft ? exponential((double)logprobs[t]) : 1.0 - factor;
        dlogprobs[t] = (float)(-weight / (double)normalizer);
        sums->loss -= weight * (double)logprobs[t];
    }
    // Without smoothing the forward pass computes no means, and both arrays may be NULL.
    if (factor > 0.0) {
        smooth(dmeans, sums, means, n, normalizer, factor);
    }
    sums->tokens += n;
}
