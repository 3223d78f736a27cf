// `troupe run` and `troupe resume`: the processes of a recipe on this machine, from start to the
// aligned model.
//
// The order matters: everything that can be found wrong beforehand (programs, ranks, memory) is
// checked before the run directory is made, so that a failed start leaves nothing behind. Next:
// process_group.c for the processes, supervisor.c for the time while they run.
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "common/base/file.h"
#include "controller/rundir.h"
#include "deploy/command.h"
#include "deploy/memory_plan.h"
#include "deploy/models_record.h"
#include "deploy/preflight.h"
#include "deploy/resume_changes.h"
#include "deploy/samples.h"
#include "deploy/supervisor.h"

/// --max-time, in seconds; infinite without it.
static double max_s = INFINITY;

/// Whether the run directory has the file or folder.
static bool exists(const char *directory, const char *name)
{
    char *path = tr_format("%s/%s", directory, name);
    bool there = access(path, F_OK) == 0;
    free(path);
    return there;
}

// The run

/// The samples show what the training changed; the paths, where to find it.
static void say_success(const char *directory)
{
    printf("\n");
    samples_print(stdout, directory);
    if (exists(directory, "final/config.json")) {
        printf("the aligned model is in %s/final, its checkpoints in %s/checkpoints\n", directory,
               directory);
    } else { // nothing was trained
        printf("the responses are in %s/samples.jsonl\n", directory);
    }
}

/// Whether the controller refused what it was given, the data, before any worker was started.
static bool was_refused(bool began, int exit_code)
{
    static const tr_status refusals[] = {TR_ERR_ARGUMENT, TR_ERR_FORMAT, TR_ERR_IO,
                                         TR_ERR_UNSUPPORTED};
    bool refused = false;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        refused = refused || exit_code == tr_status_exit_code(refusals[i]);
    }
    return refused && !began;
}

/// Runs the group in a run directory that nobody has open; returns the process's exit code.
static int run_to_end(const supervisor_plan_t *plan)
{
    const char *directory = plan->directory;
    tr_error_t err = {0};
    int exit_code;
    // flushed, since the leader's standard output is the same one
    printf("running %s: %zu workers, logs in %s/logs\n", directory, plan->worker_count, directory);
    fflush(stdout);
    // whoever reads our output may leave before the end, as `head` does: the run goes on
    signal(SIGPIPE, SIG_IGN);
    tr_status status = process_group_run(&exit_code, plan, &err);
    // a signal that came after the last step: the run is complete all the same
    if (status == TR_OK || (status == TR_ERR_INTERRUPTED && exists(directory, "final"))) {
        say_success(directory);
        return 0;
    }
    // a stopped run is no loss: say how to continue
    if (status == TR_ERR_INTERRUPTED) {
        fprintf(stderr, "%s: `troupe resume %s` goes on from the last checkpoint\n", err.text,
                directory);
    } else {
        fprintf(stderr, "%s\n", err.text);
    }
    return exit_code;
}

/// Makes output/name, with the record of the models. The controller locks it itself.
static tr_status make_directory(const tr_recipe_t *recipe, const char *directory, tr_error_t *err)
{
    controller_rundir_t *rundir = NULL;
    json_t *models;
    tr_status status;
    TR_TRY_GOTO(models_record_take(&models, recipe, directory, err), done);
    TR_TRY_GOTO(controller_rundir_create(&rundir, recipe, err), done);
    status = models_record_write(models, directory, err);
done:
    json_decref(models);
    controller_rundir_destroy(&rundir);
    return status;
}

/// resume: the directory is there; else it is made once nothing is known to be wrong.
static int run(tr_recipe_t *recipe, const char *directory, bool resume)
{
    tr_error_t err = {0};
    supervisor_plan_t plan = {0};
    bool began = false;
    tr_status status = preflight(&plan, recipe, directory, resume, &err);
    plan.began = &began;
    plan.max_s = max_s;
    if (status == TR_OK) {
        status = memory_plan_check(recipe, &err);
    }
    if (status == TR_OK && !resume) {
        status = make_directory(recipe, directory, &err);
    }
    int exit_code = status == TR_OK ? run_to_end(&plan) : tr_status_report(status, &err);
    // the corrected command just runs
    if (status == TR_OK && !resume && was_refused(began, exit_code)) {
        tr_directory_remove(directory, &err);
    }
    process_group_release(&plan);
    return exit_code;
}

/// Fails when there is no run, or it is going on. A checkpoint looks like one: it has a recipe.
static tr_status prepare_resume(const char *directory, tr_error_t *err)
{
    controller_rundir_t *rundir;
    char *real = exists(directory, "state.json") ? realpath(directory, NULL) : NULL;
    if (real != NULL) {
        for (int i = 0; i < 2 && strrchr(real, '/') != NULL; i++) {
            *strrchr(real, '/') = '\0'; // RUN/checkpoints/step-N
        }
        tr_fail(err, TR_ERR_ARGUMENT, "'%s' is a checkpoint: `troupe resume %s` resumes its run",
                directory, real);
        free(real);
        return TR_ERR_ARGUMENT;
    }
    TR_TRY(controller_rundir_open(&rundir, directory, err));
    controller_rundir_destroy(&rundir);
    return TR_OK;
}

