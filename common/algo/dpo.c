#include "common/algo/dpo.h"

#include <string.h>

#include "common/algo/logistic.h"
#include "common/base/status.h"

static const char *const LOSS_NAMES[TR_DPO_LOSS_COUNT] = {
    "sigmoid",  "hinge",     "ipo",          "exo_pair",     "nca_pair", "robust",
    "bco_pair", "sppo_hard", "aot",          "aot_unpaired", "apo_zero", "apo_down",
    "discopop", "sft",       "sigmoid_norm", "cpo",          "simpo",    "orpo",
};
static const char *const DIVERGENCE_NAMES[TR_F_COUNT] = {"reverse_kl", "forward_kl",
                                                         "js_divergence", "alpha_divergence"};

void tr_dpo_options_init(tr_dpo_options_t *options)
{
    *options = (tr_dpo_options_t){
        .beta = 0.1,
        .used = {[TR_DPO_SIGMOID] = true},
        .weights = {[TR_DPO_SIGMOID] = 1.0},
        .f_divergence_type = TR_F_REVERSE_KL,
        .f_alpha_divergence_coef = 0.5,
        .ld_alpha = 1.0,
        .discopop_tau = 0.05,
        .simpo_gamma = 0.5,
    };
}

/// The index of name among names: [count]; count when it is none of them.
static size_t find(const char *const *names, size_t count, const char *name)
{
    size_t i = 0;
    while (i < count && strcmp(names[i], name) != 0) {
        i++;
    }
    return i;
}

const char *tr_dpo_loss_name(tr_dpo_loss_type_t type)
{
    return type < TR_DPO_LOSS_COUNT ? LOSS_NAMES[type] : "unknown";
}

bool tr_dpo_loss_from_name(tr_dpo_loss_type_t *type, const char *name)
{
    size_t index = find(LOSS_NAMES, TR_DPO_LOSS_COUNT, name);
    if (index < TR_DPO_LOSS_COUNT) {
        *type = (tr_dpo_loss_type_t)index;
    }
    return index < TR_DPO_LOSS_COUNT;
}

const char *tr_f_divergence_name(tr_f_divergence_t divergence)
{
    return divergence < TR_F_COUNT ? DIVERGENCE_NAMES[divergence] : "unknown";
}

bool tr_f_divergence_from_name(tr_f_divergence_t *divergence, const char *name)
{
    size_t index = find(DIVERGENCE_NAMES, TR_F_COUNT, name);
    if (index < TR_F_COUNT) {
        *divergence = (tr_f_divergence_t)index;
    }
    return index < TR_F_COUNT;
}

/// Losses that know no reference.
static bool is_free(size_t type)
{
    return type == TR_DPO_SFT || type == TR_DPO_CPO || type == TR_DPO_SIMPO || type == TR_DPO_ORPO;
}

bool tr_dpo_needs_reference(const tr_dpo_options_t *options)
{
    bool needs = false;
    for (size_t type = 0; type < TR_DPO_LOSS_COUNT; type++) {
        needs = needs || (options->used[type] && !is_free(type));
    }
    return needs && !options->reference_free;
}

bool tr_dpo_couples_pairs(const tr_dpo_options_t *options)
{
    return options->used[TR_DPO_AOT] || options->used[TR_DPO_AOT_UNPAIRED];
}

double tr_dpo_sum(const float *logprobs, size_t n, size_t shared, double ld_alpha)
{
    double sum = 0.0, tail = 0.0;
    for (size_t t = 0; t < n; t++) {
        *(t < shared ? &sum : &tail) += (double)logprobs[t];
    }
    return sum + ld_alpha * tail;
}

void tr_dpo_spread(float *dlogprobs, double slope, size_t n, size_t shared, double ld_alpha,
                   double nll)
{
    for (size_t t = 0; t < n; t++) {
        dlogprobs[t] = (float)((t < shared ? slope : slope * ld_alpha) - nll);
    }
}

double tr_dpo_weight(const float *logprobs, const float *collisions, size_t n)
{
    double sum = 0.0;
    for (size_t t = 0; t < n; t++) {
        sum += (double)logprobs[t] - (double)collisions[t];
    }
    return exponential(sum / (double)n);
}

/// One pair, as the losses of single pairs see it.
typedef struct pair {
    double L_w, L_l;   // log-probs
    double c, j;       // log ratios
    double f_c, f_j;   // their scores
    double df_c, df_j; // f'(c), f'(j)
    double n_w, n_l;   // tokens
} pair_t;

