// What people are told of failures and waits: the other end of controller_watch_t.
//
// Apart from calls.c, which knows neither the run directory nor the terminal. A worker's own words
// are in its log, which the supervisor keeps in the run directory for those that it started.
#include "controller/troubles.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"

/// Seconds; bytes and lines of a log's end.
enum { LONG_WAIT_S = 5, TELL_EVERY_S = 10, ABSENT_S = 300, TAIL_BYTES = 4096, TAIL_LINES = 20 };

/// logs/WORKER.log as a path; NULL: there is none, as of a worker that somebody else started. Owned
/// by the caller (free).
static char *log_of(const controller_run_t *run, const char *worker)
{
    char *name = tr_format("logs/%s.log", worker);
    char *path = controller_rundir_file(run->rundir, name);
    free(name);
    if (worker[0] == '\0' || strchr(worker, '/') != NULL || access(path, R_OK) != 0) {
        free(path);
        return NULL;
    }
    return path;
}

/// Where the last lines of text begin.
static const char *last_lines(const char *text, size_t lines)
{
    const char *at = text + strlen(text);
    at -= at > text && at[-1] == '\n';
    while (at > text && (at[-1] != '\n' || --lines > 0)) {
        at--;
    }
    return at;
}

/// Shows the end of a log: of a judge in Python, the traceback.
static void show_tail(controller_run_t *run, const char *path)
{
    char text[TAIL_BYTES + 1];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return;
    }
    // of a shorter file all of it
    if (fseek(file, -TAIL_BYTES, SEEK_END) != 0) {
        rewind(file);
    }
    text[fread(text, 1, TAIL_BYTES, file)] = '\0';
    fclose(file);
    char *note = tr_format("the end of '%s':\n%s", path, last_lines(text, TAIL_LINES));
    note[strlen(note) - 1] = note[strlen(note) - 1] == '\n' ? '\0' : note[strlen(note) - 1];
    controller_progress_note(run->progress, note);
    free(note);
}

/// The body of the request, by which whoever wrote the judge can try it again. Its path, owned by
/// the caller (free); NULL: it could not be written.
static char *keep_request(const controller_run_t *run, const tr_message_t *request)
{
    char *path = controller_rundir_file(run->rundir, "logs/failed-request.json");
    if (json_dump_file(tr_message_body(request), path, JSON_INDENT(2)) != 0) {
        free(path);
        return NULL;
    }
    return path;
}

/// Adds to the sentence with which the run ends.
static void explain(controller_run_t *run, const controller_failure_t *failure, const char *log,
                    tr_error_t *err)
{
    char *request = keep_request(run, failure->request);
    char *sentence = tr_strdup(err->text);
    tr_fail(err, err->status, "%s (failed %" PRIu64 " times%s%s%s%s)", sentence, failure->failures,
            log != NULL ? "; its log: " : "", log != NULL ? log : "",
            request != NULL ? "; the request: " : "", request != NULL ? request : "");
    free(sentence);
    free(request);
}

/// Every failure is in the log; the terminal gets the first one at once, and then one in a while.
static void take_failure(void *context, const controller_failure_t *failure, tr_error_t *err)
{
    controller_run_t *run = context;
    char *log = log_of(run, failure->worker);
    json_object_set_new(controller_run_note(run), "failure", json_string(err->text));
    if (failure->final) {
        if (log != NULL) {
            show_tail(run, log);
        }
        explain(run, failure, log, err);
    } else if (run->told_at == 0.0 || tr_clock_seconds() - run->told_at >= TELL_EVERY_S) {
        char *note = tr_format("failed, and is tried again: %s%s%s%s", err->text,
                               log != NULL ? " (its log: " : "", log != NULL ? log : "",
                               log != NULL ? ")" : "");
        controller_progress_note(run->progress, note);
        run->told_at = tr_clock_seconds();
        free(note);
    }
    free(log);
}

static void take_wait(void *context, const char *text, double since)
{
    controller_run_t *run = context;
    json_t *note = controller_run_note(run);
    const char *former = json_string_value(json_object_get(note, "waits_for"));
    controller_progress_wait(run->progress, text, tr_clock_seconds() - since);
    if (text == NULL) {
        json_object_del(note, "waits_for");
        json_object_del(note, "waits_since");
    } else if (former == NULL || strcmp(former, text) != 0) {
        json_object_set_new(note, "waits_for", json_string(text));
        json_object_set_new(note, "waits_since",
                            json_real(tr_clock_wall() - (tr_clock_seconds() - since)));
    }
}

/// The supervisor started the process, and starts another in its place (deploy/supervisor.h).
static void take_mute(void *context, const char *name, double seconds)
{
    const char *descriptor = getenv("TROUPE_SUPERVISOR");
    (void)context;
    if (descriptor != NULL) {
        dprintf((int)strtol(descriptor, NULL, 10), "%.0f %s\n", seconds, name);
    }
}

void controller_troubles_watch(controller_run_t *run)
{
    const controller_watch_t watch = {.context = run,
                                      .failed = take_failure,
                                      .waits = take_wait,
                                      .after_s = LONG_WAIT_S,
                                      .mute = take_mute,
                                      .absent_s = ABSENT_S};
    controller_calls_watch(run->calls, &watch);
}
