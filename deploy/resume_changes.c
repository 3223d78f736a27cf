// The changes that `troupe resume` makes. Which keys may change is common/recipe/resumed.h.
#include "deploy/resume_changes.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/recipe/resumed.h"
#include "controller/checkpoint.h"
#include "controller/rows.h"
#include "controller/rundir.h"

/// Whether final/ is there, which a run writes last.
static bool is_finished(const char *directory)
{
    char *path = tr_format("%s/final", directory);
    bool there = access(path, F_OK) == 0;
    free(path);
    return there;
}

/// The recipe that the run was saved with: its last checkpoint's, else its own. *step: the
/// checkpoint's, 0: none.
static tr_status load_saved(tr_recipe_t **recipe, uint64_t *step, const char *directory,
                            tr_error_t *err)
{
    controller_rundir_t *rundir;
    tr_recipe_problems_t problems = {0};
    char *text = NULL;
    size_t length = 0;
    TR_TRY(controller_rundir_open(&rundir, directory, err));
    tr_status status = controller_rundir_checkpoint_latest(step, rundir, err);
    char *checkpoint = controller_rundir_checkpoint(rundir, *step);
    char *path = tr_format("%s/recipe.yaml", checkpoint);
    if (*step == 0 || access(path, F_OK) != 0) {
        free(path);
        path = tr_format("%s/recipe.yaml", directory);
    }
    status = status == TR_OK ? tr_file_read(&text, &length, path, 1 << 20, err) : status;
    if (status == TR_OK &&
        tr_recipe_parse(recipe, text, length, path, NULL, 0, &problems) != TR_OK) {
        status = tr_fail(err, TR_ERR_FORMAT, "%s", problems.texts[0]);
    }
    tr_recipe_problems_release(&problems);
    free(text);
    free(path);
    free(checkpoint);
    controller_rundir_destroy(&rundir);
    return status;
}

/// The data as the controller will read it: what it would refuse is refused before anything is
/// written.
static tr_status check_data(const tr_recipe_t *recipe, const char *directory, uint64_t step,
                            tr_error_t *err)
{
    controller_rundir_t *rundir;
    controller_data_t data;
    TR_TRY(controller_rundir_open(&rundir, directory, err));
    tr_status status = controller_data_load(&data, recipe, false, err);
    if (status != TR_OK) {
        controller_data_print_mistakes(stderr, &data);
    } else if (step > 0) {
        uint64_t checksum;
        status = controller_data_checksum(&checksum, &data, recipe, err);
        if (status == TR_OK) {
            status = controller_checkpoint_check_rows(rundir, step, recipe, checksum, err);
        }
    }
    controller_data_release(&data);
    controller_rundir_destroy(&rundir);
    return status;
}

/// One line of changes.jsonl: since which step, and what.
static tr_status record(const char *directory, uint64_t step, const tr_texts_t *changes,
                        tr_error_t *err)
{
    char *path = tr_format("%s/changes.jsonl", directory);
    json_t *line = json_pack("{s:I, s:[]}", "step", (json_int_t)step, "changes");
    for (size_t i = 0; i < changes->count; i++) {
        json_array_append_new(json_object_get(line, "changes"), json_string(changes->items[i]));
        printf("changed after step %llu: %s\n", (unsigned long long)step, changes->items[i]);
    }
    FILE *file = fopen(path, "a");
    bool written = file != NULL && json_dumpf(line, file, 0) == 0 && fputc('\n', file) != EOF;
    written = (file == NULL || fclose(file) == 0) && written;
    tr_status status =
        written ? TR_OK : tr_fail(err, TR_ERR_IO, "cannot write '%s': %s", path, strerror(errno));
    json_decref(line);
    free(path);
    return status;
}

/// Makes the changes part of the run: its recipe, their record, and what more steps leave behind.
static tr_status change(const tr_recipe_t *recipe, const char *directory, uint64_t step,
                        const tr_texts_t *changes, tr_error_t *err)
{
    static const char *const outdated[] = {"final", "reference-train.safetensors"};
    TR_TRY(record(directory, step, changes, err));
    // both are made anew where they are needed
    for (size_t i = 0; i < sizeof outdated / sizeof outdated[0]; i++) {
        char *path = tr_format("%s/%s", directory, outdated[i]);
        tr_status status = tr_directory_remove(path, err);
        free(path);
        TR_TRY(status);
    }
    char *path = tr_format("%s/recipe.yaml", directory);
    tr_status status = tr_recipe_write(recipe, path, err);
    free(path);
    return status;
}

tr_status resume_changes(bool *finished, const tr_recipe_t *recipe, const char *directory,
                         tr_error_t *err)
{
    tr_recipe_t *saved = NULL;
    tr_texts_t changes = {0};
    uint64_t step = 0;
    tr_status status;
    TR_TRY_GOTO(load_saved(&saved, &step, directory, err), done);
    TR_TRY_GOTO(tr_recipe_compare_resumed(&changes, saved, recipe, err), done);
    if (recipe->steps < step) {
        status = tr_fail(err, TR_ERR_ARGUMENT, "steps: the run has taken %llu already",
                         (unsigned long long)step);
        goto done;
    }
    *finished = is_finished(directory) && recipe->steps <= saved->steps;
    if (!*finished && changes.count > 0) {
        TR_TRY_GOTO(check_data(recipe, directory, step, err), done);
        status = change(recipe, directory, step, &changes, err);
    }
done:
    tr_texts_release(&changes);
    tr_recipe_destroy(&saved);
    return status;
}
