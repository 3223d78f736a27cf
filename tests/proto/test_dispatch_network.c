// The broker's rules against a network that loses, repeats, delays and reorders, and workers that
// die: whatever happens, each request becomes exactly one reply, with its own body, and no worker
// is given more than its credit.
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include "common/base/rng.h"
#include "proto/dispatch.h"
#include "tests/support/open_requests.h"

enum { WORKERS = 3, CREDIT = 2, REQUESTS = 40, FLIGHTS = 4096, HELD = 64 };
enum { STORM_MS = 60000, END_MS = 3600000, AFTER_MS = 20000, STEP_MS = 50 };

typedef struct flight {
    int64_t at; ///< when it arrives
    bool to_broker;
    tr_peer_t peer;
    tr_message_t *message;
} flight_t;

/// A request that a worker knows.
typedef struct held {
    int64_t id;
    int64_t ready_at;
    tr_message_t *reply;
} held_t;

typedef struct worker {
    tr_peer_t peer;
    bool registered;
    int64_t beat_at;
    held_t held[HELD];
    size_t count;
} worker_t;

typedef struct world {
    uint64_t seed;
    uint32_t drawn;
    int64_t now;
    bool storm; ///< messages get lost and workers die
    tr_dispatch_t *dispatch;
    worker_t workers[WORKERS];
    uint8_t connections; ///< so far
    flight_t flights[FLIGHTS];
    size_t flight_count;
} world_t;

static float chance(world_t *w)
{
    return tr_rng_uniform(w->seed, TR_RNG_SAMPLE, w->drawn++, 0, 0);
}

/// Takes *message.
static void launch(world_t *w, bool to_broker, const tr_peer_t *peer, tr_message_t *message)
{
    float fate = chance(w);
    int copies = !w->storm ? 1 : fate < 0.2f ? 0 : fate < 0.3f ? 2 : 1;
    for (int i = 0; i < copies; i++) {
        cr_assert_lt(w->flight_count, FLIGHTS);
        int64_t delay = (int64_t)(chance(w) * (w->storm ? 3000.0f : 20.0f));
        w->flights[w->flight_count++] = (flight_t){.at = w->now + delay,
                                                   .to_broker = to_broker,
                                                   .peer = *peer,
                                                   .message = tr_message_copy(message)};
    }
    tr_message_destroy(&message);
}

static void say(world_t *w, const worker_t *worker, const char *type, int64_t id)
{
    tr_message_t *message = tr_message_new(type);
    if (id > 0) {
        tr_message_set_id(message, id);
    }
    launch(w, true, &worker->peer, message);
}

static void forget(worker_t *worker, size_t index)
{
    tr_message_destroy(&worker->held[index].reply);
    worker->held[index] = worker->held[--worker->count];
}

/// A new process under the same name.
static void start(world_t *w, size_t index)
{
    worker_t *worker = &w->workers[index];
    while (worker->count > 0) {
        forget(worker, 0);
    }
    worker->registered = false;
    worker->beat_at = w->now;
    worker->peer = (tr_peer_t){.size = 2, .bytes = {(uint8_t)index, ++w->connections}};
}

static void register_at(world_t *w, size_t index)
{
    char name[] = {'w', (char)('0' + index), '\0'};
    char instance[] = {(char)('A' + w->workers[index].peer.bytes[1] % 64), '\0'};
    tr_message_t *message = tr_message_new("register");
    tr_message_set_body(message, json_pack("{s:s, s:s, s:s, s:[i, i], s:i}", "role", "rollout",
                                           "name", name, "instance", instance, "protocol",
                                           TR_PROTOCOL_MAJOR, TR_PROTOCOL_MINOR, "credit", CREDIT));
    launch(w, true, &w->workers[index].peer, message);
}

static void take_request(world_t *w, worker_t *worker, const tr_message_t *request)
{
    int64_t id = tr_message_id(request);
    size_t i = 0;
    while (i < worker->count && worker->held[i].id != id) {
        i++;
    }
    if (i < worker->count && w->now >= worker->held[i].ready_at) {
        launch(w, true, &worker->peer, tr_message_copy(worker->held[i].reply));
        return;
    }
    if (i == worker->count) {
        cr_assert_lt(worker->count, HELD);
        held_t *held = &worker->held[worker->count++];
        held->id = id;
        held->ready_at = w->now + 100 + (int64_t)(chance(w) * 2000.0f);
        held->reply = tr_message_new("reply");
        tr_message_set_id(held->reply, id);
        tr_message_set_body(held->reply, json_deep_copy(tr_message_body(request)));
    }
    say(w, worker, "ack", id);
}

static void worker_takes(world_t *w, size_t index, const tr_message_t *message)
{
    worker_t *worker = &w->workers[index];
    const char *type = tr_message_type(message);
    if (strcmp(type, "welcome") == 0) {
        worker->registered = true;
    } else if (strcmp(type, "error") == 0 || strcmp(type, "refused") == 0) {
        worker->registered = false; // "unregistered"
    } else if (strcmp(type, "request") == 0) {
        take_request(w, worker, message);
    } else if (strcmp(type, "done") == 0) {
        for (size_t i = 0; i < worker->count; i++) {
            if (worker->held[i].id == tr_message_id(message)) {
                forget(worker, i);
                break;
            }
        }
    }
}

