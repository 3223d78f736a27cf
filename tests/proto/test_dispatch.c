// The hub's rules without sockets or clock: every loss, repetition and delay is made by hand.
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/rng.h"
#include "proto/dispatch.h"

enum { HEARTBEAT = 1000, SILENCE = 10000, RESEND = 1000, UNANSWERED = 15000 };

static tr_dispatch_t *dispatch;
static int64_t now;

static void setup(void)
{
    tr_dispatch_options_t options;
    tr_dispatch_options_init(&options);
    cr_assert_eq(options.heartbeat_ms, HEARTBEAT);
    cr_assert_eq(options.silence_ms, SILENCE);
    cr_assert_eq(options.resend_ms, RESEND);
    cr_assert_eq(options.unanswered_ms, UNANSWERED);
    options.session = 5;
    options.stop_token = "secret";
    dispatch = tr_dispatch_new(&options);
    now = 1000000;
}

static void teardown(void)
{
    tr_dispatch_destroy(&dispatch);
    cr_expect_null(dispatch);
    tr_dispatch_destroy(&dispatch);
}

TestSuite(dispatch, .init = setup, .fini = teardown, .timeout = 60);

// What peers say

static tr_peer_t peer(uint8_t number)
{
    return (tr_peer_t){.size = 5, .bytes = {0, 1, 2, 3, number}};
}

static void say_message(uint8_t from, tr_message_t *message)
{
    tr_peer_t sender = peer(from);
    tr_dispatch_receive(dispatch, now, &sender, &message);
    cr_assert_null(message, "receive takes the message");
}

static void say(uint8_t from, const char *type, int64_t id, json_t *body)
{
    tr_message_t *message = tr_message_new(type);
    if (id > 0) {
        tr_message_set_id(message, id);
    }
    if (body != NULL) {
        tr_message_set_body(message, body);
    }
    say_message(from, message);
}

/// A registration as a map, to be changed.
static json_t *registration(const char *name, const char *instance, int credit)
{
    return json_pack("{s:s, s:s, s:s, s:[i, i], s:i}", "role", "rollout", "name", name, "instance",
                     instance, "protocol", TR_PROTOCOL_MAJOR, TR_PROTOCOL_MINOR, "credit", credit);
}

// What comes out

/// The next message that goes out must be of a type and for a peer; the caller's.
static tr_message_t *take_send(uint8_t to, const char *type)
{
    tr_peer_t receiver, expected = peer(to);
    tr_message_t *message = NULL;
    cr_assert(tr_dispatch_next_send(&receiver, &message, dispatch), "no '%s' to %d", type, to);
    cr_assert_str_eq(tr_message_type(message), type);
    cr_assert_arr_eq(&receiver, &expected, 6, "'%s' goes to another", type);
    return message;
}

/// Takes it and returns its id.
static int64_t expect_send(uint8_t to, const char *type)
{
    tr_message_t *message = take_send(to, type);
    int64_t id = tr_message_id(message);
    tr_message_destroy(&message);
    return id;
}

static void expect_error_send(uint8_t to, const char *type, const char *code)
{
    tr_message_t *message = take_send(to, type);
    cr_expect_str_eq(json_string_value(json_object_get(tr_message_body(message), "code")), code);
    tr_message_destroy(&message);
}

static void expect_no_send(void)
{
    tr_peer_t receiver;
    tr_message_t *message;
    cr_assert_not(tr_dispatch_next_send(&receiver, &message, dispatch));
}

static tr_event_t take_event(tr_event_type_t type)
{
    tr_event_t event;
    cr_assert(tr_dispatch_next_event(&event, dispatch), "no event %d", (int)type);
    cr_assert_eq(event.type, type, "event %d instead of %d: %s", (int)event.type, (int)type,
                 event.text);
    return event;
}

static void expect_event(tr_event_type_t type, int64_t id, const char *text)
{
    tr_event_t event = take_event(type);
    cr_expect_eq(event.id, id);
    if (text != NULL) {
        cr_expect_not_null(strstr(event.text, text), "'%s' for '%s'", event.text, text);
    }
    tr_event_release(&event);
}

