// KTO: the options, the KL estimate, the loss of single completions, and TRL's advice on the two
// weights.
//
// The mismatched completions for the KL estimate are made where batches are (controller/batch.c);
// actor/kto.c has the log-probs.
#include "common/algo/kto.h"

#include "common/algo/logistic.h"

static const char *const loss_types[] = {"kto", "apo_zero_unpaired", NULL}; // tr_kto_loss_type_t

#define FIELD(...) TR_FIELD(tr_kto_options_t, __VA_ARGS__)

static const tr_field_t fields[] = {
    FIELD(loss_type, TR_FIELD_CHOICE, "kto", .choices = loss_types,
          .help = "`apo_zero_unpaired` needs no KL estimate."),
    FIELD(beta, TR_FIELD_REAL, "0.1", .range = &tr_range_positive,
          .help = "How strongly the policy is held to the reference."),
    FIELD(desirable_weight, TR_FIELD_REAL, "1.0", .range = &tr_range_not_negative,
          .help = "Weight of the losses of completions labelled true."),
    FIELD(undesirable_weight, TR_FIELD_REAL, "1.0", .range = &tr_range_not_negative,
          .help = "Weight of the losses of completions labelled false."),
};

const tr_fields_t tr_kto_fields = TR_FIELDS(tr_kto_options_t, fields);

double tr_kto_kl(const double *policy, const double *reference, size_t n)
{
    double sum = 0.0;
    TR_ASSERT(n > 0, "a mean over nothing");
    for (size_t i = 0; i < n; i++) {
        sum += policy[i] - reference[i];
    }
    // A divergence is never negative, but its estimate from a few rows can be.
    return sum < 0.0 ? 0.0 : sum / (double)n; // a NaN stays a NaN
}

double tr_kto_loss(tr_kto_sums_t *sums, double logp, double reference, bool desirable, double kl,
                   size_t normalizer, const tr_kto_options_t *options)
{
    double b = options->beta;
    // The reference point divides gains from losses; apo_zero_unpaired puts it at 0.
    double point = options->loss_type == TR_KTO_KTO ? kl : 0.0;
    TR_ASSERT(normalizer > 0, "a mean over no completions");
    // One formula for both classes: an undesirable completion has the other sign.
    double sign = desirable ? 1.0 : -1.0;
    double weight = desirable ? options->desirable_weight : options->undesirable_weight;
    double u = logp - reference;
    double s = sigmoid(sign * b * (u - point));
    sums->loss += weight * (1.0 - s);
    *(desirable ? &sums->chosen : &sums->rejected) += 1;
    *(desirable ? &sums->chosen_rewards : &sums->rejected_rewards) += b * u;
    *(desirable ? &sums->chosen_logps : &sums->rejected_logps) += logp;
    // s' = s (1 - s); the reference point is a constant.
    return -weight * sign * b * s * (1.0 - s) / (double)normalizer;
}

/// Rounds to hundredths; x >= 0.
static double hundredths(double x)
{
    // By a cast, which no rounding mode changes; past its range a number is left as it is.
    double scaled = x * 100.0 + 0.5;
    return scaled < 1e15 ? (double)(long long)scaled / 100.0 : x;
}

static bool within(double x, double low, double high)
{
    return low <= x && x <= high;
}

void tr_kto_advise(tr_kto_advice_t *advice, size_t desirable, size_t undesirable,
                   const tr_kto_options_t *options)
{
    // A class without rows counts as one row, as in TRL.
    double good = desirable > 0 ? (double)desirable : 1.0;
    double bad = undesirable > 0 ? (double)undesirable : 1.0;
    // The ratio of the weighted classes should lie in [1, 1.33] (4/3 in the paper).
    double wanted = bad * options->undesirable_weight / good;
    double unwanted = good * options->desirable_weight / bad;
    advice->desirable_low = hundredths(wanted);
    advice->desirable_high = hundredths(wanted * 1.33);
    advice->undesirable_low = hundredths(unwanted / 1.33);
    advice->undesirable_high = hundredths(unwanted);
    advice->balanced =
        desirable == undesirable ||
        within(options->desirable_weight, advice->desirable_low, advice->desirable_high) ||
        within(options->undesirable_weight, advice->undesirable_low, advice->undesirable_high);
}
