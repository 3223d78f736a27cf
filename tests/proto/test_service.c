// Real processes: the controller here, services in processes of their own.
//
// A service is this program again, started by exec: threads of ZeroMQ and of the test's runner live
// here, and a forked copy of a process with threads may find a lock of its allocator taken for
// ever.
#include <criterion/criterion.h>

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "proto/broker.h"
#include "proto/endpoint.h"
#include "proto/score.h"
#include "proto/service.h"
#include "tests/support/open_requests.h"

enum { PATIENCE_MS = 15000 };

// What runs in the service's process

static const char SERVE[] = "serve";

typedef struct worker {
    int welcomes;
    json_t *config; ///< of the last welcome
    int computed;   ///< requests for `count`
} worker_t;

static tr_status echo(void *context, const tr_message_t *request, tr_message_t *reply,
                      tr_error_t *err)
{
    (void)context, (void)err;
    tr_message_set_body(reply, json_deep_copy(tr_message_body(request)));
    for (size_t i = 0; i < tr_message_tensors(request); i++) {
        tr_view_t v = tr_message_tensor_at(request, i);
        tr_message_add_tensor(reply, v.name, v.dtype, v.dims, v.shape, v.data, NULL, NULL);
    }
    return TR_OK;
}

static tr_status fail(void *context, const tr_message_t *request, tr_message_t *reply,
                      tr_error_t *err)
{
    (void)context, (void)request, (void)reply;
    return tr_fail(err, TR_ERR_NUMERIC, "the loss is NaN");
}

static tr_status answer_infinity(void *context, const tr_message_t *request, tr_message_t *reply,
                                 tr_error_t *err)
{
    (void)context, (void)request, (void)err;
    const float scores[] = {(float)strtod("inf", NULL)};
    tr_message_set_body(reply, tr_score_reply_body(scores, 1, NULL));
    return TR_OK;
}

/// Waits for a byte in the request's fifo: how a test holds a handler as long as it likes.
static tr_status hold(void *context, const tr_message_t *request, tr_message_t *reply,
                      tr_error_t *err)
{
    (void)context;
    char byte;
    FILE *fifo = fopen(json_string_value(json_object_get(tr_message_body(request), "fifo")), "r");
    if (fifo == NULL || fread(&byte, 1, 1, fifo) != 1) {
        return tr_fail(err, TR_ERR_IO, "no fifo");
    }
    fclose(fifo);
    tr_message_set_body(reply, json_pack("{s:I}", "pid", (json_int_t)getpid()));
    return TR_OK;
}

static tr_status count(void *context, const tr_message_t *request, tr_message_t *reply,
                       tr_error_t *err)
{
    (void)request, (void)err;
    worker_t *worker = context;
    tr_message_set_body(reply, json_pack("{s:i, s:i, s:O}", "computed", ++worker->computed,
                                         "welcomes", worker->welcomes, "config", worker->config));
    return TR_OK;
}

/// Cannot serve the first time.
static tr_status balk(void *context, const tr_message_t *request, tr_message_t *reply,
                      tr_error_t *err)
{
    const worker_t *worker = context;
    tr_status status = count(context, request, reply, err);
    return worker->computed > 1 ? status : tr_fail(err, TR_ERR_INTERRUPTED, "no weights");
}

static tr_status take_config(void *context, const json_t *config, tr_error_t *err)
{
    worker_t *worker = context;
    worker->welcomes++;
    json_decref(worker->config);
    worker->config = json_deep_copy(config);
    return json_object_get(config, "bad") == NULL
               ? TR_OK
               : tr_fail(err, TR_ERR_UNSUPPORTED, "this config is not for us");
}

/// argv: SERVE, name, endpoint, patience in seconds.
static int serve(char **argv)
{
    static const tr_method_t methods[] = {
        {"echo", echo}, {"fail", fail},   {"infinity", answer_infinity},
        {"hold", hold}, {"count", count}, {"balk", balk}};
    worker_t worker = {.config = json_object()};
    tr_service_options_t options;
    tr_error_t err = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL); // a test that fails leaves nobody behind
    tr_service_options_init(&options, TR_ROLE_ROLLOUT);
    options.name = tr_strdup(argv[1]);
    options.endpoint = tr_strdup(argv[2]);
    options.patience = strtod(argv[3], NULL);
    options.welcome = take_config;
    tr_status status =
        tr_service_run(&options, methods, sizeof methods / sizeof methods[0], &worker, &err);
    tr_service_options_release(&options);
    json_decref(worker.config);
    return tr_status_report(status, &err);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[0], SERVE) == 0) {
        return serve(argv);
    }
    struct criterion_test_set *tests = criterion_initialize();
    bool passed = !criterion_handle_args(argc, argv, true) || criterion_run_all_tests(tests) != 0;
    criterion_finalize(tests);
    return passed ? 0 : 1;
}

