/// Files: whole reads with a bound, and writes that are either all there or not there.
#ifndef TR_BASE_FILE_H
#define TR_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"

/// Reads a file of at most `limit` bytes. *text: owned by the caller (free), NUL terminated after
/// *length bytes.
tr_status tr_file_read(char **text, size_t *length, const char *path, size_t limit,
                       tr_error_t *err);

/// All of data: [length], however often write is interrupted or takes a part only. False with
/// errno.
bool tr_file_write_all(int descriptor, const void *data, size_t length);

/// Makes path.tmp, has `fill` write and sync it, renames it to path and syncs the directory: a
/// reader sees the old file or the new. temporary: path.tmp, for the sentences of `fill`. After a
/// failure, of `fill` too, path is as it was, and path.tmp is gone.
tr_status tr_file_replace(const char *path,
                          tr_status (*fill)(const void *context, int descriptor,
                                            const char *temporary, tr_error_t *err),
                          const void *context, tr_error_t *err);

/// tr_file_replace with data: [length].
tr_status tr_file_write_atomic(const char *path, const void *data, size_t length, tr_error_t *err);

/// mkdir -p: every part that is missing. TR_ERR_IO also where a part is no directory.
tr_status tr_directory_make(const char *path, tr_error_t *err);

/// rm -r; a path that does not exist is no error. Follows no links.
tr_status tr_directory_remove(const char *path, tr_error_t *err);

/// fsync of a directory, so that a rename in it survives a power cut.
tr_status tr_directory_sync(const char *path, tr_error_t *err);

/// fsync of the directory and all that is in it, children before parents. Follows no links.
tr_status tr_directory_sync_tree(const char *path, tr_error_t *err);

/// The directory of this program. Owned by the caller (free); NULL, with errno set, where the
/// system does not tell.
char *tr_directory_of_program(void);

/// The current directory, absolute. Owned by the caller (free); "." where the system does not tell.
char *tr_directory_current(void);

/// tr_directory_sync of the directory in which path lies.
tr_status tr_directory_sync_parent(const char *path, tr_error_t *err);

#endif
