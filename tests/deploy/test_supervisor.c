// Real child processes: shell scripts as leader and workers.
#include <criterion/criterion.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "deploy/child.h"
#include "deploy/supervisor.h"
#include "tests/support/scratch.h"

enum { DEADLINE_MS = 20000, WORKERS = 2 };

static char *no_environment[] = {NULL};

/// What a test prepares, and what came of it.
typedef struct scene {
    char *folder;
    supervisor_process_t workers[WORKERS];
    supervisor_plan_t plan;
    char *news_path; ///< a FIFO into which scripts write lines
    int news;
    int alive[2]; ///< a pipe whose writing end every process of the scene holds
    tr_status status;
    int exit_code;
    tr_error_t err;
} scene_t;

static char **program(const char *folder, const char *name, const char *script)
{
    char *text = tr_format("#!/bin/sh\ncd '%s'\n%s\n", folder, script);
    char **argv = tr_calloc(2, sizeof *argv);
    argv[0] = scratch_write(folder, name, text, strlen(text));
    cr_assert_eq(chmod(argv[0], 0700), 0);
    free(text);
    return argv;
}

/// worker NULL: no workers; else all of them run the same script.
static void open_scene(scene_t *scene, const char *leader, const char *worker)
{
    static char *names[WORKERS] = {"first", "second"};
    *scene = (scene_t){.folder = scratch_open()};
    char *logs = tr_format("%s/logs", scene->folder);
    cr_assert_eq(mkdir(logs, 0700), 0);
    free(logs);
    scene->news_path = tr_format("%s/news", scene->folder);
    cr_assert_eq(mkfifo(scene->news_path, 0600), 0);
    scene->news = open(scene->news_path, O_RDWR | O_CLOEXEC);
    cr_assert_geq(scene->news, 0);
    cr_assert_eq(pipe(scene->alive), 0);
    cr_assert_eq(fcntl(scene->alive[0], F_SETFD, FD_CLOEXEC), 0);
    supervisor_plan_init(&scene->plan);
    scene->plan.leader = (supervisor_process_t){.name = "leader",
                                                .argv = program(scene->folder, "leader", leader),
                                                .environment = no_environment};
    for (size_t i = 0; worker != NULL && i < WORKERS; i++) {
        scene->workers[i] = (supervisor_process_t){.name = names[i],
                                                   .argv = program(scene->folder, names[i], worker),
                                                   .environment = no_environment};
    }
    scene->plan.workers = scene->workers;
    scene->plan.directory = scene->folder;
    scene->plan.first_pause = 0.01;
    scene->plan.ready_s = DEADLINE_MS / 1000.0;
}

static void close_scene(scene_t *scene)
{
    for (size_t i = 0; i < WORKERS && scene->workers[i].argv != NULL; i++) {
        free(scene->workers[i].argv[0]);
        free(scene->workers[i].argv);
    }
    free(scene->plan.leader.argv[0]);
    free(scene->plan.leader.argv);
    close(scene->news);
    close(scene->alive[0]);
    free(scene->news_path);
    scratch_close(&scene->folder);
}

static void await_readable(int descriptor, const char *what)
{
    struct pollfd item = {.fd = descriptor, .events = POLLIN};
    cr_assert_eq(poll(&item, 1, DEADLINE_MS), 1, "%s", what);
}

/// The end of the pipe comes when the last process that holds it is gone.
static void nobody_is_alive(scene_t *scene)
{
    char byte;
    close(scene->alive[1]);
    await_readable(scene->alive[0], "a process survived");
    cr_assert_eq(read(scene->alive[0], &byte, 1), 0);
}

static void run(scene_t *scene)
{
    scene->status = supervisor_run(&scene->exit_code, &scene->plan, &scene->err);
    nobody_is_alive(scene);
}

