#include "common/base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "common/base/status.h"

enum { SPINS = 2000 }; // microseconds: a kernel follows the last one sooner than a sleeper wakes

typedef struct worker {
    tr_pool_t *pool;
    size_t number;
    pthread_t thread;
} worker_t;

struct tr_pool {
    size_t threads;
    worker_t *workers; // [threads - 1]
    void (*fn)(void *, size_t, size_t);
    void *context;
    size_t n;
    atomic_size_t next;       // the first index that nobody took
    atomic_size_t running;    // workers that have not finished this round
    atomic_size_t generation; // counts rounds; workers wait for it to move
    atomic_bool stop;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    atomic_size_t sleepers;
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void take_indices(tr_pool_t *pool, size_t thread)
{
    for (;;) {
        size_t i = atomic_fetch_add(&pool->next, 1);
        if (i >= pool->n) {
            return;
        }
        pool->fn(pool->context, i, thread);
    }
}

static void wait_for_round(tr_pool_t *pool, size_t seen)
{
    for (int spin = 0; spin < SPINS; spin++) {
        if (atomic_load(&pool->generation) != seen) {
            return;
        }
        relax();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(&pool->generation) == seen) {
        pthread_cond_wait(&pool->wake, &pool->mutex);
    }
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
}

static void *work(void *argument)
{
    worker_t *worker = argument;
    tr_pool_t *pool = worker->pool;
    size_t seen = 0;
    for (;;) {
        wait_for_round(pool, seen);
        seen++;
        if (atomic_load(&pool->stop)) {
            return NULL;
        }
        take_indices(pool, worker->number);
        atomic_fetch_sub(&pool->running, 1);
    }
}

static size_t processors(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        return 1;
    }
    int count = CPU_COUNT(&set);
    return count < 1 ? 1 : (size_t)count;
}

tr_pool_t *tr_pool_new(size_t threads)
{
    tr_pool_t *pool = tr_calloc(1, sizeof *pool);
    pool->threads = threads == 0 ? processors() : threads;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->workers = tr_calloc(pool->threads, sizeof *pool->workers);
    for (size_t i = 0; i + 1 < pool->threads; i++) {
        pool->workers[i] = (worker_t){.pool = pool, .number = i + 1};
        int failed = pthread_create(&pool->workers[i].thread, NULL, work, &pool->workers[i]);
        TR_ASSERT(failed == 0, "thread %zu of %zu could not be started: error %d", i + 1,
                  pool->threads, failed);
    }
    return pool;
}

static void start_round(tr_pool_t *pool)
{
    atomic_fetch_add(&pool->generation, 1);
    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
    }
}

void tr_pool_destroy(tr_pool_t **self)
{
    tr_pool_t *pool = *self;
    if (pool == NULL) {
        return;
    }
    atomic_store(&pool->stop, 1);
    start_round(pool);
    for (size_t i = 0; i + 1 < pool->threads; i++) {
        pthread_join(pool->workers[i].thread, NULL);
    }
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->workers);
    free(pool);
    *self = NULL;
}

size_t tr_pool_threads(const tr_pool_t *pool)
{
    return pool->threads;
}

void tr_pool_run(tr_pool_t *pool, size_t n, void (*fn)(void *context, size_t i, size_t thread),
                 void *context)
{
    if (pool->threads == 1 || n == 1) {
        for (size_t i = 0; i < n; i++) {
            fn(context, i, 0);
        }
        return;
    }
    pool->fn = fn;
    pool->context = context;
    pool->n = n;
    atomic_store(&pool->next, 0);
    atomic_store(&pool->running, pool->threads - 1);
    start_round(pool);
    take_indices(pool, 0);
    for (int spin = 0; atomic_load(&pool->running) > 0; spin++) {
        if (spin < SPINS) {
            relax();
        } else {
            sched_yield();
        }
    }
}
