// The table of policy losses, and the one loop that all of them share.
//
// A row's surrogate sees one log ratio and one advantage. The loop gives it the ratio of the level
// that is asked for, adds the KL penalty, weighs the token by the aggregation, and brings the
// gradient back to the log-probs. PPO's own loss is in ppo.c, with the surrogate of here.
#include "common/algo/policy_loss.h"

#include <float.h>
#include <math.h>

#include "common/algo/logistic.h"

// Options

static const char *const loss_types[] = {"null", "grpo",  "bnpo", "dr_grpo", "dapo", "luspo",
                                         "sapo", "vespo", "gmpo", "cispo",   NULL};
static const char *const aggregations[] = {"null",
                                           "batch-token-mean",
                                           "token-mean",
                                           "seq-mean-token-mean",
                                           "seq-mean-token-sum",
                                           "seq-mean-token-sum-norm",
                                           NULL};
static const char *const levels[] = {"null",           "token",        "sequence",
                                     "sequence_token", "sequence_sum", NULL};
static const char *const kl_places[] = {"null", "loss", "reward", NULL};
static const char *const kl_terms[] = {"null", "k1", "k2", "k3", "abs", NULL};

static const tr_range_t above_1 = {"a number above 1", 1.0, DBL_MAX, .low_open = true};

#define FIELD(...) TR_FIELD(tr_policy_options_t, __VA_ARGS__)
/// Read by one loss alone, or by all but some.
#define OF(losses) .when = "loss_type", .is = (losses)

static const tr_field_t fields[] = {
    FIELD(num_iterations, TR_FIELD_WHOLE, "1", .range = &tr_range_to_thousand,
          .help = "Passes over the responses of a step."),
    FIELD(steps_per_generation, TR_FIELD_WHOLE, "1", .range = &tr_range_positive_whole,
          .help = "Updates a pass; divides `data.batch` × `generation.samples`."),
    FIELD(beta, TR_FIELD_REAL, "null", .nullable = true, .null = -1.0,
          .range = &tr_range_not_negative,
          .help = "Weight of the KL penalty; 0: there is no reference. null: 0, of `rloo` 0.05."),
    FIELD(kl_in, TR_FIELD_CHOICE, "null", .choices = kl_places,
          .help = "Whether the KL penalty is a part of the `loss` or of the `reward`. null: of the "
                  "loss; of the reward in `rloo`, `reinforce_plus_plus` and `remax`."),
    FIELD(kl_estimator, TR_FIELD_CHOICE, "null", .choices = kl_terms,
          .help = "How the KL divergence is estimated. null: `k3` in the loss, `k1` in the "
                  "reward."),
    FIELD(use_bias_correction_kl, TR_FIELD_BOOL, "true",
          .help = "Whether the KL penalty of the loss is multiplied by the ratio."),
    FIELD(loss_type, TR_FIELD_CHOICE, "null", .choices = loss_types,
          .help = "null: `dapo`, of `rloo` `grpo`."),
    FIELD(loss_agg_mode, TR_FIELD_CHOICE, "null", .choices = aggregations, OF("!gmpo"),
          .help = "How the tokens' losses become one. null: as `loss_type` has it."),
    FIELD(importance_sampling_level, TR_FIELD_CHOICE, "null", .choices = levels, OF("!gmpo|vespo"),
          .help = "Whether each token has its ratio, or a response one (`sequence`: GSPO). null: "
                  "`token`, of `rloo` `sequence_sum`."),
    FIELD(epsilon, TR_FIELD_REAL, "0.2", .range = &tr_range_positive, OF("!sapo|vespo|cispo"),
          .help = "Ratios are clipped to 1 − this and 1 + `epsilon_high`; of `gmpo`, their "
                  "logarithms to − this and + `epsilon_high`."),
    FIELD(epsilon_high, TR_FIELD_REAL, "null", .nullable = true, .range = &tr_range_positive,
          OF("!sapo|vespo"), .help = "null: `epsilon`. Of `cispo` the cap of ratios, such as 5."),
    FIELD(delta, TR_FIELD_REAL, "null", .nullable = true, .range = &above_1,
          OF("!sapo|vespo|gmpo|cispo"),
          .help = "Bound of ratios where the advantage is negative (dual clip); more than 1 + "
                  "`epsilon_high`. null: none."),
    FIELD(top_entropy_quantile, TR_FIELD_REAL, "1.0", .range = &tr_range_above_0_to_1,
          .help = "Share of a step's tokens, those of the highest entropy, whose ratios are learnt "
                  "(Wang et al. 2025)."),
    FIELD(sapo_temperature_pos, TR_FIELD_REAL, "1.0", .range = &tr_range_positive, OF("sapo"),
          .help = "Temperature of the gate where the advantage is positive."),
    FIELD(sapo_temperature_neg, TR_FIELD_REAL, "1.05", .range = &tr_range_positive, OF("sapo"),
          .help = "Temperature of the gate elsewhere."),
    FIELD(vespo_k_pos, TR_FIELD_REAL, "2.0", .range = &tr_range_not_negative, OF("vespo"),
          .help = "Power of the ratio in the weight, where the advantage is not negative."),
    FIELD(vespo_lambda_pos, TR_FIELD_REAL, "3.0", .range = &tr_range_positive, OF("vespo"),
          .help = "Decay of the weight there."),
    FIELD(vespo_k_neg, TR_FIELD_REAL, "3.0", .range = &tr_range_not_negative, OF("vespo"),
          .help = "Power of the ratio in the weight, where the advantage is negative."),
    FIELD(vespo_lambda_neg, TR_FIELD_REAL, "2.0", .range = &tr_range_positive, OF("vespo"),
          .help = "Decay of the weight there."),
    FIELD(max_completion_length, TR_FIELD_WHOLE, "1", .message_only = true,
          .range = &tr_range_positive_whole, .help = "`generation.max_new_tokens`."),
};

