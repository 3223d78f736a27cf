/// Time for measuring and for deadlines. Nothing that decides a result may look at it.
#ifndef TR_BASE_CLOCK_H
#define TR_BASE_CLOCK_H

#include <stdint.h>

/// Seconds since an arbitrary start, monotonic.
double tr_clock_seconds(void);

/// Milliseconds since an arbitrary start, monotonic.
int64_t tr_clock_ms(void);

/// Seconds since 1970, for time stamps that people and TensorBoard read.
double tr_clock_wall(void);

#endif
