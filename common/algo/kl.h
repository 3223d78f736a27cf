/// Estimates of the KL divergence between policy and reference, token by token (Schulman 2020,
/// "Approximating KL divergence", joschu.net/blog/kl-approx.html). Pure; called by the controller.
#ifndef TR_ALGO_KL_H
#define TR_ALGO_KL_H

#include <stddef.h>

#include "common/algo/options.h"

/// kl: [n], written. policy, reference: [n] log-probs of the same tokens, drawn from the policy and
/// taken from the same kind of distribution (same temperature, same kept set): only then is the
/// expectation not negative. With d = reference - policy: k1 is -d, k3 is exp(d) - 1 - d. A NaN
/// stays a NaN.
void tr_kl(float *kl, const float *policy, const float *reference, size_t n,
           tr_kl_estimator_t estimator);

#endif
