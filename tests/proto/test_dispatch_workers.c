// Workers and strangers: who is let in, who is kept, what anyone may ask.
#include <criterion/criterion.h>

#include <string.h>

#include "tests/support/by_hand.h"

TestSuite(dispatch_workers, .init = dispatch_open, .fini = dispatch_close, .timeout = 60);

Test(dispatch_workers, the_welcome_tells_session_times_and_the_roles_config)
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

Test(dispatch_workers, any_message_keeps_a_worker)
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

Test(dispatch_workers, a_worker_may_ask_for_more_silence_but_not_for_less)
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

/// A worker that has got a request which the caller will cancel in time. Returns its id.
static int64_t give_patient_request(void)
{
    join(1, "a", 1);
    int64_t id = submit(NULL);
    tr_dispatch_be_patient(dispatch, id);
    cr_assert_eq(expect_send(1, "request"), id);
    return id;
}

Test(dispatch_workers, one_that_computes_for_a_patient_caller_owes_no_sign_of_life)
{
    int64_t id = give_patient_request();
    for (int64_t ms = 0; ms < 60 * SILENCE; ms += HEARTBEAT) {
        cr_expect_eq(tr_dispatch_deadline(dispatch), now + HEARTBEAT);
        pass(HEARTBEAT);
        expect_send(1, "heartbeat"); // shows whether the connection is open
        expect_no_send();
        expect_no_event();
    }
    say(1, "reply", id, NULL);
    cr_expect_eq(expect_send(1, "done"), id);
    expect_event(TR_EVENT_REPLY, id, NULL);
    cr_expect_eq(counter("resent"), 0);
    pass(SILENCE - 1);
    expect_no_event();
    pass(1);
    expect_event(TR_EVENT_LOST, 0, "silent");
}

Test(dispatch_workers, one_whose_connection_is_closed_is_lost_even_while_it_computes)
{
    const tr_peer_t gone = peer(1);
    give_patient_request();
    pass(2 * SILENCE);
    expect_send(1, "heartbeat");
    tr_dispatch_unreachable(dispatch, &gone);
    pass(SILENCE - 1);
    expect_send(1, "request"); // in vain
    expect_no_event();
    pass(1);
    tr_event_t lost = take_event(TR_EVENT_LOST);
    cr_expect_neq(lost.status, TR_ERR_TIMEOUT, "its process is gone, it does not hang");
    tr_event_release(&lost);
}

Test(dispatch_workers, one_that_is_silent_after_its_request_was_cancelled_is_lost)
{
    int64_t id = give_patient_request();
    pass(2 * SILENCE);
    expect_send(1, "heartbeat");
    tr_dispatch_cancel(dispatch, now, id);
    tr_dispatch_be_patient(dispatch, submit(NULL)); // the caller tries again: no new excuse
    expect_send(1, "request");
    pass(SILENCE);
    tr_event_t lost = take_event(TR_EVENT_LOST);
    cr_expect_eq(lost.status, TR_ERR_TIMEOUT, "it hangs");
    tr_event_release(&lost);
}

Test(dispatch_workers, garbage_is_counted_and_answered)
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

Test(dispatch_workers, strangers_are_told_to_register)
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

Test(dispatch_workers, a_bad_registration_is_refused_by_name_of_the_key)
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

Test(dispatch_workers, a_role_that_the_run_has_once_is_its_own_worker_s)
{
    static const struct {
        const char *role, *name, *token;
        bool welcome;
    } rows[] = {{"actor", "actor", TOKEN, true},     {"actor", "actor", "guessed", false},
                {"actor", "actor", "", false},       {"actor", "stray-1", TOKEN, false},
                {"critic", "critic", NULL, false},   {"critic", "critic", TOKEN, true},
                {"reference", "stray", NULL, false}, {"reference", "reference", TOKEN, true},
                {"rollout", "anyone", NULL, true},   {"reward", "judge", NULL, true}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *body = registration(rows[i].name, "p", 1);
        json_object_set_new(body, "role", json_string(rows[i].role));
        if (rows[i].token != NULL) {
            json_object_set_new(body, "token", json_string(rows[i].token));
        }
        say((uint8_t)(i + 1), "register", 0, body);
        if (rows[i].welcome) {
            expect_send((uint8_t)(i + 1), "welcome");
            expect_event(TR_EVENT_JOINED, 0, NULL);
        } else {
            expect_error_send((uint8_t)(i + 1), "refused", "argument");
            expect_no_event();
        }
    }
    cr_expect_eq(counter("refused"), 5);
}

Test(dispatch_workers, a_higher_minor_version_is_welcome)
{
    json_t *body = registration("a", "p", 1);
    json_object_set_new(body, "protocol", json_pack("[i, i]", TR_PROTOCOL_MAJOR, 99));
    say(1, "register", 0, body);
    expect_send(1, "welcome");
}

Test(dispatch_workers, registering_again_changes_nothing)
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

Test(dispatch_workers, the_same_process_over_a_new_connection_keeps_its_work)
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

Test(dispatch_workers, a_new_process_of_the_same_name_takes_its_place)
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

Test(dispatch_workers, stop_needs_the_token)
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

Test(dispatch_workers, status_shows_who_waits_for_whom)
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

Test(dispatch_workers, dismissal_says_bye_to_every_worker)
{
    join(1, "a", 1);
    join(2, "b", 1);
    tr_dispatch_dismiss(dispatch);
    expect_send(1, "bye");
    expect_send(2, "bye");
    expect_no_send();
}
