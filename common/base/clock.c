/// The clocks of the process. A file of its own so that a search for its three names finds every
/// use of time: results must not depend on it (clock.h).
#include "common/base/clock.h"

#include <time.h>

/// A double resolves a time since 1970 to a quarter of a microsecond, one since boot much finer.
static double seconds(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/// Never set back, unlike the wall clock: a difference of two is a duration.
double tr_clock_seconds(void)
{
    return seconds(CLOCK_MONOTONIC);
}

/// Integer arithmetic: deadlines are compared with poll's timeouts, which are whole milliseconds.
int64_t tr_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

double tr_clock_wall(void)
{
    return seconds(CLOCK_REALTIME);
}
