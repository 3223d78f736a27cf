// Real sockets in one process: malformed messages, foreign bytes, and peers with and without keys.
#include <criterion/criterion.h>

#include <czmq.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/rng.h"
#include "proto/broker.h"
#include "proto/endpoint.h"
#include "tests/support/scratch.h"

enum { PATIENCE_MS = 10000 };

static char *folder;
static char *endpoint;
static tr_broker_t *broker;
static tr_error_t err;

static void setup(void)
{
    folder = scratch_open();
    endpoint = tr_format("ipc://%s/s", folder);
}

static void teardown(void)
{
    tr_broker_destroy(&broker);
    cr_expect_null(broker);
    tr_broker_destroy(&broker);
    free(endpoint);
    scratch_close(&folder);
}

TestSuite(broker, .init = setup, .fini = teardown, .timeout = 60);

static void open_broker(const char *address, const char *keys)
{
    tr_dispatch_options_t options;
    tr_dispatch_options_init(&options);
    cr_assert_eq(tr_broker_new(&broker, address, keys, &options, &err), TR_OK, "%s", err.text);
}

// A client on a thread of its own, while the test's thread polls the broker

typedef struct question {
    const char *endpoint;
    const char *keys;
    int timeout_ms;
    tr_status result;
    json_t *status;
    tr_error_t err;
    atomic_bool answered;
} question_t;

static void *ask(void *argument)
{
    question_t *q = argument;
    q->result = tr_broker_ask_status(&q->status, q->endpoint, q->keys, q->timeout_ms, &q->err);
    atomic_store(&q->answered, true);
    return NULL;
}

/// Serves until the question is answered. No event comes.
static void serve(question_t *question)
{
    pthread_t thread;
    question->endpoint = tr_broker_endpoint(broker);
    cr_assert_eq(pthread_create(&thread, NULL, ask, question), 0);
    while (!atomic_load(&question->answered)) {
        tr_event_t event;
        cr_assert_eq(tr_broker_poll(&event, broker, 10, &err), TR_ERR_TIMEOUT, "%s", err.text);
    }
    pthread_join(thread, NULL);
}

static int64_t garbage_count(void)
{
    json_t *status = tr_dispatch_status(tr_broker_dispatch(broker), tr_clock_ms());
    int64_t count =
        json_integer_value(json_object_get(json_object_get(status, "counters"), "garbage"));
    json_decref(status);
    return count;
}

static void expect_alive(const char *keys)
{
    question_t question = {.keys = keys, .timeout_ms = PATIENCE_MS};
    serve(&question);
    cr_assert_eq(question.result, TR_OK, "%s", question.err.text);
    cr_expect(json_is_array(json_object_get(question.status, "workers")));
    json_decref(question.status);
}

Test(broker, answers_a_question_about_its_status)
{
    open_broker(endpoint, NULL);
    expect_alive(NULL);
}

Test(broker, a_question_to_nobody_times_out)
{
    json_t *status;
    cr_expect_eq(tr_broker_ask_status(&status, endpoint, NULL, 50, &err), TR_ERR_TIMEOUT);
    cr_expect_null(status);
    cr_expect_not_null(strstr(err.text, endpoint), "%s", err.text);
}

/// Polls until the broker has counted that much garbage.
static void await_garbage(int64_t count)
{
    int64_t end = tr_clock_ms() + PATIENCE_MS;
    while (garbage_count() < count && tr_clock_ms() < end) {
        tr_event_t event;
        cr_assert_eq(tr_broker_poll(&event, broker, 10, &err), TR_ERR_TIMEOUT);
    }
    cr_assert_eq(garbage_count(), count);
}

Test(broker, lives_through_random_messages_and_answers_each)
{
    enum { MESSAGES = 300 };
    open_broker(endpoint, NULL);
    zsock_t *socket;
    cr_assert_eq(tr_endpoint_connect(&socket, endpoint, NULL, NULL, &err), TR_OK);
    uint32_t drawn = 0;
    for (uint32_t i = 0; i < MESSAGES; i++) {
        zmsg_t *message = zmsg_new();
        for (uint32_t frame = 0; frame <= i % 3; frame++) {
            uint8_t bytes[64];
            size_t size = i % 64;
            for (size_t k = 0; k < size; k++) {
                bytes[k] = (uint8_t)(256.0f * tr_rng_uniform(7, TR_RNG_SAMPLE, drawn++, 0, 0));
            }
            zmsg_addmem(message, bytes, size);
        }
        cr_assert_eq(zmsg_send(&message, socket), 0);
    }
    await_garbage(MESSAGES);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        zsock_set_rcvtimeo(socket, PATIENCE_MS);
        zmsg_t *answer = zmsg_recv(socket);
        cr_assert_not_null(answer, "answer %u", i);
        zmsg_destroy(&answer);
    }
    expect_alive(NULL);
    zsock_destroy(&socket);
}

