// Calls that every algorithm makes: phases, requests to learners, the learning rate, publishing.
//
// Apart from run.c because the files of algorithms need these and must not know the run's loop.
// Next: run.c, which takes the steps, or ppo_step.c, the longest of them.
#include "controller/context.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "proto/body.h"
#include "proto/learner/tally.h"

json_t *controller_run_note(controller_run_t *run)
{
    // The broker has a reference: it reads the map when it is asked.
    if (run->note == NULL) {
        run->note = json_object();
        tr_dispatch_set_note(tr_broker_dispatch(run->broker), json_incref(run->note));
    }
    return run->note;
}

double controller_run_phase(controller_run_t *run, const char *phase)
{
    // Monotonic: the caller measures phases with it. The note has wall time, for other processes.
    double now = tr_clock_seconds();
    // `troupe status` reads this note from the broker, so it must be complete at every phase.
    json_t *version = json_object_get(run->weights, "version");
    json_object_update_new(controller_run_note(run),
                           json_pack("{s:s, s:I, s:I, s:s, s:f, s:O}", "algorithm",
                                     run->algorithm->name, "step", (json_int_t)run->step + 1,
                                     "steps", (json_int_t)run->recipe->steps, "phase", phase,
                                     "phase_since", tr_clock_wall(), "weights_version",
                                     version != NULL ? version : json_null()));
    // Shown live on a terminal; elsewhere only finished steps are.
    controller_progress_phase(run->progress, phase, now);
    return now;
}

void controller_run_warn(controller_run_t *run, const char *subsystem, char *sentence)
{
    // To both, because many runs have no terminal, and few users read the log of a run that works.
    tr_log(TR_LOG_WARN, subsystem, "\"%s\"", sentence);
    controller_progress_note(run->progress, sentence);
    free(sentence);
}

controller_call_t controller_run_learner_call(tr_role_t role, const char *method)
{
    // No retries and no timeout: an update takes as long as it takes, and a learner that dies is
    // noticed.
    return (controller_call_t){.role = role, .worker = tr_role_name(role), .method = method};
}

json_t *controller_run_train_pass(const controller_run_t *run, uint64_t step, uint64_t epochs,
                                  uint64_t minibatches, double learning_rate)
{
    const tr_recipe_t *recipe = run->recipe;
    // A policy's log-probs are those of the distribution that it sampled from; rows were not
    // sampled.
    bool sampled = tr_algorithm_has_ratios(run->algorithm);
    // The order of sequences follows from seed and step, so a step that is repeated is the same.
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:f, s:f}", "step", (json_int_t)step, "epochs",
                     (json_int_t)epochs, "minibatches", (json_int_t)minibatches, "chunk",
                     (json_int_t)recipe->optimizer.chunk, "seed", (json_int_t)recipe->seed,
                     "learning_rate", learning_rate, "temperature",
                     sampled ? recipe->generation.temperature : 1.0);
}

uint64_t controller_run_minibatches(const controller_run_t *run, const tr_order_t *order,
                                    size_t count)
{
    const tr_recipe_t *recipe = run->recipe;
    const uint64_t full = order->batch * recipe->generation.samples / tr_recipe_minibatches(recipe);
    return (count + full - 1) / full;
}

tr_order_t controller_run_order(const controller_run_t *run, const tr_corpus_t *rows)
{
    const tr_recipe_t *recipe = run->recipe;
    bool learns = rows == &run->data.rows && tr_algorithm_learns(run->algorithm);
    return (tr_order_t){.size = rows->count,
                        .batch = recipe->data.batch,
                        .seed = recipe->seed,
                        .shuffle = learns && recipe->data.shuffle,
                        .drop_last = learns && recipe->data.drop_last,
                        // A row meets the completion of another of its batch.
                        .least = tr_recipe_mismatches(recipe) ? 2 : 0};
}