const tr_fields_t tr_policy_fields = TR_FIELDS(tr_policy_options_t, fields);

// The table

typedef tr_surrogate_t (*surrogate_fn)(double log_ratio, double advantage, double logprob,
                                       const tr_policy_options_t *options);

typedef struct loss {
    surrogate_fn surrogate;
    tr_aggregation_t aggregation;
    tr_ratio_level_t level; // that it has whatever the options say; 0: theirs
    bool clips_tokens;      // before the ratio is made of them
} loss_t;

static double least(double a, double b)
{
    return b < a ? b : a;
}

/// A NaN passes through: it is neither below nor above.
static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

tr_surrogate_t tr_clipped_surrogate(double log_ratio, double advantage, double low, double high,
                                    double most)
{
    double ratio = exponential(log_ratio);
    double plain = -advantage * least(ratio, most);
    // The ratio gains nothing by leaving [low, high].
    double held = -advantage * clamp(ratio, low, high);
    bool clipped = held > plain; // the larger loss counts: a pessimistic bound
    // d ratio / d log ratio = ratio, so the gradient of the unclipped side is its own value.
    double slope = clipped || ratio > most ? 0.0 : plain;
    return (tr_surrogate_t){clipped ? held : plain, slope, 0.0, clipped};
}

static tr_surrogate_t clipped(double log_ratio, double advantage, double logprob,
                              const tr_policy_options_t *o)
{
    (void)logprob;
    return tr_clipped_surrogate(log_ratio, advantage, 1.0 - o->epsilon, 1.0 + o->epsilon_high,
                                o->delta > 0.0 ? o->delta : HUGE_VAL);
}

/// MiniMax-M1 (2025), eq. 4: no token loses its gradient.
static tr_surrogate_t cispo(double log_ratio, double advantage, double logprob,
                            const tr_policy_options_t *o)
{
    double ratio = exponential(log_ratio);
    double weight = -least(ratio, o->epsilon_high) * advantage;
    return (tr_surrogate_t){weight * logprob, 0.0, weight,
                            ratio > o->epsilon_high && advantage > 0.0};
}

/// SAPO (Gao et al. 2025): 4 / t * sigmoid(t (ratio - 1)) has slope 1 at ratio 1.
static tr_surrogate_t sapo(double log_ratio, double advantage, double logprob,
                           const tr_policy_options_t *o)
{
    (void)logprob;
    double ratio = exponential(log_ratio);
    double t = advantage > 0.0 ? o->sapo_temperature_pos : o->sapo_temperature_neg;
    double s = sigmoid(t * (ratio - 1.0));
    return (tr_surrogate_t){-4.0 / t * s * advantage, -4.0 * s * (1.0 - s) * ratio * advantage, 0.0,
                            false};
}

