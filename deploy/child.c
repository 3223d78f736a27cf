// One child process of the supervisor: started in a group of its own, its output in a log, its end
// reported in words.
//
// Apart from supervisor.c because it knows neither phases nor restarts: only fork, signals, and
// what a process wrote last. pidfd rather than SIGCHLD, so that the end of each child is an event
// of poll and no signal handler is needed.
#include "deploy/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "deploy/machine.h"

enum { TAIL = 16384 }; ///< bytes of a log's end among which its last line is looked for

/// No process yet; the log is made by the first start.
void child_init(child_t *child, const supervisor_process_t *process, const supervisor_plan_t *plan)
{
    *child = (child_t){.process = process, .counters = plan->counters, .pidfd = -1};
    child->log = tr_format("%s/logs/%s.log", plan->directory, process->name);
}

/// Asserts what the supervisor promises: nothing that it started outlives it.
void child_release(child_t *child)
{
    TR_ASSERT(child->pid == 0, "'%s' still runs", child->process->name);
    free(child->log);
    child->log = NULL;
}

// Starting

/// In the child, between fork and exec. The supervisor has one thread: everything is allowed here.
__attribute__((noreturn)) static void become(const child_t *child, pid_t parent, int input,
                                             int output, const char *endpoint, int reports)
{
    sigset_t none;
    sigemptyset(&none);
    // a group of its own: Ctrl-C on the terminal reaches the supervisor alone, which ends all in
    // order
    setpgid(0, 0);
    // the kernel ends the child when the supervisor is killed
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) {
        _exit(127); // the supervisor died before the request above
    }
    // no child reads the terminal
    dup2(input, STDIN_FILENO);
    if (endpoint != NULL) {
        dup2(output, STDOUT_FILENO);
    }
    dup2(output, STDERR_FILENO);
    // the supervisor blocks signals and waits for them by signalfd; a mask is inherited through
    // exec
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    for (char **entry = child->process->environment; *entry != NULL; entry++) {
        // "NAME=VALUE" sets; glibc's putenv removes a "NAME" without a value
        putenv(*entry);
    }
    if (endpoint != NULL) {
        setenv("TROUPE_ENDPOINT", endpoint, 1);
    } else {
        char number[16];
        snprintf(number, sizeof number, "%d", reports);
        setenv("TROUPE_SUPERVISOR", number, 1);
        fcntl(reports, F_SETFD, 0); // survives exec, in the leader alone
    }
    execvp(child->process->argv[0], child->process->argv);
    // standard error is the child's log, where child_last_line finds this
    dprintf(STDERR_FILENO, "cannot start '%s': %s\n", child->process->argv[0], strerror(errno));
    _exit(127);
}

/// What the parent does after fork. A child that cannot be watched is killed.
static tr_status take_in(child_t *child, pid_t pid, tr_error_t *err)
{
    setpgid(pid, pid); // parent and child both do it: either may run first
    child->pidfd = pidfd_open(pid, 0);
    if (child->pidfd < 0) {
        int code = errno;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return tr_fail(err, TR_ERR_IO, "cannot watch '%s': %s", child->process->name,
                       strerror(code));
    }
    child->pid = pid;
    child->started = tr_clock_seconds();
    child->killed = false;
    child->memory_kills = machine_memory_kills(child->counters);
    return TR_OK;
}

