#include "common/algo/bradley_terry.h"

#include <stdbool.h>

#include "common/algo/logistic.h"
#include "common/base/status.h"

static void note(tr_bradley_terry_sums_t *sums, double score, bool first)
{
    sums->scores += score;
    sums->squares += score * score;
    sums->least = first || score < sums->least ? score : sums->least;
    sums->most = first || score > sums->most ? score : sums->most;
}

void tr_bradley_terry_loss(float *dchosen, float *drejected, tr_bradley_terry_sums_t *sums,
                           const float *chosen, const float *rejected, const float *margins,
                           size_t n, size_t normalizer, double center)
{
    TR_ASSERT(normalizer > 0, "a mean over no pairs");
    for (size_t i = 0; i < n; i++) {
        double w = (double)chosen[i], l = (double)rejected[i];
        double z = w - l - (margins != NULL ? (double)margins[i] : 0.0);
        double slope = -sigmoid(-z), pull = 2.0 * center * (w + l);
        sums->loss += -log_sigmoid(z) + center * (w + l) * (w + l);
        sums->accuracies += w > l;
        sums->margins += w - l;
        note(sums, w, sums->pairs == 0);
        note(sums, l, false);
        sums->pairs++;
        dchosen[i] = (float)((pull + slope) / (double)normalizer);
        drejected[i] = (float)((pull - slope) / (double)normalizer);
    }
}
