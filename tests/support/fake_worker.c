// Workers in threads of the test process, which answer, fail, fall silent or die as the test says.
//
// A real service (proto/service.c) catches signals for its process, so there can be one a process;
// the tests of calls and of the broker need several, and bad ones.
#include "tests/support/fake_worker.h"

#include <criterion/criterion.h>
#include <string.h>

#include "proto/endpoint.h"

enum { HELD_MAX = 64, TICK_MS = 20 };

/// One life of a worker.
typedef struct life {
    fake_worker_t *worker;
    zsock_t *socket;
    tr_message_t *held[HELD_MAX];
    size_t count;
    bool over;
} life_t;

/// Takes the message.
static void post(const life_t *life, tr_message_t **message)
{
    tr_error_t err = {0};
    tr_message_send(life->socket, NULL, *message, &err);
    tr_message_destroy(message);
}

/// number: of the life, which is the instance: another process under the same name.
static void enlist(const life_t *life, size_t number)
{
    const fake_worker_t *w = life->worker;
    tr_message_t *message = tr_message_new("register");
    char *instance = tr_format("%zu", number);
    tr_message_set_body(
        message, json_pack("{s:s, s:s, s:s, s:s, s:[i, i], s:i, s:{}}", "role",
                           tr_role_name(w->role), "name", w->name, "group", w->group, "instance",
                           instance, "protocol", TR_PROTOCOL_MAJOR, TR_PROTOCOL_MINOR, "credit",
                           // the credit bounds how many requests it is given at once
                           w->credit > 0 ? (int)w->credit : HELD_MAX, "capabilities"));
    free(instance);
    post(life, &message);
}

/// Answers the request as the test says.
static void answer(life_t *life, const tr_message_t *request)
{
    fake_worker_t *w = life->worker;
    tr_message_t *reply = tr_message_new("reply");
    // counted over all lives, so that a test can fail the first request and answer the second
    fake_act_t act = w->answer(w->context, atomic_fetch_add(&w->requests, 1), request, reply);
    tr_message_set_id(reply, tr_message_id(request));
    if (act == FAKE_ERROR) {
        tr_message_set_field(reply, "type", json_string("error"));
    }
    if (act == FAKE_REPLY || act == FAKE_ERROR) {
        post(life, &reply);
    }
    tr_message_destroy(&reply);
    // no reply, and the connection goes: as a killed process
    life->over |= act == FAKE_DIE;
}

static void take_request(life_t *life, const tr_message_t *request)
{
    // a real worker acknowledges before it computes
    tr_message_t *ack = tr_message_new("ack");
    tr_message_set_id(ack, tr_message_id(request));
    post(life, &ack);
    life->held[life->count++] = tr_message_copy(request);
    if (life->count < life->worker->hold) {
        return;
    }
    // in reverse: replies may come in any order
    while (life->count > 0) {
        tr_message_t *held = life->held[--life->count];
        if (!life->over) {
            answer(life, held);
        }
        tr_message_destroy(&held);
    }
}

/// From one connection to its end.
static void live(fake_worker_t *worker, size_t number)
{
    life_t life = {.worker = worker};
    tr_error_t err = {0};
    tr_status status = tr_endpoint_connect(&life.socket, worker->endpoint, NULL, NULL, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    enlist(&life, number);
    while (!life.over && !atomic_load(&worker->stop)) {
        tr_message_t *message;
        zmq_pollitem_t item = {.socket = zsock_resolve(life.socket), .events = ZMQ_POLLIN};
        // the tick lets `stop` be seen while no message comes
        zmq_poll(&item, 1, TICK_MS);
        if (tr_message_receive(&message, NULL, life.socket, &err) == TR_OK) {
            if (strcmp(tr_message_type(message), "request") == 0) {
                take_request(&life, message);
            }
            tr_message_destroy(&message);
        }
    }
    while (life.count > 0) {
        tr_message_destroy(&life.held[--life.count]);
    }
    // unsent messages are lost, as with a killed process
    zsock_set_linger(life.socket, 0);
    zsock_destroy(&life.socket);
}

/// Dies and comes back until the test is over.
static void *lives(void *argument)
{
    fake_worker_t *worker = argument;
    for (size_t number = 1; !atomic_load(&worker->stop); number++) {
        live(worker, number);
    }
    return NULL;
}

void fake_start(fake_worker_t *worker, const char *endpoint)
{
    worker->endpoint = endpoint;
    atomic_init(&worker->stop, false);
    atomic_init(&worker->requests, 0);
    cr_assert_eq(pthread_create(&worker->thread, NULL, lives, worker), 0);
}

void fake_stop(fake_worker_t *worker)
{
    atomic_store(&worker->stop, true);
    pthread_join(worker->thread, NULL);
}