/// As run, in a process of its own, to be sent signals.
static pid_t start(scene_t *scene)
{
    pid_t pid = fork();
    if (pid == 0) {
        scene->status = supervisor_run(&scene->exit_code, &scene->plan, &scene->err);
        char *result = tr_format("%d %s", (int)scene->status, scene->err.text);
        scratch_write(scene->folder, "result", result, strlen(result));
        _exit(scene->exit_code);
    }
    cr_assert_gt(pid, 0);
    return pid;
}

/// Waits for it; the exit code.
static int finish(scene_t *scene, pid_t pid)
{
    int how;
    nobody_is_alive(scene);
    cr_assert_eq(waitpid(pid, &how, 0), pid);
    cr_assert(WIFEXITED(how));
    return WEXITSTATUS(how);
}

static void await_news(scene_t *scene, const char *expected)
{
    char line[64] = {0};
    for (size_t n = 0; n < sizeof line - 1 && (n == 0 || line[n - 1] != '\n'); n++) {
        await_readable(scene->news, expected);
        cr_assert_eq(read(scene->news, line + n, 1), 1);
    }
    line[strcspn(line, "\n")] = '\0';
    cr_assert_str_eq(line, expected);
}

static size_t occurrences(const scene_t *scene, const char *file, const char *text)
{
    char *path = tr_format("%s/%s", scene->folder, file);
    char *content = scratch_read(path, NULL);
    size_t count = 0;
    for (const char *at = strstr(content, text); at != NULL; at = strstr(at + 1, text)) {
        count++;
    }
    free(content);
    free(path);
    return count;
}

#define READY "echo tcp://here > tmp; mv tmp endpoint; "
#define FOR_EVER "while :; do sleep 60 & wait $!; done"

// The leader

Test(supervisor, a_leader_that_succeeds_ends_the_run_with_success)
{
    scene_t scene;
    open_scene(&scene, READY "exec 3<> news; read line <&3; exit 0", "echo here > news; " FOR_EVER);
    scene.plan.worker_count = 1;
    run(&scene);
    cr_assert_eq(scene.status, TR_OK, "%s", scene.err.text);
    cr_assert_eq(scene.exit_code, 0);
    close_scene(&scene);
}

Test(supervisor, the_exit_code_and_the_last_sentence_are_the_leaders)
{
    scene_t scene;
    open_scene(&scene, READY "echo 'leader: the disk is full' >&2; echo noise >&2; exit 17",
               FOR_EVER);
    scene.plan.worker_count = WORKERS;
    run(&scene);
    cr_assert_eq(scene.exit_code, 17);
    cr_assert_str_eq(scene.err.text, "the disk is full");
    close_scene(&scene);
}

Test(supervisor, what_an_earlier_run_logged_is_not_this_ones_cause)
{
    scene_t scene;
    open_scene(&scene, "exit 5", NULL);
    free(scratch_write(scene.folder, "logs/leader.log", "leader: old\n", 12));
    run(&scene);
    cr_assert_eq(scene.exit_code, 5);
    cr_assert_null(strstr(scene.err.text, "old"), "%s", scene.err.text);
    cr_assert_not_null(strstr(scene.err.text, "exited with code 5"), "%s", scene.err.text);
    close_scene(&scene);
}

Test(supervisor, a_killed_leader_is_a_failure_that_names_the_signal)
{
    scene_t scene;
    open_scene(&scene, READY "echo last words >&2; kill -KILL $$", FOR_EVER);
    scene.plan.worker_count = 1;
    run(&scene);
    cr_assert_eq(scene.status, TR_ERR_PEER);
    cr_assert_neq(scene.exit_code, 0);
    cr_assert_not_null(strstr(scene.err.text, "SIGKILL"), "%s", scene.err.text);
    cr_assert_not_null(strstr(scene.err.text, "last words"), "%s", scene.err.text);
    close_scene(&scene);
}

