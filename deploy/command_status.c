// `troupe status`: what a run is doing now, as its controller sees it.
//
// It asks the controller over the run's own socket, as a worker would, but registers nothing. Next:
// proto/broker.h, and proto/dispatch_status.c for the answer's fields.
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "deploy/command.h"
#include "proto/broker.h"

enum { ANSWER_MS = 5000, RECIPE_LIMIT = 1 << 20, ENDPOINT_LIMIT = 4096 };

// Asking

/// The file `endpoint` is there while a controller runs; without it the run is finished, stopped,
/// or was never started.
static tr_status read_endpoint(char **endpoint, const char *directory, tr_error_t *err)
{
    char *path = tr_format("%s/endpoint", directory);
    char *final = tr_format("%s/final", directory);
    size_t length;
    tr_status status = TR_OK;
    if (tr_file_read(endpoint, &length, path, ENDPOINT_LIMIT, NULL) == TR_OK) {
        (*endpoint)[strcspn(*endpoint, "\r\n")] = '\0';
    } else if (access(final, F_OK) == 0) {
        // a finished run has no controller to ask
        status = tr_fail(err, TR_ERR_PEER, "the run in '%s' is finished: its model is in '%s'",
                         directory, final);
    } else {
        status = tr_fail(
            err, TR_ERR_PEER,
            "no run is going on in '%s': there is no file '%s' (`troupe resume %s` goes on)",
            directory, path, directory);
    }
    free(final);
    free(path);
    return status;
}

/// network.keys of the run's recipe; NULL when it names none or cannot be read. Owned by the caller
/// (free).
/// Problems are not reported: an old recipe may be read by a newer program, and a run without keys
/// needs nothing from it.
static char *keys_of_run(const char *directory)
{
    char *path = tr_format("%s/recipe.yaml", directory);
    char *text = NULL, *keys = NULL;
    size_t length;
    tr_recipe_t *recipe = NULL;
    tr_recipe_problems_t problems = {0};
    // without a look at the disk: data may have moved since
    if (tr_file_read(&text, &length, path, RECIPE_LIMIT, NULL) == TR_OK &&
        tr_recipe_parse(&recipe, text, length, path, NULL, 0, &problems) == TR_OK &&
        recipe->network.keys != NULL) {
        keys = tr_strdup(recipe->network.keys);
    }
    tr_recipe_problems_release(&problems);
    tr_recipe_destroy(&recipe);
    free(text);
    free(path);
    return keys;
}

/// The endpoint is in the run directory, and so are the keys, by its recipe.
static tr_status ask(json_t **answer, const char *directory, tr_error_t *err)
{
    char *endpoint;
    *answer = NULL;
    TR_TRY(read_endpoint(&endpoint, directory, err));
    // NULL on one machine, where the file permissions of the socket protect it.
    char *keys = keys_of_run(directory);
    tr_status status = tr_broker_ask_status(answer, endpoint, keys, ANSWER_MS, err);
    free(keys);
    free(endpoint);
    return status;
}

// Showing. A field that a controller of another version leaves out shows as empty or 0.

/// "" for what is missing.
static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/// Times travel in milliseconds.
static double seconds_of(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key)) / 1000.0;
}

/// "key value"; `phase_since` and the like, in seconds since 1970, as how long ago.
static void print_pair(const char *key, const json_t *value)
{
    const char *since = strstr(key, "_since");
    if (since != NULL && json_is_number(value)) {
        printf("  for %.1f s", tr_clock_wall() - json_number_value(value));
    } else if (json_is_string(value)) {
        printf("  %s %s", key, json_string_value(value));
    } else {
        // anything else as JSON: a newer controller may send more
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
        printf("  %s %s", key, text != NULL ? text : "?");
        free(text);
    }
}

/// A line of pairs: the run's state, or the counters.
static void print_map(const char *title, json_t *map)
{
    const char *key;
    json_t *value;
    // titles in a column, then the pairs
    printf("%-9s", title);
    json_object_foreach(map, key, value)
    {
        print_pair(key, value);
    }
    printf("\n");
}

