// The supervisor: runs a leader and its workers on this machine until the leader ends.
//
// One thread and one poll over signals (signalfd), changes of the run directory (inotify) and the
// end of each process (pidfd): no handler, no race between a signal and a wait. It knows no recipe
// and no protocol; process_group.c makes the plan, child.c starts and reaps one process.
//
// Phases go one way: STARTING, WATCHING, STOPPING, ENDING; a failure goes to ENDING from any of
// them.
#include "deploy/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "deploy/child.h"

/// KILLED_CODE: 128 and the number of SIGINT, as shells have it.
enum { ENDPOINT_LIMIT = 4096, OTHERS = 4, KILLED_CODE = 130 };

typedef enum phase {
    STARTING, ///< the leader runs, its file is not there yet
    WATCHING, ///< all run
    STOPPING, ///< a signal came; the leader was asked to end
    ENDING    ///< all were asked to end
} phase_t;

/// Workers that fail quickly, several times in a row, end the run: the cause is then in what they
/// were given (a model that is not there, no memory), and another start does not mend it. One that
/// ran for a while is started again, as often as it ends.
typedef struct worker {
    child_t child;
    double due; ///< when to start again; INFINITY while it runs
    double pause;
    size_t quick; ///< quick failures in a row
    int told;     ///< the wait status that the terminal was told last; 0: none
    bool mute;    ///< killed because the leader heard nothing of it
} worker_t;

typedef struct supervisor {
    const supervisor_plan_t *plan;
    phase_t phase;
    double deadline; ///< of the phase, tr_clock_seconds; INFINITY: none
    child_t leader;
    worker_t *workers; // [plan->worker_count]
    struct pollfd
        *polls;     // [OTHERS + plan->worker_count]: signals, changes, reports, leader, workers
    int signals;    ///< signalfd
    int changes;    ///< inotify on the directory of the ready file
    int reports[2]; ///< a pipe from the leader
    int log;        ///< supervisor.log
    sigset_t former;
    char *ready; ///< the file that the leader writes
    char *endpoint;
    int stopped_by; ///< the signal that began STOPPING; 0: plan->max_s was over
    double began;
    bool settled; ///< status, exit_code and err are final: the first cause counts
    tr_status status;
    int exit_code;
    tr_error_t *err;
} supervisor_t;

/// Tests set shorter times.
void supervisor_plan_init(supervisor_plan_t *plan)
{
    *plan = (supervisor_plan_t){
        .counters = "/proc/vmstat",
        .ready_s = 120.0,
        .max_s = INFINITY,
        .stop_s = INFINITY,
        .end_s = 5.0,
        .quick_s = 5.0,
        .first_pause = 0.1,
        .longest_pause = 5.0,
        .quick_limit = 5,
    };
}

// Phases

/// Sets the deadline of the phase; INFINITY: none.
static void enter(supervisor_t *s, phase_t phase, double seconds)
{
    s->phase = phase;
    s->deadline = tr_clock_seconds() + seconds;
}

/// To each process's whole group.
static void signal_all(supervisor_t *s, int signal)
{
    child_signal(&s->leader, signal);
    for (size_t i = 0; i < s->plan->worker_count; i++) {
        child_signal(&s->workers[i].child, signal);
    }
}

/// Idempotent: the first call sets the deadline.
static void end(supervisor_t *s)
{
    if (s->phase != ENDING) {
        enter(s, ENDING, s->plan->end_s);
        signal_all(s, SIGTERM);
    }
}

/// Not to be ignored by any process: the last resort of a second Ctrl-C or a passed deadline.
static void kill_all(supervisor_t *s)
{
    enter(s, ENDING, INFINITY);
    signal_all(s, SIGKILL);
}

/// Where the sentence of a failure goes; NULL once the first one was settled.
static tr_error_t *cause(const supervisor_t *s)
{
    return s->settled ? NULL : s->err;
}

/// The first cause decides exit code and sentence; whatever fails while the others end is a
/// consequence.
static void settle(supervisor_t *s, tr_status status, int exit_code)
{
    if (!s->settled) {
        s->settled = true;
        s->status = status;
        s->exit_code = exit_code;
    }
    end(s);
}

/// A failure of the supervisor's own: its exit code is the status's.
static void settle_failure(supervisor_t *s, tr_status status)
{
    settle(s, status, tr_status_exit_code(status));
}

