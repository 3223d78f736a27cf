/// Calls against workers that err, hang, die and come back: what is asked again, what ends the
/// wait, and with which status.
#include "controller/calls.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "proto/endpoint.h"
#include "tests/support/fake_worker.h"
#include "tests/support/open_requests.h"

enum { CALLS = 6 };

static const char ENDPOINT[] = "inproc://calls";
static tr_broker_t *broker;
static controller_calls_t *calls;
static volatile sig_atomic_t stop;

static void setup(void)
{
    tr_dispatch_options_t options;
    tr_error_t err = {0};
    tr_wire_init();
    tr_dispatch_options_init(&options);
    options.silence_ms = 600000; // the fakes send no heartbeats
    cr_assert_eq(tr_broker_new(&broker, ENDPOINT, NULL, &options, &err), TR_OK, "%s", err.text);
    calls = controller_calls_new(broker, &stop);
}

static void teardown(void)
{
    controller_calls_destroy(&calls);
    tr_broker_destroy(&broker);
}

TestSuite(calls, .init = setup, .fini = teardown, .timeout = 60);

// What workers do

/// Gives the request's number back.
static fake_act_t echo(void *context, size_t nth, const tr_message_t *request, tr_message_t *reply)
{
    (void)context, (void)nth;
    tr_message_set_body(reply, json_deep_copy(tr_message_body(request)));
    return FAKE_REPLY;
}

/// Fails as often as *context says, with a code that is not that of a lost state.
static fake_act_t fail_at_first(void *context, size_t nth, const tr_message_t *request,
                                tr_message_t *reply)
{
    const size_t *failures = context;
    if (nth >= *failures) {
        return echo(NULL, nth, request, reply);
    }
    tr_message_set_error(reply, "numeric", "the number is odd");
    return FAKE_ERROR;
}

static fake_act_t fail_by_version(void *context, size_t nth, const tr_message_t *request,
                                  tr_message_t *reply)
{
    (void)context;
    if (nth > 0) {
        return echo(NULL, nth, request, reply);
    }
    tr_message_set_error(reply, "version", "this learner is at another step");
    return FAKE_ERROR;
}

static fake_act_t die_at_first(void *context, size_t nth, const tr_message_t *request,
                               tr_message_t *reply)
{
    return nth == 0 ? FAKE_DIE : echo(context, nth, request, reply);
}

static fake_act_t hang_at_first(void *context, size_t nth, const tr_message_t *request,
                                tr_message_t *reply)
{
    return nth == 0 ? FAKE_SILENT : echo(context, nth, request, reply);
}

static fake_act_t answer_late(void *context, size_t nth, const tr_message_t *request,
                              tr_message_t *reply)
{
    const long *milliseconds = context;
    const struct timespec pause = {.tv_nsec = *milliseconds * 1000000};
    nanosleep(&pause, NULL);
    return echo(NULL, nth, request, reply);
}

static fake_worker_t judge_of(fake_answer_fn answer, void *context)
{
    return (fake_worker_t){.role = TR_ROLE_REWARD,
                           .name = "one",
                           .group = "words",
                           .answer = answer,
                           .context = context};
}

// What is asked

typedef struct book {
    int64_t numbers[CALLS]; // by index
    size_t taken;
    size_t refuse; // so many answers are refused first
} book_t;

static tr_status take_number(void *context, size_t index, const tr_message_t *reply,
                             tr_error_t *err)
{
    book_t *book = context;
    if (book->refuse > 0) {
        book->refuse--;
        return tr_fail(err, TR_ERR_PROTOCOL, "nonsense");
    }
    book->numbers[index] = json_integer_value(json_object_get(tr_message_body(reply), "number"));
    book->taken++;
    return TR_OK;
}

static controller_call_t call_to(tr_role_t role, book_t *book)
{
    return (controller_call_t){
        .role = role, .method = "count", .take = take_number, .context = book};
}

static void ask(controller_call_t call, size_t index)
{
    tr_message_t *message = tr_message_new("request");
    tr_message_set_body(message, json_pack("{s:I}", "number", (json_int_t)index * 10));
    call.index = index;
    controller_calls_ask(calls, &call, &message);
    cr_expect_null(message);
}

static void expect_finish(tr_status expected, const char *part)
{
    tr_error_t err = {0};
    tr_status status = controller_calls_finish(calls, &err);
    cr_expect_eq(status, expected, "%d: %s", status, err.text);
    cr_expect_eq(err.status, expected);
    cr_expect_not_null(strstr(err.text, part), "'%s' lacks '%s'", err.text, part);
    cr_expect_eq(open_requests(tr_broker_dispatch(broker)), 0, "requests are left");
}

