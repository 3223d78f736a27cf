// Learning rates over the steps of a run, apart from the optimizer because they are pure: the
// controller computes a step's rate and sends it.
#include "common/optim/schedule.h"

#include "common/base/real.h"

static const double PI = 3.14159265358979323846;

double tr_schedule_rate(const tr_schedule_t *schedule, uint64_t step)
{
    // The formulas are transformers' (optimization.py).
    if (step < schedule->warmup_steps) {
        return schedule->learning_rate * ((double)step / (double)schedule->warmup_steps);
    }
    if (schedule->kind == TR_SCHEDULE_CONSTANT) {
        return schedule->learning_rate;
    }
    if (step >= schedule->total_steps) {
        return 0.0;
    }
    double span = (double)(schedule->total_steps - schedule->warmup_steps);
    if (schedule->kind == TR_SCHEDULE_LINEAR) {
        return schedule->learning_rate * ((double)(schedule->total_steps - step) / span);
    }
    double sine;
    double cosine;
    // Half a cosine; tr_real_sincos gives the same bits on every machine, libm does not.
    tr_real_sincos(&sine, &cosine, PI * ((double)(step - schedule->warmup_steps) / span));
    return schedule->learning_rate * (0.5 * (1.0 + cosine));
}
