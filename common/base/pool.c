/// A team of threads that runs loops of the CPU kernels: one caller, who works too, and threads - 1
/// workers.
///
/// A call of tr_pool_run is a round. The caller publishes the loop, opens the round, takes indices
/// like the workers, closes the round and waits for the workers that joined it. Kernels follow
/// each other within microseconds, so workers spin a while before they sleep, and a worker that the
/// system has not scheduled in time misses the round without delaying it. All of the
/// synchronisation of the CPU backend is in this file; kernels have none.
#include "common/base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/base/status.h"

enum { SPINS = 2000 }; // polls before a worker sleeps or the caller yields: some microseconds

/// The state of a round in one word, so that a worker can check it and join it in one
/// compare-and-swap:
///
///     bits 0..15   workers inside
///     bit 16       open: workers may still join
///     bits 17..    number of the round
///
/// The caller waits for the workers inside, not for all workers. On a busy machine a worker may be
/// off the processor for a whole time slice, which is longer than most rounds.
#define GATE_OPEN ((uint64_t)1 << 16)
#define GATE_INSIDE (GATE_OPEN - 1)
#define GATE_ROUND ((uint64_t)1 << 17)

typedef struct worker {
    tr_pool_t *pool;
    size_t number; // of the thread, as fn gets it; the caller is 0
    pthread_t thread;
} worker_t;

struct tr_pool {
    size_t threads;
    worker_t *workers; // [threads - 1]
    // The loop of the round. Plain fields: the caller writes them only while nobody is inside, and
    // a worker reads them only after it has joined, which orders the reads after the writes.
    void (*fn)(void *, size_t, size_t);
    void *context;
    size_t n;
    atomic_size_t next; // the lowest index that no thread has taken
    _Atomic uint64_t gate;
    atomic_bool stop; // set before the last round: workers return
    // For workers that sleep between rounds.
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    atomic_size_t sleepers;
};

/// Tells the processor that this is a spin loop: it saves power and leaves the core to the sibling
/// thread.
static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/// Runs fn on indices until none is left. `next` may run past n, by one for each thread.
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

/// Waits until a round after `seen` has started; returns its number, or that of a later one.
static uint64_t wait_for_round(tr_pool_t *pool, uint64_t seen)
{
    for (int spin = 0; spin < SPINS; spin++) {
        if (round_of(pool) != seen) {
            return round_of(pool);
        }
        relax();
    }
    // No wake-up is lost. The worker counts itself as a sleeper and then reads the gate;
    // start_round writes the gate and then reads the number of sleepers. Both are sequentially
    // consistent, so at least one of them sees the other: the worker does not sleep, or start_round
    // broadcasts, for which it must wait until the worker is in pthread_cond_wait.
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (round_of(pool) == seen) {
        pthread_cond_wait(&pool->wake, &pool->mutex);
    }
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
    return round_of(pool);
}

/// Enters round `number`. False when it is closed or over: its fn and context may be gone.
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

/// The life of a worker. It skips rounds that it missed.
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

/// Respects taskset, cgroup cpusets and what Slurm or mpirun bound the process to; the number of
/// online processors would not.
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
    // One more than needed, so that a pool of one thread allocates too.
    for (size_t i = 0; i + 1 < pool->threads; i++) {
        pool->workers[i] = (worker_t){.pool = pool, .number = i + 1};
        int failed = pthread_create(&pool->workers[i].thread, NULL, work, &pool->workers[i]);
        TR_ASSERT(failed == 0, "thread %zu of %zu could not be started: error %d", i + 1,
                  pool->threads, failed);
    }
    return pool;
}

/// Opens the next round. Nobody is inside, so the plain fields of the loop have been written
/// safely.
static void start_round(tr_pool_t *pool)
{
    atomic_store(&pool->gate, (round_of(pool) + 1) * GATE_ROUND + GATE_OPEN);
    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
    }
}

/// Closes the round, so that no worker joins any more, and waits for those inside.
static void end_round(tr_pool_t *pool)
{
    atomic_fetch_and(&pool->gate, ~GATE_OPEN);
    // Usually a few polls: all run the last indices. After that the caller yields its processor, in
    // case a worker inside needs it to go on.
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
    // The last round has no loop. It only wakes the workers, who see `stop` and return before they
    // join.
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

void tr_pool_run(tr_pool_t *pool, size_t n, void (*fn)(void *context, size_t i, size_t thread),
                 void *context)
{
    // Without waking a worker it is faster, and with one thread the order of indices is the plain
    // one.
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
