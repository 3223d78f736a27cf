// PPO in one file: options, KL, rewards, whitening, advantages, and the losses of actor and critic.
//
// Read it in the order of a step: tr_ppo_advantages is what the controller computes between the
// answers of judges, critic and reference and the first update; the losses are what actor and
// critic then minimise. Sums are in double and ascending, so that a result depends on nothing but
// its inputs. docs/algorithms.md says where this departs from TRL.
#include "common/algo/ppo.h"

#include <math.h>

#include "common/algo/logistic.h"
#include "common/algo/policy_loss.h"
#include "common/algo/statistics.h"

// Options

static const char *const kl_estimators[] = {"k1", "k3", NULL}; // tr_kl_estimator_t

#define FIELD(...) TR_FIELD(tr_ppo_options_t, __VA_ARGS__)

static const tr_field_t fields[] = {
    FIELD(num_ppo_epochs, TR_FIELD_WHOLE, "4", .range = &tr_range_to_thousand,
          .help = "Passes over the experience of a step."),
    FIELD(num_mini_batches, TR_FIELD_WHOLE, "1", .range = &tr_range_positive_whole,
          .help = "Updates a pass; divides `data.batch` × `generation.samples`."),
    FIELD(kl_coef, TR_FIELD_REAL, "0.05", .range = &tr_range_not_negative,
          .help = "Weight of the KL penalty in the rewards."),
    FIELD(kl_estimator, TR_FIELD_CHOICE, "k1", .choices = kl_estimators,
          .help = "How the KL divergence is estimated."),
    FIELD(cliprange, TR_FIELD_REAL, "0.2", .range = &tr_range_positive,
          .help = "The policy's ratio is clipped to 1 ± this."),
    FIELD(vf_coef, TR_FIELD_REAL, "0.1", .range = &tr_range_not_negative,
          .help = "Weight of the value loss."),
    FIELD(cliprange_value, TR_FIELD_REAL, "0.2", .range = &tr_range_positive,
          .help = "A value moves at most this far from the old one."),
    FIELD(gamma, TR_FIELD_REAL, "1.0", .range = &tr_range_fraction,
          .help = "Discount of later rewards."),
    FIELD(lam, TR_FIELD_REAL, "0.95", .range = &tr_range_fraction,
          .help = "λ of the advantage estimate."),
    FIELD(
        target_kl, TR_FIELD_REAL, "null", .nullable = true, .range = &tr_range_positive,
        .help =
            "The actor takes no more epochs of a step after one in which `policy/approxkl_avg` is "
            "above this; the critic takes all. null: never."),
    FIELD(whiten_rewards, TR_FIELD_BOOL, "false",
          .help = "Whether rewards are scaled to variance 1."),
    FIELD(missing_eos_penalty, TR_FIELD_REAL, "null", .nullable = true, .range = &tr_range_any,
          .help = "Taken from the score of a response that nothing ended: neither an "
                  "end-of-sequence token nor "
                  "generation.stop_ids or generation.stop."),
};

const tr_fields_t tr_ppo_fields = TR_FIELDS(tr_ppo_options_t, fields);

// From scores to advantages

void tr_kl(float *kl, const float *policy, const float *reference, size_t n,
           tr_kl_estimator_t estimator)
{
    for (size_t t = 0; t < n; t++) {
        // d is the log ratio of reference to policy: k1 is -d, k3 is e^d - 1 - d.
        double d = (double)reference[t] - (double)policy[t];
        if (estimator == TR_KL_K1) {
            kl[t] = (float)(0.0 - d); // not -d: equal log-probs give 0, not -0
            continue;
        }
        // Schulman's third estimator.
        double k3 = exponential(d) - 1.0 - d;
        kl[t] = k3 < 0.0 ? 0.0f : (float)k3; // rounding alone can take it below 0
    }
}

size_t tr_count_tokens(const int32_t *tokens, size_t n, const int32_t *ids, size_t count)
{
    size_t found = 0;
    for (size_t t = 0; t < n; t++) {
        // Models have a handful of end-of-sequence ids: the list is searched, not indexed.
        size_t i = 0;
        while (i < count && ids[i] != tokens[t]) {
            i++;
        }
        found += i < count;
    }
    return found;
}