/// A loss and its derivatives by L_w and L_l.
typedef struct slope {
    double loss, dw, dl;
} slope_t;

static double score(double *derivative, double u, const tr_dpo_options_t *options)
{
    double power = options->f_alpha_divergence_coef - 1.0;
    bool limit = -1e-6 < power && power < 1e-6; // alpha_divergence's limit case is reverse_kl
    switch (options->f_divergence_type) {
    case TR_F_FORWARD_KL: *derivative = exponential(-u); return -*derivative;
    case TR_F_JS_DIVERGENCE: *derivative = sigmoid(-u); return log_sigmoid(u);
    case TR_F_ALPHA_DIVERGENCE:
        if (!limit) {
            double held = power * u > 80.0 ? 80.0 : power * u; // as TRL holds it
            *derivative = power * u > 80.0 ? 0.0 : exponential(held);
            return exponential(held) / power;
        }
        break;
    default: break;
    }
    *derivative = 1.0;
    return u;
}

static pair_t pair_at(const tr_dpo_pairs_t *pairs, size_t i, const tr_dpo_options_t *options)
{
    bool free = options->reference_free || pairs->reference_chosen == NULL;
    pair_t p = {
        .L_w = pairs->chosen[i],
        .L_l = pairs->rejected[i],
        .n_w = (double)pairs->chosen_tokens[i],
        .n_l = (double)pairs->rejected_tokens[i],
    };
    p.c = p.L_w - (free ? 0.0 : pairs->reference_chosen[i]);
    p.j = p.L_l - (free ? 0.0 : pairs->reference_rejected[i]);
    p.f_c = score(&p.df_c, p.c, options);
    p.f_j = score(&p.df_j, p.j, options);
    return p;
}

/// -(1-e) log s(z) - e log s(-z), and its derivative by z.
static double smoothed(double *derivative, double z, double e)
{
    *derivative = -(1.0 - e) * sigmoid(-z) + e * sigmoid(z);
    return -(1.0 - e) * log_sigmoid(z) - e * log_sigmoid(-z);
}

/// A loss of D alone, given its derivative by bD.
static slope_t of_difference(const pair_t *p, double loss, double derivative, double beta)
{
    return (slope_t){loss, beta * derivative * p->df_c, -beta * derivative * p->df_j};
}

static slope_t exo_pair(const pair_t *p, double z, const tr_dpo_options_t *o)
{
    double right = tr_real_log(1.0 - o->label_smoothing), wrong = tr_real_log(o->label_smoothing);
    double q = sigmoid(z);
    double loss = q * (log_sigmoid(z) - right) + (1.0 - q) * (log_sigmoid(-z) - wrong);
    return of_difference(p, loss, q * (1.0 - q) * (z - right + wrong), o->beta);
}

static slope_t discopop(const pair_t *p, double z, const tr_dpo_options_t *o)
{
    double m = sigmoid(z / o->discopop_tau), dm = m * (1.0 - m) / o->discopop_tau;
    double logistic = -log_sigmoid(z), rise = exponential(-z);
    double derivative = -sigmoid(-z) * (1.0 - m) - logistic * dm - rise * m + rise * dm;
    return of_difference(p, logistic * (1.0 - m) + rise * m, derivative, o->beta);
}

/// A loss of the difference of mean scores, given its derivative by that.
static slope_t of_means(const pair_t *p, double loss, double derivative)
{
    return (slope_t){loss, derivative * p->df_c / p->n_w, -derivative * p->df_j / p->n_l};
}

/// log(1 - e^x) for x < 0.
static double log_one_minus_exponential(double x)
{
    return tr_real_log(1.0 - exponential(x));
}

static slope_t orpo(const pair_t *p, double beta)
{
    const double most = -1e-12; // a completion that is certain has infinite odds
    double w = p->L_w / p->n_w, l = p->L_l / p->n_l;
    w = w > most ? most : w;
    l = l > most ? most : l;
    double odds = (w - l) - (log_one_minus_exponential(w) - log_one_minus_exponential(l));
    double derivative = -beta * sigmoid(-odds); // by odds, whose slope by w is 1/(1-e^w)
    return (slope_t){-beta * log_sigmoid(odds), derivative / (1.0 - exponential(w)) / p->n_w,
                     -derivative / (1.0 - exponential(l)) / p->n_l};
}