Test(supervisor, a_leader_that_is_never_ready_is_given_up)
{
    scene_t scene;
    open_scene(&scene, ": > endpoint; " FOR_EVER, FOR_EVER);
    scene.plan.worker_count = 1;
    scene.plan.ready_s = 0.2;
    run(&scene);
    cr_assert_eq(scene.status, TR_ERR_TIMEOUT);
    cr_assert_eq(scene.exit_code, tr_status_exit_code(TR_ERR_TIMEOUT));
    close_scene(&scene);
}

Test(supervisor, a_program_that_is_missing_is_named)
{
    scene_t scene;
    open_scene(&scene, "exit 0", NULL);
    cr_assert_eq(unlink(scene.plan.leader.argv[0]), 0);
    run(&scene);
    cr_assert_eq(scene.exit_code, 127);
    cr_assert_not_null(strstr(scene.err.text, scene.plan.leader.argv[0]), "%s", scene.err.text);
    close_scene(&scene);
}

// Workers

Test(supervisor, a_worker_that_dies_starts_again)
{
    scene_t scene;
    open_scene(&scene, READY "exec 3<> news; read a <&3; read b <&3; read c <&3; exit 0",
               "echo started > news; kill -SEGV $$");
    scene.plan.worker_count = 1;
    run(&scene);
    cr_assert_eq(scene.status, TR_OK, "%s", scene.err.text);
    cr_assert_geq(occurrences(&scene, "logs/supervisor.log", "was killed by SIGSEGV; starts again"),
                  2);
    close_scene(&scene);
}

/// A scene whose worker ends by SIGKILL five times; the sentence of the run must have these words.
/// script: what the worker does before. counters: the kernel's, in the scene's folder.
static void die_by_sigkill(const char *script, const char *words)
{
    scene_t scene;
    char *text = tr_format("echo 'at layer 7' >&2; %s kill -KILL $$", script);
    open_scene(&scene, READY FOR_EVER, text);
    char *counters = scratch_write(scene.folder, "vmstat", "pgfault 3\noom_kill 4\n", 21);
    scene.plan.worker_count = 1;
    scene.plan.counters = counters;
    run(&scene);
    cr_expect_not_null(strstr(scene.err.text, words), "%s", scene.err.text);
    cr_expect_not_null(strstr(scene.err.text, "at layer 7"), "%s", scene.err.text);
    free(counters);
    free(text);
    close_scene(&scene);
}

Test(supervisor, a_worker_that_the_kernel_kills_for_memory_is_named_so)
{
    die_by_sigkill("", "was killed by SIGKILL, not by this run (the kernel does so when memory");
    die_by_sigkill("echo oom_kill $$ > vmstat;",
                   "was killed by SIGKILL by the kernel, because memory ran out");
}

Test(supervisor, the_end_of_a_program_whose_part_was_killed_for_memory_says_so)
{
    scene_t scene;
    open_scene(&scene, READY FOR_EVER, "echo oom_kill $$ > vmstat; exit 0");
    scene.plan.worker_count = 1;
    char *counters = scratch_write(scene.folder, "vmstat", "oom_kill 0\n", 11);
    scene.plan.counters = counters;
    run(&scene);
    cr_expect_not_null(strstr(scene.err.text, "exited with code 0, after the kernel had killed"),
                       "%s", scene.err.text);
    free(counters);
    close_scene(&scene);
}

Test(supervisor, five_quick_failures_end_the_run_and_the_log_says_why)
{
    scene_t scene;
    open_scene(&scene, READY FOR_EVER, "echo 'no luck today' >&2; exit 3");
    scene.plan.worker_count = 1;
    run(&scene);
    cr_assert_eq(scene.status, TR_ERR_PEER);
    cr_assert_eq(scene.exit_code, tr_status_exit_code(TR_ERR_PEER));
    cr_assert_not_null(strstr(scene.err.text, "'first'"), "%s", scene.err.text);
    cr_assert_not_null(strstr(scene.err.text, "exited with code 3"), "%s", scene.err.text);
    cr_assert_not_null(strstr(scene.err.text, "no luck today"), "%s", scene.err.text);
    cr_assert_eq(occurrences(&scene, "logs/first.log", "no luck today"), 5);
    close_scene(&scene);
}