bool tr_missing_eos_penalty(float *score, const int32_t *tokens, size_t n, const int32_t *eos,
                            size_t eos_count, double penalty)
{
    if (tr_count_tokens(tokens, n, eos, eos_count) > 0) {
        return false;
    }
    *score = (float)((double)*score - penalty);
    return true;
}

void tr_rewards(float *rewards, const float *kl, const float *scores, const int32_t *starts,
                size_t responses, double kl_coef)
{
    for (size_t i = 0; i < responses; i++) {
        TR_ASSERT(starts[i] < starts[i + 1], "response %zu has no tokens", i);
        size_t last = (size_t)starts[i + 1] - 1; // the score goes to the last token, whatever it is
        for (size_t t = (size_t)starts[i]; t < last; t++) {
            rewards[t] = (float)(-kl_coef * (double)kl[t]);
        }
        // Ziegler et al., equation 2: the score once, the KL penalty at every token.
        rewards[last] = (float)(-kl_coef * (double)kl[last] + (double)scores[i]);
    }
}

void tr_whiten(float *values, size_t n, bool shift_mean)
{
    // Over all tokens of the batch at once, as TRL's masked_whiten: a long response counts more.
    const tr_statistics_t batch = tr_statistics(values, n);
    // 1e-8 inside the root, as in TRL.
    // A batch whose values are all equal becomes zeros, not NaNs.
    double scale = 1.0 / sqrt(batch.variance + 1e-8);
    double shift = shift_mean ? 0.0 : batch.mean;
    for (size_t t = 0; t < n; t++) {
        values[t] = (float)(((double)values[t] - batch.mean) * scale + shift);
    }
}

void tr_gae(float *advantages, float *returns, const float *rewards, const float *values, size_t n,
            double gamma, double lambda)
{
    double advantage = 0.0;
    double next_value = 0.0;       // past the end: an episode that is over is worth nothing more
    for (size_t t = n; t-- > 0;) { // from the end, since A[t] needs A[t + 1]
        double value = (double)values[t];
        // delta[t] and A[t] of equation 16, in double throughout.
        double delta = (double)rewards[t] + gamma * next_value - value;
        advantage = delta + gamma * lambda * advantage;
        advantages[t] = (float)advantage;
        returns[t] = (float)(advantage + value);
        next_value = value;
    }
}

void tr_gae_ragged(float *advantages, float *returns, const float *rewards, const float *values,
                   const int32_t *starts, size_t responses, double gamma, double lambda)
{
    for (size_t i = 0; i < responses; i++) {
        // Each response is an episode of its own: nothing is carried over to the next.
        size_t first = (size_t)starts[i], n = (size_t)starts[i + 1] - first;
        tr_gae(advantages + first, returns + first, rewards + first, values + first, n, gamma,
               lambda);
    }
}

void tr_ppo_advantages(float *kl, float *rewards, float *advantages, float *returns,
                       const float *logprobs, const float *reference, const float *values,
                       const float *scores, const int32_t *starts, size_t responses,
                       const tr_ppo_options_t *options)
{
    size_t tokens = (size_t)starts[responses];
    // Before the penalty: the metric objective/kl is of the KL without its weight.
    tr_kl(kl, logprobs, reference, tokens, (tr_kl_estimator_t)options->kl_estimator);
    tr_rewards(rewards, kl, scores, starts, responses, options->kl_coef);
    // Without shifting the mean, so that rewards keep their sign.
    if (options->whiten_rewards) {
        tr_whiten(rewards, tokens, false);
    }
    // Returns are of the advantages as they are; whitening comes after, as in TRL.
    tr_gae_ragged(advantages, returns, rewards, values, starts, responses, options->gamma,
                  options->lam);
    tr_whiten(advantages, tokens, true);
}

