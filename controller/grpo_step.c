// GRPO and its kin in the controller: one step from prompts to new weights, without a critic.
//
// take_step reads like the algorithm: generate, assess (scores, and reference log-probs where there
// is a KL penalty), compare the responses of each prompt, let the actor take its passes, publish.
// Which algorithm it is says the table of algorithms by its estimator (common/algo/estimators.c);
// the updates are in actor/grpo.c.
#include "controller/steps.h"

#include <stdlib.h>

#include "common/algo/ppo.h"
#include "common/algo/statistics.h"
#include "common/base/clock.h"
#include "common/model/response.h"
#include "controller/generation.h"
#include "controller/reference.h"

/// A step in progress.
typedef struct grpo_step {
    controller_run_t *run;
    tr_order_t order;
    uint64_t step;
    tr_policy_options_t options; // as the algorithm takes them
    tr_rows_t rows;              // the prompts
    controller_experience_t experience;
    float *baselines;                    // [prompts] scores of greedy responses, or NULL
    json_t *actor;                       // tally of the metrics that the actor reports
    double generated, assessed, trained; // seconds of each phase
} grpo_step_t;

// The baseline

/// Generates a greedy response to each prompt, and has it scored.
static tr_status take_baselines(grpo_step_t *s, tr_error_t *err)
{
    // Ids of training and of evaluation are far away (evaluation.c).
    static const int64_t GREEDY_IDS = (int64_t)1 << 51;
    tr_generation_options_t greedy = s->run->recipe->generation;
    controller_prompts_t prompts = controller_prompts_of_step(s->run, s->step, &s->rows);
    controller_experience_t responses;
    greedy.temperature = 0.0;
    greedy.samples = 1;
    prompts.generation = &greedy;
    prompts.first_id = GREEDY_IDS + (int64_t)prompts.number;
    TR_TRY(controller_generate(&responses, s->run, &prompts, err));
    tr_status status = controller_calls_finish(s->run->calls, err);
    if (status == TR_OK) {
        s->baselines = tr_calloc(responses.count, sizeof *s->baselines);
        controller_judges_scores(s->run->judges, s->baselines);
    }
    controller_experience_release(&responses);
    return status;
}

// Scores and reference log-probs

static tr_status assess(grpo_step_t *s, tr_error_t *err)
{
    controller_experience_t *e = &s->experience;
    controller_vector_t reference = {"logprobs", e->reference, e->tokens};
    double began = controller_run_phase(s->run, "assess");
    if (s->options.beta > 0.0) {
        // Of the distribution that was sampled from, as in PPO.
        controller_run_infer(s->run, controller_reference_call(s->run, "logprobs"), &e->sequences,
                             s->run->recipe->generation.temperature, TR_INFER_CHUNK, &reference);
    }
    // Waits for the judges too: their requests were sent during generation.
    TR_TRY(controller_calls_finish(s->run->calls, err));
    controller_judges_scores(s->run->judges, e->scores);
    s->assessed = tr_clock_seconds() - began;
    return TR_OK;
}

// Advantages

/// TRL's completions/ metrics: lengths of all responses, and of those that something ended.
static tr_status report_lengths(const controller_experience_t *e, controller_record_t *record,
                                tr_error_t *err)
{
    struct {
        const char *mean, *least, *most;
        bool ended;
    } kinds[] = {
        {"completions/mean_length", "completions/min_length", "completions/max_length", false},
        {"completions/mean_terminated_length", "completions/min_terminated_length",
         "completions/max_terminated_length", true},
    };
    double cut = 0.0;
    for (size_t k = 0; k < 2; k++) {
        double count = 0.0, sum = 0.0, least = 0.0, most = 0.0;
        for (size_t i = 0; i < e->count; i++) {
            double n = (double)(e->response_starts[i + 1] - e->response_starts[i]);
            if (kinds[k].ended && e->finish[i] == TR_FINISH_LENGTH) {
                cut += 1.0;
                continue;
            }
            least = count == 0.0 || n < least ? n : least;
            most = n > most ? n : most;
            sum += n;
            count += 1.0;
        }
        // 0 where none has ended, as in TRL.
        TR_TRY(controller_record_set(record, kinds[k].mean, count > 0.0 ? sum / count : 0.0, err));
        TR_TRY(controller_record_set(record, kinds[k].least, least, err));
        TR_TRY(controller_record_set(record, kinds[k].most, most, err));
    }
    return controller_record_set(record, "completions/clipped_ratio", cut / (double)e->count, err);
}

