// DPO's losses and their gradients against TRL (tests/golden/preference.json), chunks against the
// whole batch bit for bit, and numbers at the ends of the range.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/algo/dpo.h"
#include "tests/support/fields.h"
#include "tests/support/golden.h"

enum { PAIRS = 6, MOST = 128 };

static const char *const CASES[] = {
    "sigmoid",
    "hinge",
    "hinge_beyond",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sft",
    "sigmoid_norm",
    "mpo",
    "ld",
    "ld_ipo",
    "wpo",
    "wpo_aot",
    "forward_kl",
    "forward_kl_ipo",
    "js",
    "js_bco",
    "alpha",
    "alpha_limit",
    "cpo",
    "cpo_smoothed",
    "simpo",
    "orpo",
};
enum { CASE_COUNT = sizeof CASES / sizeof *CASES };

/// The golden batch: completions 0..PAIRS-1 are the chosen ones, PAIRS.. the rejected; ragged
/// tokens.
typedef struct batch {
    golden_t *golden;
    const size_t *lengths;
    size_t starts[2 * PAIRS + 1];
    const float *policy, *reference, *collisions;
} batch_t;

static batch_t open_batch(void)
{
    batch_t b = {.golden = golden_open(TEST_SOURCE_DIR "/tests/golden/preference.json")};
    size_t n;
    b.lengths = golden_sizes(b.golden, "lengths", &n);
    cr_assert_eq(n, 2 * PAIRS);
    for (size_t i = 0; i < n; i++) {
        b.starts[i + 1] = b.starts[i] + b.lengths[i];
    }
    cr_assert(b.starts[n] <= MOST);
    b.policy = golden_floats(b.golden, "policy", NULL);
    b.reference = golden_floats(b.golden, "reference", NULL);
    b.collisions = golden_floats(b.golden, "collisions", NULL);
    return b;
}

static const char *path_of(const char *name, const char *key)
{
    static char path[96];
    snprintf(path, sizeof path, "dpo/%s/%s", name, key);
    return path;
}

static double option(const batch_t *b, const char *name, const char *key, double otherwise)
{
    char path[160];
    snprintf(path, sizeof path, "dpo/%s/options/%s", name, key);
    return golden_has(b->golden, path) ? golden_number(b->golden, path) : otherwise;
}

static tr_dpo_options_t options_of(const batch_t *b, const char *name)
{
    tr_dpo_options_t o;
    tr_fields_init(&o, &tr_dpo_fields);
    o.loss_type = (tr_choices_t){0};
    for (int type = 0; type < TR_DPO_LOSS_COUNT; type++) {
        char key[64];
        snprintf(key, sizeof key, "weights/%s", fields_choice(&tr_dpo_fields, "loss_type", type));
        double weight = option(b, name, key, 0.0);
        if (weight != 0.0) {
            o.loss_type.items[o.loss_type.count++] = type;
            o.loss_weights.items[o.loss_weights.count++] = weight;
        }
    }
    o.beta = option(b, name, "beta", o.beta);
    o.label_smoothing = option(b, name, "label_smoothing", 0.0);
    o.f_alpha_divergence_coef = option(b, name, "f_alpha_divergence_coef", 0.5);
    o.ld_alpha = option(b, name, "ld_alpha", 1.0);
    o.discopop_tau = option(b, name, "discopop_tau", 0.05);
    o.simpo_gamma = option(b, name, "simpo_gamma", 0.5);
    o.use_weighting = option(b, name, "use_weighting", 0.0) != 0.0;
    const char *divergence = path_of(name, "options/f_divergence_type");
    if (golden_has(b->golden, divergence)) {
        const tr_field_t *field = tr_fields_find(&tr_dpo_fields, "f_divergence_type");
        cr_assert(tr_field_parse(&o, field, golden_string(b->golden, divergence), false));
    }
    return o;
}

