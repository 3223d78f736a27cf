#include "actor/training.h"

#include <stdlib.h>

#include "actor/learner.h"
#include "actor/preference.h"
#include "proto/body.h"
#include "proto/learner/tally.h"

/// A request as far as all algorithms read it.
typedef struct training {
    tr_learner_t *learner;
    const tr_message_t *request;
    const json_t *body;
    tr_train_pass_t walk;
    tr_sequences_t sequences;
    size_t tokens; // of all responses
    int32_t *owned;
    json_t *metrics;
} training_t;

/// Fails with nothing to release. From here on until training_end the learner is stale, unless it only evaluates.
static tr_status training_begin(training_t *training, tr_learner_t *learner,
                                const tr_message_t *request, bool scalar, tr_error_t *err)
{
    *training = (training_t){.learner = learner, .request = request};
    training->body = tr_message_body(request);
    TR_TRY(tr_learner_holds(learner, err));
    const tr_model_t *model = tr_trainer_model(learner->trainer);
    if (tr_model_config(model)->scalar_head != scalar) {
        return tr_fail(err, TR_ERR_UNSUPPORTED, "this actor learns a %s",
                       scalar ? "policy, not scores" : "reward model, not a policy");
    }
    TR_TRY(tr_learner_read_train_pass(&training->walk, learner, training->body, err));
    tr_status status = tr_learner_take(&training->sequences, &training->owned, model, request, err);
    if (status != TR_OK) {
        free(training->owned);
        return status;
    }
    training->tokens = (size_t)training->sequences.response_starts[training->sequences.count];
    training->metrics = json_object();
    return TR_OK;
}

static void mark_stale(training_t *training)
{
    if (!training->walk.evaluate) {
        training->learner->step = TR_LEARNER_STALE;
    }
}

/// status: of the learning. Answers with the metrics.
static tr_status training_end(training_t *training, tr_status status, tr_message_t *reply)
{
    if (status == TR_OK) {
        if (!training->walk.evaluate) {
            training->learner->step = training->walk.step;
        }
        if (json_object_size(training->metrics) > 0) {
            json_object_set(tr_message_body(reply), "metrics", training->metrics);
        }
    }
    json_decref(training->metrics);
    free(training->owned);
    return status;
}

static tr_status put(training_t *training, const char *name, double sum, double weight,
                     tr_error_t *err)
{
    return tr_tally_put(training->metrics, name, sum, weight, err);
}

static tr_status put_norm(training_t *training, const tr_train_pass_result_t *walk, tr_error_t *err)
{
    return put(training, "grad_norm", walk->norm_sum, (double)walk->updates, err);
}

// PPO

/// The vectors over response tokens that come with the sequences.
static tr_status take_experience(actor_experience_t *experience, const training_t *training,
                                 tr_error_t *err)
{
    tr_view_t logprobs, advantages;
    TR_TRY(tr_message_expect_tensor(&logprobs, training->request, "logprobs", TR_F32,
                                    training->tokens, err));
    TR_TRY(tr_message_expect_tensor(&advantages, training->request, "advantages", TR_F32,
                                    training->tokens, err));
    *experience = (actor_experience_t){training->sequences, logprobs.data, advantages.data};
    return TR_OK;
}

static json_t *ppo_body(const actor_report_t *report)
{
    double n = (double)report->sums.tokens;
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "loss", report->sums.loss / n,
                     "clipfrac", report->sums.clipped / n, "approxkl", report->sums.approxkl / n,
                     "ratio", report->sums.ratio / n, "ratio_var", report->ratio_variance,
                     "entropy", report->entropy_sum / n, "mismatch", (double)report->mismatch,
                     "grad_norm", report->walk.norm_sum / (double)report->walk.updates);
}

tr_status actor_train_ppo(tr_learner_t *learner, const tr_message_t *request, tr_message_t *reply,
                          tr_error_t *err)
{
    training_t t;
    actor_experience_t experience;
    actor_report_t report;
    tr_ppo_options_t options;
    tr_status status;
    TR_TRY(training_begin(&t, learner, request, false, err));
    TR_TRY_GOTO(tr_learner_read_ppo(&options, t.body, err), done);
    TR_TRY_GOTO(take_experience(&experience, &t, err), done);
    mark_stale(&t);
    TR_TRY_GOTO(actor_learn_ppo(&report, learner->trainer, &experience, &options, &t.walk, err),
                done);
    tr_message_set_body(reply, ppo_body(&report));
done:
    return training_end(&t, status, reply);
}

// Next-token training

