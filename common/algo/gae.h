/// Advantages. Pure; called by the controller.
#ifndef TR_ALGO_GAE_H
#define TR_ALGO_GAE_H

#include <stddef.h>

/// Generalised advantage estimation over one response (Schulman et al. 2016, eq. 16), summed in
/// double from the end: delta[t] = rewards[t] + gamma * values[t + 1] - values[t]; A[t] = delta[t]
/// + gamma * lambda * A[t + 1]. advantages, returns (A + values): [n], written. rewards, values:
/// [n], one a token, values[t] read before token t is emitted; the value past the end is 0. n >= 1.
/// advantages may be rewards; returns may be values.
void tr_gae(float *advantages, float *returns, const float *rewards, const float *values, size_t n,
            double gamma, double lambda);

/// The same for each of the ragged responses (reward.h); all arrays: [starts[responses]].
void tr_gae_ragged(float *advantages, float *returns, const float *rewards, const float *values,
                   const size_t *starts, size_t responses, double gamma, double lambda);

#endif
