// A file that grows by whole records. Apart from the formats (lines.c, events.c), which share its
// promise: a failed write leaves the file as it was.
#include "controller/appender.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"

/// Written with write(2), not stdio: a record is visible to readers when the call returns.
struct controller_appender {
    char *path;
    int descriptor;
    off_t size; // bytes of whole records: where a failed write is cut
};

/// The sentence of a failed system call, with its errno.
static tr_status failed(const controller_appender_t *appender, const char *what, tr_error_t *err)
{
    return tr_fail(err, TR_ERR_IO, "cannot %s '%s': %s", what, appender->path, strerror(errno));
}

tr_status controller_appender_open(controller_appender_t **appender, const char *path,
                                   uint64_t keep, tr_error_t *err)
{
    *appender = NULL;
    controller_appender_t *made = tr_calloc(1, sizeof *made);
    made->path = tr_strdup(path);
    // What is kept is known before the file is opened, so an error in it leaves the file as it was.
    made->size = (off_t)keep;
    // O_APPEND: each write goes to the end, wherever a reader or a cut has left the file.
    made->descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    tr_status status = TR_OK;
    if (made->descriptor < 0) {
        status = failed(made, "open", err);
    } else if (ftruncate(made->descriptor, made->size) != 0) {
        status = failed(made, "cut", err);
    } else {
        // A new file's name must reach the disk too.
        status = tr_directory_sync_parent(path, err);
    }
    if (status != TR_OK) {
        controller_appender_destroy(&made);
    }
    *appender = made;
    return status;
}

/// Removes what a failed write left. errno is the reason of that failure.
static tr_status take_back(const controller_appender_t *appender, tr_error_t *err)
{
    // ftruncate overwrites errno.
    int code = errno;
    // A reader must never see a part of a record: a line of JSON would be torn, an event
    // unreadable.
    bool whole = ftruncate(appender->descriptor, appender->size) == 0;
    return tr_fail(err, TR_ERR_IO, "cannot write to '%s'%s: %s", appender->path,
                   whole ? "" : ", whose end is torn now", strerror(code));
}

tr_status controller_appender_write(controller_appender_t *appender, const void *data,
                                    size_t length, tr_error_t *err)
{
    const char *next = data;
    // Size grows only at the end, so that a failure can cut the file to where it was.
    size_t left = length;
    while (left > 0) {
        ssize_t written = write(appender->descriptor, next, left);
        // write may take less than it is given, or be interrupted by a signal.
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written < 0) {
            return take_back(appender, err);
        }
        // A part may be written when the disk is nearly full; the next call then gives the reason.
        next += written;
        left -= (size_t)written;
    }
    appender->size += (off_t)length;
    return TR_OK;
}

tr_status controller_appender_sync(controller_appender_t *appender, tr_error_t *err)
{
    // Not at every write: a crash may cost lines that the resumed run writes again.
    return fsync(appender->descriptor) == 0 ? TR_OK : failed(appender, "sync", err);
}

void controller_appender_destroy(controller_appender_t **appender)
{
    if (*appender == NULL) {
        return;
    }
    // -1 after a failed open.
    if ((*appender)->descriptor >= 0) {
        close((*appender)->descriptor);
    }
    // No sync: what matters was synced before a checkpoint was committed.
    free((*appender)->path);
    free(*appender);
    *appender = NULL;
}