/// The weight of vespo, 1 at ratio 1: e^lambda w^k e^(-lambda w).
static double gamma_weight(double log_ratio, double advantage, const tr_policy_options_t *o)
{
    double k = advantage < 0.0 ? o->vespo_k_neg : o->vespo_k_pos;
    double lambda = advantage < 0.0 ? o->vespo_lambda_neg : o->vespo_lambda_pos;
    double held = clamp(log_ratio, tr_real_log(1e-8), 20.0);
    return exponential(lambda + k * held - lambda * exponential(held));
}

static tr_surrogate_t vespo(double log_ratio, double advantage, double logprob,
                            const tr_policy_options_t *o)
{
    double weight = -gamma_weight(log_ratio, advantage, o) * advantage;
    return (tr_surrogate_t){weight * logprob, 0.0, weight, false};
}

/// GMPO (Zhao et al. 2025): the clipping was done token by token.
static tr_surrogate_t plain(double log_ratio, double advantage, double logprob,
                            const tr_policy_options_t *o)
{
    (void)logprob;
    (void)o;
    double loss = -advantage * exponential(log_ratio);
    return (tr_surrogate_t){loss, loss, 0.0, false};
}

static const loss_t losses[TR_LOSS_COUNT] = {
    [TR_LOSS_GRPO] = {clipped, TR_AGGREGATION_SEQ_MEAN_TOKEN_MEAN, 0, false},
    [TR_LOSS_BNPO] = {clipped, TR_AGGREGATION_TOKEN_MEAN, 0, false},
    [TR_LOSS_DR_GRPO] = {clipped, TR_AGGREGATION_SEQ_MEAN_TOKEN_SUM_NORM, 0, false},
    [TR_LOSS_DAPO] = {clipped, TR_AGGREGATION_BATCH_TOKEN_MEAN, 0, false},
    [TR_LOSS_CISPO] = {cispo, TR_AGGREGATION_BATCH_TOKEN_MEAN, 0, false},
    [TR_LOSS_SAPO] = {sapo, TR_AGGREGATION_SEQ_MEAN_TOKEN_MEAN, 0, false},
    [TR_LOSS_LUSPO] = {clipped, TR_AGGREGATION_SEQ_MEAN_TOKEN_SUM, 0, false},
    [TR_LOSS_VESPO] = {vespo, TR_AGGREGATION_BATCH_TOKEN_MEAN, TR_RATIO_SEQUENCE_SUM, false},
    [TR_LOSS_GMPO] = {plain, TR_AGGREGATION_SEQ_MEAN_TOKEN_MEAN, TR_RATIO_SEQUENCE, true},
};

void tr_policy_resolve(tr_policy_options_t *o, const tr_policy_defaults_t *defaults)
{
    o->beta = o->beta < 0.0 ? defaults->beta : o->beta;
    o->kl_in = o->kl_in == TR_KL_AS_ALGORITHM ? (int)defaults->kl_in : o->kl_in;
    if (o->kl_estimator == TR_KL_TERM_OF_PLACE) {
        o->kl_estimator = o->kl_in == TR_KL_IN_LOSS ? TR_KL_TERM_K3 : TR_KL_TERM_K1;
    }
    if (o->loss_type == TR_LOSS_OF_ALGORITHM) {
        o->loss_type = (int)defaults->loss_type;
    }
    if (o->loss_agg_mode == TR_AGGREGATION_OF_LOSS) {
        o->loss_agg_mode = (int)losses[o->loss_type].aggregation;
    }
    if (o->importance_sampling_level == TR_RATIO_OF_ALGORITHM) {
        o->importance_sampling_level = (int)defaults->level;
    }
    o->epsilon_high = o->epsilon_high > 0.0 ? o->epsilon_high : o->epsilon;
}

// The KL penalty

