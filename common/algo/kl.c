#include "common/algo/kl.h"

#include "common/algo/exponential.h"

void tr_kl(float *kl, const float *policy, const float *reference, size_t n,
           tr_kl_estimator_t estimator)
{
    for (size_t t = 0; t < n; t++) {
        double d = (double)reference[t] - (double)policy[t];
        if (estimator == TR_KL_K1) {
            kl[t] = (float)(0.0 - d); // not -d: equal log-probs give 0, not -0
            continue;
        }
        double k3 = exponential(d) - 1.0 - d;
        kl[t] = k3 < 0.0 ? 0.0f : (float)k3; // rounding alone can take it below 0
    }
}