// What runs in the test's process

static char directory[] = "/tmp/troupe-test-XXXXXX";
static char endpoint[128];
static char fifo[128];
static tr_broker_t *broker;

static pid_t start_service_for(const char *name, const char *patience)
{
    pid_t pid;
    char *const argv[] = {(char *)(uintptr_t)SERVE, (char *)(uintptr_t)name, endpoint,
                          (char *)(uintptr_t)patience, NULL};
    unsetenv("BXFI_MAP"); // by which the runner tells a test's process from the runner's own
    cr_assert_eq(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ), 0);
    return pid;
}

static pid_t start_service(const char *name)
{
    return start_service_for(name, "30");
}

static int wait_exit(pid_t pid)
{
    int status = 0;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void open_broker(void)
{
    tr_dispatch_options_t options;
    tr_error_t err = {0};
    tr_dispatch_options_init(&options);
    options.heartbeat_ms = 50;
    options.silence_ms = 2000;
    cr_assert_eq(tr_broker_new(&broker, endpoint, NULL, &options, &err), TR_OK, "%s", err.text);
}

static void setup(void)
{
    cr_assert_not_null(mkdtemp(directory));
    snprintf(endpoint, sizeof endpoint, "ipc://%s/s", directory);
    snprintf(fifo, sizeof fifo, "%s/hold", directory);
    cr_assert_eq(mkfifo(fifo, 0600), 0);
}

static void teardown(void)
{
    tr_broker_destroy(&broker);
    tr_directory_remove(directory, NULL);
}

TestSuite(service, .init = setup, .fini = teardown, .timeout = 60);

/// The next event of a type, within the deadline; others are dropped.
static tr_event_t await(tr_event_type_t type)
{
    tr_event_t event = {0};
    tr_error_t err = {0};
    int64_t end = tr_clock_ms() + PATIENCE_MS;
    for (int64_t left = PATIENCE_MS; left > 0; left = end - tr_clock_ms()) {
        tr_status status = tr_broker_poll(&event, broker, (int)left, &err);
        cr_assert(status == TR_OK || status == TR_ERR_TIMEOUT, "%s", err.text);
        if (status == TR_OK && event.type == type) {
            return event;
        }
        if (status == TR_OK) {
            cr_log_info("event %d %s", (int)event.type, event.text != NULL ? event.text : "");
            tr_event_release(&event);
        }
    }
    cr_assert_fail("event %d did not come", (int)type);
    return event;
}

static void await_and_drop(tr_event_type_t type)
{
    tr_event_t event = await(type);
    tr_event_release(&event);
}

static int64_t submit(const char *method, const char *worker, json_t *body)
{
    tr_message_t *message = tr_message_new("request");
    if (body != NULL) {
        tr_message_set_body(message, body);
    }
    return tr_broker_submit(broker, TR_ROLE_ROLLOUT, NULL, worker, method, &message);
}

static int64_t submit_hold(const char *worker)
{
    return submit("hold", worker, json_pack("{s:s}", "fifo", fifo));
}

/// Waits until a handler computes: it then reads what is written. Returns where to.
static int await_handler(void)
{
    return open(fifo, O_WRONLY);
}

static void let_go(int handler)
{
    cr_assert_eq(write(handler, "!", 1), 1);
    close(handler);
}

/// The worker that has acknowledged a request, of two at most: 0 the first, 1 the second. No event
/// may come meanwhile.
static int await_acknowledged(const char *first, const char *second)
{
    const char *const names[] = {first, second};
    int64_t end = tr_clock_ms() + PATIENCE_MS;
    int holder = -1;
    while (holder < 0 && tr_clock_ms() < end) {
        tr_event_t event;
        cr_assert_eq(tr_broker_poll(&event, broker, 10, NULL), TR_ERR_TIMEOUT);
        json_t *status = tr_dispatch_status(tr_broker_dispatch(broker), tr_clock_ms());
        size_t index;
        json_t *worker;
        json_array_foreach(json_object_get(status, "workers"), index, worker)
        {
            json_t *outstanding = json_array_get(json_object_get(worker, "outstanding"), 0);
            const char *name = json_string_value(json_object_get(worker, "name"));
            if (json_is_true(json_object_get(outstanding, "acknowledged"))) {
                holder = strcmp(names[0], name) == 0 ? 0 : 1;
            }
        }
        json_decref(status);
    }
    cr_assert_geq(holder, 0, "nobody took the request");
    return holder;
}

Test(service, answers_with_body_and_tensors)
{
    open_broker();
    pid_t pid = start_service("a");
    float *big = tr_alloc(1000000 * sizeof *big);
    for (int i = 0; i < 1000000; i++) {
        big[i] = (float)i;
    }
    tr_message_t *message = tr_message_new("request");
    tr_message_set_body(message, json_pack("{s:s}", "word", "h\xc3\xa9llo"));
    const size_t shape[] = {1000, 1000};
    tr_message_add_tensor(message, "big", TR_F32, 2, shape, big, NULL, NULL);
    tr_message_add_vector(message, "none", TR_I32, 0, NULL);
    int64_t id = tr_broker_submit(broker, TR_ROLE_ROLLOUT, NULL, NULL, "echo", &message);
    tr_event_t event = await(TR_EVENT_REPLY);
    cr_assert_eq(event.id, id);
    cr_assert_str_eq(json_string_value(json_object_get(tr_message_body(event.message), "word")),
                     "h\xc3\xa9llo");
    tr_view_t view;
    cr_assert_eq(tr_message_expect_tensor(&view, event.message, "big", TR_F32, 1000000, NULL),
                 TR_OK);
    cr_assert_eq(memcmp(view.data, big, view.bytes), 0);
    cr_assert_eq(view.shape[1], 1000);
    cr_assert_eq(tr_message_expect_tensor(&view, event.message, "none", TR_I32, 0, NULL), TR_OK);
    free(big);
    tr_event_release(&event);
    kill(pid, SIGTERM);
    await_and_drop(TR_EVENT_LOST); // bye, at once
    cr_assert_eq(wait_exit(pid), 0);
}

Test(service, failures_come_back_as_errors_that_name_the_worker)
{
    open_broker();
    pid_t pid = start_service("b");
    static const struct {
        const char *method;
        tr_status status;
        const char *text;
    } rows[] = {{"fail", TR_ERR_NUMERIC, "rollout worker 'b': fail: the loss is NaN"},
                {"nonsense", TR_ERR_UNSUPPORTED, "nonsense"},
                {"infinity", TR_ERR_ARGUMENT, "not finite"}};
    for (size_t i = 0; i < 3; i++) {
        submit(rows[i].method, NULL, NULL);
        tr_event_t event = await(TR_EVENT_ERROR);
        cr_assert_eq(event.status, rows[i].status, "%s", event.text);
        cr_assert_not_null(strstr(event.text, rows[i].text), "%s", event.text);
        tr_event_release(&event);
    }
    tr_broker_destroy(&broker); // bye: the service leaves with success
    cr_assert_eq(wait_exit(pid), 0);
}

/// A `bye` that is followed by a hang-up at once is read all the same; one time in twenty it was
/// lost.
Test(service, leaves_with_success_whenever_the_controller_ends)
{
    for (int round = 0; round < 40; round++) {
        open_broker();
        pid_t pid = start_service_for("c", "5");
        await_and_drop(TR_EVENT_JOINED);
        tr_broker_destroy(&broker);
        cr_assert_eq(wait_exit(pid), 0, "round %d", round);
    }
}

Test(service, joins_with_capabilities_and_gets_its_config_once)
{
    open_broker();
    tr_dispatch_set_config(tr_broker_dispatch(broker), TR_ROLE_ROLLOUT,
                           json_pack("{s:i}", "seed", 7));
    pid_t pid = start_service("d");
    tr_event_t joined = await(TR_EVENT_JOINED);
    cr_assert_str_eq(joined.worker, "d");
    cr_assert_str_eq(joined.group, "rollout");
    const json_t *body = tr_message_body(joined.message);
    cr_assert(json_is_object(json_object_get(body, "capabilities")));
    tr_event_release(&joined);
    for (int i = 1; i <= 3; i++) {
        submit("count", NULL, NULL);
        tr_event_t event = await(TR_EVENT_REPLY);
        const json_t *reply = tr_message_body(event.message);
        cr_assert_eq(json_integer_value(json_object_get(reply, "computed")), i);
        cr_assert_eq(json_integer_value(json_object_get(reply, "welcomes")), 1);
        const json_t *config = json_object_get(reply, "config");
        cr_assert_eq(json_integer_value(json_object_get(config, "seed")), 7);
        tr_event_release(&event);
    }
    tr_broker_destroy(&broker);
    cr_assert_eq(wait_exit(pid), 0);
}

Test(service, ends_with_the_failure_of_its_welcome)
{
    open_broker();
    tr_dispatch_set_config(tr_broker_dispatch(broker), TR_ROLE_ROLLOUT,
                           json_pack("{s:i}", "bad", 1));
    pid_t pid = start_service("e");
    tr_event_t lost = await(TR_EVENT_LOST);
    cr_assert_str_eq(lost.text, "rollout worker 'e' left: this config is not for us");
    tr_event_release(&lost);
    cr_assert_eq(wait_exit(pid), tr_status_exit_code(TR_ERR_UNSUPPORTED));
}

Test(service, work_of_a_killed_worker_goes_to_another)
{
    open_broker();
    pid_t pids[] = {start_service("first"), start_service("second")};
    await_and_drop(TR_EVENT_JOINED);
    await_and_drop(TR_EVENT_JOINED);
    int64_t id = submit_hold(NULL);
    int holder = await_acknowledged("first", "second");
    kill(pids[holder], SIGKILL);
    cr_assert_eq(wait_exit(pids[holder]), -SIGKILL);
    tr_event_t lost = await(TR_EVENT_LOST);
    cr_assert_str_eq(lost.worker, holder == 0 ? "first" : "second");
    tr_event_release(&lost);
    cr_assert_eq(await_acknowledged("first", "second"), 1 - holder);
    let_go(await_handler());
    tr_event_t event = await(TR_EVENT_REPLY);
    cr_assert_eq(event.id, id);
    cr_assert_eq(json_integer_value(json_object_get(tr_message_body(event.message), "pid")),
                 pids[1 - holder]);
    tr_event_release(&event);
    tr_broker_destroy(&broker);
    cr_assert_eq(wait_exit(pids[1 - holder]), 0);
}

Test(service, a_worker_that_cannot_serve_leaves_its_work_says_why_and_comes_back)
{
    open_broker();
    pid_t pid = start_service("first");
    await_and_drop(TR_EVENT_JOINED);
    int64_t id = submit("balk", NULL, NULL);
    tr_event_t lost = await(TR_EVENT_LOST);
    cr_expect_not_null(strstr(lost.text, "no weights"), "%s", lost.text);
    tr_event_release(&lost);
    await_and_drop(TR_EVENT_JOINED);
    tr_event_t event = await(TR_EVENT_REPLY);
    cr_expect_eq(event.id, id);
    const json_t *body = tr_message_body(event.message);
    cr_expect_eq(json_integer_value(json_object_get(body, "computed")), 2);
    cr_expect_eq(json_integer_value(json_object_get(body, "welcomes")), 1,
                 "it is the same process");
    tr_event_release(&event);
    tr_broker_destroy(&broker);
    cr_assert_eq(wait_exit(pid), 0);
}

Test(service, the_loss_of_a_named_worker_is_an_error_and_a_new_process_takes_its_name)
{
    open_broker();
    pid_t pid = start_service("only");
    await_and_drop(TR_EVENT_JOINED);
    int64_t id = submit_hold("only");
    await_acknowledged("only", "");
    kill(pid, SIGKILL);
    cr_assert_eq(wait_exit(pid), -SIGKILL);
    pid = start_service("only"); // registers before the silence of the first is noticed
    tr_event_t event = await(TR_EVENT_ERROR);
    cr_assert_eq(event.id, id);
    cr_assert_eq(event.status, TR_ERR_PEER);
    cr_assert_not_null(strstr(event.text, "only"), "%s", event.text);
    tr_event_release(&event);
    submit("count", "only", NULL);
    event = await(TR_EVENT_REPLY);
    tr_event_release(&event);
    cr_assert_eq(tr_dispatch_workers(tr_broker_dispatch(broker), TR_ROLE_ROLLOUT, "rollout"), 1);
    cr_assert_eq(open_requests(tr_broker_dispatch(broker)), 0);
    tr_broker_destroy(&broker);
    cr_assert_eq(wait_exit(pid), 0);
}

Test(service, a_signal_lets_the_request_at_hand_finish)
{
    open_broker();
    pid_t pid = start_service("f");
    await_and_drop(TR_EVENT_JOINED);
    int64_t id = submit_hold(NULL);
    await_acknowledged("f", "");
    int handler = await_handler(); // one that only waits is left to another worker
    kill(pid, SIGTERM);
    let_go(handler);
    tr_event_t event = await(TR_EVENT_REPLY);
    cr_assert_eq(event.id, id);
    tr_event_release(&event);
    tr_event_t lost = await(TR_EVENT_LOST);
    cr_assert_str_eq(lost.text, "rollout worker 'f' left");
    tr_event_release(&lost);
    cr_assert_eq(wait_exit(pid), 0);
}

Test(service, gives_up_when_no_controller_is_heard)
{
    pid_t pid = start_service_for("g", "0.3");
    cr_assert_eq(wait_exit(pid), tr_status_exit_code(TR_ERR_TIMEOUT));
}