Test(calls, answers_are_placed_by_index_in_whatever_order_they_come)
{
    fake_worker_t worker = {
        .role = TR_ROLE_ROLLOUT, .name = "one", .group = "rollout", .answer = echo, .hold = CALLS};
    book_t book = {.taken = 0};
    fake_start(&worker, ENDPOINT);
    for (size_t i = 0; i < CALLS; i++) {
        ask(call_to(TR_ROLE_ROLLOUT, &book), i);
    }
    expect_finish(TR_OK, "");
    cr_expect_eq(book.taken, CALLS);
    for (size_t i = 0; i < CALLS; i++) {
        cr_expect_eq(book.numbers[i], (int64_t)i * 10);
    }
    fake_stop(&worker);
}

Test(calls, an_error_is_asked_again_as_often_as_the_call_says)
{
    for (size_t failures = 0; failures <= 3; failures++) {
        fake_worker_t worker = judge_of(fail_at_first, &failures);
        book_t book = {.taken = 0};
        controller_call_t call = call_to(TR_ROLE_REWARD, &book);
        call.retries = 2;
        fake_start(&worker, ENDPOINT);
        ask(call, 1);
        expect_finish(failures <= 2 ? TR_OK : TR_ERR_NUMERIC,
                      failures <= 2 ? "" : "the number is odd");
        cr_expect_eq(book.taken, failures <= 2);
        cr_expect_eq(atomic_load(&worker.requests), failures <= 2 ? failures + 1 : 3);
        fake_stop(&worker);
    }
}

Test(calls, a_call_that_persists_is_asked_until_it_is_answered)
{
    size_t failures = 4;
    fake_worker_t worker = judge_of(fail_at_first, &failures);
    book_t book = {.taken = 0};
    controller_call_t call = call_to(TR_ROLE_REWARD, &book);
    call.persists = true;
    fake_start(&worker, ENDPOINT);
    ask(call, 1);
    expect_finish(TR_OK, "");
    cr_expect_eq(book.numbers[1], 10);
    cr_expect_eq(atomic_load(&worker.requests), failures + 1);
    fake_stop(&worker);
}

Test(calls, an_answer_that_is_refused_counts_as_a_failure_and_names_the_worker)
{
    fake_worker_t worker = judge_of(echo, NULL);
    book_t book = {.refuse = 1};
    controller_call_t call = call_to(TR_ROLE_REWARD, &book);
    call.retries = 1;
    fake_start(&worker, ENDPOINT);
    ask(call, 1);
    expect_finish(TR_OK, "");
    cr_expect_eq(book.taken, 1);
    book.refuse = 2;
    ask(call, 1);
    ask(call_to(TR_ROLE_CRITIC, &book), 2); // has no worker: cancelled
    expect_finish(TR_ERR_PROTOCOL, "'one' answered 'count': nonsense");
    fake_stop(&worker);
}

Test(calls, a_learner_that_dies_ends_the_wait_once_as_lost_state)
{
    static const tr_role_t learners[] = {TR_ROLE_ACTOR, TR_ROLE_CRITIC};
    for (size_t i = 0; i < 2; i++) {
        const char *name = tr_role_name(learners[i]);
        fake_worker_t worker = {
            .role = learners[i], .name = name, .group = name, .answer = die_at_first};
        book_t book = {.taken = 0};
        controller_call_t call = call_to(learners[i], &book);
        call.worker = name;
        call.retries = 5;
        fake_start(&worker, ENDPOINT);
        ask(call, 1);
        expect_finish(TR_ERR_VERSION, name);
        ask(call, 1); // of the process that came after
        expect_finish(TR_OK, "");
        cr_expect_eq(book.numbers[1], 10);
        fake_stop(&worker);
    }
}

Test(calls, a_learner_that_dies_ends_the_wait_for_others)
{
    fake_worker_t worker = {
        .role = TR_ROLE_ACTOR, .name = "actor", .group = "actor", .answer = die_at_first};
    book_t book = {.taken = 0};
    controller_call_t call = call_to(TR_ROLE_ACTOR, &book);
    fake_start(&worker, ENDPOINT);
    ask(call, 1);                           // by nobody's name: another process may answer it
    ask(call_to(TR_ROLE_REWARD, &book), 2); // nobody does
    expect_finish(TR_ERR_VERSION, "actor");
    fake_stop(&worker);
}

Test(calls, a_judge_that_dies_is_asked_again)
{
    fake_worker_t worker = judge_of(die_at_first, NULL);
    book_t book = {.taken = 0};
    fake_start(&worker, ENDPOINT);
    ask(call_to(TR_ROLE_REWARD, &book), 1);
    expect_finish(TR_OK, "");
    cr_expect_eq(book.numbers[1], 10);
    fake_stop(&worker);
}

