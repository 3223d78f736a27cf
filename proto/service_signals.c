// Signals become a byte in a pipe, which the loop of service.c polls, and a flag, which handlers of
// requests ask for.
//
// Separate from service.c because signal handlers reach nothing but static variables, and those are
// kept in one place. Only functions that are safe in a signal handler are called there.
#include "proto/service_signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "proto/service.h"

// The state of the process, not of a service.
static atomic_bool stopping;
static atomic_int interrupts;
static int wake[2] = {-1, -1};
static struct sigaction former[2]; // of caught
static const int caught[2] = {SIGTERM, SIGINT};

/// Sets a flag, wakes the loop, and nothing else: a signal handler may interrupt malloc.
static void on_signal(int number)
{
    int saved = errno;
    // The first Ctrl-C lets the request at hand finish, which may take minutes; the second does
    // not.
    if (number == SIGINT && atomic_fetch_add(&interrupts, 1) > 0) {
        _exit(130);
    }
    atomic_store(&stopping, true);
    if (write(wake[1], "!", 1) < 0) { // the pipe is full, which wakes the loop as well
    }
    errno = saved;
}

/// The state begins anew, for a process that runs one service after another.
tr_status service_signals_catch(int *readable, tr_error_t *err)
{
    struct sigaction action = {.sa_handler = on_signal};
    atomic_store(&stopping, false);
    atomic_store(&interrupts, 0);
    // Non-blocking: the signal handler must never wait. Closed on exec: judges that we start get
    // none.
    if (pipe2(wake, O_CLOEXEC | O_NONBLOCK) != 0) {
        return tr_fail(err, TR_ERR_IO, "no pipe for signals: %s", strerror(errno));
    }
    for (size_t i = 0; i < 2; i++) {
        sigaction(caught[i], &action, &former[i]);
    }
    *readable = wake[0];
    return TR_OK;
}

/// The pipe is closed last: until then a late signal may still write to it.
void service_signals_release(void)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGTERM, &ignore, NULL);
    sigaction(SIGINT, &former[1], NULL);
    close(wake[0]);
    close(wake[1]);
}

void service_signals_stop(void)
{
    atomic_store(&stopping, true);
}

bool tr_service_stopping(void)
{
    return atomic_load(&stopping);
}
