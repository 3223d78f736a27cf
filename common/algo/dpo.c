// DPO and its relatives: options, the 18 losses with their derivatives, and the sums behind TRL's
// metrics.
//
// A loss of single pairs is a function from pair_t to slope_t: add one there, and a row in the
// tables `losses` and `pair_losses`. Losses that couple the pairs of a batch (aot) are at the end.
// dpo.h has each loss's formula and paper; actor/dpo.c has the log-probs.
#include "common/algo/dpo.h"

#include "common/algo/logistic.h"

// Options

/// By tr_dpo_loss_type_t. The name comes first: the key's choices are read from this table by its
/// stride, so a loss is named once.
static const struct loss {
    const char *name;
    bool reads_reference;
} losses[TR_DPO_LOSS_COUNT + 1] = {
    [TR_DPO_SIGMOID] = {"sigmoid", true},
    [TR_DPO_HINGE] = {"hinge", true},
    [TR_DPO_IPO] = {"ipo", true},
    [TR_DPO_EXO_PAIR] = {"exo_pair", true},
    [TR_DPO_NCA_PAIR] = {"nca_pair", true},
    [TR_DPO_ROBUST] = {"robust", true},
    [TR_DPO_BCO_PAIR] = {"bco_pair", true},
    [TR_DPO_SPPO_HARD] = {"sppo_hard", true},
    [TR_DPO_AOT] = {"aot", true},
    [TR_DPO_AOT_UNPAIRED] = {"aot_unpaired", true},
    [TR_DPO_APO_ZERO] = {"apo_zero", true},
    [TR_DPO_APO_DOWN] = {"apo_down", true},
    [TR_DPO_DISCOPOP] = {"discopop", true},
    [TR_DPO_SFT] = {"sft", false},
    [TR_DPO_SIGMOID_NORM] = {"sigmoid_norm", true},
    [TR_DPO_CPO] = {"cpo", false},
    [TR_DPO_SIMPO] = {"simpo", false},
    [TR_DPO_ORPO] = {"orpo", false},
    {NULL, false},
};

/// By tr_f_divergence_t.
static const char *const divergences[] = {"reverse_kl", "forward_kl", "js_divergence",
                                          "alpha_divergence", NULL};

// From one half on a label says nothing: robust would divide by 1 - 2e <= 0.
static const tr_range_t below_half = {"a number of at least 0 and below 0.5", 0, 0.5, false, true};

#define FIELD(...) TR_FIELD(tr_dpo_options_t, __VA_ARGS__)

static const tr_field_t fields[] = {
    FIELD(beta, TR_FIELD_REAL, "0.1", .range = &tr_range_positive,
          .help = "How strongly the policy is held to the reference."),
    FIELD(loss_type, TR_FIELD_CHOICES, "sigmoid", .choices = &losses[0].name,
          .stride = sizeof losses[0],
          .help = "The loss, or a list whose weighted sum is minimised."),
    // MPO (Wang et al. 2024) is sigmoid, bco_pair and sft with weights of their own.
    FIELD(loss_weights, TR_FIELD_REALS, "[]", .range = &tr_range_any,
          .help = "The weight of each loss; none: 1."),
    FIELD(label_smoothing, TR_FIELD_REAL, "0.0", .range = &below_half, .when = "loss_type",
          .is = "sigmoid|exo_pair|robust|aot|aot_unpaired|cpo|simpo",
          .help =
              "How often a label is taken to be wrong (cDPO, robust, exo_pair, aot, cpo, simpo)."),
    // These losses are not functions of f, so that no divergence changes them.
    FIELD(f_divergence_type, TR_FIELD_CHOICE, "reverse_kl", .choices = divergences,
          .when = "loss_type", .is = "!aot|aot_unpaired|apo_zero|sft|cpo|simpo|orpo",
          .help = "The divergence that holds the policy to the reference (f-DPO)."),
    FIELD(f_alpha_divergence_coef, TR_FIELD_REAL, "0.5", .range = &tr_range_any,
          .when = "f_divergence_type", .is = "alpha_divergence", .help = "α of alpha_divergence."),
    // TRL's CPO and ORPO trainers have none.
    FIELD(ld_alpha, TR_FIELD_REAL, "null", .nullable = true, .null = 1.0,
          .range = &tr_range_fraction, .when = "loss_type", .is = "!sft|cpo|simpo|orpo",
          .help =
              "Weight of the tokens past the length of the shorter completion (LD-DPO); null: 1."),
    FIELD(discopop_tau, TR_FIELD_REAL, "0.05", .range = &tr_range_positive, .when = "loss_type",
          .is = "discopop", .help = "Temperature of discopop."),
    FIELD(simpo_gamma, TR_FIELD_REAL, "0.5", .range = &tr_range_any, .when = "loss_type",
          .is = "simpo", .help = "Target margin of simpo."),
    FIELD(use_weighting, TR_FIELD_BOOL, "false",
          .help = "Whether pairs are weighted by how likely the policy makes them (WPO)."),
    FIELD(reference_free, TR_FIELD_BOOL, "false", .when = "loss_type", .is = "!sft|cpo|simpo|orpo",
          .help = "Whether the reference is taken to be uniform."),
};