Test(calls, another_version_is_lost_state_for_all_but_judges_and_references)
{
    static const tr_role_t roles[] = {TR_ROLE_ACTOR, TR_ROLE_CRITIC, TR_ROLE_ROLLOUT,
                                      TR_ROLE_REWARD, TR_ROLE_REFERENCE};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        fake_worker_t worker = {.role = roles[i],
                                .name = tr_role_name(roles[i]),
                                .group = "some",
                                .answer = fail_by_version};
        book_t book = {.taken = 0};
        controller_call_t call = call_to(roles[i], &book);
        call.retries = 1;
        fake_start(&worker, ENDPOINT);
        ask(call, 1);
        expect_finish(i < 3 ? TR_ERR_VERSION : TR_OK, i < 3 ? "another step" : "");
        fake_stop(&worker);
    }
}

Test(calls, a_call_that_is_late_is_asked_again_and_then_fails)
{
    fake_worker_t worker = judge_of(hang_at_first, NULL);
    book_t book = {.taken = 0};
    controller_call_t call = call_to(TR_ROLE_REWARD, &book);
    call.timeout_s = 0.3;
    call.group = "words";
    ask(call, 1);
    expect_finish(TR_ERR_TIMEOUT, "'words' did not answer 'count' in 0.3 seconds (0 registered)");
    fake_start(&worker, ENDPOINT);
    call.retries = 20; // the worker may need a while to come
    ask(call, 1);
    expect_finish(TR_OK, "");
    cr_expect_geq(atomic_load(&worker.requests), 2);
    fake_stop(&worker);
}

Test(calls, the_queue_before_a_busy_judge_is_not_lateness)
{
    long milliseconds = 600;
    fake_worker_t worker = judge_of(answer_late, &milliseconds);
    worker.credit = 1;
    book_t book = {.taken = 0};
    controller_call_t call = call_to(TR_ROLE_REWARD, &book);
    call.timeout_s = 2.0;
    fake_start(&worker, ENDPOINT);
    for (size_t i = 0; i < CALLS; i++) { // 3.6 seconds in all
        ask(call, i);
    }
    expect_finish(TR_OK, "");
    cr_expect_eq(book.taken, CALLS);
    fake_stop(&worker);
}

Test(calls, a_request_that_cannot_be_sent_is_not_asked_again)
{
    enum { LENGTH = 2 << 20 };
    book_t book = {.taken = 0};
    controller_call_t call = call_to(TR_ROLE_REWARD, &book);
    char *text = tr_alloc(LENGTH + 1);
    tr_message_t *message = tr_message_new("request");
    memset(text, 'x', LENGTH);
    text[LENGTH] = '\0';
    tr_message_set_body(message, json_pack("{s:s}", "text", text));
    free(text);
    call.persists = true;
    controller_calls_ask(calls, &call, &message);
    expect_finish(TR_ERR_ARGUMENT, "count");
}

Test(calls, a_stop_ends_the_wait)
{
    book_t book = {.taken = 0};
    ask(call_to(TR_ROLE_REWARD, &book), 1);
    stop = 1;
    double began = tr_clock_seconds();
    expect_finish(TR_ERR_INTERRUPTED, "asked to stop");
    cr_expect_lt(tr_clock_seconds() - began, 5.0);
}

// Who is told

typedef struct told {
    size_t failures, finals, waits, mutes;
    char text[200]; // of the last failure or wait
} told_t;

static void count_failure(void *context, const controller_failure_t *failure, tr_error_t *err)
{
    told_t *told = context;
    told->failures++;
    told->finals += failure->final;
    snprintf(told->text, sizeof told->text, "%s %zu", failure->worker, (size_t)failure->failures);
    char *body = json_dumps(tr_message_body(failure->request), 0);
    tr_fail(err, err->status, "more of '%s'", body);
    free(body);
}

static void count_wait(void *context, const char *text, double since)
{
    told_t *told = context;
    if (text != NULL) {
        cr_expect_leq(since, tr_clock_seconds() - 0.3);
        told->waits++;
        snprintf(told->text, sizeof told->text, "%s", text);
    }
}

static void count_mute(void *context, const char *name, double seconds)
{
    told_t *told = context;
    told->mutes++;
    cr_expect_str_eq(name, "others");
    cr_expect_eq(seconds, 0.4);
}

static told_t told;

static void watch(void)
{
    told = (told_t){.failures = 0};
    controller_calls_watch(
        calls, &(controller_watch_t){&told, count_failure, count_wait, 0.3, count_mute, 0.4});
}

