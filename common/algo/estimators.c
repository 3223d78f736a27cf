// The table of estimators: a function each, over groups of responses.
//
// Sums are in double and ascending, so that a result depends on nothing but its inputs. Next:
// policy_loss.c for what advantages are used for, controller/grpo_step.c for the caller.
#include "common/algo/estimators.h"

#include <math.h>

#include "common/algo/ppo.h"

const char *const tr_scale_rewards_names[] = {"group", "batch", "none", NULL};
const char *const tr_objectives_names[] = {"sum_then_normalize", "normalize_then_sum", NULL};

/// TRL's, in GRPO and RLOO.
static const double EPSILON = 1e-4;

/// The reward of a response: the sum over its tokens. Without starts each has one.
static double total(const tr_group_rewards_t *r, size_t i)
{
    double sum = 0.0;
    if (r->starts == NULL) {
        return (double)r->rewards[i];
    }
    for (int32_t t = r->starts[i]; t < r->starts[i + 1]; t++) {
        sum += (double)r->rewards[t];
    }
    return sum;
}

/// Of the responses that have a reward.
typedef struct spread {
    double count, mean;
    double deviation; // Bessel-corrected; NaN of a single one, as in TRL
} spread_t;

static spread_t spread_of(const tr_group_rewards_t *r, size_t first, size_t end)
{
    spread_t s = {0};
    double squares = 0.0;
    for (size_t i = first; i < end; i++) {
        double reward = total(r, i);
        s.count += isnan(reward) ? 0.0 : 1.0;
        s.mean += isnan(reward) ? 0.0 : reward;
    }
    s.mean /= s.count;
    for (size_t i = first; i < end; i++) {
        double off = total(r, i) - s.mean;
        squares += isnan(off) ? 0.0 : off * off;
    }
    s.deviation = sqrt(squares / (s.count - 1.0));
    return s;
}

/// The group of response i.
static spread_t group_of(const tr_group_rewards_t *r, size_t i)
{
    size_t first = i / r->samples * r->samples;
    return spread_of(r, first, first + r->samples);
}

/// Gives all tokens of response i its advantage; one that is not known teaches nothing.
static void fill(float *advantages, const tr_group_rewards_t *r, size_t i, double advantage)
{
    for (int32_t t = r->starts[i]; t < r->starts[i + 1]; t++) {
        advantages[t] = isnan(advantage) ? 0.0F : (float)advantage;
    }
}

static void grpo(float *advantages, const tr_group_rewards_t *r,
                 const tr_estimator_options_t *options)
{
    const spread_t batch = spread_of(r, 0, r->responses);
    const bool summed = options->multi_objective_aggregation == TR_NORMALIZE_THEN_SUM;
    for (size_t i = 0; i < r->responses; i++) {
        // Sums of normalized scores have mean 0 in each group already.
        const spread_t group = summed ? batch : group_of(r, i);
        double off = total(r, i) - group.mean;
        double deviation =
            options->scale_rewards == TR_SCALE_BATCH ? batch.deviation : group.deviation;
        fill(advantages, r, i,
             options->scale_rewards == TR_SCALE_NONE ? off : off / (deviation + EPSILON));
    }
}

/// Against the mean of the prompt's other responses; NaN where there is none.
static double leave_one_out(const tr_group_rewards_t *r, size_t i)
{
    const spread_t group = group_of(r, i);
    double reward = total(r, i);
    return reward - (group.count * group.mean - reward) / (group.count - 1.0);
}

static void rloo(float *advantages, const tr_group_rewards_t *r,
                 const tr_estimator_options_t *options)
{
    double count = 0.0, mean = 0.0, squares = 0.0;
    for (size_t i = 0; i < r->responses; i++) {
        double advantage = leave_one_out(r, i);
        count += isnan(advantage) ? 0.0 : 1.0;
        mean += isnan(advantage) ? 0.0 : advantage;
    }
    mean /= count;
    for (size_t i = 0; i < r->responses; i++) {
        double off = leave_one_out(r, i) - mean;
        squares += isnan(off) ? 0.0 : off * off;
    }
    double deviation = sqrt(squares / (count - 1.0));
    for (size_t i = 0; i < r->responses; i++) {
        double advantage = leave_one_out(r, i);
        fill(advantages, r, i,
             options->normalize_advantages ? (advantage - mean) / (deviation + EPSILON)
                                           : advantage);
    }
}

/// Against the mean of the group in which responses count by their lengths: the baseline of least
/// variance where a response's gradient grows with its length.
static void opo(float *advantages, const tr_group_rewards_t *r,
                const tr_estimator_options_t *options)
{
    (void)options;
    for (size_t i = 0; i < r->responses; i++) {
        size_t first = i / r->samples * r->samples;
        double tokens = 0.0, sum = 0.0;
        for (size_t k = first; k < first + r->samples; k++) {
            double reward = total(r, k), n = (double)(r->starts[k + 1] - r->starts[k]);
            tokens += isnan(reward) ? 0.0 : n;
            sum += isnan(reward) ? 0.0 : n * reward;
        }
        fill(advantages, r, i, total(r, i) - sum / tokens);
    }
}

/// Against the mean of all responses of the step: no group is needed.
static void flash_reinforce(float *advantages, const tr_group_rewards_t *r,
                            const tr_estimator_options_t *options)
{
    (void)options;
    const spread_t batch = spread_of(r, 0, r->responses);
    for (size_t i = 0; i < r->responses; i++) {
        fill(advantages, r, i, total(r, i) - batch.mean);
    }
}

