/// The requests of a service: those that wait, the one that is computed on the handlers' thread,
/// and those that were answered and are kept until the controller says `done`. For service.c.
#ifndef TR_PROTO_SERVICE_JOBS_H
#define TR_PROTO_SERVICE_JOBS_H

#include <pthread.h>

#include "proto/service.h"

typedef enum service_job_state {
    SERVICE_WAITING,
    SERVICE_COMPUTING,
    SERVICE_ANSWERED
} service_job_state_t;

/// A request, or a welcome (id 0), whose config the daemon gets before any request.
typedef struct service_job {
    int64_t id;
    service_job_state_t state;
    tr_message_t *request;
    tr_message_t *reply; ///< "reply" or "error", with the id; NULL until answered
    tr_status status;    ///< of the handler
    tr_error_t err;
    bool forgotten; ///< its session ended while it was computed
    struct service_job *next;
} service_job_t;

typedef struct service_jobs {
    const tr_method_t *methods;
    size_t method_count;
    tr_welcome_fn welcome;
    void *context;
    tr_collective_t *collective; ///< ranks that run each job together; NULL: one process
    pthread_t thread;
    bool ready;               ///< the last welcome succeeded, or there is none; the thread's own
    int socket;               ///< the service's end: readable when a job is finished
    int other_socket;         ///< the thread's end
    service_job_t *first;     ///< in order of arrival
    service_job_t *computing; ///< that the thread has; NULL: it is idle
} service_jobs_t;

/// Starts the handlers' thread. jobs: filled with methods, welcome, context and collective, the
/// rest zero; must not move until service_jobs_end.
tr_status service_jobs_start(service_jobs_t *jobs, tr_error_t *err);
/// Waits for the handler that runs, then ends the thread and frees all jobs.
void service_jobs_end(service_jobs_t *jobs);

/// On ranks other than 0, instead of start: runs on the calling thread what rank 0 forwards, and
/// drops the replies. Returns when rank 0 is done, or with a welcome's failure, which rank 0 has
/// too.
tr_status service_jobs_follow(service_jobs_t *jobs, tr_error_t *err);

service_job_t *service_jobs_find(const service_jobs_t *jobs, int64_t id);
/// Takes *message. NULL when too many wait already.
service_job_t *service_jobs_add(service_jobs_t *jobs, tr_message_t **message);
/// Frees an answered job; does nothing for any other.
void service_jobs_remove(service_jobs_t *jobs, int64_t id);
/// Drops all jobs: another session began, or the worker withdraws. The one that is computed is
/// freed when it comes back.
void service_jobs_forget(service_jobs_t *jobs);

/// Gives the handlers' thread the next waiting job, when it is idle.
void service_jobs_advance(service_jobs_t *jobs);
/// The job that the thread just finished, now ANSWERED; NULL when it was forgotten meanwhile (and
/// is freed). A welcome's job must be removed by the caller.
service_job_t *service_jobs_finished(service_jobs_t *jobs);

#endif
