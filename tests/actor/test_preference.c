/// Updates from preferences follow the slopes of their losses, whatever the chunk; what is measured
/// is what the models say.
#include "actor/training.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tests/support/golden.h"
#include "tests/support/learning.h"

enum { SEQUENCES = 4, MOST = 64 };

/// A trainer, two pairs of the learning's sequences, and made-up log-probs of a reference.
typedef struct rig_preference {
    learning_t learning;
    tr_model_config_t config;
    tr_sequences_t sequences;
    float reference[MOST];
    size_t tokens;
    tr_dpo_options_t dpo;
    tr_kto_options_t kto;
    tr_reward_options_t reward;
    double kl;
    float margins[SEQUENCES / 2];
} rig_preference_t;

static const int32_t DESIRABLE[SEQUENCES / 2] = {1, 0};

static void open(rig_preference_t *rig, bool scalar)
{
    *rig = (rig_preference_t){.config = learning_config(scalar), .margins = {0.5f, 0.25f}};
    learning_open(&rig->learning, &rig->config, 2);
    rig->sequences = learning_sequences(&rig->learning.small);
    rig->sequences.count = SEQUENCES;
    rig->tokens = (size_t)rig->sequences.response_starts[SEQUENCES];
    cr_assert(rig->tokens <= MOST);
    for (size_t i = 0; i < rig->tokens; i++) {
        rig->reference[i] = -4.0f - 0.25f * (float)(i % 5);
    }
    tr_fields_init(&rig->dpo, &tr_dpo_fields);
    tr_fields_init(&rig->kto, &tr_kto_fields);
    tr_fields_init(&rig->reward, &tr_reward_fields);
    rig->reward.center_rewards_coefficient = 0.1;
}

static size_t length_of(const tr_sequences_t *s, size_t i)
{
    return (size_t)(s->response_starts[i + 1] - s->response_starts[i]);
}

// The losses once more, straight from the models' log-probs

static double dpo_objective(void *context, small_t *model)
{
    const rig_preference_t *rig = context;
    const tr_sequences_t *s = &rig->sequences;
    const float *logprobs = small_response(model, s, SEQUENCES, 1.0f);
    tr_dpo_pair_t pairs[2];
    tr_dpo_sums_t sums = {0};
    size_t order[4], chosen = length_of(s, 0) + length_of(s, 2);
    double nll = 0.0;
    for (size_t i = 0; i < 2; i++) {
        size_t n_w = length_of(s, 2 * i), n_l = length_of(s, 2 * i + 1);
        size_t shared = n_w < n_l ? n_w : n_l;
        const int32_t *at = s->response_starts + 2 * i;
        const double ld = rig->dpo.ld_alpha;
        pairs[i] = (tr_dpo_pair_t){
            .chosen = tr_dpo_sum(logprobs + at[0], n_w, shared, ld),
            .rejected = tr_dpo_sum(logprobs + at[1], n_l, shared, ld),
            .reference_chosen = tr_dpo_sum(rig->reference + at[0], n_w, shared, ld),
            .reference_rejected = tr_dpo_sum(rig->reference + at[1], n_l, shared, ld),
            .chosen_tokens = n_w,
            .rejected_tokens = n_l,
            .weight = 1.0,
        };
        nll -= tr_dpo_sum(logprobs + at[0], n_w, n_w, 1.0);
    }
    tr_dpo_loss(pairs, 2, order, &sums, 2, &rig->dpo);
    return sums.loss / 2.0 + tr_dpo_loss_weight(&rig->dpo, TR_DPO_SFT) * nll / (double)chosen;
}

static actor_dpo_t dpo_of(const rig_preference_t *rig)
{
    return (actor_dpo_t){.options = &rig->dpo, .reference = rig->reference};
}

static actor_kto_t kto_of(const rig_preference_t *rig)
{
    return (actor_kto_t){.options = &rig->kto, .reference = rig->reference, .desirable = DESIRABLE};
}

