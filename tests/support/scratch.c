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

void scratch_expect_same(const char *a, const char *b, const char *name)
{
    size_t lengths[2];
    char *paths[2] = {tr_format("%s/%s", a, name), tr_format("%s/%s", b, name)};
    char *texts[2] = {scratch_read(paths[0], &lengths[0]), scratch_read(paths[1], &lengths[1])};
    cr_assert_eq(lengths[0], lengths[1], "%s", paths[1]);
    cr_expect_arr_eq(texts[0], texts[1], lengths[0], "%s", paths[1]);
    for (size_t i = 0; i < 2; i++) {
        free(texts[i]);
        free(paths[i]);
    }
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
