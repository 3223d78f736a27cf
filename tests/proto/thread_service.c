// A broker and a service in one process over ipc://: a few hundred requests are answered, each once
// and with its own bytes, while heartbeats, the handlers' thread and ZeroMQ's threads run beside
// each other.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "proto/broker.h"
#include "proto/service.h"

enum { REQUESTS = 300, ELEMENTS = 1000, PATIENCE_MS = 120000 };

static tr_status check_config(void *context, const json_t *config, tr_error_t *err)
{
    size_t *welcomes = context;
    ++*welcomes;
    return json_is_true(json_object_get(config, "double"))
               ? TR_OK
               : tr_fail(err, TR_ERR_ARGUMENT, "the config did not come");
}

/// Answers with each element doubled; every seventh request fails.
static tr_status twice(void *context, const tr_message_t *request, tr_message_t *reply,
                       tr_error_t *err)
{
    (void)context;
    tr_view_t in;
    TR_TRY(tr_message_expect_tensor(&in, request, "x", TR_I32, ELEMENTS, err));
    const int32_t *x = in.data;
    if (x[0] % 7 == 0) {
        return tr_fail(err, TR_ERR_NUMERIC, "a multiple of seven");
    }
    int32_t y[ELEMENTS];
    for (size_t i = 0; i < ELEMENTS; i++) {
        y[i] = 2 * x[i];
    }
    tr_message_add_vector(reply, "y", TR_I32, ELEMENTS, y);
    tr_message_set_body(reply, json_deep_copy(tr_message_body(request)));
    return TR_OK;
}

static void *serve(void *endpoint)
{
    static const tr_method_t methods[] = {{"twice", twice}};
    tr_service_options_t options;
    tr_error_t err = {0};
    size_t welcomes = 0;
    tr_service_options_init(&options, TR_ROLE_REWARD);
    options.endpoint = tr_strdup(endpoint);
    options.name = tr_strdup("doubler");
    options.credit = 8;
    options.welcome = check_config;
    tr_status status = tr_service_run(&options, methods, 1, &welcomes, &err);
    TR_ASSERT(status == TR_OK, "%s", err.text);
    TR_ASSERT(welcomes == 1, "%zu welcomes", welcomes);
    tr_service_options_release(&options);
    return NULL;
}

static void release_lent(void *data, void *released)
{
    free(data);
    __atomic_fetch_add((int *)released, 1, __ATOMIC_SEQ_CST);
}

/// ids: [REQUESTS], written. Request i lends a vector i, i, ...; released counts what came back.
static void submit_all(tr_broker_t *broker, int64_t *ids, int *released)
{
    const size_t shape[] = {ELEMENTS};
    for (int32_t i = 0; i < REQUESTS; i++) {
        int32_t *x = tr_alloc(ELEMENTS * sizeof *x);
        for (size_t j = 0; j < ELEMENTS; j++) {
            x[j] = i;
        }
        tr_message_t *message = tr_message_new("request");
        tr_message_set_body(message, json_pack("{s:i}", "index", i));
        tr_message_add_tensor(message, "x", TR_I32, 1, shape, x, release_lent, released);
        ids[i] = tr_broker_submit(broker, TR_ROLE_REWARD, NULL, NULL, "twice", &message);
    }
}

static size_t index_of(const int64_t *ids, int64_t id)
{
    size_t i = 0;
    while (i < REQUESTS && ids[i] != id) {
        i++;
    }
    TR_ASSERT(i < REQUESTS, "id %lld was never given", (long long)id);
    return i;
}

static void check_reply(const tr_event_t *event, size_t index)
{
    tr_view_t view;
    tr_error_t err = {0};
    const json_t *told = json_object_get(tr_message_body(event->message), "index");
    TR_ASSERT(json_integer_value(told) == (json_int_t)index, "another request's body");
    TR_ASSERT(tr_message_expect_tensor(&view, event->message, "y", TR_I32, ELEMENTS, &err) == TR_OK,
              "%s", err.text);
    const int32_t *y = view.data;
    for (size_t j = 0; j < ELEMENTS; j++) {
        TR_ASSERT(y[j] == 2 * (int32_t)index, "y[%zu] of request %zu is %d", j, index, y[j]);
    }
}

static void check_answers(tr_broker_t *broker, const int64_t *ids)
{
    int answers[REQUESTS] = {0};
    int64_t end = tr_clock_ms() + PATIENCE_MS;
    for (size_t left = REQUESTS; left > 0;) {
        tr_event_t event;
        tr_error_t err = {0};
        tr_status status = tr_broker_poll(&event, broker, 1000, &err);
        TR_ASSERT(tr_clock_ms() < end, "%zu answers did not come", left);
        if (status != TR_OK) {
            TR_ASSERT(status == TR_ERR_TIMEOUT, "%s", err.text);
            continue;
        }
        TR_ASSERT(event.type != TR_EVENT_LOST, "%s", event.text);
        if (event.type != TR_EVENT_JOINED) {
            size_t index = index_of(ids, event.id);
            TR_ASSERT((event.type == TR_EVENT_ERROR) == (index % 7 == 0), "request %zu", index);
            if (event.type == TR_EVENT_REPLY) {
                check_reply(&event, index);
            }
            TR_ASSERT(answers[index]++ == 0, "request %zu was answered twice", index);
            left--;
        }
        tr_event_release(&event);
    }
}

int main(void)
{
    char directory[] = "/tmp/troupe-test-XXXXXX";
    char endpoint[64];
    tr_broker_t *broker;
    pthread_t thread;
    tr_dispatch_options_t options;
    tr_error_t err = {0};
    int64_t ids[REQUESTS];
    int released = 0;
    TR_ASSERT(mkdtemp(directory) != NULL, "no directory");
    snprintf(endpoint, sizeof endpoint, "ipc://%s/s", directory);
    tr_dispatch_options_init(&options);
    options.heartbeat_ms = 1; // as many as can be, beside the work
    TR_ASSERT(tr_broker_new(&broker, endpoint, NULL, &options, &err) == TR_OK, "%s", err.text);
    tr_dispatch_set_config(tr_broker_dispatch(broker), TR_ROLE_REWARD,
                           json_pack("{s:b}", "double", 1));
    TR_ASSERT(pthread_create(&thread, NULL, serve, endpoint) == 0, "no thread");
    submit_all(broker, ids, &released);
    check_answers(broker, ids);
    tr_broker_destroy(&broker);
    pthread_join(thread, NULL);
    TR_ASSERT(__atomic_load_n(&released, __ATOMIC_SEQ_CST) == REQUESTS, "%d of %d lent vectors",
              released, REQUESTS);
    tr_directory_remove(directory, NULL);
    puts("a service answered each request once");
    return 0;
}