/// The gradient that an update followed, and its report.
static float *learn_dpo(rig_preference_t *rig, actor_dpo_t *report, size_t chunk)
{
    tr_train_pass_t walk = learning_walk(chunk, LEARNING_PLAIN);
    tr_error_t err = {0};
    float *before = learning_parameters(&rig->learning);
    *report = dpo_of(rig);
    tr_status status = actor_learn_dpo(report, rig->learning.trainer, &rig->sequences, &walk, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    float *gradient = learning_parameters(&rig->learning);
    for (size_t i = 0; i < rig->learning.total; i++) {
        gradient[i] = before[i] - gradient[i];
    }
    return gradient;
}

Test(actor_preference, dpo_follows_the_slope_of_its_loss)
{
    static const tr_dpo_loss_type_t types[] = {TR_DPO_SIGMOID, TR_DPO_IPO, TR_DPO_AOT,
                                               TR_DPO_AOT_UNPAIRED, TR_DPO_ORPO};
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        static rig_preference_t rig;
        actor_dpo_t report;
        small_t model;
        open(&rig, false);
        rig.dpo.loss_type = (tr_choices_t){2, {(int)types[k], TR_DPO_SFT}};
        rig.dpo.loss_weights = (tr_reals_t){2, {20.0, 0.5}};
        rig.dpo.ld_alpha = 0.5;
        float *before = learning_parameters(&rig.learning);
        float *gradient = learn_dpo(&rig, &report, 1);
        learning_check_slopes(&rig.learning, &rig.config, before, gradient, 12, dpo_objective,
                              &rig);
        cr_assert(small_open(&model, &rig.config, NULL, 1, false));
        double loss = report.sums.loss / 2.0 + 0.5 * report.nll / (double)report.chosen.count;
        cr_expect_float_eq(loss, dpo_objective(&rig, &model), 1e-6);
        cr_expect_eq(report.sums.pairs, 2);
        cr_expect_eq(report.chosen.count + report.rejected.count, rig.tokens);
        small_close(&model);
        learning_close(&rig.learning);
    }
}

Test(actor_preference, pairs_stay_together_whatever_the_chunk)
{
    static rig_preference_t rig;
    actor_dpo_t one, all;
    open(&rig, false);
    learn_dpo(&rig, &one, 1);
    learning_close(&rig.learning);
    open(&rig, false);
    learn_dpo(&rig, &all, 10);
    double norm = one.result.norm_sum;
    cr_expect_float_eq(norm, all.result.norm_sum, 1e-5 * norm);
    cr_expect_eq(one.sums.loss, all.sums.loss);
    learning_close(&rig.learning);
}

Test(actor_preference, what_evaluates_learns_nothing_and_measures_the_same)
{
    static rig_preference_t rig;
    actor_dpo_t measured, learnt;
    tr_error_t err = {0};
    tr_train_pass_t walk = learning_walk(1, LEARNING_PLAIN);
    walk.evaluate = true;
    open(&rig, false);
    float *before = learning_parameters(&rig.learning);
    measured = dpo_of(&rig);
    cr_assert_eq(actor_learn_dpo(&measured, rig.learning.trainer, &rig.sequences, &walk, &err),
                 TR_OK, "%s", err.text);
    cr_expect_arr_eq(before, learning_parameters(&rig.learning),
                     rig.learning.total * sizeof *before);
    cr_expect_eq(measured.result.updates, 0);
    learn_dpo(&rig, &learnt, 1);
    cr_expect_float_eq(measured.sums.loss, learnt.sums.loss, 1e-12);
    cr_expect_float_eq(measured.chosen.entropy, learnt.chosen.entropy, 1e-9);
    learning_close(&rig.learning);
}

static double kto_objective(void *context, small_t *model)
{
    const rig_preference_t *rig = context;
    const tr_sequences_t *s = &rig->sequences;
    const float *logprobs = small_response(model, s, SEQUENCES, 1.0f);
    tr_kto_sums_t sums = {0};
    for (size_t i = 0; i < 2; i++) {
        size_t n = length_of(s, i);
        tr_kto_loss(&sums, tr_dpo_sum(logprobs + s->response_starts[i], n, n, 1.0),
                    tr_dpo_sum(rig->reference + s->response_starts[i], n, n, 1.0),
                    DESIRABLE[i] != 0, rig->kl, 2, &rig->kto);
    }
    return sums.loss / 2.0;
}