static tr_status read_sft(tr_sft_options_t *options, tr_train_pass_t *walk, const json_t *body,
                          tr_error_t *err)
{
    const char *where = "train_sft", *name;
    tr_sft_options_init(options);
    TR_TRY(tr_body_string(&name, body, "loss_type", where, err));
    TR_TRY(
        tr_body_real(&options->label_smoothing_factor, body, "label_smoothing_factor", where, err));
    TR_TRY(tr_body_real(&walk->neftune_noise_alpha, body, "neftune_noise_alpha", where, err));
    if (!tr_sft_loss_from_name(&options->loss_type, name)) {
        return tr_fail(err, TR_ERR_PROTOCOL, "train_sft: loss_type: unknown loss '%s'", name);
    }
    double factor = options->label_smoothing_factor;
    double most = options->loss_type == TR_SFT_DFT ? 0.0 : 1.0;
    if (factor != 0.0 && !(factor > 0.0 && factor < most)) {
        return tr_fail(err, TR_ERR_PROTOCOL,
                       "train_sft: label_smoothing_factor: %g with loss_type '%s'", factor, name);
    }
    return TR_OK;
}

tr_status actor_train_sft(tr_learner_t *learner, const tr_message_t *request, tr_message_t *reply,
                          tr_error_t *err)
{
    training_t t;
    actor_sft_report_t report;
    tr_sft_options_t options;
    tr_view_t mask = {0};
    tr_status status;
    TR_TRY(training_begin(&t, learner, request, false, err));
    TR_TRY_GOTO(read_sft(&options, &t.walk, t.body, err), done);
    if (tr_message_tensor(&mask, request, "mask")) {
        TR_TRY_GOTO(tr_message_expect_tensor(&mask, request, "mask", TR_F32, t.tokens, err), done);
    }
    mark_stale(&t);
    TR_TRY_GOTO(
        actor_learn_sft(&report, learner->trainer, &t.sequences, mask.data, &options, &t.walk, err),
        done);
    double n = (double)report.sums.tokens;
    TR_TRY_GOTO(put(&t, "loss", report.sums.loss, n, err), done);
    TR_TRY_GOTO(put_norm(&t, &report.walk, err), done);
    TR_TRY_GOTO(put(&t, "entropy", report.entropy_sum, n, err), done);
    TR_TRY_GOTO(put(&t, "mean_token_accuracy", report.greedy_sum, n, err), done);
done:
    return training_end(&t, status, reply);
}

// DPO

static tr_status read_losses(tr_dpo_options_t *options, const json_t *body, tr_error_t *err)
{
    json_t *losses, *weight;
    const char *name;
    tr_dpo_loss_type_t type;
    TR_TRY(tr_body_object(&losses, body, "losses", "train_dpo", err));
    options->used[TR_DPO_SIGMOID] = false;
    json_object_foreach(losses, name, weight)
    {
        if (!tr_dpo_loss_from_name(&type, name)) {
            return tr_fail(err, TR_ERR_PROTOCOL, "train_dpo: losses: unknown loss '%s'", name);
        }
        TR_TRY(tr_body_real(&options->weights[type], losses, name, "train_dpo: losses", err));
        options->used[type] = true;
    }
    return TR_OK;
}

static tr_status read_dpo(tr_dpo_options_t *options, const json_t *body, tr_error_t *err)
{
    const char *where = "train_dpo", *divergence;
    tr_dpo_options_init(options);
    TR_TRY(read_losses(options, body, err));
    TR_TRY(tr_body_real(&options->beta, body, "beta", where, err));
    TR_TRY(tr_body_real(&options->label_smoothing, body, "label_smoothing", where, err));
    TR_TRY(tr_body_real(&options->f_alpha_divergence_coef, body, "f_alpha_divergence_coef", where,
                        err));
    TR_TRY(tr_body_real(&options->ld_alpha, body, "ld_alpha", where, err));
    TR_TRY(tr_body_real(&options->discopop_tau, body, "discopop_tau", where, err));
    TR_TRY(tr_body_real(&options->simpo_gamma, body, "simpo_gamma", where, err));
    TR_TRY(tr_body_bool(&options->use_weighting, body, "use_weighting", where, err));
    TR_TRY(tr_body_bool(&options->reference_free, body, "reference_free", where, err));
    TR_TRY(tr_body_string(&divergence, body, "f_divergence_type", where, err));
    if (!tr_f_divergence_from_name(&options->f_divergence_type, divergence)) {
        return tr_fail(err, TR_ERR_PROTOCOL, "train_dpo: f_divergence_type: unknown '%s'",
                       divergence);
    }
    return TR_OK;
}

/// What DPO and KTO say of the two classes of completions; rewards and logps: sums.
typedef struct class_sums {
    double count;
    double rewards, logps;
    const actor_tokens_t *tokens;
} class_sums_t;