static void expect_no_event(void)
{
    tr_event_t event;
    cr_assert_not(tr_dispatch_next_event(&event, dispatch));
}

static void join(uint8_t number, const char *name, int credit)
{
    say(number, "register", 0, registration(name, "process", credit));
    cr_assert_eq(expect_send(number, "welcome"), 0);
    expect_event(TR_EVENT_JOINED, 0, NULL);
}

static int64_t submit(const char *worker)
{
    tr_message_t *message = tr_message_new("request");
    return tr_dispatch_submit(dispatch, now, TR_ROLE_ROLLOUT, NULL, worker, "work", &message);
}

static void pass(int64_t milliseconds)
{
    now += milliseconds;
    tr_dispatch_tick(dispatch, now);
}

static int64_t counter(const char *name)
{
    json_t *status = tr_dispatch_status(dispatch, now);
    int64_t value = json_integer_value(json_object_get(json_object_get(status, "counters"), name));
    json_decref(status);
    return value;
}

// Laws

Test(dispatch, a_request_becomes_one_reply_and_done)
{
    join(1, "a", 1);
    int64_t id = submit(NULL);
    cr_expect_eq(id, (int64_t)5 << 32 | 1, "the session is the upper half");
    tr_message_t *request = take_send(1, "request");
    cr_expect_eq(tr_message_id(request), id);
    cr_expect_str_eq(tr_message_method(request), "work");
    tr_message_destroy(&request);
    say(1, "ack", id, NULL);
    say(1, "reply", id, json_pack("{s:i}", "x", 3));
    cr_expect_eq(expect_send(1, "done"), id);
    tr_event_t event = take_event(TR_EVENT_REPLY);
    cr_expect_eq(event.id, id);
    cr_expect_eq(event.role, TR_ROLE_ROLLOUT);
    cr_expect_str_eq(event.worker, "a");
    cr_expect_str_eq(event.group, "rollout");
    cr_expect_eq(json_integer_value(json_object_get(tr_message_body(event.message), "x")), 3);
    tr_event_release(&event);
    expect_no_event();
    expect_no_send();
    cr_expect_eq(tr_dispatch_pending(dispatch), 0);
}

Test(dispatch, the_welcome_tells_session_times_and_the_roles_config)
{
    tr_dispatch_set_config(dispatch, TR_ROLE_ROLLOUT, json_pack("{s:i}", "k", 1));
    tr_dispatch_set_config(dispatch, TR_ROLE_ACTOR, json_pack("{s:i}", "k", 2));
    say(1, "register", 0, registration("a", "p", 1));
    tr_message_t *welcome = take_send(1, "welcome");
    json_t *expected = json_pack("{s:i, s:[i, i], s:i, s:i, s:{s:i}}", "session", 5, "protocol",
                                 TR_PROTOCOL_MAJOR, TR_PROTOCOL_MINOR, "heartbeat_ms", HEARTBEAT,
                                 "silence_ms", SILENCE, "config", "k", 1);
    cr_expect(json_equal(tr_message_body(welcome), expected));
    json_decref(expected);
    tr_message_destroy(&welcome);
}

Test(dispatch, a_lost_request_is_sent_again_after_growing_pauses)
{
    join(1, "a", 1);
    int64_t id = submit(NULL);
    expect_send(1, "request");
    for (int64_t pause = RESEND; pause <= 4 * RESEND; pause *= 2) {
        cr_expect_leq(tr_dispatch_deadline(dispatch), now + pause);
        say(1, "heartbeat", 0, NULL);
        expect_send(1, "heartbeat");
        pass(pause - 1);
        expect_no_send();
        pass(1);
        cr_expect_eq(expect_send(1, "request"), id);
    }
    cr_expect_eq(counter("resent"), 3);
    say(1, "reply", id, NULL); // without an acknowledgement
    cr_expect_eq(expect_send(1, "done"), id);
    expect_event(TR_EVENT_REPLY, id, NULL);
}

