// The run directory: its paths, its lock, how it is made and opened, and the controller's address.
//
// Its checkpoints are in rundir_checkpoints.c. Every step of making a run may be the last before
// the process is killed, so the order of writes matters: recipe.yaml, which makes it a run, comes
// last.
#include "controller/rundir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "proto/endpoint.h"

enum { ADDRESS_LIMIT = 4096 }; ///< bytes of the file `endpoint`

/// A run directory that this process has locked.
struct controller_rundir {
    char *path;
    int lock; ///< descriptor of the file `lock`; -1 while not locked
    bool endpoint_written;
};

// Paths

/// path/name. Owned by the caller.
static char *joined(const char *path, const char *name)
{
    return tr_format("%s/%s", path, name);
}

static bool is_there(const char *path, const char *name)
{
    char *file = joined(path, name);
    bool there = access(file, F_OK) == 0;
    free(file);
    return there;
}

/// Whether the text has this end.
static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text);
    return length >= strlen(end) && strcmp(text + length - strlen(end), end) == 0;
}

const char *controller_rundir_path(const controller_rundir_t *rundir)
{
    return rundir->path;
}

char *controller_rundir_file(const controller_rundir_t *rundir, const char *name)
{
    return joined(rundir->path, name);
}

char *controller_rundir_checkpoint(const controller_rundir_t *rundir, uint64_t step)
{
    // Six digits, so that a listing is in order; a run of more steps has longer names.
    return tr_format("%s/checkpoints/step-%06" PRIu64, rundir->path, step);
}

// The lock

/// A lock on a file that its last holder has removed meanwhile keeps nobody out.
static bool is_file(int descriptor, const char *path)
{
    struct stat held, named;
    return fstat(descriptor, &held) == 0 && stat(path, &named) == 0 && held.st_ino == named.st_ino;
}

/// Locks the run for this process. The file goes with its holder, unless that is killed; the lock
/// goes in any case: flock belongs to the process.
static tr_status take_lock(controller_rundir_t *rundir, tr_error_t *err)
{
    char *file = joined(rundir->path, "lock");
    int lock = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock < 0) {
        free(file);
        return tr_fail(err, TR_ERR_IO, "cannot open '%s/lock': %s", rundir->path, strerror(errno));
    }
    int failed = flock(lock, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    bool removed = failed == 0 && !is_file(lock, file);
    free(file);
    if (failed == 0 && !removed) {
        rundir->lock = lock;
        return TR_OK;
    }
    close(lock);
    if (removed) {
        return take_lock(rundir, err);
    }
    // Whoever holds it lives: the kernel unlocks when a process ends, however it does.
    if (failed == EWOULDBLOCK) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "the run in '%s' is active in another process; let it end or stop it first",
                       rundir->path);
    }
    return tr_fail(err, TR_ERR_IO, "cannot lock '%s/lock': %s", rundir->path, strerror(failed));
}

// Life cycle

static controller_rundir_t *new_rundir(char *path)
{
    controller_rundir_t *rundir = tr_calloc(1, sizeof *rundir);
    rundir->path = path;
    // Not locked yet: destroy must not close descriptor 0.
    rundir->lock = -1;
    return rundir;
}

void controller_rundir_destroy(controller_rundir_t **rundir)
{
    if (*rundir == NULL) {
        return;
    }
    // Only by the object that wrote it: the `troupe` command opens run directories too.
    if ((*rundir)->endpoint_written) {
        char *file = joined((*rundir)->path, "endpoint");
        // A killed controller leaves the file; the next open removes it (clear_endpoint).
        unlink(file);
        free(file);
    }
    // Removed while it is held, so that nobody else's is removed; closing the descriptor unlocks.
    if ((*rundir)->lock >= 0) {
        char *file = joined((*rundir)->path, "lock");
        unlink(file);
        free(file);
        close((*rundir)->lock);
    }
    free((*rundir)->path);
    free(*rundir);
    *rundir = NULL;
}