static void land(world_t *w, flight_t *flight)
{
    size_t index = flight->peer.bytes[0];
    if (flight->to_broker) {
        tr_dispatch_receive(w->dispatch, w->now, &flight->peer, &flight->message);
    } else if (memcmp(&w->workers[index].peer, &flight->peer, 3) == 0) {
        worker_takes(w, index, flight->message);
    }
    tr_message_destroy(&flight->message);
}

static void land_all(world_t *w)
{
    for (size_t i = 0; i < w->flight_count;) {
        if (w->flights[i].at > w->now) {
            i++;
            continue;
        }
        flight_t flight = w->flights[i];
        w->flights[i] = w->flights[--w->flight_count];
        land(w, &flight);
    }
}

static void workers_live(world_t *w)
{
    for (size_t i = 0; i < WORKERS; i++) {
        worker_t *worker = &w->workers[i];
        if (w->storm && chance(w) < 0.001f) {
            start(w, i);
        }
        for (size_t k = 0; k < worker->count; k++) {
            int64_t late = w->now - worker->held[k].ready_at;
            if (late >= 0 && late < STEP_MS) {
                launch(w, true, &worker->peer, tr_message_copy(worker->held[k].reply));
            }
        }
        if (w->now >= worker->beat_at) {
            worker->beat_at = w->now + 1000;
            if (worker->registered) {
                say(w, worker, "heartbeat", 0);
            } else {
                register_at(w, i);
            }
        }
    }
}

static void broker_sends(world_t *w)
{
    tr_peer_t peer;
    tr_message_t *message;
    while (tr_dispatch_next_send(&peer, &message, w->dispatch)) {
        launch(w, false, &peer, message);
    }
}

static void check_credit(const world_t *w)
{
    json_t *status = tr_dispatch_status(w->dispatch, w->now);
    size_t index;
    json_t *worker;
    json_array_foreach(json_object_get(status, "workers"), index, worker)
    {
        cr_assert_leq(json_array_size(json_object_get(worker, "outstanding")), CREDIT);
    }
    json_decref(status);
}

/// answers: [REQUESTS], counted up. Returns how many of this turn's events were replies.
static size_t take_events(world_t *w, const int64_t *ids, int *answers)
{
    tr_event_t event;
    size_t replies = 0;
    while (tr_dispatch_next_event(&event, w->dispatch)) {
        cr_assert_neq(event.type, TR_EVENT_ERROR, "%s", event.text);
        if (event.type == TR_EVENT_REPLY) {
            const json_t *body = tr_message_body(event.message);
            json_int_t index = json_integer_value(json_object_get(body, "index"));
            cr_assert_eq(ids[index], event.id, "another request's body");
            answers[index]++;
            replies++;
        }
        tr_event_release(&event);
    }
    return replies;
}

static void submit_all(world_t *w, int64_t *ids)
{
    for (int i = 0; i < REQUESTS; i++) {
        tr_message_t *message = tr_message_new("request");
        tr_message_set_body(message, json_pack("{s:i}", "index", i));
        ids[i] =
            tr_dispatch_submit(w->dispatch, w->now, TR_ROLE_ROLLOUT, NULL, NULL, "work", &message);
    }
}

static void world_end(world_t *w)
{
    for (size_t i = 0; i < w->flight_count; i++) {
        tr_message_destroy(&w->flights[i].message);
    }
    for (size_t i = 0; i < WORKERS; i++) {
        start(w, i); // forgets what it held
    }
    tr_dispatch_destroy(&w->dispatch);
    free(w);
}

/// Runs one world; returns how often requests were sent again.
static int64_t run(uint64_t seed)
{
    world_t *w = tr_calloc(1, sizeof *w);
    tr_dispatch_options_t options;
    int64_t ids[REQUESTS];
    int answers[REQUESTS] = {0};
    size_t replies = 0;
    tr_dispatch_options_init(&options);
    options.attempts = 1000; // each loss of a worker is the network's fault here
    w->dispatch = tr_dispatch_new(&options);
    w->seed = seed;
    for (size_t i = 0; i < WORKERS; i++) {
        start(w, i);
    }
    submit_all(w, ids);
    for (int64_t end = END_MS; w->now < end; w->now += STEP_MS) {
        w->storm = w->now < STORM_MS;
        land_all(w);
        workers_live(w);
        tr_dispatch_tick(w->dispatch, w->now);
        broker_sends(w);
        replies += take_events(w, ids, answers);
        check_credit(w);
        if (replies == REQUESTS && !w->storm && end == END_MS) {
            end = w->now + AFTER_MS; // what is still under way must change nothing
        }
    }
    cr_expect_eq(open_requests(w->dispatch), 0);
    for (int i = 0; i < REQUESTS; i++) {
        cr_expect_eq(answers[i], 1, "seed %d: request %d has %d answers", (int)seed, i, answers[i]);
    }
    json_t *status = tr_dispatch_status(w->dispatch, w->now);
    json_t *counters = json_object_get(status, "counters");
    int64_t resent = json_integer_value(json_object_get(counters, "resent"));
    json_decref(status);
    world_end(w);
    return resent;
}

Test(dispatch_network, each_request_is_answered_exactly_once_whatever_is_lost, .timeout = 120)
{
    int64_t resent = 0;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        resent += run(seed);
    }
    cr_expect_gt(resent, 100, "the storm was none");
}
