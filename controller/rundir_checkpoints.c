// The checkpoints of a run directory: begun under a temporary name, committed, listed, pruned.
//
// Apart from rundir.c because all of it serves one promise: a directory named step-NNNNNN is
// complete, whenever the machine stops. Rename is atomic; so each change of a checkpoint is one
// rename, and everything else happens under names that end in `.part`.
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "controller/checksums.h"
#include "controller/rundir.h"

/// The name under which a checkpoint is written.
static char *part_of(const controller_rundir_t *rundir, uint64_t step)
{
    char *path = controller_rundir_checkpoint(rundir, step);
    char *part = tr_format("%s.part", path);
    free(path);
    return part;
}

/// Renames, atomically.
static tr_status move(const char *from, const char *to, tr_error_t *err)
{
    // Within one directory: rename is atomic there, and fails across file systems.
    return rename(from, to) == 0 ? TR_OK
                                 : tr_fail(err, TR_ERR_IO, "cannot rename '%s' to '%s': %s", from,
                                           to, strerror(errno));
}

/// The name that a checkpoint gets before it is removed, so that a half removed one has no final
/// name.
static char *away_of(const char *path)
{
    return tr_format("%s.old.part", path);
}

/// Removes a checkpoint.
static tr_status discard(const char *path, tr_error_t *err)
{
    char *away = away_of(path);
    tr_status status;
    // What an attempt that failed has left.
    TR_TRY_GOTO(tr_directory_remove(away, err), done);
    TR_TRY_GOTO(move(path, away, err), done);
    TR_TRY_GOTO(tr_directory_remove(away, err), done);
done:
    free(away);
    return status;
}

tr_status controller_rundir_checkpoint_begin(char **path, const controller_rundir_t *rundir,
                                             uint64_t step, tr_error_t *err)
{
    *path = part_of(rundir, step);
    // A run that was killed while it saved this step has left one.
    tr_status status = tr_directory_remove(*path, err);
    if (status == TR_OK) {
        status = tr_directory_make(*path, err);
    }
    if (status != TR_OK) {
        free(*path);
        *path = NULL;
    }
    return status;
}

tr_status controller_rundir_checkpoint_commit(const controller_rundir_t *rundir, uint64_t step,
                                              tr_error_t *err)
{
    char *path = controller_rundir_checkpoint(rundir, step);
    char *part = part_of(rundir, step);
    char *away = away_of(path);
    tr_status status;
    TR_TRY_GOTO(controller_checksums_write(part, err), done);
    // The bytes must be on the disk before the name says that they are.
    TR_TRY_GOTO(tr_directory_sync_tree(part, err), done);
    // A run that went back writes a step's checkpoint again.
    if (access(path, F_OK) == 0) {
        TR_TRY_GOTO(tr_directory_remove(away, err), done);
        // A directory that is not empty cannot be renamed over.
        TR_TRY_GOTO(move(path, away, err), done);
    }
    TR_TRY_GOTO(move(part, path, err), done);
    // The rename itself must reach the disk before the old checkpoint goes.
    TR_TRY_GOTO(tr_directory_sync_parent(path, err), done);
    TR_TRY_GOTO(tr_directory_remove(away, err), done);
done:
    free(away);
    free(part);
    free(path);
    return status;
}

// Listing

typedef struct steps {
    uint64_t *items; ///< [count], ascending
    size_t count;
} steps_t;

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/// Whether the name is exactly the one that controller_rundir_checkpoint gives a step, and a
/// directory has it.
static bool is_checkpoint(uint64_t *step, const controller_rundir_t *rundir, const char *name)
{
    static const char START[] = "step-";
    struct stat info;
    if (strncmp(name, START, strlen(START)) != 0) {
        return false;
    }
    // A number too large gives ULLONG_MAX, whose name is another one.
    *step = strtoull(name + strlen(START), NULL,
                     10); // whether that was all of the name is checked below
    char *path = controller_rundir_checkpoint(rundir, *step);
    // Names by hand such as step-9 or step-000009-copy are the user's, and stay.
    bool whole = strcmp(strrchr(path, '/') + 1, name) == 0 && stat(path, &info) == 0 &&
                 S_ISDIR(info.st_mode);
    free(path);
    return whole;
}

/// All complete checkpoints, by step. The caller frees steps->items, after a failure too.
static tr_status list(steps_t *steps, const controller_rundir_t *rundir, tr_error_t *err)
{
    *steps = (steps_t){0};
    char *folder = controller_rundir_file(rundir, "checkpoints");
    DIR *listing = opendir(folder);
    if (listing == NULL) {
        tr_status status = tr_fail(err, TR_ERR_IO, "cannot list '%s': %s", folder, strerror(errno));
        free(folder);
        return status;
    }
    const struct dirent *entry;
    uint64_t step;
    // Names that end in .part, and files that are not ours, are passed over.
    while ((entry = readdir(listing)) != NULL) {
        if (is_checkpoint(&step, rundir, entry->d_name)) {
            // A run keeps a handful of checkpoints.
            steps->items = tr_realloc(steps->items, (steps->count + 1) * sizeof *steps->items);
            steps->items[steps->count++] = step;
        }
    }
    closedir(listing);
    free(folder);
    if (steps->count > 0) {
        // As numbers: step-1000000 comes behind step-999999, though not as text.
        qsort(steps->items, steps->count, sizeof *steps->items, compare);
    }
    return TR_OK;
}

