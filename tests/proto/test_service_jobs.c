// The list of jobs and the handlers' thread, without a socket of ZeroMQ: what is kept, dropped and
// refused.
#include <criterion/criterion.h>

#include <poll.h>
#include <string.h>

#include "proto/service_jobs.h"

enum { PATIENCE_MS = 10000 };

static service_jobs_t jobs;
static tr_error_t err;

/// Replies with the request's id; `fail` in the body makes it fail.
static tr_status work(void *context, const tr_message_t *request, tr_message_t *reply,
                      tr_error_t *error)
{
    int *computed = context;
    ++*computed;
    json_object_set_new(tr_message_body(reply), "id", json_integer(tr_message_id(request)));
    return json_object_get(tr_message_body(request), "fail") == NULL
               ? TR_OK
               : tr_fail(error, TR_ERR_NUMERIC, "asked to fail");
}

static tr_status welcome(void *context, const json_t *config, tr_error_t *error)
{
    (void)context;
    return json_object_size(config) > 0 ? TR_OK
                                        : tr_fail(error, TR_ERR_ARGUMENT, "an empty config");
}

static int computed;
static const tr_method_t methods[] = {{"work", work}};

static void setup(void)
{
    computed = 0;
    jobs = (service_jobs_t){
        .methods = methods, .method_count = 1, .welcome = welcome, .context = &computed};
    cr_assert_eq(service_jobs_start(&jobs, &err), TR_OK, "%s", err.text);
}

static void teardown(void)
{
    service_jobs_end(&jobs);
}

TestSuite(service_jobs, .init = setup, .fini = teardown, .timeout = 60);

/// id 0: a welcome.
static service_job_t *add(int64_t id, const char *method, json_t *body)
{
    tr_message_t *message = tr_message_new(id > 0 ? "request" : "welcome");
    if (id > 0) {
        tr_message_set_id(message, id);
        tr_message_set_field(message, "method", json_string(method));
    }
    tr_message_set_body(message, body);
    service_job_t *job = service_jobs_add(&jobs, &message);
    tr_message_destroy(&message); // only where it was refused
    return job;
}

/// Runs the next waiting job; NULL when it was forgotten meanwhile.
static service_job_t *finish(void)
{
    struct pollfd item = {.fd = jobs.socket, .events = POLLIN};
    service_jobs_advance(&jobs);
    cr_assert_eq(poll(&item, 1, PATIENCE_MS), 1, "no job came back");
    return service_jobs_finished(&jobs);
}

/// A welcome that succeeds.
static void add_welcome(void)
{
    add(0, NULL, json_pack("{s:{s:i}}", "config", "a", 1));
    cr_assert_eq(finish()->status, TR_OK);
    service_jobs_remove(&jobs, 0);
}

static const char *text_of(const service_job_t *job)
{
    return json_string_value(json_object_get(tr_message_body(job->reply), "text"));
}

Test(service_jobs, run_in_order_of_arrival_one_at_a_time)
{
    add_welcome();
    for (int64_t id = 1; id <= 3; id++) {
        add(id, "work", json_object());
    }
    service_jobs_advance(&jobs);
    service_jobs_advance(&jobs); // one is computed: nothing happens
    for (int64_t id = 1; id <= 3; id++) {
        const service_job_t *job = finish();
        cr_assert_not_null(job);
        cr_expect_eq(job->id, id);
        cr_expect_eq(job->state, SERVICE_ANSWERED);
        cr_expect_eq(tr_message_id(job->reply), id);
        cr_expect_str_eq(tr_message_type(job->reply), "reply");
    }
    cr_expect_eq(computed, 3);
}

Test(service_jobs, a_reply_is_kept_until_it_is_removed)
{
    add_welcome();
    add(7, "work", json_object());
    service_jobs_remove(&jobs, 7); // not answered: nothing happens
    cr_assert_not_null(finish());
    cr_assert_not_null(service_jobs_find(&jobs, 7));
    service_jobs_remove(&jobs, 7);
    cr_expect_null(service_jobs_find(&jobs, 7));
    service_jobs_remove(&jobs, 7);
}

Test(service_jobs, failures_become_error_replies_with_their_sentence)
{
    add_welcome();
    add(1, "work", json_pack("{s:b}", "fail", 1));
    add(2, "other", json_object());
    const service_job_t *failed = finish();
    cr_expect_str_eq(tr_message_type(failed->reply), "error");
    cr_expect_str_eq(text_of(failed), "asked to fail");
    cr_expect_eq(failed->status, TR_ERR_NUMERIC);
    const service_job_t *unknown = finish();
    cr_expect_eq(unknown->status, TR_ERR_UNSUPPORTED);
    cr_expect_not_null(strstr(text_of(unknown), "'other'"), "%s", text_of(unknown));
    cr_expect_eq(tr_message_id(unknown->reply), 2);
}

Test(service_jobs, a_welcome_has_no_reply_and_keeps_its_failure)
{
    add_welcome();
    add(0, NULL, json_object());
    const service_job_t *job = finish();
    cr_expect_eq(job->status, TR_ERR_ARGUMENT);
    cr_expect_str_eq(job->err.text, "an empty config");
    cr_expect_null(job->reply);
}

Test(service_jobs, no_request_reaches_a_service_before_a_welcome_succeeded)
{
    add(1, "work", json_object());
    cr_expect_eq(finish()->status, TR_ERR_PROTOCOL, "without a welcome");
    add(0, NULL, json_object());
    add(2, "work", json_object());
    cr_expect_eq(finish()->status, TR_ERR_ARGUMENT);
    service_jobs_remove(&jobs, 0);
    const service_job_t *refused = finish();
    cr_expect_eq(refused->status, TR_ERR_PROTOCOL, "after a welcome that failed");
    cr_expect_str_eq(text_of(refused), "method 'work' was asked for before a welcome succeeded");
    cr_expect_eq(computed, 0);
    add_welcome();
    add(3, "work", json_object());
    cr_expect_eq(finish()->status, TR_OK);
    cr_expect_eq(computed, 1);
}

Test(service_jobs, what_is_forgotten_while_it_is_computed_is_freed_when_it_comes_back)
{
    add(1, "work", json_object());
    add(2, "work", json_object());
    service_jobs_advance(&jobs);
    service_jobs_forget(&jobs);
    cr_expect_null(service_jobs_find(&jobs, 1));
    cr_expect_null(finish());
    add(2, "work", json_object()); // the same number in another session
    cr_expect_eq(finish()->id, 2);
    service_jobs_advance(&jobs); // nothing waits
    add(3, "work", json_object());
    service_jobs_advance(&jobs);
    service_jobs_forget(&jobs); // and the end comes while it is computed
}

Test(service_jobs, too_many_that_wait_are_refused)
{
    int64_t id = 1;
    while (id < 10000 && add(id, "work", json_object()) != NULL) {
        id++;
    }
    cr_expect_eq(id - 1, 2048);
    cr_assert_not_null(finish());
    cr_expect_not_null(add(id, "work", json_object()));
}

Test(service_jobs, the_oldest_reply_goes_when_too_many_are_kept)
{
    for (int64_t id = 1; id <= 256; id++) {
        add(id, "work", json_object());
        finish();
    }
    cr_assert_not_null(service_jobs_find(&jobs, 1));
    add(257, "work", json_object());
    cr_expect_null(service_jobs_find(&jobs, 1));
    cr_expect_not_null(service_jobs_find(&jobs, 2));
}