/// Of a run that was asked to end.
static void settle_stopped(supervisor_t *s)
{
    if (s->stopped_by != 0) {
        tr_fail(cause(s), TR_ERR_INTERRUPTED, "stopped by SIG%s", sigabbrev_np(s->stopped_by));
        settle_failure(s, TR_ERR_INTERRUPTED);
    } else {
        tr_fail(cause(s), TR_ERR_INTERRUPTED, "the time of --max-time is over");
        settle(s, TR_ERR_INTERRUPTED, SUPERVISOR_TIME_OVER);
    }
}

// The leader

/// A leader that ends as it was asked to: killed by the signal, or with the exit code of an
/// interruption.
static bool stopped_as_asked(const supervisor_t *s, int how)
{
    int interrupted = tr_status_exit_code(TR_ERR_INTERRUPTED);
    return s->phase == STOPPING &&
           (WIFSIGNALED(how) || WEXITSTATUS(how) == 0 || WEXITSTATUS(how) == interrupted);
}

/// The sentence is the leader's own where it left one.
static void settle_leader_failure(supervisor_t *s, int how, const char *ending)
{
    // messages on standard error begin with the program's name, without its folder
    const char *program = strrchr(s->plan->leader.argv[0], '/');
    char *prefix = tr_format("%s: ", program != NULL ? program + 1 : s->plan->leader.argv[0]);
    // the controller's last line is its sentence, with its name before it
    char *sentence = child_last_line(&s->leader, prefix);
    if (WIFSIGNALED(how) || sentence == NULL) {
        char *words = child_last_words(&s->leader);
        tr_fail(cause(s), TR_ERR_PEER, "the %s %s; %s", s->plan->leader.name, ending, words);
        free(words);
    } else {
        tr_fail(cause(s), TR_ERR_PEER, "%s", sentence);
    }
    // its exit code becomes ours: 12 for memory, 19 for exactness, and so on
    settle(s, TR_ERR_PEER, WIFEXITED(how) ? WEXITSTATUS(how) : tr_status_exit_code(TR_ERR_PEER));
    free(sentence);
    free(prefix);
}

/// Three ways to end: as asked, done, failed.
static void take_leader_end(supervisor_t *s)
{
    int how;
    char ending[CHILD_ENDING];
    if (!child_reap(&how, &s->leader)) {
        return;
    }
    child_note(s->log, &s->leader, "%s", child_ending(ending, &s->leader, how));
    if (stopped_as_asked(s, how)) {
        settle_stopped(s);
    } else if (WIFEXITED(how) && WEXITSTATUS(how) == 0) {
        settle(s, TR_OK, 0);
    } else {
        settle_leader_failure(s, how, ending);
    }
}

// Workers

/// Failing to fork is a failure of this machine, which another try does not repair.
static void start_worker(supervisor_t *s, worker_t *worker)
{
    worker->due = INFINITY;
    worker->mute = false;
    if (child_start(&worker->child, s->endpoint, -1, cause(s)) != TR_OK) {
        settle_failure(s, TR_ERR_IO);
    }
}

/// The sentence names the worker and quotes its log: that is what a user sees.
static void give_up(supervisor_t *s, const worker_t *worker, const char *ending)
{
    char *words = child_last_words(&worker->child);
    tr_fail(cause(s), TR_ERR_PEER, "worker '%s' failed %zu times in a row: it %s; %s",
            worker->child.process->name, worker->quick, ending, words);
    free(words);
    child_note(s->log, &worker->child, "%s; given up after %zu quick failures", ending,
               worker->quick);
    settle_failure(s, TR_ERR_PEER);
}

/// On the terminal, in place of a line that the leader may have drawn there. Once for all endings
/// of one kind in a row; one that left in peace, as it was told, is no news.
static void tell(worker_t *worker, int how, const char *ending)
{
    if (how != 0 && how != worker->told) {
        char *words = child_last_words(&worker->child);
        fprintf(stderr, "%sworker '%s' %s, and starts again; %s\n",
                isatty(STDERR_FILENO) ? "\r\x1b[K" : "", worker->child.process->name, ending,
                words);
        free(words);
    }
    worker->told = how;
}

