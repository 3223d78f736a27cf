/// Whole files and directories (file.h).
///
/// A file that must survive a crash is written in the order write, fsync, rename, fsync of the
/// directory. For a file the order stands here, in tr_file_replace; directories of models
/// (common/hf/directory.c) and checkpoints (controller/rundir_checkpoints.c) follow it in larger
/// steps, with tr_directory_sync_tree.
#include "common/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

tr_status tr_file_read(char **text, size_t *length, const char *path, size_t limit, tr_error_t *err)
{
    *text = NULL;
    *length = 0;
    // opened before it is looked at, so that what is checked is what is read
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return tr_fail(err, TR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    }
    struct stat info;
    // A device or a pipe has no size and could block or never end.
    if (fstat(fileno(file), &info) != 0 || !S_ISREG(info.st_mode)) {
        fclose(file);
        return tr_fail(err, TR_ERR_IO, "cannot read '%s': not a regular file", path);
    }
    // before memory is allocated: the path may lead to another file than was meant
    if ((size_t)info.st_size > limit) {
        fclose(file);
        return tr_fail(err, TR_ERR_FORMAT, "'%s' has %lld bytes; at most %zu are read", path,
                       (long long)info.st_size, limit);
    }
    // One more byte for the terminator, so that text can be parsed without its length.
    char *data = tr_alloc((size_t)info.st_size + 1);
    size_t count = fread(data, 1, (size_t)info.st_size, file);
    int failed = ferror(file);
    fclose(file);
    // Shorter than its size: the file was truncated while it was read.
    if (failed || count != (size_t)info.st_size) {
        free(data);
        return tr_fail(err, TR_ERR_IO, "cannot read '%s' to its end", path);
    }
    data[count] = '\0';
    *text = data;
    *length = count;
    return TR_OK;
}

bool tr_file_write_all(int descriptor, const void *data, size_t length)
{
    const char *at = data;
    while (length > 0) {
        ssize_t written = write(descriptor, at, length);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written < 0) {
            return false;
        }
        at += written;
        length -= (size_t)written;
    }
    return true;
}

/// fsync of a file or directory. 0, or -1 with errno. flags: O_DIRECTORY refuses anything else.
static int sync_path(const char *path, int flags)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | flags);
    if (descriptor < 0) {
        return -1;
    }
    int result = fsync(descriptor);
    // close may set errno too
    int code = errno;
    close(descriptor);
    errno = code;
    return result;
}

tr_status tr_directory_sync(const char *path, tr_error_t *err)
{
    return sync_path(path, O_DIRECTORY) == 0
               ? TR_OK
               : tr_fail(err, TR_ERR_IO, "cannot sync directory '%s': %s", path, strerror(errno));
}

/// For nftw. A link has no data of its own.
static int sync_entry(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)where;
    return kind == FTW_SL || kind == FTW_SLN ? 0 : sync_path(path, 0);
}

tr_status tr_directory_sync_tree(const char *path, tr_error_t *err)
{
    return nftw(path, sync_entry, 16, FTW_DEPTH | FTW_PHYS) == 0
               ? TR_OK
               : tr_fail(err, TR_ERR_IO, "cannot sync '%s': %s", path, strerror(errno));
}

/// A new name is an entry of its directory, so the directory is what has to be synced after a
/// rename.
tr_status tr_directory_sync_parent(const char *path, tr_error_t *err)
{
    const char *slash = strrchr(path, '/');
    // "a/b" lies in "a/", "/b" in "/", and "b" in ".".
    char *parent = slash == NULL ? tr_strdup(".") : tr_format("%.*s/", (int)(slash - path), path);
    tr_status status = tr_directory_sync(parent, err);
    free(parent);
    return status;
}