/// Mean and deviation of the scores that there are; nothing where no response has one.
static tr_status report_scores(const controller_experience_t *e, controller_record_t *record,
                               tr_error_t *err)
{
    const tr_statistics_t scores = tr_statistics_scored(e->scores, e->count);
    if (tr_count_scored(e->scores, e->count) == 0) {
        return TR_OK;
    }
    TR_TRY(controller_record_set(record, "reward", scores.mean, err));
    return controller_record_set(record, "reward_std", scores.deviation, err);
}

/// The KL penalty of each token, where it is a part of the rewards; its mean is a metric.
static tr_status penalise(const grpo_step_t *s, controller_record_t *record, tr_error_t *err)
{
    const controller_experience_t *e = &s->experience;
    double sum = 0.0;
    if (s->options.beta == 0.0 || s->options.kl_in != TR_KL_IN_REWARD) {
        return TR_OK; // the experience begins with zeros
    }
    for (size_t t = 0; t < e->tokens; t++) {
        e->kl[t] = (float)tr_kl_penalty((double)e->logprobs[t], (double)e->reference[t],
                                        (tr_kl_term_t)s->options.kl_estimator)
                       .value;
        sum += (double)e->kl[t];
    }
    return controller_record_set(record, "kl", sum / (double)e->tokens, err);
}

/// From scores to advantages, and the metrics that are known before the update.
static tr_status compute_advantages(grpo_step_t *s, controller_record_t *record, tr_error_t *err)
{
    controller_experience_t *e = &s->experience;
    const tr_estimator_options_t *options = &s->run->recipe->grpo.estimator;
    const tr_group_rewards_t rewards = {e->rewards, e->response_starts, e->count, e->samples,
                                        s->baselines};
    TR_TRY(report_lengths(e, record, err));
    TR_TRY(controller_judges_report(s->run->judges, record, err));
    TR_TRY(report_scores(e, record, err));
    if (s->baselines != NULL && tr_count_scored(s->baselines, s->rows.count) > 0) {
        TR_TRY(controller_record_set(record, "reward_greedy",
                                     tr_statistics_scored(s->baselines, s->rows.count).mean, err));
    }
    TR_TRY(penalise(s, record, err));
    // After the metrics, which are of the scores as they are.
    if (options->multi_objective_aggregation == TR_NORMALIZE_THEN_SUM) {
        controller_judges_normalized(s->run->judges, e->scores, e->samples);
    }
    tr_rewards(e->rewards, e->kl, e->scores, e->response_starts, e->count, s->options.beta);
    s->run->algorithm->estimator->advantages(e->advantages, &rewards, options);
    TR_TRY(controller_record_set(record, "frac_reward_zero_std", tr_zero_spread(&rewards, options),
                                 err));
    return controller_generation_report(s->run, e, record, err);
}

// The update

/// Adds which tokens count: not those of responses that nothing ended.
static void put_mask(const grpo_step_t *s, tr_message_t *message)
{
    const controller_experience_t *e = &s->experience;
    float *mask = tr_calloc(e->tokens, sizeof *mask);
    for (size_t i = 0; i < e->count; i++) {
        for (int32_t t = e->response_starts[i]; t < e->response_starts[i + 1]; t++) {
            mask[t] = e->finish[i] == TR_FINISH_LENGTH ? 0.0F : 1.0F;
        }
    }
    tr_message_add_vector(message, "mask", TR_F32, e->tokens, mask);
    free(mask);
}

