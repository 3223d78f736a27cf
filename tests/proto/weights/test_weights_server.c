/// Weights by TCP: what comes is what was published, whatever is lost, late or foreign on the way.
/// Where the other side must misbehave, the test is that side.
#include <criterion/criterion.h>
#include <czmq.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/endpoint.h"
#include "proto/message.h"
#include "proto/weights/weights_server.h"
#include "tests/support/scratch.h"

enum { MIB = 1 << 20, BYTES = 40 * MIB + 12345 }; // more pieces than a reader has under way

static tr_weights_publisher_t *publisher;
static tr_weights_server_t *server;
static tr_weights_fetcher_t *fetcher;
static unsigned char *data;
static tr_error_t err;

static bool go_on(void)
{
    return false;
}

static bool leave(void)
{
    return true;
}

static void setup(void)
{
    char prefix[64];
    snprintf(prefix, sizeof prefix, "served-%ld", (long)getpid());
    data = malloc(BYTES);
    cr_assert_eq(tr_weights_publisher_new(&publisher, BYTES, prefix, &err), TR_OK, "%s", err.text);
    fetcher = tr_weights_fetcher_new("tcp://127.0.0.1:1", NULL);
}

static void teardown(void)
{
    tr_weights_fetcher_destroy(&fetcher);
    tr_weights_server_destroy(&server);
    tr_weights_publisher_destroy(&publisher);
    free(data);
}

TestSuite(weights_server, .init = setup, .fini = teardown, .timeout = 120);

static void serve(const char *keys)
{
    cr_assert_eq(tr_weights_server_new(&server, publisher, "tcp://127.0.0.1:*", keys, &err), TR_OK,
                 "%s", err.text);
}

static tr_status copy_in(void *source, void *bytes, size_t count, tr_error_t *unused)
{
    (void)unused;
    memcpy(bytes, source, count);
    return TR_OK;
}

/// Publishes a version, unlike any other; its description is the caller's.
static json_t *publish(uint64_t version)
{
    uint64_t checksum;
    for (size_t i = 0; i < BYTES; i++) {
        data[i] = (unsigned char)(i * 7 + i / MIB + version * 13);
    }
    cr_assert_eq(tr_weights_publish(&checksum, publisher, version, copy_in, data, &err), TR_OK,
                 "%s", err.text);
    json_t *description = tr_weights_describe(publisher);
    if (server != NULL) {
        tr_weights_server_describe(description, server);
    }
    return description;
}

static tr_status fetch(const void **bytes, const json_t *description)
{
    return tr_weights_fetch(bytes, BYTES, fetcher, description, go_on, &err);
}

static void expect_fetched(const json_t *description)
{
    const void *got;
    cr_assert_eq(fetch(&got, description), TR_OK, "%s", err.text);
    cr_expect_eq(memcmp(got, data, BYTES), 0);
}

static void expect_refused(const json_t *description, tr_status status, const char *words)
{
    const void *got;
    cr_assert_eq(fetch(&got, description), status, "%s", err.text);
    cr_expect_not_null(strstr(err.text, words), "%s", err.text);
}

Test(weights_server, what_is_published_is_fetched_version_after_version)
{
    serve(NULL);
    for (uint64_t version = 0; version < 4; version++) {
        json_t *description = publish(version);
        expect_fetched(description);
        json_decref(description);
    }
}

Test(weights_server, the_last_version_but_one_is_there_and_older_ones_are_not)
{
    serve(NULL);
    json_t *one = publish(1), *two = publish(2);
    const void *got;
    cr_expect_eq(fetch(&got, one), TR_OK, "%s", err.text);
    json_t *three = publish(3);
    expect_refused(one, TR_ERR_VERSION, "version 1 is not here");
    expect_fetched(three);
    json_decref(one);
    json_decref(two);
    json_decref(three);
}