tr_kl_penalty_t tr_kl_penalty(double logprob, double reference, tr_kl_term_t term)
{
    double x = logprob - reference;
    double e = exponential(-x);
    switch (term) {
    case TR_KL_TERM_K2: return (tr_kl_penalty_t){0.5 * x * x, x};
    case TR_KL_TERM_K3: return (tr_kl_penalty_t){e + x - 1.0, 1.0 - e};
    case TR_KL_TERM_ABS:
        return (tr_kl_penalty_t){x < 0.0 ? -x : x, x < 0.0 ? -1.0 : x > 0.0 ? 1.0 : x};
    default: return (tr_kl_penalty_t){x, 1.0};
    }
}

// The loss of a response

/// A response, with what the loop knows of it before the first token.
typedef struct scene {
    const tr_policy_response_t *response;
    const tr_policy_options_t *options;
    const loss_t *loss;
    tr_ratio_level_t level; // of the loss; the KL's is that of the options
    double counted;         // tokens that count
    double sum;             // of their log ratios
    double held;            // likewise, clipped where the loss clips tokens
} scene_t;

/// What a token adds: to its response's loss, to its own slope, and to those of all tokens that
/// share its ratio.
typedef struct token {
    double loss, kl;
    double own, shared, kl_shared;
    double low, high; // whether it was clipped from below, from above
} token_t;

static bool counts(const tr_policy_response_t *r, size_t t)
{
    return r->mask == NULL || r->mask[t] != 0.0F;
}

static double log_ratio(const tr_policy_response_t *r, size_t t)
{
    return (double)r->logprobs[t] - (double)r->old_logprobs[t];
}

/// The log ratio as a loss that clips tokens takes it: it gains nothing by growing in the direction
/// of its advantage. *passes: whether a gradient goes through.
static double held_log_ratio(bool *passes, const scene_t *s, size_t t)
{
    const tr_policy_options_t *o = s->options;
    double x = log_ratio(s->response, t), advantage = (double)s->response->advantages[t];
    bool high = advantage > 0.0 && x > o->epsilon_high;
    bool low = advantage < 0.0 && x < -o->epsilon;
    *passes = !s->loss->clips_tokens || !(high || low);
    return *passes ? x : high ? o->epsilon_high : -o->epsilon;
}

static scene_t scene_of(const tr_policy_response_t *r, const tr_policy_options_t *o)
{
    const loss_t *loss = &losses[o->loss_type];
    scene_t s = {.response = r, .options = o, .loss = loss};
    bool passes;
    s.level = loss->level != 0 ? loss->level : (tr_ratio_level_t)o->importance_sampling_level;
    for (size_t t = 0; t < r->n; t++) {
        if (counts(r, t)) {
            s.counted += 1.0;
            s.sum += log_ratio(r, t);
            s.held += held_log_ratio(&passes, &s, t);
        }
    }
    return s;
}

/// The log ratio of a level; own: the token's.
static double at_level(tr_ratio_level_t level, double own, double sum, double counted)
{
    return level == TR_RATIO_TOKEN ? own : level == TR_RATIO_SEQUENCE_SUM ? sum : sum / counted;
}

/// d ratio of the level / d log ratio of each token of the response; 0: of its own alone, where it
/// is 1.
static double spread(tr_ratio_level_t level, double counted)
{
    return level == TR_RATIO_SEQUENCE ? 1.0 / counted : level == TR_RATIO_SEQUENCE_SUM ? 1.0 : 0.0;
}