Test(supervisor, a_worker_of_which_the_leader_hears_nothing_is_killed_and_starts_again)
{
    scene_t scene;
    open_scene(
        &scene,
        READY
        "exec 3<> news; read line <&3; echo '1000 first' > /proc/self/fd/$TROUPE_SUPERVISOR;"
        "echo '0 others' > /proc/self/fd/$TROUPE_SUPERVISOR; echo '0 pool' > "
        "/proc/self/fd/$TROUPE_SUPERVISOR;"
        "read line <&3; echo '0 first' > /proc/self/fd/$TROUPE_SUPERVISOR; read line <&3; exit 0",
        "echo started > news; kill -STOP $$");
    scene.workers[0].group = "pool";
    scene.plan.worker_count = 1;
    run(&scene);
    cr_assert_eq(scene.status, TR_OK, "%s", scene.err.text);
    cr_expect_eq(occurrences(&scene, "logs/supervisor.log",
                             "process=first \"gave no sign of life and was killed; starts again"),
                 2);
    close_scene(&scene);
}

Test(supervisor, slow_failures_never_end_the_run)
{
    scene_t scene;
    open_scene(&scene,
               READY "exec 3<> news; for i in 1 2 3 4 5 6 7; do read line <&3; done; exit 0",
               "echo started > news; exit 3");
    scene.plan.worker_count = 1;
    scene.plan.quick_s = 0.0;
    run(&scene);
    cr_assert_eq(scene.status, TR_OK, "%s", scene.err.text);
    close_scene(&scene);
}

Test(supervisor, what_a_worker_leaves_behind_ends_with_it)
{
    scene_t scene;
    open_scene(&scene, READY "exec 3<> news; read a <&3; read b <&3; exit 0",
               "sleep 600 & echo started > news; exit 3");
    scene.plan.worker_count = 1;
    run(&scene);
    cr_assert_eq(scene.status, TR_OK, "%s", scene.err.text);
    close_scene(&scene);
}

Test(supervisor, workers_get_the_endpoint_and_their_environment)
{
    static char *environment[] = {"COLOUR=red", "UNWANTED", NULL};
    scene_t scene;
    open_scene(&scene, READY "exec 3<> news; read line <&3; echo \"$line\" > seen; exit 0",
               "echo \"$TROUPE_ENDPOINT $COLOUR ${UNWANTED-gone}\" > news; " FOR_EVER);
    scene.plan.worker_count = 1;
    scene.workers[0].environment = environment;
    setenv("UNWANTED", "from outside", 1);
    run(&scene);
    cr_assert_eq(occurrences(&scene, "seen", "tcp://here red gone\n"), 1);
    close_scene(&scene);
}

Test(supervisor, neither_deaf_workers_nor_what_they_started_survive)
{
    scene_t scene;
    open_scene(&scene, READY "exec 3<> news; read a <&3; read b <&3; exit 0",
               "trap '' TERM; (" FOR_EVER ") & echo deaf > news; " FOR_EVER);
    scene.plan.worker_count = WORKERS;
    scene.plan.end_s = 0.2;
    run(&scene);
    cr_assert_eq(scene.status, TR_OK, "%s", scene.err.text);
    cr_assert_eq(occurrences(&scene, "logs/supervisor.log", "was killed by SIGKILL"), WORKERS);
    close_scene(&scene);
}

// Signals

Test(supervisor, a_signal_lets_the_leader_finish)
{
    scene_t scene;
    open_scene(&scene, "trap 'echo saved > saved; exit 0' TERM; " READY FOR_EVER,
               "echo up > news; " FOR_EVER);
    scene.plan.worker_count = 1;
    pid_t pid = start(&scene);
    await_news(&scene, "up");
    kill(pid, SIGTERM);
    cr_assert_eq(finish(&scene, pid), tr_status_exit_code(TR_ERR_INTERRUPTED));
    cr_assert_eq(occurrences(&scene, "saved", "saved"), 1);
    cr_assert_eq(occurrences(&scene, "result", "stopped by SIGTERM"), 1);
    close_scene(&scene);
}