Test(weights_server, a_server_follows_another_at_its_port)
{
    char endpoint[64];
    json_t *description = publish(1);
    cr_assert_eq(tr_weights_server_new(&server, publisher, "tcp://127.0.0.2:*", NULL, &err), TR_OK);
    tr_weights_server_describe(description, server);
    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.2:%d", // where no other test takes it
             (int)json_integer_value(json_object_get(description, "port")));
    for (int i = 0; i < 20; i++) {
        tr_weights_server_destroy(&server);
        cr_assert_eq(tr_weights_server_new(&server, publisher, endpoint, NULL, &err), TR_OK, "%s",
                     err.text);
    }
    tr_weights_fetcher_destroy(&fetcher);
    fetcher = tr_weights_fetcher_new("tcp://127.0.0.2:1", NULL);
    expect_fetched(description);
    json_decref(description);
}

Test(weights_server, with_keys_nobody_else_gets_anything)
{
    char keys[300], others[300];
    char *folder = scratch_open();
    snprintf(keys, sizeof keys, "%s/keys", folder);
    snprintf(others, sizeof others, "%s/others", folder);
    cr_assert_eq(tr_keys_make(keys, &err), TR_OK, "%s", err.text);
    cr_assert_eq(tr_keys_make(others, &err), TR_OK, "%s", err.text);
    serve(keys);
    json_t *description = publish(1);
    tr_weights_fetcher_destroy(&fetcher);
    fetcher = tr_weights_fetcher_new("tcp://127.0.0.1:1", keys);
    expect_fetched(description);
    tr_weights_fetcher_destroy(&fetcher);
    fetcher = tr_weights_fetcher_new("tcp://127.0.0.1:1", others);
    expect_refused(description, TR_ERR_INTERRUPTED, "no weights came from 'tcp://127.0.0.1:");
    json_decref(description);
    scratch_close(&folder);
}

Test(weights_server, what_cannot_be_fetched_is_refused)
{
    serve(NULL);
    json_t *description = publish(1);
    const void *got;
    cr_expect_eq(tr_weights_fetch(&got, BYTES - 1, fetcher, description, go_on, &err),
                 TR_ERR_VERSION);
    cr_expect_eq(tr_weights_fetch(&got, BYTES, fetcher, description, leave, &err),
                 TR_ERR_INTERRUPTED);
    json_object_set_new(description, "checksum", json_string("0123456789abcdef"));
    expect_refused(description, TR_ERR_INTERRUPTED, "expected 0123456789abcdef");
    json_object_set_new(description, "port", json_integer(65536));
    expect_refused(description, TR_ERR_PROTOCOL, "port");
    json_object_del(description, "port");
    expect_refused(description, TR_ERR_INTERRUPTED, "roles.rollout.external");
    tr_weights_server_describe(description, server);
    tr_weights_fetcher_destroy(&fetcher);
    fetcher = tr_weights_fetcher_new("ipc:///nowhere", NULL);
    expect_refused(description, TR_ERR_INTERRUPTED, "network.bind");
    json_decref(description);
}

/// What the server says to a request with this body: the type of the answer, or its code where it
/// is an error.
static void expect_answer(const char *method, const char *body, const char *expected)
{
    char endpoint[64];
    zsock_t *socket;
    tr_message_t *answer;
    json_t *described = json_object();
    tr_weights_server_describe(described, server);
    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%d",
             (int)json_integer_value(json_object_get(described, "port")));
    json_decref(described);
    cr_assert_eq(tr_endpoint_connect(&socket, endpoint, NULL, NULL, &err), TR_OK);
    tr_message_t *request = tr_message_new("request");
    tr_message_set_id(request, 1);
    tr_message_set_field(request, "method", json_string(method));
    tr_message_set_body(request, json_loads(body, 0, NULL));
    cr_assert_eq(tr_message_send(socket, NULL, request, &err), TR_OK);
    zmq_pollitem_t item = {.socket = zsock_resolve(socket), .events = ZMQ_POLLIN};
    cr_assert_eq(zmq_poll(&item, 1, 10000), 1);
    cr_assert_eq(tr_message_receive(&answer, NULL, socket, &err), TR_OK, "%s", err.text);
    const char *code = json_string_value(json_object_get(tr_message_body(answer), "code"));
    cr_expect_str_eq(code != NULL ? code : tr_message_type(answer), expected, "%s", body);
    tr_message_destroy(&answer);
    tr_message_destroy(&request);
    zsock_destroy(&socket);
}

