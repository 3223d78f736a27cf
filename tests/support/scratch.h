/// A folder for a test's files, removed when the test ends, and files written by hand.
///
///     char *folder = scratch_open();
///     char *path = scratch_write(folder, "config.json", text, strlen(text));
///     ...
///     free(path);
///     scratch_close(&folder);
///
/// Every failure fails the Criterion test.
#ifndef TESTS_SUPPORT_SCRATCH_H
#define TESTS_SUPPORT_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>

/// An empty folder of a fresh name.
char *scratch_open(void);
void scratch_close(char **folder);

/// Writes folder/name; returns its path, owned by the caller.
char *scratch_write(const char *folder, const char *name, const void *data, size_t length);

/// All of a file, NUL terminated, owned by the caller. length: written unless NULL.
char *scratch_read(const char *path, size_t *length);

/// A file of two folders has the same bytes.
void scratch_expect_same(const char *a, const char *b, const char *name);

/// How many entries a folder has, "." and ".." not counted.
size_t scratch_count(const char *folder);

#endif
