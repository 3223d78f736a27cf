#include "proto/service_jobs.h"

#include <stdlib.h>
#include <string.h>

enum { WAITING_MAX = 2048, ANSWERED_MAX = 256 };

static void job_destroy(service_job_t *job)
{
    tr_message_destroy(&job->request);
    tr_message_destroy(&job->reply);
    free(job);
}

// On the handlers' thread

static void answer_error(service_job_t *job, tr_status status, const char *text)
{
    tr_message_destroy(&job->reply);
    job->reply = tr_message_new("error");
    tr_message_set_id(job->reply, job->id);
    tr_message_set_error(job->reply, tr_status_name(status), text);
    job->status = status;
}

static const tr_method_t *find_method(const service_jobs_t *jobs, const char *name)
{
    for (size_t i = 0; i < jobs->method_count; i++) {
        if (strcmp(jobs->methods[i].name, name) == 0) {
            return &jobs->methods[i];
        }
    }
    return NULL;
}

/// A reply that cannot be packed (a NaN in its body, too long) becomes an error that says so.
static void check_packs(service_job_t *job)
{
    char *bytes;
    size_t length;
    tr_error_t err = {0};
    if (tr_message_pack(&bytes, &length, job->reply, &err) != TR_OK) {
        answer_error(job, err.status, err.text);
        return;
    }
    free(bytes);
}

static void compute_request(const service_jobs_t *jobs, service_job_t *job)
{
    const tr_method_t *method = find_method(jobs, tr_message_method(job->request));
    tr_error_t err = {0};
    if (method == NULL) {
        tr_fail(&err, TR_ERR_UNSUPPORTED, "method '%.100s' is not served here",
                tr_message_method(job->request));
        answer_error(job, err.status, err.text);
        return;
    }
    job->reply = tr_message_new("reply");
    job->status = method->handle(jobs->context, job->request, job->reply, &err);
    tr_message_set_id(job->reply, job->id);
    if (job->status != TR_OK) {
        answer_error(job, job->status, err.text);
    } else {
        check_packs(job);
    }
}

static void compute(const service_jobs_t *jobs, service_job_t *job)
{
    if (job->id > 0) {
        compute_request(jobs, job);
        return;
    }
    json_t *config = json_object_get(tr_message_body(job->request), "config");
    json_t *empty = json_object();
    job->status = jobs->welcome(jobs->context, json_is_object(config) ? config : empty, &job->err);
    json_decref(empty);
}

static void compute_jobs(zsock_t *pipe, void *argument)
{
    const service_jobs_t *jobs = argument;
    service_job_t *job = NULL;
    zsock_signal(pipe, 0);
    while (zsock_recv(pipe, "p", &job) == 0 && job != NULL) {
        compute(jobs, job);
        zsock_send(pipe, "p", job);
    }
}

// On the service's thread

void service_jobs_start(service_jobs_t *jobs)
{
    jobs->thread = zactor_new(compute_jobs, jobs);
    TR_ASSERT(jobs->thread != NULL, "no thread for the handlers");
}

void service_jobs_end(service_jobs_t *jobs)
{
    service_job_t *nothing = NULL;
    if (jobs->computing != NULL) {
        zsock_recv(jobs->thread, "p", &jobs->computing);
        if (jobs->computing->forgotten) {
            job_destroy(jobs->computing);
        }
        jobs->computing = NULL;
    }
    zsock_send(jobs->thread, "p", nothing);
    zactor_destroy(&jobs->thread);
    while (jobs->first != NULL) {
        service_job_t *job = jobs->first;
        jobs->first = job->next;
        job_destroy(job);
    }
}

service_job_t *service_jobs_find(const service_jobs_t *jobs, int64_t id)
{
    service_job_t *job = jobs->first;
    while (job != NULL && job->id != id) {
        job = job->next;
    }
    return job;
}

static size_t count_state(const service_jobs_t *jobs, service_job_state_t state,
                          service_job_t **oldest)
{
    size_t count = 0;
    *oldest = NULL;
    for (service_job_t *job = jobs->first; job != NULL; job = job->next) {
        if (job->state == state) {
            *oldest = count++ == 0 ? job : *oldest;
        }
    }
    return count;
}

service_job_t *service_jobs_add(service_jobs_t *jobs, tr_message_t **message)
{
    service_job_t *oldest;
    if (count_state(jobs, SERVICE_WAITING, &oldest) >= WAITING_MAX) {
        return NULL;
    }
    if (count_state(jobs, SERVICE_ANSWERED, &oldest) >= ANSWERED_MAX) { // `done` got lost for these
        service_jobs_remove(jobs, oldest->id);
    }
    service_job_t *job = tr_calloc(1, sizeof *job);
    job->id = tr_message_id(*message);
    job->request = *message;
    *message = NULL;
    service_job_t **end = &jobs->first;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = job;
    return job;
}

static void unlink_job(service_jobs_t *jobs, service_job_t *job)
{
    service_job_t **link = &jobs->first;
    while (*link != job) {
        link = &(*link)->next;
    }
    *link = job->next;
}

void service_jobs_remove(service_jobs_t *jobs, int64_t id)
{
    service_job_t *job = service_jobs_find(jobs, id);
    if (job == NULL || job->state != SERVICE_ANSWERED) {
        return;
    }
    unlink_job(jobs, job);
    job_destroy(job);
}

void service_jobs_forget(service_jobs_t *jobs)
{
    while (jobs->first != NULL) {
        service_job_t *job = jobs->first;
        unlink_job(jobs, job);
        if (job == jobs->computing) {
            job->forgotten = true; // its thread has it; freed when it comes back
        } else {
            job_destroy(job);
        }
    }
}

void service_jobs_advance(service_jobs_t *jobs)
{
    service_job_t *next;
    if (jobs->computing == NULL && count_state(jobs, SERVICE_WAITING, &next) > 0) {
        next->state = SERVICE_COMPUTING;
        jobs->computing = next;
        zsock_send(jobs->thread, "p", next);
    }
}

service_job_t *service_jobs_finished(service_jobs_t *jobs)
{
    service_job_t *job = NULL;
    zsock_recv(jobs->thread, "p", &job);
    TR_ASSERT(job != NULL && job == jobs->computing, "another job came back than was given");
    jobs->computing = NULL;
    if (job->forgotten) {
        job_destroy(job);
        return NULL;
    }
    tr_message_destroy(&job->request); // only its id is needed from here on
    job->state = SERVICE_ANSWERED;
    return job;
}