/// The sum in double, ascending.
static double sum(const float *values, size_t n)
{
    double total = 0.0;
    for (size_t t = 0; t < n; t++) {
        // f32 sums would lose tokens of large batches.
        total += (double)values[t];
    }
    return total;
}

/// k1 of a response.
static double log_ratio(const float *logprobs, const float *reference, int32_t first, int32_t end)
{
    double total = 0.0;
    for (int32_t t = first; t < end; t++) {
        total += (double)logprobs[t] - (double)reference[t];
    }
    return total;
}

tr_kl_estimate_t tr_kl_estimate(const float *logprobs, const float *reference,
                                const int32_t *starts, size_t responses)
{
    const double n = (double)responses;
    tr_kl_estimate_t kl = {0};
    for (size_t i = 0; i < responses; i++) {
        kl.mean += log_ratio(logprobs, reference, starts[i], starts[i + 1]) / n;
    }
    double squares = 0.0;
    for (size_t i = 0; i < responses; i++) {
        double off = log_ratio(logprobs, reference, starts[i], starts[i + 1]) - kl.mean;
        squares += off * off;
    }
    kl.error = responses > 1 ? sqrt(squares / (n - 1.0) / n) : 0.0;
    return kl;
}

void tr_objective(tr_objective_t *objective, const float *kl, const float *logprobs,
                  const float *scores, const int32_t *starts, size_t responses, double kl_coef)
{
    TR_ASSERT(responses > 0, "no responses");
    double count = (double)responses;
    size_t tokens = (size_t)starts[responses];
    // A response's KL is the sum over its tokens, so the divisor is the number of responses.
    objective->kl = sum(kl, tokens) / count;
    // The sampled tokens' own log-probs estimate the entropy.
    objective->entropy = -sum(logprobs, tokens) / count;
    objective->non_score_reward = -kl_coef * objective->kl;
    objective->scores = sum(scores, responses) / count;
    objective->rlhf_reward = objective->non_score_reward + objective->scores;
}

// The losses

/// A NaN passes through: it is neither below nor above.
static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

void tr_ppo_policy_loss(float *dlogprobs, tr_ppo_policy_sums_t *sums, const float *logprobs,
                        const float *old_logprobs, const float *advantages, size_t n,
                        size_t normalizer, const tr_ppo_options_t *options)
{
    TR_ASSERT(normalizer > 0, "a mean over no tokens");
    for (size_t t = 0; t < n; t++) {
        double difference = (double)logprobs[t] - (double)old_logprobs[t];
        const tr_surrogate_t a =
            tr_clipped_surrogate(difference, (double)advantages[t], 1.0 - options->cliprange,
                                 1.0 + options->cliprange, HUGE_VAL);
        dlogprobs[t] = (float)(a.by_ratio / (double)normalizer);
        sums->loss += a.loss;
        sums->clipped += a.clipped;
        // Schulman's second estimator (k2); never negative, and what target_kl is compared with.
        sums->approxkl += 0.5 * difference * difference;
        sums->ratio += exponential(difference);
    }
    sums->tokens += n;
}

void tr_ppo_value_loss(float *dvalues, tr_ppo_value_sums_t *sums, const float *values,
                       const float *old_values, const float *returns, size_t n, size_t normalizer,
                       const tr_ppo_options_t *options)
{
    TR_ASSERT(normalizer > 0, "a mean over no tokens");
    // vf_coef is in the gradient alone: TRL reports the loss without it.
    double range = options->cliprange_value;
    for (size_t t = 0; t < n; t++) {
        double old = (double)old_values[t];
        double target = (double)returns[t];
        double error = (double)values[t] - target;
        // The value is held near the old one, as the ratio is.
        double held_error = clamp((double)values[t], old - range, old + range) - target;
        bool clipped = held_error * held_error > error * error; // as in the policy's loss
        double worst = clipped ? held_error : error;
        dvalues[t] = clipped ? 0.0f : (float)(options->vf_coef * error / (double)normalizer);
        sums->loss += 0.5 * worst * worst;
        sums->clipped += clipped;
    }
    sums->tokens += n;
}
