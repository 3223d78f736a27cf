// A folder for a test's files, and files written by hand.
//
// Below TMPDIR, under a fresh name: tests run at the same time. A folder of a failed test stays, to
// be looked at.
#include "tests/support/scratch.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/file.h"

char *scratch_open(void)
{
    const char *parent = getenv("TMPDIR");
    char *folder = tr_format("%s/troupe-test-XXXXXX", parent == NULL ? "/tmp" : parent);
    cr_assert_not_null(mkdtemp(folder));
    return folder;
}

void scratch_close(char **folder)
{
    tr_error_t err = {0};
    cr_assert_eq(tr_directory_remove(*folder, &err), TR_OK, "%s", err.text);
    free(*folder);
    *folder = NULL;
}

char *scratch_write(const char *folder, const char *name, const void *data, size_t length)
{
    char *path = tr_format("%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file, "cannot write '%s'", path);
    cr_assert_eq(fwrite(data, 1, length, file), length);
    // buffered bytes are written here
    cr_assert_eq(fclose(file), 0);
    return path;
}

char *scratch_read(const char *path, size_t *length)
{
    tr_error_t err = {0};
    char *text = NULL;
    size_t bytes;
    cr_assert_eq(tr_file_read(&text, &bytes, path, (size_t)1 << 30, &err), TR_OK, "%s", err.text);
    if (length != NULL) {
        *length = bytes;
    }
    return text;
}

size_t scratch_count(const char *folder)
{
    size_t count = 0;
    DIR *listing = opendir(folder);
    cr_assert_not_null(listing, "cannot list '%s'", folder);
    while (readdir(listing) != NULL) {
        count++;
    }
    closedir(listing);
    // "." and ".."
    return count - 2;
}