/// Pairs first..first + count - 1 of the batch through the loss; gradient: of all tokens, theirs
/// written.
static double run(const batch_t *b, const tr_dpo_options_t *o, size_t first, size_t count,
                  float *gradient, tr_dpo_sums_t *sums)
{
    const bool needs = tr_dpo_needs_reference(o);
    tr_dpo_pair_t pairs[PAIRS] = {0};
    size_t shared[PAIRS], order[2 * PAIRS], chosen_tokens = b->starts[PAIRS];
    double nll = 0.0;
    for (size_t i = 0; i < count; i++) {
        size_t w = first + i, l = PAIRS + first + i, n_w = b->lengths[w], n_l = b->lengths[l];
        const float *policy[2] = {b->policy + b->starts[w], b->policy + b->starts[l]};
        const float *reference[2] = {b->reference + b->starts[w], b->reference + b->starts[l]};
        const float *collisions[2] = {b->collisions + b->starts[w], b->collisions + b->starts[l]};
        const double ld = o->ld_alpha;
        shared[i] = n_w < n_l ? n_w : n_l;
        pairs[i] = (tr_dpo_pair_t){
            .chosen = tr_dpo_sum(policy[0], n_w, shared[i], ld),
            .rejected = tr_dpo_sum(policy[1], n_l, shared[i], ld),
            .reference_chosen = needs ? tr_dpo_sum(reference[0], n_w, shared[i], ld) : 0.0,
            .reference_rejected = needs ? tr_dpo_sum(reference[1], n_l, shared[i], ld) : 0.0,
            .chosen_tokens = n_w,
            .rejected_tokens = n_l,
            .weight = o->use_weighting ? tr_dpo_weight(policy[0], collisions[0], n_w) *
                                             tr_dpo_weight(policy[1], collisions[1], n_l)
                                       : 1.0,
        };
        nll -= tr_dpo_sum(policy[0], n_w, n_w, 1.0);
    }
    tr_dpo_loss(pairs, count, order, sums, PAIRS, o);
    double share = tr_dpo_loss_weight(o, TR_DPO_SFT) / (double)chosen_tokens;
    for (size_t i = 0; i < count; i++) {
        tr_dpo_spread(gradient + b->starts[first + i], pairs[i].dchosen, pairs[i].chosen_tokens,
                      shared[i], o->ld_alpha, share);
        tr_dpo_spread(gradient + b->starts[PAIRS + first + i], pairs[i].drejected,
                      pairs[i].rejected_tokens, shared[i], o->ld_alpha, 0.0);
    }
    return share * nll;
}

static void expect_metric(const batch_t *b, const char *name, const char *metric, double sum)
{
    char key[64];
    snprintf(key, sizeof key, "metrics/%s", metric);
    const char *path = path_of(name, key);
    if (golden_has(b->golden, path)) {
        golden_expect_number(b->golden, path, sum / PAIRS, 1e-6, 1e-7);
    }
}

Test(dpo, every_loss_and_its_gradient_equal_trl)
{
    batch_t b = open_batch();
    for (size_t c = 0; c < CASE_COUNT; c++) {
        tr_dpo_options_t options = options_of(&b, CASES[c]);
        tr_dpo_sums_t sums = {0};
        float gradient[MOST];
        double nll = run(&b, &options, 0, PAIRS, gradient, &sums);
        cr_assert_eq(sums.pairs, PAIRS);
        golden_expect_number(b.golden, path_of(CASES[c], "loss"), sums.loss / PAIRS + nll, 1e-6,
                             1e-9);
        golden_expect(b.golden, path_of(CASES[c], "gradient"), gradient, b.starts[2 * PAIRS], 1e-6,
                      1e-9);
        expect_metric(&b, CASES[c], "rewards_chosen", sums.chosen_rewards);
        expect_metric(&b, CASES[c], "rewards_rejected", sums.rejected_rewards);
        expect_metric(&b, CASES[c], "rewards_accuracies", sums.accuracies);
        expect_metric(&b, CASES[c], "rewards_margins", sums.chosen_rewards - sums.rejected_rewards);
        expect_metric(&b, CASES[c], "logps_chosen", sums.chosen_logps);
        expect_metric(&b, CASES[c], "logps_rejected", sums.rejected_logps);
    }
    golden_close(&b.golden);
}

/// Loss, gradient and metrics of the batch, as bytes to compare.
typedef struct effect {
    double loss;
    tr_dpo_sums_t sums;
    float gradient[MOST];
} effect_t;

static void measure_effect(effect_t *effect, const batch_t *b, const tr_dpo_options_t *options)
{
    memset(effect, 0, sizeof *effect); // the bytes between the members too
    effect->loss = run(b, options, 0, PAIRS, effect->gradient, &effect->sums);
}

/// Another value than the one there, which the field takes.
static void change(tr_dpo_options_t *options, const tr_field_t *field)
{
    static const char *const values[] = {"0.25", "forward_kl", "true", "[0.5]"};
    tr_dpo_options_t before = *options;
    if (field->kind == TR_FIELD_REALS) {
        options->loss_weights = (tr_reals_t){1, {0.5}};
    }
    for (size_t i = 0; i < 4 && tr_field_equal(&before, options, field); i++) {
        tr_field_parse(options, field, values[i], false);
    }
    cr_assert_not(tr_field_equal(&before, options, field), "%s", field->name);
}