static slope_t simpo(const pair_t *p, const tr_dpo_options_t *o)
{
    double d, z = o->beta * (p->L_w / p->n_w - p->L_l / p->n_l) - o->simpo_gamma;
    double loss = smoothed(&d, z, o->label_smoothing);
    return (slope_t){loss, o->beta * d / p->n_w, -o->beta * d / p->n_l};
}

static slope_t cpo(const pair_t *p, const tr_dpo_options_t *o)
{
    double d, loss = smoothed(&d, o->beta * (p->L_w - p->L_l), o->label_smoothing);
    return (slope_t){loss, o->beta * d, -o->beta * d};
}

static slope_t nca_pair(const pair_t *p, double b)
{
    double x = b * p->f_c, y = b * p->f_j;
    return (slope_t){
        -log_sigmoid(x) - 0.5 * log_sigmoid(-x) - 0.5 * log_sigmoid(-y),
        b * (0.5 * sigmoid(x) - sigmoid(-x)) * p->df_c,
        b * 0.5 * sigmoid(y) * p->df_j,
    };
}

static slope_t bco_pair(const pair_t *p, double b)
{
    double x = b * p->f_c, y = b * p->f_j;
    return (slope_t){-log_sigmoid(x) - log_sigmoid(-y), -b * sigmoid(-x) * p->df_c,
                     b * sigmoid(y) * p->df_j};
}

static slope_t sppo_hard(const pair_t *p, double b)
{
    double winner = p->f_c - 0.5 / b, loser = p->f_j + 0.5 / b;
    return (slope_t){winner * winner + loser * loser, 2.0 * winner * p->df_c,
                     2.0 * loser * p->df_j};
}

static slope_t apo_zero(const pair_t *p, double b)
{
    double c = sigmoid(b * p->c), j = sigmoid(b * p->j);
    return (slope_t){1.0 - c + j, -b * c * (1.0 - c), b * j * (1.0 - j)};
}

static slope_t apo_down(const pair_t *p, double z, double b)
{
    double c = sigmoid(b * p->c), q = sigmoid(z);
    slope_t slope = of_difference(p, c + 1.0 - q, -q * (1.0 - q), b);
    slope.dw += b * c * (1.0 - c);
    return slope;
}

static slope_t robust(const pair_t *p, double z, const tr_dpo_options_t *o)
{
    double e = o->label_smoothing, scale = 1.0 - 2.0 * e;
    double loss = (-(1.0 - e) * log_sigmoid(z) + e * log_sigmoid(-z)) / scale;
    return of_difference(p, loss, (-(1.0 - e) * sigmoid(-z) - e * sigmoid(z)) / scale, o->beta);
}

/// The loss of one pair; those that couple pairs, and sft, have none of their own.
static slope_t pair_loss(size_t type, const pair_t *p, const tr_dpo_options_t *o)
{
    double b = o->beta, d, loss;
    double z = b * (p->f_c - p->f_j);
    double means = p->f_c / p->n_w - p->f_j / p->n_l;
    switch ((tr_dpo_loss_type_t)type) {
    case TR_DPO_SIGMOID:
        loss = smoothed(&d, z, o->label_smoothing);
        return of_difference(p, loss, d, b);
    case TR_DPO_HINGE: return of_difference(p, z >= 1.0 ? 0.0 : 1.0 - z, z >= 1.0 ? 0.0 : -1.0, b);
    case TR_DPO_IPO: means -= 0.5 / b; return of_means(p, means * means, 2.0 * means);
    case TR_DPO_EXO_PAIR: return exo_pair(p, z, o);
    case TR_DPO_NCA_PAIR: return nca_pair(p, b);
    case TR_DPO_ROBUST: return robust(p, z, o);
    case TR_DPO_BCO_PAIR: return bco_pair(p, b);
    case TR_DPO_SPPO_HARD: return sppo_hard(p, b);
    case TR_DPO_APO_ZERO: return apo_zero(p, b);
    case TR_DPO_APO_DOWN: return apo_down(p, z, b);
    case TR_DPO_DISCOPOP: return discopop(p, z, o);
    case TR_DPO_SIGMOID_NORM: loss = smoothed(&d, b * means, 0.0); return of_means(p, loss, b * d);
    case TR_DPO_CPO: return cpo(p, o);
    case TR_DPO_SIMPO: return simpo(p, o);
    case TR_DPO_ORPO: return orpo(p, b);
    case TR_DPO_AOT:
    case TR_DPO_AOT_UNPAIRED:
    case TR_DPO_SFT:
    case TR_DPO_LOSS_COUNT: break;
    }
    return (slope_t){0};
}

