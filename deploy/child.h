/// One child process of the supervisor: a group of its own, its output in a log, its end put into
/// words.
///
/// Only the supervisor calls this. A child dies with its parent (SIGTERM by PR_SET_PDEATHSIG), and
/// what it started dies with it: signals go to its whole group.
#ifndef DEPLOY_CHILD_H
#define DEPLOY_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/base/status.h"
#include "deploy/supervisor.h"

enum { CHILD_ENDING = 160 }; ///< bytes of an end in words

typedef struct child {
    const supervisor_process_t *process; ///< what it runs; borrowed
    const char *counters;                ///< the plan's
    char *log;                           ///< directory/logs/NAME.log
    pid_t pid;                           ///< 0 while it does not run
    int pidfd;                           ///< readable once it has ended; -1 while it does not run
    double started;                      ///< tr_clock_seconds
    bool killed;                         ///< we sent it SIGKILL
    unsigned long long memory_kills;     ///< machine_memory_kills when it started
    off_t log_start;                     ///< where the output of this start begins in its log
} child_t;

/// plan: the one that process belongs to; both are borrowed.
void child_init(child_t *child, const supervisor_process_t *process, const supervisor_plan_t *plan);

/// The child must not run.
void child_release(child_t *child);

/// Starts it. endpoint: its TROUPE_ENDPOINT, or NULL: it is the leader, whose standard output is
/// ours and not the log, and which may write to the descriptor `reports`. A program that cannot be
/// executed is no failure here: the child says so in its log and exits with 127.
tr_status child_start(child_t *child, const char *endpoint, int reports, tr_error_t *err);

/// To its group; nothing happens when it does not run.
void child_signal(child_t *child, int signal);

/// True when it has ended: then it and what is left of its group are gone, *how is its wait status.
bool child_reap(int *how, child_t *child);

/// One line in supervisor.log about a process.
void child_note(int log, const child_t *child, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/// "exited with code 3", "was killed by SIGSEGV" in out, which is returned; and whether memory ran
/// out, where that can be known.
const char *child_ending(char out[CHILD_ENDING], const child_t *child, int how);

/// "the end of 'LOG': its last line". Owned by the caller (free).
char *child_last_words(const child_t *child);

/// The last line that it wrote to its log since its start and that begins with prefix, without the
/// prefix; else the last line that is not blank; NULL when there is none. Owned by the caller
/// (free).
char *child_last_line(const child_t *child, const char *prefix);

#endif