Test(dpo, an_option_that_a_loss_reads_changes_its_numbers)
{
    batch_t b = open_batch();
    size_t tried = 0, refused = 0;
    for (int type = 0; type < TR_DPO_LOSS_COUNT; type++) {
        for (size_t i = 0; i < tr_dpo_fields.count; i++) {
            const tr_field_t *field = &tr_dpo_fields.items[i];
            tr_dpo_options_t options;
            effect_t before, after;
            tr_fields_init(&options, &tr_dpo_fields);
            options.loss_type = (tr_choices_t){1, {type}};
            options.label_smoothing = type == TR_DPO_EXO_PAIR ? 0.1 : 0.0;
            if (strcmp(field->name, "f_alpha_divergence_coef") == 0) {
                const tr_field_t *kind = tr_fields_find(&tr_dpo_fields, "f_divergence_type");
                bool takes = tr_field_is_read(&options, &tr_dpo_fields, kind);
                options.f_divergence_type = takes ? TR_F_ALPHA_DIVERGENCE : TR_F_REVERSE_KL;
            }
            // the recipe refuses weights of pairs for a loss that is none of pairs
            bool excluded = strcmp(field->name, "loss_type") == 0 ||
                            (type == TR_DPO_SFT && strcmp(field->name, "use_weighting") == 0);
            bool read = tr_field_is_read(&options, &tr_dpo_fields, field);
            refused += !read;
            if (excluded || !read) {
                continue;
            }
            measure_effect(&before, &b, &options);
            change(&options, field);
            measure_effect(&after, &b, &options);
            cr_expect(memcmp(&before, &after, sizeof before) != 0, "%s reads %s, to no effect",
                      fields_choice(&tr_dpo_fields, "loss_type", type), field->name);
            tried++;
        }
    }
    cr_expect_gt(tried, 100U);
    cr_expect_gt(refused, 50U);
    golden_close(&b.golden);
}

Test(dpo, chunks_of_a_batch_give_the_bits_of_the_whole)
{
    batch_t b = open_batch();
    for (size_t c = 0; c < CASE_COUNT; c++) {
        tr_dpo_options_t options = options_of(&b, CASES[c]);
        if (tr_dpo_couples_pairs(&options)) {
            continue;
        }
        tr_dpo_sums_t whole = {0}, parts = {0};
        float one[MOST] = {0}, many[MOST] = {0};
        run(&b, &options, 0, PAIRS, one, &whole);
        run(&b, &options, 0, 1, many, &parts);
        run(&b, &options, 1, 3, many, &parts);
        run(&b, &options, 4, PAIRS - 4, many, &parts);
        cr_assert_arr_eq(one, many, sizeof one, "%s", CASES[c]);
        cr_assert(whole.loss == parts.loss && whole.pairs == parts.pairs, "%s", CASES[c]);
    }
    golden_close(&b.golden);
}

Test(dpo, conservative_dpo_is_a_mixture_of_both_labels)
{
    tr_dpo_options_t options;
    tr_fields_init(&options, &tr_dpo_fields);
    double losses[3];
    for (int i = 0; i < 3; i++) {
        tr_dpo_pair_t pair = {.chosen = i == 1 ? -5.0 : -3.0,
                              .rejected = i == 1 ? -3.0 : -5.0,
                              .chosen_tokens = 1,
                              .rejected_tokens = 1,
                              .weight = 1.0};
        tr_dpo_sums_t sums = {0};
        options.label_smoothing = i == 2 ? 0.3 : 0.0;
        tr_dpo_loss(&pair, 1, NULL, &sums, 1, &options);
        losses[i] = sums.loss;
    }
    cr_assert(fabs(losses[2] - (0.7 * losses[0] + 0.3 * losses[1])) < 1e-15);
    cr_assert(fabs(losses[0] - log1p(exp(-0.2))) < 1e-15);
}

Test(dpo, a_reference_is_needed_unless_every_loss_does_without)
{
    tr_dpo_options_t options;
    tr_fields_init(&options, &tr_dpo_fields);
    cr_assert(tr_dpo_needs_reference(&options));
    options.reference_free = true;
    cr_assert(!tr_dpo_needs_reference(&options));
    options.reference_free = false;
    options.loss_type = (tr_choices_t){2, {TR_DPO_SIMPO, TR_DPO_SFT}};
    cr_assert(!tr_dpo_needs_reference(&options));
}

Test(dpo, far_apart_log_probs_give_finite_numbers_and_a_nan_stays_one)
{
    const double far[2] = {-1e5, NAN};
    for (int type = 0; type < TR_DPO_LOSS_COUNT; type++) {
        tr_dpo_options_t options;
        size_t order[2];
        tr_fields_init(&options, &tr_dpo_fields);
        options.loss_type = (tr_choices_t){1, {type}};
        options.label_smoothing = type == TR_DPO_EXO_PAIR ? 0.1 : 0.0;
        for (int i = 0; i < 2 && type != TR_DPO_SFT; i++) {
            tr_dpo_sums_t sums = {0};
            tr_dpo_pair_t pair = {.chosen = far[i],
                                  .rejected = -1.0,
                                  .chosen_tokens = 1,
                                  .rejected_tokens = 1,
                                  .weight = 1.0};
            tr_dpo_loss(&pair, 1, order, &sums, 1, &options);
            cr_assert(i == 0 ? isfinite(sums.loss) && isfinite(pair.dchosen) &&
                                   isfinite(pair.drejected)
                             : isnan(sums.loss) || isnan(pair.dchosen),
                      "%s: %g %g %g", fields_choice(&tr_dpo_fields, "loss_type", type), sums.loss,
                      pair.dchosen, pair.drejected);
        }
    }
}