Test(dispatch, an_acknowledged_request_is_asked_for_again_much_later)
{
    join(1, "a", 1);
    int64_t id = submit(NULL);
    expect_send(1, "request");
    say(1, "ack", id, NULL);
    for (int i = 0; i < 14; i++) {
        pass(1000);
        say(1, "heartbeat", 0, NULL);
        expect_send(1, "heartbeat");
    }
    expect_no_send();
    pass(1000);
    cr_expect_eq(expect_send(1, "request"), id, "its reply may be lost");
    say(1, "ack", id, NULL);
    say(1, "reply", id, NULL);
    expect_send(1, "done");
    expect_event(TR_EVENT_REPLY, id, NULL);
}

Test(dispatch, repeated_answers_are_confirmed_and_dropped)
{
    join(1, "a", 1);
    int64_t id = submit(NULL);
    expect_send(1, "request");
    for (int i = 0; i < 3; i++) {
        say(1, i < 2 ? "reply" : "error", id, NULL);
        cr_expect_eq(expect_send(1, "done"), id);
    }
    expect_event(TR_EVENT_REPLY, id, NULL);
    expect_no_event();
    cr_expect_eq(counter("late"), 2);
    say(1, "ack", id, NULL); // reordered behind the reply
    expect_no_send();
}

Test(dispatch, an_answer_to_what_was_never_asked_is_dropped)
{
    join(1, "a", 1);
    say(1, "reply", 12345, NULL);
    cr_expect_eq(expect_send(1, "done"), 12345);
    int64_t queued = submit("b");
    expect_no_send();
    say(1, "reply", queued, NULL); // not sent to anybody yet
    expect_send(1, "done");
    expect_no_event();
    cr_expect_eq(tr_dispatch_pending(dispatch), 1);
    cr_expect_eq(counter("late"), 2);
}

Test(dispatch, work_of_a_silent_worker_goes_to_another)
{
    join(1, "a", 1);
    int64_t id = submit(NULL);
    expect_send(1, "request");
    say(1, "ack", id, NULL);
    pass(SILENCE - 1);
    expect_no_event();
    join(2, "b", 1);
    pass(1);
    expect_event(TR_EVENT_LOST, 0, "rollout worker 'a' was silent for 10000 ms");
    cr_expect_eq(expect_send(2, "request"), id);
    cr_expect_eq(counter("reassigned"), 1);
    say(1, "reply", id, NULL); // too late, and from nobody that is known
    expect_error_send(1, "error", "unregistered");
    expect_no_event();
    say(2, "reply", id, NULL);
    expect_send(2, "done");
    expect_event(TR_EVENT_REPLY, id, NULL);
}

Test(dispatch, a_late_answer_of_the_first_worker_counts_when_it_is_back)
{
    join(1, "a", 1);
    int64_t id = submit(NULL);
    expect_send(1, "request");
    pass(SILENCE);
    expect_event(TR_EVENT_LOST, 0, NULL);
    join(2, "b", 1);
    cr_expect_eq(expect_send(2, "request"), id);
    join(1, "a", 1);
    say(1, "reply", id, NULL);
    cr_expect_eq(expect_send(1, "done"), id);
    expect_event(TR_EVENT_REPLY, id, NULL);
    say(2, "reply", id, NULL);
    cr_expect_eq(expect_send(2, "done"), id);
    expect_no_event();
    cr_expect_eq(tr_dispatch_pending(dispatch), 0);
}

Test(dispatch, any_message_keeps_a_worker)
{
    join(1, "a", 1);
    static const char *const types[] = {"heartbeat", "ack", "error", "what?"};
    for (int i = 0; i < 12; i++) {
        pass(SILENCE - 1);
        say(1, types[i % 4], 0, NULL);
    }
    tr_peer_t sender = peer(1);
    pass(SILENCE - 1);
    tr_dispatch_garbage(dispatch, now, &sender, "nonsense");
    pass(SILENCE - 1);
    expect_no_event();
    pass(1);
    expect_event(TR_EVENT_LOST, 0, "silent");
}

