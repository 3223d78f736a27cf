// PPO in the controller: one step from prompts to new weights.
//
// take_step reads like the algorithm: generate, assess (scores, values, reference log-probs, all at
// the same time), compute advantages, let actor and critic take their epochs at the same time,
// publish. The equations are in common/algo/ppo.c; the updates in actor/ppo.c and critic/ppo.c.
#include "controller/steps.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "common/algo/ppo.h"
#include "common/algo/statistics.h"
#include "common/base/clock.h"
#include "common/model/response.h"
#include "controller/generation.h"
#include "controller/reference.h"

/// A step in progress.
typedef struct ppo_step {
    controller_run_t *run;
    tr_order_t order;
    uint64_t step;
    const tr_ppo_options_t *options;
    tr_rows_t rows; // the prompts
    controller_experience_t experience;
    json_t *actor, *critic;              // tallies of the metrics that the learners report
    double generated, assessed, trained; // seconds of each phase
} ppo_step_t;

// Scores, values, reference log-probs

/// PPO trains on every response that it generates, so each needs a score: a 0 that nobody gave
/// would be learnt.
static tr_status require_scores(const ppo_step_t *s, tr_error_t *err)
{
    const controller_experience_t *e = &s->experience;
    for (size_t i = 0; i < e->count; i++) {
        if (isnan(e->scores[i])) {
            return tr_fail(err, TR_ERR_NUMERIC,
                           "no judge could score a response to the prompt '%.60s': all said null; "
                           "leave out such rows, or name a judge that scores them",
                           tr_rows_prompt(&s->rows, (uint32_t)(i / e->samples)));
        }
    }
    return TR_OK;
}

/// Values and reference log-probs, while the judges finish their scores.
static tr_status assess(ppo_step_t *s, tr_error_t *err)
{
    controller_experience_t *e = &s->experience;
    // Of the distribution that was sampled from: the KL compares policy and reference under it.
    double temperature = s->run->recipe->generation.temperature;
    controller_vector_t values = {"values", e->values, e->tokens};
    controller_vector_t reference = {"logprobs", e->reference, e->tokens};
    double began = controller_run_phase(s->run, "assess");
    controller_run_infer(s->run, controller_run_learner_call(TR_ROLE_CRITIC, "values"),
                         &e->sequences, temperature, TR_INFER_CHUNK, &values);
    controller_run_infer(s->run, controller_reference_call(s->run, "logprobs"), &e->sequences,
                         temperature, TR_INFER_CHUNK, &reference);
    // Waits for the judges too: their requests were sent during generation.
    TR_TRY(controller_calls_finish(s->run->calls, err));
    controller_judges_scores(s->run->judges, s->experience.scores);
    s->assessed = tr_clock_seconds() - began;
    return require_scores(s, err);
}

/// Subtracts missing_eos_penalty from the scores of responses that nothing ended.
static void penalise_missing_eos(ppo_step_t *s)
{
    controller_experience_t *e = &s->experience;
    const tr_model_config_t *model = &s->run->data.model;
    for (size_t i = 0; i < e->count; i++) {
        size_t n;
        const int32_t *response = controller_experience_response(e, i, &n);
        // What the recipe says ends a response is an end too.
        if (e->finish[i] == TR_FINISH_STOP) {
            continue;
        }
        // Any of the model's EOS ids counts, wherever in the response it stands.
        tr_missing_eos_penalty(&e->scores[i], response, n, model->eos, model->eos_count,
                               s->options->missing_eos_penalty);
    }
}

/// From scores to advantages and returns, and the record's objective/ metrics.
static tr_status compute_advantages(ppo_step_t *s, controller_record_t *record, tr_error_t *err)
{
    controller_experience_t *e = &s->experience;
    tr_objective_t objective;
    // Before the rewards: the penalised score is what the last token gets, as in TRL.
    if (s->options->missing_eos_penalty != 0.0) {
        penalise_missing_eos(s);
    }
    // All numbers of the step are here, so this needs no worker: arrays in, arrays out.
    tr_ppo_advantages(e->kl, e->rewards, e->advantages, e->returns, e->logprobs, e->reference,
                      e->values, e->scores, e->response_starts, e->count, s->options);
    // The policy that sampled, and its KL before any update.
    tr_objective(&objective, e->kl, e->logprobs, e->scores, e->response_starts, e->count,
                 s->options->kl_coef);
    // The order of this table is the order in metrics.jsonl.
    const struct {
        const char *name;
        double value;
    } metrics[] = {
        {"episode", (double)(tr_order_taken(&s->order, s->step) * e->samples)},
        {"objective/kl", objective.kl},
        {"objective/entropy", objective.entropy},
        {"objective/non_score_reward", objective.non_score_reward},
        {"objective/rlhf_reward", objective.rlhf_reward},
        {"objective/scores", objective.scores},
        {"objective/scores_std", tr_statistics(e->scores, e->count).deviation},
        {"val/explained_var", tr_explained_variance(e->values, e->returns, e->tokens)},
    };
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        TR_TRY(controller_record_set(record, metrics[i].name, metrics[i].value, err));
    }
    TR_TRY(controller_generation_report(s->run, e, record, err));
    return controller_judges_report(s->run->judges, record, err);
}

