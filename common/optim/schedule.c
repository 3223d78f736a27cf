// Learning rates over the steps of a run, apart from the optimizer because they are pure: the
// controller computes a step's rate and sends it.
#include "common/optim/options.h"

#include "common/base/real.h"

static const double PI = 3.14159265358979323846;

double tr_schedule_rate(const tr_optimizer_options_t *options, double peak, uint64_t steps,
                        uint64_t step)
{
    // The formulas are transformers' (optimization.py).
    if (step < options->warmup) {
        return peak * ((double)step / (double)options->warmup);
    }
    if (options->schedule == TR_SCHEDULE_CONSTANT) {
        return peak;
    }
    // Also where warm-up is longer than the run: span below would not be positive.
    if (step >= steps) {
        return 0.0;
    }
    double span = (double)(steps - options->warmup);
    if (options->schedule == TR_SCHEDULE_LINEAR) {
        return peak * ((double)(steps - step) / span);
    }
    double sine;
    double cosine;
    // Half a cosine; tr_real_sincos gives the same bits on every machine, libm does not.
    tr_real_sincos(&sine, &cosine, PI * ((double)(step - options->warmup) / span));
    return peak * (0.5 * (1.0 + cosine));
}
