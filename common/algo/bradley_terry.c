// Reward models from pairs: the options, and the loss of a batch of pairs.
//
// A score is the output of a scalar head at the last token of a side; actor/reward.c has the
// scores, this file only the arithmetic. logistic.h has the functions that do not overflow.
#include "common/algo/bradley_terry.h"

#include "common/algo/logistic.h"

// The margin is no option: it comes with the rows.
static const tr_field_t fields[] = {
    TR_FIELD(
        tr_reward_options_t, center_rewards_coefficient, TR_FIELD_REAL, "null", .nullable = true,
        .range = &tr_range_not_negative,
        .help = "Weight of the squared sum of a pair's scores, which pulls scores to a mean of 0."),
};

const tr_fields_t tr_reward_fields = TR_FIELDS(tr_reward_options_t, fields);

/// Adds a score to the sums. first: it is the first one, so it is the least and the most.
static void note(tr_bradley_terry_sums_t *sums, double score, bool first)
{
    sums->scores += score;
    sums->squares += score * score;
    sums->least = first || score < sums->least ? score : sums->least;
    sums->most = first || score > sums->most ? score : sums->most;
}

void tr_bradley_terry_loss(float *dchosen, float *drejected, tr_bradley_terry_sums_t *sums,
                           float chosen, float rejected, float margin, size_t normalizer,
                           const tr_reward_options_t *options)
{
    TR_ASSERT(normalizer > 0, "a mean over no pairs");
    const double center = options->center_rewards_coefficient;
    double w = (double)chosen, l = (double)rejected;
    double z = w - l - (double)margin;
    // d(-log s(z)) / dz; the centring term pulls both scores to the same side.
    double slope = -sigmoid(-z), pull = 2.0 * center * (w + l);
    sums->loss += -log_sigmoid(z) + center * (w + l) * (w + l);
    // TRL counts and reports the scores as they are: the margin is of the loss alone.
    sums->accuracies += w > l;
    sums->margins += w - l;
    note(sums, w, sums->pairs == 0);
    note(sums, l, false);
    sums->pairs++;
    *dchosen = (float)((pull + slope) / (double)normalizer);
    *drejected = (float)((pull - slope) / (double)normalizer);
}