/// The surrogate of a token, and beside it the KL penalty, which the ratio makes one of the policy
/// that is learnt instead of the one that sampled.
static token_t token_of(const scene_t *s, size_t t)
{
    const tr_policy_response_t *r = s->response;
    const tr_policy_options_t *o = s->options;
    const tr_ratio_level_t asked = (tr_ratio_level_t)o->importance_sampling_level;
    double logprob = (double)r->logprobs[t], advantage = (double)r->advantages[t];
    bool passes;
    double own = held_log_ratio(&passes, s, t);
    const tr_surrogate_t a =
        s->loss->surrogate(at_level(s->level, own, s->held, s->counted), advantage, logprob, o);
    bool shares = spread(s->level, s->counted) > 0.0;
    double w = r->weights == NULL ? 1.0 : (double)r->weights[t];
    token_t token = {.loss = w * a.loss,
                     .own = w * (a.by_logprob + (shares ? 0.0 : a.by_ratio)),
                     .shared = shares ? w * a.by_ratio : 0.0,
                     .low = a.clipped && advantage < 0.0 ? 1.0 : 0.0,
                     .high = a.clipped && advantage > 0.0 ? 1.0 : 0.0};
    if (r->reference != NULL) {
        const tr_kl_penalty_t kl =
            tr_kl_penalty(logprob, (double)r->reference[t], (tr_kl_term_t)o->kl_estimator);
        double x = at_level(asked, log_ratio(r, t), s->sum, s->counted);
        double ratio = o->use_bias_correction_kl ? exponential(x) : 1.0;
        double by_ratio = o->use_bias_correction_kl ? kl.value * ratio : 0.0;
        bool all = spread(asked, s->counted) > 0.0;
        token.kl = kl.value * ratio;
        token.loss += o->beta * token.kl;
        token.own += o->beta * (kl.slope * ratio + (all ? 0.0 : by_ratio));
        token.kl_shared = all ? o->beta * by_ratio : 0.0;
    }
    return token;
}

/// What a token's loss counts in the minibatch's.
static double weight_of(const scene_t *s, const tr_policy_normalizer_t *n)
{
    switch ((tr_aggregation_t)s->options->loss_agg_mode) {
    case TR_AGGREGATION_TOKEN_MEAN: return 1.0 / n->tokens;
    case TR_AGGREGATION_SEQ_MEAN_TOKEN_MEAN: return 1.0 / (n->responses * s->counted);
    case TR_AGGREGATION_SEQ_MEAN_TOKEN_SUM: return 1.0 / n->responses;
    case TR_AGGREGATION_SEQ_MEAN_TOKEN_SUM_NORM:
        return 1.0 / (n->responses * (double)s->options->max_completion_length);
    default: return 1.0 / n->batch_tokens;
    }
}

/// Adds a response: its tokens' sum, and its clipped ratios, of which a response may have one.
static void count(tr_policy_sums_t *sums, const scene_t *s, const token_t *sum)
{
    double low = sum->low / s->counted, high = sum->high / s->counted;
    double ratios = s->level == TR_RATIO_TOKEN ? s->counted : 1.0;
    bool first = sums->responses == 0.0;
    sums->tokens += s->counted;
    sums->kl += sum->kl;
    sums->ratios += ratios;
    sums->low += low * ratios;
    sums->high += high * ratios;
    sums->low_least = first || low < sums->low_least ? low : sums->low_least;
    sums->high_most = high > sums->high_most ? high : sums->high_most;
    sums->responses += 1.0;
    if (s->options->loss_type == TR_LOSS_VESPO) {
        sums->phi += gamma_weight(s->sum, (double)s->response->advantages[0], s->options);
    }
}

void tr_policy_loss(float *dlogprobs, tr_policy_sums_t *sums, const tr_policy_response_t *r,
                    const tr_policy_normalizer_t *normalizer, const tr_policy_options_t *o)
{
    const scene_t s = scene_of(r, o);
    const double weight = weight_of(&s, normalizer);
    token_t sum = {0};
    for (size_t t = 0; t < r->n; t++) {
        dlogprobs[t] = 0.0F;
        if (counts(r, t)) {
            const token_t token = token_of(&s, t);
            dlogprobs[t] = (float)(weight * token.own);
            sums->loss += weight * token.loss;
            sum.kl += token.kl;
            sum.shared += weight * token.shared;
            sum.kl_shared += weight * token.kl_shared;
            sum.low += token.low;
            sum.high += token.high;
        }
    }
    if (s.counted == 0.0) {
        return;
    }
    // A ratio that all tokens share is known, with its slope, after the last of them.
    double of_loss = sum.shared * spread(s.level, s.counted);
    double of_kl =
        sum.kl_shared * spread((tr_ratio_level_t)o->importance_sampling_level, s.counted);
    for (size_t t = 0; t < r->n; t++) {
        bool passes;
        held_log_ratio(&passes, &s, t);
        double more = (passes ? of_loss : 0.0) + of_kl;
        dlogprobs[t] = counts(r, t) ? (float)((double)dlogprobs[t] + more) : 0.0F;
    }
    count(sums, &s, &sum);
}