Test(dispatch, a_worker_may_ask_for_more_silence_but_not_for_less)
{
    json_t *patient = registration("patient", "p", 1);
    json_t *hasty = registration("hasty", "p", 1);
    json_object_set_new(patient, "silence_ms", json_integer(2 * SILENCE));
    json_object_set_new(hasty, "silence_ms", json_integer(1));
    say(1, "register", 0, patient);
    say(2, "register", 0, hasty);
    expect_event(TR_EVENT_JOINED, 0, NULL);
    expect_event(TR_EVENT_JOINED, 0, NULL);
    pass(SILENCE - 1);
    expect_no_event();
    pass(1);
    expect_event(TR_EVENT_LOST, 0, "hasty");
    pass(SILENCE);
    expect_event(TR_EVENT_LOST, 0, "patient");
}

Test(dispatch, a_request_that_costs_three_workers_is_an_error)
{
    int64_t id = submit(NULL);
    for (uint8_t i = 1; i <= 3; i++) {
        char name[] = {'w', (char)('0' + i), '\0'};
        join(i, name, 1);
        cr_expect_eq(expect_send(i, "request"), id);
        pass(SILENCE);
        if (i == 3) {
            expect_event(TR_EVENT_ERROR, id, "rollout worker 'w3': work: was silent");
        }
        expect_event(TR_EVENT_LOST, 0, NULL);
    }
    cr_expect_eq(tr_dispatch_pending(dispatch), 0);
}

Test(dispatch, a_worker_that_leaves_costs_a_request_nothing)
{
    int64_t id = submit(NULL);
    for (int i = 0; i < 10; i++) {
        join(1, "a", 1);
        cr_expect_eq(expect_send(1, "request"), id);
        say(1, "bye", 0, NULL);
        expect_event(TR_EVENT_LOST, 0, "rollout worker 'a' left");
    }
    join(2, "b", 1);
    cr_expect_eq(expect_send(2, "request"), id);
}

Test(dispatch, a_worker_that_leaves_over_a_failure_says_so_and_it_counts)
{
    int64_t id = submit(NULL);
    for (int i = 1; i <= 3; i++) {
        join(1, "a", 1);
        cr_expect_eq(expect_send(1, "request"), id);
        say(1, "bye", 0, json_pack("{s:s}", "text", "no memory"));
        if (i == 3) {
            expect_event(TR_EVENT_ERROR, id, "left: no memory");
        }
        expect_event(TR_EVENT_LOST, 0, "rollout worker 'a' left: no memory");
    }
}

Test(dispatch, the_loss_of_a_named_worker_is_an_error)
{
    join(1, "a", 1);
    join(2, "b", 1);
    int64_t sent = submit("a");
    int64_t queued = submit("a");
    int64_t other = submit("b");
    expect_send(1, "request");
    expect_send(2, "request");
    say(1, "bye", 0, NULL);
    tr_event_t event = take_event(TR_EVENT_ERROR);
    cr_expect_eq(event.id, sent);
    cr_expect_eq(event.status, TR_ERR_PEER);
    cr_expect_str_eq(event.worker, "a");
    tr_event_release(&event);
    expect_event(TR_EVENT_ERROR, queued, "'a'");
    expect_event(TR_EVENT_LOST, 0, NULL);
    expect_no_event();
    say(2, "reply", other, NULL);
    expect_send(2, "done");
    expect_event(TR_EVENT_REPLY, other, NULL);
}

Test(dispatch, a_request_goes_to_its_role_group_and_name_only)
{
    static const char *const groups[] = {"left", "right"};
    int64_t ids[2];
    for (uint8_t i = 0; i < 2; i++) {
        json_t *body = registration(groups[i], "p", 4);
        json_object_set_new(body, "group", json_string(groups[i]));
        json_object_set_new(body, "role", json_string("reward"));
        say(i, "register", 0, body);
        expect_send(i, "welcome");
        expect_event(TR_EVENT_JOINED, 0, NULL);
    }
    submit(NULL); // for a rollout
    expect_no_send();
    for (uint8_t i = 0; i < 2; i++) {
        tr_message_t *message = tr_message_new("request");
        ids[i] = tr_dispatch_submit(dispatch, now, TR_ROLE_REWARD, groups[1 - i], NULL, "score",
                                    &message);
        cr_expect_eq(expect_send(1 - i, "request"), ids[i]);
    }
    say(0, "reply", ids[0], NULL); // the other group's
    expect_send(0, "done");
    expect_no_event();
    cr_expect_eq(tr_dispatch_workers(dispatch, TR_ROLE_REWARD, NULL), 2);
    cr_expect_eq(tr_dispatch_workers(dispatch, TR_ROLE_REWARD, "left"), 1);
    cr_expect_eq(tr_dispatch_workers(dispatch, TR_ROLE_ROLLOUT, NULL), 0);
}

