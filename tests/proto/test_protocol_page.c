// PROTOCOL.md is a contract: its examples are messages that the code sends and reads, and its judge
// works.
#include <criterion/criterion.h>

#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "proto/broker.h"
#include "proto/msgpack_json.h"
#include "tests/support/scratch.h"

enum { PATIENCE_MS = 20000 };

static const char PYTHON[] =
    "/usr/bin/python3"; // the one that the distribution's packages belong to
static tr_error_t err;

/// The page's block after *at that opens with ```language, owned by the caller; NULL when there is
/// none. Indented blocks too. *at moves behind it.
static char *next_block(const char **at, const char *language)
{
    char *fence = tr_format("```%s\n", language);
    const char *begin = strstr(*at, fence);
    char *block = NULL;
    if (begin != NULL) {
        begin += strlen(fence);
        const char *end = strstr(begin, "```");
        cr_assert_not_null(end);
        block = tr_format("%.*s", (int)(end - begin), begin);
        *at = end + 3;
    }
    free(fence);
    return block;
}

static char *read_page(void)
{
    return scratch_read(TEST_SOURCE_DIR "/proto/PROTOCOL.md", NULL);
}

/// An example as it would arrive; tensors are without their frames.
static tr_message_t *message_of(const char *example)
{
    json_error_t where;
    json_t *envelope = json_loads(example, 0, &where);
    cr_assert_not_null(envelope, "%s in %s", where.text, example);
    char *bytes;
    size_t length;
    tr_message_t *message;
    cr_assert_eq(tr_msgpack_from_json(&bytes, &length, envelope, TR_ENVELOPE_MAX, &err), TR_OK);
    cr_assert_eq(tr_message_unpack(&message, bytes, length, &err), TR_OK, "%s in %s", err.text,
                 example);
    cr_expect_null(tr_message_fault(message));
    free(bytes);
    json_decref(envelope);
    return message;
}

/// The page's first example of a type, or its last; the caller's.
static tr_message_t *example_of(const char *page, const char *type, bool last)
{
    tr_message_t *found = NULL;
    char *block;
    while ((found == NULL || last) && (block = next_block(&page, "json")) != NULL) {
        tr_message_t *message = message_of(block);
        if (strcmp(tr_message_type(message), type) == 0) {
            tr_message_destroy(&found);
            found = message;
        } else {
            tr_message_destroy(&message);
        }
        free(block);
    }
    cr_assert_not_null(found, "no example of '%s'", type);
    return found;
}

Test(protocol_page, every_type_of_message_has_an_example_that_can_be_read)
{
    static const char *const types[] = {"register", "welcome", "refused", "heartbeat", "request",
                                        "ack",      "reply",   "done",    "error",     "bye",
                                        "status",   "stop",    "stopping"};
    char *page = read_page();
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        tr_message_t *message = example_of(page, types[i], false);
        tr_message_destroy(&message);
    }
    free(page);
}

/// Both maps have the same keys, down to what the arrays hold first.
static void expect_same_keys(const json_t *page, const json_t *code, const char *where)
{
    const char *key;
    json_t *value;
    cr_assert(json_typeof(page) == json_typeof(code) ||
                  (json_is_boolean(page) && json_is_boolean(code)),
              "%s", where);
    if (json_is_array(page) && json_array_size(code) > 0) {
        expect_same_keys(json_array_get(page, 0), json_array_get(code, 0), where);
    }
    if (json_is_object(page) && strcmp(where, "config") != 0 && strcmp(where, "run") != 0) {
        cr_expect_eq(json_object_size(page), json_object_size(code), "%s", where);
        json_object_foreach((json_t *)(uintptr_t)page, key, value)
        {
            cr_assert_not_null(json_object_get(code, key), "%s.%s", where, key);
            expect_same_keys(value, json_object_get(code, key), key);
        }
    }
}

/// The page's first example of `say` is answered by what looks like its last one of `type`.
static void expect_answer(tr_dispatch_t *dispatch, const char *page, const char *type,
                          const char *say)
{
    tr_peer_t peer = {.size = 1, .bytes = {7}};
    tr_message_t *said = example_of(page, say, false);
    tr_message_t *expected = example_of(page, type, true);
    tr_message_t *answer;
    tr_dispatch_receive(dispatch, 0, &peer, &said);
    cr_assert(tr_dispatch_next_send(&peer, &answer, dispatch), "no answer to '%s'", say);
    cr_assert_str_eq(tr_message_type(answer), type);
    expect_same_keys(tr_message_body(expected), tr_message_body(answer), type);
    tr_message_destroy(&expected);
    tr_message_destroy(&answer);
}

