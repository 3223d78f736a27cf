// Jobs and the thread that runs handlers.
//
// The service's thread owns the list of jobs. One job at a time goes to the handlers' thread and
// back over a socket pair, which the service's loop can poll beside ZeroMQ's sockets: no lock is
// needed, because a job belongs to the thread that has its address. With ranks, service_ranks.c
// sends each job's message to the other processes before it runs.
#include "proto/service_jobs.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/service_ranks.h"

/// Requests that wait: more than any credit allows. Answers that are kept: they may hold large
/// tensors, and the `done` of some may be lost.
enum { WAITING_MAX = 2048, ANSWERED_MAX = 256 };

/// A pointer goes to the other thread, and with it all that it points at. NULL ends that thread.
/// The life of a job: added by the service's thread as WAITING; handed over, COMPUTING; handed
/// back, ANSWERED, with its reply; removed when `done` comes. Only between the two handovers does
/// the other thread have it.
static void hand_over(int socket, const service_job_t *job)
{
    // A packet of eight bytes: the address itself.
    const uintptr_t address = (uintptr_t)job;
    ssize_t written;
    do {
        written = write(socket, &address, sizeof address);
    } while (written < 0 && errno == EINTR);
    // A packet socket takes eight bytes whole or not at all.
    TR_ASSERT(written == (ssize_t)sizeof address, "a job was not handed over: %s", strerror(errno));
}

/// The other end of hand_over: waits for a pointer. NULL: the service ends.
static service_job_t *take_over(int socket)
{
    uintptr_t address = 0;
    ssize_t got;
    do {
        got = read(socket, &address, sizeof address);
    } while (got < 0 && errno == EINTR);
    TR_ASSERT(got == (ssize_t)sizeof address, "a job was not taken over: %s", strerror(errno));
    return (service_job_t *)address;
}

/// The thread must not have it.
static void job_destroy(service_job_t *job)
{
    tr_message_destroy(&job->request);
    tr_message_destroy(&job->reply);
    free(job);
}

// On the handlers' thread

/// In place of the reply, which may be half filled.
static void answer_error(service_job_t *job, tr_status status, const char *text)
{
    tr_message_destroy(&job->reply);
    job->reply = tr_message_about("error", job->id);
    tr_message_set_error(job->reply, tr_status_name(status), text);
    job->status = status;
}

/// NULL: not served here.
static const tr_method_t *find_method(const service_jobs_t *jobs, const char *name)
{
    for (size_t i = 0; i < jobs->method_count; i++) {
        if (strcmp(jobs->methods[i].name, name) == 0) {
            return &jobs->methods[i];
        }
    }
    return NULL;
}

/// A reply that cannot be packed (a NaN in its body, too long) becomes an error with that sentence.
/// Found here, because a failed send would be taken for a lost message and repeated.
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

/// Fills job->reply, with an answer or an error. Handlers of other ranks run at the same time.
static void compute_request(const service_jobs_t *jobs, service_job_t *job)
{
    const tr_method_t *method = find_method(jobs, tr_message_method(job->request));
    tr_error_t *err = &job->err;
    if (method == NULL || !jobs->ready) {
        // Handlers rely on what the welcome made.
        tr_fail(err, method == NULL ? TR_ERR_UNSUPPORTED : TR_ERR_PROTOCOL, "method '%.100s' %s",
                tr_message_method(job->request),
                method == NULL ? "is not served here" : "was asked for before a welcome succeeded");
        answer_error(job, err->status, err->text);
        return;
    }
    // Made before the handler runs: it fills body and tensors.
    job->reply = tr_message_about("reply", job->id);
    job->status = service_ranks_forward(jobs->collective, job->request, err);
    if (job->status == TR_OK) {
        job->status = method->handle(jobs->context, job->request, job->reply, err);
        // Ranks that ended differently have different states, so the group cannot go on.
        service_ranks_agree(jobs->collective, job->status, err);
    }
    if (job->status != TR_OK) {
        answer_error(job, job->status, err->text);
    } else {
        check_packs(job);
    }
}

/// A config that is not a map counts as an empty one: the daemon names the key that it misses.
static void compute_welcome(service_jobs_t *jobs, service_job_t *job)
{
    TR_ASSERT(jobs->welcome != NULL, "a welcome that nobody takes");
    jobs->ready = false;
    job->status = service_ranks_forward(jobs->collective, job->request, &job->err);
    if (job->status != TR_OK) {
        return;
    }
    json_t *config = json_object_get(tr_message_body(job->request), "config");
    json_t *empty = json_object();
    job->status = jobs->welcome(jobs->context, json_is_object(config) ? config : empty, &job->err);
    service_ranks_agree(jobs->collective, job->status, &job->err);
    jobs->ready = job->status == TR_OK;
    json_decref(empty);
}

/// A job without an id is a welcome.
static void compute(service_jobs_t *jobs, service_job_t *job)
{
    if (job->id > 0) {
        compute_request(jobs, job);
    } else {
        compute_welcome(jobs, job);
    }
}

/// The handlers' thread, until it gets NULL.
static void *compute_jobs(void *argument)
{
    service_jobs_t *jobs = argument;
    int socket = jobs->other_socket;
    for (service_job_t *job = take_over(socket); job != NULL; job = take_over(socket)) {
        compute(jobs, job);
        hand_over(socket, job);
    }
    return NULL;
}

// On the other ranks