Test(dispatch, credit_bounds_what_a_worker_holds_and_requests_keep_their_order)
{
    int64_t ids[6];
    for (size_t i = 0; i < 6; i++) {
        ids[i] = submit(NULL);
    }
    join(1, "a", 2);
    cr_expect_eq(expect_send(1, "request"), ids[0]);
    cr_expect_eq(expect_send(1, "request"), ids[1]);
    expect_no_send();
    join(2, "b", 1);
    cr_expect_eq(expect_send(2, "request"), ids[2]);
    expect_no_send();
    say(2, "reply", ids[2], NULL);
    expect_send(2, "done");
    cr_expect_eq(expect_send(2, "request"), ids[3]);
    say(1, "error", ids[1], json_pack("{s:s, s:s}", "code", "numeric", "text", "NaN"));
    expect_send(1, "done");
    cr_expect_eq(expect_send(1, "request"), ids[4]);
    tr_dispatch_cancel(dispatch, now, ids[0]);
    cr_expect_eq(expect_send(1, "request"), ids[5]);
    expect_event(TR_EVENT_REPLY, ids[2], NULL);
    expect_event(TR_EVENT_ERROR, ids[1], "rollout worker 'a': work: NaN");
    say(1, "reply", ids[0], NULL); // cancelled
    expect_send(1, "done");
    expect_no_event();
}

Test(dispatch, error_codes_become_statuses)
{
    static const struct {
        const char *code;
        tr_status status;
    } rows[] = {{"argument", TR_ERR_ARGUMENT},
                {"memory", TR_ERR_MEMORY},
                {"io", TR_ERR_IO},
                {"format", TR_ERR_FORMAT},
                {"unsupported", TR_ERR_UNSUPPORTED},
                {"protocol", TR_ERR_PROTOCOL},
                {"timeout", TR_ERR_TIMEOUT},
                {"peer", TR_ERR_PEER},
                {"numeric", TR_ERR_NUMERIC},
                {"version", TR_ERR_VERSION},
                {"interrupted", TR_ERR_INTERRUPTED},
                {"my own word", TR_ERR_PEER},
                {"ok", TR_ERR_PEER},
                {NULL, TR_ERR_PEER}};
    join(1, "a", 1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t id = submit(NULL);
        expect_send(1, "request");
        say(1, "error", id, rows[i].code != NULL ? json_pack("{s:s}", "code", rows[i].code) : NULL);
        expect_send(1, "done");
        tr_event_t event = take_event(TR_EVENT_ERROR);
        cr_expect_eq(event.status, rows[i].status, "%s", rows[i].code);
        tr_event_release(&event);
    }
}

Test(dispatch, a_reply_that_cannot_be_read_is_an_error_of_its_request)
{
    static const char bytes[] =
        "\x83\xa4type\xa5reply\xa2id\xcf\x00\x00\x00\x05\x00\x00\x00\x01\xa4"
        "body\x81\xa1x\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00";
    join(1, "a", 1);
    int64_t id = submit(NULL);
    expect_send(1, "request");
    tr_message_t *reply;
    cr_assert_eq(tr_message_unpack(&reply, bytes, sizeof bytes - 1, NULL), TR_OK);
    say_message(1, reply);
    cr_expect_eq(expect_send(1, "done"), id);
    expect_event(TR_EVENT_ERROR, id, "work: body.x: NaN is not allowed");
}