// Updates

/// Requests the epochs of one learner, with the two vectors over response tokens that it reads.
static void ask_learner(ppo_step_t *s, tr_role_t role, double rate, const char *first_name,
                        const float *first, const char *second_name, const float *second,
                        json_t **tally)
{
    const tr_ppo_options_t *o = s->options;
    json_t *body = controller_run_train_pass(
        s->run, s->step, o->num_ppo_epochs,
        controller_run_minibatches(s->run, &s->order, s->experience.count), rate);
    // Every option goes to both learners; each reads those of its loss.
    tr_fields_to_json(body, o, &tr_ppo_fields);
    tr_message_t *message = tr_message_new("request");
    tr_message_set_body(message, body);
    tr_sequences_put(message, &s->experience.sequences);
    tr_message_add_vector(message, first_name, TR_F32, s->experience.tokens, first);
    tr_message_add_vector(message, second_name, TR_F32, s->experience.tokens, second);
    controller_call_t call = controller_run_learner_call(role, "train");
    // A tally each, so that the order of answers does not order the metrics.
    call.take = controller_run_take_metrics;
    call.context = tally;
    controller_calls_ask(s->run->calls, &call, &message);
}

/// Actor and critic take their epochs at the same time: they share nothing.
static tr_status train(ppo_step_t *s, double rate, tr_error_t *err)
{
    const controller_experience_t *e = &s->experience;
    const tr_recipe_t *recipe = s->run->recipe;
    const double own = recipe->roles.critic.learning_rate;
    // The critic has the actor's learning rate unless the recipe gives it its own.
    double critic_rate = own > 0.0 ? controller_run_rate(s->run, own, s->step) : rate;
    // Returns and advantages are fixed now: the critic's updates change neither.
    double began = controller_run_phase(s->run, "train");
    ask_learner(s, TR_ROLE_ACTOR, rate, "logprobs", e->logprobs, "advantages", e->advantages,
                &s->actor);
    ask_learner(s, TR_ROLE_CRITIC, critic_rate, "values", e->values, "returns", e->returns,
                &s->critic);
    TR_TRY(controller_calls_finish(s->run->calls, err));
    s->trained = tr_clock_seconds() - began;
    return TR_OK;
}

/// The learners' metrics, and what only the controller can measure.
static tr_status report(const ppo_step_t *s, double rate, controller_record_t *record,
                        tr_error_t *err)
{
    // In this order, whoever answered first: the same run leaves the same line.
    TR_TRY(controller_record_add_tally(record, s->actor, "", err));
    TR_TRY(controller_record_add_tally(record, s->critic, "", err));
    // Response tokens: what was generated, and what the losses are over.
    const double tokens = (double)s->experience.tokens;
    // Epochs that target_kl ended early were not taken.
    const double trained = tokens * *controller_record_find(record, "policy/epochs");
    TR_TRY(controller_record_set(record, "lr", rate, err));
    TR_TRY(controller_record_set(record, "time/rollout", s->generated, err));
    TR_TRY(controller_record_set(record, "time/assess", s->assessed, err));
    TR_TRY(controller_record_set(record, "time/train", s->trained, err));
    TR_TRY(controller_record_set(record, "tokens_per_second/rollout", tokens / s->generated, err));
    return controller_record_set(record, "tokens_per_second/train", trained / s->trained, err);
}

/// The algorithm, in the order of a step; the helpers above follow the same order.
static tr_status take_step(ppo_step_t *s, controller_record_t *record, tr_error_t *err)
{
    const tr_recipe_t *recipe = s->run->recipe;
    double rate = controller_run_rate(s->run, recipe->optimizer.learning_rate, s->step);
    TR_TRY(controller_run_read(&s->rows, &s->run->data.rows, &s->order, s->step - 1, err));
    double began = tr_clock_seconds();
    const controller_prompts_t prompts = controller_prompts_of_step(s->run, s->step, &s->rows);
    TR_TRY(controller_generate(&s->experience, s->run, &prompts, err));
    // Until the last response; the judges' remaining time counts as assess.
    s->generated = tr_clock_seconds() - began;
    TR_TRY(assess(s, err));
    controller_generation_doubt(s->run, s->step, &s->experience);
    TR_TRY(compute_advantages(s, record, err));
    TR_TRY(train(s, rate, err));
    TR_TRY(report(s, rate, record, err));
    // Before publishing: weights of a step that was not exact must not be used.
    TR_TRY(controller_generation_check_exact(record, err));
    TR_TRY(controller_generation_write_samples(s->run, &s->rows, s->step, &s->experience, err));
    return controller_run_publish(s->run, s->step, err);
}

tr_status controller_ppo_step(controller_run_t *run, uint64_t step, controller_record_t *record,
                              tr_error_t *err)
{
    const tr_recipe_t *recipe = run->recipe;
    ppo_step_t s = {
        .run = run,
        .order = controller_run_order(run, &run->data.rows),
        .step = step,
        .options = &recipe->ppo,
    };
    tr_status status = take_step(&s, record, err);
    tr_rows_release(&s.rows);
    controller_experience_release(&s.experience);
    json_decref(s.actor);
    json_decref(s.critic);
    return status;
}