tr_status controller_rundir_checkpoint_latest(uint64_t *step, const controller_rundir_t *rundir,
                                              tr_error_t *err)
{
    steps_t steps;
    *step = 0;
    TR_TRY(list(&steps, rundir, err));
    if (steps.count > 0) {
        // The list ascends, so the last one is the newest.
        *step = steps.items[steps.count - 1];
    }
    free(steps.items);
    return TR_OK;
}

/// Gives a damaged checkpoint a name that no reader takes for one.
static tr_status set_aside(const controller_rundir_t *rundir, uint64_t step, tr_error_t *err)
{
    char *path = controller_rundir_checkpoint(rundir, step);
    char *aside = tr_format("%s.damaged", path);
    // One that the same step left earlier.
    tr_status status = tr_directory_remove(aside, err);
    if (status == TR_OK) {
        status = move(path, aside, err);
    }
    free(aside);
    free(path);
    return status;
}

tr_status controller_rundir_checkpoint_verify(uint64_t *step, char **damage,
                                              const controller_rundir_t *rundir, tr_error_t *err)
{
    steps_t steps;
    size_t whole;
    tr_error_t newest = {0};
    tr_status status;
    *step = 0;
    *damage = NULL;
    TR_TRY_GOTO(list(&steps, rundir, err), done);
    // Newest first, up to one that is whole.
    for (whole = steps.count; whole > 0; whole--) {
        char *path = controller_rundir_checkpoint(rundir, steps.items[whole - 1]);
        tr_error_t found = {0};
        status = controller_checksums_check(path, &found);
        free(path);
        if (status == TR_OK) {
            break;
        }
        newest = whole == steps.count ? found : newest;
    }
    if (whole == 0 && steps.count > 0) {
        status = tr_fail(err, TR_ERR_FORMAT,
                         "no checkpoint of '%s' is whole: %s; to begin the run anew, remove them",
                         controller_rundir_path(rundir), newest.text);
        goto done;
    }
    // Only now: where nothing is whole, everything stays as it is.
    for (size_t i = whole; i < steps.count; i++) {
        TR_TRY_GOTO(set_aside(rundir, steps.items[i], err), done);
    }
    *step = whole > 0 ? steps.items[whole - 1] : 0;
    if (whole < steps.count) {
        *damage = tr_format("a checkpoint is damaged: %s; the run goes on from step %" PRIu64
                            ", and keeps the damaged one as step-%06" PRIu64 ".damaged",
                            newest.text, *step, steps.items[steps.count - 1]);
    }
done:
    free(steps.items);
    return status;
}

tr_status controller_rundir_checkpoint_prune(const controller_rundir_t *rundir, uint64_t keep,
                                             uint64_t best, tr_error_t *err)
{
    TR_ASSERT(keep >= 1, "keep %" PRIu64, keep);
    steps_t steps;
    TR_TRY(list(&steps, rundir, err));
    tr_status status = TR_OK;
    // Oldest first: a kill in between leaves the newest ones.
    for (size_t i = 0; i + keep < steps.count && status == TR_OK; i++) {
        if (steps.items[i] == best) {
            continue;
        }
        char *path = controller_rundir_checkpoint(rundir, steps.items[i]);
        status = discard(path, err);
        free(path);
    }
    free(steps.items);
    return status;
}

// The best one

tr_status controller_rundir_link_best(const controller_rundir_t *rundir, uint64_t step,
                                      tr_error_t *err)
{
    char *link = controller_rundir_file(rundir, "best");
    char *fresh = controller_rundir_file(rundir, "best.tmp");
    char *path = controller_rundir_checkpoint(rundir, step);
    // Relative, so that a run directory can be moved.
    const char *target = path + strlen(controller_rundir_path(rundir)) + 1;
    tr_status status = TR_OK;
    // Made aside and renamed, so that a reader always finds one of the two.
    if ((unlink(step == 0 ? link : fresh) != 0 && errno != ENOENT) ||
        (step > 0 && symlink(target, fresh) != 0)) {
        status = tr_fail(err, TR_ERR_IO, "cannot link '%s': %s", link, strerror(errno));
    } else if (step > 0) {
        status = move(fresh, link, err);
    }
    free(path);
    free(fresh);
    free(link);
    return status;
}
