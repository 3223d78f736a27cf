#include "common/algo/kto.h"

#include <string.h>

#include "common/algo/logistic.h"
#include "common/base/status.h"

static const char *const NAMES[TR_KTO_LOSS_COUNT] = {"kto", "apo_zero_unpaired"};

void tr_kto_options_init(tr_kto_options_t *options)
{
    *options = (tr_kto_options_t){
        .loss_type = TR_KTO_KTO,
        .beta = 0.1,
        .desirable_weight = 1.0,
        .undesirable_weight = 1.0,
    };
}

const char *tr_kto_loss_name(tr_kto_loss_type_t type)
{
    return type < TR_KTO_LOSS_COUNT ? NAMES[type] : "unknown";
}

bool tr_kto_loss_from_name(tr_kto_loss_type_t *type, const char *name)
{
    for (size_t i = 0; i < TR_KTO_LOSS_COUNT; i++) {
        if (strcmp(NAMES[i], name) == 0) {
            *type = (tr_kto_loss_type_t)i;
            return true;
        }
    }
    return false;
}

double tr_kto_kl(const double *policy, const double *reference, size_t n)
{
    double sum = 0.0;
    TR_ASSERT(n > 0, "a mean over nothing");
    for (size_t i = 0; i < n; i++) {
        sum += policy[i] - reference[i];
    }
    return sum < 0.0 ? 0.0 : sum / (double)n; // a NaN stays a NaN
}

void tr_kto_loss(double *dlogps, tr_kto_sums_t *sums, const double *logps, const double *reference,
                 const bool *desirable, size_t n, double kl, size_t normalizer,
                 const tr_kto_options_t *options)
{
    double b = options->beta;
    double point = options->loss_type == TR_KTO_KTO ? kl : 0.0;
    TR_ASSERT(normalizer > 0, "a mean over no completions");
    for (size_t i = 0; i < n; i++) {
        double sign = desirable[i] ? 1.0 : -1.0;
        double weight = desirable[i] ? options->desirable_weight : options->undesirable_weight;
        double u = logps[i] - reference[i];
        double s = sigmoid(sign * b * (u - point));
        sums->loss += weight * (1.0 - s);
        dlogps[i] = -weight * sign * b * s * (1.0 - s) / (double)normalizer;
        *(desirable[i] ? &sums->chosen : &sums->rejected) += 1;
        *(desirable[i] ? &sums->chosen_rewards : &sums->rejected_rewards) += b * u;
        *(desirable[i] ? &sums->chosen_logps : &sums->rejected_logps) += logps[i];
    }
}

/// To hundredths, the nearest; x >= 0.
static double hundredths(double x)
{
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
    double good = desirable > 0 ? (double)desirable : 1.0;
    double bad = undesirable > 0 ? (double)undesirable : 1.0;
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
