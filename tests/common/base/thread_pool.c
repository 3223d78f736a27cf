/// A pool runs each index once, whatever the number of threads, and its caller sees the writes of
/// all threads. A plain main, which also runs under the thread sanitizer.
#include <stdio.h>
#include <stdlib.h>

#include "common/base/pool.h"
#include "common/base/status.h"

enum { INDICES = 500, ROUNDS = 200 };

typedef struct tally {
    size_t visits[INDICES];
    size_t by_thread[4];
} tally_t;

static void visit(void *context, size_t i, size_t thread)
{
    tally_t *tally = context;
    tally->visits[i]++;
    tally->by_thread[thread]++;
}

static void check(size_t threads)
{
    tally_t *tally = tr_calloc(1, sizeof *tally);
    tr_pool_t *pool = tr_pool_new(threads);
    for (size_t round = 1; round <= ROUNDS; round++) {
        tr_pool_run(pool, INDICES, visit, tally);
        for (size_t i = 0; i < INDICES; i++) {
            TR_ASSERT(tally->visits[i] == round, "index %zu: %zu visits in %zu rounds", i,
                      tally->visits[i], round);
        }
    }
    size_t sum = 0;
    for (size_t thread = 0; thread < threads; thread++) {
        sum += tally->by_thread[thread];
    }
    TR_ASSERT(sum == (size_t)INDICES * ROUNDS, "%zu visits", sum);
    tr_pool_destroy(&pool);
    TR_ASSERT(pool == NULL, "destroy leaves a pointer");
    free(tally);
}

int main(void)
{
    for (size_t threads = 1; threads <= 4; threads++) {
        check(threads);
    }
    puts("pools of 1 to 4 threads visited each index once a round");
    return 0;
}
