// A judge at work without a run: the part of the controller that asks, and of the supervisor that
// keeps processes, for one group of workers.
//
// Apart from both because a trial wants to see each failure at once: nothing is asked twice here,
// and a process that ends is no accident to mend but an answer.
#include "deploy/judge_trial.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "deploy/child.h"
#include "deploy/process_group.h"
#include "proto/broker.h"
#include "proto/endpoint.h"
#include "proto/score.h"

enum { POLL_MS = 50 };

struct judge_trial {
    const tr_judge_t *judge;
    char directory[32];
    char *endpoint;
    supervisor_plan_t plan;
    child_t *children; // [count]
    size_t count;
    tr_broker_t *broker;
};

static volatile sig_atomic_t stopped;

static void stop(int signal)
{
    (void)signal;
    stopped = 1;
}

/// Ctrl-C ends a question, so that processes and directory are removed.
static void catch_signals(void)
{
    const struct sigaction action = {.sa_handler = stop};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static tr_status make_directory(judge_trial_t *trial, tr_error_t *err)
{
    snprintf(trial->directory, sizeof trial->directory, "/tmp/troupe-judge-XXXXXX");
    if (mkdtemp(trial->directory) == NULL) {
        trial->directory[0] = '\0';
        return tr_fail(err, TR_ERR_IO, "cannot make a directory in /tmp: %s", strerror(errno));
    }
    char *logs = tr_format("%s/logs", trial->directory);
    tr_status status = tr_directory_make(logs, err);
    free(logs);
    trial->endpoint = tr_format("ipc://%s/controller.sock", trial->directory);
    return status;
}

static tr_status open_broker(judge_trial_t *trial, const tr_recipe_t *recipe, tr_error_t *err)
{
    tr_dispatch_options_t options;
    tr_wire_init();
    tr_dispatch_options_init(&options);
    // one loss is enough to be said
    options.attempts = 1;
    TR_TRY(tr_broker_new(&trial->broker, trial->endpoint, NULL, &options, err));
    tr_dispatch_set_config(
        tr_broker_dispatch(trial->broker), TR_ROLE_REWARD,
        tr_judges_config(&recipe->roles.reward, (tr_precision_t)recipe->precision));
    return TR_OK;
}

/// The plan has the workers of a whole run; those of the judge's group are started.
static tr_status start_children(judge_trial_t *trial, tr_recipe_t *recipe, tr_error_t *err)
{
    TR_TRY(process_group_init(&trial->plan, recipe, trial->directory, false, err));
    trial->children = tr_calloc(trial->plan.worker_count + 1, sizeof *trial->children);
    for (size_t i = 0; i < trial->plan.worker_count; i++) {
        const supervisor_process_t *process = &trial->plan.workers[i];
        if (process->group != NULL && strcmp(process->group, trial->judge->name) == 0) {
            child_t *child = &trial->children[trial->count++];
            child_init(child, process, &trial->plan);
            TR_TRY(child_start(child, trial->endpoint, -1, err));
        }
    }
    if (trial->count == 0) {
        printf("start the judge: TROUPE_ENDPOINT=%s TROUPE_GROUP=%s YOUR_PROGRAM\n",
               trial->endpoint, tr_judge_group(trial->judge));
        fflush(stdout);
    }
    return TR_OK;
}

tr_status judge_trial_new(judge_trial_t **trial, tr_recipe_t *recipe, tr_error_t *err)
{
    judge_trial_t *made = tr_calloc(1, sizeof *made);
    tr_status status;
    made->judge = &recipe->roles.reward.items[0];
    *trial = made;
    catch_signals();
    TR_TRY_GOTO(make_directory(made, err), done);
    TR_TRY_GOTO(open_broker(made, recipe, err), done);
    TR_TRY_GOTO(start_children(made, recipe, err), done);
done:
    if (status != TR_OK) {
        judge_trial_destroy(trial);
    }
    return status;
}

/// A judge that does not leave when it is dismissed is killed.
static void end_child(child_t *child)
{
    int how;
    double until = tr_clock_seconds() + 2.0;
    child_signal(child, SIGTERM);
    while (child->pid > 0 && !child_reap(&how, child)) {
        if (tr_clock_seconds() > until) {
            child_signal(child, SIGKILL);
        }
        usleep(10000);
    }
    child_release(child);
}

void judge_trial_destroy(judge_trial_t **trial)
{
    judge_trial_t *made = *trial;
    tr_error_t err = {0};
    if (made == NULL) {
        return;
    }
    tr_broker_destroy(&made->broker);
    for (size_t i = 0; i < made->count; i++) {
        end_child(&made->children[i]);
    }
    free(made->children);
    process_group_release(&made->plan);
    if (made->directory[0] != '\0' && tr_directory_remove(made->directory, &err) != TR_OK) {
        fprintf(stderr, "note: %s\n", err.text);
    }
    free(made->endpoint);
    free(made);
    *trial = NULL;
}

// Questions

/// A process that ended: what it said last. It starts again, for the next question.
static tr_status look_after(judge_trial_t *trial, tr_error_t *err)
{
    for (size_t i = 0; i < trial->count; i++) {
        child_t *child = &trial->children[i];
        char ending[CHILD_ENDING];
        int how;
        if (!child_reap(&how, child)) {
            continue;
        }
        child_ending(ending, child, how);
        char *line = child_last_line(child, "");
        tr_fail(err, TR_ERR_PEER, "its process %s; it said: %s", ending,
                line != NULL ? line : "(nothing)");
        free(line);
        tr_error_t again = {0};
        return child_start(child, trial->endpoint, -1, &again) == TR_OK
                   ? TR_ERR_PEER
                   : tr_fail(err, TR_ERR_PEER, "%s", again.text);
    }
    return TR_OK;
}

/// The end of the request, as an event; others are dropped.
static tr_status await(tr_event_t *event, judge_trial_t *trial, int64_t id, tr_error_t *err)
{
    double until = tr_clock_seconds() + trial->judge->timeout_s;
    while (stopped == 0) {
        if (tr_broker_poll(event, trial->broker, POLL_MS, err) == TR_OK) {
            if (event->id == id) {
                return TR_OK;
            }
            tr_event_release(event);
            continue;
        }
        TR_TRY(look_after(trial, err));
        if (tr_clock_seconds() > until) {
            bool there = tr_dispatch_workers(tr_broker_dispatch(trial->broker), TR_ROLE_REWARD,
                                             tr_judge_group(trial->judge)) > 0;
            return tr_fail(err, TR_ERR_TIMEOUT, "it did not %s in %g seconds (timeout_s)",
                           there ? "answer" : "register", trial->judge->timeout_s);
        }
    }
    return tr_fail(err, TR_ERR_INTERRUPTED, "stopped by a signal");
}

tr_status judge_trial_ask(judge_trial_t *trial, float *scores, json_t **extras, double *seconds,
                          json_t *samples, tr_error_t *err)
{
    tr_message_t *message = tr_message_new("request");
    double began = tr_clock_seconds();
    tr_event_t event;
    *extras = NULL;
    tr_message_set_body(message, json_pack("{s:O}", "samples", samples));
    int64_t id = tr_broker_submit(trial->broker, TR_ROLE_REWARD, tr_judge_group(trial->judge), NULL,
                                  "score", &message);
    tr_dispatch_be_patient(tr_broker_dispatch(trial->broker), id);
    tr_status status = await(&event, trial, id, err);
    *seconds = tr_clock_seconds() - began;
    if (status != TR_OK) {
        tr_broker_cancel(trial->broker, id);
        return status;
    }
    status = event.type == TR_EVENT_REPLY
                 ? tr_score_reply_read(scores, extras, json_array_size(samples),
                                       tr_message_body(event.message), trial->judge->name, err)
                 : tr_fail(err, event.status, "%s", event.text);
    tr_event_release(&event);
    return status;
}