Test(protocol_page, the_controller_answers_as_the_page_says)
{
    char *page = read_page();
    tr_dispatch_options_t options;
    tr_dispatch_options_init(&options);
    options.stop_token = "a secret of the run";
    tr_dispatch_t *dispatch = tr_dispatch_new(&options);
    expect_answer(dispatch, page, "welcome", "register");
    expect_answer(dispatch, page, "heartbeat", "heartbeat");
    tr_message_t *request = tr_message_new("request");
    tr_dispatch_submit(dispatch, 0, TR_ROLE_REWARD, "tact", NULL, "score", &request);
    request = tr_message_new("request");
    tr_dispatch_submit(dispatch, 0, TR_ROLE_ROLLOUT, NULL, NULL, "generate", &request);
    tr_peer_t peer;
    cr_assert(tr_dispatch_next_send(&peer, &request, dispatch), "to the judge of the page");
    tr_message_destroy(&request);
    expect_answer(dispatch, page, "status", "status");
    expect_answer(dispatch, page, "stopping", "stop");
    tr_dispatch_destroy(&dispatch);
    free(page);
}

// The judge

static char *folder;
static char *endpoint;
static tr_broker_t *broker;
static pid_t pid;

static void setup(void)
{
    folder = scratch_open();
    endpoint = tr_format("ipc://%s/s", folder);
}

static void teardown(void)
{
    if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    tr_broker_destroy(&broker);
    free(endpoint);
    scratch_close(&folder);
}

TestSuite(protocol_judge, .init = setup, .fini = teardown, .timeout = 60);

static int run_python(char *first, char *second)
{
    char *const argv[] = {(char *)(uintptr_t)PYTHON, first, second, NULL};
    char *const env[] = {tr_format("TROUPE_ENDPOINT=%s", endpoint), NULL};
    int failed = posix_spawn(&pid, PYTHON, NULL, NULL, argv, env);
    free(env[0]);
    return failed;
}

static int wait_python(void)
{
    int code = -1;
    waitpid(pid, &code, 0);
    pid = 0;
    return WIFEXITED(code) ? WEXITSTATUS(code) : -1;
}

static tr_event_t await(tr_event_type_t type)
{
    tr_event_t event = {0};
    int64_t end = tr_clock_ms() + PATIENCE_MS;
    while (tr_clock_ms() < end) {
        if (tr_broker_poll(&event, broker, 100, &err) == TR_OK) {
            cr_assert_eq(event.type, type, "%s", event.text);
            return event;
        }
    }
    cr_assert_fail("event %d did not come", (int)type);
    return event;
}

static void submit(json_t *body)
{
    tr_message_t *message = tr_message_new("request");
    tr_message_set_body(message, body);
    tr_broker_submit(broker, TR_ROLE_REWARD, "reward", NULL, "score", &message);
}

Test(protocol_judge, the_minimal_judge_of_the_page_works_as_it_stands)
{
    char probe[] = "import zmq, msgpack";
    char flag[] = "-c";
    if (run_python(flag, probe) != 0 || wait_python() != 0) {
        cr_skip_test("%s lacks pyzmq or msgpack", PYTHON);
    }
    char *page = read_page();
    const char *at = page;
    char *code = next_block(&at, "python");
    char *path = scratch_write(folder, "judge.py", code, strlen(code));
    tr_dispatch_options_t options;
    tr_dispatch_options_init(&options);
    cr_assert_eq(tr_broker_new(&broker, endpoint, NULL, &options, &err), TR_OK, "%s", err.text);
    cr_assert_eq(run_python(path, NULL), 0);
    tr_event_t event = await(TR_EVENT_JOINED);
    tr_event_release(&event);
    submit(json_pack("{s:[{s:s}, {s:s}, {s:s}]}", "samples", "response", "happy, happy", "response",
                     "sad", "response", "unhappy \xc3\xa9"));
    event = await(TR_EVENT_REPLY);
    json_t *scores = json_loads("[2, 0, 1]", 0, NULL);
    cr_expect(json_equal(json_object_get(tr_message_body(event.message), "scores"), scores));
    json_decref(scores);
    tr_event_release(&event);
    submit(json_object());
    event = await(TR_EVENT_ERROR);
    cr_expect_eq(event.status, TR_ERR_ARGUMENT);
    cr_expect_not_null(strstr(event.text, "samples"), "%s", event.text);
    tr_event_release(&event);
    tr_broker_destroy(&broker);
    cr_expect_eq(wait_python(), 0, "bye ends it with success");
    free(path);
    free(code);
    free(page);
}