/// Whether the name is of a file that a process killed while making a run may have left.
static bool is_beginning(const char *name)
{
    static const char *const NAMES[] = {".",           "..",   "lock",
                                        "checkpoints", "logs", "recipe.yaml.tmp"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        if (strcmp(name, NAMES[i]) == 0) {
            return true;
        }
    }
    return false;
}

/// Fails when the directory holds a run or anything else.
static tr_status check_vacant(const char *path, tr_error_t *err)
{
    // recipe.yaml comes last, so where it is there is a whole run.
    if (is_there(path, "recipe.yaml")) {
        return tr_fail(
            err, TR_ERR_ARGUMENT,
            "there is a run in '%s' already; go on with it by `troupe resume %s`, or give "
            "the new one another name",
            path, path);
    }
    DIR *listing = opendir(path);
    if (listing == NULL) {
        return tr_fail(err, TR_ERR_IO, "cannot list '%s': %s", path, strerror(errno));
    }
    // Files of others are never touched: a mistyped `output` must not cost data.
    bool vacant = true;
    // readdir also gives . and .., which a run in the making has as well.
    const struct dirent *entry;
    while ((entry = readdir(listing)) != NULL) {
        vacant = vacant && is_beginning(entry->d_name);
    }
    closedir(listing);
    return vacant ? TR_OK
                  : tr_fail(err, TR_ERR_ARGUMENT,
                            "'%s' is not empty and holds no run; give the run another name", path);
}

/// A run can be made where nothing is yet: what is there of the path is a directory to write in.
static tr_status check_parent(const char *path, tr_error_t *err)
{
    struct stat found;
    char *parent = tr_strdup(path);
    do { // "/" and "." are there
        char *slash = strrchr(parent, '/');
        if (slash == NULL) {
            parent[0] = '.';
        }
        parent[slash == NULL || slash == parent ? 1 : slash - parent] = '\0';
    } while (stat(parent, &found) != 0 && (errno == ENOENT || errno == ENOTDIR));
    tr_status status = TR_OK;
    if (!S_ISDIR(found.st_mode) || access(parent, W_OK | X_OK) != 0) {
        status = tr_fail(err, TR_ERR_IO,
                         "output: '%s' cannot be made: '%s' is no directory that "
                         "this user can write in",
                         path, parent);
    }
    free(parent);
    return status;
}

tr_status controller_rundir_check_vacant(const tr_recipe_t *recipe, tr_error_t *err)
{
    char *path = joined(recipe->output, recipe->name);
    tr_status status = access(path, F_OK) == 0 ? check_vacant(path, err) : check_parent(path, err);
    free(path);
    return status;
}

/// checkpoints/ and logs/, unless they are there.
static tr_status make_folders(const controller_rundir_t *rundir, tr_error_t *err)
{
    // The supervisor writes logs/ before the controller is there.
    static const char *const NAMES[] = {"checkpoints", "logs"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        char *folder = joined(rundir->path, NAMES[i]);
        tr_status status = tr_directory_make(folder, err);
        free(folder);
        TR_TRY(status);
    }
    return TR_OK;
}

/// Writes recipe.yaml, which makes the directory a run, and syncs all of it to the disk.
static tr_status write_recipe(const controller_rundir_t *rundir, const tr_recipe_t *recipe,
                              tr_error_t *err)
{
    char *file = joined(rundir->path, "recipe.yaml");
    // Atomically: recipe.yaml.tmp is renamed when its bytes are on the disk.
    tr_status status = tr_recipe_write(recipe, file, err);
    free(file);
    TR_TRY(status);
    TR_TRY(tr_directory_sync(rundir->path, err));
    // The directory's own name must reach the disk too.
    return tr_directory_sync_parent(rundir->path, err);
}