/// With what was given over the run's own recipe, which may have been edited too.
static int resume_with(tr_recipe_t *recipe, const char *directory)
{
    tr_error_t err = {0};
    bool finished = false;
    json_t *models;
    // all that may be refused comes before anything is written
    tr_status status = models_record_take(&models, recipe, directory, &err);
    status = status == TR_OK ? resume_changes(&finished, recipe, directory, &err) : status;
    status = status == TR_OK ? models_record_write(models, directory, &err) : status;
    json_decref(models);
    if (status != TR_OK) {
        return tr_status_report(status, &err);
    }
    // nothing to do is a success: scripts may resume in any case
    if (finished) {
        printf("the run is finished: its result is in %s/%s (more `steps` extend it)\n", directory,
               exists(directory, "final/config.json") ? "final" : "samples.jsonl");
        return 0;
    }
    return run(recipe, directory, true);
}

/// The recipe of the run directory decides; the user's file may have changed since. words: the
/// directory, and what is put over its recipe.
static int resume(char *const *words, size_t count)
{
    tr_error_t err = {0};
    tr_recipe_t *recipe = NULL;
    tr_status status = prepare_resume(words[0], &err);
    if (status != TR_OK) {
        return tr_status_report(status, &err);
    }
    // the resolved recipe: overrides of the first command are in it
    char **arguments = tr_calloc(count, sizeof *arguments);
    memcpy(arguments, words, count * sizeof *arguments);
    arguments[0] = tr_format("%s/recipe.yaml", words[0]);
    // with a look at the disk: models and data must still be there
    status = command_load_recipe(&recipe, arguments, count);
    int exit_code = status == TR_OK ? resume_with(recipe, words[0]) : tr_status_exit_code(status);
    tr_recipe_destroy(&recipe);
    free(arguments[0]);
    free(arguments);
    return exit_code;
}

/// In output/name; again: what is there goes on.
static int run_again(tr_recipe_t *recipe, bool again)
{
    tr_error_t err = {0};
    bool found = false;
    char *directory = command_run_directory(recipe);
    tr_status status = again ? command_find_earlier(&found, recipe, directory, &err) : TR_OK;
    int exit_code = status != TR_OK ? tr_status_report(status, &err)
                    : found         ? resume(&directory, 1)
                                    : run(recipe, directory, false);
    free(directory);
    return exit_code;
}

// The command lines

/// "3h50m" as seconds: numbers with d, h, m or s, or one number of seconds. 0: it is none.
static double duration_of(const char *text)
{
    static const char UNITS[] = "dhms";
    static const double SECONDS[] = {86400.0, 3600.0, 60.0, 1.0};
    double seconds = 0.0;
    char *end;
    do {
        double number = strtod(text, &end);
        const char *unit = *end == '\0' ? UNITS + 3 : strchr(UNITS, *end);
        if (end == text || !(number >= 0.0 && number <= 1e9) || unit == NULL) {
            return 0.0;
        }
        seconds += number * SECONDS[unit - UNITS];
        text = *end == '\0' ? end : end + 1;
    } while (*text != '\0');
    return seconds;
}

#define MAX_TIME_OPTION                                                                 \
    {                                                                                   \
        "max-time", 't', "TIME", 0,                                                     \
            "End after this time, such as 3h50m, with a checkpoint and exit code 75", 0 \
    }

/// Reads words and options. False, with a sentence, when --max-time is no time.
static bool parse(command_line_t *line, int argc, char **argv)
{
    command_parse(line, argc, argv);
    const char *text = line->values['t'];
    max_s = text != NULL ? duration_of(text) : INFINITY;
    if (max_s > 0.0) {
        return true;
    }
    fprintf(stderr, "%s: --max-time: expected a time such as 3h50m, 45m or 90s, found '%s'\n",
            argv[0], text);
    return false;
}

/// Parses, loads the recipe, and runs in output/name.
int command_run(int argc, char **argv)
{
    static const struct argp_option table[] = {
        {"again", 'a', 0, 0,
         "Where the run is there already, go on with it, or say that it is finished", 0},
        MAX_TIME_OPTION,
        {0},
    };
    command_line_t line = {
        .options = table,
        .words_doc = "RECIPE [KEY=VALUE ...]",
        .doc = "Start the run that a recipe describes. KEY=VALUE overrides a key by its dotted "
               "path, such as steps=10 or roles.rollout.workers=2.",
        .missing = "the recipe is missing",
        .most = SIZE_MAX};
    tr_recipe_t *recipe = NULL;
    if (!parse(&line, argc, argv)) {
        return EX_USAGE;
    }
    tr_status status = command_load_recipe(&recipe, line.words, line.count);
    int exit_code =
        status == TR_OK ? run_again(recipe, line.values['a'] != NULL) : tr_status_exit_code(status);
    tr_recipe_destroy(&recipe);
    return exit_code;
}

/// Parses, and goes on.
int command_resume(int argc, char **argv)
{
    static const struct argp_option table[] = {MAX_TIME_OPTION, {0}};
    command_line_t line = {
        .options = table,
        .words_doc = "RUN_DIR [KEY=VALUE ...]",
        .doc = "Continue a run from its last checkpoint, to the same end as if it had never "
               "been stopped; or with more steps, another learning rate, other judges or machines: "
               "KEY=VALUE changes a key of its recipe from here on.",
        .missing = "the run directory is missing",
        .most = SIZE_MAX};
    return parse(&line, argc, argv) ? resume(line.words, line.count) : EX_USAGE;
}