/// One line a worker: its state, for how long it has been silent, and the requests it works on.
static void print_worker(const json_t *worker)
{
    size_t index;
    json_t *request;
    printf("  %-20s %-10s %-12s %-6s %7.1f s ", text_of(worker, "name"), text_of(worker, "role"),
           text_of(worker, "group"), text_of(worker, "state"), seconds_of(worker, "silent_ms"));
    // a worker may have several requests: its credit
    json_array_foreach(json_object_get(worker, "outstanding"), index, request)
    {
        printf("%s %s for %.1f s", index > 0 ? "," : "", text_of(request, "method"),
               seconds_of(request, "age_ms"));
    }
    printf("\n");
}

/// Column titles as wide as print_worker's columns.
static void print_workers(const json_t *workers)
{
    size_t index;
    json_t *worker;
    printf("workers (%zu)\n  %-20s %-10s %-12s %-6s %9s  works on\n", json_array_size(workers),
           "name", "role", "group", "state", "silent");
    json_array_foreach(workers, index, worker)
    {
        print_worker(worker);
    }
}

/// Whether a registered worker could take what waits in the queue.
static bool anyone_serves(const json_t *workers, const json_t *queue)
{
    size_t index;
    json_t *worker;
    const char *group = text_of(queue, "group"), *wanted = text_of(queue, "worker");
    json_array_foreach(workers, index, worker)
    {
        // a queue may be for a role, for a group of it, or for one worker
        if (strcmp(text_of(worker, "role"), text_of(queue, "role")) == 0 &&
            (group[0] == '\0' || strcmp(text_of(worker, "group"), group) == 0) &&
            (wanted[0] == '\0' || strcmp(text_of(worker, "name"), wanted) == 0)) {
            return true;
        }
    }
    return false;
}

/// A queue that no worker serves is what a user looks for when a run stands still.
static void print_queues(const json_t *queues, const json_t *workers)
{
    size_t index;
    json_t *queue;
    // Said in words, since an empty list looks like a fault.
    if (json_array_size(queues) == 0) {
        printf("queues     empty\n");
        return;
    }
    printf("queues\n");
    json_array_foreach(queues, index, queue)
    {
        const char *group = text_of(queue, "group"), *wanted = text_of(queue, "worker");
        printf("  %lld requests wait for %s%s%s%s%s, the oldest for %.1f s%s\n",
               (long long)json_integer_value(json_object_get(queue, "depth")),
               text_of(queue, "role"), group[0] != '\0' ? " of group " : "", group,
               wanted[0] != '\0' ? " worker " : "", wanted, seconds_of(queue, "oldest_ms"),
               anyone_serves(workers, queue) ? "" : ": no such worker is registered");
    }
}

/// Run, workers, queues, counters: from the whole to the detail.
static void print_status(json_t *status)
{
    json_t *workers = json_object_get(status, "workers");
    print_map("run", json_object_get(status, "run"));
    print_workers(workers);
    print_queues(json_object_get(status, "queues"), workers);
    print_map("counters", json_object_get(status, "counters"));
}

/// A run that does not go on is a failure (exit code of a peer), so that scripts can wait for its
/// end.
int command_status(int argc, char **argv)
{
    static const struct argp_option table[] = {
        {"json", 'j', NULL, 0, "Print the controller's answer as it is", 0},
        {0},
    };
    command_line_t line = {
        .options = table,
        .words_doc = "RUN_DIR",
        .doc = "Show what a run is doing: its step, its workers, and who waits for whom.",
        .missing = "the run directory is missing",
        .most = 1};
    tr_error_t err = {0};
    json_t *answer = NULL;
    command_parse(&line, argc, argv);
    tr_status status = ask(&answer, line.words[0], &err);
    // For programs: nothing is left out or rounded.
    if (status == TR_OK && line.values['j'] != NULL) {
        json_dumpf(answer, stdout, JSON_INDENT(2));
        printf("\n");
    } else if (status == TR_OK) {
        print_status(answer);
    }
    json_decref(answer);
    return tr_status_report(status, &err);
}
