/// Real judges, each a process: troupe-reward, and a program that knows only the protocol.
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "proto/broker.h"
#include "proto/endpoint.h"
#include "proto/score.h"
#include "tests/support/scratch.h"

enum { PATIENCE_MS = 20000 };

static const char *const OURS[] = {TEST_BINARY_DIR "/troupe-reward", NULL};

static char *directory, *endpoint;
static tr_broker_t *broker;

static void open_broker(const char *keys)
{
    tr_dispatch_options_t options;
    tr_error_t err = {0};
    tr_wire_init();
    directory = scratch_open();
    endpoint = tr_format("ipc://%s/controller.sock", directory);
    tr_dispatch_options_init(&options);
    options.heartbeat_ms = 100;
    cr_assert_eq(tr_broker_new(&broker, endpoint, keys, &options, &err), TR_OK, "%s", err.text);
    tr_dispatch_set_config(tr_broker_dispatch(broker), TR_ROLE_REWARD,
                           json_pack("{s:{s:{s:s, s:[[s, f]]}, s:{s:s}}}", "judges", "words",
                                     "kind", "words", "words", "happy", 0.5, "python", "kind",
                                     "exec"));
}

static void close_all(void)
{
    free(endpoint);
    scratch_close(&directory);
}

/// argv ends with NULL; argv[0] is a path, or a name for PATH to find.
static pid_t start(const char *const *argv, const char *group, const char *keys)
{
    pid_t pid = fork();
    if (pid == 0) {
        setenv("TROUPE_ENDPOINT", endpoint, 1);
        setenv("TROUPE_NAME", "judge-1", 1);
        setenv("TROUPE_GROUP", group, 1);
        keys != NULL ? setenv("TROUPE_KEYS", keys, 1) : unsetenv("TROUPE_KEYS");
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    return pid;
}

static int wait_exit(pid_t pid)
{
    int status = 0;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/// The next event of a type; others on the way are dropped.
static tr_event_t await(tr_event_type_t type)
{
    tr_event_t event = {0};
    tr_error_t err = {0};
    int64_t until = tr_clock_ms() + PATIENCE_MS;
    while (tr_clock_ms() < until) {
        if (tr_broker_poll(&event, broker, 100, &err) == TR_OK) {
            if (event.type == type) {
                return event;
            }
            tr_event_release(&event);
        }
    }
    cr_assert_fail("event %d did not come", (int)type);
    return event;
}

static void ask(const char *group, const char *method)
{
    static const int32_t ids[] = {1, 2};
    const tr_sample_t samples[] = {
        {.id = 0,
         .prompt = "Say: ",
         .response = "A happy, HAPPY dog.",
         .prompt_ids = ids,
         .prompt_count = 2,
         .response_ids = ids,
         .response_count = 2,
         .finish = "eos"},
        {.id = 1, .prompt = "happy", .response = "A sad dog.", .finish = "length"}};
    json_t *list = json_array();
    json_array_append_new(list, tr_score_sample(&samples[0]));
    json_array_append_new(list, tr_score_sample(&samples[1]));
    tr_message_t *message = tr_message_new("request");
    tr_message_set_body(message, json_pack("{s:o}", "samples", list));
    tr_broker_submit(broker, TR_ROLE_REWARD, group, NULL, method, &message);
}

/// Asks for two scores, and expects these; *extras: a new reference.
static void expect_scores(const char *group, float first, float second, json_t **extras)
{
    float scores[2];
    tr_error_t err = {0};
    ask(group, "score");
    tr_event_t event = await(TR_EVENT_REPLY);
    cr_assert_eq(
        tr_score_reply_read(scores, extras, 2, tr_message_body(event.message), group, &err), TR_OK,
        "%s", err.text);
    cr_assert_float_eq(scores[0], first, 1e-6f, "%g", (double)scores[0]);
    cr_assert_float_eq(scores[1], second, 1e-6f, "%g", (double)scores[1]);
    tr_event_release(&event);
}

Test(daemon, a_built_in_judge_scores_and_leaves_when_dismissed, .timeout = 60)
{
    json_t *extras;
    open_broker(NULL);
    pid_t pid = start(OURS, "words", NULL);
    expect_scores("words", 1.0f, 0.0f, &extras);
    cr_assert_eq(json_object_size(extras), 0);
    json_decref(extras);
    tr_broker_destroy(&broker); // says bye
    cr_assert_eq(wait_exit(pid), 0);
    close_all();
}

Test(daemon, a_group_that_the_recipe_does_not_have_ends_it_though_a_request_waits, .timeout = 60)
{
    open_broker(NULL);
    ask("sdrow", "score");
    pid_t pid = start(OURS, "sdrow", NULL);
    tr_event_t event = await(TR_EVENT_LOST);
    cr_expect_not_null(strstr(event.text, "has no judge 'sdrow'"), "%s", event.text);
    tr_event_release(&event);
    cr_assert_eq(wait_exit(pid), tr_status_exit_code(TR_ERR_ARGUMENT));
    tr_broker_destroy(&broker);
    close_all();
}

/// A python3 that has what the example needs; skips the test where there is none.
static const char *python(void)
{
    static const char *const candidates[] = {"python3", "/usr/bin/python3"};
    for (size_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++) {
        const char *const argv[] = {candidates[i], "-c", "import zmq.auth, msgpack", NULL};
        pid_t pid = fork();
        if (pid == 0) {
            fclose(stderr);
            execvp(argv[0], (char *const *)argv);
            _exit(127);
        }
        if (wait_exit(pid) == 0) {
            return candidates[i];
        }
    }
    cr_skip_test("there is no python3 with zmq and msgpack");
    return NULL;
}

/// happy_words.py: happy minus sad words per ten words, in [-1, 1]; extras count them.
static void expect_happy_words(const char *keys)
{
    json_t *extras;
    const char *const argv[] = {python(), TEST_SOURCE_DIR "/examples/rewards/happy_words.py", NULL};
    pid_t pid = start(argv, "python", keys);
    expect_scores("python", 1.0f, -1.0f, &extras);
    cr_assert_eq(json_integer_value(json_array_get(json_object_get(extras, "happy_words"), 0)), 2);
    cr_assert_eq(json_integer_value(json_array_get(json_object_get(extras, "sad_words"), 1)), 1);
    json_decref(extras);
    ask("python", "nonsense");
    tr_event_t event = await(TR_EVENT_ERROR);
    cr_assert_not_null(strstr(event.text, "nonsense"), "%s", event.text);
    tr_event_release(&event);
    tr_broker_destroy(&broker);
    cr_assert_eq(wait_exit(pid), 0);
}

Test(outside, the_example_in_python_scores_and_leaves_when_dismissed, .timeout = 60)
{
    open_broker(NULL);
    expect_happy_words(NULL);
    close_all();
}

Test(outside, the_example_in_python_shows_its_key, .timeout = 60)
{
    tr_error_t err = {0};
    char *folder = scratch_open();
    char *keys = tr_format("%s/keys", folder);
    cr_assert_eq(tr_keys_make(keys, &err), TR_OK, "%s", err.text);
    open_broker(keys);
    expect_happy_words(keys);
    close_all();
    free(keys);
    scratch_close(&folder);
}
