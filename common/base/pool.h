/// A team of threads for data-parallel loops.
///
/// tr_pool_run(pool, n, fn, context) calls fn(context, i) once for each i in 0..n-1, on the
/// caller's thread and the team's, and returns when all are done. Which thread takes which i is not
/// defined, so fn(i) must write only what belongs to i: then no result depends on the number of
/// threads. One thread calls run at a time.
#ifndef TR_BASE_POOL_H
#define TR_BASE_POOL_H

#include <stddef.h>

typedef struct tr_pool tr_pool_t;

/// threads >= 1, the caller's included; 0 means one per processor that this process may use.
tr_pool_t *tr_pool_new(size_t threads);
void tr_pool_destroy(tr_pool_t **pool);

/// How many processors this process may use; at least 1.
size_t tr_pool_processors(void);

/// fn's second argument is the index i, its third the number of the thread (0..threads-1), for
/// scratch memory.
void tr_pool_run(tr_pool_t *pool, size_t n, void (*fn)(void *context, size_t i, size_t thread),
                 void *context);

#endif