/// Rewards to come, against the score of the likeliest response to the prompt.
static void remax(float *advantages, const tr_group_rewards_t *r,
                  const tr_estimator_options_t *options)
{
    (void)options;
    for (size_t i = 0; i < r->responses; i++) {
        double later = 0.0, baseline = (double)r->baselines[i / r->samples];
        for (int32_t t = r->starts[i + 1]; t-- > r->starts[i];) {
            later += (double)r->rewards[t];
            double advantage = later - baseline;
            advantages[t] = isnan(advantage) ? 0.0F : (float)advantage;
        }
    }
}

/// Whitens over the tokens of the responses that have a reward; the others' become 0.
static void whiten(float *advantages, const tr_group_rewards_t *r)
{
    size_t known = 0;
    double mean = 0.0, squares = 0.0;
    for (int32_t t = 0; t < r->starts[r->responses]; t++) {
        known += isnan(advantages[t]) ? 0 : 1;
        mean += isnan(advantages[t]) ? 0.0 : (double)advantages[t];
    }
    mean /= (double)known;
    for (int32_t t = 0; t < r->starts[r->responses]; t++) {
        double off = (double)advantages[t] - mean;
        squares += isnan(off) ? 0.0 : off * off;
    }
    // A single token has variance 0, as tr_whiten has it.
    double variance = known > 1 ? squares / (double)(known - 1) : 0.0;
    for (int32_t t = 0; t < r->starts[r->responses]; t++) {
        double off = (double)advantages[t] - mean;
        advantages[t] = isnan(off) ? 0.0F : (float)(off / sqrt(variance + 1e-8));
    }
}

/// Discounted returns, whitened over the step's tokens.
static void reinforce_plus_plus(float *advantages, const tr_group_rewards_t *r,
                                const tr_estimator_options_t *options)
{
    for (size_t i = 0; i < r->responses; i++) {
        double later = 0.0;
        for (int32_t t = r->starts[i + 1]; t-- > r->starts[i];) {
            later = (double)r->rewards[t] + options->gamma * later;
            advantages[t] = (float)later;
        }
    }
    whiten(advantages, r);
}

/// Against the mean of the group, then whitened over the step's tokens.
static void reinforce_plus_plus_baseline(float *advantages, const tr_group_rewards_t *r,
                                         const tr_estimator_options_t *options)
{
    (void)options;
    for (size_t i = 0; i < r->responses; i++) {
        double off = total(r, i) - group_of(r, i).mean;
        for (int32_t t = r->starts[i]; t < r->starts[i + 1]; t++) {
            advantages[t] = (float)off; // a NaN stays one: whiten leaves it out
        }
    }
    whiten(advantages, r);
}

void tr_group_normalize(float *scores, size_t responses, size_t samples)
{
    for (size_t first = 0; first < responses; first += samples) {
        const tr_group_rewards_t r = {.rewards = scores};
        const spread_t group = spread_of(&r, first, first + samples);
        for (size_t i = first; i < first + samples; i++) {
            double off = (double)scores[i] - group.mean; // 0 of a single score
            scores[i] = (float)(group.count == 1.0 ? off : off / (group.deviation + EPSILON));
        }
    }
}

double tr_zero_spread(const tr_group_rewards_t *r, const tr_estimator_options_t *options)
{
    const bool whole = options->scale_rewards == TR_SCALE_BATCH ||
                       options->multi_objective_aggregation == TR_NORMALIZE_THEN_SUM;
    const size_t size = whole ? r->responses : r->samples;
    double zero = 0.0;
    for (size_t first = 0; first < r->responses; first += size) {
        // As torch.isclose; of a single response nothing is known.
        zero += spread_of(r, first, first + size).deviation <= 1e-8 ? 1.0 : 0.0;
    }
    return zero * (double)size / (double)r->responses;
}

// The table. Where the KL penalty, the loss and the ratio are by default: TRL's, of REINFORCE++ and
// OPO verl's.

const tr_estimator_t tr_estimator_grpo = {
    grpo, {0.0, TR_KL_IN_LOSS, TR_LOSS_DAPO, TR_RATIO_TOKEN}, false};
const tr_estimator_t tr_estimator_rloo = {
    rloo, {0.05, TR_KL_IN_REWARD, TR_LOSS_GRPO, TR_RATIO_SEQUENCE_SUM}, false};
const tr_estimator_t tr_estimator_reinforce_plus_plus = {
    reinforce_plus_plus, {0.0, TR_KL_IN_REWARD, TR_LOSS_DAPO, TR_RATIO_TOKEN}, false};
const tr_estimator_t tr_estimator_reinforce_plus_plus_baseline = {
    reinforce_plus_plus_baseline, {0.0, TR_KL_IN_LOSS, TR_LOSS_DAPO, TR_RATIO_TOKEN}, false};
const tr_estimator_t tr_estimator_opo = {
    opo, {0.0, TR_KL_IN_LOSS, TR_LOSS_DAPO, TR_RATIO_TOKEN}, false};
const tr_estimator_t tr_estimator_flash_reinforce = {
    flash_reinforce, {0.0, TR_KL_IN_LOSS, TR_LOSS_DAPO, TR_RATIO_TOKEN}, false};
const tr_estimator_t tr_estimator_remax = {
    remax, {0.0, TR_KL_IN_REWARD, TR_LOSS_DAPO, TR_RATIO_TOKEN}, true};
