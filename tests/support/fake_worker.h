/// Workers in threads of the test: they register with a broker of this process and answer as the
/// test says.
///
/// A real service catches signals for its process, so there can be one a process; these can be
/// many, and lie, fall silent, die and come back. Every failure fails the Criterion test.
#ifndef TESTS_SUPPORT_FAKE_WORKER_H
#define TESTS_SUPPORT_FAKE_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "proto/broker.h"

typedef enum fake_act {
    FAKE_REPLY,  ///< the message that was filled
    FAKE_ERROR,  ///< the same, whose body came from tr_message_set_error
    FAKE_SILENT, ///< nothing: as if it had hung
    FAKE_DIE     ///< the process is gone; another comes under the same name
} fake_act_t;

/// On the worker's thread. nth: requests it got before, over all its lives.
typedef fake_act_t (*fake_answer_fn)(void *context, size_t nth, const tr_message_t *request,
                                     tr_message_t *reply);

typedef struct fake_worker {
    tr_role_t role;
    const char *name;
    const char *group;
    fake_answer_fn answer;
    void *context;
    size_t
        hold; ///< gathers so many requests, then answers them in reverse; 0: answers each at once
    size_t credit; ///< requests at a time; 0: more than it holds

    // The thread's:
    const char *endpoint;
    pthread_t thread;
    atomic_bool stop;
    atomic_size_t requests; ///< so far
} fake_worker_t;

/// worker: filled down to `credit`; stays where it is until fake_stop.
void fake_start(fake_worker_t *worker, const char *endpoint);
void fake_stop(fake_worker_t *worker);

#endif