const tr_fields_t tr_dpo_fields = TR_FIELDS(tr_dpo_options_t, fields);

bool tr_dpo_uses(const tr_dpo_options_t *options, tr_dpo_loss_type_t type)
{
    return tr_choices_has(&options->loss_type, (int)type);
}

double tr_dpo_loss_weight(const tr_dpo_options_t *options, tr_dpo_loss_type_t type)
{
    for (size_t i = 0; i < options->loss_type.count; i++) {
        // loss_weights is empty or as long as loss_type; the recipe checks it.
        if (options->loss_type.items[i] == (int)type) {
            return options->loss_weights.count > i ? options->loss_weights.items[i] : 1.0;
        }
    }
    return 0.0;
}

bool tr_dpo_needs_reference(const tr_dpo_options_t *options)
{
    bool needs = false;
    for (size_t i = 0; i < options->loss_type.count; i++) {
        needs = needs || losses[options->loss_type.items[i]].reads_reference;
    }
    return needs && !options->reference_free;
}

bool tr_dpo_couples_pairs(const tr_dpo_options_t *options)
{
    return tr_dpo_uses(options, TR_DPO_AOT) || tr_dpo_uses(options, TR_DPO_AOT_UNPAIRED);
}

double tr_dpo_sum(const float *logprobs, size_t n, size_t shared, double ld_alpha)
{
    // Two sums in double, each ascending: the weight multiplies the tail once.
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
        // Rounded once, at the end: the gradient enters the backward pass as f32.
        dlogprobs[t] = (float)((t < shared ? slope : slope * ld_alpha) - nll);
    }
}

double tr_dpo_weight(const float *logprobs, const float *collisions, size_t n)
{
    double sum = 0.0;
    for (size_t t = 0; t < n; t++) {
        sum += (double)logprobs[t] - (double)collisions[t];
    }
    // The exponential of a mean of logarithms: a geometric mean, which length does not change.
    return exponential(sum / (double)n);
}

/// One pair, as the losses of single pairs see it; names are those of dpo.h.
typedef struct pair {
    double L_w, L_l;   // log-probs
    double c, j;       // log ratios
    double f_c, f_j;   // their scores
    double df_c, df_j; // f'(c), f'(j)
    double n_w, n_l;   // tokens
    double z, means;   // bD, and f(c)/n_w - f(j)/n_l: what most losses are functions of
} pair_t;

/// A loss and its derivatives by L_w and L_l.
typedef struct slope {
    double loss, dw, dl;
} slope_t;