// Losses of sorted batches

/// What is sorted of pair i: its log ratio of chosen to rejected under the policy and the reference (aot), or its own log
/// ratios of policy to reference (aot_unpaired).
static double quantity(const tr_dpo_pairs_t *pairs, size_t i, bool unpaired, bool first,
                       const tr_dpo_options_t *options)
{
    pair_t p = pair_at(pairs, i, options);
    if (unpaired) {
        return first ? p.c : p.j;
    }
    return first ? p.L_w - p.L_l : (p.L_w - p.c) - (p.L_l - p.j);
}

/// order: [pairs], written: pairs by their quantity, ascending; equal ones keep their order. Batches are small.
static void sort(size_t *order, const tr_dpo_pairs_t *pairs, bool unpaired, bool first,
                 const tr_dpo_options_t *options)
{
    for (size_t i = 0; i < pairs->pairs; i++) {
        double value = quantity(pairs, i, unpaired, first, options);
        size_t at = i;
        while (at > 0 && quantity(pairs, order[at - 1], unpaired, first, options) > value) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
    }
}

/// Alignment by optimal transport in one dimension: the k-th lowest of one side against the k-th of the other.
static void transport(double *dchosen, double *drejected, tr_dpo_sums_t *sums,
                      const tr_dpo_pairs_t *pairs, bool unpaired, double normalizer,
                      const tr_dpo_options_t *options)
{
    double scale = options->weights[unpaired ? TR_DPO_AOT_UNPAIRED : TR_DPO_AOT];
    size_t *order = pairs->order, *other = order + pairs->pairs;
    sort(order, pairs, unpaired, true, options);
    sort(other, pairs, unpaired, false, options);
    for (size_t k = 0; k < pairs->pairs; k++) {
        double delta = quantity(pairs, order[k], unpaired, true, options) -
                       quantity(pairs, other[k], unpaired, false, options);
        double d, loss = smoothed(&d, options->beta * delta, options->label_smoothing);
        double factor = scale * (pairs->weights != NULL ? pairs->weights[k] : 1.0);
        double slope = factor * options->beta * d / normalizer;
        sums->loss += factor * loss;
        dchosen[order[k]] += slope;
        drejected[unpaired ? other[k] : order[k]] -= slope;
    }
}

static void note(tr_dpo_sums_t *sums, const pair_t *p, const tr_dpo_options_t *options)
{
    bool means = (options->used[TR_DPO_SIMPO] || options->used[TR_DPO_ORPO]) &&
                 !tr_dpo_needs_reference(options);
    double chosen = options->beta * (means ? p->L_w / p->n_w : p->c);
    double rejected = options->beta * (means ? p->L_l / p->n_l : p->j);
    sums->pairs++;
    sums->chosen_rewards += chosen;
    sums->rejected_rewards += rejected;
    sums->accuracies += chosen > rejected;
    sums->chosen_logps += p->L_w;
    sums->rejected_logps += p->L_l;
}

void tr_dpo_loss(double *dchosen, double *drejected, tr_dpo_sums_t *sums,
                 const tr_dpo_pairs_t *pairs, size_t normalizer, const tr_dpo_options_t *options)
{
    TR_ASSERT(normalizer > 0, "a mean over no pairs");
    for (size_t i = 0; i < pairs->pairs; i++) {
        pair_t p = pair_at(pairs, i, options);
        double weight = pairs->weights != NULL ? pairs->weights[i] : 1.0;
        dchosen[i] = drejected[i] = 0.0;
        for (size_t type = 0; type < TR_DPO_LOSS_COUNT; type++) {
            if (options->used[type]) {
                slope_t slope = pair_loss(type, &p, options);
                double factor = weight * options->weights[type];
                sums->loss += factor * slope.loss;
                dchosen[i] += factor * slope.dw / (double)normalizer;
                drejected[i] += factor * slope.dl / (double)normalizer;
            }
        }
        note(sums, &p, options);
    }
    if (tr_dpo_couples_pairs(options)) {
        TR_ASSERT(pairs->pairs == normalizer && pairs->order != NULL,
                  "%zu of %zu pairs, or no room to sort them", pairs->pairs, normalizer);
    }
    if (options->used[TR_DPO_AOT]) {
        transport(dchosen, drejected, sums, pairs, false, (double)normalizer, options);
    }
    if (options->used[TR_DPO_AOT_UNPAIRED]) {
        transport(dchosen, drejected, sums, pairs, true, (double)normalizer, options);
    }
}
