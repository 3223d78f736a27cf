// Public data that the repository does not hold: where it is looked for, and skipping a test
// without it.
//
// A skipped test says which file is missing, so that a machine without the data still shows what
// was not tested.
#include "tests/support/data.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/status.h"

char *data_path(const char *name)
{
    const char *folder = getenv("TROUPE_TEST_DATA");
    // the variable goes before the folder beside the repository
    char *path =
        tr_format("%s/%s", folder != NULL ? folder : TEST_SOURCE_DIR "/../shared/data", name);
    if (access(path, R_OK) != 0) {
        free(path);
        return NULL;
    }
    return path;
}

char *data_require(const char *name)
{
    char *path = data_path(name);
    if (path == NULL) {
        cr_skip_test("TROUPE_TEST_DATA names no folder that holds '%s'", name);
    }
    return path;
}