Test(dispatch, a_request_that_cannot_be_packed_is_an_error_at_once)
{
    tr_message_t *message = tr_message_new("request");
    tr_message_set_body(message, NULL); // what json_pack gives for a NaN
    int64_t id = tr_dispatch_submit(dispatch, now, TR_ROLE_ROLLOUT, NULL, NULL, "work", &message);
    cr_expect_null(message);
    expect_event(TR_EVENT_ERROR, id, "could not be built");
    cr_expect_eq(tr_dispatch_pending(dispatch), 0);
}

Test(dispatch, garbage_is_counted_and_answered)
{
    tr_peer_t stranger = peer(9);
    tr_dispatch_garbage(dispatch, now, &stranger, "no envelope");
    tr_message_t *answer = take_send(9, "error");
    cr_expect_str_eq(json_string_value(json_object_get(tr_message_body(answer), "code")),
                     "protocol");
    cr_expect_str_eq(json_string_value(json_object_get(tr_message_body(answer), "text")),
                     "no envelope");
    tr_message_destroy(&answer);
    say(9, "dance", 77, NULL);
    answer = take_send(9, "error");
    cr_expect_eq(tr_message_id(answer), 77);
    cr_expect_str_eq(json_string_value(json_object_get(tr_message_body(answer), "code")),
                     "unsupported");
    tr_message_destroy(&answer);
    cr_expect_eq(counter("garbage"), 2);
    expect_no_event();
}

Test(dispatch, strangers_are_told_to_register)
{
    static const char *const types[] = {"heartbeat", "ack", "reply", "error"};
    for (size_t i = 0; i < 4; i++) {
        say(9, types[i], 3, NULL);
        expect_error_send(9, "error", "unregistered");
    }
    cr_expect_eq(counter("unregistered"), 4);
    say(9, "bye", 0, NULL); // needs no answer
    expect_no_send();
    expect_no_event();
}