static tr_status train(grpo_step_t *s, double rate, tr_error_t *err)
{
    const controller_experience_t *e = &s->experience;
    const tr_policy_options_t *o = &s->options;
    double began = controller_run_phase(s->run, "train");
    json_t *body =
        controller_run_train_pass(s->run, s->step, o->num_iterations,
                                  controller_run_minibatches(s->run, &s->order, e->count), rate);
    tr_fields_to_json(body, o, &tr_policy_fields);
    tr_message_t *message = tr_message_new("request");
    tr_message_set_body(message, body);
    tr_sequences_put(message, &e->sequences);
    tr_message_add_vector(message, "logprobs", TR_F32, e->tokens, e->logprobs);
    tr_message_add_vector(message, "advantages", TR_F32, e->tokens, e->advantages);
    if (o->beta > 0.0 && o->kl_in == TR_KL_IN_LOSS) {
        tr_message_add_vector(message, "reference", TR_F32, e->tokens, e->reference);
    }
    if (s->run->recipe->grpo.mask_truncated_completions) {
        put_mask(s, message);
    }
    controller_call_t call = controller_run_learner_call(TR_ROLE_ACTOR, s->run->algorithm->method);
    call.take = controller_run_take_metrics;
    call.context = &s->actor;
    controller_calls_ask(s->run->calls, &call, &message);
    TR_TRY(controller_calls_finish(s->run->calls, err));
    s->trained = tr_clock_seconds() - began;
    return TR_OK;
}

/// The actor's metrics, and what only the controller can measure.
static tr_status report(grpo_step_t *s, double rate, controller_record_t *record, tr_error_t *err)
{
    const controller_experience_t *e = &s->experience;
    const double tokens = (double)e->tokens, passes = (double)s->options.num_iterations;
    TR_TRY(controller_record_add_tally(record, s->actor, "", err));
    // Of steps that succeeded: a repeated step counts once.
    s->run->tokens += (uint64_t)e->starts[e->count];
    TR_TRY(controller_record_set(record, "learning_rate", rate, err));
    TR_TRY(controller_record_set(record, "num_tokens", (double)s->run->tokens, err));
    TR_TRY(controller_record_set(record, "epoch",
                                 (double)s->step / (double)tr_order_steps(&s->order), err));
    TR_TRY(controller_record_set(record, "time/rollout", s->generated, err));
    TR_TRY(controller_record_set(record, "time/assess", s->assessed, err));
    TR_TRY(controller_record_set(record, "time/train", s->trained, err));
    TR_TRY(controller_record_set(record, "tokens_per_second/rollout", tokens / s->generated, err));
    return controller_record_set(record, "tokens_per_second/train", tokens * passes / s->trained,
                                 err);
}

/// The algorithm, in the order of a step; the helpers above follow the same order.
static tr_status take_step(grpo_step_t *s, controller_record_t *record, tr_error_t *err)
{
    double rate = controller_run_rate(s->run, s->run->recipe->optimizer.learning_rate, s->step);
    TR_TRY(controller_run_read(&s->rows, &s->run->data.rows, &s->order, s->step - 1, err));
    double began = tr_clock_seconds();
    if (s->run->algorithm->estimator->greedy) {
        TR_TRY(take_baselines(s, err));
    }
    const controller_prompts_t prompts = controller_prompts_of_step(s->run, s->step, &s->rows);
    TR_TRY(controller_generate(&s->experience, s->run, &prompts, err));
    s->generated = tr_clock_seconds() - began;
    TR_TRY(assess(s, err));
    if (s->options.beta > 0.0) {
        controller_generation_doubt(s->run, s->step, &s->experience);
    }
    TR_TRY(compute_advantages(s, record, err));
    TR_TRY(train(s, rate, err));
    TR_TRY(report(s, rate, record, err));
    // Before publishing: weights of a step that was not exact must not be used.
    TR_TRY(controller_generation_check_exact(record, err));
    TR_TRY(controller_generation_write_samples(s->run, &s->rows, s->step, &s->experience, err));
    return controller_run_publish(s->run, s->step, err);
}

tr_status controller_grpo_step(controller_run_t *run, uint64_t step, controller_record_t *record,
                               tr_error_t *err)
{
    grpo_step_t s = {
        .run = run,
        .order = controller_run_order(run, &run->data.rows),
        .step = step,
        .options = tr_recipe_policy(run->recipe),
    };
    tr_status status = take_step(&s, record, err);
    tr_rows_release(&s.rows);
    controller_experience_release(&s.experience);
    json_decref(s.actor);
    free(s.baselines);
    return status;
}