/// f(u) of the f-divergence, and its derivative (Wang et al. 2023, "Beyond reverse KL").
static double score(double *derivative, double u, const tr_dpo_options_t *options)
{
    double power = options->f_alpha_divergence_coef - 1.0;
    bool limit = -1e-6 < power && power < 1e-6; // alpha_divergence's limit case is reverse_kl
    switch ((tr_f_divergence_t)options->f_divergence_type) {
    // f = -e^-u, whose derivative is e^-u.
    case TR_F_FORWARD_KL: *derivative = exponential(-u); return -*derivative;
    // TRL writes log s(u) as u - softplus(u).
    case TR_F_JS_DIVERGENCE: *derivative = sigmoid(-u); return log_sigmoid(u);
    case TR_F_ALPHA_DIVERGENCE:
        if (!limit) {
            double held = power * u > 80.0 ? 80.0 : power * u; // as TRL holds it
            // Past the bound f is constant, so its derivative is 0.
            *derivative = power * u > 80.0 ? 0.0 : exponential(held);
            return exponential(held) / power;
        }
        break;
    case TR_F_REVERSE_KL: break;
    }
    *derivative = 1.0;
    return u;
}

/// The pair's numbers. Without a reference the log ratios are the log-probs themselves.
static pair_t pair_of(const tr_dpo_pair_t *pair, const tr_dpo_options_t *options)
{
    bool free = options->reference_free;
    pair_t p = {
        .L_w = pair->chosen,
        .L_l = pair->rejected,
        .n_w = (double)pair->chosen_tokens,
        .n_l = (double)pair->rejected_tokens,
    };
    p.c = p.L_w - (free ? 0.0 : pair->reference_chosen);
    p.j = p.L_l - (free ? 0.0 : pair->reference_rejected);
    p.f_c = score(&p.df_c, p.c, options);
    p.f_j = score(&p.df_j, p.j, options);
    p.z = options->beta * (p.f_c - p.f_j);
    p.means = p.f_c / p.n_w - p.f_j / p.n_l;
    return p;
}

/// -(1-e) log s(z) - e log s(-z), and its derivative by z.
static double smoothed(double *derivative, double z, double e)
{
    *derivative = -(1.0 - e) * sigmoid(-z) + e * sigmoid(z);
    return -(1.0 - e) * log_sigmoid(z) - e * log_sigmoid(-z);
}

/// The slopes of a loss that depends on D alone, given its derivative by bD: dD/dL_w = f'(c),
/// dD/dL_l = -f'(j).
static slope_t of_difference(const pair_t *p, double loss, double derivative, double beta)
{
    return (slope_t){loss, beta * derivative * p->df_c, -beta * derivative * p->df_j};
}

/// DPO's own loss (Rafailov et al. 2023, eq. 7), with wrong labels as in cDPO (Mitchell 2023).
static slope_t dpo(const pair_t *p, const tr_dpo_options_t *o)
{
    double d, loss = smoothed(&d, p->z, o->label_smoothing);
    return of_difference(p, loss, d, o->beta);
}

/// Nothing is left to gain once bD is 1.
static slope_t hinge(const pair_t *p, const tr_dpo_options_t *o)
{
    bool met = p->z >= 1.0;
    return of_difference(p, met ? 0.0 : 1.0 - p->z, met ? 0.0 : -1.0, o->beta);
}

/// KL(s(z) || (1-e, e)): the derivative of q = s(z) is q (1-q), and that of the KL by q is the
/// difference of the log ratios.
static slope_t exo_pair(const pair_t *p, const tr_dpo_options_t *o)
{
    double right = tr_real_log(1.0 - o->label_smoothing), wrong = tr_real_log(o->label_smoothing);
    double z = p->z, q = sigmoid(z);
    double loss = q * (log_sigmoid(z) - right) + (1.0 - q) * (log_sigmoid(-z) - wrong);
    return of_difference(p, loss, q * (1.0 - q) * (z - right + wrong), o->beta);
}