Test(broker, lives_through_bytes_that_are_no_zeromq)
{
    open_broker(endpoint, NULL);
    for (uint32_t i = 0; i < 20; i++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        snprintf(address.sun_path, sizeof address.sun_path, "%s/s", folder);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
        char bytes[200];
        memset(bytes, (int)(i * 13 + 1), sizeof bytes);
        cr_expect_gt(send(fd, bytes, sizeof bytes, MSG_NOSIGNAL), 0);
        close(fd);
    }
    expect_alive(NULL);
}

Test(broker, a_unix_socket_is_for_its_owner)
{
    struct stat info;
    char *path = tr_format("%s/s", folder);
    open_broker(endpoint, NULL);
    cr_assert_eq(stat(path, &info), 0);
    cr_expect_eq(info.st_mode & 0777, 0600);
    free(path);
}

// Keys

static char *make_keys(const char *name)
{
    char *keys = tr_format("%s/%s", folder, name);
    cr_assert_eq(tr_keys_make(keys, &err), TR_OK, "%s", err.text);
    return keys;
}

Test(broker, with_keys_an_authorised_peer_is_answered_and_others_get_nothing)
{
    char *keys = make_keys("ours");
    char *foreign = make_keys("foreign");
    open_broker("tcp://127.0.0.1:*", keys);
    expect_alive(keys);

    question_t bare = {.timeout_ms = 500};
    serve(&bare);
    cr_expect_eq(bare.result, TR_ERR_TIMEOUT, "a peer without keys: %s", bare.err.text);
    question_t stranger = {.keys = foreign, .timeout_ms = 500};
    serve(&stranger);
    cr_expect_eq(stranger.result, TR_ERR_TIMEOUT, "a peer that looks for another controller");

    // A stranger who knows the controller's public key, and has a key of his own.
    char *theirs = tr_format("%s/controller.cert", foreign);
    char *public = tr_format("%s/controller.cert", keys);
    char *text = scratch_read(public, NULL);
    free(scratch_write(foreign, "controller.cert", text, strlen(text)));
    question_t liar = {.keys = foreign, .timeout_ms = 500};
    serve(&liar);
    cr_expect_eq(liar.result, TR_ERR_TIMEOUT, "a key that is not authorised");
    cr_expect_eq(garbage_count(), 0);
    expect_alive(keys);
    free(text);
    free(public);
    free(theirs);
    free(foreign);
    free(keys);
}

Test(broker, a_key_that_was_added_is_let_in)
{
    char *keys = make_keys("ours");
    cr_assert_eq(tr_keys_add(keys, "judge-2", &err), TR_OK, "%s", err.text);
    open_broker(endpoint, keys);
    zsock_t *socket;
    cr_assert_eq(tr_endpoint_connect(&socket, endpoint, keys, "judge-2", &err), TR_OK, "%s",
                 err.text);
    tr_message_t *status = tr_message_new("status");
    tr_message_t *answer = NULL;
    cr_assert_eq(tr_message_send(socket, NULL, status, &err), TR_OK, "%s", err.text);
    int64_t end = tr_clock_ms() + PATIENCE_MS;
    while (answer == NULL && tr_clock_ms() < end) {
        tr_event_t event;
        cr_assert_eq(tr_broker_poll(&event, broker, 10, &err), TR_ERR_TIMEOUT);
        tr_message_receive(&answer, NULL, socket, &err);
    }
    cr_assert_not_null(answer);
    cr_expect_str_eq(tr_message_type(answer), "status");
    tr_message_destroy(&answer);
    tr_message_destroy(&status);
    zsock_destroy(&socket);
    free(keys);
}

Test(broker, failures_to_bind_name_the_address_and_missing_keys_their_file)
{
    tr_dispatch_options_t options;
    tr_dispatch_options_init(&options);
    cr_expect_eq(tr_broker_new(&broker, "ipc:///nowhere/at/all", NULL, &options, &err), TR_ERR_IO);
    cr_expect_not_null(strstr(err.text, "/nowhere/at/all"), "%s", err.text);
    cr_expect_neq(tr_broker_new(&broker, endpoint, folder, &options, &err), TR_OK);
    cr_expect_not_null(strstr(err.text, "controller.cert_secret"), "%s", err.text);
    cr_expect_null(broker);
}
