// The dispatcher driven by hand: messages in, messages and events out, and a clock that moves only
// when a test says so.
//
// Shared by the tests of proto/dispatch*.c, which need no socket and no time of their own. One
// dispatcher a test: Criterion runs each test in a process.
#include "tests/support/by_hand.h"

#include <criterion/criterion.h>

#include <string.h>

tr_dispatch_t *dispatch;
int64_t now;

/// The default options, but a fixed session and token, which real ones draw.
void dispatch_open(void)
{
    tr_dispatch_options_t options;
    tr_dispatch_options_init(&options);
    // tests count on these times; a change of the defaults must change the tests too
    cr_assert_eq(options.heartbeat_ms, HEARTBEAT);
    cr_assert_eq(options.silence_ms, SILENCE);
    cr_assert_eq(options.resend_ms, RESEND);
    cr_assert_eq(options.unanswered_ms, UNANSWERED);
    options.session = 5;
    options.token = TOKEN;
    options.stop_token = "secret";
    dispatch = tr_dispatch_new(&options);
    // not 0: a time that was never set must not pass for a real one
    now = 1000000;
}

void dispatch_close(void)
{
    // a second destroy must do nothing
    tr_dispatch_destroy(&dispatch);
    cr_expect_null(dispatch);
    tr_dispatch_destroy(&dispatch);
}

// What peers say

/// An identity as ZeroMQ makes them: a zero byte, then four of its own.
tr_peer_t peer(uint8_t number)
{
    return (tr_peer_t){.size = 5, .bytes = {0, 1, 2, 3, number}};
}

void say_message(uint8_t from, tr_message_t *message)
{
    // the identity is what ZeroMQ puts before a message
    tr_peer_t sender = peer(from);
    tr_dispatch_receive(dispatch, now, &sender, &message);
    // ownership moves with the call
    cr_assert_null(message, "receive takes the message");
}

void say(uint8_t from, const char *type, int64_t id, json_t *body)
{
    tr_message_t *message = tr_message_new(type);
    // ids begin at 1; 0 stands for none
    if (id > 0) {
        tr_message_set_id(message, id);
    }
    if (body != NULL) {
        tr_message_set_body(message, body);
    }
    say_message(from, message);
}

json_t *registration(const char *name, const char *instance, int credit)
{
    return json_pack("{s:s, s:s, s:s, s:[i, i], s:i}", "role", "rollout", "name", name, "instance",
                     instance, "protocol", TR_PROTOCOL_MAJOR, TR_PROTOCOL_MINOR, "credit", credit);
}

// What comes out

tr_message_t *take_send(uint8_t to, const char *type)
{
    tr_peer_t receiver, expected = peer(to);
    tr_message_t *message = NULL;
    cr_assert(tr_dispatch_next_send(&receiver, &message, dispatch), "no '%s' to %d", type, to);
    cr_assert_str_eq(tr_message_type(message), type);
    cr_assert_arr_eq(&receiver, &expected, 6, "'%s' goes to another", type);
    return message;
}

int64_t expect_send(uint8_t to, const char *type)
{
    tr_message_t *message = take_send(to, type);
    int64_t id = tr_message_id(message);
    tr_message_destroy(&message);
    return id;
}

/// Both have a body with a code; the sentence is for people.
void expect_error_send(uint8_t to, const char *type, const char *code)
{
    tr_message_t *message = take_send(to, type);
    cr_expect_str_eq(json_string_value(json_object_get(tr_message_body(message), "code")), code);
    tr_message_destroy(&message);
}

/// Nothing more may go out: a message too many is a bug, too.
void expect_no_send(void)
{
    tr_peer_t receiver;
    tr_message_t *message;
    cr_assert_not(tr_dispatch_next_send(&receiver, &message, dispatch));
}

tr_event_t take_event(tr_event_type_t type)
{
    tr_event_t event;
    cr_assert(tr_dispatch_next_event(&event, dispatch), "no event %d", (int)type);
    // the event's sentence shows what happened instead
    cr_assert_eq(event.type, type, "event %d instead of %d: %s", (int)event.type, (int)type,
                 event.text);
    return event;
}

void expect_event(tr_event_type_t type, int64_t id, const char *text)
{
    tr_event_t event = take_event(type);
    cr_expect_eq(event.id, id);
    if (text != NULL) {
        cr_expect_not_null(strstr(event.text, text), "'%s' for '%s'", event.text, text);
    }
    tr_event_release(&event);
}

void expect_no_event(void)
{
    tr_event_t event;
    cr_assert_not(tr_dispatch_next_event(&event, dispatch));
}

/// What every test of requests begins with.
void join(uint8_t number, const char *name, int credit)
{
    say(number, "register", 0, registration(name, "process", credit));
    // a welcome answers no request, so it has no id
    cr_assert_eq(expect_send(number, "welcome"), 0);
    expect_event(TR_EVENT_JOINED, 0, NULL);
}

int64_t submit(const char *worker)
{
    tr_message_t *message = tr_message_new("request");
    return tr_dispatch_submit(dispatch, now, TR_ROLE_ROLLOUT, NULL, worker, "work", &message);
}

/// A tick is what the broker's timer does.
void pass(int64_t milliseconds)
{
    now += milliseconds;
    tr_dispatch_tick(dispatch, now);
}

/// As `troupe status` sees it.
int64_t counter(const char *name)
{
    json_t *status = tr_dispatch_status(dispatch, now);
    int64_t value = json_integer_value(json_object_get(json_object_get(status, "counters"), name));
    json_decref(status);
    return value;
}