/// A worker that ran for a while starts again soon; one that fails at once waits longer each time.
static void start_again_later(const supervisor_t *s, worker_t *worker, const char *ending,
                              bool quick)
{
    worker->pause = !quick || worker->quick == 1
                        ? s->plan->first_pause
                        : fmin(2.0 * worker->pause, s->plan->longest_pause);
    worker->due = tr_clock_seconds() + worker->pause;
    child_note(s->log, &worker->child, "%s; starts again in %.1f s", ending, worker->pause);
}

/// While all is well a worker is started again; during the end it is only noted.
static void take_worker_end(supervisor_t *s, worker_t *worker)
{
    int how;
    char ending[CHILD_ENDING];
    if (!child_reap(&how, &worker->child)) {
        return;
    }
    child_ending(ending, &worker->child, how);
    if (worker->mute) {
        snprintf(ending, sizeof ending, "gave no sign of life and was killed");
    }
    // a failure long after the start is no sign that the next start fails
    bool quick = tr_clock_seconds() - worker->child.started < s->plan->quick_s;
    worker->quick = quick ? worker->quick + 1 : 0;
    // at the end workers are expected to leave
    if (s->phase != WATCHING) {
        child_note(s->log, &worker->child, "%s", ending);
    } else if (worker->quick >= s->plan->quick_limit) {
        give_up(s, worker, ending);
    } else {
        tell(worker, how, ending);
        start_again_later(s, worker, ending, quick);
    }
}

// What happens

/// The workers start once the leader's file is there.
static void take_ready_file(supervisor_t *s)
{
    char *text;
    size_t length;
    // Read anew at each change of the directory, whatever file it was.
    if (s->phase != STARTING ||
        // the file is written by rename, so it is there with its content or not at all
        tr_file_read(&text, &length, s->ready, ENDPOINT_LIMIT, NULL) != TR_OK) {
        return;
    }
    text[strcspn(text, "\r\n")] = '\0';
    // an empty file says no address yet
    if (text[0] == '\0') {
        free(text);
        return;
    }
    s->endpoint = text;
    enter(s, WATCHING, s->began + s->plan->max_s - tr_clock_seconds());
    if (s->plan->began != NULL) {
        *s->plan->began = true;
    }
    for (size_t i = 0; i < s->plan->worker_count && s->phase == WATCHING; i++) {
        start_worker(s, &s->workers[i]);
    }
    if (s->phase == WATCHING && s->plan->on_ready != NULL) {
        s->plan->on_ready(s->plan->context, s->endpoint);
    }
}

/// Asks the leader to end after what it is at. signal: that said so; 0: the time is over.
static void ask_to_end(supervisor_t *s, int signal)
{
    s->stopped_by = signal;
    enter(s, STOPPING, s->plan->stop_s);
    fprintf(stderr,
            "\n%s: the run ends after its step, with a checkpoint; Ctrl-C ends it at once\n",
            signal != 0 ? "stopping" : "the time of --max-time is over");
    // only the leader: it tells the workers, so that a step's messages are not lost half way
    child_signal(&s->leader, SIGTERM);
}

/// SIGINT, SIGTERM or SIGHUP. The terminal sends Ctrl-C to us alone (child.c).
static void take_signal(supervisor_t *s, int number)
{
    // the log names the signal: later it matters who stopped a run
    child_note(s->log, &s->leader, "is to end: SIG%s came", sigabbrev_np(number));
    if (s->phase == STARTING || s->phase == WATCHING) {
        ask_to_end(s, number);
    } else if (number == SIGINT) { // a second Ctrl-C: at once
        tr_fail(cause(s), TR_ERR_INTERRUPTED, "killed by a second SIGINT");
        settle(s, TR_ERR_INTERRUPTED, KILLED_CODE);
        kill_all(s);
    } else {
        child_signal(&s->leader, SIGTERM); // it does not wait for its step any more
    }
}