static tr_status put_classes(training_t *t, const class_sums_t *chosen,
                             const class_sums_t *rejected, tr_error_t *err)
{
    const actor_tokens_t *w = chosen->tokens, *l = rejected->tokens;
    TR_TRY(put(t, "rewards/chosen", chosen->rewards, chosen->count, err));
    TR_TRY(put(t, "rewards/rejected", rejected->rewards, rejected->count, err));
    TR_TRY(put(t, "logps/chosen", chosen->logps, chosen->count, err));
    TR_TRY(put(t, "logps/rejected", rejected->logps, rejected->count, err));
    TR_TRY(put(t, "logits/chosen", w->logits, (double)w->count, err));
    TR_TRY(put(t, "logits/rejected", l->logits, (double)l->count, err));
    return put(t, "entropy", w->entropy + l->entropy, (double)(w->count + l->count), err);
}

static tr_status put_dpo(training_t *t, const actor_dpo_report_t *report,
                         const tr_dpo_options_t *options, tr_error_t *err)
{
    const tr_dpo_sums_t *sums = &report->sums;
    double pairs = (double)sums->pairs, tokens = (double)report->chosen.count;
    bool sft = options->used[TR_DPO_SFT];
    double nll = sft ? options->weights[TR_DPO_SFT] * report->nll / tokens : 0.0;
    const class_sums_t chosen = {pairs, sums->chosen_rewards, sums->chosen_logps, &report->chosen};
    const class_sums_t rejected = {pairs, sums->rejected_rewards, sums->rejected_logps,
                                   &report->rejected};
    TR_TRY(put(t, "loss", sums->loss + nll * pairs, pairs, err));
    TR_TRY(put_norm(t, &report->walk, err));
    TR_TRY(put_classes(t, &chosen, &rejected, err));
    TR_TRY(put(t, "rewards/accuracies", sums->accuracies, pairs, err));
    TR_TRY(put(t, "rewards/margins", sums->chosen_rewards - sums->rejected_rewards, pairs, err));
    TR_TRY(put(t, "mean_token_accuracy", report->chosen.greedy, tokens, err));
    return put(t, "nll_loss", sft ? report->nll : 0.0, sft ? tokens : 0.0, err);
}

static tr_status take_reference(const float **reference, const training_t *t, tr_error_t *err)
{
    tr_view_t view;
    TR_TRY(tr_message_expect_tensor(&view, t->request, "reference", TR_F32, t->tokens, err));
    *reference = view.data;
    return TR_OK;
}

tr_status actor_train_dpo(tr_learner_t *learner, const tr_message_t *request, tr_message_t *reply,
                          tr_error_t *err)
{
    training_t t;
    actor_dpo_report_t report;
    tr_dpo_options_t options;
    const float *reference = NULL;
    tr_status status;
    TR_TRY(training_begin(&t, learner, request, false, err));
    TR_TRY_GOTO(read_dpo(&options, t.body, err), done);
    if (tr_dpo_needs_reference(&options)) {
        TR_TRY_GOTO(take_reference(&reference, &t, err), done);
    }
    mark_stale(&t);
    TR_TRY_GOTO(
        actor_learn_dpo(&report, learner->trainer, &t.sequences, reference, &options, &t.walk, err),
        done);
    status = put_dpo(&t, &report, &options, err);
done:
    return training_end(&t, status, reply);
}

// KTO

static tr_status read_kto(tr_kto_options_t *options, const json_t *body, tr_error_t *err)
{
    const char *where = "train_kto", *type;
    tr_kto_options_init(options);
    TR_TRY(tr_body_real(&options->beta, body, "beta", where, err));
    TR_TRY(tr_body_real(&options->desirable_weight, body, "desirable_weight", where, err));
    TR_TRY(tr_body_real(&options->undesirable_weight, body, "undesirable_weight", where, err));
    TR_TRY(tr_body_string(&type, body, "loss_type", where, err));
    if (!tr_kto_loss_from_name(&options->loss_type, type)) {
        return tr_fail(err, TR_ERR_PROTOCOL, "train_kto: loss_type: unknown loss '%s'", type);
    }
    return TR_OK;
}

/// *desirable: [*rows], owned by the caller.
static tr_status take_labels(bool **desirable, size_t *rows, const training_t *t,
                             const tr_kto_options_t *options, tr_error_t *err)
{
    tr_view_t view;
    *rows = t->sequences.count / (options->loss_type == TR_KTO_KTO ? 2 : 1);
    TR_TRY(tr_message_expect_tensor(&view, t->request, "desirable", TR_I32, *rows, err));
    const int32_t *labels = view.data;
    *desirable = tr_calloc(*rows + 1, sizeof **desirable);
    for (size_t i = 0; i < *rows; i++) {
        (*desirable)[i] = labels[i] != 0;
    }
    return TR_OK;
}