/// A blend of the logistic and the exponential loss, whose share m depends on z itself: hence the
/// two terms with dm.
static slope_t discopop(const pair_t *p, const tr_dpo_options_t *o)
{
    double z = p->z, m = sigmoid(z / o->discopop_tau), dm = m * (1.0 - m) / o->discopop_tau;
    double logistic = -log_sigmoid(z), rise = exponential(-z);
    double derivative = -sigmoid(-z) * (1.0 - m) - logistic * dm - rise * m + rise * dm;
    return of_difference(p, logistic * (1.0 - m) + rise * m, derivative, o->beta);
}

/// The slopes of a loss of f(c)/n_w - f(j)/n_l, given its derivative by that.
static slope_t of_means(const pair_t *p, double loss, double derivative)
{
    return (slope_t){loss, derivative * p->df_c / p->n_w, -derivative * p->df_j / p->n_l};
}

/// Squared distance to a margin of 1/2b: unlike DPO's, the loss grows again past it. Means over
/// tokens, as in TRL.
static slope_t ipo(const pair_t *p, const tr_dpo_options_t *o)
{
    double off = p->means - 0.5 / o->beta;
    return of_means(p, off * off, 2.0 * off);
}

/// DPO of means over tokens, so that length counts for nothing.
static slope_t sigmoid_norm(const pair_t *p, const tr_dpo_options_t *o)
{
    double d, loss = smoothed(&d, o->beta * p->means, 0.0);
    return of_means(p, loss, o->beta * d);
}

/// log(1 - e^x) for x < 0.
static double log_one_minus_exponential(double x)
{
    return tr_real_log(1.0 - exponential(x));
}

/// log(p/(1-p)) of the mean log-prob of each side; its slope by the mean x is 1/(1-e^x).
static slope_t orpo(const pair_t *p, const tr_dpo_options_t *o)
{
    // The paper adds the likelihood of the chosen completion; here that is loss sft beside this
    // one.
    const double most = -1e-12; // a completion that is certain has infinite odds
    double beta = o->beta;
    double w = p->L_w / p->n_w, l = p->L_l / p->n_l;
    w = w > most ? most : w;
    l = l > most ? most : l;
    double odds = (w - l) - (log_one_minus_exponential(w) - log_one_minus_exponential(l));
    double derivative = -beta * sigmoid(-odds); // by odds, whose slope by w is 1/(1-e^w)
    return (slope_t){-beta * log_sigmoid(odds), derivative / (1.0 - exponential(w)) / p->n_w,
                     -derivative / (1.0 - exponential(l)) / p->n_l};
}

/// Mean log-probs, a margin, and no reference.
static slope_t simpo(const pair_t *p, const tr_dpo_options_t *o)
{
    // TRL subtracts gamma / beta before it multiplies by beta: the same up to rounding.
    double d, z = o->beta * (p->L_w / p->n_w - p->L_l / p->n_l) - o->simpo_gamma;
    double loss = smoothed(&d, z, o->label_smoothing);
    return (slope_t){loss, o->beta * d / p->n_w, -o->beta * d / p->n_l};
}

/// DPO's loss with the reference taken to be uniform. The paper adds the likelihood of the chosen
/// completion, as for orpo.
static slope_t cpo(const pair_t *p, const tr_dpo_options_t *o)
{
    double d, loss = smoothed(&d, o->beta * (p->L_w - p->L_l), o->label_smoothing);
    return (slope_t){loss, o->beta * d, -o->beta * d};
}

/// Noise contrastive alignment: d(-log s(x)) = -s(-x), d(-log s(-x)) = s(x).
static slope_t nca_pair(const pair_t *p, const tr_dpo_options_t *o)
{
    double b = o->beta, x = b * p->f_c, y = b * p->f_j;
    return (slope_t){
        -log_sigmoid(x) - 0.5 * log_sigmoid(-x) - 0.5 * log_sigmoid(-y),
        b * (0.5 * sigmoid(x) - sigmoid(-x)) * p->df_c,
        b * 0.5 * sigmoid(y) * p->df_j,
    };
}