Test(actor_preference, kto_follows_the_slope_of_its_loss_at_the_kl_of_the_mismatched)
{
    static rig_preference_t rig;
    actor_kto_t report;
    tr_error_t err = {0};
    tr_train_pass_t walk = learning_walk(1, LEARNING_PLAIN);
    double logps[2], reference[2];
    open(&rig, false);
    rig.kto.desirable_weight = rig.kto.undesirable_weight = 20.0;
    float *before = learning_parameters(&rig.learning);
    small_t model;
    cr_assert(small_open(&model, &rig.config, NULL, 1, false));
    const float *logprobs = small_response(&model, &rig.sequences, SEQUENCES, 1.0f);
    for (size_t i = 0; i < 2; i++) { // sequences 2 and 3 stand for the mismatched ones
        size_t n = length_of(&rig.sequences, i + 2);
        logps[i] = tr_dpo_sum(logprobs + rig.sequences.response_starts[i + 2], n, n, 1.0);
        reference[i] = tr_dpo_sum(rig.reference + rig.sequences.response_starts[i + 2], n, n, 1.0);
    }
    rig.kl = tr_kto_kl(logps, reference, 2);
    report = kto_of(&rig);
    tr_status status = actor_learn_kto(&report, rig.learning.trainer, &rig.sequences, &walk, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    cr_expect_float_eq(report.kl, rig.kl, 1e-6);
    cr_expect_gt(report.kl, 0.0);
    cr_expect_float_eq(report.sums.loss / 2.0, kto_objective(&rig, &model), 1e-6);
    float *gradient = learning_parameters(&rig.learning);
    for (size_t i = 0; i < rig.learning.total; i++) {
        gradient[i] = before[i] - gradient[i];
    }
    learning_check_slopes(&rig.learning, &rig.config, before, gradient, 12, kto_objective, &rig);
    cr_expect_eq(report.sums.chosen, 1);
    cr_expect_eq(report.sums.rejected, 1);
    small_close(&model);
    learning_close(&rig.learning);
}

static double reward_objective(void *context, small_t *model)
{
    const rig_preference_t *rig = context;
    const uint32_t all[SEQUENCES] = {0, 1, 2, 3};
    float scores[SEQUENCES], slopes[2];
    tr_error_t err = {0};
    tr_bradley_terry_sums_t sums = {0};
    tr_response_pass_t *pass = tr_response_pass_new(model->model);
    cr_assert_eq(tr_response_scores(pass, &rig->sequences, all, SEQUENCES, false, scores, &err),
                 TR_OK);
    tr_response_pass_destroy(&pass);
    for (size_t i = 0; i < 2; i++) {
        tr_bradley_terry_loss(&slopes[0], &slopes[1], &sums, scores[2 * i], scores[2 * i + 1],
                              rig->margins[i], 2, &rig->reward);
    }
    return sums.loss / 2.0;
}

Test(actor_preference, a_reward_model_follows_the_slope_of_its_loss)
{
    static rig_preference_t rig;
    actor_reward_t report = {.options = &rig.reward};
    tr_error_t err = {0};
    tr_train_pass_t walk = learning_walk(1, LEARNING_PLAIN);
    small_t model;
    open(&rig, true);
    cr_assert(small_open(&model, &rig.config, NULL, 1, false));
    float *before = learning_parameters(&rig.learning);
    report.margins = rig.margins;
    tr_status status =
        actor_learn_reward(&report, rig.learning.trainer, &rig.sequences, &walk, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    cr_expect_float_eq(report.sums.loss / 2.0, reward_objective(&rig, &model), 1e-6);
    float *gradient = learning_parameters(&rig.learning);
    for (size_t i = 0; i < rig.learning.total; i++) {
        gradient[i] = before[i] - gradient[i];
    }
    learning_check_slopes(&rig.learning, &rig.config, before, gradient, 12, reward_objective, &rig);
    small_close(&model);
    learning_close(&rig.learning);
}

Test(actor_preference, what_cannot_be_pairs_is_refused)
{
    static rig_preference_t rig;
    tr_error_t err = {0};
    tr_train_pass_t walk = learning_walk(1, 0.0);
    open(&rig, false);
    actor_dpo_t dpo = dpo_of(&rig);
    actor_kto_t kto = kto_of(&rig);
    rig.sequences.count = 3;
    cr_expect_eq(actor_learn_dpo(&dpo, rig.learning.trainer, &rig.sequences, &walk, &err),
                 TR_ERR_ARGUMENT);
    cr_expect_eq(actor_learn_kto(&kto, rig.learning.trainer, &rig.sequences, &walk, &err),
                 TR_ERR_ARGUMENT);
    learning_close(&rig.learning);
}