tr_status tr_file_replace(const char *path,
                          tr_status (*fill)(const void *context, int descriptor,
                                            const char *temporary, tr_error_t *err),
                          const void *context, tr_error_t *err)
{
    char *temporary = tr_format("%s.tmp", path);
    tr_status status = TR_OK;
    // in the same directory, since a rename does not cross file systems
    int descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (descriptor < 0) {
        status = tr_fail(err, TR_ERR_IO, "cannot write '%s': %s", temporary, strerror(errno));
        free(temporary);
        return status;
    }
    status = fill(context, descriptor, temporary, err);
    // Some file systems report a full disk only here.
    if (close(descriptor) != 0 && status == TR_OK) {
        status = tr_fail(err, TR_ERR_IO, "cannot close '%s': %s", temporary, strerror(errno));
    }
    if (status == TR_OK && rename(temporary, path) != 0) {
        status = tr_fail(err, TR_ERR_IO, "cannot rename '%s' to '%s': %s", temporary, path,
                         strerror(errno));
    }
    // No half-written file stays behind; the old one is untouched.
    if (status != TR_OK) {
        unlink(temporary);
    }
    free(temporary);
    return status == TR_OK ? tr_directory_sync_parent(path, err) : status;
}

/// Bytes that become a file.
typedef struct content {
    const void *data;
    size_t length;
} content_t;

static tr_status fill_content(const void *context, int descriptor, const char *temporary,
                              tr_error_t *err)
{
    const content_t *content = context;
    // The data must be on disk before the rename is: otherwise a crash could leave the new name
    // with an empty file.
    return tr_file_write_all(descriptor, content->data, content->length) && fsync(descriptor) == 0
               ? TR_OK
               : tr_fail(err, TR_ERR_IO, "cannot write '%s': %s", temporary, strerror(errno));
}

tr_status tr_file_write_atomic(const char *path, const void *data, size_t length, tr_error_t *err)
{
    const content_t content = {data, length};
    return tr_file_replace(path, fill_content, &content, err);
}

/// Makes the directory, or finds it there. False with errno otherwise; ENOTDIR where path is
/// something else.
static bool directory_there(const char *path)
{
    struct stat info;
    if (mkdir(path, 0777) == 0) {
        return true;
    }
    // another process may have made it in between: that is no failure
    if (errno != EEXIST || stat(path, &info) != 0) {
        return false;
    }
    // the reason, for a caller that gets false below
    errno = ENOTDIR;
    return S_ISDIR(info.st_mode);
}

tr_status tr_directory_make(const char *path, tr_error_t *err)
{
    char *copy = tr_strdup(path);
    tr_status status = TR_OK;
    // Cuts the path at each slash in turn: a, a/b, a/b/c.
    for (char *p = copy + (copy[0] == '/');; p++) {
        if (*p != '/' && *p != '\0') {
            continue;
        }
        char end = *p;
        *p = '\0';
        if (!directory_there(copy)) {
            // copy ends at the part that failed, so the sentence names that part
            status =
                tr_fail(err, TR_ERR_IO, "cannot make directory '%s': %s", copy, strerror(errno));
            break;
        }
        *p = end;
        if (end == '\0') {
            break;
        }
    }
    free(copy);
    return status;
}

/// For nftw, which calls it for the entries of a directory before the directory itself (FTW_DEPTH).
static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    // a link is removed as such (FTW_PHYS), not what it points to
    return remove(path);
}

tr_status tr_directory_remove(const char *path, tr_error_t *err)
{
    struct stat info;
    // a link to nothing is there too, so stat would not do
    if (lstat(path, &info) != 0) {
        return TR_OK;
    }
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0) {
        return tr_fail(err, TR_ERR_IO, "cannot remove '%s': %s", path, strerror(errno));
    }
    return TR_OK;
}

char *tr_directory_current(void)
{
    char *path = get_current_dir_name();
    return path != NULL ? path : tr_strdup(".");
}

char *tr_directory_of_program(void)
{
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0) {
        return NULL;
    }
    path[length] = '\0';
    // An absolute path: there is a slash.
    *strrchr(path, '/') = '\0';
    return tr_strdup(path);
}
