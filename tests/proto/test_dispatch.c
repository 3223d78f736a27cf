// Requests: every loss, repetition and delay is made by hand.
#include <criterion/criterion.h>

#include <string.h>

#include "tests/support/by_hand.h"
#include "tests/support/open_requests.h"

TestSuite(dispatch, .init = dispatch_open, .fini = dispatch_close, .timeout = 60);

Test(dispatch, a_request_becomes_one_reply_and_done)
{
    join(1, "a", 1);
    int64_t id = submit(NULL);
    cr_expect_eq(id, 5 * 536870912LL + 1, "the session stands above 29 bits");
    cr_expect_eq(((int64_t)TR_SESSION_MAX + 1) << TR_REQUEST_BITS, 1LL << 53, "ids fit a double");
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
    cr_expect_eq(open_requests(dispatch), 0);
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
    cr_expect_eq(open_requests(dispatch), 1);
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
    cr_expect_eq(open_requests(dispatch), 0);
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
    cr_expect_eq(open_requests(dispatch), 0);
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
        "\x83\xa4type\xa5reply\xa2id\xcf\x00\x00\x00\x00\xa0\x00\x00\x01\xa4"
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
    cr_expect_eq(open_requests(dispatch), 0);
}