Test(weights_server, what_is_no_piece_is_answered_with_an_error)
{
    serve(NULL);
    json_decref(publish(1));
    expect_answer("piece", "{\"version\": 1, \"offset\": 0, \"bytes\": 1048576}", "reply");
    expect_answer("piece", "{\"version\": 1, \"offset\": 0, \"bytes\": 1048577}", "protocol");
    expect_answer("piece", "{\"version\": 1, \"offset\": -1, \"bytes\": 1}", "protocol");
    expect_answer("piece", "{\"version\": 1, \"offset\": 41955385, \"bytes\": 1}", "argument");
    expect_answer("piece", "{\"version\": 1, \"offset\": 9223372036854775807, \"bytes\": 2}",
                  "argument");
    expect_answer("piece", "{\"version\": 2, \"offset\": 0, \"bytes\": 1}", "version");
    expect_answer("piece", "{}", "protocol");
    expect_answer("whole", "{\"version\": 1, \"offset\": 0, \"bytes\": 1}", "unsupported");
}

// A server that forgets, repeats itself, and answers what nobody asked

typedef struct liar {
    zsock_t *socket;
    const char *endpoint;
    size_t requests, dropped;
    atomic_bool ended;
} liar_t;

static void say(liar_t *liar, const tr_peer_t *peer, int64_t id, int64_t version, const void *bytes,
                size_t count)
{
    tr_message_t *reply = tr_message_new("reply");
    tr_message_set_id(reply, id);
    tr_message_set_body(reply, json_pack("{s:I}", "version", (json_int_t)version));
    tr_message_add_vector(reply, "piece", TR_U8, count, bytes);
    tr_message_send(liar->socket, peer, reply, &err);
    tr_message_destroy(&reply);
}

static void lie(liar_t *liar, const tr_peer_t *peer, const tr_message_t *request)
{
    static const char noise[16];
    const json_t *body = tr_message_body(request);
    int64_t id = tr_message_id(request), version = 1;
    size_t offset = (size_t)json_integer_value(json_object_get(body, "offset"));
    size_t bytes = (size_t)json_integer_value(json_object_get(body, "bytes"));
    if (liar->requests++ % 5 == 3) {
        liar->dropped++;
        return;
    }
    say(liar, peer, id, version - 1, noise, sizeof noise); // of another version
    say(liar, peer, 1000000, version, noise, sizeof noise);
    say(liar, peer, id, version, data + offset, bytes);
    say(liar, peer, id, version, data + offset, bytes);
}

static void *lying(void *context)
{
    liar_t *liar = context;
    zmq_pollitem_t item = {.socket = zsock_resolve(liar->socket), .events = ZMQ_POLLIN};
    while (!liar->ended) {
        tr_peer_t peer = {0};
        tr_message_t *request;
        tr_error_t ignored = {0};
        zmq_poll(&item, 1, 20);
        if (tr_message_receive(&request, &peer, liar->socket, &ignored) == TR_OK) {
            lie(liar, &peer, request);
            tr_message_destroy(&request);
        }
    }
    return NULL;
}

Test(weights_server, lost_late_and_foreign_pieces_do_no_harm)
{
    liar_t liar = {0};
    zactor_t *auth;
    pthread_t thread;
    json_t *description = publish(1);
    cr_assert_eq(tr_endpoint_bind(&liar.socket, &auth, "tcp://127.0.0.1:*", NULL, &err), TR_OK);
    json_object_set_new(
        description, "port",
        json_integer(strtoll(strrchr(zsock_endpoint(liar.socket), ':') + 1, NULL, 10)));
    pthread_create(&thread, NULL, lying, &liar);
    expect_fetched(description);
    liar.ended = true;
    pthread_join(thread, NULL);
    cr_expect_gt(liar.dropped, 5);
    cr_expect_gt(liar.requests, 41);
    zsock_destroy(&liar.socket);
    json_decref(description);
}