/// No thread and no list: this rank has no socket to serve while it computes.
tr_status service_jobs_follow(service_jobs_t *jobs, tr_error_t *err)
{
    jobs->ready = jobs->welcome == NULL;
    tr_log(TR_LOG_INFO, "ranks", "rank=%zu of=%zu by=%s \"follows rank 0\"", jobs->collective->rank,
           jobs->collective->size, jobs->collective->ops->name);
    for (;;) {
        service_job_t job = {0};
        tr_status status = service_ranks_receive(&job.request, jobs->collective, err);
        if (status != TR_OK || job.request == NULL) {
            return status;
        }
        job.id = tr_message_id(job.request);
        compute(jobs, &job);
        tr_message_destroy(&job.request);
        tr_message_destroy(&job.reply);
        // A failed request is an ordinary answer; a failed welcome leaves nothing to work with.
        if (job.id == 0 && job.status != TR_OK) {
            *err = job.err;
            return job.status;
        }
    }
}

// On the service's thread

/// The sockets first: the thread reads from one as soon as it runs.
tr_status service_jobs_start(service_jobs_t *jobs, tr_error_t *err)
{
    // Packets keep pointers whole, where a stream might deliver a part of one.
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        return tr_fail(err, TR_ERR_IO, "no sockets for the handlers: %s", strerror(errno));
    }
    jobs->socket = pair[0];
    jobs->other_socket = pair[1];
    jobs->ready = jobs->welcome == NULL;
    // With the caller's mask of signals; a handler for them is safe on any thread.
    int code = pthread_create(&jobs->thread, NULL, compute_jobs, jobs);
    if (code != 0) {
        close(pair[0]);
        close(pair[1]);
        return tr_fail(err, TR_ERR_MEMORY, "no thread for the handlers: %s", strerror(code));
    }
    return TR_OK;
}

/// Called once the loop has ended; a request that is computed is waited for, however long it takes.
void service_jobs_end(service_jobs_t *jobs)
{
    if (jobs->computing != NULL) {
        // A forgotten job is in no list any more; the others are freed below.
        take_over(jobs->socket);
        if (jobs->computing->forgotten) {
            job_destroy(jobs->computing);
        }
        jobs->computing = NULL;
    }
    // The thread is idle now and ends at once.
    hand_over(jobs->socket, NULL);
    pthread_join(jobs->thread, NULL);
    close(jobs->socket);
    close(jobs->other_socket);
    service_jobs_forget(jobs);
}

/// NULL: never seen, or confirmed and forgotten. Welcomes have id 0, which no request has.
service_job_t *service_jobs_find(const service_jobs_t *jobs, int64_t id)
{
    service_job_t *job = jobs->first;
    while (job != NULL && job->id != id) {
        job = job->next;
    }
    return job;
}

/// How many jobs are in this state. *oldest: the first of them, or NULL.
static size_t count_state(const service_jobs_t *jobs, service_job_state_t state,
                          service_job_t **oldest)
{
    size_t count = 0;
    *oldest = NULL;
    // Short lists: some requests that wait and some answers.
    for (service_job_t *job = jobs->first; job != NULL; job = job->next) {
        if (job->state == state) {
            *oldest = count++ == 0 ? job : *oldest;
        }
    }
    return count;
}

/// Looks for the limits first; *message stays the caller's when it is refused.
service_job_t *service_jobs_add(service_jobs_t *jobs, tr_message_t **message)
{
    service_job_t *oldest;
    if (count_state(jobs, SERVICE_WAITING, &oldest) >= WAITING_MAX) {
        return NULL;
    }
    if (count_state(jobs, SERVICE_ANSWERED, &oldest) >= ANSWERED_MAX) { // its `done` got lost
        service_jobs_remove(jobs, oldest->id);
    }
    service_job_t *job = tr_calloc(1, sizeof *job);
    job->id = tr_message_id(*message);
    job->request = *message;
    *message = NULL;
    // At the end: requests run in order of arrival.
    service_job_t **end = &jobs->first;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    // The state is WAITING, which is 0.
    *end = job;
    return job;
}

/// The job is in the list.
static void unlink_job(service_jobs_t *jobs, service_job_t *job)
{
    // By the address of the link, so that the first job is no special case.
    service_job_t **link = &jobs->first;
    while (*link != job) {
        link = &(*link)->next;
    }
    *link = job->next;
}

/// A `done` may come twice, or for a job of an earlier session.
void service_jobs_remove(service_jobs_t *jobs, int64_t id)
{
    service_job_t *job = service_jobs_find(jobs, id);
    if (job == NULL || job->state != SERVICE_ANSWERED) {
        return;
    }
    unlink_job(jobs, job);
    job_destroy(job);
}

/// Their answers would go to a controller that has not asked.
void service_jobs_forget(service_jobs_t *jobs)
{
    while (jobs->first != NULL) {
        service_job_t *job = jobs->first;
        unlink_job(jobs, job);
        if (job == jobs->computing) {
            job->forgotten = true; // the thread has it; it is freed when it comes back
        } else {
            job_destroy(job);
        }
    }
}

/// One at a time: a handler computes with all threads that the worker has, and handlers need no
/// locks.
void service_jobs_advance(service_jobs_t *jobs)
{
    service_job_t *next;
    if (jobs->computing == NULL && count_state(jobs, SERVICE_WAITING, &next) > 0) {
        next->state = SERVICE_COMPUTING;
        jobs->computing = next;
        hand_over(jobs->socket, next);
    }
}

/// Called when the socket is readable, so it does not wait.
service_job_t *service_jobs_finished(service_jobs_t *jobs)
{
    service_job_t *job = take_over(jobs->socket);
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
