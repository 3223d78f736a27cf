/// Files are read within a limit and written whole or not at all; directories come and go with
/// everything in them.
#include "common/base/file.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/scratch.h"

static char *folder; // where the tests run
static tr_error_t err;

static void setup(void)
{
    folder = scratch_open();
    cr_assert_eq(chdir(folder), 0);
}

static void teardown(void)
{
    scratch_close(&folder);
}

TestSuite(file, .init = setup, .fini = teardown, .timeout = 30);

static void expect_content(const char *path, const char *expected, size_t count)
{
    char *text;
    size_t length;
    cr_assert_eq(tr_file_read(&text, &length, path, 100, &err), TR_OK, "%s", err.text);
    cr_expect_eq(length, count);
    cr_expect_eq(memcmp(text, expected, count + 1), 0); // with the NUL at the end
    free(text);
}

Test(file, what_was_written_is_read_with_its_zero_bytes)
{
    cr_assert_eq(tr_file_write_atomic("a", "x\0y", 3, &err), TR_OK, "%s", err.text);
    expect_content("a", "x\0y", 3);
    cr_assert_eq(tr_file_write_atomic("a", "", 0, &err), TR_OK, "%s", err.text);
    expect_content("a", "", 0);
    cr_expect_neq(access("a.tmp", F_OK), 0);
}

Test(file, a_write_that_fails_leaves_the_old_file)
{
    cr_assert_eq(tr_file_write_atomic("a", "old", 3, &err), TR_OK, "%s", err.text);
    cr_assert_eq(mkdir("a.tmp", 0777), 0); // where the new one would be staged
    cr_expect_eq(tr_file_write_atomic("a", "new", 3, &err), TR_ERR_IO);
    expect_content("a", "old", 3);
}

Test(file, what_cannot_be_read_is_named)
{
    char *text;
    size_t length;
    cr_assert_eq(tr_file_write_atomic("long", "0123456789", 10, &err), TR_OK, "%s", err.text);
    cr_expect_eq(tr_file_read(&text, &length, "long", 9, &err), TR_ERR_FORMAT);
    cr_expect_not_null(strstr(err.text, "'long'"), "%s", err.text);
    cr_expect_eq(tr_file_read(&text, &length, "none", 9, &err), TR_ERR_IO);
    cr_expect_not_null(strstr(err.text, "'none'"), "%s", err.text);
    cr_expect_eq(tr_file_read(&text, &length, folder, 9, &err), TR_ERR_IO);
    cr_expect_not_null(strstr(err.text, folder), "%s", err.text);
}

Test(file, directories_are_made_with_their_parents_and_again)
{
    static const char *const paths[] = {"one", "one/two/three", "one//four/", "./five"};
    char *absolute = tr_format("%s/six/seven", folder);
    struct stat info;
    for (size_t i = 0; i < 8; i++) {
        const char *path = paths[i % 4];
        cr_expect_eq(tr_directory_make(path, &err), TR_OK, "%s", err.text);
        cr_expect(stat(path, &info) == 0 && S_ISDIR(info.st_mode), "%s", path);
    }
    cr_expect_eq(tr_directory_make(absolute, &err), TR_OK, "%s", err.text);
    cr_expect_eq(access("six/seven", W_OK), 0);
    free(absolute);
}

Test(file, a_directory_goes_with_all_that_is_in_it)
{
    cr_assert_eq(tr_directory_make("one/two", &err), TR_OK, "%s", err.text);
    cr_assert_eq(tr_file_write_atomic("kept", "x", 1, &err), TR_OK, "%s", err.text);
    cr_assert_eq(symlink("../../kept", "one/two/link"), 0);
    cr_expect_eq(tr_directory_remove("one", &err), TR_OK, "%s", err.text);
    cr_expect_eq(tr_directory_remove("one", &err), TR_OK, "none is no error: %s", err.text);
    cr_expect_neq(access("one", F_OK), 0);
    expect_content("kept", "x", 1);
}

Test(file, a_file_is_no_directory_and_nothing_is_no_path)
{
    static const char *const paths[] = {"file", "file/below", ""};
    cr_assert_eq(tr_file_write_atomic("file", "x", 1, &err), TR_OK, "%s", err.text);
    for (size_t i = 0; i < 3; i++) {
        cr_expect_eq(tr_directory_make(paths[i], &err), TR_ERR_IO, "'%s'", paths[i]);
        cr_expect_not_null(strstr(err.text, "cannot make directory"), "%s", err.text);
    }
    expect_content("file", "x", 1);
}

Test(file, a_tree_is_synced_past_links_and_a_missing_one_is_named)
{
    cr_assert_eq(tr_directory_make("tree/below", &err), TR_OK, "%s", err.text);
    cr_assert_eq(tr_file_write_atomic("tree/below/file", "x", 1, &err), TR_OK, "%s", err.text);
    cr_assert_eq(symlink("nowhere", "tree/dangling"), 0);
    cr_expect_eq(tr_directory_sync_tree("tree", &err), TR_OK, "%s", err.text);
    cr_expect_eq(tr_directory_sync_tree("missing", &err), TR_ERR_IO);
    cr_expect_str_eq(err.text, "cannot sync 'missing': No such file or directory");
}
