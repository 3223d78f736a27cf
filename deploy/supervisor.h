/// A group of processes on this machine: one leader that decides, and workers that must live as
/// long as it does.
///
/// The leader (the controller) starts first and writes its endpoint to a file `endpoint`; then the
/// workers start, with its content as TROUPE_ENDPOINT. A worker that ends starts again; the leader
/// does not. When the leader ends, all end.
///
/// A worker that hangs is the leader's to notice: it writes lines "SECONDS NAME" to the descriptor
/// whose number is in its environment as TROUPE_SUPERVISOR. The worker of this name, or the workers
/// of this group, that have run for so long are killed, and start again. The supervisor knows no
/// recipe and no protocol: who is to run, with which arguments, stands in the plan
/// (deploy/process_group.h makes it).
#ifndef DEPLOY_SUPERVISOR_H
#define DEPLOY_SUPERVISOR_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"

/// The exit code after max_s; EX_TEMPFAIL of sysexits.h: try again.
enum { SUPERVISOR_TIME_OVER = 75 };

/// A program to run. Lists end with NULL.
typedef struct supervisor_process {
    char *name;         ///< unique in the plan; its output is added to logs/NAME.log
    char **argv;        ///< found by PATH when argv[0] has no slash
    char **environment; ///< over ours: "NAME=VALUE" sets, "NAME" removes
    const char *group;  ///< of a worker: those that can take its place; NULL: none
} supervisor_process_t;

/// Called once, when the workers have started.
typedef void (*supervisor_ready_fn)(void *context, const char *endpoint);

/// Everything is borrowed for supervisor_run.
typedef struct supervisor_plan {
    supervisor_process_t leader;   ///< its standard output is ours
    supervisor_process_t *workers; ///< [worker_count]
    size_t worker_count;
    const char *counters;  ///< of the kernel, /proc/vmstat: whether memory has run out
    const char *directory; ///< exists, with logs/ in it; logs/supervisor.log says who ended how
    supervisor_ready_fn on_ready; ///< or NULL
    void *context;
    bool *began; ///< written: true once the leader was ready and workers started; or NULL

    // Seconds, and their defaults.
    double ready_s; ///< until the file is there; 120 (a large data set takes a while to tokenize)
    double max_s;   ///< from the start until the leader is asked to end; none
    double stop_s;  ///< from a signal until the leader is killed; none, for a step may take long
    double end_s;   ///< from SIGTERM to SIGKILL at the end; 5
    double quick_s; ///< a worker that ends earlier than this after its start failed quickly; 5
    double first_pause;   ///< before a worker starts again; doubles at each quick failure; 0.1
    double longest_pause; ///< 5
    size_t quick_limit;   ///< quick failures in a row that end the run; 5
} supervisor_plan_t;

/// The defaults; nobody to run.
void supervisor_plan_init(supervisor_plan_t *plan);

/// Runs the plan to its end; no process of it is alive afterwards. *exit_code: what this process
/// should exit with.
///
/// TR_OK when the leader exited with 0. TR_ERR_INTERRUPTED when SIGINT, SIGTERM or SIGHUP stopped
/// the run, or max_s was over (exit code SUPERVISOR_TIME_OVER): the leader got SIGTERM and time to
/// finish. A further signal is handed on as SIGTERM, but SIGINT kills all at once, with exit code
/// 130.
/// Otherwise a failure: the leader's own exit code with the last sentence of its log, or a worker
/// that kept failing, or a leader that was not ready in time. For a process with one thread: it
/// blocks signals for the call.
tr_status supervisor_run(int *exit_code, const supervisor_plan_t *plan, tr_error_t *err);

#endif