Test(dispatch, a_bad_registration_is_refused_by_name_of_the_key)
{
    static const struct {
        const char *key;
        const char *value;
        const char *code;
    } rows[] = {{"protocol", "[2, 0]", "version"},   {"protocol", "[0, 9]", "version"},
                {"protocol", "1", "protocol"},       {"protocol", "[]", "protocol"},
                {"role", "\"king\"", "protocol"},    {"role", "1", "protocol"},
                {"name", "1", "protocol"},           {"credit", "0", "protocol"},
                {"credit", "1025", "protocol"},      {"credit", "1.5", "protocol"},
                {"group", "1", "protocol"},          {"instance", "[]", "protocol"},
                {"silence_ms", "0", "protocol"},     {"silence_ms", "600001", "protocol"},
                {"silence_ms", "\"x\"", "protocol"}, {"name", NULL, "protocol"},
                {"role", NULL, "protocol"},          {"protocol", NULL, "protocol"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *body = registration("a", "p", 1);
        json_object_del(body, rows[i].key);
        if (rows[i].value != NULL) {
            json_object_set_new(body, rows[i].key,
                                json_loads(rows[i].value, JSON_DECODE_ANY, NULL));
        }
        say(1, "register", 0, body);
        tr_message_t *refused = take_send(1, "refused");
        const json_t *why = tr_message_body(refused);
        cr_expect_str_eq(json_string_value(json_object_get(why, "code")), rows[i].code, "row %zu",
                         i);
        cr_expect_not_null(strstr(json_string_value(json_object_get(why, "text")), rows[i].key),
                           "row %zu", i);
        tr_message_destroy(&refused);
    }
    char name[130];
    memset(name, 'n', 129);
    name[129] = '\0';
    say(1, "register", 0, registration(name, "p", 1));
    expect_error_send(1, "refused", "protocol");
    name[128] = '\0';
    say(1, "register", 0, registration(name, "p", 1));
    expect_send(1, "welcome");
}

Test(dispatch, a_higher_minor_version_is_welcome)
{
    json_t *body = registration("a", "p", 1);
    json_object_set_new(body, "protocol", json_pack("[i, i]", TR_PROTOCOL_MAJOR, 99));
    say(1, "register", 0, body);
    expect_send(1, "welcome");
}

Test(dispatch, registering_again_changes_nothing)
{
    join(1, "a", 1);
    int64_t id = submit(NULL);
    expect_send(1, "request");
    say(1, "register", 0, registration("a", "process", 1));
    expect_send(1, "welcome");
    expect_no_event();
    expect_no_send();
    say(1, "reply", id, NULL);
    expect_send(1, "done");
    expect_event(TR_EVENT_REPLY, id, NULL);
}

Test(dispatch, the_same_process_over_a_new_connection_keeps_its_work)
{
    join(1, "a", 2);
    int64_t first = submit(NULL);
    int64_t second = submit("a");
    expect_send(1, "request");
    expect_send(1, "request");
    say(1, "ack", first, NULL);
    say(7, "register", 0, registration("a", "process", 2));
    expect_send(7, "welcome");
    cr_expect_eq(expect_send(7, "request"), first, "it may have been lost on the way");
    cr_expect_eq(expect_send(7, "request"), second);
    expect_no_event();
    say(1, "heartbeat", 0, NULL);
    expect_error_send(1, "error", "unregistered");
    say(7, "reply", second, NULL);
    expect_send(7, "done");
    expect_event(TR_EVENT_REPLY, second, NULL);
}

Test(dispatch, a_new_process_of_the_same_name_takes_its_place)
{
    join(1, "a", 1);
    int64_t named = submit("a");
    expect_send(1, "request");
    int64_t any = submit(NULL);
    say(2, "register", 0, registration("a", "another process", 1));
    expect_error_send(1, "refused", "peer");
    expect_send(2, "welcome");
    expect_event(TR_EVENT_ERROR, named, "replaced");
    expect_event(TR_EVENT_LOST, 0, "replaced");
    expect_event(TR_EVENT_JOINED, 0, NULL);
    cr_expect_eq(expect_send(2, "request"), any);
    cr_expect_eq(tr_dispatch_workers(dispatch, TR_ROLE_ROLLOUT, NULL), 1);
}

Test(dispatch, stop_needs_the_token)
{
    say(9, "stop", 0, NULL);
    expect_error_send(9, "error", "argument");
    say(9, "stop", 0, json_pack("{s:s}", "token", "guess"));
    expect_error_send(9, "error", "argument");
    say(9, "stop", 0, json_pack("{s:i}", "token", 1));
    expect_error_send(9, "error", "argument");
    expect_no_event();
    say(9, "stop", 0, json_pack("{s:s}", "token", "secret"));
    expect_send(9, "stopping");
    expect_event(TR_EVENT_STOP, 0, NULL);
}

Test(dispatch, status_shows_who_waits_for_whom)
{
    join(1, "a", 1);
    submit(NULL);
    expect_send(1, "request");
    submit(NULL);
    submit(NULL);
    tr_dispatch_set_note(dispatch, json_pack("{s:i}", "step", 3));
    now += 250;
    say(9, "status", 0, NULL);
    tr_message_t *answer = take_send(9, "status");
    const json_t *body = tr_message_body(answer);
    const json_t *worker = json_array_get(json_object_get(body, "workers"), 0);
    const json_t *held = json_array_get(json_object_get(worker, "outstanding"), 0);
    const json_t *queue = json_array_get(json_object_get(body, "queues"), 0);
    cr_expect_eq(json_integer_value(json_object_get(body, "session")), 5);
    cr_expect_eq(json_integer_value(json_object_get(json_object_get(body, "run"), "step")), 3);
    cr_expect_str_eq(json_string_value(json_object_get(worker, "name")), "a");
    cr_expect_str_eq(json_string_value(json_object_get(worker, "state")), "busy");
    cr_expect_eq(json_integer_value(json_object_get(worker, "silent_ms")), 250);
    cr_expect_eq(json_integer_value(json_object_get(held, "age_ms")), 250);
    cr_expect(json_is_false(json_object_get(held, "acknowledged")));
    cr_expect_eq(json_integer_value(json_object_get(queue, "depth")), 2);
    tr_message_destroy(&answer);
}

Test(dispatch, dismissal_says_bye_to_every_worker)
{
    join(1, "a", 1);
    join(2, "b", 1);
    tr_dispatch_dismiss(dispatch);
    expect_send(1, "bye");
    expect_send(2, "bye");
    expect_no_send();
}