Test(calls, every_failure_is_told_with_its_worker_and_its_request)
{
    size_t failures = 9;
    fake_worker_t worker = judge_of(fail_at_first, &failures);
    book_t book = {.taken = 0};
    controller_call_t call = call_to(TR_ROLE_REWARD, &book);
    call.retries = 1;
    watch();
    fake_start(&worker, ENDPOINT);
    ask(call, 3);
    expect_finish(TR_ERR_NUMERIC, "more of '{\"number\": 30}'");
    cr_expect_eq(told.failures, 2);
    cr_expect_eq(told.finals, 1);
    cr_expect_str_eq(told.text, "one 2");
    fake_stop(&worker);
}

Test(calls, who_is_waited_for_is_told)
{
    long milliseconds = 900;
    fake_worker_t worker = judge_of(answer_late, &milliseconds);
    worker.credit = 1;
    book_t book = {.taken = 0};
    controller_call_t call = call_to(TR_ROLE_REWARD, &book);
    call.group = "others";
    call.timeout_s = 1.5;
    watch();
    ask(call, 1);
    expect_finish(TR_ERR_TIMEOUT, "");
    cr_expect_str_eq(told.text, " 1");
    cr_expect_gt(told.waits, 0, "nobody is registered");
    cr_expect_geq(told.mutes, 2, "told again and again");
    call = call_to(TR_ROLE_REWARD, &book);
    watch();
    fake_start(&worker, ENDPOINT);
    ask(call, 1);
    expect_finish(TR_OK, "");
    cr_expect_str_eq(told.text, "one: count");
    cr_expect_eq(told.mutes, 0);
    fake_stop(&worker);
}

static bool one_taken(const void *context)
{
    return ((const book_t *)context)->taken == 1;
}

Test(calls, until_waits_for_no_more_than_it_needs)
{
    fake_worker_t worker = {
        .role = TR_ROLE_ROLLOUT, .name = "one", .group = "rollout", .answer = echo};
    fake_worker_t judge = {.role = TR_ROLE_REWARD, .name = "two", .group = "words", .answer = echo};
    book_t book = {.taken = 0};
    tr_error_t err = {0};
    fake_start(&worker, ENDPOINT);
    ask(call_to(TR_ROLE_REWARD, &book), 1); // no judge yet
    ask(call_to(TR_ROLE_ROLLOUT, &book), 2);
    cr_expect_eq(controller_calls_until(calls, one_taken, &book, &err), TR_OK, "%s", err.text);
    cr_expect_eq(book.numbers[2], 20);
    cr_expect_eq(open_requests(tr_broker_dispatch(broker)), 1);
    fake_start(&judge, ENDPOINT);
    expect_finish(TR_OK, "");
    cr_expect_eq(book.numbers[1], 10);
    fake_stop(&judge);
    fake_stop(&worker);
}

static tr_status take_and_ask(void *context, size_t index, const tr_message_t *reply,
                              tr_error_t *err)
{
    book_t *book = context;
    TR_TRY(take_number(context, index, reply, err));
    for (size_t i = 1; i < CALLS && index == 0; i++) {
        ask(call_to(TR_ROLE_ROLLOUT, book), i);
    }
    return TR_OK;
}

Test(calls, an_answer_may_lead_to_further_calls)
{
    fake_worker_t worker = {
        .role = TR_ROLE_ROLLOUT, .name = "one", .group = "rollout", .answer = echo};
    book_t book = {.taken = 0};
    controller_call_t call = call_to(TR_ROLE_ROLLOUT, &book);
    call.take = take_and_ask;
    fake_start(&worker, ENDPOINT);
    ask(call, 0);
    expect_finish(TR_OK, "");
    cr_expect_eq(book.taken, CALLS);
    fake_stop(&worker);
}

Test(calls, a_role_is_busy_from_the_first_question_to_the_last_answer)
{
    long milliseconds = 60;
    fake_worker_t worker = {.role = TR_ROLE_ROLLOUT,
                            .name = "one",
                            .group = "rollout",
                            .answer = answer_late,
                            .context = &milliseconds};
    book_t book = {.taken = 0};
    fake_start(&worker, ENDPOINT);
    double began = tr_clock_seconds();
    ask(call_to(TR_ROLE_ROLLOUT, &book), 1);
    ask(call_to(TR_ROLE_ROLLOUT, &book), 2); // two at once are not counted twice
    expect_finish(TR_OK, "");
    double passed = tr_clock_seconds() - began;
    double busy = controller_calls_busy(calls, TR_ROLE_ROLLOUT);
    cr_expect_geq(busy, 0.12);
    cr_expect_leq(busy, passed);
    cr_expect_eq(controller_calls_busy(calls, TR_ROLE_ACTOR), 0.0);
    controller_calls_reset(calls);
    cr_expect_eq(controller_calls_busy(calls, TR_ROLE_ROLLOUT), 0.0);
    fake_stop(&worker);
}