static tr_status put_kto(training_t *t, const actor_kto_report_t *report, tr_error_t *err)
{
    const tr_kto_sums_t *sums = &report->sums;
    double good = (double)sums->chosen, bad = (double)sums->rejected;
    const class_sums_t chosen = {good, sums->chosen_rewards, sums->chosen_logps, &report->chosen};
    const class_sums_t rejected = {bad, sums->rejected_rewards, sums->rejected_logps,
                                   &report->rejected};
    TR_TRY(put(t, "loss", sums->loss, good + bad, err));
    TR_TRY(put_norm(t, &report->walk, err));
    TR_TRY(put(t, "kl", report->kl * (good + bad), good + bad, err));
    return put_classes(t, &chosen, &rejected, err);
}

tr_status actor_train_kto(tr_learner_t *learner, const tr_message_t *request, tr_message_t *reply,
                          tr_error_t *err)
{
    training_t t;
    actor_kto_report_t report;
    tr_kto_options_t options;
    const float *reference;
    bool *desirable = NULL;
    size_t rows;
    tr_status status;
    TR_TRY(training_begin(&t, learner, request, false, err));
    TR_TRY_GOTO(read_kto(&options, t.body, err), done);
    TR_TRY_GOTO(take_reference(&reference, &t, err), done);
    TR_TRY_GOTO(take_labels(&desirable, &rows, &t, &options, err), done);
    mark_stale(&t);
    TR_TRY_GOTO(actor_learn_kto(&report, learner->trainer, &t.sequences, rows, reference, desirable,
                                &options, &t.walk, err),
                done);
    status = put_kto(&t, &report, err);
done:
    free(desirable);
    return training_end(&t, status, reply);
}

// Reward models

static tr_status put_reward(training_t *t, const actor_reward_report_t *report, tr_error_t *err)
{
    const tr_bradley_terry_sums_t *sums = &report->sums;
    double pairs = (double)sums->pairs;
    TR_TRY(put(t, "loss", sums->loss, pairs, err));
    TR_TRY(put_norm(t, &report->walk, err));
    TR_TRY(put(t, "accuracy", sums->accuracies, pairs, err));
    TR_TRY(put(t, "margin", sums->margins, pairs, err));
    TR_TRY(put(t, "mean_reward", sums->scores, 2.0 * pairs, err));
    TR_TRY(put(t, "mean_squared_reward", sums->squares, 2.0 * pairs, err));
    TR_TRY(put(t, "min_reward", sums->least, 1.0, err));
    return put(t, "max_reward", sums->most, 1.0, err);
}

tr_status actor_train_reward(tr_learner_t *learner, const tr_message_t *request,
                             tr_message_t *reply, tr_error_t *err)
{
    training_t t;
    actor_reward_report_t report;
    tr_view_t margins = {0};
    double center;
    tr_status status;
    TR_TRY(training_begin(&t, learner, request, true, err));
    TR_TRY_GOTO(tr_body_real(&center, t.body, "center_rewards_coefficient", "train_reward", err),
                done);
    if (tr_message_tensor(&margins, request, "margins")) {
        TR_TRY_GOTO(tr_message_expect_tensor(&margins, request, "margins", TR_F32,
                                             t.sequences.count / 2, err),
                    done);
    }
    mark_stale(&t);
    TR_TRY_GOTO(actor_learn_reward(&report, learner->trainer, &t.sequences, margins.data, center,
                                   &t.walk, err),
                done);
    status = put_reward(&t, &report, err);
done:
    return training_end(&t, status, reply);
}

// Process reward models

tr_status actor_train_steps(tr_learner_t *learner, const tr_message_t *request, tr_message_t *reply,
                            tr_error_t *err)
{
    training_t t;
    actor_steps_report_t report;
    tr_view_t labels;
    tr_status status;
    TR_TRY(training_begin(&t, learner, request, true, err));
    TR_TRY_GOTO(tr_message_expect_tensor(&labels, request, "labels", TR_I32, t.tokens, err), done);
    mark_stale(&t);
    TR_TRY_GOTO(
        actor_learn_steps(&report, learner->trainer, &t.sequences, labels.data, &t.walk, err),
        done);
    double steps = (double)report.sums.steps;
    TR_TRY_GOTO(put(&t, "loss", report.sums.loss, steps, err), done);
    TR_TRY_GOTO(put_norm(&t, &report.walk, err), done);
    TR_TRY_GOTO(put(&t, "accuracy", report.sums.accuracies, steps, err), done);
    TR_TRY_GOTO(put(&t, "mean_step_score", report.sums.chances, steps, err), done);
done:
    return training_end(&t, status, reply);
}