/// Binary classifier: each completion on its own, chosen up and rejected down.
static slope_t bco_pair(const pair_t *p, const tr_dpo_options_t *o)
{
    double b = o->beta, x = b * p->f_c, y = b * p->f_j;
    return (slope_t){-log_sigmoid(x) - log_sigmoid(-y), -b * sigmoid(-x) * p->df_c,
                     b * sigmoid(y) * p->df_j};
}

/// Squared distance of each score to its win rate's target, +-1/2b.
static slope_t sppo_hard(const pair_t *p, const tr_dpo_options_t *o)
{
    double winner = p->f_c - 0.5 / o->beta, loser = p->f_j + 0.5 / o->beta;
    return (slope_t){winner * winner + loser * loser, 2.0 * winner * p->df_c,
                     2.0 * loser * p->df_j};
}

/// Raises the chosen completion and lowers the rejected one; s' = s (1 - s).
static slope_t apo_zero(const pair_t *p, const tr_dpo_options_t *o)
{
    double b = o->beta, c = sigmoid(b * p->c), j = sigmoid(b * p->j);
    return (slope_t){1.0 - c + j, -b * c * (1.0 - c), b * j * (1.0 - j)};
}

/// Lowers the chosen completion, and the rejected one more: a term of c alone beside one of D.
static slope_t apo_down(const pair_t *p, const tr_dpo_options_t *o)
{
    double b = o->beta, c = sigmoid(b * p->c), q = sigmoid(p->z);
    slope_t slope = of_difference(p, c + 1.0 - q, -q * (1.0 - q), b);
    slope.dw += b * c * (1.0 - c);
    return slope;
}

/// The loss under labels that are wrong with probability e, without its bias.
static slope_t robust(const pair_t *p, const tr_dpo_options_t *o)
{
    double z = p->z, e = o->label_smoothing, scale = 1.0 - 2.0 * e;
    double loss = (-(1.0 - e) * log_sigmoid(z) + e * log_sigmoid(-z)) / scale;
    return of_difference(p, loss, (-(1.0 - e) * sigmoid(-z) - e * sigmoid(z)) / scale, o->beta);
}

/// By tr_dpo_loss_type_t. NULL: no loss of single pairs: aot needs the whole batch (below), and sft
/// is a mean over tokens, whose gradient actor/dpo.c adds.
static slope_t (*const pair_losses[TR_DPO_LOSS_COUNT])(const pair_t *, const tr_dpo_options_t *) = {
    [TR_DPO_SIGMOID] = dpo,       [TR_DPO_HINGE] = hinge,
    [TR_DPO_IPO] = ipo,           [TR_DPO_EXO_PAIR] = exo_pair,
    [TR_DPO_NCA_PAIR] = nca_pair, [TR_DPO_ROBUST] = robust,
    [TR_DPO_BCO_PAIR] = bco_pair, [TR_DPO_SPPO_HARD] = sppo_hard,
    [TR_DPO_APO_ZERO] = apo_zero, [TR_DPO_APO_DOWN] = apo_down,
    [TR_DPO_DISCOPOP] = discopop, [TR_DPO_SIGMOID_NORM] = sigmoid_norm,
    [TR_DPO_CPO] = cpo,           [TR_DPO_SIMPO] = simpo,
    [TR_DPO_ORPO] = orpo,
};

// Losses of sorted batches

/// The number by which a pair is sorted. aot: its log ratio of chosen to rejected, under the policy
/// (first) or the reference. aot_unpaired: the log ratio of policy to reference of its chosen
/// completion (first) or of its rejected one.
static double quantity(const tr_dpo_pair_t *pair, bool unpaired, bool first,
                       const tr_dpo_options_t *options)
{
    pair_t p = pair_of(pair, options);
    if (unpaired) {
        return first ? p.c : p.j;
    }
    return first ? p.L_w - p.L_l : (p.L_w - p.c) - (p.L_l - p.j);
}