tr_status controller_run_read(tr_rows_t *rows, tr_corpus_t *corpus, const tr_order_t *order,
                              uint64_t index, tr_error_t *err)
{
    uint32_t *chosen = tr_calloc(order->batch + order->least, sizeof *chosen);
    size_t count = tr_order_batch(chosen, order, index);
    tr_status status = tr_corpus_read(rows, corpus, chosen, count, err);
    free(chosen);
    return status;
}

double controller_run_rate(const controller_run_t *run, double peak, uint64_t step)
{
    // The schedule counts finished steps, from 0.
    return tr_schedule_rate(&run->recipe->optimizer, peak, run->recipe->steps, step - 1);
}

tr_status controller_run_ask(controller_run_t *run, const controller_call_t *call, json_t *body,
                             tr_error_t *err)
{
    // Learners answer after they have computed, so one wait covers request and work.
    tr_message_t *message = tr_message_new("request");
    tr_message_set_body(message, body);
    controller_calls_ask(run->calls, call, &message);
    return controller_calls_finish(run->calls, err);
}

/// A controller_take_fn: copies the tensor out of the reply, which ends with the call.
static tr_status take_vector(void *context, size_t index, const tr_message_t *reply,
                             tr_error_t *err)
{
    const controller_vector_t *vector = context;
    tr_view_t view;
    (void)index;
    // A reply of another length is the worker's failure, and the request is sent again.
    TR_TRY(tr_message_expect_tensor(&view, reply, vector->name, TR_F32, vector->n, err));
    memcpy(vector->values, view.data, vector->n * sizeof *vector->values);
    return TR_OK;
}

void controller_run_infer(controller_run_t *run, controller_call_t call,
                          const tr_sequences_t *sequences, double temperature, uint64_t chunk,
                          controller_vector_t *vector)
{
    tr_message_t *message = tr_message_new("request");
    tr_message_set_body(
        message, json_pack("{s:f, s:I}", "temperature", temperature, "chunk", (json_int_t)chunk));
    tr_sequences_put(message, sequences);
    // The call is the caller's, so that it may go to a learner or to a process without state.
    call.take = take_vector;
    call.context = vector;
    // The caller waits, since it may send more first.
    controller_calls_ask(run->calls, &call, &message);
}

tr_status controller_run_take_metrics(void *context, size_t index, const tr_message_t *reply,
                                      tr_error_t *err)
{
    json_t **tally = context, *metrics;
    (void)index;
    TR_TRY(tr_body_object(&metrics, tr_message_body(reply), "metrics", "reply", err));
    // The first reply to this tally.
    if (*tally == NULL) {
        *tally = json_object();
    }
    return tr_tally_add(*tally, metrics, "metrics", err);
}

/// A controller_take_fn: keeps the description of the weights that the actor has published.
static tr_status take_weights(void *context, size_t index, const tr_message_t *reply,
                              tr_error_t *err)
{
    controller_run_t *run = context;
    json_t *weights;
    (void)index;
    TR_TRY(tr_body_object(&weights, tr_message_body(reply), "weights", "reply", err));
    // The reply's body ends with the call.
    json_decref(run->weights);
    // Opaque to the controller: it hands the description on to the rollouts.
    run->weights = json_incref(weights);
    return TR_OK;
}

tr_status controller_run_publish(controller_run_t *run, uint64_t step, tr_error_t *err)
{
    controller_call_t call = controller_run_learner_call(TR_ROLE_ACTOR, "publish");
    call.take = take_weights;
    call.context = run;
    // Rollouts are told these weights by the next request, so nothing is sent to them here.
    controller_run_phase(run, "publish");
    TR_TRY(controller_run_ask(run, &call, json_pack("{s:I}", "step", (json_int_t)step), err));
    // Logged so that a run's logs show whether two machines made the same weights.
    const char *checksum = json_string_value(json_object_get(run->weights, "checksum"));
    tr_log(TR_LOG_INFO, "weights", "version=%" PRIu64 " checksum=%s \"published\"", step,
           checksum != NULL ? checksum : "?");
    return TR_OK;
}