/// Both sides of the fork are in functions of their own: become in the child, take_in in the
/// parent.
tr_status child_start(child_t *child, const char *endpoint, int reports, tr_error_t *err)
{
    struct stat info;
    tr_status status = TR_OK;
    pid_t parent = getpid();
    int output = open(child->log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    int input = open("/dev/null", O_RDONLY | O_CLOEXEC);
    // the log is opened in the parent, so that a failure is reported by the supervisor
    if (output < 0 || input < 0 || fstat(output, &info) != 0) {
        status = tr_fail(err, TR_ERR_IO, "cannot write '%s': %s", child->log, strerror(errno));
        goto done;
    }
    // logs are added to; a message from an earlier start must not be taken for this one's
    child->log_start = info.st_size;
    pid_t pid = fork();
    // in the child: become does not return
    if (pid == 0) {
        become(child, parent, input, output, endpoint, reports);
    }
    status = pid > 0 ? take_in(child, pid, err)
                     : tr_fail(err, TR_ERR_IO, "cannot start '%s': %s", child->process->name,
                               strerror(errno));
done:
    if (output >= 0) {
        close(output);
    }
    if (input >= 0) {
        close(input);
    }
    return status;
}

// Ending

/// The format of common/base/log.h, since the file lies beside the others' logs.
void child_note(int log, const child_t *child, const char *format, ...)
{
    struct timespec now;
    struct tm utc;
    char stamp[32], text[512];
    va_list arguments;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    dprintf(log, "%s.%03ldZ info troupe supervisor process=%s \"%s\"\n", stamp,
            now.tv_nsec / 1000000, child->process->name, text);
}

/// An ended child that was not reaped yet may still get it, which does no harm.
void child_signal(child_t *child, int signal)
{
    if (child->pid > 0) {
        child->killed = child->killed || signal == SIGKILL;
        // a negative pid means the group: mpirun's ranks and a judge's own children too
        kill(-child->pid, signal);
    }
}

/// Kills what the child has left in its group: ranks of a killed mpirun, say.
bool child_reap(int *how, child_t *child)
{
    // si_pid stays 0 where the child still runs.
    siginfo_t info = {0};
    if (child->pid == 0 ||
        // WNOWAIT leaves it as a zombie, so that its number cannot be given to another process yet
        waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        info.si_pid == 0) {
        return false;
    }
    kill(-child->pid, SIGKILL); // before the reaping, while nobody else can bear the number
    waitpid(child->pid, how, 0);
    close(child->pidfd);
    child->pid = 0;
    child->pidfd = -1;
    return true;
}

/// What the ending says of memory. A process may also end because one that it started was killed:
/// a rank of mpirun, or the program of a script.
static const char *memory_note(const child_t *child, int how)
{
    bool unasked = WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL && !child->killed;
    if (machine_memory_kills(child->counters) > child->memory_kills && !child->killed) {
        return unasked ? " by the kernel, because memory ran out"
                       : ", after the kernel had killed a process because memory ran out";
    }
    return unasked ? ", not by this run (the kernel does so when memory runs out)" : "";
}

/// In the words of the shell: an exit code, or the name of the signal.
const char *child_ending(char out[CHILD_ENDING], const child_t *child, int how)
{
    const char *name = WIFSIGNALED(how) ? sigabbrev_np(WTERMSIG(how)) : NULL;
    const char *memory = memory_note(child, how);
    if (WIFEXITED(how)) {
        snprintf(out, CHILD_ENDING, "exited with code %d%s", WEXITSTATUS(how), memory);
    } else if (name != NULL) {
        snprintf(out, CHILD_ENDING, "was killed by SIG%s%s", name, memory);
    } else {
        snprintf(out, CHILD_ENDING, "was killed by signal %d%s", WTERMSIG(how), memory);
    }
    return out;
}

/// The log's end, at most TAIL bytes and nothing from before the start; NUL terminated.
static char *read_tail(const child_t *child)
{
    char *text = tr_calloc(1, TAIL + 1);
    int log = open(child->log, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (log >= 0 && fstat(log, &info) == 0) {
        // the last TAIL bytes, or all of this start when that is less
        off_t from =
            info.st_size - TAIL > child->log_start ? info.st_size - TAIL : child->log_start;
        ssize_t length = pread(log, text, TAIL, from);
        text[length > 0 ? length : 0] = '\0';
    }
    if (log >= 0) {
        close(log);
    }
    return text;
}

/// What a program says last is mostly the reason why it ended.
char *child_last_line(const child_t *child, const char *prefix)
{
    char *text = read_tail(child);
    const char *last = NULL;
    bool prefixed = false;
    char *state = NULL;
    // a line with the prefix ("troupe-controller: ...") is the program's own sentence; a sanitizer
    // or a library may have written more below it
    for (char *line = strtok_r(text, "\r\n", &state); line != NULL;
         line = strtok_r(NULL, "\r\n", &state)) {
        if (strncmp(line, prefix, strlen(prefix)) == 0) {
            last = line + strlen(prefix);
            prefixed = prefix[0] != '\0';
        } else if (!prefixed && line[strspn(line, " \t")] != '\0') {
            last = line;
        }
    }
    char *copy = last != NULL && last[0] != '\0' ? tr_strdup(last) : NULL;
    free(text);
    return copy;
}

/// For a sentence about a process that ended without one of its own.
char *child_last_words(const child_t *child)
{
    char *line = child_last_line(child, "");
    char *words = tr_format("the end of '%s': %s", child->log, line != NULL ? line : "(nothing)");
    free(line);
    return words;
}