/// Several may have come since the last round.
static void take_signals(supervisor_t *s)
{
    struct signalfd_siginfo info;
    while (read(s->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        take_signal(s, (int)info.ssi_signo);
    }
}

/// What changed does not matter: take_ready_file looks itself.
static void drain_changes(const supervisor_t *s)
{
    char events[4096];
    while (read(s->changes, events, sizeof events) > 0) {
    }
}

/// A process that has not run for so long is not the one that was meant: it may be about to
/// register.
static void kill_mute(supervisor_t *s, const char *name, double seconds)
{
    for (size_t i = 0; i < s->plan->worker_count; i++) {
        worker_t *worker = &s->workers[i];
        const supervisor_process_t *process = worker->child.process;
        bool named = strcmp(process->name, name) == 0 ||
                     (process->group != NULL && strcmp(process->group, name) == 0);
        if (named && tr_clock_seconds() - worker->child.started >= seconds) {
            worker->mute = true;
            child_signal(&worker->child, SIGKILL);
        }
    }
}

/// Lines "SECONDS NAME", which the leader writes whole.
static void take_reports(supervisor_t *s)
{
    char text[4096];
    ssize_t length = read(s->reports[0], text, sizeof text - 1);
    text[length > 0 ? length : 0] = '\0';
    char *state = NULL;
    for (char *line = strtok_r(text, "\n", &state); line != NULL && s->phase == WATCHING;
         line = strtok_r(NULL, "\n", &state)) {
        char *name;
        double seconds = strtod(line, &name);
        kill_mute(s, name + (*name == ' '), seconds);
    }
}

/// What a phase does when its time is over.
static void take_deadline(supervisor_t *s)
{
    if (tr_clock_seconds() < s->deadline) {
        return;
    }
    switch (s->phase) {
    // not ready in time
    case STARTING:
        tr_fail(cause(s), TR_ERR_TIMEOUT, "the %s was not ready within %g s (see '%s')",
                s->plan->leader.name, s->plan->ready_s, s->leader.log);
        settle_failure(s, TR_ERR_TIMEOUT);
        break;
    // the leader did not finish within stop_s
    case STOPPING:
        // SIGKILL cannot fail: its end comes as an event
        s->deadline = INFINITY;
        child_signal(&s->leader, SIGKILL);
        break;
    case ENDING: kill_all(s); break;
    case WATCHING: ask_to_end(s, 0); break;
    }
}

/// Only while WATCHING: a run that ends starts nothing.
static void start_due_workers(supervisor_t *s)
{
    // only then have workers a time to start at
    for (size_t i = 0; i < s->plan->worker_count && s->phase == WATCHING; i++) {
        if (tr_clock_seconds() >= s->workers[i].due) {
            start_worker(s, &s->workers[i]);
        }
    }
}

// The loop

/// Until the next deadline or restart; -1: nothing is due.
static int wait_ms(const supervisor_t *s)
{
    double next = s->deadline;
    for (size_t i = 0; i < s->plan->worker_count && s->phase == WATCHING; i++) {
        next = fmin(next, s->workers[i].due);
    }
    // Rounded up: a poll that ends too early would spin until the time has come.
    double left = fmax(0.0, ceil((next - tr_clock_seconds()) * 1000.0));
    return isinf(next) ? -1 : (int)fmin(left, INT_MAX);
}

/// Sleeps until a signal, a change of the directory, the end of a process, or a deadline.
static void wait_for_news(supervisor_t *s)
{
    s->polls[0].fd = s->signals;
    s->polls[1].fd = s->changes;
    s->polls[2].fd = s->reports[0];
    s->polls[3].fd = s->leader.pidfd;
    for (size_t i = 0; i < s->plan->worker_count; i++) {
        s->polls[OTHERS + i].fd = s->workers[i].child.pidfd;
    }
    for (size_t i = 0; i < OTHERS + s->plan->worker_count; i++) {
        s->polls[i].events = POLLIN; // a negative descriptor is passed over
    }
    if (poll(s->polls, OTHERS + s->plan->worker_count, wait_ms(s)) < 0 && errno != EINTR) {
        tr_fail(cause(s), TR_ERR_IO, "cannot wait for processes: %s", strerror(errno));
        settle_failure(s, TR_ERR_IO);
        kill_all(s);
    }
}

/// The leader or any worker, for the loop's end.
static bool anyone_runs(const supervisor_t *s)
{
    bool runs = s->leader.pid > 0;
    for (size_t i = 0; i < s->plan->worker_count; i++) {
        runs = runs || s->workers[i].child.pid > 0;
    }
    return runs;
}

/// Until all processes have ended.
static void watch(supervisor_t *s)
{
    while (s->phase != ENDING || anyone_runs(s)) {
        // every kind of news is looked at in each round: more than one may have come
        wait_for_news(s);
        take_signals(s);
        drain_changes(s);
        take_reports(s);
        take_leader_end(s);
        take_ready_file(s);
        for (size_t i = 0; i < s->plan->worker_count; i++) {
            take_worker_end(s, &s->workers[i]);
        }
        take_deadline(s);
        start_due_workers(s);
    }
}

// Life cycle

/// Blocked, and read from a descriptor instead.
static tr_status open_signals(supervisor_t *s, tr_error_t *err)
{
    sigset_t caught;
    struct sigaction hangup;
    sigemptyset(&caught);
    sigaddset(&caught, SIGINT);
    sigaddset(&caught, SIGTERM);
    // under nohup it stays ignored
    sigaction(SIGHUP, NULL, &hangup);
    if (hangup.sa_handler != SIG_IGN) { // nohup
        sigaddset(&caught, SIGHUP);
    }
    // a parent may have left it ignored: then the kernel reaps children, and exit codes are lost
    signal(SIGCHLD, SIG_DFL);
    sigprocmask(SIG_BLOCK, &caught, &s->former);
    s->signals = signalfd(-1, &caught, SFD_NONBLOCK | SFD_CLOEXEC);
    return s->signals >= 0
               ? TR_OK
               : tr_fail(err, TR_ERR_IO, "cannot wait for signals: %s", strerror(errno));
}

/// The log of the supervisor itself, and the watch for the leader's file.
static tr_status open_files(supervisor_t *s, tr_error_t *err)
{
    const char *directory = s->plan->directory;
    char *log = tr_format("%s/logs/supervisor.log", directory);
    s->log = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    s->changes = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    free(log);
    // watched before the leader starts, so that its file cannot be missed
    if (s->log < 0 || s->changes < 0 || pipe2(s->reports, O_CLOEXEC | O_NONBLOCK) != 0 ||
        inotify_add_watch(s->changes, directory, IN_CLOSE_WRITE | IN_MOVED_TO) < 0) {
        return tr_fail(err, TR_ERR_IO, "cannot log to or watch '%s': %s", directory,
                       strerror(errno));
    }
    return TR_OK;
}

/// Descriptors start at -1, so that release can be called after any failure.
static void init(supervisor_t *s, const supervisor_plan_t *plan, tr_error_t *err)
{
    *s = (supervisor_t){
        .plan = plan, .signals = -1, .changes = -1, .reports = {-1, -1}, .log = -1, .err = err};
    s->workers = tr_calloc(plan->worker_count + 1, sizeof *s->workers);
    s->polls = tr_calloc(OTHERS + plan->worker_count, sizeof *s->polls);
    s->ready = tr_format("%s/endpoint", plan->directory);
    child_init(&s->leader, &plan->leader, plan);
    for (size_t i = 0; i < plan->worker_count; i++) {
        child_init(&s->workers[i].child, &plan->workers[i], plan);
        s->workers[i].due = INFINITY;
    }
}

/// All processes have ended by now; child_release asserts it.
static void release(supervisor_t *s)
{
    child_release(&s->leader);
    for (size_t i = 0; i < s->plan->worker_count; i++) {
        child_release(&s->workers[i].child);
    }
    // -1 for those that were never opened
    const int files[] = {s->signals, s->changes, s->reports[0], s->reports[1], s->log};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (files[i] >= 0) {
            close(files[i]);
        }
    }
    free(s->workers);
    free(s->polls);
    free(s->ready);
    free(s->endpoint);
    // signals that are pending now reach the caller's own handlers
    sigprocmask(SIG_SETMASK, &s->former, NULL);
}

/// Nothing is started unless signals can be caught: a run that Ctrl-C cannot end would be left
/// behind.
tr_status supervisor_run(int *exit_code, const supervisor_plan_t *plan, tr_error_t *err)
{
    supervisor_t s;
    init(&s, plan, err);
    s.status = open_signals(&s, err);
    // each step only when all before it have succeeded
    if (s.status == TR_OK) {
        s.status = open_files(&s, err);
    }
    if (s.status == TR_OK) {
        s.status = child_start(&s.leader, NULL, s.reports[1], err);
    }
    s.exit_code = tr_status_exit_code(s.status);
    if (s.status == TR_OK) {
        s.began = tr_clock_seconds();
        enter(&s, STARTING, plan->ready_s);
        watch(&s);
    }
    *exit_code = s.exit_code;
    tr_status status = s.status;
    release(&s);
    return status;
}