tr_status controller_rundir_create(controller_rundir_t **rundir, const tr_recipe_t *recipe,
                                   tr_error_t *err)
{
    *rundir = NULL;
    controller_rundir_t *made = new_rundir(joined(recipe->output, recipe->name));
    tr_status status;
    TR_TRY_GOTO(tr_directory_make(made->path, err), done);
    // Before the lock too: the sentence about the run that is there says more than one about a
    // lock.
    TR_TRY_GOTO(check_vacant(made->path, err), done);
    TR_TRY_GOTO(take_lock(made, err), done);
    TR_TRY_GOTO(check_vacant(made->path, err), done); // another process may have been quicker
    TR_TRY_GOTO(make_folders(made, err), done);
    TR_TRY_GOTO(write_recipe(made, recipe, err), done);
    // Taken: the clean-up below then finds NULL.
    *rundir = made;
    made = NULL;
done:
    controller_rundir_destroy(&made);
    return status;
}

/// Removes checkpoints that were never finished or were being removed.
static tr_status clear_parts(const controller_rundir_t *rundir, tr_error_t *err)
{
    char *folder = joined(rundir->path, "checkpoints");
    DIR *listing = opendir(folder);
    tr_status status = TR_OK;
    if (listing == NULL) {
        status = tr_fail(err, TR_ERR_IO, "cannot list '%s': %s", folder, strerror(errno));
    }
    const struct dirent *entry;
    while (status == TR_OK && (entry = readdir(listing)) != NULL) {
        // Also NAME.old.part: a checkpoint that was being replaced or pruned.
        if (ends_with(entry->d_name, ".part")) {
            char *part = joined(folder, entry->d_name);
            status = tr_directory_remove(part, err);
            free(part);
        }
    }
    if (listing != NULL) {
        closedir(listing);
    }
    free(folder);
    return status;
}

/// Removes the address of a controller that was killed, and its socket.
static tr_status clear_endpoint(const controller_rundir_t *rundir, tr_error_t *err)
{
    char *file = joined(rundir->path, "endpoint"), *address = NULL;
    size_t length;
    tr_status status = TR_OK;
    if (tr_file_read(&address, &length, file, ADDRESS_LIMIT, NULL) == TR_OK) {
        address[strcspn(address, "\r\n")] = '\0';
        tr_endpoint_forget(address);
        free(address);
    }
    // No file is the usual case: the controller removes it when it ends.
    if (unlink(file) != 0 && errno != ENOENT) {
        status = tr_fail(err, TR_ERR_IO, "cannot remove '%s': %s", file, strerror(errno));
    }
    free(file);
    return status;
}

/// Fails unless the directory is a run's.
static tr_status check_run(const char *path, tr_error_t *err)
{
    // Nothing else is looked at: recipe.yaml is written last.
    return is_there(path, "recipe.yaml")
               ? TR_OK
               : tr_fail(
                     err, TR_ERR_ARGUMENT,
                     "there is no run in '%s': it has no recipe.yaml; name a run directory, such "
                     "as runs/NAME",
                     path);
}

tr_status controller_rundir_open(controller_rundir_t **rundir, const char *path, tr_error_t *err)
{
    *rundir = NULL;
    // Before the lock, whose file would be made in any directory.
    TR_TRY(check_run(path, err));
    controller_rundir_t *made = new_rundir(tr_strdup(path));
    tr_status status;
    TR_TRY_GOTO(take_lock(made, err), done);
    // Removed by hand, perhaps to save space: a run without checkpoints begins anew.
    TR_TRY_GOTO(make_folders(made, err), done);
    // Only with the lock: another controller may be writing a checkpoint.
    TR_TRY_GOTO(clear_parts(made, err), done);
    TR_TRY_GOTO(clear_endpoint(made, err), done);
    *rundir = made;
    made = NULL;
done:
    controller_rundir_destroy(&made);
    return status;
}

// The controller's address

tr_status controller_rundir_write_endpoint(controller_rundir_t *rundir, const char *endpoint,
                                           tr_error_t *err)
{
    char *file = joined(rundir->path, "endpoint");
    // A line, for shells.
    char *line = tr_format("%s\n", endpoint);
    // Workers poll for the file, so they must never read half an address.
    tr_status status = tr_file_write_atomic(file, line, strlen(line), err);
    // Destroying the object then removes the file: the address ends with the controller.
    rundir->endpoint_written |= status == TR_OK;
    free(line);
    free(file);
    return status;
}
