/// Updates from preferences follow the slopes of their losses, whatever the chunk; what is measured
/// is what the models say.
#include "actor/algorithms.h"

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
    double kl;
    float margins[SEQUENCES / 2];
} rig_preference_t;

static const bool DESIRABLE[SEQUENCES / 2] = {true, false};

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
    double logps[2][2], reference[2][2], slopes[2][2], nll = 0.0;
    size_t tokens[2][2], order[4], chosen = length_of(s, 0) + length_of(s, 2);
    for (size_t i = 0; i < SEQUENCES; i++) {
        size_t n = length_of(s, i), other = length_of(s, i ^ 1);
        const int32_t at = s->response_starts[i];
        tokens[i % 2][i / 2] = n;
        logps[i % 2][i / 2] =
            tr_dpo_sum(logprobs + at, n, n < other ? n : other, rig->dpo.ld_alpha);
        reference[i % 2][i / 2] =
            tr_dpo_sum(rig->reference + at, n, n < other ? n : other, rig->dpo.ld_alpha);
        nll -= i % 2 == 0 ? tr_dpo_sum(logprobs + at, n, n, 1.0) : 0.0;
    }
    const tr_dpo_pairs_t pairs = {.pairs = 2,
                                  .chosen = logps[0],
                                  .rejected = logps[1],
                                  .reference_chosen = reference[0],
                                  .reference_rejected = reference[1],
                                  .chosen_tokens = tokens[0],
                                  .rejected_tokens = tokens[1],
                                  .order = order};
    tr_dpo_sums_t sums = {0};
    tr_dpo_loss(slopes[0], slopes[1], &sums, &pairs, 2, &rig->dpo);
    return sums.loss / 2.0 + tr_dpo_loss_weight(&rig->dpo, TR_DPO_SFT) * nll / (double)chosen;
}

/// The gradient that an update followed, and its report.
static float *learn_dpo(rig_preference_t *rig, actor_dpo_report_t *report, size_t chunk)
{
    tr_train_pass_t walk = learning_walk(chunk, LEARNING_PLAIN);
    tr_error_t err = {0};
    float *before = learning_parameters(&rig->learning);
    tr_status status = actor_learn_dpo(report, rig->learning.trainer, &rig->sequences,
                                       rig->reference, &rig->dpo, &walk, &err);
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
        actor_dpo_report_t report;
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
    actor_dpo_report_t one, all;
    open(&rig, false);
    learn_dpo(&rig, &one, 1);
    learning_close(&rig.learning);
    open(&rig, false);
    learn_dpo(&rig, &all, 10);
    double norm = one.pass.norm_sum;
    cr_expect_float_eq(norm, all.pass.norm_sum, 1e-5 * norm);
    cr_expect_eq(one.sums.loss, all.sums.loss);
    learning_close(&rig.learning);
}

Test(actor_preference, what_evaluates_learns_nothing_and_measures_the_same)
{
    static rig_preference_t rig;
    actor_dpo_report_t measured, learnt;
    tr_error_t err = {0};
    tr_train_pass_t walk = learning_walk(1, LEARNING_PLAIN);
    walk.evaluate = true;
    open(&rig, false);
    float *before = learning_parameters(&rig.learning);
    cr_assert_eq(actor_learn_dpo(&measured, rig.learning.trainer, &rig.sequences, rig.reference,
                                 &rig.dpo, &walk, &err),
                 TR_OK, "%s", err.text);
    cr_expect_arr_eq(before, learning_parameters(&rig.learning),
                     rig.learning.total * sizeof *before);
    cr_expect_eq(measured.pass.updates, 0);
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
    double logps[2], reference[2], slopes[2];
    tr_kto_sums_t sums = {0};
    for (size_t i = 0; i < 2; i++) {
        size_t n = length_of(s, i);
        logps[i] = tr_dpo_sum(logprobs + s->response_starts[i], n, n, 1.0);
        reference[i] = tr_dpo_sum(rig->reference + s->response_starts[i], n, n, 1.0);
    }
    tr_kto_loss(slopes, &sums, logps, reference, DESIRABLE, 2, rig->kl, 2, &rig->kto);
    return sums.loss / 2.0;
}

Test(actor_preference, kto_follows_the_slope_of_its_loss_at_the_kl_of_the_mismatched)
{
    static rig_preference_t rig;
    actor_kto_report_t report;
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
    tr_status status = actor_learn_kto(&report, rig.learning.trainer, &rig.sequences, 2,
                                       rig.reference, DESIRABLE, &rig.kto, &walk, &err);
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
    float scores[SEQUENCES], slopes[2][2];
    tr_error_t err = {0};
    tr_bradley_terry_sums_t sums = {0};
    tr_response_pass_t *pass = tr_response_pass_new(model->model);
    cr_assert_eq(tr_response_scores(pass, &rig->sequences, all, SEQUENCES, false, scores, &err),
                 TR_OK);
    tr_response_pass_destroy(&pass);
    const float chosen[2] = {scores[0], scores[2]}, rejected[2] = {scores[1], scores[3]};
    tr_bradley_terry_loss(slopes[0], slopes[1], &sums, chosen, rejected, rig->margins, 2, 2, 0.1);
    return sums.loss / 2.0;
}

Test(actor_preference, a_reward_model_follows_the_slope_of_its_loss)
{
    static rig_preference_t rig;
    actor_reward_report_t report;
    tr_error_t err = {0};
    tr_train_pass_t walk = learning_walk(1, LEARNING_PLAIN);
    small_t model;
    open(&rig, true);
    cr_assert(small_open(&model, &rig.config, NULL, 1, false));
    float *before = learning_parameters(&rig.learning);
    tr_status status = actor_learn_reward(&report, rig.learning.trainer, &rig.sequences,
                                          rig.margins, 0.1, &walk, &err);
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
    actor_dpo_report_t report;
    actor_kto_report_t kto;
    tr_error_t err = {0};
    tr_train_pass_t walk = learning_walk(1, 0.0);
    open(&rig, false);
    rig.sequences.count = 3;
    cr_expect_eq(actor_learn_dpo(&report, rig.learning.trainer, &rig.sequences, rig.reference,
                                 &rig.dpo, &walk, &err),
                 TR_ERR_ARGUMENT);
    cr_expect_eq(actor_learn_kto(&kto, rig.learning.trainer, &rig.sequences, 1, rig.reference,
                                 DESIRABLE, &rig.kto, &walk, &err),
                 TR_ERR_ARGUMENT);
    learning_close(&rig.learning);
}