Test(supervisor, a_leader_that_does_not_finish_is_killed_in_time)
{
    scene_t scene;
    open_scene(&scene, "trap '' TERM; " READY FOR_EVER, "echo up > news; " FOR_EVER);
    scene.plan.worker_count = 1;
    scene.plan.stop_s = 0.2;
    pid_t pid = start(&scene);
    await_news(&scene, "up");
    kill(pid, SIGINT);
    cr_assert_eq(finish(&scene, pid), tr_status_exit_code(TR_ERR_INTERRUPTED));
    close_scene(&scene);
}

Test(supervisor, a_second_interrupt_kills_at_once)
{
    scene_t scene;
    open_scene(&scene, "trap 'echo asked > news' TERM; " READY FOR_EVER,
               "echo up > news; " FOR_EVER);
    scene.plan.worker_count = 1;
    scene.plan.stop_s = 1e6;
    scene.plan.end_s = 1e6;
    pid_t pid = start(&scene);
    await_news(&scene, "up");
    kill(pid, SIGINT);
    await_news(&scene, "asked");
    kill(pid, SIGINT);
    cr_assert_eq(finish(&scene, pid), 130);
    cr_assert_eq(occurrences(&scene, "result", "killed by a second SIGINT"), 1);
    close_scene(&scene);
}

Test(supervisor, a_second_signal_is_handed_on)
{
    scene_t scene;
    open_scene(
        &scene,
        "trap 'n=$((n + 1)); echo asked > news; [ $n = 2 ] && exit 21' TERM; " READY FOR_EVER,
        "echo up > news; " FOR_EVER);
    scene.plan.worker_count = 1;
    pid_t pid = start(&scene);
    await_news(&scene, "up");
    kill(pid, SIGTERM);
    await_news(&scene, "asked");
    kill(pid, SIGTERM);
    cr_assert_eq(finish(&scene, pid), tr_status_exit_code(TR_ERR_INTERRUPTED));
    close_scene(&scene);
}

Test(supervisor, when_the_time_is_over_the_leader_is_asked_to_end)
{
    scene_t scene;
    open_scene(&scene, "trap 'echo saved > saved; exit 21' TERM; " READY FOR_EVER,
               "echo up > news; " FOR_EVER);
    scene.plan.worker_count = 1;
    scene.plan.max_s = 0.3;
    pid_t pid = start(&scene);
    cr_assert_eq(finish(&scene, pid), SUPERVISOR_TIME_OVER);
    cr_assert_eq(occurrences(&scene, "saved", "saved"), 1);
    cr_assert_eq(occurrences(&scene, "result", "--max-time"), 1);
    close_scene(&scene);
}

Test(supervisor, a_failure_while_stopping_is_told)
{
    scene_t scene;
    open_scene(&scene, "trap 'echo \"leader: cannot save\" >&2; exit 13' TERM; " READY FOR_EVER,
               "echo up > news; " FOR_EVER);
    scene.plan.worker_count = 1;
    pid_t pid = start(&scene);
    await_news(&scene, "up");
    kill(pid, SIGTERM);
    cr_assert_eq(finish(&scene, pid), 13);
    cr_assert_eq(occurrences(&scene, "result", "cannot save"), 1);
    close_scene(&scene);
}

Test(supervisor, all_die_with_a_supervisor_that_is_killed)
{
    scene_t scene;
    int how;
    open_scene(&scene, READY "exec sleep 600", "echo up > news; exec sleep 600");
    scene.plan.worker_count = 1;
    pid_t pid = start(&scene);
    await_news(&scene, "up");
    kill(pid, SIGKILL);
    nobody_is_alive(&scene);
    cr_assert_eq(waitpid(pid, &how, 0), pid);
    close_scene(&scene);
}
