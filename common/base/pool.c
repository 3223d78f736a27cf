#include "common/base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/base/status.h"

enum { SPINS = 2000 }; // microseconds: a kernel follows the last one sooner than a sleeper wakes

/// A pool's gate: how many workers are in the round (low half), whether more may join, and the number
/// of the round. The caller waits for those who joined, not for those whom the system has not run yet:
/// on a busy machine that would cost a time slice a round.
#define GATE_OPEN ((uint64_t)1 << 16)
#define GATE_INSIDE (GATE_OPEN - 1)
#define GATE_ROUND ((uint64_t)1 << 17)

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
    atomic_size_t next; // the first index that nobody took
    _Atomic uint64_t gate;
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

static uint64_t round_of(tr_pool_t *pool)
{
    return atomic_load(&pool->gate) / GATE_ROUND;
}

/// Returns the number of the round that followed round `seen`, or of a later one.
static uint64_t wait_for_round(tr_pool_t *pool, uint64_t seen)
{
    for (int spin = 0; spin < SPINS; spin++) {
        if (round_of(pool) != seen) {
            return round_of(pool);
        }
        relax();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (round_of(pool) == seen) {
        pthread_cond_wait(&pool->wake, &pool->mutex);
    }
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
    return round_of(pool);
}

/// False when round `number` is over.
static bool join_round(tr_pool_t *pool, uint64_t number)
{
    uint64_t gate = atomic_load(&pool->gate);
    while ((gate & GATE_OPEN) != 0 && gate / GATE_ROUND == number) {
        if (atomic_compare_exchange_weak(&pool->gate, &gate, gate + 1)) {
            return true;
        }
    }
    return false;
}

static void *work(void *argument)
{
    worker_t *worker = argument;
    tr_pool_t *pool = worker->pool;
    uint64_t seen = 0;
    for (;;) {
        seen = wait_for_round(pool, seen);
        if (atomic_load(&pool->stop)) {
            return NULL;
        }
        if (join_round(pool, seen)) {
            take_indices(pool, worker->number);
            atomic_fetch_sub(&pool->gate, 1);
        }
    }
}

size_t tr_pool_processors(void)
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
    pool->threads = threads == 0 ? tr_pool_processors() : threads;
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

/// Nobody is inside.
static void start_round(tr_pool_t *pool)
{
    atomic_store(&pool->gate, (round_of(pool) + 1) * GATE_ROUND + GATE_OPEN);
    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
    }
}

/// Lets nobody in any more and waits for those inside.
static void end_round(tr_pool_t *pool)
{
    atomic_fetch_and(&pool->gate, ~GATE_OPEN);
    for (int spin = 0; (atomic_load(&pool->gate) & GATE_INSIDE) > 0; spin++) {
        if (spin < SPINS) {
            relax();
        } else {
            sched_yield();
        }
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
    start_round(pool);
    take_indices(pool, 0);
    end_round(pool);
}