/// order: [n], written: pairs by their quantity, ascending; equal ones keep their order. Insertion
/// sort: batches are small, and the order of equals must not depend on a library.
static void sort(size_t *order, const tr_dpo_pair_t *pairs, size_t n, bool unpaired, bool first,
                 const tr_dpo_options_t *options)
{
    for (size_t i = 0; i < n; i++) {
        double value = quantity(&pairs[i], unpaired, first, options);
        size_t at = i;
        while (at > 0 && quantity(&pairs[order[at - 1]], unpaired, first, options) > value) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
    }
}

/// Alignment by optimal transport in one dimension: the k-th lowest of one side against the k-th of
/// the other.
static void transport(tr_dpo_pair_t *pairs, size_t n, size_t *order, tr_dpo_sums_t *sums,
                      bool unpaired, double normalizer, const tr_dpo_options_t *options)
{
    double scale = tr_dpo_loss_weight(options, unpaired ? TR_DPO_AOT_UNPAIRED : TR_DPO_AOT);
    // aot compares distributions and not pairs: ranks meet, whichever pair they come from.
    size_t *other = order + n;
    sort(order, pairs, n, unpaired, true, options);
    sort(other, pairs, n, unpaired, false, options);
    for (size_t k = 0; k < n; k++) {
        double delta = quantity(&pairs[order[k]], unpaired, true, options) -
                       quantity(&pairs[other[k]], unpaired, false, options);
        double d, loss = smoothed(&d, options->beta * delta, options->label_smoothing);
        // By rank and not by pair: TRL multiplies the sorted losses by the weights as they come.
        double factor = scale * pairs[k].weight;
        double slope = factor * options->beta * d / normalizer;
        sums->loss += factor * loss;
        // The slope goes to the completions whose quantities met; aot's reference side is constant.
        pairs[order[k]].dchosen += slope;
        pairs[unpaired ? other[k] : order[k]].drejected -= slope;
    }
}

/// Adds to TRL's metrics. Losses of mean log-probs (simpo, orpo) report rewards of means, unless a
/// loss beside them reads the reference.
static void note(tr_dpo_sums_t *sums, const pair_t *p, const tr_dpo_options_t *options)
{
    bool means = (tr_dpo_uses(options, TR_DPO_SIMPO) || tr_dpo_uses(options, TR_DPO_ORPO)) &&
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

void tr_dpo_loss(tr_dpo_pair_t *pairs, size_t n, size_t *order, tr_dpo_sums_t *sums,
                 size_t normalizer, const tr_dpo_options_t *options)
{
    TR_ASSERT(normalizer > 0, "a mean over no pairs");
    for (size_t i = 0; i < n; i++) {
        pair_t p = pair_of(&pairs[i], options);
        pairs[i].dchosen = pairs[i].drejected = 0.0;
        // In the order of the enum, whatever the recipe's: sums have one order.
        for (size_t type = 0; type < TR_DPO_LOSS_COUNT; type++) {
            if (pair_losses[type] != NULL && tr_dpo_uses(options, (tr_dpo_loss_type_t)type)) {
                slope_t slope = pair_losses[type](&p, options);
                double factor =
                    pairs[i].weight * tr_dpo_loss_weight(options, (tr_dpo_loss_type_t)type);
                sums->loss += factor * slope.loss;
                pairs[i].dchosen += factor * slope.dw / (double)normalizer;
                pairs[i].drejected += factor * slope.dl / (double)normalizer;
            }
        }
        note(sums, &p, options);
    }
    // A chunk of the batch would be sorted by itself and give another loss.
    if (tr_dpo_couples_pairs(options)) {
        TR_ASSERT(n == normalizer && order != NULL, "%zu of %zu pairs, or no room to sort them", n,
                  normalizer);
    }
    // After the losses of single pairs, to which its slopes are added.
    if (tr_dpo_uses(options, TR_DPO_AOT)) {
        transport(pairs, n, order, sums, false, (double)normalizer, options);
    }
    if (tr_dpo_uses(options, TR_DPO_AOT_UNPAIRED)) {
        transport(pairs, n, order, sums, true, (double)normalizer, options);
    }
}
