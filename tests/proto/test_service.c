// Real processes: a hub here, services and judges in processes of their own.
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "proto/endpoint.h"
#include "proto/hub.h"
#include "proto/score.h"
#include "proto/service.h"

enum { PATIENCE_MS = 15000 };

static char directory[] = "/tmp/troupe-test-XXXXXX";
static char endpoint[128];
static tr_hub_t *hub;

static tr_status echo(void *context, const tr_message_t *request, tr_message_t *reply, tr_error_t *err)
{
    (void)context, (void)err;
    tr_message_set_body(reply, json_deep_copy(tr_message_body(request)));
    for (size_t i = 0; i < tr_message_tensors(request); i++) {
        tr_view_t v = tr_message_tensor_at(request, i);
        tr_message_add_tensor(reply, v.name, v.dtype, v.dims, v.shape, v.data, NULL, NULL);
    }
    return TR_OK;
}

static tr_status fail(void *context, const tr_message_t *request, tr_message_t *reply, tr_error_t *err)
{
    (void)context, (void)request, (void)reply;
    return tr_fail(err, TR_ERR_NUMERIC, "the loss is NaN");
}

static tr_status answer_nan(void *context, const tr_message_t *request, tr_message_t *reply, tr_error_t *err)
{
    (void)context, (void)request, (void)err;
    const float scores[] = {(float)strtod("nan", NULL)};
    tr_message_set_body(reply, tr_score_reply_body(scores, 1, NULL));
    return TR_OK;
}

/// Waits for a file "go" in the directory: how a test holds a handler as long as it likes.
static tr_status hold(void *context, const tr_message_t *request, tr_message_t *reply, tr_error_t *err)
{
    (void)context, (void)request;
    char path[160];
    char byte;
    snprintf(path, sizeof path, "%s/hold", directory);
    FILE *fifo = fopen(path, "r"); // blocks until the test opens the other end
    if (fifo == NULL || fread(&byte, 1, 1, fifo) != 1) {
        return tr_fail(err, TR_ERR_IO, "no fifo");
    }
    fclose(fifo);
    tr_message_set_body(reply, json_pack("{s:I}", "pid", (json_int_t)getpid()));
    return TR_OK;
}

static pid_t start_service(const char *name, const char *keys, const char *where)
{
    static const tr_method_t methods[] = {{"echo", echo}, {"fail", fail}, {"nan", answer_nan}, {"hold", hold}};
    pid_t pid = fork();
    if (pid == 0) {
        tr_service_options_t options;
        tr_error_t err = {0};
        tr_service_options_init(&options, TR_ROLE_ROLLOUT);
        options.name = tr_strdup(name);
        options.endpoint = tr_strdup(where);
        options.keys = keys != NULL ? tr_strdup(keys) : NULL;
        options.patience = 5.0;
        tr_status status = tr_service_run(&options, methods, 4, NULL, &err);
        _exit(tr_status_exit_code(status));
    }
    return pid;
}

static int wait_exit(pid_t pid)
{
    int status = 0;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void open_hub(const char *keys)
{
    tr_dispatch_options_t options;
    tr_error_t err = {0};
    tr_dispatch_options_init(&options);
    options.heartbeat_ms = 50;
    options.silence_ms = 500;
    options.stop_token = "token";
    cr_assert_eq(tr_hub_new(&hub, endpoint, keys, &options, &err), TR_OK, "%s", err.text);
}

static void setup(void)
{
    cr_assert_not_null(mkdtemp(directory));
    snprintf(endpoint, sizeof endpoint, "ipc://%s/s", directory);
}

static void teardown(void)
{
    tr_hub_destroy(&hub);
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
        tr_status status = tr_hub_poll(&event, hub, (int)left, &err);
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
    return tr_hub_submit(hub, TR_ROLE_ROLLOUT, NULL, worker, method, &message);
}

Test(service, answers_with_body_and_tensors)
{
    open_hub(NULL);
    pid_t pid = start_service("a", NULL, endpoint);
    float *big = tr_alloc(1000000 * sizeof *big);
    for (int i = 0; i < 1000000; i++) {
        big[i] = (float)i;
    }
    tr_message_t *message = tr_message_new("request");
    tr_message_set_body(message, json_pack("{s:s}", "word", "h\xc3\xa9llo"));
    const size_t shape[] = {1000, 1000};
    tr_message_add_tensor(message, "big", TR_F32, 2, shape, big, NULL, NULL);
    tr_message_add_vector(message, "none", TR_I32, 0, NULL);
    int64_t id = tr_hub_submit(hub, TR_ROLE_ROLLOUT, NULL, NULL, "echo", &message);
    tr_event_t event = await(TR_EVENT_REPLY);
    cr_assert_eq(event.id, id);
    cr_assert_str_eq(json_string_value(json_object_get(tr_message_body(event.message), "word")), "h\xc3\xa9llo");
    tr_view_t view;
    cr_assert_eq(tr_message_expect_tensor(&view, event.message, "big", TR_F32, 1000000, NULL), TR_OK);
    cr_assert_eq(memcmp(view.data, big, view.bytes), 0);
    cr_assert_eq(view.shape[1], 1000);
    free(big);
    tr_event_release(&event);
    kill(pid, SIGTERM);
    await_and_drop(TR_EVENT_LOST); // bye, at once
    cr_assert_eq(wait_exit(pid), 0);
}

Test(service, failures_come_back_as_errors_that_name_the_worker)
{
    open_hub(NULL);
    pid_t pid = start_service("b", NULL, endpoint);
    static const struct {
        const char *method;
        tr_status status;
        const char *text;
    } rows[] = {{"fail", TR_ERR_NUMERIC, "rollout worker 'b': fail: the loss is NaN"},
                {"nonsense", TR_ERR_UNSUPPORTED, "nonsense"},
                {"nan", TR_ERR_ARGUMENT, "not finite"}};
    for (size_t i = 0; i < 3; i++) {
        submit(rows[i].method, NULL, NULL);
        tr_event_t event = await(TR_EVENT_ERROR);
        cr_assert_eq(event.status, rows[i].status, "%s", event.text);
        cr_assert_not_null(strstr(event.text, rows[i].text), "%s", event.text);
        tr_event_release(&event);
    }
    tr_hub_destroy(&hub); // bye: the service leaves with success
    cr_assert_eq(wait_exit(pid), 0);
}
